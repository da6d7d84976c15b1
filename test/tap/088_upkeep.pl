# History on several servers over the years: shards are spread evenly, old bids
# leave, a dump of the home keeps where everything is, and what a restored shard
# server lacks is named.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $home = new_node('home');
my $one = new_shard_node('one');
my $two = new_shard_node('two', streaming => 1);

sub sql { return $home->safe_psql('postgres', @_); }

# What a statement fails with.
sub error
{
	my ($db, $statement) = @_;
	my ($ret, $out, $err) = ask($home, $db, $statement);

	return $ret == 0 ? '' : $err;
}

# Auctions of these numbers with 40 bids each, consolidated.
sub fill
{
	my ($first, $last) = @_;

	sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
SELECT i, 0, now() + interval '1 day', 'table'
FROM generate_series($first, $last) i;
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(auction, n, n, gen_random_uuid(), jsonb_build_object('n', n))
		::auction.bid_request
	FROM generate_series($first, $last) auction, generate_series(1, 40) n
	ORDER BY n, auction));
SELECT auction.close_auction(i) FROM generate_series($first, $last) i;
SQL
	poll_until($home, 'postgres', <<"SQL");
SELECT bool_and(status = 'consolidated') FROM auction.standings
WHERE id BETWEEN $first AND $last
SQL
	return;
}

sub places
{
	return sql(<<'SQL');
SELECT string_agg(shard || '@' || coalesce(server, 'here'), ' ' ORDER BY shard)
FROM auction.shards
SQL
}

my $shards_there = <<'SQL';
SELECT coalesce(string_agg(relname, ' ' ORDER BY relname COLLATE "C"), '')
FROM pg_class WHERE relnamespace = 'auction_shard'::regnamespace
	AND relkind = 'r' AND relname <> 'identity'
SQL

# ---- chosen shards ----

sql('SELECT auction.create_shards(4)');
is( sql(<<'SQL'), '0/4 1/4 2/4 3/4', 'shards as many as were asked for');
SELECT string_agg(shard || '/' || modulus, ' ' ORDER BY shard)
FROM auction.shards
SQL
is( sql(<<'SQL'), '4', '... each with its indexes');
SELECT count(*) FROM (SELECT i.indrelid FROM pg_index i
	JOIN auction.shards s ON s.relation = i.indrelid
	GROUP BY 1 HAVING count(*) = 3) s
SQL
fill(1, 10);

# ---- spreading ----

shard_server($home, $one);
shard_server($home, $two);
my $bids = sql('SELECT count(*), sum(amount) FROM auction.bids');
is( sql(<<'SQL'), 'here>one here>one here>two here>two', 'a plan that spreads');
SELECT string_agg(coalesce(source, 'here') || '>' || coalesce(target, 'here'),
	' ' ORDER BY target) FROM auction.rebalance_plan()
SQL
is(places(), '0@here 1@here 2@here 3@here', '... is only a plan');
sql('CALL auction.rebalance()');
is( sql('SELECT server, count(*) FROM auction.shards GROUP BY 1 ORDER BY 1'),
	"one|2\ntwo|2", 'carried out: two shards on each server');
is(sql('SELECT count(*), sum(amount) FROM auction.bids'), $bids, 'same bids');
is(sql('SELECT count(*) FROM auction.rebalance_plan()'), '0', 'nothing to do');
is( sql(<<'SQL'), '1', 'among three places one shard goes home');
SELECT count(*) FROM auction.rebalance_plan('{one,two,NULL}')
WHERE target IS NULL
SQL
sql("CALL auction.rebalance('{one}')");
is( sql('SELECT DISTINCT server FROM auction.shards'),
	'one', 'a server that is to be given up is emptied');
is($two->safe_psql('postgres', $shards_there), '', '... and nothing left there');
sql('CALL auction.rebalance()');
is(sql('SELECT count(*), sum(amount) FROM auction.bids'), $bids, 'same bids');

$two->stop('immediate');
like(
	error('postgres', 'SELECT * FROM auction.rebalance_plan()'),
	qr/could not connect to shard server "two"/, 'a server that is away is named');
$two->start;

# ---- old bids ----

fill(11, 20);
sql("UPDATE auction._state SET consolidated_at = now() - interval '1 year' WHERE auction_id <= 5");
is(sql("SELECT count(*) FROM auction.history_export(now() - interval '1 day')"),
	'200', 'what is old can be exported');
my $reader = $home->background_psql('postgres');
is( $reader->query_safe(
		'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM auction.bids'),
	'800', 'a reader begins');
$home->append_conf('postgresql.conf', "auction.history_retention = '30d'");
$home->reload;
poll_until($home, 'postgres',
	'SELECT count(removed_at) = 5 FROM auction.standings');
is(sql('SELECT count(*) FROM auction.bids'), '600', 'nobody sees old bids');
is($reader->query_safe('SELECT count(*) FROM auction.bids'),
	'800', '... but who began before');
is(sql('SELECT count(*) FROM auction._removals'), '5', '... for whom they stay');
$reader->query_safe('COMMIT');
poll_until($home, 'postgres', 'SELECT count(*) = 0 FROM auction._removals');
is(sql('SELECT count(*) FROM auction.history'), '600', 'then they are removed');
is($reader->query_safe('SELECT count(*) FROM auction.bids'), '600', 'and seen no more');
$reader->quit;
is( sql(<<'SQL'), '10|5|5', 'the auctions stay');
SELECT count(*), count(removed_at), count(*) FILTER (WHERE price = 40
	AND leader_id = 40 AND removed_at IS NOT NULL)
FROM auction.standings WHERE id <= 10
SQL
is(sql('SELECT count(*) FROM auction.audit(3)'), '0', '... with nothing wrong');
is(sql('SELECT count(*) FROM auction.verify_history()'), '0', '... or missing');
is(sql('SELECT count(*) FROM auction.top_bids(3)'), '0', 'no bids of theirs');

# a server is away: the rest waits for it, and comes
$one->stop('immediate');
sql("UPDATE auction._state SET consolidated_at = now() - interval '1 year' WHERE auction_id = 6");
poll_until($home, 'postgres',
	'SELECT count(removed_at) = 6 FROM auction.standings');
poll_until($home, 'postgres',
	"SELECT error IS NOT NULL FROM auction.shard_servers WHERE server = 'one'");
is(sql('SELECT count(*) FROM auction._removals'), '1', 'a server is away: it is tried again');
$one->start;
poll_until($home, 'postgres', 'SELECT count(*) = 0 FROM auction._removals');
is(sql('SELECT count(*) FROM auction.history WHERE auction_id = 6'), '0', '... and removed');
$home->append_conf('postgresql.conf', 'auction.history_retention = 0');
$home->reload;
sql('CALL auction.remove_history(now())');
is(sql('SELECT count(*) FROM auction.history'), '0', 'all, by hand');

# ---- a shard server comes back from a backup ----

fill(21, 25);
$two->backup('earlier');
fill(26, 30);
is(sql('SELECT count(*) FROM auction.verify_history(deep => true)'), '0', 'all there');
$two->stop('immediate');
my $again = AuctionTest::Node->new('again');
$again->init_from_backup($two, 'earlier');
$again->start;
my ($host, $port) = ($again->host, $again->port);
sql("ALTER SERVER two OPTIONS (SET host '$host', SET port '$port')");
sql("SELECT auction.add_shard_server('two')");
is( sql('SELECT auction_id, expected, differs FROM auction.verify_history()'),
	join("\n", map { "$_|40|bids" } 26 .. 30),
	'what was consolidated after the backup is named');
fill(31, 32);
is(sql('SELECT count(*) FROM auction.verify_history(31)'), '0', 'and it goes on');

# ---- a dump of the home ----

sql('CALL auction.move_shard(1, NULL)') if places() !~ /1\@here/;
sql('CALL auction.split_shard(1)');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $where = places();
$bids = sql('SELECT count(*), sum(amount) FROM auction.bids');
foreach my $format (qw(plain custom))
{
	$home->command_ok(
		[ 'pg_dump', "-F$format", '-f', "$dir/$format", $home->connstr('postgres') ],
		"pg_dump -F$format");
}
sql('CREATE DATABASE plain');
sql('CREATE DATABASE custom');
$home->command_ok(
	[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain", $home->connstr('plain') ],
	'restored by psql');
$home->command_ok(
	[ 'pg_restore', '-e', '-j', '3', '-d', $home->connstr('custom'), "$dir/custom" ],
	'restored by pg_restore with three jobs');
foreach my $db (qw(plain custom))
{
	is( $home->safe_psql($db, <<'SQL'), $where, "$db: the shards are where they were");
SELECT string_agg(shard || '@' || coalesce(server, 'here'), ' ' ORDER BY shard)
FROM auction.shards
SQL
	is($home->safe_psql($db, 'SELECT count(*), sum(amount) FROM auction.bids'),
		$bids, "$db: and every bid is there");
	is( $home->safe_psql($db, 'SELECT count(*) FROM auction.verify_history(31)'),
		'0', "$db: verified");
	like(
		error($db, "CALL auction.move_shard(1, 'one')"),
		qr/is not the home/, "$db: a copy may not write there");
}
$home->safe_psql('custom', "SELECT auction.add_shard_server('one')");
like(
	error('postgres', "CALL auction.move_shard(1, 'one')"),
	qr/is not the home/, '... until it is made the home, and then the other may not');
$home->safe_psql('custom', "CALL auction.move_shard(1, 'one')");
is($home->safe_psql('custom', 'SELECT count(*), sum(amount) FROM auction.bids'),
	$bids, 'which goes on');

done_testing();
