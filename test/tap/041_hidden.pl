# A leader's maximum is read by nobody whom the README tells to grant what an
# application needs: not while it leads, not after it was retracted, not after
# the auction has ended, by no way that we could think of. The number is easy to
# find in whatever comes back, and no statement of this file has it in its text:
# an application passes it as a parameter, the bidders here take it from a table.

use strict;
use warnings;

use AuctionTest;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = qr/73519\d\d/;
my $node = new_node('hidden',
	conf => "auction.lane_lease = '1h'\nauction.log_retention = '1h'");
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1,
	options => "command_timeout '1h'");

sub sql { return $node->safe_psql('postgres', @_); }

# --- Who may do what ------------------------------------------------------

# app: everything that bidding needs. clerk: what is done to bids. seller: who
# enters auctions. watch: who watches the server. alice: an application, too,
# and the one who knows the number.
sql(<<'SQL');
CREATE TABLE secret (n bigint);
CREATE ROLE app LOGIN;
CREATE ROLE clerk LOGIN;
CREATE ROLE seller LOGIN;
CREATE ROLE watch LOGIN IN ROLE pg_monitor;
CREATE ROLE alice LOGIN IN ROLE app;
GRANT EXECUTE ON FUNCTION auction.place_bid, auction.place_bids,
	auction.buy_now, auction.standing, auction.top_bids, auction.wait_applied,
	auction.close_auction, auction.consolidate TO app;
GRANT INSERT, SELECT ON auction.bids TO app, clerk, seller;
GRANT SELECT ON auction.standings TO app, clerk, seller, watch;
GRANT EXECUTE ON FUNCTION auction.retract_bid, auction.cancel_auction TO clerk;
GRANT INSERT, SELECT, UPDATE, DELETE ON auction.auctions TO seller;
GRANT SELECT ON secret TO alice;
SQL
sql('INSERT INTO secret VALUES (7351942)');

# All that a client is told, whatever it is.
sub told
{
	my ($role, $query) = @_;
	my ($out, $err) = ('', '');

	$node->psql(
		'postgres',
		"\\set VERBOSITY verbose\n$query",
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $role ]);
	return "$out\n$err";
}

# Tests: attempts, each of (what, query, expected), come to what they should, and
# the number is not in it. One psql makes all of them; each leaves nothing behind
# for the next.
sub attempt_all
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($role, @attempts) = @_;
	my $end = "end of the attempt\n";
	my ($out, $err) = ('', '');

	$node->psql(
		'postgres',
		join("\n",
			'\set VERBOSITY verbose',
			map { ($_->[1], ';', 'DISCARD ALL;', "\\echo $end\\warn $end") } @attempts),
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 0,
		extra_params => [ '-U', $role ]);
	my @out = split /^$end/m, "$out\n", -1;
	my @err = split /^$end/m, "$err\n", -1;
	is(join(' ', scalar(@out), scalar(@err)),
		join(' ', (@attempts + 1) x 2), "$role: all attempts were made");
	foreach my $attempt (@attempts)
	{
		my ($what, $query, $expected) = @$attempt;
		my $said = shift(@out) . shift(@err);

		ok($said =~ $expected && $said !~ /$secret/, "$role: $what")
		  or diag "$query\n$said";
	}
	return;
}

sub attempt
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($role, @attempt) = @_;

	return attempt_all($role, \@attempt);
}

# --- Auctions, one for each way to end, by route --------------------------

my %auctions;
foreach my $route ('table', 'redis')
{
	$auctions{$route}{$_} = new_auction($node, 'postgres',
		route => "'$route'", kind => "'proxy'", start_price => 500,
		increment_table => "'ebay_us'", reserve_price => 2500,
		buy_now_price => 20_000_000)
	  foreach ('closed', 'retracted', 'cancelled', 'damaged');
}

# User 7 leads with the number, from his second bid on; 5 and 6 are outbid.
sub place_bids
{
	my ($id) = @_;

	like(told('alice', <<"SQL"), qr/^t\|6.*^t\|7.*^t\|7\|5100$/ms, "bids on $id");
SELECT accepted, leader_id FROM auction.place_bid($id, 6, 1000);
SELECT accepted, leader_id FROM auction.place_bid($id, 7, 3000);
INSERT INTO auction.bids (auction_id, user_id, amount)
SELECT $id, 7, n FROM secret;
SELECT accepted, leader_id, price FROM auction.place_bid($id, 5, 5000);
SQL
	return;
}

# --- Reading --------------------------------------------------------------

# All ways to read auction "id", of which the price is known.
sub read_all
{
	my ($role, $id, $when) = @_;
	my $price = sql("SELECT price FROM auction.standings WHERE id = $id");
	my $bids = "FROM auction.bids WHERE auction_id = $id";
	my $leak = <<'SQL';
CREATE FUNCTION pg_temp.leak(a anyelement) RETURNS bool LANGUAGE plpgsql
	COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'seen %', a; RETURN true; END $$;
CREATE FUNCTION pg_temp.above(a bigint, b bigint) RETURNS bool LANGUAGE plpgsql
	COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'saw %', a; RETURN a > b; END $$;
CREATE OPERATOR pg_temp.>>> (LEFTARG = bigint, RIGHTARG = bigint,
	FUNCTION = pg_temp.above);
SQL
	my @ways = (
		[ 'standings', "SELECT * FROM auction.standings WHERE id = $id",
			qr/\|$price\|/ ],
		[ 'bids', "SELECT * $bids", qr/\|$price\|/ ],
		[ 'bids as JSON', "SELECT to_jsonb(b) FROM auction.bids b"
			  . " WHERE auction_id = $id", qr/"amount": $price\b/ ],
		[ 'the greatest amount',
			"SELECT max(amount), array_agg(amount), sum(amount),"
			  . " percentile_disc(1) WITHIN GROUP (ORDER BY amount) $bids",
			qr/^$price\|/m ],
		[ 'amounts above the price',
			"SELECT 'n', count(*) $bids AND amount > $price", qr/^n\|0$/m ],
		[ 'amounts in order', "SELECT amount, lag(amount) OVER (ORDER BY amount)"
			  . " $bids ORDER BY amount DESC LIMIT 2", qr/^$price\|/m ],
		[ 'a cheap function in WHERE',
			"$leak SELECT count(*) $bids AND pg_temp.leak(amount)",
			qr/NOTICE.*seen $price\b/ ],
		[ 'a cheap function of the row', "$leak SELECT count(*) FROM"
			  . " auction.bids b WHERE pg_temp.leak(b) AND auction_id = $id",
			qr/NOTICE.*seen .*,$price,/ ],
		[ 'an operator in WHERE',
			"$leak SELECT count(*) $bids AND amount OPERATOR(pg_temp.>>>) 1",
			qr/NOTICE.*saw $price\b/ ],
		[ 'an error with the amount in it',
			"SELECT (amount || 'x')::int $bids ORDER BY amount DESC",
			qr/22P02.*"\d+x"/ ],
		[ 'division by what may be 0', "SELECT min(1 / (amount - $price)) $bids",
			qr/22012/ ],
		[ 'EXPLAIN ANALYZE', "EXPLAIN (ANALYZE, VERBOSE, BUFFERS)"
			  . " SELECT * $bids AND amount > 5000", qr/actual time/ ],
		[ 'COPY', "COPY (SELECT * $bids) TO STDOUT", qr/\t$price\t/ ],
		[ 'a view', "CREATE TEMP VIEW v AS SELECT * FROM auction.bids;"
			  . " SELECT * FROM v WHERE auction_id = $id", qr/\|$price\|/ ],
		[ 'statistics', "SELECT 'n', count(*) FROM pg_stats"
			  . " WHERE schemaname = 'auction'"
			  . " AND tablename IN ('journal', 'history', '_state')",
			qr/^n\|0$/m ],
		[ 'sessions', 'SELECT * FROM pg_stat_activity', qr/auction drain/ ]);

	push @ways,
	  [ 'standing', "SELECT * FROM auction.standing($id)", qr/\|$price\|/ ],
	  [ 'top_bids', "SELECT * FROM auction.top_bids($id)",
		qr/^1\|\d+\|$price$/m ],
	  [ 'top_bids of the tables', "SELECT * FROM auction.top_bids($id, 1000)",
		qr/^1\|\d+\|$price$/m ]
	  if $role eq 'app';
	attempt_all($role, map { [ "$when: $_->[0]", $_->[1], $_->[2] ] } @ways);
	return;
}

# --- Bidding --------------------------------------------------------------

# What bidders, the leader too, are told of bids that are refused, or that are
# accepted and do not lead.
sub bid_all
{
	my ($id, $when) = @_;
	my $insert = 'INSERT INTO auction.bids (auction_id, user_id, amount)';
	my @ways = (
		[ 'a low bid', "SELECT * FROM auction.place_bid($id, 6, 10)",
			qr/^f\|too_low/m ],
		[ 'a low bid by INSERT', "$insert VALUES ($id, 6, 10)",
			qr/RB001.*DETAIL.*least acceptable amount is 5200/s ],
		[ 'the leader lowers', "SELECT * FROM auction.place_bid($id, 7, 6000)",
			qr/^f\|already_leading/m ],
		[ 'the leader lowers by INSERT', "$insert VALUES ($id, 7, 6000)",
			qr/RB001.*already_leading.*DETAIL/s ],
		[ 'buying', "SELECT * FROM auction.buy_now($id, 6)",
			qr/^f\|not_available/m ],
		[ 'place_bids', "SELECT * FROM auction.place_bids(ARRAY["
			  . "($id, 6, 10, NULL, NULL), ($id, 0, 5200, NULL, NULL),"
			  . "($id, 7, 5200, NULL, NULL), ($id, 6, 5300, NULL, NULL)]"
			  . "::auction.bid_request[])", qr/^t\|\|5\|5400\|7\|/m ],
		[ 'INSERT, all that it returns', "$insert VALUES ($id, 6, 6000)"
			  . " RETURNING *, (SELECT max(amount) FROM auction.bids)",
			qr/^$id\|6\|6\|6000\|/m ],
		[ 'several rows, the last one low',
			"$insert VALUES ($id, 6, 7000), ($id, 6, 20)", qr/RB001/ ],
		[ 'notifications', "LISTEN auction; LISTEN bids; LISTEN \"$id\";"
			  . " SELECT auction.place_bid($id, 6, 8000);"
			  . " SELECT 'queue', pg_notification_queue_usage()", qr/^queue\|0$/m ]);

	attempt_all('app', map { [ "$when: $_->[0]", $_->[1], $_->[2] ] } @ways);
	attempt('seller', "$when: change, removal", <<"SQL", qr/RB009.*RB009.*23505/s);
UPDATE auction.auctions SET start_price = 1 WHERE id = $id;
DELETE FROM auction.auctions WHERE id = $id;
INSERT INTO auction.auctions SELECT * FROM auction.auctions WHERE id = $id;
SQL
	attempt('clerk', "$when: retracting another's bid",
		"SELECT * FROM auction.retract_bid($id, 1, 'x')", qr/^\d+\|7\|t$/m);
	return;
}

# --- What nobody was granted ----------------------------------------------

sub check_denied
{
	my @tables = split /\n/, sql(<<'SQL');
SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = 'auction' AND relkind IN ('r', 'p', 'v', 'S', 'm')
	AND relname NOT IN ('bids', 'standings', 'auctions', 'stat_workers', 'stat_lanes',
		'stat_routes', 'stat_shadow', 'rollout', 'shards', 'shard_servers',
		'stat_shards')
ORDER BY 1
SQL
	cmp_ok(scalar(@tables), '>', 15, 'tables of the engine');
	foreach my $role ('app', 'clerk', 'seller', 'watch')
	{
		attempt_all($role,
			map { [ "$_ is denied", "SELECT * FROM $_", qr/42501/ ] } @tables);
	}
	my $live = $auctions{redis}{closed};
	attempt_all('app',
		map { [ "$_ is denied", "SELECT $_", qr/42501/ ] } (
			"auction._live($live)",
			"auction._bid_checksum(1, 1, 1, 1, now(), NULL, NULL)",
			"auction._tally(1, 1, 1, false)", "pg_read_file('postmaster.pid')",
			'pg_ls_logdir()'));
	return;
}

# --- Redis ----------------------------------------------------------------

# A user as the README has it.
$redis->cli('ACL', 'SETUSER', 'page', 'on', '>pw', 'resetkeys', 'resetchannels',
	'%R~{auction:*}:auction:*', '&auction:auction:*', '+@all', '-@dangerous',
	'-@admin');
my @page = ('redis-cli', '-s', $redis->socket, '--user', 'page', '--pass', 'pw',
	'--no-auth-warning', '--raw');

sub page
{
	my @command = @_;
	my $out = '';

	IPC::Run::run([ @page, @command ], '<', \undef, '>', \$out, '2>&1');
	return $out;
}

my $heard = '';
my $listener = IPC::Run::start([ @page, 'PSUBSCRIBE', 'auction:auction:*' ],
	'<', \undef, '>', \$heard, '2>&1');
poll('the listener listens', sub { $listener->pump_nb; $heard =~ /^1$/m });

sub check_redis
{
	my ($id, $when) = @_;
	my $key = "{auction:1}:auction:$id";
	my $all = page('HGETALL', $key) . page('DUMP', $key) . page('SCAN', 0);

	like($all, qr/^price\n\d+/m, "Redis, $when: its state is read");
	unlike($all, qr/$secret/, "Redis, $when: ... and does not have it");
	like(page(@$_), qr/NOPERM/, "Redis, $when: @$_: denied")
	  foreach ([ 'ZRANGE', "{auction:1}:book:$id", 0, -1, 'WITHSCORES' ],
		[ 'XRANGE', '{auction:1}:log', '-', '+' ],
		[ 'HGETALL', '{auction:1}:term' ],
		[ 'COPY', "{auction:1}:book:$id", "{auction:1}:auction:0" ],
		[ 'SORT', $key, 'GET', "{auction:1}:book:*" ],
		[ 'EVAL', "return redis.call('ZRANGE', KEYS[1], 0, -1)", 1,
			"{auction:1}:book:$id" ],
		[ 'HSET', $key, 'price', 1 ],
		[ 'MONITOR' ], [ 'SLOWLOG', 'GET' ], [ 'SUBSCRIBE', 'other' ]);
	return;
}

# --- It is there, for who may see it; else nothing above says anything ----

sub check_there
{
	my ($id, $when, $table) = @_;

	like(told('postgres', "SELECT * FROM auction.$table WHERE auction_id = $id"),
		qr/\|7\|$secret\|/, "$when: auction.$table has it");
	return;
}

# --- While they are open --------------------------------------------------

foreach my $route ('table', 'redis')
{
	foreach my $way (sort keys %{ $auctions{$route} })
	{
		my $id = $auctions{$route}{$way};
		place_bids($id);
		wait_applied($node, 'postgres');
		check_there($id, 'open', 'journal');
	}
	my $id = $auctions{$route}{closed};
	bid_all($id, "$route, open");
	wait_applied($node, 'postgres');
	sql('ANALYZE auction.journal, auction._state');
	read_all($_, $id, "$route, open") foreach ('app', 'clerk', 'seller');
}
check_denied();
my $live = $auctions{redis}{closed};
like(sql("SELECT leader_max FROM auction._state WHERE auction_id = $live"),
	qr/$secret/, 'the state has it');
like(sql("SELECT * FROM pg_stats WHERE tablename = 'journal'"),
	qr/$secret/, 'so have statistics');
like($redis->cli('ZRANGE', "{auction:1}:book:$live", 0, -1, 'WITHSCORES'),
	qr/$secret/, 'and the book');
like($redis->cli('XRANGE', '{auction:1}:log', '-', '+'),
	qr/$secret/, 'and the log');
check_redis($live, 'open');

# top_bids was answered from that book: what only it has comes out.
my $book = "{auction:1}:book:$live";
$redis->cli('ZADD', $book, 10, 999);
attempt('app', 'top_bids reads the book', "SELECT * FROM auction.top_bids($live)",
	qr/^\d\|999\|10$/m);
$redis->cli('ZREM', $book, 999);

# Who watches sees that a bid waits, and on which auction; the leader raises.
$redis->freeze;
my $waiting = start_psql($node, 'postgres', 'SET SESSION AUTHORIZATION alice',
	"SELECT leader_id, price FROM"
	  . " auction.place_bid($live, 7, (SELECT n + 1 FROM secret))");
wait_waiting($node, 'postgres', 1);
attempt('watch', 'sees that a bid waits', <<"SQL", qr/place_bid\($live, 7/);
SELECT * FROM pg_stat_activity;
SELECT * FROM auction.stat_shadow;
SELECT * FROM auction.stat_lanes;
SELECT * FROM auction.stat_workers;
SELECT * FROM auction.standings;
SELECT * FROM pg_locks;
SQL
attempt('app', 'while a bid waits', <<"SQL", qr/insufficient privilege/);
SELECT * FROM pg_stat_activity;
SELECT * FROM auction.standings;
SELECT * FROM auction.bids;
SQL
$redis->thaw;
is((finish_psql($waiting))[0], '7|8100', 'raising it moves nothing');
wait_applied($node, 'postgres');

# --- Retracted, cancelled, in doubt ---------------------------------------

foreach my $route ('table', 'redis')
{
	my ($retracted, $cancelled, $damaged) =
	  @{ $auctions{$route} }{qw(retracted cancelled damaged)};

	# bid 2 is the leader's lower one
	attempt('clerk', "$route: retracting it", <<"SQL", qr/^3100\|5\|t$/m);
SELECT * FROM auction.retract_bid($retracted, 3, 'mistyped');
SQL
	read_all($_, $retracted, "$route, retracted") foreach ('app', 'clerk');
	check_there($retracted, "$route, retracted", 'journal');
	attempt('clerk', "$route: cancelling", <<"SQL", qr/^t$/m);
SELECT auction.cancel_auction($cancelled, 'broken');
SQL
	attempt('app', "$route: bids on a cancelled one",
		"SELECT * FROM auction.place_bid($cancelled, 8, 9000);"
		  . " INSERT INTO auction.bids (auction_id, user_id, amount)"
		  . " VALUES ($cancelled, 7, 9000)",
		qr/^f\|cancelled.*RB001.*cancelled/ms);

	# found out at the close: the reason says no amount
	sql("UPDATE auction.journal SET amount = amount + 1"
		  . " WHERE auction_id = $damaged AND bid_no = 3");
	attempt('app', "$route: closing", "SELECT auction.close_auction($damaged)",
		qr/^t$/m);
	wait_status($node, 'postgres', $damaged, 'quarantined');
	attempt('app', "$route: the reason it is quarantined for",
		"SELECT * FROM auction.standings WHERE id = $damaged",
		qr/quarantined.*maxima/);
}

# A record that cannot be applied is kept whole, and said to be so.
my $dead = new_auction($node, 'postgres', route => "'redis'", kind => "'proxy'",
	durability => "'journal'");
sql('ALTER TABLE auction.journal ADD CHECK (user_id <> 99)');
attempt('alice', 'a bid that becomes a dead letter',
	"SELECT auction.place_bid($dead, 99, n) FROM secret", qr/RB003/);
attempt('app', 'its auction', "SELECT * FROM auction.standings WHERE id = $dead",
	qr/quarantined.*check constraint/);
like(told('postgres', 'SELECT * FROM auction.dead_letters'),
	$secret, 'the dead letter has it');

# --- Over -----------------------------------------------------------------

foreach my $route ('table', 'redis')
{
	my $id = $auctions{$route}{closed};
	attempt('app', "$route: closing", "SELECT auction.close_auction($id)",
		qr/^t$/m);
	read_all('app', $id, "$route, just closed");
	attempt('app', "$route: bids on a closed one",
		"SELECT * FROM auction.place_bid($id, 8, 9000);"
		  . " INSERT INTO auction.bids (auction_id, user_id, amount)"
		  . " VALUES ($id, 7, 9000); SELECT auction.buy_now($id, 8)",
		qr/^f\|closed.*^\(f,closed.*RB001.*closed/ms);
	sql("SELECT auction.close_auction($auctions{$route}{retracted})");
}
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(consolidated_at IS NOT NULL OR status = 'quarantined')
FROM auction.standings
SQL
sql('ANALYZE auction.history');
foreach my $route ('table', 'redis')
{
	my $ways = $auctions{$route};
	foreach my $way ('closed', 'retracted', 'cancelled')
	{
		check_there($ways->{$way}, "$route, $way, over", 'history');
		read_all($_, $ways->{$way}, "$route, $way, over")
		  foreach ('app', 'clerk');
	}
	attempt('clerk', "$route: too late to retract",
		"SELECT auction.retract_bid($ways->{closed}, 3, 'x')", qr/RB009/);
	attempt('app', "$route: winners",
		"SELECT 'winner', winner_id FROM auction.standings"
		  . " WHERE id IN ($ways->{closed}, $ways->{retracted}) ORDER BY id",
		qr/^winner\|7\nwinner\|5$/m);
}
poll('the keys are removed',
	sub { return page('EXISTS', "{auction:1}:auction:$live") eq "0\n"; });

# --- What was written down meanwhile --------------------------------------

$listener->pump_nb;
$listener->kill_kill;
like($heard, qr/^8100 7 \d+ \d+ o$/m, 'channels: changes are published');
unlike($heard, $secret, '... without it');
$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/already_leading/, 'server log: refused statements are there');
like($log, qr/WARNING:.*quarantined/, '... and quarantined auctions');
unlike($log, $secret, '... and no maximum');
unlike(slurp_file($redis->dir . '/log'), $secret, 'nor has Redis logged it');
$redis->stop;
done_testing();
