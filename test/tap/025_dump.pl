# A dump has all that users entered and bid, in whatever state the auctions are;
# it restores where there is no Redis, and where the library is not preloaded.
# A dump taken while bids come in restores to bids that agree with the states.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('source');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

my $dir = PostgreSQL::Test::Utils::tempdir();

# ---- auctions in every state, on both routes ----

sql(<<'SQL');
INSERT INTO auction.auctions (id, seller_id, title, ends_at, route, durability,
	start_price, increment, attributes)
SELECT i, 99, 'Lot ' || i, now() + interval '1 day',
	CASE WHEN i % 2 = 0 THEN 'table' ELSE 'redis' END,
	CASE WHEN i % 3 = 0 THEN 'journal' ELSE 'redis' END,
	100, 5, jsonb_build_object('lot', i)
FROM generate_series(1, 24) i;
SELECT setval('auction.auctions_id_seq', 500);
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(auction, 1 + n % 17, 100 + 5 * n, gen_random_uuid(),
		CASE WHEN n % 4 = 0 THEN jsonb_build_object('n', n) END)
		::auction.bid_request
	FROM generate_series(1, 24) auction, generate_series(0, 19) n
	WHERE auction % 8 <> 0
	ORDER BY n, auction));
SELECT auction.close_auction(i) FROM generate_series(13, 24) i;
SQL
poll_until($node, 'postgres',
	"SELECT count(*) = 12 FROM auction.standings WHERE status = 'consolidated'");
# closed, and neither verified nor consolidated: a bid is missing
sql(<<'SQL');
SELECT auction.wait_applied();
DELETE FROM auction.journal WHERE auction_id IN (5, 6) AND bid_no = 7;
SELECT auction.close_auction(5), auction.close_auction(6);
SQL
poll_until($node, 'postgres',
	"SELECT count(*) = 2 FROM auction.standings WHERE status = 'quarantined'");
# a dead letter; its outcome may be called unknown
sql('ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 100000)');
ask($node, 'postgres', 'SELECT auction.place_bid(7, 3, 100001)');
poll_until($node, 'postgres', 'SELECT count(*) = 1 FROM auction.dead_letters');
sql('ALTER TABLE auction.journal DROP CONSTRAINT modest');

# proxy auctions by a table of our own; bids retracted, auctions cancelled
sql(<<'SQL');
INSERT INTO auction.increment_tables VALUES ('house', 1000, 50), ('house', 0, 10);
INSERT INTO auction.auctions (id, seller_id, kind, ends_at, route, start_price,
	increment_table, reserve_price, buy_now_price, extend_window, extend_by,
	extend_limit)
SELECT i, 99, 'proxy', now() + interval '1 day',
	CASE WHEN i % 2 = 0 THEN 'table' ELSE 'redis' END, 100, 'house', 900, 90000,
	'2 days', '3 days', now() + interval '9 days'
FROM generate_series(31, 34) i;
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(auction, n, 300 * n, NULL, NULL)::auction.bid_request
	FROM generate_series(31, 34) auction, generate_series(1, 5) n
	ORDER BY n, auction));
SELECT auction.retract_bid(i, 5, 'by mistake') FROM generate_series(31, 34) i;
SELECT auction.cancel_auction(i, 'stolen') FROM generate_series(33, 34) i;
SQL
poll_until($node, 'postgres',
	'SELECT count(consolidated_at) = 2 FROM auction.standings'
	  . " WHERE status = 'cancelled'");
# the steward has nothing left to do, so nothing changes any more
poll_until($node, 'postgres', <<'SQL');
SELECT NOT EXISTS (SELECT FROM auction._refresh) AND NOT EXISTS
	(SELECT FROM auction._state WHERE keys_left AND consolidated_at IS NOT NULL)
SQL

# What a restored database must have, row by row.
my %content = (
	'auctions' => 'SELECT * FROM auction.auctions ORDER BY id',
	'states' => 'SELECT * FROM auction._state ORDER BY auction_id',
	'journal' => 'SELECT * FROM auction.journal ORDER BY auction_id, bid_no',
	'history' => 'SELECT tableoid::regclass, * FROM auction.history'
	  . ' ORDER BY auction_id, bid_no',
	'bids' => 'SELECT * FROM auction.bids ORDER BY auction_id, bid_no',
	'standings' => 'SELECT * FROM auction.standings ORDER BY id',
	'dead letters' => 'SELECT * FROM auction.dead_letters ORDER BY id',
	'lanes' => 'SELECT id, server, lane, uuid, applied FROM auction.lanes'
	  . ' ORDER BY id',
	'terms' => 'SELECT lane_id, reserved FROM auction._lane_terms ORDER BY 1',
	'increment tables' => 'SELECT * FROM auction.increment_tables ORDER BY 1, 2',
	'sequence' => 'SELECT last_value FROM auction.auctions_id_seq');

sub contents
{
	my ($from, $db) = @_;
	return { map { $_ => $from->safe_psql($db, $content{$_}) } keys %content };
}

my $expected = contents($node, 'postgres');
is($expected->{bids} =~ tr/\n// + 1,
	20 * 21 - 2 + 20, 'bids in journal and history');

sub dump_to
{
	my ($file, @options) = @_;

	$node->command_ok(
		[
			'pg_dump', @options, '-f', $file, '-d', $node->connstr('postgres')
		],
		"pg_dump @options");
	return;
}

sub check_restored
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $to, $db) = @_;
	my $found = contents($to, $db);

	foreach my $name (sort keys %content)
	{
		is($found->{$name}, $expected->{$name}, "$what: $name");
	}
	return;
}

dump_to("$dir/plain.sql");
dump_to("$dir/custom.dump", '-Fc');
dump_to("$dir/inserts.sql", '--inserts');

# The copy must not meet the Redis of the original: it is another owner.
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');

# ---- into another database of the cluster ----

sql('CREATE DATABASE copy');
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'),
		'-f', "$dir/plain.sql"
	],
	'restored with psql');
check_restored('copy', $node, 'copy');
wait_workers($node, 'copy', 'steward', 'router', 'drain');
pass('copy: its workers start');
is( $node->safe_psql(
		'copy', 'SELECT accepted, bid_no FROM auction.place_bid(2, 3, 1000)'),
	't|21',
	'copy: route table goes on');
is( sql_error($node, 'copy', 'SELECT auction.place_bid(1, 3, 1000)'),
	'RB006', 'copy: route redis waits for its log');
is( $node->safe_psql(
		'copy',
		'SELECT accepted, bid_no, price, leader_id'
		  . ' FROM auction.place_bid(32, 6, 9000)'),
	't|6|1250|6',
	'copy: a proxy auction goes on by its own steps');
is( sql_error(
		$node, 'copy',
		"UPDATE auction.increment_tables SET increment = 1 WHERE name = 'house'"),
	'RB009',
	'copy: ... which cannot change meanwhile');
cmp_ok(
	$node->safe_psql(
		'copy',
		"INSERT INTO auction.auctions (seller_id, ends_at, route) "
		  . "VALUES (1, now() + interval '1 day', 'table') RETURNING id"),
	'>',
	500,
	'copy: the sequence goes on');
$node->safe_psql('copy', 'SELECT auction.close_auction(2)');
wait_status($node, 'copy', 2, 'consolidated');
pass('copy: closed, verified, consolidated');
is( $node->safe_psql(
		'copy', "SELECT count(*) FROM auction.bids WHERE auction_id = 2"),
	'21',
	'... with all its bids');
check_journal($node, 'copy', 'copy');

# ---- row by row, each a transaction of its own ----

sql('CREATE DATABASE rows');
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('rows'),
		'-f', "$dir/inserts.sql"
	],
	'restored from INSERTs');
check_restored('rows', $node, 'rows');
sql('DROP DATABASE rows WITH (FORCE)');

# ---- into a cluster where the library is not preloaded, and back ----

my $bare = new_node('bare', preload => 0, extension => 0);
$bare->command_ok(
	[
		'pg_restore', '--exit-on-error', '-d', $bare->connstr('postgres'),
		"$dir/custom.dump"
	],
	'restored with pg_restore, not preloaded');
check_restored('not preloaded', $bare, 'postgres');
is( $bare->safe_psql(
		'postgres',
		'SELECT accepted, bid_no FROM auction.place_bid(2, 3, 1000)'),
	't|21',
	'not preloaded: route table goes on');
is( sql_error($bare, 'postgres', 'SELECT auction.place_bid(1, 3, 1000)'),
	'RB005', 'not preloaded: route redis needs it');
$bare->command_ok(
	[
		'pg_dump', '-f', "$dir/again.sql", '-d', $bare->connstr('postgres')
	],
	'not preloaded: dumped again');

# Preloaded, with an empty Redis: the bids that it had are in the journal.
$bare->append_conf('postgresql.conf', "shared_preload_libraries = 'auction'");
$bare->restart;
my $new_redis = start_redis();
my $socket = $new_redis->socket;
$bare->safe_psql('postgres',
	"ALTER SERVER redis1 OPTIONS (SET host '$socket')");
wait_lanes($bare, 'postgres', 'normal');
is( $bare->safe_psql(
		'postgres',
		'SELECT accepted, bid_no FROM auction.place_bid(1, 3, 1000)'),
	't|21',
	'preloaded, a Redis of its own: route redis goes on where it was');
wait_applied($bare, 'postgres');
check_journal($bare, 'postgres', 'own Redis');
$bare->stop('fast');

# ---- while bids come in ----

sql('DROP DATABASE copy WITH (FORCE)');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
my @loads = map {
	start_bidders(
		$node, 'postgres', $_, $_,
		clients => 4,
		think => 2,
		increment => 5,
		seconds => 120)
} (1, 4);
poll_until($node, 'postgres',
	'SELECT bool_and(bid_count > 100) FROM auction._state'
	  . ' WHERE auction_id IN (1, 4)');
dump_to("$dir/busy.sql");
stop_bidders($_) foreach @loads;
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
sql('CREATE DATABASE busy');
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('busy'),
		'-f', "$dir/busy.sql"
	],
	'restored: a dump taken while bids came in');
check_journal($node, 'busy', 'busy');
is( $node->safe_psql('busy', <<'SQL'), 't', 'busy: no bid is behind what its lane says is applied');
SELECT bool_and(j.position <= l.applied)
FROM auction.journal j JOIN auction.lanes l ON l.id = j.lane_id
SQL
is( $node->safe_psql('busy',
		'SELECT count(*) FROM auction.bids WHERE auction_id IN (1, 4)') > 200
	? 1
	: 0,
	1,
	'busy: bids of both routes are in it');
$node->stop('fast');

done_testing();
