-- Limits: the settings, who may set them, what stat_lanes shows of them, and
-- the rate of a bidder on route table. What happens at a limit is
-- test/tap/067_overload.pl's, who is kept from what 068_fairness.pl's.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

SELECT name, context, vartype, unit, min_val, max_val, boot_val
FROM pg_settings
WHERE name IN ('auction.backlog_limit', 'auction.log_limit',
	'auction.redis_memory_limit', 'auction.role_slots',
	'auction.user_rate_limit')
ORDER BY name;
SET auction.backlog_limit = 5;
SET auction.log_limit = 5;
SET auction.redis_memory_limit = 5;
-- The text of this one differs between PostgreSQL 15 and 17.
\set VERBOSITY sqlstate
ALTER SYSTEM SET auction.backlog_limit = -1;
\set VERBOSITY default
ALTER SYSTEM SET auction.redis_memory_limit = 101;
ALTER SYSTEM SET auction.role_slots = 0;
SET auction.role_slots = 101;
SET auction.user_rate_limit = -1;
CREATE ROLE regress_auction_client;
SET ROLE regress_auction_client;
SET auction.role_slots = 100;
SET auction.user_rate_limit = 0;
SHOW auction.role_slots;
RESET ROLE;
DROP ROLE regress_auction_client;

SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = 'auction' AND table_name = 'stat_lanes'
	AND (column_name LIKE '%limit%' OR column_name LIKE '%memory%'
		OR column_name = 'delay_ms')
ORDER BY column_name;

-- One bid in twenty minutes: the second one of the same bidder is too many.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (9201, 1, '2020-01-01', '2099-01-01', 'table');
\set VERBOSITY sqlstate
SET auction.user_rate_limit = 0.0008;
SELECT accepted, price FROM auction.place_bid(9201, 9201001, 10);
SELECT accepted, price FROM auction.place_bid(9201, 9201001, 20);
\set VERBOSITY default
SELECT accepted, price FROM auction.place_bid(9201, 9201001, 20);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9201, 9201001, 20);
SELECT accepted, price FROM auction.buy_now(9201, 9201001);
SELECT accepted, price FROM auction.place_bids(ARRAY[
	ROW(9201, 9201002, 20, NULL, NULL), ROW(9201, 9201001, 30, NULL, NULL)]
	::auction.bid_request[]);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9201, 9201003, 20);

-- A bid that the rules refuse was one, and one on an auction nobody knows.
SELECT accepted, reason FROM auction.place_bid(9201, 9201004, 1);
SELECT accepted, reason FROM auction.place_bid(9201, 9201004, 30);
SELECT accepted, reason FROM auction.place_bid(9299, 9201005, 30);
SELECT accepted, reason FROM auction.place_bid(9299, 9201005, 30);

-- The allowance is that of the bidder, under whatever rate.
SET auction.user_rate_limit = 0;
SELECT accepted, price FROM auction.place_bid(9201, 9201001, 30);
SET auction.user_rate_limit = 0.0008;
SELECT accepted, price FROM auction.place_bid(9201, 9201001, 40);
RESET auction.user_rate_limit;
SELECT user_id, amount FROM auction.bids WHERE auction_id = 9201 ORDER BY bid_no;
SELECT auction.cancel_auction(9201, 'test');
