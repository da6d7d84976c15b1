# What auction.stat_routes counts on route redis: as many bids as clients were
# told of, each with what it was told; errors, and bids that wait, while Redis or
# the router stands still; what is left of it after a crash.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('statroutes', conf => <<'CONF');
auction.slots = 100
auction.role_slots = 100
auction.max_databases = 2
max_prepared_transactions = 2
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

sub stat_of
{
	my ($columns, $route, $db) = @_;

	$route //= 'redis';
	return $node->safe_psql($db // 'postgres',
		"SELECT $columns FROM auction.stat_routes WHERE route = '$route'");
}

sub wait_stat
{
	my ($expression, $route) = @_;

	$route //= 'redis';
	return poll_until($node, 'postgres',
		"SELECT $expression FROM auction.stat_routes WHERE route = '$route'");
}

my $in_order = <<'SQL';
p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= p999_ms
	AND p999_ms <= max_ms AND mean_ms > 0 AND mean_ms <= max_ms
SQL
my $price = 1_000_000;

sub place
{
	my ($auction) = @_;

	$price++;
	return "SELECT accepted FROM auction.place_bid($auction, 7, $price)";
}

sub stop_router
{
	my $pid = worker_pid($node, 'postgres', 'router');

	kill 'STOP', $pid;
	poll('the router is stopped',
		sub { return slurp_file("/proc/$pid/stat") =~ /\) T /; });
	return $pid;
}

sub end_sessions
{
	my ($function) = @_;

	return sql(<<"SQL");
SELECT count($function(pid)) FROM pg_stat_activity
 WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'
SQL
}

# ---- many clients on either route ----

foreach my $route ('redis', 'table')
{
	my $first = new_auction($node, 'postgres', route => "'$route'");
	my $last = new_auction($node, 'postgres', route => "'$route'");

	sql('SELECT auction.stat_reset()');
	my $load = start_bidders(
		$node, 'postgres', $first, $last,
		clients => 16,
		bids => 3000);
	my $told = finish_bidders($load);
	is( stat_of('accepted, rejected, bids, errors, rolled_back', $route),
		join('|',
			$told->{accepted}, $told->{rejected},
			$told->{accepted} + $told->{rejected}, 0, 0),
		"$route: 16 clients: as many as they were told");
	is( stat_of("rejected_by - 'too_low'", $route),
		'{}', '... for the reason they were told');
	is(stat_of($in_order, $route), 't', '... latencies are in order');
	is( stat_of("p50_ms * 1000 <= $told->{p50_us} * 1.07 + 1", $route),
		't', '... the median is not longer than the clients saw');
	is(stat_of('waiting', $route), '0', '... nobody waits any more');
	wait_applied($node, 'postgres');
	check_answers($node, 'postgres', $load);
}
is(stat_of('bids'), '0', 'the other route has none since the reset');

# ---- the commit is part of a bid on route table ----

# A deferred trigger makes it slow.
my $held = new_auction($node, 'postgres', route => "'table'");
sql(<<'SQL');
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';
CREATE TABLE slowly (at timestamptz);
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slowly DEFERRABLE
	INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();
SQL
sql('SELECT auction.stat_reset()');
sql('WITH slowly AS (INSERT INTO slowly VALUES (NULL)) ' . place($held));
is(stat_of('max_ms >= 200', 'table'),
	't', 'in a transaction of its own: to the commit');
sql('SELECT auction.stat_reset()');
sql('BEGIN; INSERT INTO slowly SELECT clock_timestamp(); '
	  . place($held)
	  . '; INSERT INTO slowly SELECT clock_timestamp(); COMMIT');
is( stat_of(
		'bids = 1 AND max_ms <= (SELECT 1000 * '
		  . 'extract(epoch FROM max(at) - min(at)) FROM slowly)', 'table'),
	't', 'in a transaction block: to the verdict');

sql('SELECT auction.stat_reset()');
sql('BEGIN; ' . place($held) . "; PREPARE TRANSACTION 'bid'");
is(stat_of('accepted, rolled_back', 'table'),
	'1|0', 'prepared: counted as accepted');
sql("COMMIT PREPARED 'bid'");

# ---- place_bids, in waves ----

my $id = new_auction($node, 'postgres', route => "'redis'");
my $other = new_auction($node, 'postgres', route => "'redis'");
sql('SELECT auction.stat_reset()');
is( sql(<<"SQL"), '500', 'a call of 500 bids on two lanes and one on no auction');
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(
	ARRAY(SELECT ROW(CASE i % 2 WHEN 0 THEN $id ELSE $other END, 7, i, NULL,
			NULL)::auction.bid_request FROM generate_series(1, 500) i)
	|| ROW(0, 7, 1, NULL, NULL)::auction.bid_request)
SQL
is(stat_of('accepted, rejected, errors'), '500|0|0', '... all are counted');
is(stat_of($in_order), 't', '... each with the time of its wave');
is(stat_of('rejected_by', 'table'),
	'{"unknown_auction": 1}', '... the last one on route table');
is(sql("SELECT count(*) FROM auction.place_bids(ARRAY(SELECT "
		  . "ROW($id, 7, 1, NULL, NULL)::auction.bid_request "
		  . 'FROM generate_series(1, 70) i))'),
	'70', 'a call of refused ones');
is(stat_of('rejected_by'), '{"too_low": 70}', '... by reason');

# ---- Redis stands still: bids wait, and are shown ----

sql('SELECT auction.stat_reset()');
kill 'STOP', $redis->pid;
my $frozen = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
sql('SELECT auction.pause_drain()');
my @clients;
foreach (1 .. 3)
{
	push @clients, start_psql($node, 'postgres', place($frozen));
	wait_stat("waiting = $_");
}
pass('three bids wait for a verdict');
is(stat_of('bids + errors'), '0', '... and are not counted before they have it');
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($frozen)),
	'RB003',
	'statement_timeout: outcome unknown');
is(stat_of('errors, errors_by'), '1|{"unknown": 1}', '... counted so');
end_sessions('pg_cancel_backend');
finish_psql($_) foreach @clients;
is(stat_of('errors_by'), '{"unknown": 4}', 'cancelled: the same');
my $client = start_psql($node, 'postgres', place($frozen));
wait_stat('waiting = 1');
end_sessions('pg_terminate_backend');
like((finish_psql($client))[1], qr/RB003.*FATAL/s, 'terminated');
is(stat_of('bids, errors, errors_by'), '0|5|{"unknown": 5}', '... too');
kill 'CONT', $redis->pid;
sql('SELECT auction.resume_drain()');
wait_lanes($node, 'postgres', 'normal');
wait_stat('waiting = 0');
wait_applied($node, 'postgres');
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $frozen"),
	'5', 'all five were recorded in the end');

# ---- the router stands still: not recorded, overloaded ----

sql('SELECT auction.stat_reset()');
my $router = stop_router();
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($id)),
	'RB002',
	'statement_timeout before the router took it');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '100ms';" . place($id)),
	'RB004',
	'auction.overload_timeout');
is(stat_of('errors_by'),
	'{"overloaded": 1, "not_recorded": 1}', 'each by its class');
is( sql_error($node, 'postgres', <<"SQL"), 'RB004', 'a call of 200, two waves');
SET auction.overload_timeout = '100ms';
SELECT count(*) FROM auction.place_bids(ARRAY(SELECT
	ROW($id, 7, $price + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 200) i))
SQL
is(stat_of('errors_by'),
	'{"overloaded": 65, "not_recorded": 1}',
	'... those of its first wave, for the others were not handed over');

# All slots are taken by others: no slot is had.
@clients = map { start_psql($node, 'postgres', "SET auction.overload_timeout = '5min'", <<"SQL") } 1 .. 2;
SELECT count(*) FROM auction.place_bids(ARRAY(SELECT
	ROW($id, 7, $price + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 60) i))
SQL
wait_stat('waiting = 100');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '100ms';" . place($id)),
	'RB004',
	'no slot');
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($id)),
	'RB002',
	'cancelled in the queue for a slot: not recorded');
is(stat_of('bids, errors_by'),
	'0|{"overloaded": 66, "not_recorded": 2}',
	'... both counted');
kill 'CONT', $router;
finish_psql($_) foreach @clients;
is(stat_of('bids, accepted + rejected, waiting'),
	'120|120|0', 'the router goes on: who waited is counted, with a verdict');

# ---- the queue of route table ----

sql('SELECT auction.stat_reset()');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe(place($held));
@clients = map { start_psql($node, 'postgres', place($held)) } 1 .. 2;
wait_stat('waiting = 2', 'table');
pass('table: two wait in the queue');
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($held)),
	'57014',
	'... a third gives up');
$holder->query_safe('ROLLBACK');
$holder->quit;
finish_psql($_) foreach @clients;
is(stat_of('bids, errors_by, rolled_back, waiting', 'table'),
	'2|{"not_recorded": 1}|1|0', '... is an error; the first is rolled back');
is( sql_error(
		$node, 'postgres',
		'BEGIN; INSERT INTO auction.auctions (id, seller_id, ends_at, route) '
		  . "VALUES (777, 0, now() + interval '1 h', 'redis'); "
		  . place(777)),
	'RB008',
	'a bid that would wait for itself');
is(stat_of('bids + errors'), '0', '... is no error of the route');

# ---- two databases ----

sql('CREATE DATABASE two');
$node->safe_psql('two', 'CREATE EXTENSION auction');
my $there = new_auction($node, 'two');
sql(place($id));
$node->safe_psql('two', "SELECT auction.place_bid($there, 7, $_)") foreach 1 .. 3;
is( stat_of('bids', 'table', 'two') . ' ' . stat_of('bids', 'redis', 'two'),
	'3 0', 'another database counts its own bids');
is(stat_of('bids') . ' ' . stat_of('bids', 'table'),
	'1 2', '... and this one, its own');
$node->safe_psql('two', 'SELECT auction.stat_reset()');
is( stat_of('bids', 'table', 'two') . ' ' . stat_of('bids'),
	'0 1', '... resets, too');
$node->safe_psql('two', "SELECT auction.place_bid($there, 7, 10)");
$node->safe_psql('two', 'DROP EXTENSION auction CASCADE');
$node->safe_psql('two', 'CREATE EXTENSION auction');
is(stat_of('bids', 'table', 'two'), '0', 'a new extension begins at 0');
$there = new_auction($node, 'two');
$node->safe_psql('two', "SELECT auction.place_bid($there, 7, 10)");
is(stat_of('bids', 'table', 'two'), '1', '... and counts');

# Beyond auction.max_databases nothing is counted, and nothing fails.
sql('CREATE DATABASE three');
my $third = start_psql(
	$node, 'three',
	'CREATE EXTENSION auction',
	'INSERT INTO auction.auctions (id, seller_id, ends_at) '
	  . "VALUES (1, 0, now() + interval '1 h')",
	'SELECT accepted FROM auction.place_bid(1, 7, 1)',
	"SELECT bids FROM auction.stat_routes WHERE route = 'table'");
is((finish_psql($third))[0], "t\n0", 'a database too many counts nothing');
$node->safe_psql('two', 'DROP EXTENSION auction CASCADE');
$node->safe_psql('three', 'SELECT auction.place_bid(1, 7, 2)');
is(stat_of('bids', 'table', 'three'), '1', '... until there is room');

# ---- the report ----

sql('SELECT auction.stat_reset()');
my $compared = new_auction($node, 'postgres', route => "'table'");
sql("SELECT count(auction.place_bid(a, 7, $price + i)) FROM "
	  . "unnest(ARRAY[$id, $compared]) a, generate_series(1, 60) i");
$price += 60;
is( sql(<<"SQL"), '60|60|0|0', 'route_report shows both');
SELECT max("table") FILTER (WHERE item = 'bids'),
	max(redis) FILTER (WHERE item = 'bids'),
	max("table") FILTER (WHERE item = 'errors'),
	max(redis) FILTER (WHERE item = 'errors') FROM auction.route_report()
SQL
my $verdict = sql(
	"SELECT redis FROM auction.route_report('reset', 50) WHERE item = 'verdict'"
);
like($verdict, qr/^(better|worse|no difference)$/, "... and says: $verdict");
$router = stop_router();
is( sql_error($node, 'postgres', <<"SQL"), 'RB004', 'sixty errors');
SET auction.overload_timeout = '100ms';
SELECT count(*) FROM auction.place_bids(ARRAY(SELECT
	ROW($id, 7, $price + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 60) i))
SQL
kill 'CONT', $router;
is( sql(<<'SQL'), 'worse|errors 50.00 % instead of 0.00 %', '... make it worse');
SELECT max(redis) FILTER (WHERE item = 'verdict'),
	substring(max(redis) FILTER (WHERE item = 'because') FROM '[^,]*')
FROM auction.route_report('reset', 50)
SQL

# ---- after a crash all begins anew ----

sql(place($id));
kill 9, worker_pid($node, 'postgres', 'drain');
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 2 AND sum(bids) = 0 AND sum(errors) = 0
	AND min(since) >= pg_postmaster_start_time() FROM auction.stat_routes
SQL
pass('a crash restart begins at 0');
wait_lanes($node, 'postgres', 'normal');
poll_until($node, 'postgres', place($id));
is(stat_of('accepted'), '1', '... and counts');

# ---- without the library ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->adjust_conf('postgresql.conf', $_, undef)
  foreach qw(auction.max_databases auction.max_servers auction.max_lanes
  auction.tail_size auction.slots);
$node->restart;
is(sql(place($held)), 't', 'not preloaded: a bid on route table is placed');
is(sql('SELECT count(*) FROM auction.stat_routes'), '0', '... not counted');
is( join(' ',
		map { sql_error($node, 'postgres', $_) }
		  'SELECT auction.stat_reset()',
		'SELECT auction.route_report()'),
	'RB005 RB005',
	'... and nothing is there to reset or to report');

done_testing();
