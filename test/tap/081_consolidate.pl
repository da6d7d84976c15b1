# Consolidation to shards on other servers: every bid arrives as it was, and
# whoever reads sees it once at any moment; a server that is away, full or
# wrong delays only what needs it, and is taken up again by itself; what differs
# there is quarantined, and the others go on.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $home = new_node('home', conf => "auction.shard_timeout = '1s'\nauction.stop_at = ''");
my $one = new_shard_node('one');
my $two = new_shard_node('two');
my $redis = start_redis();

shard_server($home, $one);
shard_server($home, $two);
attach($home, 'postgres', $redis);

my $columns = 'auction_id, bid_no, user_id, amount, placed_at, position, lane_id,'
  . ' buy_now, request_id, attributes, retracted_at, retract_reason';

sub sql { return $home->safe_psql('postgres', @_); }

sub on_one { return $one->safe_psql('postgres', @_); }

sql('SELECT auction.create_shards(8)');
sql("CALL auction.move_shard($_, 'one')") foreach 0 .. 2;
sql("CALL auction.move_shard($_, 'two')") foreach 3 .. 5;

# Users whose bids go to a place: 'one', 'two', '' (here).
sub users_of
{
	my ($place) = @_;

	return split /\n/, sql(<<"SQL");
SELECT u FROM generate_series(1, 200) u
	JOIN auction.shards ON shard = auction._shard_hash(u) & (modulus - 1)
WHERE coalesce(server, '') = '$place' ORDER BY u LIMIT 20
SQL
}
my %users = map { $_ => [ users_of($_) ] } ('one', 'two', '');

my $last_id = 0;

# An open auction with a bid of each of these users.
sub auction_of
{
	my ($users, %columns) = @_;
	my $id = ++$last_id;
	my $list = join ',', @$users;

	new_auction($home, 'postgres', id => $id, start_price => 100, %columns);
	sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, u, 100 + n, gen_random_uuid(), jsonb_build_object('n', n))
		::auction.bid_request
	FROM unnest(ARRAY[$list]::bigint[]) WITH ORDINALITY a (u, n) ORDER BY n))
SQL
	return $id;
}

sub close_them
{
	sql("SELECT auction.close_auction($_)") foreach @_;
	return;
}

sub status
{
	return sql("SELECT status FROM auction.standings WHERE id = $_[0]");
}

sub wait_consolidated
{
	return poll_until($home, 'postgres', 'SELECT bool_and(consolidated_at IS NOT NULL)'
		  . ' FROM auction.standings WHERE id IN (' . join(',', @_) . ')');
}

# "waiting bids|has an error|knows since when" of a server's shards.
sub trouble
{
	my ($server) = @_;

	return sql(<<"SQL");
SELECT sum(waiting_bids), bool_and(error IS NOT NULL), bool_and(error_since <= now())
FROM auction.stat_shards WHERE server = '$server'
SQL
}

sub wait_trouble
{
	my ($what, $bids) = @_;

	poll_until($home, 'postgres',
		"SELECT bool_and(error IS NOT NULL) FROM auction.stat_shards WHERE server = 'one'");
	is(trouble('one'), "$bids|t|t", "$what: what waits, and why, is said");
	return;
}

sub wait_well
{
	my ($what) = @_;

	poll_until($home, 'postgres',
		"SELECT count(*) = 0 FROM auction.stat_shards WHERE error IS NOT NULL OR waiting_bids > 0");
	pass("$what: no error is left");
	return;
}

# ---- all kinds of bids arrive as they were ----

my $all = [ map { @$_ } @users{ 'one', 'two', '' } ];
my @kinds;
foreach my $route ("'table'", "'redis'")
{
	push @kinds, auction_of($all, route => $route),
	  auction_of($all, route => $route, kind => "'proxy'"),
	  auction_of($all, route => $route, reserve_price => 500000,
		buy_now_price => 1000000),
	  auction_of([], route => $route);
	$_ % 4 && sql("SELECT auction.retract_bid($kinds[-4], $_, 'mistyped ü')") foreach 1 .. 9;
	sql("SELECT auction.retract_bid($kinds[-3], 60, 'the leader')");
	is(sql("SELECT (auction.buy_now($kinds[-2], 7, gen_random_uuid(), '{\"a\": [1, null]}')).accepted"),
		't', 'one buys');
	push @kinds, auction_of($all, route => $route);
	sql("SELECT auction.cancel_auction($kinds[-1], 'stolen')");
}
wait_applied($home, 'postgres');
sql('SELECT auction.close_auction(id) FROM auction.standings WHERE route = \'table\' AND status = \'open\' AND bid_count = 0');
sql(<<"SQL");
CREATE TABLE journal_before AS SELECT $columns FROM auction.journal;
CREATE TABLE bids_before AS SELECT * FROM auction.bids;
SQL
# What is cancelled may already be history, in both.
sql("INSERT INTO journal_before SELECT $columns FROM auction.history h
	WHERE NOT EXISTS (SELECT FROM journal_before b
		WHERE (b.auction_id, b.bid_no) = (h.auction_id, h.bid_no))");
is(sql('SELECT count(*) FROM journal_before'), 8 * 60 + 2, 'all bids are noted');

# While that happens others look: what they see never changes. Each of them
# says at its end how often it has looked.
my $looks = "SELECT count(*), count(DISTINCT (auction_id, bid_no)) FROM auction.bids";
my $expected = sql($looks);
sub reader
{
	my ($isolation, $statements, $where) = @_;
	my $n = sql("SELECT count(*) FROM auction.bids WHERE $where");

	return start_psql($home, 'postgres', <<"SQL");
DO \$\$
DECLARE
	looks int := 0;
	n bigint;
	d bigint;
	over bool;
BEGIN
	LOOP
		COMMIT;
		SET TRANSACTION ISOLATION LEVEL $isolation;
		FOR i IN 1 .. $statements LOOP
			SELECT count(*), count(DISTINCT (auction_id, bid_no)) INTO n, d
			FROM auction.bids WHERE $where;
			IF n <> $n OR d <> $n THEN
				RAISE EXCEPTION 'look % saw % bids, % different ones', looks, n, d;
			END IF;
			looks := looks + 1;
			PERFORM pg_sleep(0.002);
		END LOOP;
		SELECT bool_and(consolidated_at IS NOT NULL) INTO over
		FROM auction.standings WHERE bid_count > 0;
		EXIT WHEN over AND looks > 20;
	END LOOP;
	RAISE NOTICE 'looked % times', looks;
END \$\$
SQL
}
my @readers = (
	reader('READ COMMITTED', 1, 'true'),
	reader('READ COMMITTED', 5, 'true'),
	reader('REPEATABLE READ', 4, 'true'),
	reader('REPEATABLE READ', 4, "user_id IN ($users{one}[0], $users{two}[0], $users{''}[0])"));
my $old = open_session($home, 'postgres',
	"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM auction.bids WHERE user_id = $users{one}[0];");

my $waiting = join ',', @kinds[ 0, 1, 5, 6 ];
close_them(@kinds);
poll_until($one, 'postgres',
	'SELECT count(*) >= 130 FROM auction_shard.history');
poll_until($two, 'postgres',
	'SELECT count(*) >= 130 FROM auction_shard.history');
is(sql("SELECT count(*) FROM auction.standings WHERE consolidated_at IS NOT NULL AND id IN ($waiting)"),
	0, 'rows have come, and nothing counts as consolidated while a transaction is open that may not see them');
cmp_ok(sql('SELECT sum(waiting_bids) FROM auction.stat_shards'), '>', 0,
	'... what waits is said');
end_session($old, "SELECT 1 / (count(*) = (SELECT count(*) FROM bids_before))::int FROM auction.bids; COMMIT;");
pass('that transaction sees all bids once, before and after');
wait_consolidated(@kinds);
foreach my $reader (@readers)
{
	my (undef, $err) = finish_psql($reader);

	like($err, qr/looked \d+ times/, 'who looks all the time sees each bid once');
	note $1 if $err =~ /(looked \d+ times)/;
}
is(sql(<<"SQL"), "0\n0", 'every column of every bid is as it was');
SELECT count(*) FROM (SELECT $columns FROM journal_before EXCEPT ALL
	SELECT $columns FROM auction.history) d;
SELECT count(*) FROM (SELECT $columns FROM auction.history EXCEPT ALL
	SELECT $columns FROM journal_before) d;
SQL
is(sql('SELECT count(*) FROM auction.journal'), '0', 'the journal is empty');
is(sql('SELECT count(*) FROM auction.standings WHERE consolidated_at IS NULL'),
	0, 'so are auctions without bids consolidated, and cancelled ones');
cmp_ok($one->safe_psql('postgres', 'SELECT count(*) FROM auction_shard.history'),
	'>', 0, 'some are on one');
cmp_ok(sql('SELECT count(*) FROM ONLY auction.history_6'), '>', 0, 'some are here');

# ---- auction.consolidate() ----

my $id = auction_of($all);
close_them($id);
is(sql("SELECT auction.consolidate($id)"), '0', 'consolidate() leaves it to others');
is(sql('SELECT auction.consolidate()'), '0', '... and so it does with all');
wait_consolidated($id);
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id"), 60, 'its bids are there once');

# ---- a bid is retracted when it has been sent ----

$id = auction_of($all);
$old = open_session($home, 'postgres', 'BEGIN; SELECT count(*) FROM auction.lanes;');
close_them($id);
poll_until($one, 'postgres',
	"SELECT count(*) = 20 FROM auction_shard.history WHERE auction_id = $id");
sql("SELECT auction.retract_bid($id, bid_no, 'late') FROM auction.journal
	WHERE auction_id = $id AND user_id IN ($users{one}[3], $users{two}[3], $users{''}[3])");
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id AND retracted_at IS NOT NULL"),
	3, 'bids are retracted that have been sent');
sql("TRUNCATE journal_before; INSERT INTO journal_before
	SELECT $columns FROM auction.journal WHERE auction_id = $id");
end_session($old, 'COMMIT;');
wait_consolidated($id);
is(status($id), 'consolidated', 'that is consolidated');
is(sql(<<"SQL"), '0', 'the shards have them as retracted');
SELECT count(*) FROM (SELECT $columns FROM journal_before EXCEPT ALL
	SELECT $columns FROM auction.history WHERE auction_id = $id) d
SQL

# ---- a server is away ----

foreach my $how ('stands still', 'was stopped at once')
{
	my $needs = auction_of([ @{$users{one}}[ 0 .. 4 ], @{$users{two}}[ 0 .. 4 ] ]);
	my $other = auction_of([ @{$users{two}}, @{$users{''}} ]);

	$how eq 'stands still' ? hold_still($one) : $one->stop('immediate');
	close_them($needs, $other);
	wait_consolidated($other);
	wait_trouble("a server $how", 5);
	is(status($needs), 'closed', 'the auction that needs it waits');
	is(sql("SELECT count(*) FROM auction.bids WHERE user_id = $users{two}[1] AND auction_id IN ($needs, $other)"),
		2, 'bids of users elsewhere can be read');
	$how eq 'stands still' ? go_on_all($one) : $one->start;
	wait_consolidated($needs);
	wait_well("a server $how");
	is(sql("SELECT count(*) FROM auction.bids WHERE auction_id IN ($needs, $other)"),
		50, 'each of the bids is there once');
}

# ---- a server that refuses ----

sub refuses
{
	my ($what, $break, $mend) = @_;
	my $needs = auction_of([ @{$users{one}}[ 0 .. 4 ] ]);
	my $other = auction_of($users{two});

	$break->();
	close_them($needs, $other);
	wait_consolidated($other);
	wait_trouble($what, 5);
	note sql("SELECT DISTINCT error FROM auction.stat_shards WHERE error IS NOT NULL");
	is(status($needs), 'closed', "$what: the auction that needs it waits");
	$mend->();
	wait_consolidated($needs);
	is(sql("SELECT count(*) FROM auction.bids WHERE auction_id IN ($needs, $other)"),
		25, "$what: each of the bids is there once");
	wait_well($what);
	return;
}

refuses(
	'full disk',
	sub {
		on_one(<<'SQL');
CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER is_full BEFORE INSERT ON auction_shard.history
	FOR EACH ROW EXECUTE FUNCTION is_full();
SQL
	},
	sub { on_one('DROP FUNCTION is_full CASCADE'); });
refuses(
	'read-only',
	sub {
		on_one('ALTER SYSTEM SET default_transaction_read_only = on');
		$one->reload;
		poll_until($one, 'postgres', 'SHOW default_transaction_read_only', 'on');
	},
	sub {
		on_one('SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only');
		$one->reload;
	});
my ($shard) = split /\|/,
  sql("SELECT auction._shard_hash($users{one}[0]) & 7");
refuses(
	'a table is not there',
	sub { on_one("ALTER TABLE auction_shard.history DETACH PARTITION auction_shard.history_8_$shard") },
	sub {
		on_one("ALTER TABLE auction_shard.history ATTACH PARTITION auction_shard.history_8_$shard FOR VALUES WITH (MODULUS 8, REMAINDER $shard)");
	});
refuses(
	'a table has another name',
	sub { on_one("ALTER TABLE auction_shard.history_8_$shard RENAME TO elsewhere") },
	sub { on_one("ALTER TABLE auction_shard.elsewhere RENAME TO history_8_$shard") });
refuses(
	'another port',
	sub { sql("ALTER SERVER one OPTIONS (SET port '1')") },
	sub { sql("ALTER SERVER one OPTIONS (SET port '" . $one->port . "')") });

# ---- rows there that do not belong, or are other ones ----

my $extra = auction_of([ @{$users{one}}[ 0 .. 4 ] ]);
my $differs = auction_of([ @{$users{one}}[ 0 .. 4 ] ]);
my $elsewhere = auction_of($users{two});
my $fine = auction_of($all);
on_one(<<"SQL");
INSERT INTO auction_shard.history (auction_id, bid_no, user_id, amount, placed_at, buy_now)
VALUES ($extra, 77, $users{one}[0], 1, now(), false),
	($differs, 1, $users{one}[0], 5, now(), false),
	($elsewhere, 78, $users{one}[1], 1, now(), false);
SQL
close_them($extra, $differs, $elsewhere, $fine);
wait_consolidated($fine);
foreach my $bad ($extra, $differs, $elsewhere)
{
	wait_status($home, 'postgres', $bad, 'quarantined');
	like(sql("SELECT reason FROM auction.standings WHERE id = $bad"),
		qr/shard server one/, 'quarantined: the reason names the server');
}
on_one("DELETE FROM auction_shard.history WHERE auction_id IN ($extra, $differs, $elsewhere)");
is(sql_error($home, 'postgres', "SELECT auction.lift_quarantine($_, 'set right')"), '', 'lifted')
  foreach ($extra, $differs, $elsewhere);
wait_consolidated($extra, $differs, $elsewhere);
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id IN ($extra, $differs, $elsewhere)"),
	30, '... and consolidated');

# ---- sent, not marked, when the shard comes here ----

# First some shards stay elsewhere, so that the consolidator does it, then none.
foreach my $turn ([ $one, 0 .. 2 ], [ $two, 3 .. 5 ])
{
	my ($node, @shards) = @$turn;
	my $name = $node->name;

	$id = auction_of([ @{$users{$name}}[ 0 .. 4 ], @{$users{''}}[ 0 .. 4 ] ]);
	$old = open_session($home, 'postgres', 'BEGIN; SELECT count(*) FROM auction.lanes;');
	close_them($id);
	poll_until($node, 'postgres',
		"SELECT count(*) = 5 FROM auction_shard.history WHERE auction_id = $id");
	sql("SELECT auction.retract_bid($id, 1, 'late')");
	my $move = start_psql($home, 'postgres',
		map { "CALL auction.move_shard($_, NULL)" } @shards);
	poll_until($home, 'postgres',
		"SELECT phase FROM auction.stat_shards WHERE shard = $shards[0]", 'swapping');
	end_session($old, 'COMMIT;');
	is((finish_psql($move))[1], '', "sent to $name, not marked: the shards come back");
	wait_consolidated($id);
	is(status($id), 'consolidated', '... the auction is consolidated');
	is(sql("SELECT count(*), count(retracted_at) FROM auction.bids WHERE auction_id = $id"),
		'10|1', '... each bid is there once');
}

# ---- more than a page waits for somebody ----

sql("CALL auction.move_shard($_, 'one')") foreach 0 .. 2;
sql('ALTER SYSTEM SET auction.consolidate_batch = 3');
$home->reload;
$old = open_session($home, 'postgres', 'BEGIN; SELECT count(*) FROM auction.lanes;');
my @many = map { auction_of([ @{$users{one}}[ 0 .. 1 ] ]) } 1 .. 8;
my $list = join ', ', @many;
foreach my $sent (4, 8)
{
	close_them(@many[ $sent - 4 .. $sent - 1 ]);
	poll_until($one, 'postgres', <<"SQL");
SELECT count(DISTINCT auction_id) = $sent FROM auction_shard.history
WHERE auction_id IN ($list)
SQL
}
pass('more pages are sent while the first waits');
is(sql("SELECT count(*) FROM auction.standings WHERE id IN ($list) AND status = 'closed'"),
	8, '... and all wait');
end_session($old, 'COMMIT;');
wait_consolidated($_) foreach @many;
sql('ALTER SYSTEM RESET auction.consolidate_batch');
$home->reload;

# ---- the default isolation of the home ----

sql("ALTER SYSTEM SET default_transaction_isolation = serializable");
$home->restart;
wait_lanes($home, 'postgres', 'normal');
$id = auction_of($all);
close_them($id);
wait_consolidated($id);
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id"), 60,
	'default_transaction_isolation = serializable: consolidated');

is(sql("SELECT count(*) FROM auction.standings WHERE status = 'quarantined'"),
	0, 'nothing is quarantined');
check_journal($home, 'postgres', 'in the end');

done_testing();
