# A rollout from 5 to 100 percent and back, while auctions are bid on and while
# things are held, break and come back.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rollout', conf => <<'CONF');
auction.overload_timeout = '60s'
auction.max_lanes = 8
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }
sub session { return open_session($node, 'postgres', @_); }

# So many auctions from the id "first" on, or on the route.
sub enter
{
	my ($first, $n, $route) = @_;

	$route = defined $route ? "'$route'" : 'NULL';
	return sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
SELECT i, 0, now() + interval '1 day', $route
FROM generate_series($first, $first + $n - 1) i
SQL
}

sub set_rollout { return sql("CALL auction.set_rollout($_[0])"); }

sub wait_done
{
	return poll_until($node, 'postgres',
		'SELECT done_at IS NOT NULL FROM auction.rollout');
}

# Open auctions that are not pinned and not where the rollout wants them.
my $wrong = <<'SQL';
SELECT count(*) FROM auction.standings s, auction.rollout r
WHERE status = 'open' AND s.pinned IS NULL AND route <> CASE
	WHEN auction.rollout_bucket(id, salt) < percent * 100 THEN 'redis'
	ELSE 'table' END
SQL

sub on_redis
{
	return split /\n/, sql('SELECT id FROM auction.standings'
		  . " WHERE route = 'redis' AND pinned IS NULL ORDER BY id");
}

# Until the rollout has nothing left to move but what is held, which it leaves.
sub wait_left
{
	my ($n) = @_;
	return poll_until($node, 'postgres',
		"SELECT to_move = $n AND failed > 0 FROM auction.rollout");
}

# ---- 5 -> 20 -> 50 -> 100 -> 0, bid on meanwhile ----

enter(1, 600);
sql(<<'SQL');
SELECT auction.pin_route(i, 'table') FROM generate_series(1, 30, 10) i;
SELECT auction.pin_route(i, 'redis') FROM generate_series(2, 30, 10) i;
SQL
my @loads = map {
	start_bidders(
		$node, 'postgres', 1 + 100 * $_, 100 + 100 * $_,
		clients => 4,
		seconds => 600)
} (0, 1);

my @before;
foreach my $percent (5, 20, 50, 100, 0)
{
	set_rollout($percent);
	wait_done();
	is(sql($wrong), '0', "$percent %: every auction is where it should be");
	my @now = on_redis();
	my %now = map { $_ => 1 } @now;
	my @gone = grep { !$now{$_} } @before;
	is("@gone", '', "$percent %: who was in is still in") if $percent > 0;
	is(scalar(@now), $percent == 100 ? 594 : 0, "$percent %: all of them")
	  if $percent % 100 == 0;
	is( sql('SELECT count(*) FROM auction.standings WHERE pinned <> route'),
		'0', "$percent %: pinned ones stay");
	is( sql("SELECT to_move, pinned, time_left = '0' FROM auction.rollout"),
		'0|6|t', "$percent %: nothing is left to be moved");
	@before = @now;
}

# live ones are left, new ones are not
sql('CALL auction.set_rollout(30, move_live => false)');
enter(601, 100);
is(sql("$wrong AND id > 600"), '0', 'move_live => false: new ones');
is(join(' ', grep { $_ <= 600 } on_redis()), '', '... and live ones stay');

# back in the middle of a burst
set_rollout(100);
wait_done();
sql('CALL auction.roll_back()');
wait_done();
is(join(' ', on_redis()), '', 'rolled back while bids come in');
stop_bidders($_) foreach @loads;
wait_applied($node, 'postgres');
check_answers($node, 'postgres', @loads);
check_journal($node, 'postgres', 'after the steps');
is( sql("SELECT bool_and(r.route IS NOT NULL) FROM auction.bids r"),
	't', 'every bid has its route');
cmp_ok(sql("SELECT count(DISTINCT route) FROM auction.bids"),
	'==', 2, 'both routes have decided');

# ---- auctions that are never at rest ----

# Four sessions take turns with the auction's lock: one has it, others wait, so
# that it is never free to be tried. A bid that is refused gives it back, so the
# next is higher.
enter(1001, 2, 'table');
my @turns = map { start_psql($node, 'postgres', <<"SQL") } 1 .. 4;
DO \$\$
DECLARE
	n int := 0;
BEGIN
	WHILE n < 20000 AND (SELECT route = 'table' FROM auction.standings
		WHERE id = 1001)
	LOOP
		IF (auction.place_bid(1001, $_, 4 * n + $_)).accepted THEN
			PERFORM pg_sleep(0.02);
		END IF;
		COMMIT;
		n := n + 1;
	END LOOP;
END \$\$
SQL
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) >= 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
SQL
my $burst = start_bidders(
	$node, 'postgres', 1002, 1002,
	clients => 24,
	first_user => 5000,
	seconds => 600);
poll_until($node, 'postgres',
	'SELECT bid_count > 200 FROM auction.standings WHERE id = 1002');
set_rollout(100);
wait_done();
is( sql('SELECT string_agg(route, \' \') FROM auction.standings'
		  . ' WHERE id IN (1001, 1002)'),
	'redis redis', 'in a burst: moved to redis');
is((finish_psql($_))[1], '', 'no error') foreach @turns;
sql('CALL auction.roll_back()');
wait_done();
is(sql('SELECT route FROM auction.standings WHERE id = 1002'),
	'table', 'in a burst: rolled back');
stop_bidders($burst);
check_answers($node, 'postgres', $burst);

# ---- a transaction that was under way when the rollout changed ----

my $insert = session(<<'SQL');
BEGIN;
INSERT INTO auction.auctions (id, seller_id, ends_at)
VALUES (1004, 0, now() + interval '1 day');
SQL
my $unpin = session('BEGIN; SELECT auction.unpin_route(1);');
set_rollout(100);
poll_until($node, 'postgres',
	"SELECT to_move = 0 AND moved > 0 FROM auction.rollout");
is( sql('SELECT done_at IS NULL FROM auction.rollout'),
	't', 'not done while older transactions are open');
end_session($insert, 'COMMIT;');
end_session($unpin, 'COMMIT;');
wait_done();
is( sql('SELECT id, route FROM auction.standings WHERE id IN (1, 1004)'
		  . ' ORDER BY id'),
	"1|redis\n1004|redis",
	'what they committed is moved behind them');

# A pin to table, not yet committed, is not seen; its auction comes back to
# where it is pinned.
my $pin = session(<<'SQL');
SET client_min_messages = warning;
BEGIN;
SELECT auction.pin_route(1004, 'table');
SQL
set_rollout(99.99);
poll_until($node, 'postgres',
	"SELECT route = 'redis' FROM auction.standings WHERE id = 1004");
end_session($pin, 'COMMIT;');
wait_done();
is( sql('SELECT route, pinned FROM auction.standings WHERE id = 1004'),
	'table|table', 'a pin that was committed later holds');

# ---- a held auction is passed over, and moved later ----

set_rollout(0);
wait_done();
my $holder = session('BEGIN; SELECT auction.place_bid(300, 77777, 1000000);');
set_rollout(100);
wait_left(1);
is(sql('SELECT route FROM auction.standings WHERE id = 300'),
	'table', 'one is held, all others are moved');
# it does not keep due auctions waiting
is( sql("INSERT INTO auction.auctions (id, seller_id, ends_at, route)"
		  . " VALUES (1003, 0, now() + interval '200 ms', 'table')"
		  . ' RETURNING id'),
	'1003', 'one that ends soon');
wait_status($node, 'postgres', 1003, 'consolidated');
end_session($holder, 'COMMIT;');
wait_done();
is(sql('SELECT route FROM auction.standings WHERE id = 300'),
	'redis', 'let go: moved');

# nor does a lock on auctions, which an application may take
set_rollout(0);
wait_done();
sql("INSERT INTO auction.auctions (id, seller_id, ends_at, route)"
	  . " VALUES (1005, 0, now() + interval '2 s', 'table')");
my $table = session('BEGIN; LOCK TABLE auction.auctions IN SHARE MODE;');
set_rollout(100);
poll_until($node, 'postgres', 'SELECT failed > 0 FROM auction.rollout');
wait_status($node, 'postgres', 1005, 'consolidated');
is(sql('SELECT moved FROM auction.rollout'), '0', 'auctions is locked: no move');
end_session($table, 'COMMIT;');
wait_done();
is(sql($wrong), '0', '... and all when it is free');

# ---- things break ----

enter(2001, 4000);
wait_applied($node, 'postgres');

# Until the rollout is in the middle.
sub wait_middle
{
	return poll_until($node, 'postgres',
		'SELECT moved > 200 FROM auction.rollout');
}

set_rollout(0);
wait_middle();
my $steward = worker_pid($node, 'postgres', 'steward');
sql("SELECT pg_terminate_backend($steward)");
worker_pid($node, 'postgres', 'steward', not => $steward);
wait_done();
is(sql($wrong), '0', 'the steward died: its successor goes on');

set_rollout(100);
wait_middle();
restart_killed($node);
wait_lanes($node, 'postgres', 'normal');
wait_done();
is(sql($wrong), '0', 'PostgreSQL crashed: the rollout goes on');

set_rollout(0);
wait_middle();
$redis->kill9;
wait_done();
is(sql($wrong), '0', 'Redis is down: back on table all the same');
set_rollout(50);
wait_done();
is(sql($wrong), '0', '... and to redis, degraded');
$redis->start;
wait_lanes($node, 'postgres', 'normal');

set_rollout(100);
wait_done();
my $router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
set_rollout(0);
poll_until($node, 'postgres', 'SELECT failed > 0 FROM auction.rollout');
cmp_ok(sql('SELECT to_move FROM auction.rollout'),
	'>', 0, 'the router hangs: its auctions are passed over');
kill 'CONT', $router;
wait_done();
is(sql($wrong), '0', '... and moved when it goes on');

set_rollout(100);
wait_done();
sql('SELECT auction.pause_drain()');
set_rollout(0);
poll_until($node, 'postgres', 'SELECT failed > 0 FROM auction.rollout');
is(sql('SELECT max(backlog_records) FROM auction.stat_lanes'),
	'0', 'the drain is paused: nothing is moved, whose bids would wait');
sql('SELECT auction.resume_drain()');
wait_done();
is(sql($wrong), '0', '... and the rest follows');

# ---- a rollout that changes while it is going on ----

set_rollout(100);
wait_middle();
sql('CALL auction.roll_back()');
wait_done();
is(join(' ', on_redis()), '', 'rolled back in the middle');
is( sql('SELECT percent, why, moved > 0 FROM auction.rollout'),
	'0.00|roll_back|t', '... and that is what the view says');

# ---- one after the other ----

my $first = session('BEGIN; CALL auction.set_rollout(10);');
my $second = start_psql($node, 'postgres', 'CALL auction.set_rollout(20)');
poll_until($node, 'postgres',
	"SELECT count(*) = 1 FROM pg_locks WHERE NOT granted");
enter(7001, 1);
wait_status($node, 'postgres', 1003, 'consolidated');
end_session($first, 'COMMIT;');
is((finish_psql($second))[1], '', 'the second waits for the first');
is( sql("SELECT string_agg(detail, ', ' ORDER BY id DESC) FROM (SELECT * FROM"
		  . ' auction.route_log WHERE auction_id IS NULL'
		  . ' ORDER BY id DESC LIMIT 2) l'),
	'rollout 10 % -> 20 %, rollout 0 % -> 10 %',
	'... and begins where that has ended');
wait_done();
is(sql($wrong), '0', 'the last one holds');

wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'at the end');
is( sql(<<'SQL'), '0', 'the log has every change of a route that is now');
SELECT count(*) FROM auction.standings s WHERE moved_at IS NOT NULL AND
 (SELECT (to_route, at) FROM auction.route_log WHERE auction_id = s.id
  ORDER BY id DESC LIMIT 1) IS DISTINCT FROM (route, moved_at)
SQL

# ---- dump and restore ----

my $saved = 'SELECT percent, salt, move_live, why, set_at, set_by, pinned,'
  . ' to_move, moved, failed, began_at, done_at FROM auction.rollout';
my $pins = 'SELECT * FROM auction._pins ORDER BY 1';
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
$node->command_ok(
	[ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
sql('CREATE DATABASE copy');
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'),
		'-f', $dump
	],
	'restored');
is($node->safe_psql('copy', $saved), sql($saved), 'the rollout is restored');
is($node->safe_psql('copy', $pins), sql($pins), '... and so are pins');
is( $node->safe_psql('copy', <<'SQL'), 't', '... and it goes on for new auctions');
INSERT INTO auction.auctions (id, seller_id, ends_at)
SELECT i, 0, now() + interval '1 day' FROM generate_series(8001, 8100) i;
SELECT bool_and((route = 'redis')
	= (auction.rollout_bucket(id, 'rollout') < 2000))
FROM auction.standings WHERE id > 8000
SQL
$node->stop('fast');

done_testing();
