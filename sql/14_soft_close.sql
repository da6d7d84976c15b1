-- Soft close: an accepted bid in the last part of an auction extends it. The
-- auctions that are looked at here end within the hour, and their windows are
-- days, so that every bid is in its window, or far from it, whenever it comes.
-- Auction N is on route table, N + 100 on route redis.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
SET auction.overload_timeout = '1min';
SET timezone = 'UTC';
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM auction.lanes) THEN
		EXECUTE format('CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis'
			' OPTIONS (host %L)', current_setting('auction_test.redis'));
		PERFORM auction.attach_redis('redis1', 2);
	END IF;
END $$;

-- Auctions of seller 1 that end in so long; "most" is the limit, from there.
CREATE FUNCTION sale(id int, ends interval, extend_window interval,
	extend_by interval, most interval DEFAULT NULL, kind text DEFAULT 'open')
RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, buy_now_price, extend_window, extend_by,
		extend_limit, route)
	SELECT a.id, 1, sale.kind, '2020-01-01', now() + ends, 1000, 100, 900000,
		sale.extend_window, sale.extend_by, now() + ends + most, route
	FROM (VALUES (sale.id, 'table'), (sale.id + 100, 'redis')) a (id, route);
$$;
-- The end that the verdict tells: how long after the bid; or, where it is the
-- seller's or the limit, how much it is extended. told: the views tell the same
-- end. amount NULL: buy now.
CREATE FUNCTION bid(id int, user_id bigint, amount bigint) RETURNS TABLE (
	routes text, accepted bool, reason text, after_bid interval,
	extended interval, told bool)
LANGUAGE plpgsql AS $$
DECLARE
	b auction.bid_result[];
BEGIN
	FOR i IN 1..2 LOOP
		b[i] := CASE WHEN amount IS NULL
			THEN auction.buy_now(id + i * 100 - 100, user_id)
			ELSE auction.place_bid(id + i * 100 - 100, user_id, amount) END;
	END LOOP;
	PERFORM auction.wait_applied('1min');
	RETURN QUERY
	SELECT string_agg(x.route, ', ' ORDER BY x.route), x.accepted, x.reason,
		x.after_bid, x.extended, x.told
	FROM (SELECT r.route, r.accepted, r.reason,
			CASE WHEN r.accepted AND r.ends_at <> a.ends_at
				AND r.ends_at IS DISTINCT FROM a.extend_limit
				THEN r.ends_at - p.placed_at END AS after_bid,
			CASE WHEN r.ends_at = a.ends_at THEN '0'
				WHEN r.ends_at = a.extend_limit
				THEN r.ends_at - a.ends_at END AS extended,
			r.ends_at = s.ends_at AND r.ends_at = v.ends_at AS told
		FROM unnest(b) WITH ORDINALITY AS r
			JOIN auction.auctions a ON a.id = bid.id + r.ordinality * 100 - 100
			JOIN auction.standings v ON v.id = a.id
			LEFT JOIN auction.bids p
				ON p.auction_id = a.id AND p.bid_no = r.bid_no
			CROSS JOIN LATERAL auction.standing(a.id) s) x
	GROUP BY x.accepted, x.reason, x.after_bid, x.extended, x.told;
END $$;

-- In the window: the end is so long after the bid, for each bid again.
SELECT sale(14001, '1 hour', '1 day', '1 day');
SELECT * FROM bid(14001, 7, 1000);
SELECT * FROM bid(14001, 8, 1100);
SELECT * FROM bid(14001, 8, 1200);
-- A bid that is refused extends nothing.
SELECT ends_at AS before FROM auction.standings WHERE id = 14001 \gset
SELECT ends_at AS rbefore FROM auction.standings WHERE id = 14101 \gset
SELECT accepted, reason, ends_at = :'before' AS same
FROM auction.place_bid(14001, 7, 1250);
SELECT accepted, reason, ends_at = :'rbefore' AS same
FROM auction.place_bid(14101, 7, 1250);
SELECT accepted, reason, ends_at = :'before' AS same
FROM auction.place_bid(14001, 1, 5000);
SELECT accepted, reason, ends_at = :'rbefore' AS same
FROM auction.place_bid(14101, 1, 5000);
SELECT accepted, reason, ends_at = :'before' AS same
FROM auction.buy_now(14001, 7);
SELECT accepted, reason, ends_at = :'rbefore' AS same
FROM auction.buy_now(14101, 7);

-- More than the window is possible.
SELECT sale(14002, '1 hour', '2 hours', '36 hours');
SELECT * FROM bid(14002, 7, 1000);

-- Before the window: nothing changes.
SELECT sale(14003, '10 days', '1 hour', '1 hour');
SELECT * FROM bid(14003, 7, 1000);
SELECT * FROM bid(14003, 8, 1100);
SELECT sale(14004, '10 days', '9 days', '200 days');
SELECT * FROM bid(14004, 7, 1000);
-- No soft close.
SELECT sale(14005, '1 hour', NULL, NULL);
SELECT * FROM bid(14005, 7, 1000);

-- Up to the limit, if there is one; then no more.
SELECT sale(14006, '1 hour', '1 day', '1 day', '2 hours');
SELECT * FROM bid(14006, 7, 1000);
SELECT * FROM bid(14006, 8, 1100);
SELECT sale(14007, '1 hour', '1 day', '1 day', '0');
SELECT * FROM bid(14007, 7, 1000);
-- A limit that is far away is none.
SELECT sale(14008, '1 hour', '1 day', '1 day', '1000 days');
SELECT * FROM bid(14008, 7, 1000);

-- Proxy: any accepted bid, also one that does not lead, or the leader's own.
SELECT sale(14009, '1 hour', '1 day', '1 day', NULL, 'proxy');
SELECT * FROM bid(14009, 7, 5000);
SELECT * FROM bid(14009, 8, 2000);
SELECT * FROM bid(14009, 7, 6000);
SELECT * FROM bid(14009, 7, 6000);

-- What ends the auction does not extend it.
SELECT sale(14010, '1 hour', '1 day', '1 day'),
	sale(14011, '1 hour', '1 day', '1 day'),
	sale(14012, '1 hour', '1 day', '1 day', NULL, 'proxy');
SELECT * FROM bid(14010, 7, NULL);
SELECT * FROM bid(14011, 7, 900001);
SELECT * FROM bid(14012, 7, NULL);

-- On route table a ROLLBACK takes it back.
SELECT sale(14013, '1 hour', '1 day', '1 day');
BEGIN;
SELECT accepted FROM auction.place_bid(14013, 7, 1000);
SELECT s.ends_at > a.ends_at AS extended
FROM auction.standings s JOIN auction.auctions a USING (id) WHERE id = 14013;
ROLLBACK;
SELECT s.ends_at > a.ends_at AS extended
FROM auction.standings s JOIN auction.auctions a USING (id) WHERE id = 14013;

-- The view tells what is set; the seller can change it until the first bid.
SELECT sale(14014, '1 hour', '1 day', '1 day');
UPDATE auction.auctions SET ends_at = '2090-01-01', extend_window = '2 min',
	extend_by = '3 min', extend_limit = '2090-01-02'
WHERE id IN (14014, 14114);
SELECT DISTINCT ends_at, extend_window, extend_by, extend_limit
FROM auction.standings WHERE id IN (14014, 14114);
SELECT * FROM bid(14014, 7, 1000);
UPDATE auction.auctions SET extend_limit = NULL WHERE id = 14014;
UPDATE auction.auctions SET extend_by = '4 min' WHERE id = 14114;

-- The longest that is possible.
INSERT INTO auction.auctions (id, seller_id, ends_at, extend_window, extend_by,
	route)
VALUES (14015, 1, now() + interval '1 hour', '366 days', '8784:00', 'table'),
	(14115, 1, now() + interval '1 hour', '366 days', '8784:00', 'redis');
SELECT * FROM bid(14015, 7, 1000);

-- The steward closes at the extended end, not before. A bid that comes too late
-- for the first end (a slow machine) makes it begin again.
CREATE TABLE soft (id bigint PRIMARY KEY, route text, was timestamptz,
	placed_at timestamptz);
DO $$
DECLARE
	no bigint := 14200;
	b auction.bid_result;
	which text;
BEGIN
	FOREACH which IN ARRAY ARRAY['table', 'redis'] LOOP
		FOR i IN 1..100 LOOP
			no := no + 1;
			INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at,
				extend_window, extend_by, route)
			VALUES (no, 1, '2020-01-01', clock_timestamp() + interval '1 s',
				'1 s', '3 s', which);
			COMMIT;
			b := auction.place_bid(no, 7, 5);
			EXIT WHEN b.accepted;
		END LOOP;
		PERFORM auction.wait_applied('1min');
		INSERT INTO soft
		SELECT a.id, a.route, a.ends_at, p.placed_at
		FROM auction.auctions a JOIN auction.bids p ON p.auction_id = a.id
		WHERE a.id = no;
		COMMIT;
	END LOOP;
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction.standings
			JOIN soft USING (id) WHERE status <> 'consolidated');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT f.route, s.status, s.ends_at = f.placed_at + interval '3 s' AS extended,
	s.ends_at > f.was AS later, s.closed_at >= s.ends_at AS not_before,
	s.winner_id, s.reason
FROM soft f JOIN auction.standings s USING (id) ORDER BY f.route;
DROP TABLE soft;

-- Over before the extended end, by buy now or close_auction(): verified.
SELECT count(*) FILTER (WHERE auction.close_auction(id)) AS closed
FROM unnest(ARRAY[14001, 14101, 14006, 14106, 14009, 14109]) id;
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction.standings
			WHERE id BETWEEN 14000 AND 14199 AND status = 'closed');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT string_agg(id::text, ' ' ORDER BY id) AS ids, status, price, winner_id,
	closed_at < ends_at AS early, reason
FROM auction.standings
WHERE id BETWEEN 14000 AND 14199 AND status <> 'open'
GROUP BY id % 100, status, price, winner_id, closed_at < ends_at, reason
ORDER BY id % 100;

DROP FUNCTION sale, bid;
