# What is done to bids and auctions while much goes on, and while things break:
# retraction, cancellation, buy now, soft close.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('changes', conf => <<'CONF');
auction.lane_lease = '1h'
auction.overload_timeout = '60s'
max_prepared_transactions = 2
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1,
	options => "command_timeout '1h'");

sub sql { return $node->safe_psql('postgres', @_); }

sub new_redis_auction
{
	return new_auction($node, 'postgres', route => "'redis'", @_);
}

# "accepted|bid_no|price|leader_id"
sub bid
{
	my ($id, $user, $amount) = @_;

	return sql('SELECT accepted, bid_no, price, leader_id'
		  . " FROM auction.place_bid($id, $user, $amount)");
}

# "price|leader_id"
sub retract
{
	my ($id, $bid_no) = @_;

	return sql('SELECT price, leader_id'
		  . " FROM auction.retract_bid($id, $bid_no, 'mistyped')");
}

# "price|leader_id|bid_count|retracted_count"
sub standing
{
	my ($id) = @_;

	return sql('SELECT price, leader_id, bid_count, retracted_count'
		  . " FROM auction.standings WHERE id = $id");
}

# A proxy auction on which users 1, 2, 3 have bid; 3 leads, at 2100.
sub new_contest
{
	my $id = new_redis_auction(kind => "'proxy'", increment => 100);

	bid($id, $_, 1000 * $_) foreach 1 .. 3;
	wait_applied($node, 'postgres');
	return $id;
}

# ---- live auctions, retractions, a cancellation; ends that move ----

# 1..6 on redis, of which 6 will be cancelled; 11..14 close softly. The
# bidders' program is there when the clock begins to run.
my $build = start_bidders($node, 'postgres', 1, 1, bids => 1);
finish_bidders($build);
sql(<<'SQL');
INSERT INTO auction.auctions (id, seller_id, kind, ends_at, route)
SELECT i, 0, CASE WHEN i <= 3 THEN 'open' ELSE 'proxy' END,
	now() + interval '1 day', 'redis' FROM generate_series(1, 6) i;
INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at, route,
	extend_window, extend_by, extend_limit)
SELECT i, 0, CASE WHEN i % 2 = 0 THEN 'open' ELSE 'proxy' END,
	now(), now() + interval '4 s', CASE WHEN i < 13 THEN 'redis' ELSE 'table' END,
	'3 s', '3 s', now() + interval '9 s' FROM generate_series(11, 14) i;
SELECT setval('auction.auctions_id_seq', 100);
SQL
my $soft = start_bidders($node, 'postgres', 11, 14, clients => 4, think => 10,
	seconds => 300);
my $load = start_bidders($node, 'postgres', 1, 6, clients => 6, think => 4,
	seconds => 300);

# Of the auction's bids so far one that stands: the best, or any.
sub retract_one
{
	my ($id, $order) = @_;

	return sql(<<"SQL");
SELECT r.price FROM
	(SELECT bid_no FROM auction.journal
	 WHERE auction_id = $id AND retracted_at IS NULL ORDER BY $order LIMIT 1) b,
	auction.retract_bid($id, bid_no, 'in the rush') r
SQL
}

poll_until($node, 'postgres',
	'SELECT min(bid_count) > 5 FROM auction.standings WHERE id <= 5');
my $retracted = 0;
foreach my $i (1 .. 40)
{
	my $order = $i % 3 == 0 ? 'random()' : 'amount DESC, bid_no';
	$retracted++ if retract_one(1 + $i % 5, $order) ne '';
}
is($retracted, 40, 'retracted while bids come in');
is(sql("SELECT auction.cancel_auction(6, 'it fell down')"),
	't', 'cancelled while bids come in');
my $flowing = sql('SELECT sum(bid_count) FROM auction._state');
poll_until($node, 'postgres',
	"SELECT sum(bid_count) > $flowing + 200 FROM auction._state");
wait_status($node, 'postgres', $_, 'consolidated') foreach 11 .. 14;
stop_bidders($_) foreach ($load, $soft);
wait_applied($node, 'postgres');
check_answers($node, 'postgres', $load, $soft);
check_journal($node, 'postgres', 'after the rush');
is(sql('SELECT sum(retracted_count), count(*) FILTER (WHERE retracted_count > 5)'
		  . ' FROM auction.standings WHERE id <= 5'),
	'40|5', 'what was retracted is, no more and no less');
ok(wait_shown($node, 'postgres', $redis, 1 .. 5), 'their books are whole');
is(sql(<<'SQL'), '0', 'nothing is accepted after the cancellation');
SELECT count(*) FROM auction.bids b JOIN auction.standings s ON s.id = auction_id
WHERE s.id = 6 AND placed_at > last_at
SQL
is(sql(<<'SQL'), 'cancelled|t|t', '... as its bidders were told; nobody has won');
SELECT status, winner_id IS NULL, EXISTS (SELECT FROM auction_test_answers
	WHERE auction_id = 6 AND why = 'cancelled')
FROM auction.standings WHERE id = 6
SQL

# ---- soft close: what is left of those four ----

my $ends = <<'SQL';
FROM auction.standings s JOIN auction.auctions a USING (id),
	LATERAL (SELECT max(placed_at) AS last, count(*) FILTER
		(WHERE placed_at >= a.ends_at) AS late
	FROM auction.bids WHERE auction_id = s.id) b WHERE s.id BETWEEN 11 AND 14
SQL
is(sql("SELECT count(*) $ends AND late > 0 AND s.ends_at > a.ends_at"),
	'4', 'soft close: bids have kept them open');
is(sql("SELECT count(*) $ends AND s.ends_at = a.extend_limit"
		  . ' AND last < s.ends_at'),
	'4', '... up to the limit, and nothing is accepted from then on');
is(sql("SELECT count(*) $ends AND closed_at >= s.ends_at AND winner_id = leader_id"),
	'4', '... at which the steward has closed them');
is(sql(<<'SQL'), '4', '... as bidders were told');
SELECT count(DISTINCT auction_id) FROM auction_test_answers
WHERE auction_id BETWEEN 11 AND 14 AND why = 'closed'
SQL

# Nobody bids any more: it ends extend_by after the last bid, before the limit.
my $quiet = new_redis_auction(ends_at => "now() + interval '3 s'",
	extend_window => "interval '3 s'", extend_by => "interval '4 s'",
	extend_limit => "now() + interval '1 hour'");
bid($quiet, 1, 10);

# ---- Redis shows it, without a further bid ----

my $id = new_contest();
is(retract($id, 3), '1100|2', 'the leader is retracted');
ok(wait_shown($node, 'postgres', $redis, $id), '... and Redis shows it');
is(retract($id, $_->[0]), $_->[1], "bid $_->[0] is retracted")
  foreach ([ 1, '0|2' ], [ 2, '0|' ]);
ok(wait_shown($node, 'postgres', $redis, $id), 'all are: an empty book');
is(bid($id, 4, 700), 't|4|0|4', 'the next one is the first again');
is(bid($id, 5, 50), 'f||0|4', '... and the increment applies to it');
is(bid($id, 5, 300), 't|5|400|4', '... but the number goes on');
wait_applied($node, 'postgres');
ok(wait_shown($node, 'postgres', $redis, $id), '... and Redis shows them');

foreach my $wipe (0, 1)
{
	my $what = $wipe ? 'Redis comes back empty' : 'Redis was away';

	$id = new_contest();
	$redis->stop;
	wait_lanes($node, 'postgres', 'degraded');
	is(retract($id, 3), '1100|2', "$what: retracted meanwhile");
	is(standing($id), '1100|2|3|1', "$what: the row says so at once");
	$redis->wipe if $wipe;
	$redis->start;
	wait_lanes($node, 'postgres', 'normal');
	ok(wait_shown($node, 'postgres', $redis, $id), "$what: it shows it");
}
poll_until($node, 'postgres', 'SELECT count(*) = 0 FROM auction._refresh');

# ---- rolled back ----

# When a change that was committed later is shown, nothing is under way.
sub pass_by
{
	my $other = new_contest();

	retract($other, 3);
	return wait_shown($node, 'postgres', $redis, $other);
}

$id = new_contest();
my $before = shown($redis, 1, $id);
sql("BEGIN; SELECT auction.retract_bid($id, 3, 'x'); ROLLBACK");
sql("BEGIN; SELECT auction.cancel_auction($id, 'x'); ROLLBACK");
is(sql(<<"SQL"), "1100|2\n2\n2100|3|0", 'in the transaction it is seen, after ROLLBACK TO no more');
BEGIN;
SAVEPOINT s;
SELECT price, leader_id FROM auction.retract_bid($id, 3, 'x');
SELECT count(*) FROM auction.bids WHERE auction_id = $id
	AND retracted_at IS NULL;
ROLLBACK TO s;
SELECT price, leader_id, retracted_count FROM auction.standings WHERE id = $id;
COMMIT;
SQL
pass_by();
is(standing($id), '2100|3|3|0', 'rolled back: the row is as it was');
is(shown($redis, 1, $id), $before, '... and so is what Redis shows');
is(bid($id, 4, 2500), 't|4|2600|3', '... and bids go on from there');

# ---- PostgreSQL is killed when it is committed, before Redis hears of it ----

$id = new_contest();
$redis->freeze;
is(retract($id, 3), '1100|2', 'retracted while Redis hangs');
restart_killed($node, sub { $redis->thaw; });
wait_lanes($node, 'postgres', 'normal');
is(standing($id), '1100|2|3|1', 'after a crash it still is');
ok(wait_shown($node, 'postgres', $redis, $id), '... and Redis shows it');
is(bid($id, 3, 1500), 't|4|1600|2', '... and the next bid follows');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'after a crash');

# ---- a big book ----

# The rebuild waits for the drain with its last piece, so it is still going on
# when the router ends.
my $big = new_redis_auction();
my $other = new_redis_auction();
sql(<<"SQL");
SELECT count(*) FROM generate_series(0, 19) call,
	LATERAL auction.place_bids(ARRAY(
		SELECT ROW($big, i, i, NULL, NULL)::auction.bid_request
		FROM generate_series(1000 * call + 1, 1000 * call + 1000) i));
SQL
wait_applied($node, 'postgres');
is(retract($big, 20000), '19999|19999', 'of 20000 bids the best is retracted');
is(bid($other, 1, 10), 't|1|10|1', 'another auction of the lane goes on');
ok(wait_shown($node, 'postgres', $redis, $big), 'the book is whole again');

my $key = "{auction:1}:auction:$big";
sql('SELECT auction.pause_drain()');
$redis->cli('DEL', "{auction:1}:book:$big");
is(bid($big, 7, 30000), 't|20001|30000|7', 'the book is gone, and a bid comes');
sql("SELECT * FROM auction.top_bids($big)");
poll('nearly all of the book is there',
	sub { return $redis->cli('ZCARD', "{auction:1}:book:$big") >= 19998; });
is( $redis->cli('HMGET', $key, 'rebuild', 'book') =~ /^\d+\n$/ ? 1 : 0,
	1, 'a rebuild goes on');
is(bid($other, 2, 20), 't|2|20|2', '... and so does the other auction');
my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
sql('SELECT auction.resume_drain()');
is(bid($other, 1, 30), 't|3|30|1', 'the router ends meanwhile: bids go on');
is(bid($big, 8, 30001), 't|20002|30001|8', '... on this auction, too');
wait_applied($node, 'postgres');
ok(wait_shown($node, 'postgres', $redis, $big), 'in the end the book is whole');
is(sql("SELECT user_id, amount FROM auction.top_bids($big, 3)"),
	"8|30001\n7|30000\n19999|19999", '... without the retracted bid');

# ---- 16 buy at once ----

sub check_buyers
{
	my ($route, $id, @clients) = @_;
	my @said = sort map { (finish_psql($_))[0] } @clients;
	my ($buyer) = $said[-1] =~ /^t\|\|(\d+)$/;

	is(join(' ', @said), join(' ', ("f|closed|$buyer") x 15, "t||$buyer"),
		"$route: one of 16 buys");
	wait_applied($node, 'postgres');
	is(sql("SELECT price, leader_id, winner_id, bid_count"
			  . " FROM auction.standings WHERE id = $id"),
		"5000|$buyer|$buyer|1", "$route: and has it");
	return;
}

sub start_buyers
{
	my ($id) = @_;

	return map {
		start_psql($node, 'postgres',
			"SELECT accepted, reason, leader_id FROM auction.buy_now($id, $_)")
	} 1 .. 16;
}

my $on_table = new_auction($node, 'postgres', buy_now_price => 5000);
sql(<<"SQL");
BEGIN;
UPDATE auction.auctions SET start_price = 5 WHERE id = $on_table;
PREPARE TRANSACTION 'held';
SQL
my @buyers = start_buyers($on_table);
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 16 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
SQL
sql("COMMIT PREPARED 'held'");
check_buyers('table', $on_table, @buyers);

my $on_redis = new_redis_auction(buy_now_price => 5000, kind => "'proxy'");
$redis->freeze;
@buyers = start_buyers($on_redis);
wait_waiting($node, 'postgres', 16);
$redis->thaw;
check_buyers('redis', $on_redis, @buyers);

# ---- a closed auction, before it is consolidated ----

# The close waits for the drain, the changes for the auction to rest: they are
# done in this order as soon as the drain goes on, before the steward can come.
foreach my $cancel (0, 1)
{
	$id = new_contest();
	sql('SELECT auction.pause_drain()');
	bid($id, 4, 2500);
	my $close = start_psql($node, 'postgres', "SELECT auction.close_auction($id)");
	wait_waiting($node, 'postgres', 1);
	my $change = start_psql($node, 'postgres',
		$cancel
		? "SELECT auction.cancel_auction($id, 'x')"
		: "SELECT price, leader_id FROM auction.retract_bid($id, 3, 'x')");
	wait_waiting($node, 'postgres', 2);
	sql('SELECT auction.resume_drain()');
	is((finish_psql($close))[0], 't', 'closed');
	is((finish_psql($change))[0], $cancel ? 't' : '2100|4',
		$cancel ? '... then cancelled' : '... then the winner is retracted');
	wait_status($node, 'postgres', $id, $cancel ? 'cancelled' : 'consolidated');
	is(sql("SELECT winner_id FROM auction.standings WHERE id = $id"),
		$cancel ? '' : '4', '... and who was second wins, or nobody');
}

# ---- over ----

is(sql("SELECT auction.cancel_auction($big, 'enough')"), 't', 'cancelled');
is(sql("SELECT auction.cancel_auction($big, 'enough')"), 'f', '... once');
sql("SELECT auction.close_auction(id) FROM auction.standings"
	  . " WHERE status = 'open' AND id <> $quiet");
poll_until($node, 'postgres',
	'SELECT bool_and(consolidated_at IS NOT NULL) FROM auction.standings');
is(sql(<<"SQL"), 't|t', 'without further bids it ended where the last one moved it');
SELECT s.ends_at = placed_at + interval '4 s', closed_at >= s.ends_at
FROM auction.standings s JOIN auction.bids ON auction_id = s.id WHERE s.id = $quiet
SQL
is(sql('SELECT count(*) FROM auction.journal'), '0', 'all is in history');
is(sql('SELECT count(*) FROM auction.standings'
		  . " WHERE status NOT IN ('consolidated', 'cancelled')"),
	'0', '... nothing is quarantined');
poll('the keys are removed, of cancelled ones, too',
	sub { return $redis->cli('KEYS', '{auction:1}:[ab]*o*:*') eq ''; });
check_journal($node, 'postgres', 'over');
$node->stop;
$redis->stop;
done_testing();
