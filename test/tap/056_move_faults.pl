# A move that cannot finish leaves the auction on one route, working: Redis is
# gone, hangs or is emptied, the lane is fenced or recovers, the drain is held,
# the caller gives up, and PostgreSQL or a worker ends at each step.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('move', conf => <<'CONF');
auction.lane_lease = '1h'
auction.overload_timeout = '60s'
auction.guard = off
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1, options => "command_timeout '1h'");

my $price = 0;

sub sql { return $node->safe_psql('postgres', @_); }

sub enter
{
	my ($route) = @_;

	return new_auction($node, 'postgres', route => "'$route'");
}

# "accepted|bid_no|route" of a bid that is high enough.
sub bid
{
	my ($id) = @_;

	$price++;
	return sql('SELECT accepted, bid_no, route'
		  . " FROM auction.place_bid($id, 7, $price)");
}

sub move
{
	my ($id, $route) = @_;

	return sql("SELECT auction.set_route($id, '$route')");
}

sub route_of
{
	my ($id) = @_;

	return sql("SELECT route FROM auction.standings WHERE id = $id");
}

sub moves_of
{
	my ($id) = @_;

	return sql("SELECT string_agg(to_route, ' ' ORDER BY id) FROM auction.route_log"
		  . " WHERE auction_id = $id");
}

# Tests: it is on that route, takes a bid there, and can go and come back.
sub check_works
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($id, $route, $bid_no, $what) = @_;
	my $other = $route eq 'table' ? 'redis' : 'table';

	is(route_of($id), $route, "$what: it is on route $route");
	is(bid($id), "t|$bid_no|$route", "$what: ... and is bid on");
	is(move($id, $other), 't', "$what: ... can be moved");
	is(bid($id), 't|' . ($bid_no + 1) . "|$other", "$what: ... bid on there");
	is(move($id, $route), 't', "$what: ... and back");
	is(bid($id), 't|' . ($bid_no + 2) . "|$route", "$what: ... and bid on");
	return;
}

# A set_route() to table that waits, with its record in the tail.
sub start_move
{
	my ($id) = @_;
	my $before = sql('SELECT published FROM auction.stat_lanes');
	my $move = start_psql($node, 'postgres',
		"SELECT auction.set_route($id, 'table')");

	poll_until($node, 'postgres',
		"SELECT published > $before FROM auction.stat_lanes");
	return $move;
}

# ---- the drain is held ----

my $id = enter('redis');
bid($id);
sql('SELECT auction.pause_drain()');
my $move = start_move($id);
is( sql_error($node, 'postgres',
		"SET statement_timeout = '200ms'; SELECT auction.set_route($id, 'table')"),
	'57014', 'another one gives up');
my ($ret, $out, $err) = ask($node, 'postgres',
	"SET statement_timeout = '200ms'; SELECT auction.set_route($id, 'table')");
like($err, qr/moving auction $id to route "table", which may still complete/,
	'... and is told that it may complete');
is( sql_error($node, 'postgres', "SET statement_timeout = '200ms';"
		  . " SELECT auction.place_bid($id, 7, 1000)"),
	'RB002', 'a bid that waits for the move and gives up: not recorded');
is(sql("SELECT price FROM auction.standing($id)"), $price, 'it is read meanwhile');
sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
	  . " WHERE query LIKE '%set_route($id%' AND pid <> pg_backend_pid()");
eval { finish_psql($move) };
sql('SELECT auction.resume_drain()');
poll_until($node, 'postgres',
	"SELECT route = 'table' FROM auction.standings WHERE id = $id");
is(moves_of($id), 'table', 'the caller is gone, the move completes');
check_works($id, 'table', 2, 'drain held');

# ---- a bid that comes to the router by an old hint ----

# It has the bid before the move is committed, and looks at the row behind it;
# by then the auction is bid on without a pause on route table. The move is made
# by hand: the router, which is held, could not make it.
$id = enter('redis');
my $router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
my $late = start_psql($node, 'postgres',
	"SELECT accepted, bid_no, route FROM auction.place_bid($id, 8, $price + 10)");
wait_waiting($node, 'postgres', 1);
sql("UPDATE auction._state SET route = 't', moved_at = now() WHERE auction_id = $id");
my $pause = start_psql($node, 'postgres', 'BEGIN',
	"SELECT auction.place_bid($id, 7, $price + 5)", 'SELECT pg_sleep(600)');
poll_until($node, 'postgres', <<"SQL");
SELECT bid_count = 0 AND EXISTS (SELECT FROM pg_locks WHERE granted
	AND locktype = 'advisory' AND objsubid NOT BETWEEN 0 AND 2 AND objid = $id)
FROM auction.standings WHERE id = $id
SQL
kill 'CONT', $router;
poll_until($node, 'postgres', <<"SQL");
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted
	AND locktype = 'advisory' AND objsubid NOT BETWEEN 0 AND 2 AND objid = $id)
SQL
pass('an old hint: the bid waits for its turn on route table, not for a pause');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
eval { finish_psql($pause) };
is((finish_psql($late))[0], 't|1|table', '... and is decided there');
$price += 10;

# ---- workers end while it is under way ----

foreach my $kind ('router', 'drain')
{
	$id = enter('redis');
	bid($id);
	sql('SELECT auction.pause_drain()');
	$move = start_move($id);
	$price += 1000;
	my $bids = start_psql($node, 'postgres',
		"SELECT accepted, bid_no, route FROM auction.place_bid($id, 8, $price)");
	my $pid = worker_pid($node, 'postgres', $kind);
	sql("SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'postgres', $kind, not => $pid);
	sql('SELECT auction.resume_drain()');
	is((finish_psql($move))[0], 't', "$kind ends: the move is done");
	is((finish_psql($bids))[0], 't|2|table', "$kind ends: who waited is decided");
	check_works($id, 'table', 3, "$kind ends");
}

# ---- PostgreSQL crashes: the record is in the log, not applied ----

$id = enter('redis');
bid($id);
wait_applied($node, 'postgres');
sql('SELECT auction.pause_drain()');
$move = start_move($id);
poll_until($node, 'postgres', 'SELECT confirmed = published FROM auction.stat_lanes');
$node->stop('immediate');
eval { finish_psql($move) };
$node->start;
wait_lanes($node, 'postgres', 'normal');
is(moves_of($id), 'table', 'crash behind the log: the move is applied');
check_works($id, 'table', 2, 'crash behind the log');

# ---- ... and not in the log ----

$id = enter('redis');
bid($id);
wait_applied($node, 'postgres');
$redis->freeze;
$move = start_move($id);
$node->stop('immediate');
eval { finish_psql($move) };
# what was sent is not to arrive
$redis->kill9;
$redis->start;
$node->start;
wait_lanes($node, 'postgres', 'normal');
is(moves_of($id), '', 'crash before the log: no move');
check_works($id, 'redis', 2, 'crash before the log');

# ---- to redis: PostgreSQL crashes before and behind the commit ----

foreach my $commit (0, 1)
{
	my $what = $commit ? 'crash behind the commit' : 'crash before the commit';

	$id = enter('table');
	bid($id);
	$move = start_psql($node, 'postgres', 'SET synchronous_commit = off', 'BEGIN',
		"SELECT auction.set_route($id, 'redis')",
		$commit ? 'COMMIT' : 'SELECT 1', "SELECT pg_sleep(600)");
	poll_until($node, 'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%sleep(600)%'"
		  . ' AND pid <> pg_backend_pid()');
	$node->stop('immediate');
	eval { finish_psql($move) };
	$node->start;
	wait_lanes($node, 'postgres', 'normal');
	check_works($id, $commit ? 'redis' : 'table', 2, $what);
}

# ---- the lane is degraded ----

$redis->stop;
wait_lanes($node, 'postgres', 'degraded');
$id = enter('redis');
is(bid($id), 't|1|redis', 'degraded: a bid');
check_works($id, 'redis', 2, 'degraded');
is(move($id, 'table'), 't', 'degraded: away from it');
my $stays = enter('table');
is(move($stays, 'redis'), 't', 'degraded: and to it');
$redis->wipe;
$redis->start;
wait_lanes($node, 'postgres', 'normal');
check_works($id, 'table', 5, 'Redis is back, empty');
check_works($stays, 'redis', 1, 'Redis is back, empty');

# ---- a book that is to be made, of an auction that leaves, or while Redis is
# away, keeps the router from nothing but that ----

$id = enter('redis');
bid($id) foreach (1 .. 3);
sql('SELECT auction.pause_drain()');
$redis->cli('DEL', "{auction:1}:book:$id");
bid($id);
sql("SELECT count(*) FROM auction.top_bids($id)");
$move = start_move($id);
sql('SELECT auction.resume_drain()');
is((finish_psql($move))[0], 't', 'an auction leaves whose book is being made');
check_works($id, 'table', 5, 'book being made');
ok(wait_rest($node, 'postgres', 'router'), '... and the router rests');

$id = enter('redis');
bid($id) foreach (1 .. 3);
sql('SELECT auction.pause_drain()');
$redis->cli('DEL', "{auction:1}:book:$id");
bid($id);
sql("SELECT count(*) FROM auction.top_bids($id)");
$redis->stop;
wait_lanes($node, 'postgres', 'degraded');
ok(wait_rest($node, 'postgres', 'router'),
	'a book to be made while Redis is away: the router rests');
$redis->start;
sql('SELECT auction.resume_drain()');
wait_lanes($node, 'postgres', 'normal');
ok(wait_shown($node, 'postgres', $redis, $id), '... and makes it later');

# ---- Redis hangs: the move waits as bids do, until it answers ----

$id = enter('redis');
bid($id);
$redis->freeze;
$move = start_move($id);
my $waits = start_psql($node, 'postgres',
	"SELECT accepted, bid_no, route FROM auction.place_bid($id, 8, $price + 1000)");
wait_waiting($node, 'postgres', 2);
$redis->thaw;
is((finish_psql($move))[0], 't', 'Redis hangs: the move is done in the end');
is((finish_psql($waits))[0], 't|2|table', '... and the bid decided');
$price += 1000;
check_works($id, 'table', 3, 'Redis hangs');

# ---- the lane recovers, or is fenced ----

$id = enter('redis');
bid($id);
my $table = enter('table');
$node->stop('immediate');
$redis->stop;
$node->start;
wait_lanes($node, 'postgres', 'recovering');
poll('it is refused', sub {
	return sql_error($node, 'postgres', "SELECT auction.set_route($id, 'table')") eq
	  'RB006'; });
is(move($table, 'redis'), 't', 'recovering: to redis it can go');
is(sql_error($node, 'postgres', "SELECT auction.place_bid($table, 7, $price + 1000)"),
	'RB006', '... and waits there');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
check_works($id, 'redis', 2, 'recovered');
check_works($table, 'redis', 1, 'recovered');

my $uuid = $redis->cli('HGET', '{auction:1}:term', 'uuid');
$redis->cli('HSET', '{auction:1}:term', 'uuid', 'another');
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_lanes($node, 'postgres', 'fenced');
is(sql_error($node, 'postgres', "SELECT auction.set_route($id, 'table')"),
	'RB007', 'fenced: refused');
is(route_of($id), 'redis', '... and not moved');
$redis->cli('HSET', '{auction:1}:term', 'uuid', $uuid);
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_lanes($node, 'postgres', 'normal');
check_works($id, 'redis', 5, 'not fenced any more');

# ---- an auction that is damaged on the way ----

$id = enter('redis');
bid($id);
sql('ALTER TABLE auction.journal ADD CHECK (user_id <> 99)');
sql('SELECT auction.pause_drain()');
sql("SELECT auction.place_bid($id, 99, $price + 1000)");
$move = start_move($id);
sql('SELECT auction.resume_drain()');
like((finish_psql($move))[1], qr/RB009.*quarantined/s,
	'a record before the move cannot be applied: not moved, and told so');
is(sql("SELECT status, route FROM auction.standings WHERE id = $id"),
	'quarantined|redis', '... it is quarantined where it was');

# ---- no server; and what is left in Redis ----

sql(<<"SQL");
SELECT auction.close_auction(id) FROM auction.standings WHERE status = 'open'
SQL
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(consolidated_at IS NOT NULL OR status = 'quarantined')
FROM auction.standings
SQL
poll('no auction has keys', sub {
	return $redis->cli('KEYS', '{auction:1}:*:*') =~
	  /^(\{auction:1\}:\w+:$id\n?)*$/; });
check_journal($node, 'postgres', 'in the end');
my $empty = 'none';
sql('CREATE DATABASE none');
$node->safe_psql($empty, 'CREATE EXTENSION auction');
$id = new_auction($node, $empty, route => "'table'");
is(sql_error($node, $empty, "SELECT auction.set_route($id, 'redis')"),
	'RB010', 'no server: refused');
is($node->safe_psql($empty, 'SELECT accepted, route'
		. " FROM auction.place_bid($id, 7, 10)"),
	't|table', '... and it is bid on');
$node->stop;
$redis->stop;
done_testing();
