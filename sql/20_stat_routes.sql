-- What auction.stat_routes counts on route table, and auction.route_report().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at, start_price,
	route)
VALUES (8701, 1, 'open', '2020-01-01', '2099-01-01', 10, 'table'),
	(8702, 1, 'proxy', '2020-01-01', '2099-01-01', 10, 'table'),
	(8703, 1, 'open', '2090-01-01', '2099-01-01', 10, 'table'),
	(8704, 1, 'open', '2020-01-01', '2020-01-02', 10, 'table');
CREATE TEMP VIEW counted AS
SELECT bids, accepted, rejected, rejected_by, rolled_back, errors, errors_by
FROM auction.stat_routes WHERE route = 'table';

SELECT auction.stat_reset();
SELECT route, bids, errors, waiting, p50_ms, max_ms, mean_ms,
	since <= clock_timestamp() AS reset
FROM auction.stat_routes ORDER BY route;

-- Accepted ones, each way in; place_bids and a second row are bids of their own.
SELECT accepted FROM auction.place_bid(8701, 7, 10);
SELECT accepted FROM auction.place_bids(
	ARRAY[(8701, 7, 11, NULL, NULL), (8702, 8, 20, NULL, NULL)]
	::auction.bid_request[]);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (8701, 8, 12), (8701, 9, 13);
SELECT * FROM counted;
SELECT p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms
	AND p99_ms <= p999_ms AND p999_ms <= max_ms AS in_order,
	mean_ms > 0 AND mean_ms <= max_ms AS mean, max_ms < 60000 AS max
FROM auction.stat_routes WHERE route = 'table';

-- Refused ones by their reason. They stay refused when the caller rolls back.
BEGIN;
SELECT reason FROM auction.place_bid(8701, 7, 13);
SELECT reason FROM auction.place_bid(8702, 8, 20);
SELECT reason FROM auction.place_bid(8703, 8, 20);
SELECT reason FROM auction.place_bid(8704, 8, 20);
SELECT reason FROM auction.place_bid(8701, 1, 99);
ROLLBACK;
SELECT reason FROM auction.buy_now(8701, 8);
SELECT reason FROM auction.place_bid(8799, 8, 20);
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (8701, 8, 1);
SELECT * FROM counted;

-- Not bids: what is wrong with them is found before they are on their way.
SELECT auction.place_bid(NULL, 7, 20);
SELECT auction.place_bid(8701, 7, -1);
SELECT auction.place_bids(ARRAY[(8701, 7, 20, NULL, NULL), NULL]
	::auction.bid_request[]);
BEGIN READ ONLY;
SELECT auction.place_bid(8701, 7, 20);
ROLLBACK;
SELECT accepted, rejected, errors FROM counted;

-- Rolled back with its transaction; an error does the same.
SELECT auction.stat_reset();
BEGIN;
SELECT accepted FROM auction.place_bid(8701, 7, 100);
SELECT * FROM counted;
ROLLBACK;
SELECT accepted FROM auction.place_bid(8701, 7, 100 / 0);
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (8701, 7, 100), (8701, 7, 100);
SELECT * FROM counted;

-- Savepoints: what is released goes with the transaction around it.
SELECT auction.stat_reset();
BEGIN;
SELECT accepted FROM auction.place_bid(8701, 7, 101);
SAVEPOINT a;
SELECT accepted FROM auction.place_bid(8701, 7, 102);
SAVEPOINT b;
SELECT accepted FROM auction.place_bid(8701, 7, 103);
RELEASE b;
SAVEPOINT c;
SELECT accepted FROM auction.place_bid(8701, 7, 104);
ROLLBACK TO c;
SELECT * FROM counted;
ROLLBACK TO a;
SELECT accepted FROM auction.place_bid(8701, 7, 105);
SELECT * FROM counted;
COMMIT;
SELECT * FROM counted;
SELECT count(*) FROM auction.bids WHERE auction_id = 8701 AND amount > 100;

-- An error that is caught.
DO $$ BEGIN
	PERFORM auction.place_bid(8701, 7, 110);
	BEGIN
		PERFORM auction.place_bid(8701, 7, 111);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM auction.place_bid(8701, 7, 112);
	END;
END $$;
SELECT accepted, rolled_back FROM counted;

-- More bids than a transaction keeps one by one.
SELECT auction.stat_reset();
BEGIN;
SELECT count(*) FROM generate_series(1, 300) i,
	auction.place_bid(8701, 7, 1000 + i);
ROLLBACK;
SELECT accepted, rolled_back FROM counted;
SELECT count(*) FROM generate_series(1, 300) i,
	auction.place_bid(8701, 7, 1000 + i);
SELECT accepted, rolled_back, max_ms >= p50_ms AND p50_ms > 0 AS latency
FROM auction.stat_routes WHERE route = 'table';

-- Switched off, nothing is counted.
SELECT auction.stat_reset();
SET auction.track_bids = off;
SELECT accepted FROM auction.place_bid(8701, 7, 2000);
SELECT reason FROM auction.place_bid(8701, 7, 2000);
RESET auction.track_bids;
SELECT bids FROM counted;

-- An error on the way; the bid was accepted by the rules, not recorded.
CREATE FUNCTION bid_in_vain(amount bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM auction.place_bid(8701, 7, amount);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
ALTER TABLE auction.journal ADD CONSTRAINT regress_auction
CHECK (amount <> 2001) NOT VALID;
SELECT bid_in_vain(2001);
ALTER TABLE auction.journal DROP CONSTRAINT regress_auction;
SELECT * FROM counted;

-- Who may look, and who may reset.
CREATE ROLE regress_auction_watcher IN ROLE pg_monitor;
CREATE ROLE regress_auction_nobody;
SET ROLE regress_auction_watcher;
SELECT count(*) FROM auction.stat_routes;
SELECT count(*) > 10 FROM auction.route_report();
SELECT auction.stat_reset();
SET auction.track_bids = off;
SET ROLE regress_auction_nobody;
SELECT count(*) FROM auction.stat_routes;
SELECT auction.route_report();
SELECT auction.stat_reset();
RESET ROLE;
DROP ROLE regress_auction_watcher, regress_auction_nobody;

-- The report.
SELECT auction.route_report('yesterday');
SELECT auction.route_report(NULL);
SELECT auction.route_report('step', NULL);
SELECT auction.route_report('step', 0);
SELECT auction.stat_reset();
SELECT item, "table", redis FROM auction.route_report()
WHERE item NOT IN ('since', 'open auctions', 'share');
SELECT count(*) FILTER (WHERE accepted), count(*) FILTER (WHERE reason = 'too_low')
FROM generate_series(1, 40) i, auction.place_bid(8701, 7, 3000 + i - i % 4);
SELECT item, CASE WHEN item LIKE '%ms' AND "table"::numeric >= 0 THEN 'some'
	ELSE "table" END AS "table", redis
FROM auction.route_report('reset', 50)
WHERE item NOT IN ('since', 'open auctions', 'share');
SELECT "table" = redis AS same_time,
	"table"::timestamptz <= clock_timestamp() AS reset
FROM auction.route_report() WHERE item = 'since';
SELECT r."table" = (SELECT count(*)::text FROM auction.standings
		WHERE status = 'open' AND route = 'table') AS on_table,
	r.redis = (SELECT count(*)::text FROM auction.standings
		WHERE status = 'open' AND route = 'redis') AS on_redis
FROM auction.route_report() r WHERE item = 'open auctions';

-- With a rollout of a share, as far as it has come.
CREATE FUNCTION pretend(percent numeric, done bool, on_table bigint,
	on_redis bigint) RETURNS TABLE (item text, "table" text, redis text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION auction._rollout_share('
		'OUT percent numeric, OUT done bool, OUT on_table bigint, '
		'OUT on_redis bigint) LANGUAGE sql AS $f$ SELECT %L::numeric, '
		'%L::bool, %L::bigint, %L::bigint $f$', percent, done, on_table,
		on_redis);
	RETURN QUERY SELECT r.* FROM auction.route_report() r
	WHERE r.item IN ('share', 'expected share', 'sample ratio');
END $$;
BEGIN;
SELECT * FROM pretend(20, false, 900, 100);
SELECT * FROM pretend(20, true, 800, 200);
SELECT * FROM pretend(20, true, 900, 100);
SELECT * FROM pretend(12.5, true, 8, 2);
SELECT * FROM pretend(0, true, 800, 0);
SELECT * FROM pretend(100, true, 1, 800);
ROLLBACK;
DROP FUNCTION pretend, bid_in_vain;
DROP VIEW counted;
