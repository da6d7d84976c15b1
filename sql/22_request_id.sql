-- request_id: a bid that comes again gets the verdict of the one that was
-- accepted; bid_status. Each case on both routes: 22001 ff. on table, 22011 ff.
-- on redis. Between sessions: isolation 18_request_id; while things break:
-- test/tap/062_request_id.pl.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM auction.lanes) THEN
		-- an earlier file has left the keys of the usual prefix
		EXECUTE format('CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis'
			' OPTIONS (host %L, prefix ''auction22'')',
			current_setting('auction_test.redis'));
		PERFORM auction.attach_redis('redis1', 2);
	END IF;
END $$;
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment, buy_now_price, route)
SELECT 22000 + r * 10 + i, 1, '2020-01-01', '2099-01-01', 10, 1,
	CASE i WHEN 3 THEN 500 END, CASE r WHEN 0 THEN 'table' ELSE 'redis' END
FROM generate_series(0, 1) r, generate_series(1, 6) i;

CREATE FUNCTION id(n int) RETURNS uuid IMMUTABLE STRICT LANGUAGE sql AS
'SELECT format(''00000000-0000-0000-0000-%s'', lpad(n::text, 12, ''0''))::uuid';
-- what a verdict says
CREATE FUNCTION said(b auction.bid_result) RETURNS text LANGUAGE sql AS
'SELECT concat_ws('' '', CASE WHEN b.accepted THEN ''accepted'' ELSE b.reason END,
	''no'', b.bid_no, ''price'', b.price, ''leader'', b.leader_id, b.route)';
-- What is found in the journal is told with the journal's price: so nothing is
-- on its way there.
CREATE FUNCTION bid(n int, user_id bigint, amount bigint, request int)
RETURNS SETOF text LANGUAGE sql AS
'SELECT auction.wait_applied(''1min'');
SELECT said(auction.place_bid(22000 + r * 10 + n, user_id, amount, id(request)))
FROM generate_series(0, 1) r';
CREATE FUNCTION status(n int, request int, user_id bigint DEFAULT NULL)
RETURNS SETOF text LANGUAGE sql AS
'SELECT auction.wait_applied(''1min'');
SELECT said(auction.bid_status(22000 + r * 10 + n, id(request), user_id))
FROM generate_series(0, 1) r';
CREATE VIEW recorded AS
SELECT auction_id, string_agg(format('%s:%s %s', b.user_id, b.amount,
	right(b.request_id::text, 2)), ', ' ORDER BY bid_no) AS bids
FROM auction.bids b WHERE auction_id BETWEEN 22001 AND 22016
GROUP BY auction_id;

-- Once, and told again: with the number of then and the price of now, whatever
-- else the repeat says.
SELECT bid(1, 7, 10, 1);
SELECT bid(1, 7, 10, 1);
SELECT bid(1, 8, 20, 2);
SELECT bid(1, 7, 10, 1);
SELECT bid(1, 7, 999, 1);
-- Refused: decided anew.
SELECT bid(1, 9, 5, 3);
SELECT status(1, 3);
SELECT bid(1, 9, 30, 3);
SELECT status(1, 3);
-- The same id of another user, or auction, is another one.
SELECT bid(1, 8, 40, 1);
SELECT bid(2, 7, 10, 1);
-- Without one, every call is a bid.
SELECT bid(2, 7, 20, NULL), bid(2, 7, 30, NULL);

-- Several in one call: the second is told what the first got, in their order;
-- and again, with some that are new.
CREATE FUNCTION bids(n int, base bigint) RETURNS SETOF text LANGUAGE sql AS
'SELECT concat_ws('' '', b.accepted, b.reason, b.bid_no, b.route)
FROM generate_series(0, 1) r, auction.place_bids(ARRAY[
	(22000 + r * 10 + n, 7, 110, id(11), NULL),
	(22000 + r * 10 + n, 8, base, NULL, NULL),
	(22000 + r * 10 + n, 7, 110, id(11), NULL),
	(22000 + r * 10 + n, 9, base + 10, id(12), NULL),
	(22000 + r * 10 + n, 9, base + 20, id(base::int % 100), NULL)
	]::auction.bid_request[]) b';
SELECT bids(2, 120);
SELECT bids(2, 150);

-- INSERT: no error, nothing inserted; RETURNING has the first one's number.
INSERT INTO auction.bids (auction_id, user_id, amount, request_id)
VALUES (22002, 7, 300, id(13)), (22002, 7, 300, id(13)), (22012, 7, 300, id(13)),
	(22012, 7, 300, id(13)) RETURNING auction_id, bid_no, route;
SELECT auction.wait_applied('1min');
INSERT INTO auction.bids (auction_id, user_id, amount, request_id)
VALUES (22002, 7, 300, id(13)), (22012, 7, 300, id(13))
RETURNING auction_id, bid_no, placed_at = (SELECT placed_at FROM auction.journal j
	WHERE j.auction_id = bids.auction_id AND j.bid_no = bids.bid_no) AS as_then;
COPY auction.bids (auction_id, user_id, amount, request_id) FROM STDIN;
22002	7	300	00000000-0000-0000-0000-000000000013
22012	7	300	00000000-0000-0000-0000-000000000013
\.

-- A purchase ends the auction; told again, it is still the buyer's.
SELECT said(auction.buy_now(22000 + r * 10 + 3, 7, id(21)))
FROM generate_series(0, 1) r;
SELECT said(auction.buy_now(22000 + r * 10 + 3, 7, id(21)))
FROM generate_series(0, 1) r;
SELECT said(auction.buy_now(22000 + r * 10 + 3, 8, id(21)))
FROM generate_series(0, 1) r;

-- A retracted bid was accepted; so was one of a cancelled auction.
SELECT bid(4, 7, 10, 31), bid(4, 8, 20, 32);
SELECT price FROM generate_series(0, 1) r,
	auction.retract_bid(22000 + r * 10 + 4, 2, 'typed wrong');
SELECT bid(4, 8, 20, 32), status(4, 32);
SELECT bid(5, 7, 10, 41);
SELECT auction.cancel_auction(22000 + r * 10 + 5, 'broken')
FROM generate_series(0, 1) r;
SELECT bid(5, 7, 10, 41), bid(5, 7, 10, 42), status(5, 41), status(5, 42);

-- Over every move.
SELECT bid(6, 7, 10, 51);
SELECT auction.set_route(22006, 'redis'), auction.set_route(22016, 'table');
SELECT bid(6, 7, 10, 51), bid(6, 8, 20, 52);
SELECT auction.set_route(22006, 'table'), auction.set_route(22016, 'redis');
SELECT bid(6, 7, 10, 51), bid(6, 8, 20, 52), status(6, 52, 8);

-- Closed, and consolidated.
SELECT auction.close_auction(22000 + r * 10 + n)
FROM generate_series(0, 1) r, unnest(ARRAY[1, 2, 6]) n;
SELECT bid(1, 9, 30, 3), bid(1, 9, 30, 4);
SELECT auction.wait_applied('1min');
SELECT auction.consolidate(22000 + r * 10 + n) >= 0
FROM generate_series(0, 1) r, unnest(ARRAY[1, 2, 6]) n;
SELECT id, status FROM auction.standings
WHERE id IN (22001, 22011, 22002, 22012, 22006, 22016) ORDER BY id;
SELECT bid(1, 9, 30, 3), bid(1, 9, 30, 4), status(1, 3), status(1, 4);
SELECT status(1, 1), status(1, 1, 8), status(1, 1, 9);
SELECT bid(6, 8, 20, 52), status(6, 52);
SELECT auction_id, bids FROM recorded ORDER BY 1;

-- In a transaction: what it has bid itself is told again, also when the auction
-- is on its way to redis; what is rolled back, or to a savepoint, was nothing.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment, route)
VALUES (22021, 1, '2020-01-01', '2099-01-01', 10, 1, 'table');
BEGIN;
SELECT said(auction.place_bid(22021, 7, 10, id(61)));
SELECT said(auction.place_bid(22021, 7, 10, id(61)));
SAVEPOINT s;
SELECT said(auction.place_bid(22021, 8, 20, id(62)));
ROLLBACK TO s;
SELECT said(auction.bid_status(22021, id(62)));
SELECT auction.set_route(22021, 'redis');
SELECT said(auction.place_bid(22021, 7, 10, id(61)));
SELECT said(auction.bid_status(22021, id(61)));
SELECT said(auction.bid_status(22021, id(62)));
SAVEPOINT s;
SELECT said(auction.place_bid(22021, 8, 20, id(62)));
ROLLBACK TO s;
ROLLBACK;
SELECT said(auction.bid_status(22021, id(61)));
-- A repeat depends on no row that the transaction can not see.
SELECT said(auction.place_bid(22021, 7, 10, id(61)));
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM auction.bids WHERE auction_id = 22021;
SELECT said(auction.place_bid(22021, 7, 10, id(61)));
ROLLBACK;

-- What cannot be asked, and who may.
SELECT auction.bid_status(NULL, id(1));
SELECT auction.bid_status(22021, NULL);
SELECT auction.bid_status(22099, id(1));
BEGIN READ ONLY;
SELECT said(auction.bid_status(22021, id(61)));
SELECT said(auction.bid_status(22011, id(3)));
ROLLBACK;
CREATE ROLE regress_auction_asker;
SET ROLE regress_auction_asker;
SELECT auction.bid_status(22021, id(61));
RESET ROLE;
GRANT EXECUTE ON FUNCTION auction.bid_status, auction.place_bid
TO regress_auction_asker;
SET ROLE regress_auction_asker;
SELECT said(auction.bid_status(22021, id(61)));
SELECT said(auction.bid_status(22011, id(3)));
SELECT said(auction.place_bid(22011, 9, 30, id(3)));
SELECT count(*) FROM auction.history;
RESET ROLE;
DROP OWNED BY regress_auction_asker;
DROP ROLE regress_auction_asker;
DROP VIEW recorded;
DROP FUNCTION bids, bid, status, said, id;
-- Later files begin without a server.
DROP EXTENSION auction CASCADE;
CREATE EXTENSION auction;
