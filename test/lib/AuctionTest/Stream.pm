# AuctionTest::Stream: a random stream of everything that can be done to an
# auction, the same for both routes.
#
#   create_stream($node, 'postgres');        # tables, functions, auctions
#   CALL make_stream(9000)                   # draws it, on route table
#   CALL replay('redis', 1, 7000)            # calls 1..7000, on route redis
#   CALL end_stream()                        # closed auctions go to history
#
# It is drawn while route table decides it, so that amounts can be near the
# price and near hidden maxima. All is drawn by one session from fixed seeds, so
# it is the same each time. Lot N is auction 1000 + N on table, 2000 + N on
# redis.
#
#   lots       what each auction is like
#   ops        operations; a call is one, or the bids of one place_bids()
#   verdicts   what came of each, by route; an error with all it says, but for
#              the auction's number
#   placed     bids with whole amounts: auction.bids hides some
package AuctionTest::Stream;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(create_stream);

# The windows of soft closes are so long, or so short, that the time a bid
# takes cannot matter. Lot 1 has a step that no amount reaches, lot 2 has not
# started, lot 3 is quarantined.
my $lots = <<'SQL';
SELECT setseed(0.1729);
INSERT INTO auction.increment_tables VALUES ('odd', 0, 50), ('odd', 300, 7),
	('odd', 1000, 200), ('odd', 4000, 1), ('odd', 20000, 500);
CREATE TABLE lots AS
SELECT lot, CASE WHEN random() < .6 THEN 'proxy' ELSE 'open' END AS kind,
	now() + CASE lot WHEN 2 THEN '10 hours' ELSE '-2 days' END::interval
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
	CASE WHEN lot <> 2 THEN (ARRAY['24 hours', '1 hour', NULL, NULL]
		::interval[])[1 + floor(random() * 4)] END AS extend_window,
	random() AS soft,
	CASE WHEN random() < .15 THEN 'journal' ELSE 'redis' END AS durability
FROM generate_series(1, 80) lot;
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
SQL

# When a closed auction is consolidated is a matter of time, and with it what is
# still possible. So none is before the end of the stream.
my $hold = <<'SQL';
CREATE FUNCTION not_yet() RETURNS trigger LANGUAGE plpgsql
	AS $$ BEGIN RAISE 'the stream is not over yet'; END $$;
CREATE TRIGGER not_yet BEFORE INSERT ON auction.history
	FOR EACH STATEMENT EXECUTE FUNCTION not_yet();

CREATE PROCEDURE end_stream() LANGUAGE sql
	AS 'DROP TRIGGER not_yet ON auction.history';
SQL

my $run = <<'SQL';
CREATE TABLE ops (n int PRIMARY KEY, call int NOT NULL, lot int NOT NULL,
	kind text NOT NULL, user_id bigint, amount bigint, bid_no bigint);
CREATE INDEX ON ops (call);
CREATE TABLE verdicts (route text, n int, accepted bool, reason text,
	bid_no bigint, price bigint, leader_id bigint, reserve_met bool,
	ends_at timestamptz, durability text, error text,
	PRIMARY KEY (route, n));

CREATE VIEW placed AS
SELECT j.* FROM auction.journal j JOIN auction._state s USING (auction_id)
 WHERE consolidated_at IS NULL
UNION ALL
SELECT h.* FROM auction.history h JOIN auction._state s USING (auction_id)
 WHERE consolidated_at IS NOT NULL;

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

-- A replay stands still before this call, until the row is gone.
CREATE TABLE hold (call int, reached bool NOT NULL DEFAULT false);
CREATE PROCEDURE replay(r text, first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR c IN first .. last LOOP
		IF EXISTS (SELECT FROM hold WHERE call = c) THEN
			UPDATE hold SET reached = true;
			COMMIT;
			WHILE EXISTS (SELECT FROM hold) LOOP
				PERFORM pg_sleep(.01);
			END LOOP;
		END IF;
		CALL run_call(r, c);
		COMMIT;
	END LOOP;
END $$;
SQL

my $draw = <<'SQL';
CREATE FUNCTION draw(n int) RETURNS int
	RETURN floor(random() * n);

-- Mostly an open lot; 0: there is no such auction.
CREATE FUNCTION draw_lot() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	open int[] := ARRAY(SELECT auction_id - 1000 FROM auction._state
		WHERE status = 'o' AND auction_id < 2000 ORDER BY 1);
BEGIN
	RETURN CASE WHEN random() < .93 AND open <> '{}'
		THEN open[1 + draw(cardinality(open))] ELSE draw(81) END;
END $$;

-- Around what decides: the least bid, the leader's maximum, the reserve, the
-- buy-now price, and amounts that were bid before. User 0 is the seller.
CREATE PROCEDURE draw_bid(INOUT o ops) LANGUAGE plpgsql AS $$
DECLARE
	s auction.standings;
	h auction._state;
	step bigint;
	old int;
	r float8 := random();
BEGIN
	SELECT * INTO s FROM auction.standings WHERE id = 1000 + o.lot;
	SELECT * INTO h FROM auction._state WHERE auction_id = 1000 + o.lot;
	step := greatest(coalesce(s.least_bid, s.price + 1) - s.price, 1);
	old := 1 + draw(s.bid_count::int);
	o.user_id := CASE WHEN random() < .03 THEN 0 ELSE 1 + draw(10) END;
	IF r BETWEEN .62 AND .76 THEN
		o.user_id := coalesce(s.leader_id, o.user_id);
	END IF;
	o.amount := CASE
		WHEN r < .20 THEN s.least_bid
		WHEN r < .40 THEN s.least_bid + floor(random() * 3 * step)
		WHEN r < .47 THEN s.least_bid - 1
		WHEN r < .55 THEN h.leader_max
		WHEN r < .62 THEN (SELECT amount FROM auction.journal
			WHERE auction_id = s.id AND bid_no = old)
		WHEN r < .69 THEN h.leader_max + 1 + floor(random() * step)
		WHEN r < .72 THEN h.leader_max + 1
		WHEN r < .76 THEN h.leader_max - draw(2)
		WHEN r < .90 THEN h.reserve_price - 1 + draw(3)
		WHEN r < .91 THEN h.buy_now_price - 1 + draw(2)
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
		WHEN r < .88 THEN 'insert' WHEN r < .915 THEN 'buy_now'
		WHEN r < .993 THEN 'retract' WHEN r < .9965 THEN 'close'
		ELSE 'cancel' END;
	IF o.kind IN ('close', 'cancel') AND random() < .6 THEN
		o.lot := draw(81);
	END IF;
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

sub create_stream
{
	my ($node, $db) = @_;

	note 'random stream: seeds 0.1729 and 0.6174';
	$node->safe_psql($db, $_) foreach ($lots, $hold, $run, $draw);
	return;
}

1;
