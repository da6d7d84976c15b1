-- set_route: there and back in one session, what it refuses and logs. Against
-- bids and closes: isolation 15_move.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
SET client_min_messages = notice;
CREATE FUNCTION try(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE query;
	RETURN NEXT 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT;
	RETURN NEXT SQLSTATE || ' ' || SQLERRM;
	IF detail <> '' THEN RETURN NEXT '  DETAIL: ' || detail; END IF;
	IF hint <> '' THEN RETURN NEXT '  HINT: ' || hint; END IF;
END $$;
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (8651, 1, '2020-01-01', '2099-01-01', 'table'),
	(8652, 1, '2020-01-01', '2099-01-01', 'table');
SELECT query, try(query) FROM (VALUES
	('SELECT auction.set_route(NULL, ''redis'')'),
	('SELECT auction.set_route(8651, NULL)'),
	('SELECT auction.set_route(8651, '''')'),
	('SELECT auction.set_route(8651, ''Redis'')'),
	('SELECT auction.set_route(8651, ''TABLE'')'),
	('SELECT auction.set_route(8699, ''redis'')'),
	('SELECT auction.set_route(8699, ''table'')'),
	('SELECT auction.set_route(9223372036854775808, ''table'')')) v (query);
-- it is there already
SELECT auction.set_route(8651, 'table');
-- there and back
CREATE FUNCTION bid(user_id bigint, amount bigint) RETURNS text LANGUAGE sql AS
'SELECT concat_ws('' '', accepted, bid_no, price, leader_id, route, durability)
FROM auction.place_bid(8651, user_id, amount)';
SELECT bid(7, 10);
SELECT auction.set_route(8651, 'redis');
SELECT auction.set_route(8651, 'redis');
SELECT bid(8, 10), bid(8, 11);
SELECT route, moved_at IS NOT NULL AS moved, lane_id IS NOT NULL AS lane
FROM auction.standings WHERE id = 8651;
BEGIN;
SELECT auction.set_route(8651, 'table');
SELECT bid(9, 12);
ROLLBACK;
SELECT bid(7, 13);
BEGIN;
SELECT auction.set_route(8651, 'redis');
SELECT try('SELECT bid(8, 14)');
ROLLBACK;
SELECT bid(8, 14);
BEGIN;
SAVEPOINT a;
SELECT auction.set_route(8651, 'redis');
ROLLBACK TO a;
SELECT bid(9, 15);
COMMIT;
SELECT bid_no, user_id, amount, route FROM auction.bids
WHERE auction_id = 8651 ORDER BY bid_no;
SELECT by_role = session_user AS mine, from_route, to_route, why, took >= '0' AS took,
	detail, at <= clock_timestamp() AS at
FROM auction.route_log WHERE auction_id = 8651 ORDER BY id;
-- it is over
SELECT auction.close_auction(8652);
SELECT auction.set_route(8652, 'table');
SELECT try('SELECT auction.set_route(8652, ''redis'')');
-- the column says where it began
SELECT try('UPDATE auction.auctions SET route = ''redis'' WHERE id = 8651');
-- who may
CREATE ROLE regress_auction_mover;
SET ROLE regress_auction_mover;
SELECT try('SELECT auction.set_route(8651, ''table'')');
SELECT try('SELECT * FROM auction.route_log');
RESET ROLE;
GRANT EXECUTE ON FUNCTION auction.set_route TO regress_auction_mover;
SET ROLE regress_auction_mover;
SELECT auction.set_route(8651, 'redis');
SELECT auction.set_route(8651, 'table');
RESET ROLE;
BEGIN TRANSACTION READ ONLY;
SELECT auction.set_route(8651, 'table');
ROLLBACK;
SELECT to_route, by_role = session_user AS mine FROM auction.route_log
WHERE auction_id BETWEEN 8650 AND 8699 ORDER BY id DESC LIMIT 2;
DROP OWNED BY regress_auction_mover;
DROP ROLE regress_auction_mover;
DROP FUNCTION try, bid;
