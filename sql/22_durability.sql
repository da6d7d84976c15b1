-- Levels of durability: the setting, the auction's column, what a verdict says.
-- What replicas do is test/tap/060_levels.pl's.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS auction CASCADE;
CREATE EXTENSION auction;
SET auction.overload_timeout = '1min';

SELECT name, context, vartype, enumvals, boot_val FROM pg_settings
WHERE name = 'auction.durability';
SHOW auction.durability;
SET auction.durability = 'tape';
SET auction.durability = '';
SET auction.durability = 2;
SET auction.durability = Replica;
SHOW auction.durability;
BEGIN;
SET LOCAL auction.durability = 'journal';
SHOW auction.durability;
COMMIT;
SHOW auction.durability;
RESET auction.durability;

-- An auction's own.
INSERT INTO auction.auctions (id, seller_id, ends_at, durability, route)
VALUES (22001, 1, '2099-01-01', 'redis', 'table'),
	(22002, 1, '2099-01-01', 'replica', 'table'),
	(22003, 1, '2099-01-01', 'journal', 'table'),
	(22004, 1, '2099-01-01', DEFAULT, 'table');
\set VERBOSITY terse
INSERT INTO auction.auctions (id, seller_id, ends_at, durability, route)
VALUES (22005, 1, '2099-01-01', 'Replica', 'table');
INSERT INTO auction.auctions (id, seller_id, ends_at, durability, route)
VALUES (22005, 1, '2099-01-01', NULL, 'table');
\set VERBOSITY default
SELECT id, durability FROM auction.standings WHERE id BETWEEN 22001 AND 22009
ORDER BY id;
UPDATE auction.auctions SET durability = 'replica' WHERE id = 22001;
UPDATE auction.auctions SET durability = 'redis' WHERE id = 22003;
SELECT id, durability FROM auction.standings WHERE id BETWEEN 22001 AND 22009
ORDER BY id;

-- On route table a bid is the caller's transaction: always the journal.
SELECT accepted, durability FROM auction.place_bid(22001, 7, 10);
SELECT accepted, reason, durability FROM auction.place_bid(22001, 8, 10);
UPDATE auction.auctions SET durability = 'journal' WHERE id = 22001;

-- Options of a server.
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replicas '0');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replicas '1001');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replicas 'all');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replica_timeout '0');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replica_fsync 'sometimes');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replica '2');
CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis
	OPTIONS (replicas '2', replica_timeout '1s', replica_fsync 'on');
DROP SERVER levels;

-- On route redis, with a Redis that has no replica: the auction's or the
-- session's level, whichever is higher, or more, never less.
DO $$ BEGIN
	EXECUTE format('CREATE SERVER levels FOREIGN DATA WRAPPER auction_redis'
		' OPTIONS (host %L, prefix ''levels'')',
		current_setting('auction_test.redis'));
END $$;
SELECT auction.attach_redis('levels', 1);
INSERT INTO auction.auctions (id, seller_id, ends_at, durability, buy_now_price,
	route)
VALUES (22011, 1, '2099-01-01', 'redis', NULL, 'redis'),
	(22012, 1, '2099-01-01', 'replica', NULL, 'redis'),
	(22013, 1, '2099-01-01', 'journal', NULL, 'redis'),
	(22014, 1, '2099-01-01', 'redis', 100, 'redis');
SELECT accepted, durability FROM auction.place_bid(22012, 7, 10);
SELECT accepted, reason, durability FROM auction.place_bid(22012, 8, 10);
SELECT accepted, durability FROM auction.place_bid(22013, 7, 10);
SELECT accepted, durability IN ('redis', 'journal') AS durability
FROM auction.place_bid(22011, 7, 10);
SET auction.durability = 'redis';
SELECT accepted, durability FROM auction.place_bid(22012, 7, 20);
SELECT accepted, durability FROM auction.place_bid(22013, 7, 20);
SET auction.durability = 'replica';
SELECT accepted, durability FROM auction.place_bid(22011, 7, 20);
SELECT accepted, durability FROM auction.place_bids(
	ARRAY[ROW(22011, 7, 30, NULL, NULL), ROW(22013, 7, 30, NULL, NULL),
		ROW(22011, 8, 30, NULL, NULL)]::auction.bid_request[]);
SELECT accepted, durability FROM auction.buy_now(22014, 7);
-- whoever may read the journal at once was told no earlier
SET auction.durability = 'journal';
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (22011, 8, 40)
RETURNING bid_no;
SELECT count(*) FROM auction.journal WHERE auction_id = 22011;
RESET auction.durability;
DROP EXTENSION auction CASCADE;
