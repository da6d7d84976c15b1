-- auction.audit() names every difference between row, bids and Redis; what DBAs
-- do to dead letters and quarantines: bad input. (What they do with a Redis that
-- breaks is in test/tap/070_audit.pl and 071_repair.pl.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

-- Each auction is there on both routes, the one on redis with 100 added.
DO $$ BEGIN
	EXECUTE format('CREATE SERVER repair FOREIGN DATA WRAPPER auction_redis'
		' OPTIONS (host %L, prefix ''repair'')',
		current_setting('auction_test.redis'));
END $$;
SELECT auction.attach_redis('repair', 1);
CREATE FUNCTION sale(id bigint, kind text DEFAULT 'open',
	buy_now bigint DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, buy_now_price, route)
	SELECT sale.id + n, 1, sale.kind, '2020-01-01', '2099-01-01', 1000, 100,
		buy_now, CASE n WHEN 0 THEN 'table' ELSE 'redis' END
	FROM unnest(ARRAY[0, 100]) n;
$$;
CREATE FUNCTION bids(id bigint, VARIADIC amounts bigint[])
RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM auction.place_bids(ARRAY(
		SELECT ROW(bids.id + n, 2 + i % 3, amount, NULL, NULL)::auction.bid_request
		FROM unnest(ARRAY[0, 100]) n,
			unnest(amounts) WITH ORDINALITY a (amount, i) ORDER BY i)) r
	WHERE r.accepted;
$$;
-- What audit says after the changes, which are undone.
CREATE FUNCTION differs(id bigint, VARIADIC changes text[])
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	command text;
	said text[];
BEGIN
	BEGIN
		FOREACH command IN ARRAY changes LOOP
			EXECUTE command;
		END LOOP;
		said := ARRAY(SELECT format('%s: %s: %s: %s | %s', a.status, a.place,
			a.item, a.expected, a.found) FROM auction.audit(id) a);
		RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	RETURN QUERY SELECT unnest(said);
END
$$;
CREATE FUNCTION finished(VARIADIC ids bigint[]) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		IF (SELECT bool_and(consolidated_at IS NOT NULL)
			FROM auction.standings WHERE id = ANY (ids)) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN false;
END
$$;
SET datestyle = iso;
SET timezone = 'UTC';

--
-- Auctions as the engine leaves them: no row.
--
SELECT sale(23001), sale(23002, 'proxy'), sale(23003), sale(23004, 'open', 5000),
	sale(23005, 'proxy'), sale(23006), sale(23007);
SELECT bids(23001, 1000, 1100, 1200, 1300, 1400, 1500);
SELECT bids(23002, 3000, 2000, 5000, 4000, 9000);
SELECT bids(23004, 1000, 1100, 5000);
SELECT bids(23005, 3000, 2000, 5000, 4000, 6000);
SELECT bids(23006, 1000, 1100, 1200);
SELECT bids(23007, 1000);
SELECT auction.wait_applied('1min');
SELECT count(*) FROM (SELECT auction.retract_bid(id + n, bid_no, 'x')
	FROM unnest(ARRAY[0, 100]) n,
		(VALUES (23001, 6), (23001, 2), (23005, 3), (23005, 5)) v (id, bid_no)) r;
SELECT bids(23001, 1600, 1700), bids(23005, 6000);
SELECT auction.close_auction(23006), auction.close_auction(23106),
	auction.cancel_auction(23007, 'x'), auction.cancel_auction(23107, 'x');
SELECT finished(23004, 23104, 23006, 23106, 23007, 23107);
SELECT auction.wait_applied('1min');
-- what a retraction leaves to be shown in Redis
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction._refresh) AND
			NOT EXISTS (SELECT FROM generate_series(23101, 23105) id,
				auction.audit(id));
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT id, n, a.* FROM generate_series(23001, 23007) id,
	unnest(ARRAY[0, 100]) n, auction.audit(id + n) a;
-- Moved: nothing in Redis before the next bid.
SELECT auction.set_route(23003, 'redis'), auction.set_route(23002, 'redis');
SELECT a.* FROM unnest(ARRAY[23002, 23003]) id, auction.audit(id) a;
SELECT auction.set_route(23003, 'table'), auction.set_route(23002, 'table');

--
-- Each kind of difference.
--
-- the row
SELECT differs(23001, 'UPDATE auction._state SET price = 7 WHERE auction_id = 23001');
SELECT differs(23001, 'UPDATE auction._state SET leader_id = 7 WHERE auction_id = 23001');
SELECT differs(23001, 'UPDATE auction._state SET leader_id = NULL, leader_max = NULL WHERE auction_id = 23001');
SELECT differs(23001, 'UPDATE auction._state SET bid_count = 9 WHERE auction_id = 23001');
SELECT differs(23001, 'UPDATE auction._state SET retracted = 0 WHERE auction_id = 23001');
SELECT differs(23001, 'UPDATE auction._state SET checksum = checksum # 1 WHERE auction_id = 23001')
	~ '^error: state: checksum: -?\d+ | -?\d+$' AS checksum;
SELECT differs(23001, $$UPDATE auction._state SET ends_at = '2098-01-01' WHERE auction_id = 23001$$);
SELECT regexp_replace(differs(23001, $$UPDATE auction._state SET last_at = '2001-01-01' WHERE auction_id = 23001$$),
	'last_at: .* [|]', 'last_at: its last bid |');
SELECT differs(23001, $$UPDATE auction._state SET closed_at = '2001-01-01' WHERE auction_id = 23001$$)
	~ 'closed_at|last bid' AS closed_at;
SELECT differs(23001, $$UPDATE auction._state SET status = 'c' WHERE auction_id = 23001$$);
SELECT differs(23001, $$UPDATE auction._state SET status = 'h' WHERE auction_id = 23001$$);
-- hidden amounts are not told
SELECT differs(23002, 'UPDATE auction._state SET leader_max = 8765 WHERE auction_id = 23002');
SELECT differs(23002, 'UPDATE auction._state SET second_max = 4567 WHERE auction_id = 23002');
-- one bid
SELECT differs(23001, 'DELETE FROM auction.journal WHERE auction_id = 23001 AND bid_no = 1')
	!~ 'checksum' AS not_checksum;
SELECT s FROM differs(23001, 'DELETE FROM auction.journal WHERE auction_id = 23001 AND bid_no = 4') s WHERE s !~ 'checksum';
SELECT s FROM differs(23001, 'UPDATE auction.journal SET amount = 1350 WHERE auction_id = 23001 AND bid_no = 4') s WHERE s !~ 'checksum';
SELECT s FROM differs(23001, 'UPDATE auction.journal SET user_id = 1 WHERE auction_id = 23001 AND bid_no = 4') s WHERE s !~ 'checksum';
SELECT s FROM differs(23001, $$UPDATE auction.journal SET placed_at = '2019-01-01' WHERE auction_id = 23001 AND bid_no = 1$$) s WHERE s !~ 'checksum';
SELECT s FROM differs(23001, $$UPDATE auction.journal SET placed_at = '2099-01-01' WHERE auction_id = 23001 AND bid_no = 8$$) s WHERE s !~ 'checksum';
SELECT s ~ '^error: journal: placed_at of bid 3: ' FROM differs(23001, $$UPDATE auction.journal SET placed_at = '2020-02-02' WHERE auction_id = 23001 AND bid_no = 3$$) s WHERE s !~ 'checksum';
SELECT differs(23001, 'UPDATE auction.journal SET retracted_at = NULL, retract_reason = NULL WHERE auction_id = 23001 AND bid_no = 6');
SELECT differs(23001, $$UPDATE auction.journal SET retracted_at = placed_at WHERE auction_id = 23001 AND bid_no = 8$$);
SELECT differs(23101, 'UPDATE auction.journal SET position = position - 100 WHERE auction_id = 23101 AND bid_no = 7')
	~ '^error: journal: position of bid 7: behind' AS position;
SELECT s ~ 'lanes: applied: at least' FROM differs(23101, 'UPDATE auction.lanes SET applied = 1') s;
-- bids in the wrong table
SELECT differs(23001, 'INSERT INTO auction.history SELECT auction_id, bid_no, user_id, amount, placed_at FROM auction.journal WHERE auction_id = 23001 AND bid_no < 3');
SELECT differs(23006, 'INSERT INTO auction.journal SELECT * FROM auction.history WHERE auction_id = 23006');
SELECT s FROM differs(23006, 'INSERT INTO auction.journal SELECT * FROM auction.history WHERE auction_id = 23006',
	'DELETE FROM auction.history WHERE auction_id = 23006') s WHERE s !~ 'checksum';
-- behind the end, and behind a buy-now
SELECT s ~ 'bid 3' AS bid, s ~ 'last bid' AS last FROM differs(23006, $$UPDATE auction.history SET placed_at = '2098-12-31' WHERE auction_id = 23006 AND bid_no = 3$$) s WHERE s !~ 'checksum|last_at';
SELECT s FROM differs(23004, 'INSERT INTO auction.history (auction_id, bid_no, user_id, amount, placed_at) SELECT 23004, 4, 5, 6000, max(placed_at) FROM auction.history WHERE auction_id = 23004',
	'UPDATE auction._state SET bid_count = 4, price = 5000 WHERE auction_id = 23004') s WHERE s !~ 'checksum|leader|last_at';
SELECT differs(23004, $$UPDATE auction._state SET status = 'o', closed_at = NULL, verified_at = NULL, consolidated_at = NULL WHERE auction_id = 23004$$,
	'INSERT INTO auction.journal SELECT * FROM auction.history WHERE auction_id = 23004', 'DELETE FROM auction.history WHERE auction_id = 23004');
-- what the row has copied; orphans
SET session_replication_role = replica;
SELECT differs(23001, 'UPDATE auction.auctions SET start_price = 1, increment = 2, reserve_price = 8765 WHERE id = 23001');
SELECT differs(23001, $$UPDATE auction.auctions SET extend_window = '1min', extend_by = '2min', durability = 'journal' WHERE id = 23001$$);
SELECT differs(23001, 'DELETE FROM auction.auctions WHERE id = 23001');
SELECT differs(23001, 'DELETE FROM auction._state WHERE auction_id = 23001');
SELECT differs(23006, 'DELETE FROM auction._state WHERE auction_id = 23006',
	'DELETE FROM auction.auctions WHERE id = 23006');
RESET session_replication_role;
-- lanes, dead letters, quarantine
SELECT differs(23101, 'UPDATE auction._state SET lane_id = 23000 WHERE auction_id = 23101');
SELECT differs(23101, 'UPDATE auction._lane_terms SET possible_loss_after = 7, possible_loss_at = now()');
SELECT differs(23001, $$UPDATE auction._state SET status = 'q', quarantined_from = 'o' WHERE auction_id = 23001$$);
SELECT differs(23001, $$INSERT INTO auction.dead_letters (lane_id, position, auction_id, record, sqlstate, message)
	SELECT 1, p, 23001, 'x', '23514', 'x' FROM generate_series(999999998, 999999999) p$$);

--
-- Bad input, and what is not there.
--
SELECT auction.audit(NULL);
SELECT auction.audit(230000);
SELECT auction.skip_gap(NULL, 'x');
SELECT auction.skip_gap(1, NULL);
SELECT auction.skip_gap(1, '');
SELECT auction.skip_gap(230000, 'x');
SELECT auction.skip_gap(id, 'x') FROM auction.lanes WHERE server = 'repair';
SELECT auction.rebuild_redis(NULL);
SELECT auction.rebuild_redis('nobody');
SELECT auction.retry_dead_letter(NULL);
SELECT auction.retry_dead_letter(230000);
SELECT auction.discard_dead_letter(NULL, 'x');
SELECT auction.discard_dead_letter(1, NULL);
SELECT auction.discard_dead_letter(1, '');
SELECT auction.discard_dead_letter(230000, 'x');
SELECT auction.lift_quarantine(NULL, 'x');
SELECT auction.lift_quarantine(23001, NULL);
SELECT auction.lift_quarantine(23001, '');
SELECT auction.lift_quarantine(230000, 'x');
SELECT auction.lift_quarantine(23001, 'x');
-- a dead letter of an auction that is not there can only be given up
INSERT INTO auction.dead_letters (lane_id, position, auction_id, record, sqlstate, message)
VALUES (1, 999999999, 230000, 'x', '23503', 'x');
SELECT auction.retry_dead_letter(id) FROM auction.dead_letters WHERE auction_id = 230000;
SELECT auction.discard_dead_letter(id, 'x') FROM auction.dead_letters WHERE auction_id = 230000;
SELECT settled FROM auction.dead_letters WHERE auction_id = 230000;

--
-- A quarantine is lifted when the tables agree, and not before.
--
UPDATE auction._state SET status = 'q', quarantined_from = status, reason = 'x',
	price = 7 WHERE auction_id = 23001;
SELECT auction.lift_quarantine(23001, 'looked at it');
UPDATE auction._state SET price = 1700 WHERE auction_id = 23001;
-- in the log of repairs is who has logged in
CREATE ROLE regress_auction_repair SUPERUSER;
SET ROLE regress_auction_repair;
SELECT auction.lift_quarantine(23001, 'looked at it');
RESET ROLE;
DROP ROLE regress_auction_repair;
SELECT status, reason FROM auction.standings WHERE id = 23001;
SELECT what, auction_id, lane_id, reason, by_role = session_user AS by_me
FROM auction.repair_log WHERE auction_id = 23001;
SELECT accepted, bid_no FROM auction.place_bid(23001, 9, 1800);
-- one that is closed is closed again, and goes on to history
BEGIN;
SELECT auction.close_auction(23001);
UPDATE auction._state SET status = 'q', quarantined_from = status, reason = 'x'
WHERE auction_id = 23001;
SELECT auction.lift_quarantine(23001, 'looked at it again');
COMMIT;
SELECT finished(23001);
SELECT * FROM auction.audit(23001);
SELECT relname, has_table_privilege('public', oid, 'SELECT') AS may
FROM pg_class WHERE oid = 'auction.repair_log'::regclass;
SELECT p.oid::regprocedure AS function, has_function_privilege('public', p.oid, 'EXECUTE') AS may
FROM pg_proc p WHERE pronamespace = 'auction'::regnamespace
	AND proname IN ('audit', 'skip_gap', 'rebuild_redis', 'retry_dead_letter', 'discard_dead_letter', 'lift_quarantine') ORDER BY 1;

-- What comes next finds no server attached.
SELECT count(auction.cancel_auction(id, 'x')) FROM auction.standings
WHERE route = 'redis' AND status = 'open' AND id BETWEEN 23001 AND 23107;
SELECT finished(VARIADIC ARRAY(SELECT id FROM auction.standings
	WHERE route = 'redis' AND id BETWEEN 23001 AND 23107));
SELECT auction.detach_redis('repair');
DROP SERVER repair;
