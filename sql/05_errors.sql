-- A wrong value in every field, and what the error says.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
SET timezone = 'UTC';
-- SQLSTATE, message, detail, hint and column of the error, if there is one.
CREATE FUNCTION try(command text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
	col text;
BEGIN
	EXECUTE command;
	RETURN NEXT 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
		col = COLUMN_NAME;
	RETURN NEXT SQLSTATE || ': ' || message;
	IF detail <> '' AND detail NOT LIKE 'Failing row%' THEN
		RETURN NEXT 'DETAIL: ' || detail;
	END IF;
	IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
	IF col <> '' THEN RETURN NEXT 'COLUMN: ' || col; END IF;
END
$$;

INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (5001, 1, '2020-01-01', '2099-01-01', 'table');

-- place_bid: each argument.
SELECT try('SELECT auction.place_bid(NULL, 7, 100)');
SELECT try('SELECT auction.place_bid(5001, NULL, 100)');
SELECT try('SELECT auction.place_bid(5001, 7, NULL)');
SELECT try('SELECT auction.place_bid(5001, 7, -1)');
SELECT try('SELECT auction.place_bid(5001, 7, 9007199254740992)');
SELECT try($$SELECT auction.place_bid(5001, 7, 100, 'x')$$);
SELECT try($$SELECT auction.place_bid(5001, 7, 100, NULL, '{')$$);
SELECT try($$SELECT auction.place_bid(5001, 7, 100, NULL,
	to_jsonb(repeat('x', 1023)))$$);

-- ... and the longest attributes that fit.
SELECT accepted FROM auction.place_bid(5001, 7, 1, NULL,
	to_jsonb(repeat('x', 1022)));

-- buy_now: each argument.
SELECT try('SELECT auction.buy_now(NULL, 7)');
SELECT try('SELECT auction.buy_now(5001, NULL)');
SELECT try($$SELECT auction.buy_now(5001, 7, 'x')$$);
SELECT try($$SELECT auction.buy_now(5001, 7, NULL, '{')$$);
SELECT try($$SELECT auction.buy_now(5001, 7, NULL,
	to_jsonb(repeat('x', 1023)))$$);

-- place_bids: each field, with its element; nothing is placed then.
SELECT try('SELECT * FROM auction.place_bids(NULL)');
SELECT try('SELECT * FROM auction.place_bids(ARRAY[
	(5001, 7, 100, NULL, NULL), NULL]::auction.bid_request[])');
SELECT try('SELECT * FROM auction.place_bids(ARRAY[
	(5001, 7, 100, NULL, NULL),
	(NULL, 7, 100, NULL, NULL)]::auction.bid_request[])');
SELECT try('SELECT * FROM auction.place_bids(ARRAY[
	(5001, NULL, 100, NULL, NULL)]::auction.bid_request[])');
SELECT try('SELECT * FROM auction.place_bids(ARRAY[
	(5001, 7, NULL, NULL, NULL)]::auction.bid_request[])');
SELECT try('SELECT * FROM auction.place_bids(ARRAY[
	(5001, 7, 100, NULL, NULL),
	(5001, 7, 101, NULL, NULL),
	(5001, 7, -5, NULL, NULL)]::auction.bid_request[])');
SELECT try($$SELECT * FROM auction.place_bids(ARRAY[
	(5001, 7, 100, NULL, to_jsonb(repeat('x', 2000)))]::auction.bid_request[])$$);
SELECT count(*) FROM auction.bids WHERE auction_id = 5001;

-- The view: each column.
SELECT try('INSERT INTO auction.bids (user_id, amount) VALUES (7, 100)');
SELECT try('INSERT INTO auction.bids (auction_id, amount) VALUES (5001, 100)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id) VALUES (5001, 7)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5001, 7, -1)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount, bid_no)
	VALUES (5001, 7, 100, 2)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount, placed_at)
	VALUES (5001, 7, 100, now())');
SELECT try($$INSERT INTO auction.bids (auction_id, user_id, amount, route)
	VALUES (5001, 7, 100, 'redis')$$);
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount, buy_now)
	VALUES (5001, 7, 100, true)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount, retracted_at)
	VALUES (5001, 7, 100, now())');
SELECT try($$INSERT INTO auction.bids (auction_id, user_id, amount,
	retract_reason) VALUES (5001, 7, 100, 'x')$$);
SELECT try($$INSERT INTO auction.bids (auction_id, user_id, amount, attributes)
	VALUES (5001, 7, 100, to_jsonb(repeat('x', 2000)))$$);
SELECT try('UPDATE auction.bids SET amount = 5');
SELECT try('UPDATE auction.bids SET amount = 5 WHERE false');
SELECT try('DELETE FROM auction.bids');

-- The view: each refusal.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment, route)
VALUES (5002, 1, '2098-01-01', '2099-01-01', 0, 1, 'table'),
	(5003, 1, '2020-01-01', '2020-01-02', 0, 1, 'table'),
	(5004, 1, '2020-01-01', '2099-01-01', 500, 10, 'table'),
	(5005, 1, '2020-01-01', '2099-01-01', 1, 9007199254740991, 'table'),
	(5006, 1, '2020-01-01', '2099-01-01', 1, 1, 'table');
UPDATE auction.auctions SET kind = 'proxy' WHERE id = 5006;
SELECT accepted FROM auction.place_bid(5005, 7, 1);
SELECT accepted FROM auction.place_bid(5006, 7, 100);
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5999, 7, 1)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5002, 7, 1)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5003, 7, 1)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5004, 7, 499)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5001, 7, 1)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5004, 1, 500)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5005, 8, 9007199254740991)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5006, 7, 99)');
BEGIN;
SELECT auction.cancel_auction(5004, 'test');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (5004, 7, 500)');
ROLLBACK;

-- auctions: each column that is checked.
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at)
	VALUES (NULL, '2099-01-01')$$);
SELECT try('INSERT INTO auction.auctions (seller_id) VALUES (1)');
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, kind)
	VALUES (1, '2099-01-01', 'dutch')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, kind)
	VALUES (1, '2099-01-01', NULL)$$);
SELECT try($$INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at)
	VALUES (5010, 1, '2020-01-01', '2020-01-01')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at)
	VALUES (1, 'infinity')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, starts_at, ends_at)
	VALUES (1, '-infinity', '2099-01-01')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at)
	VALUES (1, '10000-01-01')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, start_price)
	VALUES (1, '2099-01-01', -1)$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, start_price)
	VALUES (1, '2099-01-01', 9007199254740992)$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, increment)
	VALUES (1, '2099-01-01', 0)$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, increment)
	VALUES (1, '2099-01-01', 9007199254740992)$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, durability)
	VALUES (1, '2099-01-01', 'tape')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, route)
	VALUES (1, '2099-01-01', 'mail')$$);
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at, route)
	VALUES (5011, 1, '2099-01-01', 'redis')$$);

-- ... reserve and buy-now price: each by itself, and with those below it;
CREATE FUNCTION prices(start_price bigint, reserve bigint, buy_now bigint)
RETURNS SETOF text LANGUAGE sql AS $$
	SELECT try(format('INSERT INTO auction.auctions (id, seller_id, ends_at,
		start_price, reserve_price, buy_now_price, route)
		VALUES (5020, 1, ''2099-01-01'', %s, %L, %L, ''table'')',
		start_price, reserve, buy_now))
$$;
SELECT prices(100, -1, NULL);
SELECT prices(100, 9007199254740992, NULL);
SELECT prices(100, 99, NULL);
SELECT prices(100, NULL, -1);
SELECT prices(100, NULL, 9007199254740992);
SELECT prices(100, NULL, 99);
SELECT prices(100, 200, 199);
SELECT prices(100, 200, 99);
SELECT prices(100, 99, 99);
SELECT prices(-1, -1, -1);

-- ... the soft close: window and by, each by itself, and together;
CREATE FUNCTION soft(extend_window text, extend_by text, extend_limit text)
RETURNS SETOF text LANGUAGE sql AS $$
	SELECT try(format('INSERT INTO auction.auctions (id, seller_id, starts_at,
		ends_at, extend_window, extend_by, extend_limit, route)
		VALUES (5020, 1, ''2080-01-01'', ''2080-01-02'', %L, %L, %L, ''table'')',
		extend_window, extend_by, extend_limit))
$$;
SELECT soft('0', '1 min', NULL);
SELECT soft('-1 s', '1 min', NULL);
SELECT soft('1 day -24 h', '2 days', NULL);
SELECT soft('1 day -25 h', '2 days', NULL);
SELECT soft('1 month', '1 min', NULL);
SELECT soft('1 year', '1 min', NULL);
SELECT soft('1 month -29 days', '2 days', NULL);
SELECT soft('367 days', '1 min', NULL);
SELECT soft('366 days 0.000001 s', '1 min', NULL);
SELECT soft('8784:00:00.000001', '1 min', NULL);
SELECT soft('2147483647 days', '1 min', NULL);
SELECT soft('2562047788 hours', '1 min', NULL);
SELECT soft('1 min', '0', NULL);
SELECT soft('1 min', '-1 s', NULL);
SELECT soft('1 min', '1 month', NULL);
SELECT soft('1 min', '366 days 0.000001 s', NULL);
SELECT soft('2 min', NULL, NULL);
SELECT soft(NULL, '2 min', NULL);
SELECT soft('2 min', '119.999999 s', NULL);
-- ... and the limit.
SELECT soft(NULL, NULL, '2080-01-03');
SELECT soft('1 min', '1 min', 'infinity');
SELECT soft('1 min', '1 min', '-infinity');
SELECT soft('1 min', '1 min', '10000-01-01');
SELECT soft('1 min', '1 min', '2080-01-01 23:59:59.999999');
SELECT soft('1 day 1 h', '1 day 1 h', '2080-01-02 00:59:59.999999');

-- ... and increments of a table that there is not.
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at,
	increment_table, route) VALUES (5020, 1, '2099-01-01', 'none', 'table')$$);
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at,
	increment_table, route) VALUES (5020, 1, '2099-01-01', '', 'table')$$);
-- The increment is checked all the same where a table is given.
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at, increment,
	increment_table, route) VALUES (5020, 1, '2099-01-01', 0, 'ebay_us', 'table')$$);

-- Nothing of all that is stored, not even half of it; nor one row of several.
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at, start_price,
	reserve_price, route)
	VALUES (5021, 1, '2099-01-01', 5, 5, 'table'),
		(5020, 1, '2099-01-01', 5, 4, 'table')$$);
SELECT (SELECT count(*) FROM auction.auctions WHERE id BETWEEN 5010 AND 5099)
		AS auctions,
	(SELECT count(*) FROM auction._state WHERE auction_id BETWEEN 5010 AND 5099)
		AS states,
	(SELECT count(*) FROM auction._state WHERE auction_id NOT IN
		(SELECT id FROM auction.auctions)) AS of_none,
	(SELECT count(*) FROM auction.auctions WHERE id NOT IN
		(SELECT auction_id FROM auction._state)) AS without;

-- The limits themselves are fine.
BEGIN;
SELECT prices(0, 0, 0);
DELETE FROM auction.auctions WHERE id = 5020;
SELECT prices(9007199254740991, 9007199254740991, 9007199254740991);
DELETE FROM auction.auctions WHERE id = 5020;
SELECT soft('0.000001 s', '366 days', '9999-12-31 23:59:59.999999');
DELETE FROM auction.auctions WHERE id = 5020;
SELECT soft('366 days', '8784:00', NULL);
DELETE FROM auction.auctions WHERE id = 5020;
SELECT soft('1 day -1 h', '-1 day +48 h', '2080-01-02');
SELECT extend_window, extend_by, extend_limit FROM auction._state
WHERE auction_id = 5020;
ROLLBACK;

-- ... and what cannot be changed.
SELECT try('UPDATE auction.auctions SET id = 5012 WHERE id = 5002');
SELECT try($$UPDATE auction.auctions SET route = 'redis' WHERE id = 5002$$);
SELECT try('UPDATE auction.auctions SET increment = 0 WHERE id = 5002');
SELECT try($$UPDATE auction.auctions SET ends_at = '2097-01-01'
	WHERE id = 5002$$);
SELECT try('UPDATE auction.auctions SET start_price = 500, reserve_price = 499
	WHERE id = 5002');
SELECT try('UPDATE auction.auctions SET buy_now_price = -1 WHERE id = 5002');
SELECT try($$UPDATE auction.auctions SET increment_table = 'none'
	WHERE id = 5002$$);
SELECT try($$UPDATE auction.auctions SET extend_window = '1 min'
	WHERE id = 5002$$);
SELECT try($$UPDATE auction.auctions SET extend_by = '1 min'
	WHERE id = 5002$$);
SELECT try($$UPDATE auction.auctions SET extend_limit = '2099-01-01'
	WHERE id = 5002$$);
SELECT start_price, reserve_price, buy_now_price, increment_table,
	extend_window, extend_by, extend_limit FROM auction.auctions WHERE id = 5002;
SELECT start_price, reserve_price, buy_now_price, increment_table,
	extend_window, extend_by, extend_limit FROM auction._state
WHERE auction_id = 5002;
SELECT try('UPDATE auction.auctions SET start_price = 2 WHERE id = 5001');
SELECT try('DELETE FROM auction.auctions WHERE id = 5001');
BEGIN;
SELECT auction.close_auction(5002);
SELECT try('UPDATE auction.auctions SET increment = 3 WHERE id = 5002');
ROLLBACK;
SELECT left(t, 6) FROM try('TRUNCATE auction.auctions') t LIMIT 1;

-- Where nothing may be written.
BEGIN READ ONLY;
SELECT auction.place_bid(5001, 7, 1000);
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM auction.place_bids('{}');
ROLLBACK;
BEGIN READ ONLY;
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (5001, 7, 1000);
ROLLBACK;

-- The triggers' functions are for the extension's tables alone.
CREATE TABLE other (id bigint);
CREATE TRIGGER wrong BEFORE INSERT ON other
	FOR EACH ROW EXECUTE FUNCTION auction._auctions_insert();
SELECT try('INSERT INTO other VALUES (1)');
DROP TABLE other;
CREATE TABLE other (name text, from_price bigint, increment bigint);
CREATE TRIGGER wrong BEFORE INSERT ON other
	FOR EACH ROW EXECUTE FUNCTION auction._increments_change();
SELECT try($$INSERT INTO other VALUES ('x', 0, 1)$$);
DROP TRIGGER wrong ON other;
CREATE TRIGGER wrong AFTER INSERT ON other
	FOR EACH ROW EXECUTE FUNCTION auction._increments_check();
SELECT try($$INSERT INTO other VALUES ('x', 0, 1)$$);
CREATE TRIGGER wrong_truncate BEFORE TRUNCATE ON other
	FOR EACH STATEMENT EXECUTE FUNCTION auction._increments_truncate();
SELECT try('TRUNCATE other');
DROP TABLE other;
DROP FUNCTION prices, soft, try;
