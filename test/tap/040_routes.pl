# One random stream of everything that can be done to an auction, through both
# routes: the same verdict for each operation, the same rows in the end. Each
# verdict is also recomputed in SQL, from the bids accepted before it alone.
#
# The stream is drawn while route table decides it, so that amounts can be near
# the price and near hidden maxima; route redis then gets it as it is. Halfway
# its router is ended, and its Redis stopped and started.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Stream;
use PostgreSQL::Test::Utils;
use Test::More;

my $operations = 9000;
my $node = new_node('routes', conf => "auction.overload_timeout = '60s'");
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

create_stream($node, 'postgres');

# --- The stream, on table, then on redis ----------------------------------

sql("CALL make_stream($operations)");
my $calls = sql('SELECT max(call) FROM ops');
my $done = "SELECT count(*) FROM verdicts WHERE route = 'redis'";

# Until the replay that is going on has come so much further, or is held.
sub wait_further
{
	my ($n) = @_;
	my $wanted = $n + sql($done);

	poll_until($node, 'postgres',
		"SELECT ($done) >= $wanted OR EXISTS (SELECT FROM hold WHERE reached)");
	return;
}

# Tests: without a further bid, Redis shows of each open auction what its bids
# are. top_bids reads that on redis, the tables on table.
sub check_books
{
	my ($when) = @_;
	my @open = split /\n/, sql(<<'SQL');
SELECT id FROM auction.standings
WHERE route = 'redis' AND status = 'open' AND bid_count > 0
SQL
	cmp_ok(scalar(@open), '>', 10, "$when: there are open auctions");
	ok(wait_shown($node, 'postgres', $redis, @open),
		"$when: Redis shows what they are");
	check_top_bids($when);
	return;
}

sub check_top_bids
{
	my ($when) = @_;

	is(sql(<<'SQL'), '0', "$when: top_bids is what stands");
WITH top AS (SELECT id, t.* FROM auction.auctions, auction.top_bids(id, 64) t),
best AS (SELECT DISTINCT ON (auction_id, user_id) b.*, price
	FROM placed b JOIN auction.standings s ON s.id = auction_id
	WHERE retracted_at IS NULL
	ORDER BY auction_id, user_id, amount DESC, bid_no),
right_ones AS (SELECT auction_id, rank() OVER (PARTITION BY auction_id
		ORDER BY amount DESC, bid_no), user_id, least(amount, price) AS amount
	FROM best)
SELECT (SELECT count(*) FROM (TABLE top EXCEPT TABLE right_ones) x)
	+ (SELECT count(*) FROM (TABLE right_ones EXCEPT TABLE top) x)
SQL
	return;
}

# The replay on redis, with its router ended, and its Redis away for a while.
# Its last calls come when that is over, however slow it is.
sub replay_with_faults
{
	my ($first, $last) = @_;

	sql("INSERT INTO hold VALUES ($last - 100)");
	my $replay = start_psql($node, 'postgres',
		"CALL replay('redis', $first, $last)");
	my $router = worker_pid($node, 'postgres', 'router');

	wait_further(100);
	sql("SELECT pg_terminate_backend($router)");
	worker_pid($node, 'postgres', 'router', not => $router);
	wait_further(200);
	$redis->stop;
	wait_lanes($node, 'postgres', 'degraded');
	wait_further(300);
	$redis->start;
	wait_lanes($node, 'postgres', 'normal');
	cmp_ok(sql($done), '<', sql("SELECT count(*) FROM ops WHERE call <= $last"),
		'the faults were over while the replay went on');
	sql('DELETE FROM hold');
	is((finish_psql($replay))[1], '', 'the replay went through');
	return;
}

my ($third, $two_thirds) = (int($calls / 3), int($calls * 2 / 3));
sql("CALL replay('redis', 1, $third)");
wait_applied($node, 'postgres');
check_books('after a third');
replay_with_faults($third + 1, $two_thirds);
wait_applied($node, 'postgres');
check_books('after the faults');
sql("CALL replay('redis', $two_thirds + 1, $calls)");
wait_applied($node, 'postgres');
check_books('in the end');

# --- Verdicts -------------------------------------------------------------

# Of the end only whether it has ever moved; where to, is computed below.
sql(<<'SQL');
CREATE VIEW comparable AS
SELECT route, n, v.accepted, v.reason, v.bid_no, v.price, v.leader_id,
	v.reserve_met, v.error, v.ends_at <> l.ends_at AS moved
FROM verdicts v JOIN ops USING (n) LEFT JOIN lots l USING (lot);
SQL
my $differ = <<'SQL';
FROM (SELECT * FROM comparable WHERE route = 'table') t
	FULL JOIN (SELECT * FROM comparable WHERE route = 'redis') r USING (n)
	JOIN ops o USING (n)
WHERE to_jsonb(t) - 'route' IS DISTINCT FROM to_jsonb(r) - 'route'
SQL
my $n = sql('SELECT count(*) FROM ops');
is(sql("SELECT count(*) $differ"), '0', "$n verdicts are the same")
  or diag sql("SELECT o, t, r $differ ORDER BY n LIMIT 5");
is(sql($done), $n, 'there is one for each operation');
cmp_ok(sql(<<'SQL'), '>', 100, 'some were decided while Redis was away');
SELECT count(*) FROM verdicts v JOIN ops USING (n) JOIN lots l USING (lot)
WHERE v.route = 'redis' AND v.accepted
	AND (v.durability, l.durability) = ('journal', 'redis')
SQL

# Tests: what the stream has to have, it has, some times.
sub check_happened
{
	my ($query, @wanted) = @_;
	my %n = map { split /\|/ } split /\n/, sql($query);

	note join ', ', map { "$_ $n{$_}" } sort keys %n;
	cmp_ok($n{$_} // 0, '>', 2, "\"$_\" happened") foreach @wanted;
	return;
}

my @kinds = qw(place_bid place_bids insert buy_now retract close cancel);
check_happened(<<'SQL', map { ("$_: no", "$_: yes") } @kinds);
SELECT kind || CASE WHEN accepted THEN ': yes' ELSE ': no' END, count(*)
FROM ops JOIN verdicts USING (n) WHERE route = 'redis' GROUP BY 1
SQL
my @reasons = qw(too_low already_leading not_available not_started closed
  cancelled seller quarantined unknown_auction);
check_happened(<<'SQL', @reasons, qw(RB009 42704));
SELECT coalesce(reason, substring(error FROM 'rejected: (\w+)'),
	substring(error FROM '^\w+'), 'false'), count(*)
FROM verdicts WHERE route = 'redis' AND accepted IS NOT true GROUP BY 1
SQL
check_happened(<<'SQL', 'end moved', 'price fell', 'reserve not met', 'reserve met');
SELECT 'end moved', count(*) FROM comparable WHERE route = 'redis' AND moved
UNION ALL
SELECT CASE WHEN reserve_met THEN 'reserve met' ELSE 'reserve not met' END,
	count(*)
FROM verdicts WHERE route = 'redis' AND reserve_met IS NOT NULL GROUP BY 1
UNION ALL
SELECT 'price fell', count(*) FROM
	(SELECT price, lag(price) OVER (PARTITION BY lot ORDER BY n) AS before
	FROM verdicts JOIN ops USING (n)
	WHERE route = 'redis' AND price IS NOT NULL) v
WHERE price < before
SQL

# --- The same, computed from the bids -------------------------------------

# taken: what was accepted; gone: by which operation it was retracted. A lot is
# over, and cancelled, from those operations on.
sql(<<'SQL');
CREATE TABLE taken AS
SELECT o.n, o.lot, o.user_id, v.bid_no, o.kind = 'buy_now' AS buy,
	CASE o.kind WHEN 'buy_now' THEN buy_now_price ELSE o.amount END AS amount,
	o.kind = 'buy_now' OR coalesce(l.kind = 'open'
		AND o.amount >= buy_now_price, false) AS ending,
	(SELECT min(n) FROM ops r JOIN verdicts w USING (n)
	  WHERE w.route = 'table' AND w.accepted AND r.kind = 'retract'
		AND (r.lot, r.bid_no) = (o.lot, v.bid_no)) AS gone
FROM ops o JOIN verdicts v USING (n) JOIN lots l USING (lot)
WHERE v.route = 'table' AND v.bid_no IS NOT NULL AND v.accepted;
CREATE INDEX ON taken (lot);

ALTER TABLE lots ADD over int, ADD cancelled int;
WITH ends AS (
	SELECT n, lot, 'bid' AS kind FROM taken WHERE ending
	UNION ALL
	SELECT n, lot, kind FROM ops JOIN verdicts v USING (n)
	WHERE route = 'table' AND accepted AND kind IN ('close', 'cancel'))
UPDATE lots SET over = e.over, cancelled = e.cancelled FROM
	(SELECT lot, min(n) AS over, min(n) FILTER (WHERE kind = 'cancel')
		AS cancelled FROM ends GROUP BY lot) e
WHERE e.lot = lots.lot;
SQL

# result: what the bids up to operation "at" that stand by then make of a lot.
sql(<<'SQL' . price_sql() . <<'SQL');
CREATE FUNCTION step_of(l lots, amount bigint) RETURNS bigint
	RETURN coalesce((SELECT t.increment FROM auction.increment_tables t
		WHERE name = l.increment_table AND from_price <= amount
		ORDER BY from_price DESC LIMIT 1), l.increment);

CREATE TYPE result AS (price bigint, leader_id bigint, top bigint, met bool,
	lowest bigint, n bigint);
CREATE FUNCTION result(l lots, at int) RETURNS result LANGUAGE sql STABLE AS $$
WITH best AS (
	SELECT DISTINCT ON (user_id) user_id, amount, bid_no, buy FROM taken t
	WHERE t.lot = l.lot AND t.n <= at AND (gone IS NULL OR gone > at)
	ORDER BY user_id, amount DESC, bid_no),
ranked AS (
	SELECT *, rank() OVER (ORDER BY amount DESC, bid_no) AS rank FROM best),
two AS (
	SELECT max(user_id) FILTER (WHERE rank = 1) AS leader_id,
		max(amount) FILTER (WHERE rank = 1) AS top,
		max(amount) FILTER (WHERE rank = 2) AS second,
		bool_or(buy) FILTER (WHERE rank = 1) AS bought FROM ranked),
priced AS (SELECT leader_id, top,
SQL
	AS price FROM (SELECT (l).*, two.*, step_of(l, second) AS step FROM two) x)
SELECT price, leader_id, top,
	CASE WHEN l.reserve_price IS NOT NULL
		THEN leader_id IS NOT NULL AND price >= l.reserve_price END,
	CASE WHEN leader_id IS NULL THEN l.start_price
		ELSE price + step_of(l, price) END,
	(SELECT count(*) FROM taken t WHERE t.lot = l.lot AND t.n <= at)
FROM priced $$;

CREATE TABLE model AS
SELECT o.*, l, after, coalesce(lag(after) OVER (PARTITION BY o.lot ORDER BY o.n),
		result(l, 0)) AS before,
	CASE WHEN o.lot = 3 THEN 'quarantined' WHEN o.n > cancelled THEN 'cancelled'
		WHEN o.n > over THEN 'closed' ELSE 'open' END AS status
FROM ops o LEFT JOIN lots l USING (lot), result(l, o.n) after;
SQL

# Why it is refused: a reason, an SQLSTATE, or that the function says false.
sql(<<'SQL');
CREATE FUNCTION why_no_bid(m model) RETURNS text RETURN CASE
	WHEN (m.l).lot IS NULL THEN 'unknown_auction'
	WHEN m.status <> 'open' THEN m.status
	WHEN (m.l).starts_at > now() THEN 'not_started'
	WHEN m.user_id = 0 THEN 'seller'
	WHEN m.kind = 'buy_now' THEN CASE
		WHEN (m.l).buy_now_price IS NULL OR (m.before).leader_id IS NOT NULL
			AND (m.before).met IS NOT false THEN 'not_available' END
	WHEN (m.l).kind = 'proxy' AND m.user_id = (m.before).leader_id THEN
		CASE WHEN m.amount <= (m.before).top THEN 'already_leading' END
	WHEN m.amount < least((m.before).lowest, CASE (m.l).kind WHEN 'open'
		THEN (m.l).buy_now_price END) THEN 'too_low' END;

CREATE FUNCTION why_no_change(m model) RETURNS text RETURN CASE
	WHEN (m.l).lot IS NULL THEN '42704'
	WHEN m.kind = 'close' THEN CASE WHEN m.status <> 'open' THEN 'false' END
	WHEN m.kind = 'cancel' AND m.status = 'cancelled' THEN 'false'
	WHEN m.status IN ('quarantined', 'cancelled') THEN 'RB009'
	WHEN m.kind = 'cancel' THEN NULL
	WHEN m.bid_no NOT BETWEEN 1 AND (m.before).n THEN '42704'
	WHEN EXISTS (SELECT FROM taken t WHERE gone < m.n
		AND (t.lot, t.bid_no) = (m.lot, m.bid_no)) THEN 'RB009' END;

CREATE VIEW expected AS
SELECT m.n, m.kind, why, CASE WHEN is_bid AND why IS NULL THEN (after).n END
	AS bid_no, after, is_bid
FROM model m, LATERAL (SELECT m.kind NOT IN ('retract', 'close', 'cancel')) k (is_bid),
	LATERAL (SELECT CASE WHEN is_bid THEN why_no_bid(m) ELSE why_no_change(m) END)
		w (why);
SQL

# An INSERT, a close, a cancellation do not tell all; nor does an error.
$differ = <<'SQL';
FROM expected e JOIN verdicts v USING (n)
WHERE v.route = 'table' AND (
	(coalesce(v.accepted, false), v.bid_no) IS DISTINCT FROM
		(e.why IS NULL, e.bid_no)
	OR coalesce(v.reason, substring(v.error FROM '^RB001.*rejected: (\w+)'),
		substring(v.error FROM '^\w+'), CASE WHEN NOT v.accepted THEN 'false' END)
		IS DISTINCT FROM e.why
	OR v.error IS NULL AND e.kind NOT IN ('insert', 'close', 'cancel')
		AND why IS DISTINCT FROM 'unknown_auction'
		AND (v.price, v.leader_id, v.reserve_met) IS DISTINCT FROM
			((e.after).price, (e.after).leader_id, (e.after).met))
SQL
is(sql("SELECT count(*) $differ"), '0',
	'verdicts follow from the bids before them')
  or diag sql("SELECT e, v $differ ORDER BY n LIMIT 5");

# Extended by more than the window, an end is out of reach for the next bid.
is(sql(<<'SQL'), '0', 'ends are where the bids have moved them to');
SELECT count(*) FROM verdicts v JOIN ops o USING (n) JOIN lots l USING (lot)
WHERE v.ends_at IS NOT NULL AND v.ends_at <> coalesce(
	(SELECT CASE WHEN l.extend_by > l.extend_window THEN min(moved)
		ELSE max(moved) END
	FROM taken t JOIN auction.bids b USING (bid_no),
		least(b.placed_at + l.extend_by, l.extend_limit) moved
	WHERE b.auction_id = base(v.route) + l.lot AND t.lot = l.lot
		AND t.n <= v.n AND NOT t.ending AND l.extend_window = '24 hours'),
	l.ends_at)
SQL

# --- Rows -----------------------------------------------------------------

# Tests: all rows are the same but for auction, times, route, lane.
sub check_rows
{
	my ($when) = @_;
	my %id = (
		'auction._state' => 'auction_id',
		'auction.standings' => 'id',
		'auction.bids' => 'auction_id',
		'placed' => 'auction_id');

	foreach my $table (sort keys %id)
	{
		my $rows = <<"SQL";
SELECT $id{$table} % 1000 AS lot, to_jsonb(t) - ARRAY(SELECT attname::text
		FROM pg_attribute WHERE attrelid = '$table'::regclass
			AND atttypid = 'timestamptz'::regtype)
	- '{id, auction_id, route, lane_id, position, request_id, checksum, keys_left}'::text[]
FROM $table t WHERE $id{$table} / 1000 =
SQL
		is( sql("SELECT count(*) FROM ($rows 1 EXCEPT ALL $rows 2) x")
			  . sql("SELECT count(*) FROM ($rows 2 EXCEPT ALL $rows 1) x"),
			'00', "$when: $table is the same on both routes");
	}
	check_auctions($node, 'postgres', 1000, 3000);
	check_journal($node, 'postgres', $when);
	return;
}

check_rows('journal');
sql('CALL end_stream()');
sql("SELECT auction.close_auction(id) FROM auction.standings"
	  . " WHERE status = 'open'");
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(consolidated_at IS NOT NULL OR status = 'quarantined')
FROM auction.standings
SQL
is( sql("SELECT id FROM auction.standings WHERE status = 'quarantined'"
		  . " ORDER BY 1"),
	"1003\n2003", 'all is consolidated, but what was quarantined');
check_rows('history');
check_top_bids('history');
foreach my $id (split /\n/, sql(<<'SQL'))
SELECT min(id) FROM auction.standings WHERE status = 'consolidated'
	AND bid_count > retracted_count GROUP BY route
SQL
{
	is(sql_error($node, 'postgres', "SELECT auction.$_"),
		'RB009', "consolidated, $_: refused")
	  foreach ("retract_bid($id, 1, 'late')", "cancel_auction($id, 'late')");
}

$node->stop;
$redis->stop;
done_testing();
