-- The rules of an open auction on route table: every verdict.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

INSERT INTO auction.auctions (id, seller_id, title, starts_at, ends_at,
	start_price, increment, route)
VALUES
	(4001, 1, 'open', '2020-01-01', '2099-01-01', 1000, 50, 'table'),
	(4002, 1, 'not begun', '2098-01-01', '2099-01-01', 1000, 50, 'table'),
	(4003, 1, 'over', '2020-01-01', '2020-01-02', 1000, 50, 'table'),
	(4004, 1, 'for nothing', '2020-01-01', '2099-01-01', 0, 1, 'table'),
	(4005, 1, 'one bid only', '2020-01-01', '2099-01-01', 9007199254740991,
	 9007199254740991, 'table');

-- Before the first bid the start price is enough, less is not.
SELECT accepted, reason, bid_no, price, leader_id, route, durability
FROM auction.place_bid(4001, 7, 999);
SELECT accepted, reason, bid_no, price, leader_id, route, durability
FROM auction.place_bid(4001, 7, 1000);

-- Then a full increment.
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 8, 1000);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 8, 1049);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 8, 1050);

-- The leader may raise; any bigint is a user.
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 8, 1099);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 8, 1100);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, -9223372036854775808, 1150);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 0, 1200);

-- Not the seller, whatever the amount.
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4001, 1, 9000);

-- Not before starts_at, not from ends_at on, not in an auction that is none.
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4002, 7, 1000);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4003, 7, 1000);
SELECT * FROM auction.place_bid(4999, 7, 1000);

-- Time before money, the seller before money.
SELECT accepted, reason FROM auction.place_bid(4002, 1, 1);
SELECT accepted, reason FROM auction.place_bid(4001, 1, 1);

-- The ends of the range.
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4004, 7, 0);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4004, 7, 9007199254740991);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4004, 7, 9007199254740991);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4005, 7, 9007199254740991);
SELECT accepted, reason, bid_no, price, leader_id
FROM auction.place_bid(4005, 8, 9007199254740991);

-- ends_at is part of the answer.
SELECT ends_at = '2099-01-01' AS ends_at_told
FROM auction.place_bid(4001, 7, 1);

-- Closed means closed, also before ends_at.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (4006, 1, '2020-01-01', '2099-01-01', 'table');
SELECT accepted FROM auction.place_bid(4006, 7, 5);
BEGIN;
SELECT auction.close_auction(4006);
SELECT accepted, reason, price, leader_id
FROM auction.place_bid(4006, 8, 100);
ROLLBACK;
SELECT accepted, reason, price, leader_id
FROM auction.place_bid(4006, 8, 100);

-- Many at once: in order, each by what the ones before it left.
SELECT r.ordinality, r.accepted, r.reason, r.bid_no, r.price, r.leader_id
FROM auction.place_bids(ARRAY[
	(4001, 20, 1250, NULL, NULL),
	(4001, 21, 1250, NULL, NULL),
	(4999, 21, 1250, NULL, NULL),
	(4004, 21, 1, NULL, NULL),
	(4001, 21, 1300, '00000000-0000-0000-0000-000000004001', '{"from": "app"}'),
	(4001, 1, 2000, NULL, NULL),
	(4001, 20, 1350, NULL, NULL)]::auction.bid_request[])
	WITH ORDINALITY AS r;
SELECT count(*) FROM auction.place_bids('{}');

-- What standings and bids show of it.
SELECT id, title, status, route, price, leader_id, bid_count
FROM auction.standings WHERE id BETWEEN 4001 AND 4005 AND id <> 4003
ORDER BY id;
SELECT bid_no, user_id, amount, request_id, attributes, route
FROM auction.bids WHERE auction_id = 4001 ORDER BY bid_no;

-- What decides can be changed until the first bid.
UPDATE auction.auctions
SET start_price = 2000, increment = 7, seller_id = 2, starts_at = '2020-01-01',
	ends_at = '2098-01-01', durability = 'journal'
WHERE id = 4002;
SELECT seller_id, start_price, increment, price, durability, starts_at < now()
FROM auction.standings WHERE id = 4002;
SELECT accepted, reason FROM auction.place_bid(4002, 2, 2000);
SELECT accepted, reason FROM auction.place_bid(4002, 1, 1999);
SELECT accepted, reason FROM auction.place_bid(4002, 1, 2000);
UPDATE auction.auctions SET increment = 8 WHERE id = 4002;

-- Title and attributes always; other columns to what they are already, too.
UPDATE auction.auctions SET title = 'renamed', attributes = '{"a": 1}',
	increment = 7
WHERE id = 4002;
SELECT title, attributes FROM auction.standings WHERE id = 4002;

-- An auction without bids can be deleted, and its id taken again.
INSERT INTO auction.auctions (id, seller_id, ends_at) VALUES
	(4010, 1, '2099-01-01'), (4011, 1, '2099-01-01');
DELETE FROM auction.auctions WHERE id = 4010;
SELECT accepted, reason FROM auction.place_bid(4010, 7, 5);
INSERT INTO auction.auctions (id, seller_id, ends_at, start_price)
VALUES (4010, 1, '2099-01-01', 50);
SELECT accepted, reason FROM auction.place_bid(4010, 7, 5);
SELECT count(*) FROM auction._state WHERE auction_id IN (4010, 4011);
DELETE FROM auction.auctions WHERE id IN (4001, 4010, 4011);
DELETE FROM auction.auctions WHERE id IN (4010, 4011);

-- In the transaction that makes the auction, too.
BEGIN;
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
VALUES (4012, 1, '2099-01-01', 'table');
SELECT accepted, bid_no FROM auction.place_bid(4012, 7, 5);
ROLLBACK;
SELECT accepted, reason FROM auction.place_bid(4012, 7, 5);

-- The route by default: table, as nothing is attached.
INSERT INTO auction.auctions (id, seller_id, ends_at)
VALUES (4013, 1, '2099-01-01') RETURNING route;
