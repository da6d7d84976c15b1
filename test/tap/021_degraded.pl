# Redis away: the lane is degraded, bids go on at level "journal". Redis back:
# the log gets what it lacks, or a jump over what has left the tail; states and
# books are made whole. After a crash of PostgreSQL a lane recovers from its
# log, and refuses bids while there is none to read.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('degraded');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);

sub sql { return $node->safe_psql('postgres', @_); }

my $id = new_auction($node, 'postgres', route => "'redis'");
my $other = new_auction($node, 'postgres', route => "'redis'");
my $log = '{auction:1}:log';
my $price = 0;

# "accepted|durability" of a bid that the rules accept.
sub bid
{
	my ($auction, $user) = @_;

	$price++;
	return sql("SELECT accepted, durability FROM auction.place_bid("
		  . "$auction, $user, $price)");
}

# The same while the drain is held: only Redis can have confirmed it.
sub bid_without_drain
{
	my ($auction, $user) = @_;

	sql('SELECT auction.pause_drain()');
	my $result = bid($auction, $user);
	sql('SELECT auction.resume_drain()');
	return $result;
}

sub bids_of_users
{
	my ($auction, $n) = @_;

	$price++;
	sql("SELECT * FROM auction.place_bids(ARRAY(SELECT ROW($auction, i, "
		  . "$price + i, NULL, NULL)::auction.bid_request "
		  . "FROM generate_series(1, $n) i))");
	$price += $n;
	return;
}

# Tests: the log has no hole between its first record and the last position,
# and each of the journal's records is in it or behind a jump.
sub check_log
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $expect_jump) = @_;
	my @lines = split /\n/, $redis->cli('XRANGE', $log, '-', '+');
	my ($last, $holes, $jumps, $first) = (undef, 0, 0, undef);
	my %there;

	while (@lines)
	{
		my $position = shift @lines;
		next if $position =~ /^\d+-\d+$/;
		my $text = shift @lines;
		my $from = $text =~ /^(?:jump|skip) (\d+)$/ ? $1 : $position;

		$first //= $from;
		$jumps++ if $text =~ /^jump/;
		$holes++ if defined $last && $from != $last + 1;
		$last = $position;
		$there{$position} = 1;
		@there{ $from .. $position } = () if $text =~ /^jump/;
	}
	is($holes, 0, "$what: the log has no hole");
	is($last, sql('SELECT published FROM auction.stat_lanes'),
		"$what: the log has the last position");
	is($jumps > 0 ? 1 : 0, $expect_jump, "$what: jumps: $expect_jump");
	my @missing = grep { $_ >= $first && !exists $there{$_} } split /\n/,
	  sql('SELECT position FROM auction.journal ORDER BY 1');
	is("@missing", '', "$what: the log has what the journal has");
	return;
}

# Tests: state and book of an auction in Redis are those of its row and bids.
sub check_keys
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $auction) = @_;
	my $key = "{auction:1}:auction:$auction";
	my $count = sql("SELECT bid_count FROM auction.standings WHERE id = $auction");

	poll("the book of auction $auction is whole",
		sub { return $redis->try('HGET', $key, 'book') eq $count; });
	my $state = sql(<<"SQL");
SELECT price, leader_id, bid_count,
	(extract(epoch FROM ends_at) * 1000000)::bigint, 'o'
FROM auction.standings WHERE id = $auction
SQL
	is( join('|',
			split /\n/,
			$redis->cli('HMGET', $key, 'price', 'leader', 'bid_count', 'ends_at',
				'status')),
		$state,
		"$what: state of auction $auction in Redis");
	my $best = "SELECT user_id, max(amount) FROM auction.bids"
	  . " WHERE auction_id = $auction GROUP BY 1 ORDER BY 2 DESC";
	my $book = $redis->cli('ZRANGE', "{auction:1}:book:$auction", '0', '-1',
		'REV', 'WITHSCORES');
	$book =~ s/^(\d+)\n(\d+)$/$1|$2/mg;
	is($book, sql($best), "$what: book of auction $auction in Redis");
	is( sql("SELECT user_id, amount FROM auction.top_bids($auction, 10)"
			  . ' ORDER BY rank'),
		sql("$best LIMIT 10"),
		"$what: top_bids of auction $auction");
	return;
}

sub check_all
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $expect_jump) = @_;

	wait_applied($node, 'postgres');
	check_log($what, $expect_jump);
	check_keys($what, $_) foreach ($id, $other);
	check_journal($node, 'postgres', $what);
	return;
}

sub come_back
{
	$redis->start;
	return wait_lanes($node, 'postgres', 'normal');
}

bids_of_users($id, 20);
bids_of_users($other, 3);
is(bid_without_drain($id, 7), 't|redis', 'normal: confirmed by Redis');
check_all('normal', 0);

# ---- away and back, with what it had ----

$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
is(bid($id, 7), 't|journal', 'degraded: committed by PostgreSQL');
is( sql("SELECT user_id FROM auction.bids WHERE amount = $price"),
	'7', '... and so it is in bids at once');
is( sql("SELECT accepted, reason, durability "
		  . "FROM auction.place_bid($id, 7, $price)"),
	'f|too_low|journal',
	'a rejection stands on what is committed, too');
bids_of_users($id, 30);
is( sql("SELECT amount FROM auction.top_bids($id, 1)"),
	$price, 'top_bids comes from the tables');
is( sql("SELECT price FROM auction.standing($id)"), $price, 'so does standing');
is(sql('SELECT redis_error IS NOT NULL AND NOT redis_ready'
		  . ' FROM auction.stat_lanes'),
	't', 'stat_lanes says that Redis is away');
come_back();
is(bid_without_drain($other, 8), 't|redis', 'back: confirmed by Redis');
check_all('back', 1);

# ---- away with unapplied records: nothing of them is jumped ----

sql('SELECT auction.pause_drain()');
bids_of_users($id, 10);
$redis->kill9;
$redis->wipe;
wait_lanes($node, 'postgres', 'degraded');
come_back();
is( $redis->cli('XRANGE', $log, '-', '+') =~ /^bid \d+ \d+ 10 $price /m ? 1 : 0,
	1,
	'Redis has again what only the tail had');
sql('SELECT auction.resume_drain()');
check_all('unapplied', 1);

# ---- restarted empty: one jump, whole books ----

$redis->kill9;
$redis->wipe;
wait_lanes($node, 'postgres', 'degraded');
is(bid($id, 9), 't|journal', 'degraded again');
wait_applied($node, 'postgres');
come_back();
check_all('empty', 1);

# ---- keys deleted behind our back ----

$redis->cli('DEL', $log);
# The drain has it first, or the log that was made anew.
like(bid($id, 10), qr/^t\|(?:journal|redis)$/,
	'log deleted: the bid is accepted all the same');
poll_until($node, 'postgres',
	"SELECT state = 'normal' AND redis_ready FROM auction.stat_lanes");
is(bid_without_drain($id, 11), 't|redis', 'log deleted: made anew');
check_all('log deleted', 1);

# A reader of the book never takes what is left of it for the whole.
$redis->cli('DEL', "{auction:1}:book:$id");
my $best = sql("SELECT string_agg(user_id::text, ' ' ORDER BY amount DESC) FROM"
	  . " (SELECT user_id, max(amount) AS amount FROM auction.bids"
	  . " WHERE auction_id = $id GROUP BY 1) b");
is( sql("SELECT string_agg(user_id::text, ' ' ORDER BY rank)"
		  . " FROM auction.top_bids($id, 1000)"),
	$best, 'book deleted: top_bids has all of it');

# ---- it hangs, it is full ----

$redis->freeze;
is(bid($id, 12), 't|journal',
	'Redis hangs: the bid waits for it, then for the journal');
is(sql('SELECT state FROM auction.stat_lanes'), 'degraded', 'degraded');
$redis->thaw;
wait_lanes($node, 'postgres', 'normal');
check_all('hung', 1);

# What Redis has not confirmed is not applied, however long it takes; a new
# drain has looked at it, too.
set_options($node, 'postgres', "ADD command_timeout '1h'");
is(bid_without_drain($id, 12), 't|redis', 'a long command_timeout');
wait_applied($node, 'postgres');
$redis->freeze;
$price++;
my $waiting = start_psql($node, 'postgres',
	"SELECT accepted, durability FROM auction.place_bid($id, 12, $price)");
poll_until($node, 'postgres',
	'SELECT backlog_records = 1 FROM auction.stat_lanes');
my $drain = worker_pid($node, 'postgres', 'drain');
my $began = sql('SELECT drain_at FROM auction.lanes');
sql("SELECT pg_terminate_backend($drain)");
$drain = worker_pid($node, 'postgres', 'drain', not => $drain);
poll_until($node, 'postgres', <<"SQL");
SELECT drain_at > '$began' AND wait_event_type = 'Extension'
FROM auction.lanes, pg_stat_activity WHERE pid = $drain
SQL
is( sql('SELECT state, backlog_records FROM auction.stat_lanes'),
	'normal|1', 'not confirmed: not applied');
$redis->thaw;
is((finish_psql($waiting))[0] =~ /^t/ ? 1 : 0, 1, 'confirmed: accepted');
set_options($node, 'postgres', 'DROP command_timeout');
check_all('unconfirmed', 1);

$redis->cli('CONFIG', 'SET', 'maxmemory', '1');
is(bid($id, 13), 't|journal', 'Redis is full: the bid is in the journal');
like(
	sql('SELECT redis_error FROM auction.stat_lanes'),
	qr/OOM|maxmemory/,
	'stat_lanes says that it is full');
$redis->cli('CONFIG', 'SET', 'maxmemory', '0');
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain($id, 13), 't|redis', 'room again');
check_all('full', 1);

# ---- PostgreSQL crashes, and there is no Redis ----

sub crash
{
	my $router = worker_pid($node, 'postgres', 'router');

	kill 'KILL', worker_pid($node, 'postgres', 'drain');
	worker_pid($node, 'postgres', 'router', not => $router);
	wait_lanes($node, 'postgres', 'recovering');
	return;
}

sql('SELECT auction.pause_drain()');
bids_of_users($id, 40);
my $accepted = sql("SELECT bid_count FROM auction.standing($id)");
cmp_ok($accepted, '>',
	sql("SELECT bid_count FROM auction.standings WHERE id = $id"),
	'accepted bids are in Redis alone');
$redis->kill9;
crash();
is(sql_error($node, 'postgres',
		"SELECT auction.place_bid($id, 14, $price + 1)"),
	'RB006', 'recovering: refused');
is( sql_error(
		$node, 'postgres',
		"INSERT INTO auction.bids (auction_id, user_id, amount) "
		  . "VALUES ($id, 14, $price + 1)"),
	'RB006',
	'... by INSERT, too');
is(sql("SELECT auction.wait_applied('100ms')"),
	'f', 'wait_applied does not say that all is applied');
is( sql('SELECT auction.close_auction(' . new_auction($node, 'postgres') . ')'),
	't', 'route table goes on');
come_back();
is(sql("SELECT auction.wait_applied()"), 't', 'recovered');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $id"),
	$accepted, 'all that was accepted is there');
is(bid_without_drain($id, 14), 't|redis', 'bids go on');
check_all('recovered', 1);
is( sql('SELECT count(*) FROM auction.stat_lanes'
		  . ' WHERE possible_loss_after IS NOT NULL'),
	'1', 'as Redis restarted, too, a loss is thought possible');

# ---- both lose everything ----

$redis->kill9;
$redis->wipe;
crash();
come_back();
wait_applied($node, 'postgres');
is(bid_without_drain($id, 15),
	't|redis', 'both restarted, Redis empty: bids go on');
# its book is made when the auction is live again
is(bid($other, 15) =~ /^t/ ? 1 : 0, 1, '... on the other auction, too');
check_all('both', 1);
like(
	slurp_file($node->logfile),
	qr/lane 1 of server "redis1": bids accepted behind position \d+ may be lost/,
	'the log names the possible loss');

done_testing();
