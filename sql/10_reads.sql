-- Reads: standings, standing, top_bids, wait_applied; from the tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

INSERT INTO auction.auctions (id, seller_id, title, starts_at, ends_at,
	start_price, increment, route)
VALUES (10001, 1, 'a clock', now() - interval '1 hour',
	now() + interval '1 hour', 5, 1, 'table'),
	(10002, 1, 'a vase', now() - interval '1 hour',
	now() + interval '1 hour', 5, 1, 'table');

-- Before the first bid.
SELECT id, title, status, route, price, leader_id, bid_count
FROM auction.standing(10001);
SELECT * FROM auction.top_bids(10001);

-- 30 bids of seven bidders.
SELECT count(*) FILTER (WHERE accepted) AS accepted
FROM generate_series(1, 30) i, auction.place_bid(10001, 100 + i % 7, i * 10);
SELECT id, status, route, price, leader_id, bid_count
FROM auction.standing(10001);
SELECT (auction.standing(10001)).price;
SELECT count(*) FROM auction.standing(10001) a, auction.standings b
WHERE a = b;
SELECT * FROM auction.top_bids(10001);
SELECT * FROM auction.top_bids(10001, 3);
SELECT * FROM auction.top_bids(10001, n => 1000) WHERE rank > 5;
SELECT * FROM auction.top_bids(10002);

-- What there is not.
SELECT * FROM auction.standing(10999);
SELECT * FROM auction.standing(NULL);
SELECT * FROM auction.top_bids(10999);
SELECT * FROM auction.top_bids(10001, 0);

-- In the transaction that made the auction, and in one that only reads.
BEGIN;
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
VALUES (10003, 1, now() + interval '1 hour', 'table');
SELECT id, status, bid_count FROM auction.standing(10003);
ROLLBACK;
BEGIN READ ONLY;
SELECT id, bid_count FROM auction.standing(10001);
SELECT * FROM auction.top_bids(10001, 1);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT id, bid_count FROM auction.standing(10001);
SELECT * FROM auction.top_bids(10001, 1);
ROLLBACK;

-- From history they are the same.
BEGIN;
SELECT auction.close_auction(10001), auction.consolidate(10001);
SELECT id, status, price, leader_id, bid_count, closed_at IS NOT NULL AS closed,
	consolidated_at IS NOT NULL AS consolidated
FROM auction.standing(10001);
SELECT count(*) FROM auction.journal WHERE auction_id = 10001;
SELECT * FROM auction.top_bids(10001, 3);
SELECT count(*), min(bid_no), max(bid_no) FROM auction.bids
WHERE auction_id = 10001;
COMMIT;

-- No lanes: nothing to wait for.
SELECT auction.wait_applied();
SELECT auction.wait_applied('0s');
SELECT count(*) FROM auction.stat_lanes;
SELECT auction.pause_drain();
SELECT auction.resume_drain();

-- Nobody may call anything who has not been told so.
CREATE ROLE regress_auction_reader;
GRANT USAGE ON SCHEMA auction TO regress_auction_reader;
SET ROLE regress_auction_reader;
SELECT * FROM auction.standing(10001);
SELECT * FROM auction.top_bids(10001);
SELECT auction.wait_applied();
SELECT auction.close_auction(10001);
SELECT auction.consolidate(10001);
SELECT auction.pause_drain();
SELECT count(*) FROM auction.stat_lanes;
RESET ROLE;
GRANT EXECUTE ON FUNCTION auction.standing(bigint),
	auction.top_bids(bigint, int), auction.wait_applied(interval)
TO regress_auction_reader;
GRANT pg_monitor TO regress_auction_reader;
SET ROLE regress_auction_reader;
SELECT id, bid_count FROM auction.standing(10001);
SELECT * FROM auction.top_bids(10001, 1);
SELECT auction.wait_applied();
SELECT count(*) FROM auction.stat_lanes;
RESET ROLE;
DROP OWNED BY regress_auction_reader;
DROP ROLE regress_auction_reader;
