# The guard rolls the rollout back by itself: Redis hangs, Redis is slow, bids
# end with errors, the journal falls behind; and not for what is the
# application's own doing, nor when it is off or nothing is rolled out.

use strict;
use warnings;

use AuctionTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('guard', conf => <<'CONF');
auction.tail_size = '64kB'
auction.guard_window = '3s'
auction.guard_min_bids = 10
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, options => "command_timeout '4s'");

sub sql { return $node->safe_psql('postgres', @_); }

# Limits that are not named are off.
sub set_limits
{
	my (%limit) = @_;
	my %all = (error_share => 100, p99 => 0, lag => 0, %limit);

	$node->append_conf('postgresql.conf', "auction.guard_$_ = $all{$_}")
	  foreach sort keys %all;
	$node->reload;
	return;
}

sub enter
{
	my ($first, $n) = @_;

	return sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at)
SELECT i, 0, now() + interval '1 day' FROM generate_series($first, $first + $n - 1) i
SQL
}

sub roll_out
{
	my ($percent) = @_;

	sql("CALL auction.set_rollout($percent)");
	return poll_until($node, 'postgres',
		'SELECT done_at IS NOT NULL FROM auction.rollout');
}

sub fired { return sql('SELECT guard_fired_at IS NOT NULL FROM auction.rollout'); }

sub wait_fired
{
	return poll_until($node, 'postgres',
		'SELECT guard_fired_at IS NOT NULL FROM auction.rollout');
}

# Holds the drain as a lock of somebody does: it is not paused. Ends with the
# session.
sub hold_drain
{
	my $holder = start_psql($node, 'postgres', 'BEGIN',
		'LOCK TABLE auction.journal IN SHARE MODE', 'SELECT pg_sleep(600)');

	poll_until($node, 'postgres', <<'SQL');
SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareLock' AND granted
	AND relation = 'auction.journal'::regclass)
SQL
	return $holder;
}

sub let_go
{
	my ($holder) = @_;

	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
	eval { finish_psql($holder) };
	return;
}

# Until the steward has looked at the bids that are under way now.
sub wait_looks
{
	my $before = sql('SELECT clock_timestamp()');

	poll('the guard has looked twice', sub {
		return sql(<<"SQL") >= 2; });
SELECT count(*) FROM generate_series(1, 2) i
WHERE clock_timestamp() > '$before'::timestamptz + i * interval '1.2 s'
SQL
	return;
}

# A session that listens; what it has heard when it ends.
my $listener = { in => "LISTEN auction_guard;\n\\echo ready\n", out => '' };
$listener->{run} = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$listener->{in}, '>', \$listener->{out}, '2>&1');
$listener->{run}->pump until $listener->{out} =~ /ready/;

# Tests: what the guard has done, and that it is told everywhere.
sub check_fired
{
	my ($what, $reason, $auctions) = @_;

	like(sql('SELECT guard_reason FROM auction.rollout'),
		$reason, "$what: the reason is in auction.rollout");
	is(sql('SELECT percent::float8, why FROM auction.rollout'),
		'0|guard', "$what: rolled back");
	like( sql('SELECT detail FROM auction.route_log WHERE auction_id IS NULL'
			  . " AND why = 'guard' ORDER BY id DESC LIMIT 1"),
		$reason, "$what: route_log has it");
	poll_until($node, 'postgres',
		"SELECT bool_and(route = 'table') FROM auction.standings"
		  . ' WHERE pinned IS NULL');
	is( sql('SELECT count(*) FROM auction.route_log'
			  . " WHERE why = 'guard' AND to_route = 'table'"
			  . ' AND at >= (SELECT guard_fired_at FROM auction.rollout)'),
		$auctions, "$what: its auctions are on route table");
	is( sql('BEGIN; INSERT INTO auction.auctions (id, seller_id, ends_at)'
			  . " VALUES (99, 0, now() + '1 day') RETURNING route; ROLLBACK"),
		'table', "$what: so are new ones");
	return;
}

enter(1, 20);
sql("SELECT auction.pin_route(20, 'redis')");

# ---- nothing is rolled out, it is off, or the drain is paused ----

set_limits(lag => 1);
my $holder = hold_drain();
sql('SELECT auction.place_bid(20, 7, 10)');
my $behind = 'SELECT max(backlog_seconds) > 2 FROM auction.stat_lanes';
poll_until($node, 'postgres', $behind);
wait_looks();
is(sql('SELECT count(*) FROM auction.rollout WHERE guard_fired_at IS NOT NULL'),
	'0', 'no rollout: nothing to roll back');
let_go($holder);
wait_applied($node, 'postgres');

roll_out(100);
sql('SELECT auction.pause_drain()');
sql('SELECT auction.place_bid(1, 7, 10)');
poll_until($node, 'postgres', $behind);
wait_looks();
is(fired(), 'f', 'the drain is paused: it does not fire');
sql('SELECT auction.resume_drain()');
wait_applied($node, 'postgres');

$node->append_conf('postgresql.conf', 'auction.guard = off');
$node->reload;
$holder = hold_drain();
sql('SELECT auction.place_bid(1, 7, 11)');
poll_until($node, 'postgres', $behind);
wait_looks();
is(fired(), 'f', 'off: it does not fire');
$node->append_conf('postgresql.conf', 'auction.guard = on');
$node->reload;

# ---- the journal falls behind ----

wait_fired();
let_go($holder);
check_fired('lag', qr/behind, the limit is 1\.0 s/, 19);

# it stays fired, whatever comes, until the rollout is set again
sql('CALL auction.roll_back()');
is(fired(), 't', 'it stays fired when rolled back by hand');
wait_looks();
is(sql('SELECT percent::float8 FROM auction.rollout'), '0', '... at 0 %');

# ---- Redis hangs ----

set_limits(p99 => 500);
roll_out(100);
is(fired(), 'f', 'set_rollout() begins again');
my $load = start_bidders($node, 'postgres', 1, 19, clients => 16,
	seconds => 600, first_user => 1000);
poll_until($node, 'postgres',
	"SELECT accepted > 500 FROM auction.stat_routes WHERE route = 'redis'");
is(fired(), 'f', 'all is well');
$redis->freeze;
wait_fired();
like( sql('SELECT auction.place_bid(id, 5, 100000000) FROM auction.auctions'
		  . " WHERE route = 'table' ORDER BY id DESC LIMIT 1"),
	qr/^\(t,/, 'meanwhile an auction on route table is bid on');
$redis->thaw;
check_fired('Redis hangs', qr/p99 is .* limit is 500\.0 ms/, 19);
stop_bidders($load);
check_answers($node, 'postgres', $load);

# ---- Redis is slow ----

roll_out(100);
$load = start_bidders($node, 'postgres', 1, 19, clients => 16,
	seconds => 600, first_user => 3000);
my $slow = fork;
if ($slow == 0)
{
	# each pause begins when the one before has let it through
	exec 'sh', '-c', 'while redis-cli -s "$0" CLIENT PAUSE 900 ALL; do :; done'
	  . ' > /dev/null', $redis->socket;
}
wait_fired();
kill 'TERM', $slow;
waitpid $slow, 0;
check_fired('Redis is slow', qr/p99 is .* limit is 500\.0 ms/, 19);
stop_bidders($load);
check_answers($node, 'postgres', $load);

# ---- what is the application's own doing ----

set_limits(error_share => 1, p99 => 60000);
roll_out(100);
sql('SELECT auction.stat_reset()');
sql(<<'SQL');
DO $$
BEGIN
	FOR i IN 1 .. 300 LOOP
		PERFORM auction.place_bid(1, 7, 0);
		BEGIN
			PERFORM auction.place_bid(1, 7, -1);
		EXCEPTION WHEN numeric_value_out_of_range THEN
		END;
		BEGIN
			INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (1, 7, 0);
		EXCEPTION WHEN SQLSTATE 'RB001' THEN
		END;
		BEGIN
			PERFORM auction.place_bid(NULL, 7, 1);
		EXCEPTION WHEN null_value_not_allowed THEN
		END;
	END LOOP;
END $$;
SQL
is(sql("SELECT rejected, errors FROM auction.stat_routes WHERE route = 'redis'"),
	'600|0', 'bad bids are no errors');
wait_looks();
is(fired(), 'f', 'bad bids: it does not fire');

# ---- bids end with errors ----

# the tail fills, and bids fail with "overloaded"
sql('SELECT auction.pause_drain()');
my ($ret) = ask($node, 'postgres', <<'SQL');
SET auction.overload_timeout = '20ms';
DO $$
DECLARE
	top bigint := 1000000000;
BEGIN
	FOR i IN 1 .. 400 LOOP
		BEGIN
			PERFORM auction.place_bid(2, 7, top + i);
		EXCEPTION WHEN SQLSTATE 'RB004' THEN
		END;
	END LOOP;
END $$;
SQL
is($ret, 0, 'bids that fail');
cmp_ok(
	sql("SELECT (errors_by ->> 'overloaded')::int FROM auction.stat_routes"
		  . " WHERE route = 'redis'"),
	'>', 10, 'many do');
wait_fired();
sql('SELECT auction.resume_drain()');
check_fired('errors', qr/% of the bids ended with an error, the limit is 1\.00 %/,
	19);
is( sql('SELECT route FROM auction.standings WHERE id = 20'),
	'redis', 'who is pinned to redis is there all the time');

# ---- what was heard and written down ----

$listener->{in} .= "SELECT 'end';\n\\q\n";
$listener->{run}->finish;
my @heard = $listener->{out} =~ /notification "auction_guard" with payload "(.*?)"/g;
is(scalar(@heard), 4, 'each time a notification');
like($heard[0], qr/behind/, 'with the reason');
$node->stop;
my @logged = slurp_file($node->logfile) =~
  /WARNING:\s+(?:\w+:\s+)?the guard has rolled back the rollout: (.*)/g;
is("@logged", "@heard", 'and a line in the server log');
$redis->stop;
done_testing();
