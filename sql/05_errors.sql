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
	(5005, 1, '2020-01-01', '2099-01-01', 1, 9007199254740991, 'table');
SELECT accepted FROM auction.place_bid(5005, 7, 1);
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

-- auctions: each column that is checked.
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at)
	VALUES (NULL, '2099-01-01')$$);
SELECT try('INSERT INTO auction.auctions (seller_id) VALUES (1)');
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, kind)
	VALUES (1, '2099-01-01', 'dutch')$$);
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
	VALUES (1, '2099-01-01', 'replica')$$);
SELECT try($$INSERT INTO auction.auctions (seller_id, ends_at, route)
	VALUES (1, '2099-01-01', 'mail')$$);
SELECT try($$INSERT INTO auction.auctions (id, seller_id, ends_at, route)
	VALUES (5011, 1, '2099-01-01', 'redis')$$);

-- ... and what cannot be changed.
SELECT try('UPDATE auction.auctions SET id = 5012 WHERE id = 5002');
SELECT try($$UPDATE auction.auctions SET route = 'redis' WHERE id = 5002$$);
SELECT try('UPDATE auction.auctions SET increment = 0 WHERE id = 5002');
SELECT try($$UPDATE auction.auctions SET ends_at = '2097-01-01'
	WHERE id = 5002$$);
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
DROP FUNCTION try(text);
