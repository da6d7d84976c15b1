-- Reserve price and buy now. Every rule on both routes: auction N is on route
-- table, N + 100 on route redis, and must be told the same.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
SET auction.overload_timeout = '1min';
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM auction.lanes) THEN
		EXECUTE format('CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis'
			' OPTIONS (host %L)', current_setting('auction_test.redis'));
		PERFORM auction.attach_redis('redis1', 2);
	END IF;
END $$;

-- Auctions of seller 1 that begin at 1000, in steps of 100.
CREATE FUNCTION sale(id int, kind text, reserve bigint, buy_now bigint)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, reserve_price, buy_now_price, route)
	VALUES (id, 1, kind, '2020-01-01', '2099-01-01', 1000, 100, reserve,
			buy_now, 'table'),
		(id + 100, 1, kind, '2020-01-01', '2099-01-01', 1000, 100, reserve,
			buy_now, 'redis');
$$;
-- The bid on both: what both are told is one row. amount NULL: buy now.
CREATE FUNCTION verdict(id int, user_id bigint, amount bigint)
RETURNS auction.bid_result LANGUAGE plpgsql AS $$
BEGIN
	IF amount IS NULL THEN
		RETURN auction.buy_now(id, user_id);
	END IF;
	RETURN auction.place_bid(id, user_id, amount);
END $$;
CREATE FUNCTION bid(id int, user_id bigint, amount bigint,
	OUT routes text, OUT accepted bool, OUT reason text, OUT bid_no bigint,
	OUT price bigint, OUT leader bigint, OUT reserve_met bool)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT string_agg(b.route, ', ' ORDER BY b.route), b.accepted, b.reason,
		b.bid_no, b.price, b.leader_id, b.reserve_met
	FROM unnest(ARRAY[id, id + 100]) a, verdict(a, user_id, amount) b
	GROUP BY b.accepted, b.reason, b.bid_no, b.price, b.leader_id,
		b.reserve_met;
$$;
-- What anybody may see of both.
CREATE FUNCTION seen(id int) RETURNS TABLE (routes text, over bool,
	price bigint, leader bigint, least_bid bigint, reserve_met bool,
	buy_now bigint, available bool, winner bigint, count bigint)
LANGUAGE sql AS $$
	SELECT string_agg(s.route, ', ' ORDER BY s.route), s.status <> 'open',
		s.price, s.leader_id, s.least_bid, s.reserve_met, s.buy_now_price,
		s.buy_now_available, s.winner_id, s.bid_count
	FROM unnest(ARRAY[id, id + 100]) a, auction.standing(a) s
	GROUP BY s.status <> 'open', s.price, s.leader_id, s.least_bid,
		s.reserve_met, s.buy_now_price, s.buy_now_available, s.winner_id,
		s.bid_count;
$$;

--
-- Reserve, kind open: met by a bid that high.
--
SELECT sale(13001, 'open', 2000, NULL);
SELECT * FROM seen(13001);
SELECT * FROM bid(13001, 7, 999);
SELECT * FROM bid(13001, 7, 1000);
SELECT * FROM bid(13001, 8, 1999);
SELECT * FROM bid(13001, 7, 2098);
SELECT * FROM seen(13001);
SELECT * FROM bid(13001, 7, 2099);
SELECT * FROM seen(13001);
SELECT sale(13002, 'open', 2000, NULL);
SELECT * FROM bid(13002, 7, 2000);

-- Kind proxy: a maximum that reaches it lifts the price to it, no other does.
SELECT sale(13003, 'proxy', 2000, NULL);
SELECT * FROM bid(13003, 7, 1500);
SELECT * FROM bid(13003, 8, 1800);
SELECT * FROM bid(13003, 8, 1999);
SELECT * FROM bid(13003, 7, 1800);
SELECT * FROM bid(13003, 9, 2500);
SELECT * FROM bid(13003, 8, 2300);
SELECT sale(13034, 'proxy', 2000, NULL);
SELECT * FROM bid(13034, 7, 1500);
SELECT * FROM bid(13034, 8, 2500);
SELECT sale(13004, 'proxy', 2000, NULL);
SELECT * FROM bid(13004, 7, 2000);
-- The leader himself may lift it, without anybody else.
SELECT sale(13005, 'proxy', 2000, NULL);
SELECT * FROM bid(13005, 7, 1500);
SELECT * FROM bid(13005, 7, 2500);
-- The price is one step above the second, which is more than the reserve.
SELECT sale(13006, 'proxy', 2000, NULL);
SELECT * FROM bid(13006, 7, 1950);
SELECT * FROM bid(13006, 8, 5000);
-- A reserve at the start price is met by any bid.
SELECT sale(13007, 'proxy', 1000, NULL);
SELECT * FROM seen(13007);
SELECT * FROM bid(13007, 7, 1000);
-- No reserve: nothing to meet.
SELECT sale(13008, 'open', NULL, NULL);
SELECT * FROM bid(13008, 7, 1000);
SELECT * FROM seen(13008);

-- Nobody sees the reserve. Not met, an INSERT is not told it either.
SELECT sale(13009, 'proxy', 765432198, NULL);
SELECT * FROM bid(13009, 7, 1200);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (13009, 8, 1000);
SELECT count(*) FROM auction.standings s
WHERE id IN (13009, 13109) AND s::text ~ '765432198';

-- Over: not met, nobody wins; met, the leader does.
SELECT sale(13010, 'open', 2000, NULL), sale(13011, 'proxy', 2000, NULL),
	sale(13012, 'proxy', 2000, NULL), sale(13013, 'proxy', 2000, NULL);
SELECT * FROM bid(13010, 7, 1999);
SELECT * FROM bid(13011, 7, 1999);
SELECT * FROM bid(13012, 7, 2000);
SELECT count(*) FILTER (WHERE auction.close_auction(id)) AS closed
FROM unnest(ARRAY[13010, 13110, 13011, 13111, 13012, 13112, 13013, 13113]) id;
SELECT id, seen.* FROM unnest(ARRAY[13010, 13011, 13012, 13013]) id, seen(id)
ORDER BY id;

--
-- Buy now: until the first bid.
--
SELECT sale(13014, 'open', NULL, 5000), sale(13015, 'proxy', NULL, 5000);
SELECT * FROM seen(13014);
SELECT * FROM bid(13014, 7, NULL);
SELECT * FROM bid(13014, 8, NULL);
SELECT * FROM bid(13014, 8, 9000);
SELECT * FROM bid(13015, 7, NULL);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(13014);
SELECT * FROM seen(13015);
-- A bid: no more; it is a plain auction then.
SELECT sale(13016, 'open', NULL, 5000), sale(13017, 'proxy', NULL, 5000);
SELECT * FROM bid(13016, 7, 999);
SELECT * FROM seen(13016);
SELECT * FROM bid(13016, 7, 1000);
SELECT * FROM seen(13016);
SELECT * FROM bid(13016, 8, NULL);
SELECT * FROM bid(13017, 7, 4000);
SELECT * FROM bid(13017, 8, NULL);
SELECT * FROM bid(13017, 7, NULL);
-- A proxy auction's maximum may be above the buy-now price and ends nothing.
SELECT * FROM bid(13017, 8, 9000);
SELECT * FROM bid(13017, 7, 8000);
SELECT * FROM seen(13017);

-- With a reserve: until that is met.
SELECT sale(13018, 'open', 2000, 5000), sale(13019, 'proxy', 2000, 5000),
	sale(13020, 'open', 2000, 5000), sale(13021, 'proxy', 2000, 5000);
SELECT * FROM bid(13018, 7, 1999);
SELECT * FROM seen(13018);
SELECT * FROM bid(13018, 8, NULL);
SELECT * FROM bid(13019, 7, 1500);
SELECT * FROM bid(13019, 8, 1900);
SELECT * FROM seen(13019);
-- The leader may buy, too.
SELECT * FROM bid(13019, 8, NULL);
SELECT * FROM bid(13020, 7, 2000);
SELECT * FROM seen(13020);
SELECT * FROM bid(13020, 8, NULL);
SELECT * FROM bid(13021, 7, 2000);
SELECT * FROM seen(13021);
SELECT * FROM bid(13021, 7, NULL);
SELECT auction.wait_applied('1min');
SELECT id, seen.* FROM unnest(ARRAY[13018, 13019]) id, seen(id) ORDER BY id;

-- None.
SELECT sale(13022, 'open', NULL, NULL);
SELECT * FROM seen(13022);
SELECT * FROM bid(13022, 7, NULL);
-- A price that is fixed: start price and buy-now price are one; so is the
-- reserve.
SELECT sale(13023, 'open', 1000, 1000), sale(13024, 'proxy', 1000, 1000);
SELECT * FROM seen(13023);
SELECT * FROM bid(13023, 7, NULL);
SELECT * FROM bid(13024, 7, NULL);

-- Refused like a bid: the seller, an auction that is none, has not begun, is
-- over.
SELECT sale(13025, 'open', NULL, 5000);
SELECT * FROM bid(13025, 1, NULL);
SELECT * FROM auction.buy_now(13999, 7);
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, buy_now_price,
	route)
VALUES (13026, 1, '2098-01-01', '2099-01-01', 5000, 'table'),
	(13126, 1, '2098-01-01', '2099-01-01', 5000, 'redis'),
	(13027, 1, '2098-01-01', '2099-01-01', NULL, 'table'),
	(13127, 1, '2098-01-01', '2099-01-01', NULL, 'redis');
SELECT * FROM bid(13026, 7, NULL);
SELECT * FROM bid(13027, 7, NULL);
SELECT * FROM bid(13014, 1, NULL);

--
-- A bid of an open auction that reaches the buy-now price ends it, at that
-- price, at any time.
--
SELECT sale(13028, 'open', NULL, 1550), sale(13029, 'open', NULL, 5000),
	sale(13030, 'open', 2000, 5000);
SELECT * FROM bid(13028, 7, 1000);
SELECT * FROM bid(13028, 8, 1480);
-- It is enough, even if it is less than a step away.
SELECT * FROM seen(13028);
SELECT * FROM bid(13028, 7, 1549);
SELECT * FROM bid(13028, 7, 1550);
SELECT * FROM bid(13028, 8, 9000);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(13028);
-- More than that is not paid. The first bid may, too, and where a reserve is
-- met already.
SELECT * FROM bid(13029, 7, 9000);
SELECT * FROM bid(13030, 7, 2000);
SELECT * FROM bid(13030, 8, 5001);
SELECT auction.wait_applied('1min');
SELECT id, seen.* FROM unnest(ARRAY[13029, 13030]) id, seen(id) ORDER BY id;
SELECT auction_id, bid_no, user_id, amount, buy_now FROM auction.bids
WHERE auction_id IN (13029, 13129, 13030, 13130) ORDER BY auction_id, bid_no;
SELECT id, top.* FROM unnest(ARRAY[13029, 13129, 13030, 13130]) id,
	auction.top_bids(id) top ORDER BY id, rank;
-- By the view, in the middle of a statement: the rest is told "closed".
SELECT sale(13031, 'open', NULL, 5000);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (13031, 7, 4000), (13031, 8, 4500), (13031, 7, 6000)
RETURNING bid_no, user_id, amount, buy_now;
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (13131, 7, 4000), (13131, 8, 6000), (13131, 7, 9000);
SELECT r.* FROM auction.place_bids(ARRAY[
	(13031, 8, 5000, NULL, NULL), (13131, 8, 5000, NULL, NULL)
	]::auction.bid_request[]) b, LATERAL (SELECT b.accepted, b.reason, b.price,
		b.leader_id) r;

--
-- Arguments.
--
SELECT auction.buy_now(NULL, 7);
SELECT auction.buy_now(13025, NULL);
SELECT auction.buy_now(13025, 7, NULL, to_jsonb(repeat('x', 2000)));
BEGIN READ ONLY;
SELECT auction.buy_now(13025, 7);
ROLLBACK;
SELECT * FROM seen(13025);

-- Request id and attributes are kept; so is that it was a buy-now. It is as
-- durable as the auction asks for.
UPDATE auction.auctions SET durability = 'journal' WHERE id = 13125;
SELECT b.accepted, b.bid_no, b.route, b.durability
FROM unnest(ARRAY[13025, 13125]) id, auction.buy_now(id, 7,
	'00000000-0000-0000-0000-000000013025', '{"from": "app"}') b;
-- A ROLLBACK undoes it on route table alone.
SELECT sale(13032, 'open', NULL, 5000);
BEGIN;
SELECT * FROM bid(13032, 7, NULL);
SELECT bid_no, user_id, amount, buy_now FROM auction.journal
WHERE auction_id = 13032;
ROLLBACK;
SELECT auction.wait_applied('1min');
SELECT * FROM seen(13032) ORDER BY routes;

-- The router tells at once, though its row is behind.
SELECT sale(13035, 'open', 2000, 5000);
SELECT auction.pause_drain();
SELECT * FROM bid(13035, 7, 1500);
SELECT * FROM seen(13035);
SELECT * FROM bid(13035, 8, NULL);
SELECT * FROM seen(13035);
SELECT auction.resume_drain();

--
-- All that is over is verified and goes to history, with what it was.
--
SELECT auction.wait_applied('1min');
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction.standings
			WHERE id BETWEEN 13000 AND 13199 AND status = 'closed');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT string_agg(id::text, ' ' ORDER BY id) AS ids, status, price, leader_id,
	winner_id, bid_count, reserve_met
FROM auction.standings
WHERE id BETWEEN 13000 AND 13199 AND status <> 'open'
GROUP BY id % 100, status, price, leader_id, winner_id, bid_count, reserve_met
ORDER BY id % 100;
SELECT count(*) FROM auction.standings
WHERE id BETWEEN 13000 AND 13199 AND status <> 'open'
	AND (closed_at IS NULL OR verified_at IS NULL OR reason IS NOT NULL);
SELECT count(*) FROM auction.journal
WHERE buy_now AND auction_id BETWEEN 13000 AND 13199;
SELECT auction_id, bid_no, user_id, amount, buy_now, request_id, attributes
FROM auction.history
WHERE auction_id IN (13019, 13119, 13025, 13125) ORDER BY 1, 2;

-- Seller's changes: until the first bid.
SELECT sale(13033, 'open', 2000, 5000);
UPDATE auction.auctions SET reserve_price = 3000, buy_now_price = 4000
WHERE id IN (13033, 13133);
SELECT * FROM bid(13033, 7, 2500);
UPDATE auction.auctions SET reserve_price = NULL WHERE id = 13033;
UPDATE auction.auctions SET reserve_price = NULL WHERE id = 13133;
UPDATE auction.auctions SET buy_now_price = 5000 WHERE id = 13033;
SELECT * FROM bid(13033, 8, NULL);

DROP FUNCTION sale, verdict, bid, seen;
