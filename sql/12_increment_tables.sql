-- Increments by price: what a table may be, who may change it and when, and
-- what an auction makes of it. Where bids decide, auction N is on route table,
-- N + 100 on route redis, and must be told the same.
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

-- Auctions of seller 1 on a table of increments.
CREATE FUNCTION sale(id int, kind text, start_price bigint, name text)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, increment_table, route)
	VALUES (id, 1, kind, '2020-01-01', '2099-01-01', start_price, 7, name,
			'table'),
		(id + 100, 1, kind, '2020-01-01', '2099-01-01', start_price, 7, name,
			'redis');
$$;
CREATE FUNCTION bid(id int, user_id bigint, amount bigint,
	OUT routes text, OUT accepted bool, OUT reason text, OUT bid_no bigint,
	OUT price bigint, OUT leader bigint, OUT least_next bigint)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT string_agg(b.route, ', ' ORDER BY b.route), b.accepted, b.reason,
		b.bid_no, b.price, b.leader_id, s.least_bid
	FROM unnest(ARRAY[id, id + 100]) a,
		auction.place_bid(a, user_id, amount) b, auction.standing(a) s
	GROUP BY b.accepted, b.reason, b.bid_no, b.price, b.leader_id, s.least_bid;
$$;
-- SQLSTATE and message of the error, if there is one.
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	col text;
BEGIN
	EXECUTE command;
	SET CONSTRAINTS ALL IMMEDIATE;
	SET CONSTRAINTS ALL DEFERRED;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, col = COLUMN_NAME;
	IF detail LIKE 'Failing row%' OR detail LIKE 'Key %' THEN detail := ''; END IF;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''),
		nullif(col, ''));
END
$$;

--
-- The one that comes with the extension: eBay's for US dollars, in cents.
--
SELECT from_price, increment FROM auction.increment_tables
WHERE name = 'ebay_us' ORDER BY from_price;

-- Each step as the table says: least bid at its first price and one below.
-- The step is that of the price, not that of the bid.
SELECT sale(12001, 'open', 99, 'ebay_us');
SELECT s.id, s.increment_table, s.increment, s.least_bid
FROM auction.standings s WHERE id IN (12001, 12101) ORDER BY id;
SELECT a.amount, b.*
FROM unnest(ARRAY[99, 103, 104, 128, 129, 499, 500, 549, 550, 2499, 2500, 9999,
	10000, 24999, 25000, 49999, 50000, 99999, 100000, 249999, 250000, 499999,
	500000, 509999, 510000]) WITH ORDINALITY AS a (amount, n),
	bid(12001, 7 + a.n % 2, a.amount) b
ORDER BY a.n;

-- Proxy: one step above the second best maximum, measured there; the least bid
-- is measured at the price.
SELECT sale(12002, 'proxy', 100, 'ebay_us');
SELECT * FROM bid(12002, 7, 100000);
SELECT * FROM bid(12002, 8, 124);
SELECT * FROM bid(12002, 8, 125);
SELECT * FROM bid(12002, 8, 499);
SELECT * FROM bid(12002, 8, 574);
SELECT * FROM bid(12002, 8, 2499);
SELECT * FROM bid(12002, 8, 9999);
SELECT * FROM bid(12002, 8, 99900);
SELECT * FROM bid(12002, 8, 102500);
-- Without a table the increment counts, 7 here.
SELECT sale(12003, 'open', 100, NULL);
SELECT * FROM bid(12003, 7, 100);
SELECT * FROM bid(12003, 8, 106);
SELECT * FROM bid(12003, 8, 107);

--
-- Rows: each by itself.
--
SELECT try($$INSERT INTO auction.increment_tables VALUES ('', 0, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES (NULL, 0, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('a', NULL, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('a', 0, NULL)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('a', -1, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables
	VALUES ('a', 9007199254740992, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('a', 0, 0)$$);
SELECT try($$INSERT INTO auction.increment_tables
	VALUES ('a', 0, 9007199254740992)$$);
SELECT try($$INSERT INTO auction.increment_tables
	VALUES ('a', 0, 1), ('a', 0, 2)$$);
SELECT count(*) FROM auction.increment_tables WHERE name NOT LIKE 'ebay%';
-- The widest that there can be.
SELECT try($$INSERT INTO auction.increment_tables
	VALUES ('wide', 0, 9007199254740991), ('wide', 9007199254740991, 1)$$);

--
-- All of them together, when the transaction ends: it begins at 0 ...
--
INSERT INTO auction.increment_tables VALUES ('late', 100, 10);
BEGIN;
INSERT INTO auction.increment_tables VALUES ('late', 100, 10);
INSERT INTO auction.increment_tables VALUES ('late', 50, 5);
SELECT count(*) FROM auction.increment_tables WHERE name = 'late';
COMMIT;
SELECT count(*) FROM auction.increment_tables WHERE name = 'late';
BEGIN;
INSERT INTO auction.increment_tables VALUES ('late', 100, 10);
INSERT INTO auction.increment_tables VALUES ('late', 0, 1);
COMMIT;
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO auction.increment_tables VALUES ('soon', 100, 10);
ROLLBACK;
-- ... also when rows go or are changed,
DELETE FROM auction.increment_tables WHERE name = 'late' AND from_price = 0;
UPDATE auction.increment_tables SET from_price = from_price + 1
WHERE name = 'late';
UPDATE auction.increment_tables SET name = 'later'
WHERE name = 'late' AND from_price = 0;
UPDATE auction.increment_tables SET name = 'later'
WHERE name = 'late' AND from_price = 100;
-- which may happen one after the other, and to all of them.
BEGIN;
DELETE FROM auction.increment_tables WHERE name = 'late' AND from_price = 0;
INSERT INTO auction.increment_tables VALUES ('late', 0, 2);
COMMIT;
UPDATE auction.increment_tables SET name = 'later' WHERE name = 'late';
SELECT * FROM auction.increment_tables WHERE name IN ('late', 'later')
ORDER BY 1, 2;
DELETE FROM auction.increment_tables WHERE name = 'later';
-- An auction cannot take a table that is half entered.
BEGIN;
INSERT INTO auction.increment_tables VALUES ('half', 100, 10);
SELECT sale(12010, 'open', 100, 'half');
ROLLBACK;
-- ... and has at most 64 rows.
INSERT INTO auction.increment_tables
SELECT 'long', i * 10, i + 1 FROM generate_series(0, 64) i;
INSERT INTO auction.increment_tables
SELECT 'long', i * 10, i + 1 FROM generate_series(0, 63) i;
SELECT count(*) FROM auction.increment_tables WHERE name = 'long';
INSERT INTO auction.increment_tables VALUES ('long', 1000, 1);
-- All of them count: 629 + 63 = 692, 630 + 64 = 694.
SELECT sale(12004, 'open', 629, 'long');
SELECT * FROM bid(12004, 7, 629);
SELECT * FROM bid(12004, 8, 691);
SELECT * FROM bid(12004, 8, 692);
SELECT * FROM bid(12004, 7, 755);
SELECT * FROM bid(12004, 7, 756);

--
-- Those that come with the extension stay as they are; no other has such a
-- name.
--
SELECT try($$INSERT INTO auction.increment_tables VALUES ('ebay_us', 1, 1)$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('ebay_', 0, 1)$$);
SELECT try($$UPDATE auction.increment_tables SET increment = 1
	WHERE name = 'ebay_us'$$);
SELECT try($$UPDATE auction.increment_tables SET name = 'mine'
	WHERE name = 'ebay_us'$$);
SELECT try($$UPDATE auction.increment_tables SET name = 'ebay_mine'
	WHERE name = 'long'$$);
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'ebay_us'$$);
SELECT try($$DELETE FROM auction.increment_tables$$);
SELECT try('TRUNCATE auction.increment_tables');
SELECT try('TRUNCATE auction.increment_tables, auction._lane_terms');
SELECT count(*) FROM auction.increment_tables WHERE name = 'ebay_us';
-- They are copied instead.
INSERT INTO auction.increment_tables
SELECT 'ebay', from_price, increment * 2 FROM auction.increment_tables
WHERE name = 'ebay_us';

--
-- A table that an open auction uses cannot be changed, on either route.
--
INSERT INTO auction.increment_tables
VALUES ('used', 0, 10), ('used', 1000, 50), ('free', 0, 3), ('tail', 0, 1),
	('tail', 5000, 100);
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment_table, route)
VALUES (12005, 1, '2020-01-01', '2099-01-01', 950, 'used', 'table'),
	(12105, 1, '2020-01-01', '2099-01-01', 950, 'free', 'redis');
SELECT try($$INSERT INTO auction.increment_tables VALUES ('used', 2000, 1)$$);
SELECT try($$UPDATE auction.increment_tables SET increment = 11
	WHERE name = 'used'$$);
SELECT try($$UPDATE auction.increment_tables SET name = 'gone'
	WHERE name = 'used'$$);
SELECT try($$UPDATE auction.increment_tables SET name = 'used'
	WHERE name = 'tail' AND from_price = 5000$$);
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'used'$$);
SELECT try($$INSERT INTO auction.increment_tables VALUES ('free', 9, 1)$$);
SELECT try($$UPDATE auction.increment_tables SET increment = 11
	WHERE name = 'free'$$);
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'free'$$);
-- Not even in the transaction that makes the auction.
BEGIN;
SELECT sale(12011, 'open', 100, 'tail');
DELETE FROM auction.increment_tables WHERE name = 'tail';
ROLLBACK;
-- Others can be.
SELECT try($$UPDATE auction.increment_tables SET increment = increment + 1
	WHERE name = 'tail'$$);

-- Free again once the auction takes another table, or none: before the first
-- bid.
UPDATE auction.auctions SET increment_table = 'tail' WHERE id = 12105;
SELECT try($$UPDATE auction.increment_tables SET increment = 4
	WHERE name = 'free'$$);
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'tail'$$);
-- It takes over the steps as they are by then: 4 now, and not 3 as at first.
SELECT increment_table, increments FROM auction._state WHERE auction_id = 12105;
UPDATE auction.auctions SET increment_table = 'free' WHERE id = 12105;
SELECT increment_table, increments FROM auction._state WHERE auction_id = 12105;
SELECT accepted, price FROM auction.place_bid(12105, 7, 950);
SELECT accepted, reason FROM auction.place_bid(12105, 8, 953);
SELECT accepted, price FROM auction.place_bid(12105, 8, 954);
SELECT try($$UPDATE auction.auctions SET increment_table = 'tail'
	WHERE id = 12105$$);
UPDATE auction.auctions SET increment_table = NULL, increment = 20
WHERE id = 12005;
SELECT try($$UPDATE auction.increment_tables SET increment = 11
	WHERE name = 'used' AND from_price = 0$$);
SELECT accepted, price FROM auction.place_bid(12005, 7, 950);
SELECT accepted, reason FROM auction.place_bid(12005, 8, 969);
SELECT accepted, price FROM auction.place_bid(12005, 8, 970);
-- Changing something else leaves the steps as they are.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment_table, route)
VALUES (12006, 1, '2020-01-01', '2099-01-01', 990, 'used', 'table'),
	(12106, 1, '2020-01-01', '2099-01-01', 990, 'used', 'redis');
UPDATE auction.auctions SET start_price = 995, title = 'x'
WHERE id IN (12006, 12106);
SELECT * FROM bid(12006, 7, 995);
SELECT * FROM bid(12006, 8, 1005);
SELECT * FROM bid(12006, 8, 1006);
SELECT * FROM bid(12006, 7, 1055);
SELECT * FROM bid(12006, 7, 1056);

-- Free again once they are over; they keep their copy, by which price and
-- leader are counted anew and verified.
SELECT sale(12007, 'proxy', 990, 'used');
SELECT * FROM bid(12007, 7, 5000);
SELECT * FROM bid(12007, 8, 1500);
SELECT * FROM bid(12007, 9, 2000);
SELECT auction.close_auction(id) FROM unnest(ARRAY[12006, 12106, 12107]) id;
BEGIN;
SELECT auction.close_auction(12007);
UPDATE auction.increment_tables SET increment = 500
WHERE name = 'used' AND from_price = 1000;
SELECT * FROM auction.retract_bid(12007, 3, 'mistyped');
COMMIT;
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'used'$$);
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN (SELECT count(*) = 4 FROM auction.standings
			WHERE id IN (12006, 12007, 12106, 12107)
			AND status IN ('consolidated', 'quarantined'));
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT id, status, price, winner_id, increment_table, reason
FROM auction.standings WHERE id IN (12006, 12007, 12106, 12107) ORDER BY id;
-- A cancelled auction uses none, either.
INSERT INTO auction.increment_tables VALUES ('used', 0, 10);
SELECT sale(12008, 'open', 100, 'used');
SELECT auction.cancel_auction(id, 'lost') FROM unnest(ARRAY[12008, 12108]) id;
SELECT try($$DELETE FROM auction.increment_tables WHERE name = 'used'$$);

--
-- What there is not.
--
SELECT try($$SELECT sale(12012, 'open', 100, 'nowhere')$$);
SELECT try($$SELECT sale(12012, 'open', 100, '')$$);
SELECT try($$SELECT sale(12012, 'open', 100, 'EBAY_US')$$);
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
VALUES (12013, 1, '2099-01-01', 'table');
SELECT try($$UPDATE auction.auctions SET increment_table = 'nowhere'
	WHERE id = 12013$$);
SELECT count(*) FROM auction._state
WHERE auction_id IN (12010, 12011, 12012, 12110, 12111, 12112);

--
-- Roles: whoever may enter auctions may name a table.
--
CREATE ROLE regress_auction_seller;
GRANT INSERT, SELECT, UPDATE ON auction.auctions TO regress_auction_seller;
SET ROLE regress_auction_seller;
SELECT count(*) FROM auction.increment_tables;
INSERT INTO auction.auctions (id, seller_id, ends_at, increment_table, route)
VALUES (12020, 1, '2099-01-01', 'ebay', 'table'),
	(12120, 1, '2099-01-01', 'ebay', 'redis')
RETURNING id, increment_table;
UPDATE auction.auctions SET increment_table = 'free' WHERE id = 12020;
INSERT INTO auction.auctions (id, seller_id, ends_at, increment_table)
VALUES (12021, 1, '2099-01-01', 'nowhere');
-- ... nor does it help him to pretend to restore a dump.
SET check_function_bodies = off;
INSERT INTO auction.auctions (id, seller_id, ends_at, increment_table)
VALUES (12021, 1, '2099-01-01', 'nowhere');
RESET check_function_bodies;
RESET ROLE;

-- Who may write tables of increments, and nothing else, is told the same, and
-- cannot pretend to restore a dump.
CREATE ROLE regress_auction_pricer;
GRANT INSERT, SELECT, UPDATE, DELETE, TRUNCATE ON auction.increment_tables
TO regress_auction_pricer;
SET ROLE regress_auction_pricer;
INSERT INTO auction.increment_tables VALUES ('priced', 0, 5), ('priced', 100, 10);
UPDATE auction.increment_tables SET increment = 6
WHERE name = 'priced' AND from_price = 0;
INSERT INTO auction.increment_tables VALUES ('unpriced', 100, 10);
UPDATE auction.increment_tables SET increment = 7 WHERE name = 'ebay';
DELETE FROM auction.increment_tables WHERE name = 'ebay';
INSERT INTO auction.increment_tables VALUES ('ebay', 7, 7);
TRUNCATE auction.increment_tables;
SET check_function_bodies = off;
UPDATE auction.increment_tables SET increment = 7 WHERE name = 'ebay';
UPDATE auction.increment_tables SET name = 'ebay_mine' WHERE name = 'priced';
DELETE FROM auction.increment_tables WHERE name = 'ebay_us';
INSERT INTO auction.increment_tables VALUES ('unpriced', 100, 10);
TRUNCATE auction.increment_tables;
RESET check_function_bodies;
RESET ROLE;
SELECT * FROM auction.increment_tables WHERE name LIKE '%priced' ORDER BY 1, 2;
-- With INSERT alone, too.
REVOKE SELECT, UPDATE, DELETE, TRUNCATE ON auction.increment_tables
FROM regress_auction_pricer;
SET ROLE regress_auction_pricer;
INSERT INTO auction.increment_tables VALUES ('ebay', 7, 7);
INSERT INTO auction.increment_tables VALUES ('priced', 200, 20);
INSERT INTO auction.increment_tables VALUES ('unpriced', 100, 10);
SELECT count(*) FROM auction.increment_tables;
RESET ROLE;
DROP OWNED BY regress_auction_seller, regress_auction_pricer;
DROP ROLE regress_auction_seller, regress_auction_pricer;

DELETE FROM auction.increment_tables WHERE name IN ('priced', 'wide');
DROP FUNCTION sale, bid, try;
