# A log that lacks positions when PostgreSQL recovers from it: that lane stops,
# names them, and nobody else is concerned; auction.skip_gap() is the DBA's way
# on, after which the auctions that have lost a bid are quarantined.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('gap');
my $redis = start_redis(appendfsync => 'always');
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

my ($lane, $other) = split /\n/, sql('SELECT id FROM auction.lanes ORDER BY id');
my $log = '{auction:' . sql("SELECT lane FROM auction.lanes WHERE id = $lane")
  . '}:log';

# An auction on that lane.
sub auction_on
{
	my ($wanted) = @_;

	for (1 .. 100)
	{
		my $id = new_auction($node, 'postgres', route => "'redis'");
		return $id
		  if sql("SELECT lane_id FROM auction._state WHERE auction_id = $id")
		  eq $wanted;
	}
	die 'no auction came to that lane';
}

sub lane
{
	my ($column, $id) = @_;

	$id //= $lane;
	return sql("SELECT $column FROM auction.stat_lanes WHERE lane_id = $id");
}

# Its position; each bid is an entry of the log.
sub bid
{
	my ($id, $amount) = @_;

	is(sql("SELECT accepted FROM auction.place_bid($id, 1 + $amount % 7, $amount)"),
		't', "auction $id: $amount is accepted");
	my $position = $redis->cli('XREVRANGE', $log, '+', '-', 'COUNT', 1);
	return $position =~ /^(\d+)-0/ ? $1 : undef;
}

sub journal
{
	my ($id) = @_;

	return sql("SELECT string_agg(amount::text, ' ' ORDER BY bid_no)"
		  . " FROM auction.bids WHERE auction_id = $id");
}

# Crashes, loses the entries, and starts again.
sub crash_and_lose
{
	my (@positions) = @_;

	$node->stop('immediate');
	$redis->cli('XDEL', $log, map { "$_-0" } @positions);
	$node->start;
	poll_until($node, 'postgres', "SELECT state = 'normal'"
		  . " FROM auction.stat_lanes WHERE lane_id = $other");
	return;
}

sub skip
{
	my ($reason) = @_;

	return sql("SELECT from_position, to_position FROM auction.skip_gap($lane, '$reason')");
}

sub wait_normal
{
	poll_until($node, 'postgres', "SELECT state = 'normal' AND gap_to IS NULL"
		  . " FROM auction.stat_lanes WHERE lane_id = $lane");
	wait_applied($node, 'postgres');
	return;
}

my $loses = auction_on($lane);
my $whole = auction_on($lane);
my $elsewhere = auction_on($other);
bid($loses, 10);
wait_applied($node, 'postgres');
is( sql_error($node, 'postgres', "SELECT auction.skip_gap($lane, 'x')"),
	'55000', 'there is no gap');

# ---- in the middle of the log ----

sql('SELECT auction.pause_drain()');
my $before = bid($loses, 20);
bid($whole, 10);
my $lost = bid($loses, 30);
my $lost_too = bid($loses, 40);
bid($loses, 50);
bid($whole, 20);
bid($elsewhere, 10);
crash_and_lose($lost, $lost_too);
poll_until($node, 'postgres', "SELECT gap_to IS NOT NULL"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
is(lane('state, gap_from, gap_to'),
	"recovering|$lost|$lost_too", 'the lane stops and names the positions');
poll_until($node, 'postgres', "SELECT applied = $lost - 1"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
is(journal($loses), '10 20', 'what comes before is applied');
is( sql_error($node, 'postgres', "SELECT auction.place_bid($whole, 3, 100)"),
	'RB006', 'its bids are refused');
is(journal($elsewhere), '10', 'the other lane has recovered');
is(sql("SELECT accepted FROM auction.place_bid($elsewhere, 3, 100)"),
	't', '... and takes bids');
is( sql_error($node, 'postgres', "SELECT auction.skip_gap($other, 'x')"),
	'55000', '... it has no gap');
is( sql("SELECT status FROM auction.health() WHERE item = 'gap'"
		  . " AND object LIKE 'lane $lane %'"),
	'error', 'health() says so');
like(
	slurp_file($node->logfile),
	qr/lane $lane of server "redis1" is stopped: positions $lost to $lost_too are/,
	'so does the server log');
is(sql("SELECT count(*) FROM auction.audit($whole)"
		  . " WHERE item = 'gap' AND status = 'error'"),
	'1', 'so does audit');

# found again by another router, and after another crash
my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
$node->stop('immediate');
$node->start;
poll_until($node, 'postgres', "SELECT gap_from = $lost"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
pass('a crash does not lose the gap');

is(sql("BEGIN; SELECT from_position FROM auction.skip_gap($lane, 'x');"
		  . ' ROLLBACK; SELECT count(*) FROM auction.repair_log'),
	"$lost\n0", 'a decision that is rolled back is none');

# somebody locks what the router reads: it goes on all the same
my $locks = open_session($node, 'postgres',
	'BEGIN; LOCK TABLE auction.repair_log, auction._adoptions;');
$router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
$router = worker_pid($node, 'postgres', 'router', not => $router);
my $taken = sql("SELECT taken_at FROM auction._lane_terms WHERE lane_id = $lane");
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
poll_until($node, 'postgres', "SELECT taken_at > '$taken'"
	  . " FROM auction._lane_terms WHERE lane_id = $lane");
is( sql("SET statement_timeout = '60s'; SELECT count(*) FROM"
		  . " auction.place_bid($elsewhere, 4, 100 + $_)"),
	'1', 'locked tables: the other lane takes bids')
  foreach 1 .. 10;
is( sql("SELECT count(*) FROM pg_locks WHERE pid = $router AND NOT granted"),
	'0', '... as the router waits for none');
end_session($locks, 'COMMIT;');

is(skip('the disk was lost'), "$lost|$lost_too", 'skipped');
wait_normal();
is(journal($whole), '10 20', 'an auction that has lost nothing has all its bids');
is(sql("SELECT accepted FROM auction.place_bid($whole, 3, 100)"),
	't', '... and takes bids');
is(journal($loses), '10 20', 'the one that has lost bids has those before');
is( sql("SELECT status FROM auction.standings WHERE id = $loses"),
	'quarantined', '... and is quarantined');
like(
	sql("SELECT message FROM auction.dead_letters WHERE auction_id = $loses"),
	qr/^bid 5 of auction $loses does not follow bid 2$/,
	'... by the bid that does not follow');
is(lane('possible_loss_after'), $lost - 1, 'a possible loss is told');
is( sql("SELECT what, lane_id, from_position, to_position, reason"
		  . ' FROM auction.repair_log'),
	"skip_gap|$lane|$lost|$lost_too|the disk was lost",
	'who has skipped what, and why, is kept');
like(
	slurp_file($node->logfile),
	qr/positions $lost to $lost_too are skipped, as ".*" has decided: the disk was lost/,
	'... in the server log, too');
my $letter = sql("SELECT id FROM auction.dead_letters WHERE auction_id = $loses");
is( sql_error($node, 'postgres', "SELECT auction.retry_dead_letter($letter)"),
	'55000', 'the bid behind the lost ones cannot be applied');
sql("SELECT auction.discard_dead_letter($letter, 'bids 3 and 4 are lost')");
is(sql("SELECT auction.lift_quarantine($loses, 'bids 3 and 4 are lost')"),
	't', 'given up');
is(sql("SELECT accepted, bid_no FROM auction.place_bid($loses, 4, 60)"),
	't|3', 'the auction goes on');
wait_applied($node, 'postgres');
wait_shown($node, 'postgres', $redis, $loses);
pass('... and Redis shows nothing of what was given up');

# ---- at the end of the log ----

sql('SELECT auction.pause_drain()');
bid($whole, 200);
my $last = bid($whole, 300);
crash_and_lose($last);
poll_until($node, 'postgres', "SELECT gap_to IS NOT NULL"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
is(lane('gap_from, gap_to'), "$last|$last", 'the last one is missing');
is(skip('again'), "$last|$last", 'skipped');
wait_normal();
is(journal($whole), '10 20 100 200', 'what there was is applied');
cmp_ok(
	sql("SELECT count(*) FROM auction.audit($whole)"
		  . " WHERE place = 'redis' AND status = 'error'"),
	'>', 0, 'Redis shows the bid that is lost, and audit tells');
is(sql("SELECT accepted, bid_no FROM auction.place_bid($whole, 5, 250)"),
	't|5', 'its number is given again, its position is not');
wait_applied($node, 'postgres');
cmp_ok(lane('applied'), '>', $last, '... positions go on behind');
wait_shown($node, 'postgres', $redis, $whole);
pass('... nor does Redis show the lost one any more');
is( sql("SELECT a.item FROM auction.audit($whole) a"),
	'possible loss', 'row, bids and Redis agree, a loss stays possible');

# ---- a close, and a move, behind a lost bid ----

my $closes = auction_on($lane);
my $moves = auction_on($lane);
my $stays = auction_on($lane);
my $over = auction_on($lane);
bid($_, 10) foreach ($closes, $moves, $stays, $over);
sql("SELECT auction.close_auction($over)");
wait_status($node, 'postgres', $over, 'consolidated');
sql('SELECT auction.pause_drain()');
my @lost = map { bid($_, 20) } ($closes, $moves);
my $published = lane('published');
my @psql = (
	start_psql($node, 'postgres', "SELECT auction.close_auction($closes)"),
	start_psql($node, 'postgres', "SELECT auction.close_auction($stays)"),
	start_psql($node, 'postgres',
		"SELECT auction.set_route($moves, 'table')"));
poll_until($node, 'postgres', "SELECT confirmed = $published + 3"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
crash_and_lose(@lost);
finish_psql($_) foreach @psql;
poll_until($node, 'postgres', "SELECT gap_to IS NOT NULL"
	  . " FROM auction.stat_lanes WHERE lane_id = $lane");
is( sql("SELECT id, a.status FROM unnest(ARRAY[$stays, $over]) id,"
		  . " auction.audit(id) a WHERE item = 'gap'"),
	"$stays|error\n$over|warning",
	'audit: a gap is no error of an auction that was over before');
is(skip('a close and a move'), "$lost[0]|$lost[1]", 'skipped');
wait_normal();
wait_status($node, 'postgres', $stays, 'consolidated');
is( sql("SELECT message FROM auction.dead_letters"
		  . " WHERE auction_id IN ($closes, $moves) ORDER BY auction_id"),
	"close of auction $closes behind bid 2 does not follow bid 1\n"
	  . "move of auction $moves behind bid 2 does not follow bid 1",
	'neither close nor move is applied');
is( sql("SELECT status, route, price, bid_count FROM auction.standings"
		  . " WHERE id IN ($closes, $moves) ORDER BY id"),
	"quarantined|redis|10|1\nquarantined|redis|10|1",
	'... and both auctions are as their bids are');
for my $id ($closes, $moves)
{
	my $dead =
	  sql("SELECT id FROM auction.dead_letters WHERE auction_id = $id");

	sql("SELECT auction.discard_dead_letter($dead, 'bid 2 is lost')");
	is(sql("SELECT auction.lift_quarantine($id, 'bid 2 is lost')"),
		't', 'given up');
}
is(sql("SELECT auction.set_route($moves, 'table')"), 't', 'it can be moved');
check_journal($node, 'postgres', 'in the end');

done_testing();
