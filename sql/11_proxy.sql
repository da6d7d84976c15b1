-- Proxy auctions: an amount is the bidder's maximum, which nobody else gets to
-- see. Every rule on both routes: auction N is on route table, N + 100 on route
-- redis, and must be told the same.
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
CREATE FUNCTION sale(id int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, route)
	VALUES (id, 1, 'proxy', '2020-01-01', '2099-01-01', 1000, 100, 'table'),
		(id + 100, 1, 'proxy', '2020-01-01', '2099-01-01', 1000, 100, 'redis');
$$;
-- The bid on both: what both are told is one row.
CREATE FUNCTION bid(id int, user_id bigint, amount bigint,
	OUT routes text, OUT accepted bool, OUT reason text, OUT bid_no bigint,
	OUT price bigint, OUT leader bigint, OUT reserve_met bool)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT string_agg(b.route, ', ' ORDER BY b.route), b.accepted, b.reason,
		b.bid_no, b.price, b.leader_id, b.reserve_met
	FROM unnest(ARRAY[id, id + 100]) a,
		auction.place_bid(a, user_id, amount) b
	GROUP BY b.accepted, b.reason, b.bid_no, b.price, b.leader_id,
		b.reserve_met;
$$;
-- What anybody may see of both.
CREATE FUNCTION seen(id int) RETURNS TABLE (routes text, status text,
	price bigint, leader bigint, least_bid bigint, winner bigint,
	bids text, top text)
LANGUAGE sql AS $$
	SELECT string_agg(route, ', ' ORDER BY route), x.status, x.price,
		x.leader_id, x.least_bid, x.winner_id, x.bids, x.top
	FROM (SELECT s.*,
			(SELECT string_agg(format('%s:%s', b.user_id, b.amount), ' '
				ORDER BY b.bid_no)
			FROM auction.bids b WHERE b.auction_id = s.id) AS bids,
			(SELECT string_agg(format('%s:%s', t.user_id, t.amount), ' '
				ORDER BY t.rank) FROM auction.top_bids(s.id) t) AS top
		FROM unnest(ARRAY[seen.id, seen.id + 100]) a, auction.standing(a) s) x
	GROUP BY x.status, x.price, x.leader_id, x.least_bid, x.winner_id, x.bids,
		x.top;
$$;

SELECT sale(id) FROM unnest(ARRAY[11001, 11002, 11003, 11004, 11005, 11006]) id;

-- One bidder: the start price, whatever his maximum.
SELECT * FROM seen(11001);
SELECT * FROM bid(11001, 7, 999);
SELECT * FROM bid(11001, 7, 5000);

-- From others a full step over the price that is seen. A maximum that is lower
-- is outbid at once: accepted, one step above it is the price.
SELECT * FROM bid(11001, 8, 1099);
SELECT * FROM bid(11001, 8, 1100);
SELECT * FROM bid(11001, 8, 3000);

-- The leader is short of a full step: his maximum is the price.
SELECT * FROM bid(11001, 8, 4950);
SELECT * FROM bid(11001, 9, 5000);
SELECT * FROM bid(11001, 9, 5099);

-- The leader may raise his maximum by anything, not name it again, nor a lower
-- one; the price is what it takes to beat the second, 4950 + 100.
SELECT * FROM bid(11001, 7, 5000);
SELECT * FROM bid(11001, 7, 4000);
SELECT * FROM bid(11001, 7, 1);
SELECT * FROM bid(11001, 7, 5001);
SELECT * FROM bid(11001, 7, 6000);

-- A higher maximum leads, one step above the old one, or at itself.
SELECT * FROM bid(11001, 8, 7000);
SELECT * FROM bid(11001, 9, 7050);
-- The second is the best of anybody else: 8 with 7000, not 7 with 6000.
SELECT * FROM bid(11001, 9, 987654321);

-- Nobody sees a maximum: no amount is above the price, and the order is told.
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11001);
SELECT count(*) FROM auction.standings s
WHERE s.id IN (11001, 11101) AND s::text ~ '987654321';
SELECT count(*) FROM auction.bids b
WHERE b.auction_id IN (11001, 11101) AND b::text ~ '987654321';
SELECT rank, user_id, amount FROM auction.top_bids(11001, 2);
SELECT rank, user_id, amount FROM auction.top_bids(11101, 2);

-- A tie: the earlier one leads, at that price; who comes first does not depend
-- on the users' numbers. Then a full step is needed.
SELECT * FROM bid(11002, 7, 5000);
SELECT * FROM bid(11002, 8, 5000);
SELECT * FROM bid(11003, 8, 5000);
SELECT * FROM bid(11003, 7, 5000);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11002);
SELECT * FROM seen(11003);
SELECT * FROM bid(11002, 8, 5000);
SELECT * FROM bid(11002, 8, 5100);
-- Who was beaten and names the same amount is the later one.
SELECT * FROM bid(11003, 7, 8000);
SELECT * FROM bid(11003, 8, 8000);

-- Two of equal amounts behind a leader, in the order in which they came.
SELECT * FROM bid(11004, 7, 5000);
SELECT * FROM bid(11004, 8, 5000);
SELECT * FROM bid(11004, 9, 9000);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11004);

-- Each bidder is ranked once, with his best bid.
SELECT * FROM bid(11005, 7, 8000);
SELECT * FROM bid(11005, 8, 4000);
SELECT * FROM bid(11005, 9, 4100);
SELECT * FROM bid(11005, 9, 6000);
SELECT * FROM bid(11005, 8, 6100);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11005);

-- The seller is refused, and time goes before money.
SELECT * FROM bid(11005, 1, 90000);
SELECT * FROM bid(11005, 1, 1);

-- The ends of the range: there is no amount above it to step to.
SELECT * FROM bid(11006, 7, 9007199254740991);
SELECT * FROM bid(11006, 8, 9007199254740990);
SELECT * FROM bid(11006, 9, 9007199254740991);
SELECT * FROM bid(11006, 7, 9007199254740991);
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11006);

-- Many at once: each by what the ones before it left, on both routes.
SELECT sale(11007);
SELECT r.ordinality, r.route, r.accepted, r.reason, r.bid_no, r.price,
	r.leader_id
FROM auction.place_bids(ARRAY[
	(11007, 7, 2000, NULL, NULL),
	(11107, 7, 2000, NULL, NULL),
	(11007, 8, 1050, NULL, NULL),
	(11107, 8, 1050, NULL, NULL),
	(11007, 8, 1500, NULL, NULL),
	(11107, 8, 1500, NULL, NULL),
	(11007, 7, 2000, NULL, NULL),
	(11107, 7, 2000, NULL, NULL),
	(11007, 8, 2500, NULL, NULL),
	(11107, 8, 2500, NULL, NULL)]::auction.bid_request[])
	WITH ORDINALITY AS r;

-- The view: who bids gets back what he gave. A refused bid is told the price,
-- and what is acceptable, not the maximum.
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (11007, 9, 2200), (11007, 8, 4000), (11107, 9, 2200), (11107, 8, 4000)
RETURNING auction_id, bid_no, user_id, amount, route, buy_now, retracted_at,
	retract_reason;
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11007, 9, 2399);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11107, 9, 2399);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11007, 8, 4000);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11107, 8, 4000);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11007, 8, 5);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11107, 8, 5);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11006, 9, 9007199254740991);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (11106, 9, 9007199254740991);
-- What was returned to the bidder is not what others see.
SELECT auction.wait_applied('1min');
SELECT * FROM seen(11007);

-- Over, the maximum of the winner stays hidden: as closed ...
BEGIN;
SELECT auction.close_auction(11001);
SELECT * FROM seen(11001);
COMMIT;
-- ... and as consolidated, which is verified.
SELECT auction.close_auction(11101);
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN (SELECT count(*) = 2 FROM auction.standings
			WHERE id IN (11001, 11101) AND status = 'consolidated');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT * FROM seen(11001);
SELECT id, verified_at IS NOT NULL AS verified, reason FROM auction.standings
WHERE id IN (11001, 11101) ORDER BY id;
SELECT count(*) FROM auction.bids b
WHERE b.auction_id IN (11001, 11101) AND b::text ~ '987654321';
-- They are kept all the same, for those who may read the tables.
SELECT auction_id, max(amount) FROM auction.history
WHERE auction_id IN (11001, 11101) GROUP BY auction_id ORDER BY auction_id;

-- A bid that is rolled back: undone on route table.
SELECT sale(11008);
BEGIN;
SELECT * FROM bid(11008, 7, 3000);
ROLLBACK;
SELECT s.route, s.price, s.leader_id, s.bid_count
FROM unnest(ARRAY[11008, 11108]) a, auction.standing(a) s;

-- The kind can be changed until the first bid.
SELECT sale(11009);
UPDATE auction.auctions SET kind = 'open' WHERE id IN (11009, 11109);
SELECT * FROM bid(11009, 7, 3000);
UPDATE auction.auctions SET kind = 'proxy' WHERE id = 11009;
UPDATE auction.auctions SET kind = 'proxy' WHERE id = 11109;

DROP FUNCTION sale, bid, seen;
