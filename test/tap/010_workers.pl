# Life of the workers: start, restart, end; databases; standby; limits. No
# Redis answers here: routers and drains live without one.
use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server_sql = <<'SQL';
CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis
	OPTIONS (host '/nonexistent/redis.sock');
SELECT auction.attach_redis('redis1', 2);
SQL

# Like pg_stat_activity, but from the registry.
sub registered
{
	my ($node, $db) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT string_agg(kind, ' ' ORDER BY kind) FROM auction.stat_workers
 WHERE database = '$db' AND state = 'running'
SQL
}

# ---- start, without a restart of the server ----

# its launcher would take a worker slot
my $node = new_node(
	'main',
	streaming => 1,
	conf => 'max_logical_replication_workers = 0');
wait_workers($node, 'postgres', 'launcher', 'steward');
pass('steward starts after CREATE EXTENSION');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'auction router'"
	),
	'0',
	'no router while nothing is attached');

$node->safe_psql('postgres', $server_sql);
wait_workers($node, 'postgres', 'router', 'drain');
pass('router and drain start after attach_redis');
is( registered($node, 'postgres'),
	'drain router steward',
	'stat_workers shows them');

# ---- pg_terminate_backend ----

foreach my $kind ('router', 'drain', 'steward', 'launcher')
{
	my $pid = worker_pid($node, 'postgres', $kind);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"),
		't', "terminate the $kind");
	worker_pid($node, 'postgres', $kind, not => $pid);
	pass("$kind is back");
}
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(restarts > 0) AND count(*) = 4 FROM auction.stat_workers
 WHERE state = 'running'
SQL
pass('restarts are counted');

# A worker takes a cancel request for nobody's.
my $router = worker_pid($node, 'postgres', 'router');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($router)");
$node->reload;
is(worker_pid($node, 'postgres', 'router'),
	$router, 'cancelling and reloading leave the router alone');

# ---- attached servers are protected; detaching ends their workers ----

is(sql_error($node, 'postgres', 'DROP SERVER redis1'),
	'55006', 'an attached server is not dropped');
is( sql_error($node, 'postgres', 'ALTER SERVER redis1 RENAME TO redis2'),
	'55006', 'nor renamed');
is( sql_error($node, 'postgres', "SELECT auction.attach_redis('redis1')"),
	'42710', 'nor attached twice');
is(sql_error($node, 'postgres', "SELECT auction.attach_redis('redis1', 65)"),
	'22023', 'too many lanes for one server');
is(sql_error($node, 'postgres', "SELECT auction.detach_redis('redis2')"),
	'RB010', 'what is not attached is not detached');
$node->safe_psql('postgres', <<'SQL');
CREATE SERVER redis2 FOREIGN DATA WRAPPER auction_redis;
SQL
is( sql_error(
		$node, 'postgres', "SELECT auction.attach_redis('redis2', 60)"),
	'53400',
	'more lanes than there is room');
$node->safe_psql('postgres', 'DROP SERVER redis2');

is( sql_error(
		$node, 'postgres', <<'SQL'), '55006', 'a server in use is not detached');
BEGIN;
INSERT INTO auction.auctions (seller_id, ends_at, route)
	VALUES (1, now() + interval '1 hour', 'redis');
SELECT auction.detach_redis('redis1');
SQL
is( sql_error(
		$node, 'postgres', <<'SQL'), '0A000', 'detaching needs fresh snapshots');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT auction.detach_redis('redis1');
SQL
$node->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT auction.detach_redis('redis1');
ROLLBACK;
SQL
is( $node->safe_psql('postgres', 'SELECT count(*) FROM auction.lanes'),
	'2', 'a detach that is rolled back');
is(worker_pid($node, 'postgres', 'router'),
	$router, '... leaves the router alone');
$node->safe_psql('postgres', "SELECT auction.detach_redis('redis1')");
wait_gone($node, 'postgres', 'router');
wait_gone($node, 'postgres', 'drain');
pass('router and drain end after detach_redis');
$node->safe_psql('postgres', "SELECT auction.attach_redis('redis1', 8)");
wait_workers($node, 'postgres', 'router', 'drain');
pass('attached again, with more lanes');

# ---- a server role without privileges ----

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE seller;
CREATE ROLE dba;
GRANT USAGE ON SCHEMA auction TO seller, dba;
GRANT EXECUTE ON FUNCTION auction.attach_redis, auction.detach_redis TO dba;
GRANT USAGE ON FOREIGN DATA WRAPPER auction_redis TO dba;
SQL
is( sql_error(
		$node, 'postgres',
		"SET ROLE seller; SELECT auction.detach_redis('redis1')"),
	'42501',
	'without EXECUTE');
is( sql_error(
		$node, 'postgres',
		"SET ROLE dba; SELECT auction.detach_redis('redis1')"),
	'42501',
	"somebody else's server");
is( sql_error(
		$node, 'postgres', 'SET ROLE dba; SELECT * FROM auction.stat_workers'
	),
	'42501',
	'stat_workers is for monitors');
$node->safe_psql('postgres', "SELECT auction.detach_redis('redis1')");
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 0 FROM auction.stat_workers WHERE kind = 'router'
SQL
$node->safe_psql('postgres', <<'SQL');
SET ROLE dba;
CREATE SERVER own FOREIGN DATA WRAPPER auction_redis;
SELECT auction.attach_redis('own', 1);
SELECT auction.detach_redis('own');
DROP SERVER own;
RESET ROLE;
SELECT auction.attach_redis('redis1', 2);
SQL
wait_workers($node, 'postgres', 'router', 'drain');
pass('an owner with EXECUTE attaches and detaches');

# ---- DROP EXTENSION ----

$node->safe_psql('postgres', <<'SQL');
BEGIN;
DROP EXTENSION auction CASCADE;
ROLLBACK;
SQL
wait_workers($node, 'postgres', 'steward', 'router', 'drain');
$node->safe_psql('postgres', <<'SQL');
BEGIN;
SAVEPOINT a;
DROP EXTENSION auction CASCADE;
ROLLBACK TO a;
COMMIT;
SQL
wait_workers($node, 'postgres', 'steward', 'router', 'drain');
pass('rolled back: the workers are there');
$node->safe_psql('postgres', 'DROP EXTENSION auction CASCADE');
wait_gone($node, 'postgres');
pass('the workers end with the extension');
$node->safe_psql('postgres', "CREATE EXTENSION auction; $server_sql");
wait_workers($node, 'postgres', 'steward', 'router', 'drain');
pass('they start with a new one');
$node->safe_psql('postgres', <<"SQL");
BEGIN;
DROP EXTENSION auction CASCADE;
CREATE EXTENSION auction;
$server_sql
COMMIT;
SQL
wait_workers($node, 'postgres', 'steward', 'router', 'drain');
pass('dropped and created in one transaction');

# The workers' transactions and the DROP never wait for each other in a circle.
foreach my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'DROP EXTENSION auction CASCADE');
	$node->safe_psql('postgres', "CREATE EXTENSION auction; $server_sql");
}
wait_workers($node, 'postgres', 'steward', 'router', 'drain');
pass('dropped and created many times');

# ---- several databases ----

$node->safe_psql('postgres', 'CREATE DATABASE two');
$node->safe_psql('two', "CREATE EXTENSION auction; $server_sql");
wait_workers($node, 'two', 'steward', 'router', 'drain');
is( registered($node, 'postgres'),
	'drain router steward',
	'a second database does not disturb the first');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE two');
wait_workers($node, 'copy', 'steward', 'router', 'drain');
wait_workers($node, 'two', 'steward', 'router', 'drain');
pass('a copy of a database has workers, and so has the template');
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
wait_workers($node, 'renamed', 'steward', 'router', 'drain');
pass('renamed while the workers run');
$node->safe_psql('postgres', 'BEGIN; ALTER DATABASE renamed RENAME TO x; ROLLBACK');
wait_workers($node, 'renamed', 'steward', 'router', 'drain');
my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
$node->safe_psql('postgres', 'ALTER DATABASE renamed SET TABLESPACE space');
wait_workers($node, 'renamed', 'steward', 'router', 'drain');
pass('moved to another tablespace while the workers run');
$node->safe_psql('postgres', 'DROP DATABASE renamed');
$node->safe_psql('postgres', 'DROP TABLESPACE space');
wait_gone($node, 'renamed');
$node->safe_psql('postgres', 'DROP DATABASE two WITH (FORCE)');
wait_gone($node, 'two');
pass('dropped while the workers run');
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 4 FROM auction.stat_workers
SQL
pass('nothing of them is left in the registry');
unlike(
	slurp_file($node->logfile),
	qr/(FATAL: +database .* does not exist|deadlock detected|PANIC)/,
	'nobody looked for a database that is gone, and no deadlock');

# A database with too many companions: said once, and served later.
foreach my $i (1 .. 4)
{
	$node->safe_psql('postgres', "CREATE DATABASE d$i");
	$node->safe_psql("d$i", 'CREATE EXTENSION auction');
}
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 4 FROM auction.stat_workers
 WHERE kind = 'steward' AND state = 'running'
SQL
$node->wait_for_log(qr/too many databases have the extension/);
pass('auction.max_databases');
$node->safe_psql('postgres', "DROP DATABASE d$_") foreach (1 .. 4);

# ---- a crash of the server's shared memory ----

$router = worker_pid($node, 'postgres', 'router');
kill 9, worker_pid($node, 'postgres', 'steward');
worker_pid($node, 'postgres', 'router', not => $router);
wait_workers($node, 'postgres', 'launcher', 'steward', 'drain');
pass('everything is back after kill -9');

# ---- standby ----

$node->backup('backup');
my $standby = AuctionTest::Node->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'auction %'"
	),
	'0',
	'no workers on a standby');
is( sql_error(
		$standby, 'postgres', "SELECT auction.detach_redis('redis1')"),
	'25006',
	'nothing is detached on a standby');
is( $standby->safe_psql(
		'postgres',
		'SELECT item, status FROM auction.health() ORDER BY item'),
	"dead letters|ok\nlibrary|ok\nquarantined auctions|ok\nstandby|ok",
	'nor does health() miss them there');
$standby->promote;
wait_workers($standby, 'postgres', 'launcher', 'steward', 'router', 'drain');
pass('they start after promotion');
$standby->stop;

# ---- too few worker slots ----

$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
wait_workers($node, 'postgres', 'launcher', 'steward');
$node->safe_psql('postgres', 'CREATE DATABASE three');
$node->safe_psql('three', "CREATE EXTENSION auction; $server_sql");
$node->wait_for_log(qr/too many background workers/);
like(
	slurp_file($node->logfile),
	qr/HINT:  You might need to increase max_worker_processes/,
	'too few worker slots: said in the log, with a hint');
$node->append_conf('postgresql.conf', 'max_worker_processes = 24');
$node->restart;
wait_workers($node, $_, 'steward', 'router', 'drain')
  foreach ('postgres', 'three');
pass('enough worker slots');

$node->append_conf('postgresql.conf', 'max_worker_processes = 5');
$node->restart;
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 5 FROM pg_stat_activity WHERE backend_type LIKE 'auction %'
SQL
my $served = $node->safe_psql('postgres', <<'SQL');
SELECT datname FROM pg_stat_activity WHERE backend_type = 'auction router'
 ORDER BY datname LIMIT 1
SQL
my $other = $served eq 'three' ? 'postgres' : 'three';
$node->safe_psql($served, 'DROP EXTENSION auction CASCADE');
wait_workers($node, $other, 'steward', 'router', 'drain');
pass('a slot that becomes free is used');
$node->stop;

# ---- not preloaded ----

my $bare = new_node('bare', preload => 0, extension => 0);
my ($ret, $out, $err) = $bare->psql('postgres', 'CREATE EXTENSION auction');
is($ret, 0, 'CREATE EXTENSION works without preloading');
like($err, qr/WARNING.*shared_preload_libraries/, '... and says so');
$bare->safe_psql('postgres',
	'CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis');
is(sql_error($bare, 'postgres', "SELECT auction.attach_redis('redis1')"),
	'RB005', 'attach_redis needs preloading');
is(sql_error($bare, 'postgres', 'SELECT * FROM auction.stat_workers'),
	'RB005', 'stat_workers too');
# What a database has that was attached before its server lost the preloading.
$bare->safe_psql('postgres', <<'SQL');
INSERT INTO auction.lanes (server, lane) VALUES ('redis1', 1);
INSERT INTO auction.auctions (id, seller_id, route, ends_at)
VALUES (1, 1, 'redis', now() + interval '1 hour');
SQL
is( sql_error($bare, 'postgres', 'SELECT auction.place_bid(1, 2, 3)'),
	'RB005', 'so does a bid on route redis');
is( sql_error($bare, 'postgres',
		'UPDATE auction.auctions SET ends_at = ends_at + interval $$1 hour$$'),
	'RB005', '... and a change that its router would have to know');
$bare->safe_psql('postgres', 'TRUNCATE auction.lanes, auction._lane_terms');
$bare->append_conf('postgresql.conf', "shared_preload_libraries = 'auction'");
$bare->restart;
wait_workers($bare, 'postgres', 'launcher', 'steward');
pass('preloaded, the launcher finds the extension');
$bare->stop;

done_testing();
