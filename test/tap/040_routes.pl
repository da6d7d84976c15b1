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
use PostgreSQL::Test::Utils;
use Test::More;

my $operations = 9000;
my $node = new_node('routes', conf => "auction.overload_timeout = '60s'");
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

# --- The auctions: lot N is 1000 + N on table, 2000 + N on redis ---------

# The windows of soft closes are so long, or so short, that the time a bid
# takes cannot matter. Lot 1: a step that nothing can reach; 2: not started;
# 3: quarantined. The history is held back (see there).
sql(<<'SQL');
SELECT setseed(0.1729);
INSERT INTO auction.increment_tables VALUES ('odd', 0, 50), ('odd', 300, 7),
	('odd', 1000, 200), ('odd', 4000, 1), ('odd', 20000, 500);
CREATE TABLE lots AS
SELECT lot, CASE WHEN random() < .6 THEN 'proxy' ELSE 'open' END AS kind,
	now() + CASE lot WHEN 2 THEN '10 hours' ELSE '-1 hour' END::interval
		AS starts_at,
	now() + interval '12 hours' AS ends_at,
	(ARRAY[0, 1, 100, 950, 5000])[1 + floor(random() * 5)] AS start_price,
	CASE lot WHEN 1 THEN 9007199254740991
		ELSE (ARRAY[1, 5, 100])[1 + floor(random() * 3)] END AS increment,
	CASE WHEN lot > 1 THEN (ARRAY['ebay_us', 'odd', NULL])
		[1 + floor(random() * 3)] END AS increment_table,
	CASE WHEN random() < .5 THEN floor(random() * 4000) END::bigint AS reserve,
	CASE WHEN random() < .5 THEN 10 ^ (2 + floor(random() * 5)) END::bigint
		AS buy_now,
	(ARRAY['24 hours', '1 hour', NULL, NULL]::interval[])
		[1 + floor(random() * 4)] AS extend_window,
	random() AS soft,
	CASE WHEN random() < .15 THEN 'journal' ELSE 'redis' END AS durability
FROM generate_series(1, 64) lot;
ALTER TABLE lots ADD PRIMARY KEY (lot), ADD reserve_price bigint,
	ADD buy_now_price bigint, ADD extend_by interval,
	ADD extend_limit timestamptz;
UPDATE lots SET reserve_price = start_price + reserve,
	buy_now_price = start_price + coalesce(reserve, 0) + buy_now,
	extend_by = extend_window * CASE WHEN soft < .5 THEN 1 ELSE 2 END,
	extend_limit = CASE WHEN extend_window IS NULL OR soft < .3 THEN NULL
		WHEN soft < .8 THEN now() + interval '20 hours'
		ELSE now() + interval '9 days' END;
INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
	start_price, increment, increment_table, reserve_price, buy_now_price,
	extend_window, extend_by, extend_limit, durability, route)
SELECT base + lot, 0, kind, starts_at, ends_at, start_price, increment,
	increment_table, reserve_price, buy_now_price, extend_window, extend_by,
	extend_limit, durability, route
FROM lots, (VALUES (1000, 'table'), (2000, 'redis')) r (base, route);
UPDATE auction._state SET status = 'q', reason = 'test'
WHERE auction_id IN (1003, 2003);

-- When a closed auction is consolidated is a matter of time, and what is
-- refused from then on with it. So nothing is before the stream is over.
CREATE FUNCTION not_yet() RETURNS trigger LANGUAGE plpgsql
	AS $$ BEGIN RAISE 'the stream is not over yet'; END $$;
CREATE TRIGGER not_yet BEFORE INSERT ON auction.history
	FOR EACH STATEMENT EXECUTE FUNCTION not_yet();

-- Bids with whole amounts: auction.bids hides some.
CREATE VIEW placed AS
SELECT j.* FROM auction.journal j JOIN auction._state s USING (auction_id)
 WHERE consolidated_at IS NULL
UNION ALL
SELECT h.* FROM auction.history h JOIN auction._state s USING (auction_id)
 WHERE consolidated_at IS NOT NULL;
SQL

# --- Running operations ---------------------------------------------------

# A call is one operation, or the bids of one place_bids().
sql(<<'SQL');
CREATE TABLE ops (n int PRIMARY KEY, call int NOT NULL, lot int NOT NULL,
	kind text NOT NULL, user_id bigint, amount bigint, bid_no bigint);
CREATE INDEX ON ops (call);
CREATE TABLE verdicts (route text, n int, accepted bool, reason text,
	bid_no bigint, price bigint, leader_id bigint, reserve_met bool,
	ends_at timestamptz, durability text, error text,
	PRIMARY KEY (route, n));

CREATE FUNCTION base(route text) RETURNS bigint IMMUTABLE
	RETURN CASE route WHEN 'table' THEN 1000 ELSE 2000 END;

CREATE FUNCTION run_bids(r text, c int, first int) RETURNS void
BEGIN ATOMIC
	INSERT INTO verdicts
	SELECT r, first - 1 + v.ordinality, accepted, reason, bid_no, price,
		leader_id, reserve_met, ends_at, durability
	FROM auction.place_bids(ARRAY(
		SELECT ROW(base(r) + lot, user_id, amount, NULL, NULL)
			::auction.bid_request
		FROM ops WHERE call = c ORDER BY n)) WITH ORDINALITY v;
END;

CREATE PROCEDURE run_one(r text, o ops) LANGUAGE plpgsql AS $$
DECLARE
	id bigint := base(r) + o.lot;
	request uuid := md5(r || o.n)::uuid;
	v auction.bid_result;
BEGIN
	CASE o.kind
	WHEN 'place_bid' THEN
		v := auction.place_bid(id, o.user_id, o.amount, request);
	WHEN 'buy_now' THEN
		v := auction.buy_now(id, o.user_id, request, to_jsonb(o.n));
	WHEN 'insert' THEN
		INSERT INTO auction.bids (auction_id, user_id, amount, attributes)
		VALUES (id, o.user_id, o.amount, to_jsonb(o.n))
		RETURNING bids.bid_no INTO v.bid_no;
		v.accepted := true;
	WHEN 'retract' THEN
		SELECT true, price, leader_id, reserve_met
		INTO v.accepted, v.price, v.leader_id, v.reserve_met
		FROM auction.retract_bid(id, o.bid_no, 'op ' || o.n);
	WHEN 'close' THEN
		v.accepted := auction.close_auction(id);
	WHEN 'cancel' THEN
		v.accepted := auction.cancel_auction(id, 'op ' || o.n);
	END CASE;
	INSERT INTO verdicts VALUES (r, o.n, v.accepted, v.reason, v.bid_no,
		v.price, v.leader_id, v.reserve_met, v.ends_at, v.durability);
END $$;

-- What an error says is compared, too, but for the auction's number.
CREATE PROCEDURE run_call(r text, c int) LANGUAGE plpgsql AS $$
DECLARE
	o ops;
	detail text;
BEGIN
	SELECT * INTO o FROM ops WHERE call = c ORDER BY n LIMIT 1;
	IF o.kind = 'place_bids' THEN
		PERFORM run_bids(r, c, o.n);
	ELSE
		CALL run_one(r, o);
	END IF;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	INSERT INTO verdicts (route, n, error) VALUES (r, o.n, concat(SQLSTATE,
		' ', replace(SQLERRM, (base(r) + o.lot)::text, 'X'), ': ', detail));
END $$;

CREATE PROCEDURE replay(r text, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR c IN first .. last LOOP
		CALL run_call(r, c);
		COMMIT;
	END LOOP;
END $$;
SQL

# --- Drawing them ---------------------------------------------------------

sql(<<'SQL');
CREATE FUNCTION draw(n int) RETURNS int
	RETURN floor(random() * n);

-- Mostly an open lot; 0: there is no such auction.
CREATE FUNCTION draw_lot() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	open int[] := ARRAY(SELECT auction_id - 1000 FROM auction._state
		WHERE status = 'o' AND auction_id < 2000 ORDER BY 1);
BEGIN
	IF random() < .93 THEN
		RETURN open[1 + draw(cardinality(open))];
	END IF;
	RETURN draw(65);
END $$;

-- Around what decides: the least bid, the leader's maximum, the reserve, the
-- buy-now price, and amounts that were bid before. User 0 is the seller.
CREATE PROCEDURE draw_bid(INOUT o ops) LANGUAGE plpgsql AS $$
DECLARE
	s auction.standings;
	h auction._state;
	some bigint;
	r float8 := random();
BEGIN
	SELECT * INTO s FROM auction.standings WHERE id = 1000 + o.lot;
	SELECT * INTO h FROM auction._state WHERE auction_id = 1000 + o.lot;
	some := greatest(coalesce(s.least_bid, s.price + 1) - s.price, 1);
	o.user_id := CASE WHEN random() < .03 THEN 0 ELSE 1 + draw(10) END;
	IF r BETWEEN .62 AND .76 THEN
		o.user_id := coalesce(s.leader_id, o.user_id);
	END IF;
	o.amount := CASE
		WHEN r < .20 THEN s.least_bid
		WHEN r < .40 THEN s.least_bid + floor(random() * 3 * some)
		WHEN r < .47 THEN s.least_bid - 1
		WHEN r < .55 THEN h.leader_max
		WHEN r < .62 THEN (SELECT amount FROM auction.journal
			WHERE auction_id = s.id AND bid_no = 1 + draw(s.bid_count::int))
		WHEN r < .69 THEN h.leader_max + 1 + floor(random() * some)
		WHEN r < .72 THEN h.leader_max + 1
		WHEN r < .76 THEN h.leader_max - draw(2)
		WHEN r < .90 THEN h.reserve_price - 1 + draw(3)
		WHEN r < .93 THEN h.buy_now_price - 1 + draw(2)
		ELSE s.price + draw(3) END;
	o.amount := greatest(0, least(coalesce(o.amount, s.price, 7),
		9007199254740991));
END $$;

-- Often the leader's best bid; also those that are gone, or were never there.
CREATE PROCEDURE draw_retraction(INOUT o ops) LANGUAGE plpgsql AS $$
BEGIN
	IF random() < .4 THEN
		SELECT bid_no INTO o.bid_no FROM auction.journal
		WHERE auction_id = 1000 + o.lot AND retracted_at IS NULL
		ORDER BY amount DESC, bid_no LIMIT 1;
	END IF;
	o.bid_no := coalesce(o.bid_no, draw(2 + (SELECT coalesce(max(bid_no), 0)
		FROM auction.journal WHERE auction_id = 1000 + o.lot)::int));
END $$;

CREATE PROCEDURE draw_call(c int, first int) LANGUAGE plpgsql AS $$
DECLARE
	r float8 := random();
	o ops;
BEGIN
	o.call := c;
	o.kind := CASE WHEN r < .35 THEN 'place_bid' WHEN r < .48 THEN 'place_bids'
		WHEN r < .85 THEN 'insert' WHEN r < .915 THEN 'buy_now'
		WHEN r < .99 THEN 'retract' WHEN r < .995 THEN 'close'
		ELSE 'cancel' END;
	FOR i IN 0 .. CASE o.kind WHEN 'place_bids' THEN 1 + draw(5) ELSE 0 END
	LOOP
		o.n := first + i;
		o.lot := CASE WHEN i % 3 < 2 THEN coalesce(o.lot, draw_lot())
			ELSE draw_lot() END;
		IF o.kind IN ('place_bid', 'place_bids', 'insert', 'buy_now') THEN
			CALL draw_bid(o);
		ELSIF o.kind = 'retract' THEN
			CALL draw_retraction(o);
		END IF;
		INSERT INTO ops SELECT o.*;
	END LOOP;
END $$;

CREATE PROCEDURE make_stream(total int) LANGUAGE plpgsql AS $$
DECLARE
	c int := 1;
	next int := 1;
BEGIN
	PERFORM setseed(0.6174);
	WHILE next <= total LOOP
		CALL draw_call(c, next);
		CALL run_call('table', c);
		COMMIT;
		next := 1 + (SELECT max(n) FROM ops);
		c := c + 1;
	END LOOP;
END $$;
SQL

# --- The stream, on table, then on redis ----------------------------------

note 'the stream: seeds 0.1729 and 0.6174';
sql("CALL make_stream($operations)");
my $calls = sql('SELECT max(call) FROM ops');
my $done = "SELECT count(*) FROM verdicts WHERE route = 'redis'";


# Until the replay that is going on has come so much further.
sub wait_further
{
	my ($n) = @_;
	my $wanted = $n + sql($done);

	poll_until($node, 'postgres', "SELECT ($done) >= $wanted");
	return;
}

# State and book of an auction as Redis has them.
sub shown
{
	my ($lane, $id) = @_;
	my @state = split /\n/,
	  $redis->cli('HMGET', "{auction:$lane}:auction:$id",
		'price', 'leader', 'bid_count', 'book', 'retracted'), -1;
	my %best = split /\n/,
	  $redis->cli('ZRANGE', "{auction:$lane}:book:$id", '0', '-1',
		'WITHSCORES');

	$state[4] ||= 0;
	return join ' ', grep { $_ ne '' } @state,
	  map { "$_ $best{$_}" } sort { $a <=> $b } keys %best;
}

# Tests: without a further bid, Redis shows of each open auction what its bids
# are. top_bids reads that on redis, the tables on table.
sub check_books
{
	my ($when) = @_;
	my @open = split /\n/, sql(<<'SQL');
SELECT l.lane, s.id, concat_ws(' ', price, leader_id, bid_count, bid_count,
	retracted_count, (SELECT string_agg(user_id || ' ' || best, ' '
		ORDER BY user_id) FROM
		(SELECT user_id, max(amount) AS best FROM auction.journal
		  WHERE auction_id = s.id AND retracted_at IS NULL GROUP BY 1) b))
FROM auction.standings s JOIN auction.lanes l ON l.id = lane_id
WHERE status = 'open' AND bid_count > 0 ORDER BY s.id
SQL
	foreach (@open)
	{
		my ($lane, $id, $expected) = split /\|/;
		poll("Redis shows auction $id as $expected",
			sub { return shown($lane, $id) eq $expected; });
	}
	cmp_ok(scalar(@open), '>', 10, "$when: books of open auctions are whole");
	check_top_bids($when);
	return;
}

sub check_top_bids
{
	my ($when) = @_;

	is(sql(<<'SQL'), '0', "$when: top_bids is the same on both routes, and right");
WITH top AS (SELECT id, t.* FROM auction.auctions, auction.top_bids(id, 99) t),
best AS (SELECT DISTINCT ON (auction_id, user_id) b.*, price
	FROM placed b JOIN auction.standings s ON s.id = auction_id
	WHERE retracted_at IS NULL
	ORDER BY auction_id, user_id, amount DESC, bid_no),
right_ones AS (SELECT auction_id, rank() OVER (PARTITION BY auction_id
		ORDER BY amount DESC, bid_no), user_id, least(amount, price) AS amount
	FROM best)
SELECT (SELECT count(*) FROM (TABLE top EXCEPT TABLE right_ones) x)
	+ (SELECT count(*) FROM (TABLE right_ones EXCEPT TABLE top) x)
	+ (SELECT count(*) FROM
		(SELECT id, rank, user_id, amount FROM top WHERE id < 2000) t
		FULL JOIN (SELECT id - 1000 AS id, rank, user_id, amount FROM top
			WHERE id > 2000) r USING (id, rank, user_id, amount)
		WHERE t IS NULL OR r IS NULL)
SQL
	return;
}

# The replay on redis, with its router ended, and its Redis away for a while.
sub replay_with_faults
{
	my ($first, $last) = @_;
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

# Whether a verdict says that the end has moved; where to, is computed below.
sql(<<'SQL');
CREATE VIEW comparable AS
SELECT route, n, accepted, reason, bid_no, price, leader_id, reserve_met, error,
	ends_at <> lag(ends_at) OVER (PARTITION BY route, lot, ends_at IS NULL
		ORDER BY n) AS moved
FROM verdicts v JOIN ops o USING (n, bid_no);
SQL
sql('DROP VIEW comparable');
