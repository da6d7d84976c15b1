-- State and journal on route table: always together, whatever the transaction
-- does.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment, route)
SELECT i, 1, '2020-01-01', '2099-01-01', 10, 5, 'table'
FROM generate_series(7001, 7005) i;

-- Does the row say what its bids say?
CREATE VIEW agree AS
SELECT s.auction_id, s.bid_count,
	s.bid_count = count(j.bid_no) AS count,
	coalesce(max(j.bid_no), 0) = s.bid_count AS no_gap,
	s.price = coalesce(max(j.amount), 10) AS price,
	s.checksum = coalesce(bit_xor(auction._bid_checksum(j.auction_id, j.bid_no,
		j.user_id, j.amount, j.placed_at, j.request_id, j.attributes)), 0)
		AS checksum,
	s.leader_id IS NOT DISTINCT FROM
		max(j.user_id) FILTER (WHERE j.bid_no = s.bid_count) AS leader,
	s.last_at IS NOT DISTINCT FROM max(j.placed_at) AS last_at
FROM auction._state s LEFT JOIN auction.journal j USING (auction_id)
WHERE s.auction_id BETWEEN 7001 AND 7005
GROUP BY s.auction_id;
SELECT * FROM agree ORDER BY 1;

-- Committed, rolled back, rolled back in part.
SELECT accepted, bid_no FROM auction.place_bid(7001, 7, 10);
BEGIN;
SELECT accepted, bid_no FROM auction.place_bid(7001, 8, 20,
	'00000000-0000-0000-0000-000000007001', '{"b": [1, 2.50], "a": null}');
SELECT accepted, bid_no FROM auction.place_bid(7002, 8, 20);
ROLLBACK;
SELECT auction_id, bid_count FROM agree WHERE auction_id <= 7002 ORDER BY 1;
BEGIN;
SELECT accepted, bid_no FROM auction.place_bid(7001, 8, 20,
	'00000000-0000-0000-0000-000000007001', '{"b": [1, 2.50], "a": null}');
SAVEPOINT s;
SELECT accepted, bid_no FROM auction.place_bid(7001, 9, 30);
SELECT accepted, bid_no FROM auction.place_bid(7002, 9, 30);
ROLLBACK TO s;
SELECT accepted, bid_no FROM auction.place_bid(7001, 10, 25);
SAVEPOINT t;
SELECT accepted, bid_no FROM auction.place_bid(7001, 11, 30);
RELEASE t;
COMMIT;
SELECT * FROM agree WHERE auction_id <= 7002 ORDER BY 1;
SELECT bid_no, user_id, amount, position, lane_id, request_id, attributes
FROM auction.journal WHERE auction_id = 7001 ORDER BY bid_no;

-- An exception handler is a subtransaction, too.
DO $$
BEGIN
	PERFORM auction.place_bid(7003, 7, 10);
	BEGIN
		PERFORM auction.place_bid(7003, 8, 15);
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM auction.place_bid(7003, 9, 15);
	END;
END
$$;
SELECT * FROM agree WHERE auction_id = 7003;
SELECT user_id FROM auction.journal WHERE auction_id = 7003 ORDER BY bid_no;

-- One statement, many bids of many auctions; each sees the one before.
SELECT count(*) FILTER (WHERE r.accepted) AS accepted
FROM generate_series(10, 500, 5) i, auction.place_bid(7003 + i % 3, i, i) r;
SELECT * FROM agree WHERE auction_id >= 7003 ORDER BY 1;

-- Bids of a statement are not seen by its own snapshot, but by the next.
SELECT count(*) FROM auction.bids WHERE auction_id = 7002
	AND (SELECT accepted FROM auction.place_bid(7002, 5, 10));
SELECT count(*) FROM auction.bids WHERE auction_id = 7002;

-- REPEATABLE READ and SERIALIZABLE: what is alone goes through.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT accepted, bid_no FROM auction.place_bid(7002, 6, 100);
SELECT accepted, bid_no FROM auction.place_bid(7002, 7, 110);
SELECT accepted, reason FROM auction.place_bid(7002, 7, 110);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT accepted, bid_no FROM auction.place_bid(7002, 6, 120);
COMMIT;
SELECT * FROM agree WHERE auction_id = 7002;

-- A check that a DBA adds to the journal holds for the engine, too, and leaves
-- nothing behind.
\set VERBOSITY terse
ALTER TABLE auction.journal ADD CONSTRAINT no_user_66 CHECK (user_id <> 66);
SELECT accepted FROM auction.place_bid(7002, 66, 1000);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (7002, 65, 1000), (7002, 66, 2000);
\set VERBOSITY default
ALTER TABLE auction.journal DROP CONSTRAINT no_user_66;
SELECT * FROM agree WHERE auction_id = 7002;

-- Time does not run backwards within an auction: a clock that was set back.
UPDATE auction._state SET last_at = '2050-01-01' WHERE auction_id = 7004;
SELECT accepted FROM auction.place_bid(7004, 6, 10000);
SELECT max(placed_at) = '2050-01-01' AS clamped
FROM auction.bids WHERE auction_id = 7004;

-- A row that is loaded into _state, as from a dump, replaces the one there.
BEGIN;
CREATE TEMP TABLE saved AS SELECT * FROM auction._state
WHERE auction_id BETWEEN 7001 AND 7005;
DELETE FROM auction._state WHERE auction_id = 7001;
INSERT INTO auction._state SELECT * FROM saved;
SELECT count(*) FROM auction._state WHERE auction_id BETWEEN 7001 AND 7005;
ROLLBACK;

DROP VIEW agree;
