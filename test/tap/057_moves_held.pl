# Moves, one step at a time: who takes part is held with SIGSTOP, or waits for
# what is held, so that what can happen once in a thousand moves happens here.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing but a commit that asks for it flushes the WAL soon.
my $node = new_node('moves_held', conf => <<'CONF');
wal_writer_delay = 10s
auction.lane_lease = '1h'
auction.overload_timeout = '120s'
max_prepared_transactions = 2
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1,
	options => "command_timeout '1h'");

sub sql { return $node->safe_psql('postgres', @_); }
sub auction { return new_auction($node, 'postgres', @_); }
sub on_redis { return auction(route => "'redis'", @_); }

# "accepted|bid_no|price|route"
my $bid_sql = 'SELECT accepted, bid_no, price, route'
  . ' FROM auction.place_bid(%d, %d, %d)';
sub bid { return sql(sprintf $bid_sql, @_); }
sub move { return sql("SELECT auction.set_route($_[0], '$_[1]')"); }
sub keys_of { return ("{auction:1}:auction:$_[0]", "{auction:1}:book:$_[0]"); }

sub start { return start_psql($node, 'postgres', @_); }

# The session that runs a statement with this in it.
sub pid_of
{
	my ($part) = @_;

	return sql("SELECT pid FROM pg_stat_activity WHERE state = 'active'"
		  . " AND pid <> pg_backend_pid() AND query LIKE '%$part%'");
}

# Tests: that the auction goes on, and ends well.
sub check_end
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($id, $what) = @_;

	is(sql("SELECT auction.close_auction($id)"), 't', "$what: closed");
	poll_until($node, 'postgres', "SELECT status = 'quarantined' OR"
		  . " consolidated_at IS NOT NULL FROM auction.standings WHERE id = $id");
	is(sql("SELECT status, reason FROM auction.standings WHERE id = $id"),
		'consolidated|', "$what: verified and consolidated");
	return;
}

# ---- what the drain and the router remember ends with a move ----

my $id = on_redis(kind => "'proxy'", increment => 10);
is(bid($id, 1, 100), 't|1|0|redis', 'a bid');
is(move($id, 'table'), 't', 'to table');
is(move($id, 'redis'), 't', 'and back, without a bid there');
is(bid($id, 2, 200), 't|2|110|redis', 'the next one follows');
is(move($id, 'table'), 't', 'to table');
is(bid($id, 3, 300), 't|3|210|table', 'a bid there');
is(move($id, 'redis'), 't', 'and back');
is(bid($id, 4, 400), 't|4|310|redis', 'it was seen');
wait_applied($node, 'postgres');
is(sql("SELECT price FROM auction.retract_bid($id, 4, 'x')"), '210',
	'changed at rest');
is(move($id, 'table'), 't', 'to table: over the row as it is then');
is(sql("SELECT price, leader_id, retracted_count, route"
		  . " FROM auction.standings WHERE id = $id"),
	'210|3|1|table', '... nothing of it is lost');
is(bid($id, 5, 400), 't|5|310|table', '... and the next one follows');
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
check_end($id, 'remembered');

# ---- moved back before its caller looks ----

$id = on_redis();
bid($id, 1, 10);
sql('SELECT auction.pause_drain()');
my $mover = start("SELECT auction.set_route($id, 'table')");
wait_waiting($node, 'postgres', 1);
my $pid = stand_still(pid_of("set_route($id"));
sql('SELECT auction.resume_drain()');
poll_until($node, 'postgres',
	"SELECT route = 'table' FROM auction.standings WHERE id = $id");
is(move($id, 'redis'), 't', 'somebody moves it back before its caller looks');
go_on($pid);
is((finish_psql($mover))[0], 't', '... who is told that he has moved it');
is(sql("SELECT string_agg(to_route, ' ' ORDER BY id) FROM auction.route_log"
		  . " WHERE auction_id = $id"),
	'table redis', '... once');

# ---- a bid behind a move waits for the move, not for the router ----

sql('SELECT auction.pause_drain()');
$mover = start("SELECT auction.set_route($id, 'table')");
wait_waiting($node, 'postgres', 1);
poll_until($node, 'postgres', 'SELECT published = confirmed'
	  . ' AND published > applied FROM auction.stat_lanes');
ok(eval {
		poll_until($node, 'postgres',
			'SELECT applied_wanted > 0 FROM auction.stat_lanes');
	}, 'the drain is told that a move is waited for');
my $bid = start(sprintf $bid_sql, $id, 2, 20);
wait_waiting($node, 'postgres', 2);
# what is asked for later is answered: so that bid has its answer, too
is(sql("SELECT price FROM auction.standing($id)"), '10', 'moving: still seen');
my $router = stand_still(worker_pid($node, 'postgres', 'router'));
sql('SELECT auction.resume_drain()');
ok(eval {
		poll_until($node, 'postgres', 'SELECT route, bid_count'
			  . " FROM auction.standings WHERE id = $id", 'table|2');
	}, 'the bid needs no router any more');
go_on($router);
is((finish_psql($bid))[0], 't|2|20|table', '... it is done');
is((finish_psql($mover))[0], 't', '... and so is the move');
check_end($id, 'behind a move');

# ---- a verdict that has come beats a cancel that comes with it ----

my $other = on_redis();
my $others = 0;

# What a statement answers, and its error, when the verdict on its first bid on
# route redis and a cancel find it at the same moment.
sub cancelled_late
{
	my ($statement, $part) = @_;

	$redis->freeze;
	my $session = start($statement);
	poll_until($node, 'postgres',
		'SELECT published > confirmed FROM auction.stat_lanes');
	my $held = stand_still(pid_of($part));
	is(sql("SELECT pg_cancel_backend($held)"), 't', 'cancelled');
	$redis->thaw;
	# answered behind it
	$others++;
	is(bid($other, $others, 10 * $others),
		"t|$others|${others}0|redis", 'a later bid is answered');
	go_on($held);
	return finish_psql($session);
}

$id = on_redis();
bid($id, 1, 10);
is((cancelled_late(sprintf($bid_sql, $id, 2, 20), "place_bid($id"))[0],
	't|2|20|redis', 'the one before it, too');
check_end($id, 'cancelled');

# ... but not if there is more to do.
$id = on_redis();
bid($id, 1, 10);
my $on_table = new_auction($node, 'postgres', route => "'table'");
like((cancelled_late(<<"SQL", "place_bids(ARRAY[ROW($id"))[1],
SELECT count(*) FROM auction.place_bids(ARRAY[ROW($id, 2, 20, NULL, NULL),
	ROW($on_table, 2, 20, NULL, NULL)]::auction.bid_request[])
SQL
	qr/57014.*which stay accepted: 1/s,
	'the one before it, too; the list ends behind it');
is(sql("SELECT bid_count FROM auction.standings WHERE id = $on_table"),
	'0', 'what came behind it is not done');
check_end($id, 'cancelled in a list');

# The statement has another row, on route redis, too.
$id = on_redis();
bid($id, 1, 10);
my $behind = on_redis();
like((cancelled_late(<<"SQL", 'INSERT INTO auction.bids (auction_id, user_id'))[1],
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES ($id, 2, 20), ($behind, 2, 20)
SQL
	qr/RB002.*on auction $behind/s,
	'the first row, too; the statement ends at the second');
wait_applied($node, 'postgres');
is(sql("SELECT bid_count FROM auction.standings WHERE id IN ($id, $behind)"
		. ' ORDER BY id'),
	"2\n0", 'what came behind it is not done');
check_end($id, 'cancelled in a statement');

# ---- keys that are not to go, and keys that come back ----

# The steward takes it for one on table, but its router has it.
$id = on_redis();
bid($id, 1, 10);
wait_applied($node, 'postgres');
sql("UPDATE auction._state SET route = 't', keys_left = true,"
	  . " moved_at = now() - interval '1 day' WHERE auction_id = $id");
$other = on_redis();
bid($other, 1, 10);
is(move($other, 'table'), 't', 'another one is moved');
poll('its keys are removed',
	sub { return $redis->cli('EXISTS', keys_of($other)) eq '0'; });
is($redis->cli('EXISTS', keys_of($id)), '2', 'those of a live one stay');
sql("UPDATE auction._state SET route = 'r' WHERE auction_id = $id");
is(bid($id, 2, 20), 't|2|20|redis', '... and it goes on');
check_end($id, 'live');

# Its keys are removed; before the steward has noted that, it has been on redis
# again, and its keys are there.
my $steward = stand_still(worker_pid($node, 'postgres', 'steward'));
my ($key) = keys_of($other);
sql(<<"SQL");
UPDATE auction._state SET keys_left = true WHERE auction_id = $other;
BEGIN;
UPDATE auction._state SET moved_at = clock_timestamp() WHERE auction_id = $other;
PREPARE TRANSACTION 'moved again';
SQL
$redis->cli('HSET', $key, 'price', '10');
go_on($steward);
$id = on_redis();
is(move($id, 'table'), 't', 'the steward is woken');
poll_until($node, 'postgres', <<"SQL");
SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $steward
SQL
is($redis->cli('EXISTS', $key), '0', 'it has removed the keys');
$redis->cli('HSET', $key, 'price', '20');
sql("COMMIT PREPARED 'moved again'");
ok(eval {
		poll('', sub { return $redis->cli('EXISTS', $key) eq '0'; });
	}, 'it removes those that have come since, too');
check_end($_, 'keys') foreach ($id, $other);

# ---- a move to redis outlives a crash, as the bids do that build on it ----

$id = auction();
is(bid($id, 1, 10), 't|1|10|table', 'a bid on table');
# so that the next one needs no new block of positions, whose commit is flushed
bid(on_redis(), 1, 10);
wait_applied($node, 'postgres');
sql('SELECT auction.pause_drain()');
is(sql("SET synchronous_commit = off; SELECT auction.set_route($id, 'redis')"),
	't', 'moved, by a commit that does not wait');
is(bid($id, 2, 20), 't|2|20|redis', 'a bid on redis');
restart_killed($node);
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is(sql("SELECT s.route, bid_count, (SELECT string_agg(b.route, ' ' ORDER BY bid_no)"
		  . " FROM auction.bids b WHERE auction_id = s.id)"
		  . " FROM auction.standings s WHERE id = $id"),
	'redis|2|table redis', 'after a crash both are there');
is(bid($id, 3, 30), 't|3|30|redis', '... and bids go on');
check_end($id, 'crash');

# ---- a move that Redis has, and PostgreSQL has not when it crashes ----

$id = on_redis();
bid($id, 1, 10);
sql('SELECT auction.pause_drain()');
$mover = start("SELECT auction.set_route($id, 'table')");
wait_waiting($node, 'postgres', 1);
poll_until($node, 'postgres', 'SELECT published = confirmed'
	  . ' AND published > applied FROM auction.stat_lanes');
restart_killed($node);
like((finish_psql($mover))[1], qr/server closed|terminating|57P0/,
	'its caller does not know');
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is(sql("SELECT route FROM auction.standings WHERE id = $id"), 'table',
	'... it is done by the recovery');
is(sql("SELECT to_route, why FROM auction.route_log WHERE auction_id = $id"),
	'table|manual', '... as the log says');
is(bid($id, 2, 20), 't|2|20|table', '... and bids go on');
check_end($id, 'recovered');

# ---- a move in a degraded lane, there and back ----

$id = on_redis();
bid($id, 1, 10);
$redis->stop;
wait_lanes($node, 'postgres', 'degraded');
is(move($id, 'table'), 't', 'Redis is away: to table');
is(bid($id, 2, 20), 't|2|20|table', '... a bid');
is(move($id, 'redis'), 't', '... and back');
is(bid($id, 3, 30), 't|3|30|redis', '... another one');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
ok(wait_shown($node, 'postgres', $redis, $id), 'it comes back, and shows it');
check_end($id, 'degraded');

# ---- what must not be: a record of an auction that is on table ----

is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|fenced|could not be applied/,
	'nothing worse in the log');
$node->start;
wait_lanes($node, 'postgres', 'normal');
$id = on_redis();
bid($id, 1, 10);
wait_applied($node, 'postgres');
my $drain = worker_pid($node, 'postgres', 'drain');
sql("SELECT auction.pause_drain(); SELECT pg_terminate_backend($drain)");
worker_pid($node, 'postgres', 'drain', not => $drain);
bid($id, 2, 20);
sql("UPDATE auction._state SET route = 't', keys_left = false WHERE auction_id = $id");
sql('SELECT auction.resume_drain()');
poll_until($node, 'postgres',
	"SELECT status = 'quarantined' FROM auction.standings WHERE id = $id");
is(sql('SELECT auction_id, message FROM auction.dead_letters'),
	qq{$id|auction $id is not on route "redis"},
	'a record of an auction that is on table is a dead letter');

$node->stop;
$redis->stop;
done_testing();
