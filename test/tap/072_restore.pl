# PostgreSQL is restored to an earlier time, in place, with the Redis of before:
# the log, kept for auction.log_retention, is applied again. What it does not
# reach back to is a gap that is named. A dump that was taken while bids went on
# is restored elsewhere, passes audit, and goes on with lanes of its own.

use strict;
use warnings;

use AuctionTest;
use File::Path qw(remove_tree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('restore', conf => "auction.log_retention = '1h'\n");
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

my $saved = PostgreSQL::Test::Utils::tempdir();

sub save
{
	$node->stop('fast');
	remove_tree("$saved/pgdata");
	PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir,
		"$saved/pgdata");
	$node->start;
	wait_ready();
	return;
}

sub restore
{
	$node->stop('fast');
	remove_tree($node->data_dir);
	PostgreSQL::Test::RecursiveCopy::copypath("$saved/pgdata",
		$node->data_dir);
	chmod 0700, $node->data_dir;
	$node->start;
	return;
}

# Until the lanes are in this state. A restored server is another instance than
# the one that has the lanes; a DBA lets it have them at once.
sub wait_ready
{
	my ($condition) = @_;

	$condition //= "bool_and(state = 'normal')";
	return poll(
		$condition,
		sub {
			ask($node, 'postgres', <<'SQL');
DO $$ BEGIN
	IF to_regproc('auction.adopt_lanes') IS NOT NULL AND EXISTS
		(SELECT FROM auction.stat_lanes WHERE state = 'fenced')
	THEN
		PERFORM auction.adopt_lanes('redis1');
	END IF;
END $$
SQL
			my ($ret, $out) =
			  ask($node, 'postgres', "SELECT $condition FROM auction.stat_lanes");
			return $ret == 0 && $out eq 't';
		});
}

# What bidders were told, and may rely on.
sub contents
{
	return sql(<<'SQL');
SELECT b.* FROM auction.bids b ORDER BY auction_id, bid_no;
SELECT id, status, price, leader_id, bid_count FROM auction.standings
WHERE status <> 'closed' ORDER BY id;
SQL
}

sub errors
{
	my ($db) = @_;

	return $node->safe_psql($db // 'postgres', <<'SQL');
SELECT id, a.place, a.item, a.expected, a.found
FROM auction.auctions, auction.audit(id) a WHERE a.status = 'error' ORDER BY 1
SQL
}

sql(<<'SQL');
INSERT INTO auction.auctions (id, seller_id, kind, ends_at, route, durability)
SELECT i, 0, CASE WHEN i % 2 = 0 THEN 'open' ELSE 'proxy' END,
	now() + interval '1 hour', 'redis',
	CASE WHEN i % 3 = 0 THEN 'journal' ELSE 'redis' END
FROM generate_series(1, 8) i
SQL

sub load
{
	my ($seconds) = @_;
	my $load = start_bidders(
		$node, 'postgres', 1, 8,
		clients => 6,
		think => 1,
		seconds => $seconds);

	return $load;
}

my $early = load(1);
finish_bidders($early);
wait_applied($node, 'postgres');
save();

# ---- the log reaches back ----

my $late = load(2);
finish_bidders($late);
sql('SELECT auction.close_auction(1), auction.close_auction(2)');
wait_status($node, 'postgres', $_, 'consolidated') foreach 1, 2;
# accepted, and not even applied when it stops
sql('SELECT auction.pause_drain()');
sql('SELECT count(*) FROM auction.place_bids(ARRAY(SELECT ROW(i, 99, '
	  . '1000000 + i, NULL, NULL)::auction.bid_request FROM generate_series(3, 8) i'
	  . ' WHERE i % 3 <> 0))');
sql('SELECT auction.resume_drain()');
wait_applied($node, 'postgres');
my $expected = contents();
my $positions =
  sql('SELECT string_agg(applied::text, \' \' ORDER BY id) FROM auction.lanes');
restore();
wait_ready();
wait_applied($node, 'postgres');
wait_status($node, 'postgres', $_, 'consolidated') foreach 1, 2;
is(contents(), $expected, 'every bid that was accepted since is there again');
check_answers($node, 'postgres', $early, $late);
sql("SELECT auction.rebuild_redis('redis1')");
is(errors(), '', 'audit finds no difference');
is( sql("SELECT count(*) FROM auction.stat_lanes WHERE gap_to IS NOT NULL"),
	'0', 'no gap');
is(sql('SELECT accepted FROM auction.place_bid(4, 5, 2000000)'),
	't', 'bids go on');
wait_applied($node, 'postgres');

# ---- it does not ----

my $applied = sql("SELECT applied FROM auction.lanes WHERE lane = 1");
save();
my $before = sql('SELECT sum(bid_count) FROM auction.standings');
my $in_lane = sql(<<'SQL');
SELECT string_agg(auction_id::text, ',') FROM auction._state s
JOIN auction.lanes l ON l.id = s.lane_id WHERE l.lane = 1 AND s.status = 'o'
SQL
sql("SELECT count(*) FROM auction.place_bids(ARRAY(SELECT ROW(i, 98, "
	  . "3000000 + n, NULL, NULL)::auction.bid_request"
	  . " FROM unnest(ARRAY[$in_lane]) i, generate_series(1, 2) n ORDER BY n))");
my $last = $redis->cli('XREVRANGE', '{auction:1}:log', '+', '-', 'COUNT', 1);
($last) = $last =~ /^(\d+)-/;
sql("SELECT r.accepted FROM unnest(ARRAY[$in_lane]) i,"
	  . ' auction.place_bid(i, 97, 4000000) r');
wait_applied($node, 'postgres');
# as if the log had been kept for less
$redis->cli('XTRIM', '{auction:1}:log', 'MINID', $last + 1);
restore();
wait_ready("bool_or(gap_to IS NOT NULL) AND bool_or(state = 'normal')");
my ($from, $to) = split /\|/,
  sql('SELECT gap_from, gap_to FROM auction.stat_lanes WHERE gap_to IS NOT NULL');
is($from, $applied + 1, 'what the log does not cover is a gap');
is($to, $last, '... up to where the log begins');
sql('SELECT auction.skip_gap(lane_id, \'older than the log\')'
	  . ' FROM auction.stat_lanes WHERE gap_to IS NOT NULL');
wait_ready();
wait_applied($node, 'postgres');
is( sql("SELECT bool_and(status = 'quarantined') FROM auction.standings"
		  . " WHERE id IN ($in_lane)"),
	't', 'auctions that have lost bids are quarantined');
sql('SELECT auction.discard_dead_letter(min(id), \'older than the log\')'
	  . ' FROM auction.dead_letters GROUP BY auction_id');
is( sql("SELECT bool_and(auction.lift_quarantine(i, 'bids are lost'))"
		  . " FROM unnest(ARRAY[$in_lane]) i"),
	't', '... and go on when that is decided');
sql("SELECT auction.rebuild_redis('redis1')");
is(errors(), '', 'audit finds no difference');
is(sql('SELECT sum(bid_count) FROM auction.standings'),
	$before, 'with the bids of the backup');

# ---- a dump, while bids go on, restored elsewhere ----

my $load = load(120);
poll_until($node, 'postgres', <<"SQL");
SELECT sum(bid_count) > $before + 500 FROM auction._state
SQL
$node->command_ok(
	[
		'pg_dump', '-f', "$saved/busy.sql", '-d', $node->connstr('postgres')
	],
	'dumped while bids go on');
stop_bidders($load);
wait_applied($node, 'postgres');
sql('CREATE DATABASE elsewhere');
$node->command_ok(
	[
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('elsewhere'), '-f', "$saved/busy.sql"
	],
	'restored into another database');
poll_until($node, 'elsewhere',
	"SELECT bool_and(state = 'fenced') FROM auction.stat_lanes");
pass('it is kept off the lanes of the original');
is(errors('elsewhere'), '', 'its tables pass audit');
# the procedure of the README
$node->safe_psql('elsewhere',
	"ALTER SERVER redis1 OPTIONS (ADD prefix 'elsewhere')");
poll_until($node, 'elsewhere',
	"SELECT bool_and(state = 'normal') FROM auction.stat_lanes");
$node->safe_psql('elsewhere', "SELECT auction.rebuild_redis('redis1')");
is(errors('elsewhere'), '', 'with keys of its own it agrees with Redis, too');
is( $node->safe_psql('elsewhere',
		'SELECT accepted FROM auction.place_bid(4, 5, 9000000)'),
	't', '... and takes bids');
is(sql('SELECT accepted FROM auction.place_bid(4, 5, 9000000)'),
	't', 'so does the original');
wait_applied($node, 'postgres');
is(errors(), '', '... which has noticed nothing');
check_journal($node, 'postgres', 'in the end');

done_testing();
