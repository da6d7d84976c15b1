# write_hotspots(): who waits for what is found, whichever way he waits; sums
# survive the steward; nothing that is wrong with sampling holds it up.
use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = start_redis();
my $node = new_node('main', conf => "auction.sample_waits = '50ms'");
my $update = 'UPDATE shop.lots SET price = price + 1 WHERE id';

sub sql { return $node->safe_psql('postgres', @_); }
sub until_sql { return poll_until($node, 'postgres', @_); }
sub in_background { return start_psql($node, 'postgres', @_); }

# Sessions that have begun and go on when somebody says so: they commit, or
# have finished with their statements.
my $nflags = 0;

sub hold
{
	my (@statements) = @_;
	my $flag = ++$nflags;
	my $session = in_background('BEGIN', @statements,
		"DO 'BEGIN WHILE NOT EXISTS (SELECT FROM shop.flags WHERE id = $flag)"
		  . " LOOP PERFORM pg_sleep(0.02); END LOOP; END'",
		'COMMIT');

	$session->{flag} = $flag;
	return $session;
}

sub until_held
{
	my ($session) = @_;

	return until_sql("SELECT count(*) = 1 FROM pg_stat_activity"
		  . " WHERE query LIKE 'DO %id = $session->{flag})%'");
}

sub held
{
	my $session = hold(@_);

	until_held($session);
	return $session;
}

sub let_go
{
	my ($holder, @waiters) = @_;

	sql("INSERT INTO shop.flags VALUES ($holder->{flag})");
	is((finish_psql($_))[1], '', 'a session ends without an error')
	  foreach $holder, @waiters;
	return;
}

# Each waits before the next begins.
sub waiters
{
	my ($n, @statements) = @_;
	my $before = sql('SELECT count(DISTINCT pid) FROM pg_locks'
		  . ' WHERE NOT granted');
	my @sessions;

	foreach my $i (1 .. $n)
	{
		push @sessions, in_background(@statements);
		until_sql('SELECT count(DISTINCT pid) FROM pg_locks'
			  . ' WHERE NOT granted', $before + $i);
	}
	return @sessions;
}

# Of one thing; 0 if it is not there.
sub lock_waits
{
	my ($kind, $name) = @_;

	return sql("SELECT coalesce(sum(lock_waits), 0)"
		  . " FROM auction.write_hotspots(1000)"
		  . " WHERE kind = '$kind' AND name = '$name'");
}

# Until so many more have been sampled.
sub until_grown
{
	my ($kind, $name, $more) = @_;
	my $wanted = lock_waits($kind, $name) + $more;

	poll("$kind $name is sampled",
		sub { return lock_waits($kind, $name) >= $wanted; });
	return pass("$kind $name is sampled");
}

# The steward has been through at least one whole round since this was called.
sub steward_round
{
	my $id = new_auction(
		$node, 'postgres',
		starts_at => 'now()',
		ends_at => "now() + interval '1 ms'");

	wait_status($node, 'postgres', $id, 'consolidated');
	return;
}

sub all_waits
{
	return sql('SELECT coalesce(sum(waits), 0) FROM auction._waits');
}

sql(<<'SQL');
CREATE SCHEMA shop;
CREATE TABLE shop.flags (id int PRIMARY KEY);
CREATE TABLE shop.lots (id int PRIMARY KEY, price int NOT NULL);
CREATE TABLE shop.keyless (price int);
INSERT INTO shop.lots SELECT i, 0 FROM generate_series(1, 100) i;
INSERT INTO shop.keyless VALUES (1);
SELECT auction.write_hotspots_reset();
SQL

# ---- a hot row of an application's own table ----

my $holder = held("$update = 42");
my @waiters = map { waiters(1, "UPDATE shop.lots SET price = $_ WHERE id = 42") }
  1 .. 5;
until_grown('row', 'shop.lots (id)=(42)', 20);
is(sql(<<'SQL'), <<'TOLD' =~ s/\n\z//r, 'table, statement and row are on top');
SELECT kind, name, waiting_now, lock_waits >= 20, wait_share > 0.9,
	waiting_avg > 0, last_seen > now() - interval '1 hour', query_id
FROM auction.write_hotspots() LIMIT 3
SQL
table|shop.lots|5|t|t|t|t|
statement|UPDATE shop.lots SET price = ? WHERE id = ?|5|t|t|t|t|
row|shop.lots (id)=(42)|5|t|t|t|t|
TOLD
let_go($holder, @waiters);
is( sql('SELECT sum(waiting_now) FROM auction.write_hotspots()'),
	'0', 'nobody waits any more');
is( sql("SELECT writes FROM auction.write_hotspots() WHERE kind = 'table'"
		  . " AND name = 'shop.lots'") >= 6,
	1, 'writes are counted');

# Who follows the row's versions waits with no tuple lock: the row is known by
# the one that waits for the same transaction.  Whether they come to that depends
# on who is first at the new version, so it is tried until they do.
my $second;

poll('three wait without a tuple lock', sub {
	$holder = held("$update = 7");
	$second = hold("$update = 7");
	until_sql('SELECT count(*) FROM pg_locks WHERE NOT granted', 1);
	@waiters = waiters(3, "$update = 7");
	sql("INSERT INTO shop.flags VALUES ($holder->{flag})");
	until_held($second);
	finish_psql($holder);
	until_sql('SELECT count(*) FROM pg_locks WHERE NOT granted', 3);
	return 1 if sql("SELECT count(*) FILTER (WHERE NOT granted AND locktype = 'transactionid') = 3"
		  . " AND count(*) FILTER (WHERE locktype = 'tuple') = 0 FROM pg_locks") eq 't';
	let_go($second, @waiters);
	return 0;
});
is( sql("SELECT count(*) FROM pg_locks WHERE locktype = 'tuple'"),
	'0', 'three wait without a tuple lock');
my $rows = 'SELECT relid::regclass, row_key, count(*) FROM auction._waiting'
  . ' GROUP BY 1, 2 ORDER BY 2';
is(sql($rows), 'shop.lots||3', '... for a row that nobody can know');
# one of another row, whose transaction it waits for: not theirs
my $other = held("$update = 8");
my @others = waiters(1, "$update = 8");
is(sql($rows), "shop.lots||3\nshop.lots|(id)=(8)|1", '... nor guess');
push @waiters, waiters(1, "$update = 7");
is( sql($rows),
	"shop.lots|(id)=(7)|4\nshop.lots|(id)=(8)|1",
	'... until one more waits with the tuple lock');
until_grown('row', 'shop.lots (id)=(7)', 8);
let_go($other, @others);
let_go($second, @waiters);

# No primary key; two tables written; an advisory lock; a table's lock.
$holder = held('UPDATE shop.keyless SET price = 2',
	'SELECT pg_advisory_lock(5)', 'SELECT pg_advisory_lock(3, 4)',
	'LOCK TABLE shop.flags IN SHARE MODE');
$second = held('INSERT INTO shop.lots VALUES (1000, 0)');
@waiters = (
	waiters(1, 'UPDATE shop.keyless SET price = 3'),
	waiters(1, 'WITH k AS (INSERT INTO shop.keyless VALUES (4) RETURNING 1)'
		  . ' INSERT INTO shop.lots SELECT 1000, 0 FROM k ON CONFLICT DO NOTHING'),
	waiters(1, 'SELECT pg_advisory_lock(5)'),
	waiters(1, 'SELECT pg_advisory_lock(3, 4)'),
	waiters(1, 'BEGIN', 'LOCK TABLE shop.flags'));
is( sql("SELECT CASE WHEN relid <> 0 THEN relid::regclass::text END, row_key,"
		  . ' statement FROM auction._waiting ORDER BY statement COLLATE "C"'),
	<<'TOLD' =~ s/\n\z//r, 'other ways to wait');
shop.flags||LOCK TABLE shop.flags
|advisory lock 5|SELECT pg_advisory_lock(?)
|advisory lock (3, 4)|SELECT pg_advisory_lock(?, ?)
shop.keyless|ctid (0,1)|UPDATE shop.keyless SET price = ?
||WITH k AS (INSERT INTO shop.keyless VALUES (?) RETURNING ?) INSERT INTO shop.lots SELECT ?, ? FROM k ON CONFLICT DO NOTHING
TOLD
until_grown('row', 'advisory lock (3, 4)', 3);
# the table of the flags is locked
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
	  . " WHERE query LIKE 'DO %'");
finish_psql($_) foreach $holder, $second, @waiters;

# ---- sums survive the steward, and go on ----

$holder = held("$update = 42");
@waiters = waiters(3, "$update = 42");
until_grown('row', 'shop.lots (id)=(42)', 3);
my $before = lock_waits('row', 'shop.lots (id)=(42)');
my $steward = worker_pid($node, 'postgres', 'steward');
sql("SELECT pg_terminate_backend($steward)");
worker_pid($node, 'postgres', 'steward', not => $steward);
cmp_ok(lock_waits('row', 'shop.lots (id)=(42)'),
	'>=', $before, 'a new steward keeps the sums');
until_grown('row', 'shop.lots (id)=(42)', 6);

# ---- nothing holds the steward up ----

# a key that cannot be read, for somebody wants to alter the table
my $altering = (
	waiters(1, 'ALTER TABLE shop.lots ADD COLUMN title text'))[0];
until_grown('statement', 'ALTER TABLE shop.lots ADD COLUMN title text', 3);
# the table of the samples
foreach my $statement ('LOCK TABLE auction._waits IN ACCESS EXCLUSIVE MODE',
	'SELECT auction.write_hotspots_reset()')
{
	my $blocker = held($statement);
	steward_round();
	is( sql("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
			  . " WHERE NOT granted AND backend_type = 'auction steward'"),
		'0', "the steward goes on: $statement");
	let_go($blocker);
}
until_grown('table', 'shop.lots', 8);
is( sql("SELECT count(*) FROM auction.write_hotspots() WHERE kind = 'row'"
		  . " AND name ~ '^shop.lots ctid \\([0-9]+,[0-9]+\\)\$'"),
	'1', 'a row whose key cannot be read is told by its ctid');

# an error: told once, and everything else goes on
$steward = worker_pid($node, 'postgres', 'steward');
my $log = -s $node->logfile;
sql('ALTER TABLE auction._waits ADD CONSTRAINT broken CHECK (waits < 0)'
	  . ' NOT VALID');
poll('the error is told',
	sub { return slurp_file($node->logfile, $log) =~ /"broken"/; });
steward_round() foreach 1 .. 3;
my $told = () = slurp_file($node->logfile, $log) =~ /ERROR: .*"broken"/g;
is($told, 1, 'an error is told once');
is(worker_pid($node, 'postgres', 'steward'), $steward, '... by a steward that stays');
sql('ALTER TABLE auction._waits DROP CONSTRAINT broken');
sql("SELECT pg_terminate_backend($steward)");
until_grown('table', 'shop.lots', 8);

# ---- what is kept is bounded ----

sql(<<'SQL');
INSERT INTO auction._waits SELECT 0, i::text, 0, 'x', '-', 1, 1, now()
FROM generate_series(1, 3000) i;
INSERT INTO auction._waits SELECT 0, i::text, 0, 'old', '-', 1000, 1,
	now() - interval '2 days' FROM generate_series(1, 10) i;
SQL
until_sql("SELECT count(*) BETWEEN 990 AND 1000 AND bool_and(statement <> 'old')"
	  . ' FROM auction._waits');
cmp_ok(lock_waits('table', 'shop.lots'), '>', 1, 'the hot ones are kept');

# ---- sampling off, and on again ----

$node->append_conf('postgresql.conf', 'auction.sample_waits = 0');
$node->reload;
poll(
	'no sample is taken',
	sub {
		my $sum = all_waits();
		steward_round();
		return all_waits() == $sum;
	});
is( sql("SELECT waiting_now FROM auction.write_hotspots() WHERE kind = 'table'"
		  . " AND name = 'shop.lots'"),
	'4', 'off: who waits now is shown all the same');
$node->append_conf('postgresql.conf', "auction.sample_waits = '20ms'");
$node->reload;
until_grown('table', 'shop.lots', 4);
let_go($holder, @waiters, $altering);

# ---- a table that is dropped ----

sql('DROP TABLE shop.lots');
is(lock_waits('table', 'shop.lots'), 0, 'a dropped table');
cmp_ok(lock_waits('table', 'shop.lots (dropped)'), '>', 0, '... is called so');
steward_round();

# ---- auctions: the same load on route table, and on redis ----

attach($node, 'postgres', $redis);
my %auction = map {
	$_ => new_auction(
		$node, 'postgres',
		start_price => 1,
		starts_at => 'now()',
		route => "'$_'")
} qw(table redis);
sql('SELECT auction.write_hotspots_reset()');
my $load = start_bidders($node, 'postgres', $auction{table}, $auction{table},
	clients => 8, seconds => 100);
until_grown('row', "auction._state auction $auction{table}", 20);
is( sql('SELECT kind, name FROM auction.write_hotspots(1) LIMIT 1'),
	'table|auction._state', 'route table: the lock of auctions is on top');
cmp_ok(stop_bidders($load)->{accepted}, '>', 0, '... of bids that are accepted');

sql('SELECT auction.write_hotspots_reset()');
$load = start_bidders($node, 'postgres', $auction{redis}, $auction{redis},
	clients => 8, seconds => 100);
# meanwhile samples are taken
$holder = held('UPDATE shop.keyless SET price = 5');
@waiters = waiters(1, 'UPDATE shop.keyless SET price = 6');
until_grown('table', 'shop.keyless', 20);
cmp_ok(stop_bidders($load)->{accepted}, '>', 0, 'route redis: bids go on');
is(lock_waits('row', "auction._state auction $auction{redis}"),
	0, '... and nobody waits for the auction');
is(lock_waits('table', 'auction._state'), 0, '... nor for another');
let_go($holder, @waiters);

# ---- with pg_stat_statements ----

$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'auction, pg_stat_statements'");
$node->restart;
sql(<<'SQL');
CREATE SCHEMA "Stat";
CREATE EXTENSION pg_stat_statements SCHEMA "Stat";
SELECT auction.write_hotspots_reset();
SELECT count(*) FROM shop.keyless;
SQL
sql("UPDATE shop.keyless SET price = $_") foreach 1 .. 3;
$holder = held('UPDATE shop.keyless SET price = 5');
@waiters = waiters(2, 'UPDATE shop.keyless SET price = 6');
until_grown('table', 'shop.keyless', 4);
let_go($holder, @waiters);
is(sql(<<'SQL'), <<'TOLD' =~ s/\n\z//r, 'pg_stat_statements: writes of the statement that waits');
SELECT h.name, h.lock_waits >= 4, h.writes >= 6, h.write_share > 0,
	h.waiting_now, s.calls
FROM auction.write_hotspots(1000) h
	JOIN "Stat".pg_stat_statements s ON s.queryid = h.query_id
WHERE h.kind = 'statement' AND h.lock_waits > 0
SQL
UPDATE shop.keyless SET price = ?|t|t|t|0|6
TOLD
is( sql("SELECT count(*) FROM auction.write_hotspots(1000)"
		  . " WHERE name LIKE 'SELECT count(*) FROM shop.keyless%'"),
	'0', '... and none that only reads');

$node->stop;
done_testing();
