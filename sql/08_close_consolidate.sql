-- Closing, verifying, consolidating: route "table". The steward does it all by
-- itself; where a test must be first, it does so in one transaction.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

-- Waits until the query says true.
CREATE FUNCTION wait_until(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	ok bool;
BEGIN
	FOR i IN 1..3000 LOOP
		EXECUTE query INTO ok;
		IF ok THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN false;
END
$$;

-- An auction with n bids of five bidders, 10, 20, 30 ...
CREATE FUNCTION sale(id bigint, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at,
		start_price, increment, route)
	VALUES (id, 1, now() - interval '1 hour', now() + interval '1 hour',
		10, 10, 'table');
	FOR i IN 1..n LOOP
		PERFORM auction.place_bid(id, 100 + i % 5, i * 10,
			CASE WHEN i % 2 = 0 THEN
				md5(id::text || '/' || i::text)::uuid END,
			CASE WHEN i % 3 = 0 THEN
				jsonb_build_object('b', i, 'a', 'x "y"') END);
	END LOOP;
END
$$;

CREATE VIEW outcome AS
SELECT s.id, s.status, s.price, s.leader_id, s.bid_count,
	(SELECT count(*) FROM auction.journal j WHERE j.auction_id = s.id)
		AS in_journal,
	(SELECT count(*) FROM auction.history h WHERE h.auction_id = s.id)
		AS in_history
FROM auction.standings s;

--
-- The checksum of the row is that of its bids.
--
SELECT sale(8001, 20);
SELECT s.bid_count, s.checksum = bit_xor(auction._bid_checksum(j.auction_id,
	j.bid_no, j.user_id, j.amount, j.placed_at, j.request_id, j.attributes))
	AS same
FROM auction._state s JOIN auction.journal j USING (auction_id)
WHERE s.auction_id = 8001 GROUP BY s.auction_id;
SELECT auction._bid_checksum(1, 2, 3, 4, '2000-01-01 00:00:00.000005+00',
	NULL, NULL) AS bare,
	auction._bid_checksum(1, 2, 3, 4, '2000-01-01 00:00:00.000005+00',
	'00000000-0000-0000-0000-000000000000', '{}') AS with_both,
	auction._bid_checksum(1, 2, 3, NULL, now(), NULL, NULL) AS none;

--
-- close_auction: before the end, once; then nothing is accepted any more.
--
SELECT auction.close_auction(8001);
SELECT auction.close_auction(8001);
SELECT accepted, reason, price, leader_id
FROM auction.place_bid(8001, 7, 100000);
SELECT auction.close_auction(8999);

-- The steward verifies and consolidates it.
SELECT wait_until($$SELECT status = 'consolidated' FROM auction.standings
	WHERE id = 8001$$);
SELECT * FROM outcome WHERE id = 8001;
SELECT verified_at >= closed_at AS verified, consolidated_at >= verified_at
	AS consolidated, keys_left, reason
FROM auction._state WHERE auction_id = 8001;
SELECT bid_no, user_id, amount, request_id, attributes
FROM auction.bids WHERE auction_id = 8001 AND bid_no <= 4 ORDER BY bid_no;
SELECT count(DISTINCT tableoid) > 1 AS spread
FROM auction.history WHERE auction_id = 8001;
SELECT accepted, reason FROM auction.place_bid(8001, 7, 100000);
SELECT auction.close_auction(8001);

--
-- Route table: the close is part of the caller's transaction.
--
SELECT sale(8002, 3);
BEGIN;
SELECT auction.close_auction(8002);
SELECT status FROM auction.standings WHERE id = 8002;
ROLLBACK;
SELECT status FROM auction.standings WHERE id = 8002;
BEGIN READ ONLY;
SELECT auction.close_auction(8002);
ROLLBACK;

--
-- Due auctions: with bids, without, and many at once.
--
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
SELECT id, 1, now() - interval '1 hour', now() + interval '3 seconds', 'table'
FROM generate_series(8100, 8350) id;
SELECT count(*) FILTER (WHERE accepted) AS accepted
FROM generate_series(8100, 8149) id, auction.place_bid(id, id, id);
SELECT wait_until($$SELECT count(*) = 251 FROM auction.standings
	WHERE id BETWEEN 8100 AND 8350 AND status = 'consolidated'$$);
SELECT bool_and(closed_at >= ends_at) AS not_before_the_end,
	sum(bid_count) AS bids FROM auction.standings
WHERE id BETWEEN 8100 AND 8350;
SELECT count(*), sum(amount) = sum(user_id) AS right_amounts
FROM auction.history WHERE auction_id BETWEEN 8100 AND 8350;

--
-- What differs is quarantined, each with its reason, and stops no other.
--
SELECT sale(id, 5) FROM generate_series(8401, 8412) id;
BEGIN;
SELECT count(*) FILTER (WHERE auction.close_auction(id)) AS closed
FROM generate_series(8401, 8412) id;
DELETE FROM auction.journal WHERE auction_id = 8401 AND bid_no = 2;
UPDATE auction.journal SET bid_no = 6 WHERE auction_id = 8402 AND bid_no = 2;
UPDATE auction.journal SET amount = 49 WHERE auction_id = 8403 AND bid_no = 5;
UPDATE auction.journal SET user_id = 8 WHERE auction_id = 8404 AND bid_no = 5;
UPDATE auction.journal SET attributes = '{"b": 3}'
WHERE auction_id = 8405 AND bid_no = 3;
UPDATE auction.journal SET placed_at = placed_at + interval '1 microsecond'
WHERE auction_id = 8406 AND bid_no = 3;
UPDATE auction.journal SET retracted_at = now(), retract_reason = 'x'
WHERE auction_id = 8410 AND bid_no = 1;
UPDATE auction._state SET leader_max = 51 WHERE auction_id = 8411;
SELECT * FROM auction.retract_bid(8412, 5, 'x');
UPDATE auction.journal
SET retracted_at = CASE bid_no WHEN 4 THEN now() END
WHERE auction_id = 8412 AND bid_no IN (4, 5);
-- These two are fine in the journal, and then do not fit into history.
INSERT INTO auction.history (auction_id, bid_no, user_id, amount, placed_at)
VALUES (8407, 6, 8, 60, now());
INSERT INTO auction.history (auction_id, bid_no, user_id, amount, placed_at)
SELECT auction_id, bid_no, user_id, amount + 1, placed_at FROM auction.journal
WHERE auction_id = 8408 AND bid_no = 4;
COMMIT;
SELECT wait_until($$SELECT count(*) = 12 FROM auction.standings
	WHERE id BETWEEN 8401 AND 8412
		AND status IN ('quarantined', 'consolidated')$$);
SELECT * FROM outcome WHERE id BETWEEN 8401 AND 8412 ORDER BY id;
SELECT auction_id, verified_at IS NOT NULL AS verified,
	regexp_replace(regexp_replace(reason, '-?\d{12,}', '#', 'g'),
		'history_\d', 'history_N') AS reason
FROM auction._state WHERE auction_id BETWEEN 8401 AND 8412
ORDER BY auction_id;
SELECT accepted, reason FROM auction.place_bid(8401, 7, 100000);
SELECT auction.consolidate(8401);
DELETE FROM auction.history WHERE auction_id IN (8407, 8408);

--
-- consolidate(): in the caller's transaction.
--
SELECT auction.consolidate(8002);
SELECT auction.consolidate(8999);
SELECT auction.consolidate(8001);
BEGIN;
SELECT auction.close_auction(8002);
SELECT auction.consolidate(8002);
SELECT * FROM outcome WHERE id = 8002;
SELECT auction.consolidate(8002);
ROLLBACK;
SELECT * FROM outcome WHERE id = 8002;

-- NULL: all of them; one that differs is left out.
SELECT wait_until($$SELECT count(*) = 0 FROM auction.standings
	WHERE status = 'closed'$$);
BEGIN;
SELECT count(*) FROM (SELECT sale(id, 4) FROM generate_series(8501, 8503) id)
	AS sales;
SELECT count(*) FILTER (WHERE auction.close_auction(id)) AS closed
FROM generate_series(8501, 8503) id;
DELETE FROM auction.journal WHERE auction_id = 8502 AND bid_no = 1;
SELECT auction.consolidate();
SELECT * FROM outcome WHERE id BETWEEN 8501 AND 8503 ORDER BY id;
SELECT auction.consolidate();
COMMIT;

DROP VIEW outcome;
DROP FUNCTION sale(bigint, int);
DROP FUNCTION wait_until(text);
