-- What an application's role needs, and that it can do no more.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

CREATE ROLE regress_auction_app;
CREATE ROLE regress_auction_seller;
CREATE ROLE regress_auction_nobody;

INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (6001, 1, '2020-01-01', '2099-01-01', 'table');

-- Nothing is granted: names are visible, that is all.
SET ROLE regress_auction_nobody;
SELECT 'auction.bid_result'::regtype;
SELECT auction.place_bid(6001, 7, 1);
SELECT auction.place_bids('{}');
SELECT auction.buy_now(6001, 7);
SELECT auction.retract_bid(6001, 1, 'x');
SELECT auction.cancel_auction(6001, 'x');
SELECT auction._tally(1, 1, 1, false);
SELECT auction._live(6001);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (6001, 7, 1);
SELECT * FROM auction.bids;
SELECT * FROM auction.standings;
SELECT * FROM auction.auctions;
SELECT * FROM auction._state;
SELECT * FROM auction._refresh;
SELECT * FROM auction.increment_tables;
RESET ROLE;

-- EXECUTE is enough to bid, and INSERT on the view is; nothing below.
GRANT EXECUTE ON FUNCTION auction.place_bid TO regress_auction_app;
GRANT EXECUTE ON FUNCTION auction.place_bids TO regress_auction_app;
GRANT EXECUTE ON FUNCTION auction.buy_now TO regress_auction_app;
GRANT INSERT, SELECT ON auction.bids TO regress_auction_app;
GRANT SELECT ON auction.standings TO regress_auction_app;
SET ROLE regress_auction_app;
SELECT accepted, bid_no FROM auction.place_bid(6001, 7, 1);
SELECT accepted, bid_no FROM auction.place_bids(
	ARRAY[(6001, 7, 2, NULL, NULL)]::auction.bid_request[]);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (6001, 8, 3) RETURNING bid_no, route;
SELECT bid_no, user_id, amount FROM auction.bids WHERE auction_id = 6001
ORDER BY bid_no;
SELECT price, leader_id, least_bid, reserve_met, buy_now_available
FROM auction.standings WHERE id = 6001;
SELECT accepted, reason FROM auction.buy_now(6001, 7);
-- told why, though it may not read what that is computed from
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (6001, 8, 3);

-- ... not even a lock on what the engine writes.
SELECT * FROM auction._state WHERE auction_id = 6001 FOR UPDATE;
SELECT * FROM auction.journal;
SELECT * FROM auction.history;
SELECT * FROM auction.lanes;
SELECT * FROM auction._refresh;
SELECT * FROM auction.increment_tables;
INSERT INTO auction.increment_tables VALUES ('x', 0, 1);
INSERT INTO auction._refresh (auction_id) VALUES (6001);
INSERT INTO auction.journal (auction_id, bid_no, user_id, amount, placed_at)
VALUES (6001, 9, 7, 9, now());
UPDATE auction._state SET price = 0;
DELETE FROM auction.journal;
BEGIN;
LOCK TABLE auction._state IN ACCESS SHARE MODE;
ROLLBACK;
BEGIN;
LOCK TABLE auction.journal IN ACCESS SHARE MODE;
ROLLBACK;
UPDATE auction.bids SET amount = 1;
DELETE FROM auction.bids;
INSERT INTO auction.auctions (seller_id, ends_at) VALUES (1, '2099-01-01');
DELETE FROM auction.auctions;
SELECT auction.close_auction(6001);
SELECT auction.consolidate();
SELECT auction.retract_bid(6001, 1, 'x');
SELECT auction.cancel_auction(6001, 'x');
SELECT auction.pause_drain();
SELECT auction.attach_redis('s');
RESET ROLE;

-- Who enters auctions needs the table, and nothing of the state.
GRANT INSERT, SELECT, UPDATE, DELETE ON auction.auctions
TO regress_auction_seller;
SET ROLE regress_auction_seller;
INSERT INTO auction.auctions (id, seller_id, ends_at)
VALUES (6002, 1, '2099-01-01') RETURNING id, route;
UPDATE auction.auctions SET increment = 5 WHERE id = 6002;
DELETE FROM auction.auctions WHERE id = 6002;
UPDATE auction.auctions SET increment = 5 WHERE id = 6001;
SELECT auction.place_bid(6001, 7, 100);
TRUNCATE auction.auctions;
RESET ROLE;

-- Who may retract and cancel needs nothing else, either.
CREATE ROLE regress_auction_clerk;
GRANT EXECUTE ON FUNCTION auction.retract_bid, auction.cancel_auction
TO regress_auction_clerk;
SET ROLE regress_auction_clerk;
SELECT * FROM auction.retract_bid(6001, 3, 'mistyped');
SELECT auction.cancel_auction(6001, 'broken');
SELECT * FROM auction.journal;
SELECT * FROM auction.standings;
RESET ROLE;
SELECT status, price, leader_id, bid_count, retracted_count, reason
FROM auction.standings WHERE id = 6001;
DROP OWNED BY regress_auction_clerk;
DROP ROLE regress_auction_clerk;

-- The triggers' functions cannot be hung on a table of one's own.
GRANT CREATE ON SCHEMA public TO regress_auction_app;
SET ROLE regress_auction_app;
CREATE TABLE public.mine (id bigint);
CREATE TRIGGER mine AFTER INSERT ON public.mine
	FOR EACH ROW EXECUTE FUNCTION auction._auctions_insert();
DROP TABLE public.mine;
RESET ROLE;

-- pg_monitor may watch.
SET ROLE pg_monitor;
SELECT count(*) FROM auction.stat_lanes;
SELECT count(*) > 0 AS workers FROM auction.stat_workers;
RESET ROLE;

DROP OWNED BY regress_auction_app, regress_auction_seller,
	regress_auction_nobody;
DROP ROLE regress_auction_app, regress_auction_seller, regress_auction_nobody;
