-- Retracting bids and cancelling auctions. Every rule on both routes: auction N
-- is on route table, N + 100 on route redis, and must come to the same.
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

-- Auctions of seller 1 that begin at 1000, in steps of 100.
CREATE FUNCTION sale(id int, kind text DEFAULT 'proxy',
	reserve bigint DEFAULT NULL, buy_now bigint DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, kind, starts_at, ends_at,
		start_price, increment, reserve_price, buy_now_price, route)
	VALUES (id, 1, kind, '2020-01-01', '2099-01-01', 1000, 100, reserve,
			buy_now, 'table'),
		(id + 100, 1, kind, '2020-01-01', '2099-01-01', 1000, 100, reserve,
			buy_now, 'redis');
$$;
-- The bid on both: what both are told is one row. amount NULL: buy now.
CREATE FUNCTION verdict(id int, user_id bigint, amount bigint)
RETURNS auction.bid_result LANGUAGE plpgsql AS $$
BEGIN
	IF amount IS NULL THEN
		RETURN auction.buy_now(id, user_id);
	END IF;
	RETURN auction.place_bid(id, user_id, amount);
END $$;
CREATE FUNCTION bid(id int, user_id bigint, amount bigint,
	OUT routes text, OUT accepted bool, OUT reason text, OUT bid_no bigint,
	OUT price bigint, OUT leader bigint, OUT reserve_met bool)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT string_agg(b.route, ', ' ORDER BY b.route), b.accepted, b.reason,
		b.bid_no, b.price, b.leader_id, b.reserve_met
	FROM unnest(ARRAY[id, id + 100]) a, verdict(a, user_id, amount) b
	GROUP BY b.accepted, b.reason, b.bid_no, b.price, b.leader_id,
		b.reserve_met;
$$;
-- The same for retract_bid().
CREATE FUNCTION retract(id int, bid_no bigint, reason text DEFAULT 'mistyped',
	OUT routes text, OUT price bigint, OUT leader bigint, OUT reserve_met bool)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT string_agg(a.route, ', ' ORDER BY a.route), r.price, r.leader_id,
		r.reserve_met
	FROM (VALUES (retract.id, 'table'), (retract.id + 100, 'redis')) a (id, route),
		auction.retract_bid(a.id, bid_no, reason) r
	GROUP BY r.price, r.leader_id, r.reserve_met;
$$;
-- What anybody may see of both; bids that are retracted have a minus.
CREATE FUNCTION seen(id int) RETURNS TABLE (routes text, over text,
	price bigint, leader bigint, least_bid bigint, winner bigint,
	count bigint, retracted bigint, bids text, top text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM auction.wait_applied('1min');
	RETURN QUERY
	SELECT string_agg(x.route, ', ' ORDER BY x.route), x.over, x.price,
		x.leader_id, x.least_bid, x.winner_id, x.bid_count, x.retracted_count,
		x.bids, x.top
	FROM (SELECT s.*,
			CASE WHEN s.status IN ('closed', 'consolidated') THEN 'closed'
				ELSE s.status END AS over,
			(SELECT string_agg(format('%s%s:%s',
				CASE WHEN b.retracted_at IS NULL THEN '' ELSE '-' END,
				b.user_id, b.amount), ' ' ORDER BY b.bid_no)
			FROM auction.bids b WHERE b.auction_id = s.id) AS bids,
			(SELECT string_agg(format('%s:%s', t.user_id, t.amount), ' '
				ORDER BY t.rank) FROM auction.top_bids(s.id) t) AS top
		FROM unnest(ARRAY[seen.id, seen.id + 100]) a, auction.standing(a) s) x
	GROUP BY x.over, x.price, x.leader_id, x.least_bid, x.winner_id,
		x.bid_count, x.retracted_count, x.bids, x.top;
END $$;
-- Until this transaction ends the steward does nothing: it waits for the lock
-- before it looks at anything.
CREATE FUNCTION hold_steward() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	LOCK TABLE auction._refresh IN ACCESS EXCLUSIVE MODE;
	FOR i IN 1..3000 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_locks l
			JOIN auction.stat_workers w ON w.pid = l.pid AND w.kind = 'steward'
			WHERE l.relation = 'auction._refresh'::regclass AND NOT l.granted);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
CREATE FUNCTION wait_finished(ids int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction.standings
			WHERE id = ANY (ids) AND consolidated_at IS NULL
			AND status <> 'quarantined');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
-- SQLSTATE and message of the error, if there is one.
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''));
END $$;

--
-- Price and leader become what they would be without the bid.
--
-- Proxy: 9 leads with 5000, 8 is second with 4000, then 7 with 3000.
SELECT sale(15001);
SELECT * FROM bid(15001, 7, 3000);
SELECT * FROM bid(15001, 8, 2000);
SELECT * FROM bid(15001, 9, 5000);
SELECT * FROM bid(15001, 8, 4000);
SELECT * FROM seen(15001);
-- The second's raise: 7 is second.
SELECT * FROM retract(15001, 4);
SELECT * FROM seen(15001);
-- The leader's only bid: 7 leads, 8 is second with 2000.
SELECT * FROM retract(15001, 3);
SELECT * FROM seen(15001);
-- Bids go on from there, numbers too.
SELECT * FROM bid(15001, 8, 2199);
SELECT * FROM bid(15001, 8, 2200);
SELECT * FROM seen(15001);
-- All but 8's: one bidder, the start price.
SELECT * FROM retract(15001, 1);
SELECT * FROM retract(15001, 5);
SELECT * FROM seen(15001);
-- The last one: as before the first bid, but for the number.
SELECT * FROM retract(15001, 2);
SELECT * FROM seen(15001);
SELECT * FROM bid(15001, 9, 1000);
SELECT * FROM seen(15001);
-- A retracted bid is not to be told from its amount, either: none above the
-- price. Each is marked with time and reason.
SELECT string_agg(auction_id::text, ', ' ORDER BY auction_id) AS auctions,
	bid_no, user_id, amount, retracted_at >= placed_at AS later, retract_reason
FROM auction.bids WHERE auction_id IN (15001, 15101)
GROUP BY bid_no, user_id, amount, retracted_at >= placed_at, retract_reason
ORDER BY bid_no;
SELECT string_agg(auction_id::text, ', ' ORDER BY auction_id) AS auctions,
	bid_no, user_id, amount, retracted_at IS NOT NULL AS retracted, retract_reason
FROM auction.journal WHERE auction_id IN (15001, 15101)
GROUP BY bid_no, user_id, amount, retracted_at IS NOT NULL, retract_reason
ORDER BY bid_no;

-- Open: the highest that is left.
SELECT sale(15002, 'open');
SELECT * FROM bid(15002, 7, 1000);
SELECT * FROM bid(15002, 8, 1100);
SELECT * FROM bid(15002, 7, 1500);
SELECT * FROM retract(15002, 1, 'a "reason"; '' of any text');
SELECT * FROM retract(15002, 3, 'x');
SELECT * FROM bid(15002, 9, 1199);
SELECT * FROM bid(15002, 9, 1200);
SELECT * FROM seen(15002);
SELECT bid_no, retract_reason FROM auction.bids
WHERE auction_id = 15102 AND retracted_at IS NOT NULL ORDER BY bid_no;
-- The time of the retraction is the auction's last.
SELECT id, last_at = (SELECT max(greatest(placed_at, retracted_at))
	FROM auction.bids b WHERE b.auction_id = id) AS same
FROM auction.standings WHERE id IN (15001, 15101, 15002, 15102) ORDER BY id;
SELECT * FROM retract(15002, 4);
SELECT id, last_at = (SELECT max(retracted_at)
	FROM auction.bids b WHERE b.auction_id = id) AS same
FROM auction.standings WHERE id IN (15002, 15102) ORDER BY id;

-- A raise: the bidder's bid before it counts again.
SELECT sale(15003), sale(15004);
SELECT * FROM bid(15003, 7, 2000);
SELECT * FROM bid(15003, 7, 9000);
SELECT * FROM bid(15003, 8, 5000);
SELECT * FROM retract(15003, 2);
SELECT * FROM seen(15003);
-- A tie: the other one leads, alone.
SELECT * FROM bid(15004, 7, 5000);
SELECT * FROM bid(15004, 8, 5000);
SELECT * FROM retract(15004, 1);
SELECT * FROM seen(15004);

-- A reserve is met no more; buy now is available again.
SELECT sale(15005, 'proxy', 2000, 5000), sale(15006, 'open', NULL, 5000);
SELECT * FROM bid(15005, 8, 1200);
SELECT * FROM bid(15005, 7, 2500);
SELECT * FROM bid(15005, 9, NULL);
SELECT * FROM retract(15005, 2);
SELECT id, reserve_met, buy_now_available FROM unnest(ARRAY[15005, 15105]) a,
	auction.standing(a) ORDER BY id;
SELECT * FROM bid(15005, 9, NULL);
SELECT * FROM bid(15006, 7, 1000);
SELECT * FROM bid(15006, 9, NULL);
SELECT * FROM retract(15006, 1);
SELECT * FROM bid(15006, 9, NULL);
SELECT * FROM seen(15006);

-- An end that was extended stays.
INSERT INTO auction.auctions (id, seller_id, ends_at, extend_window, extend_by,
	route)
VALUES (15007, 1, now() + interval '1 hour', '1 day', '1 day', 'table'),
	(15107, 1, now() + interval '1 hour', '1 day', '1 day', 'redis');
SELECT * FROM bid(15007, 7, 1000);
SELECT * FROM retract(15007, 1);
SELECT s.id, s.ends_at = b.placed_at + interval '24 hours' AS extended
FROM unnest(ARRAY[15007, 15107]) a, auction.standing(a) s
	JOIN auction.bids b ON b.auction_id = s.id ORDER BY s.id;

--
-- Transactions.
--
SELECT sale(15008);
SELECT * FROM bid(15008, 7, 3000);
SELECT * FROM bid(15008, 8, 5000);
BEGIN;
SELECT * FROM retract(15008, 2);
SELECT * FROM seen(15008);
ROLLBACK;
SELECT * FROM seen(15008);
SELECT * FROM bid(15008, 7, 4000);
SELECT auction.wait_applied('1min');
BEGIN;
SELECT * FROM retract(15008, 1);
SAVEPOINT s;
SELECT * FROM retract(15008, 2);
ROLLBACK TO s;
COMMIT;
SELECT * FROM seen(15008);
-- Several in one transaction, and a bid between them on route table. On route
-- redis that would wait for the transaction itself.
SELECT sale(15009);
SELECT * FROM bid(15009, 7, 3000);
BEGIN;
SELECT accepted, bid_no FROM auction.place_bid(15009, 8, 4000);
SELECT * FROM auction.retract_bid(15009, 1, 'x');
SELECT accepted, bid_no, price FROM auction.place_bid(15009, 9, 2000);
SELECT * FROM auction.retract_bid(15009, 2, 'x');
COMMIT;
BEGIN;
SELECT accepted, bid_no FROM auction.place_bid(15109, 8, 4000);
SELECT * FROM auction.retract_bid(15109, 1, 'x');
SAVEPOINT s;
SELECT accepted, bid_no, price FROM auction.place_bid(15109, 9, 2000);
ROLLBACK TO s;
SELECT auction.close_auction(15109);
ROLLBACK TO s;
COMMIT;
SELECT accepted, bid_no, price FROM auction.place_bid(15109, 9, 2000);
SELECT * FROM auction.retract_bid(15109, 2, 'x');
SELECT * FROM seen(15009);
-- What Redis shows is brought up to date, and the notes of it go.
DO $$ BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM auction._refresh);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT count(*) FROM auction._refresh;
SELECT * FROM seen(15009);

--
-- Closed: the auction stays closed, and somebody else wins, or nobody.
--
SELECT sale(15010), sale(15011, 'open', 2000, 5000),
	sale(15012, 'open', NULL, 5000);
SELECT * FROM bid(15010, 7, 3000);
SELECT * FROM bid(15010, 8, 4000);
SELECT * FROM bid(15010, 9, 5000);
SELECT * FROM bid(15011, 7, 1500);
BEGIN;
SELECT hold_steward();
SELECT auction.close_auction(15010), auction.close_auction(15110);
-- as if it were verified already
UPDATE auction._state SET verified_at = clock_timestamp()
WHERE auction_id IN (15010, 15110);
SELECT * FROM seen(15010);
SELECT * FROM retract(15010, 3);
SELECT id, status, verified_at FROM auction.standings
WHERE id IN (15010, 15110) ORDER BY id;
SELECT * FROM seen(15010);
-- Bought, and then it is the buy-now that is retracted.
SELECT * FROM bid(15011, 8, NULL);
SELECT * FROM seen(15011);
SELECT * FROM retract(15011, 2);
SELECT * FROM seen(15011);
SELECT * FROM bid(15012, 8, 9000);
SELECT * FROM seen(15012);
SELECT * FROM retract(15012, 1);
SELECT * FROM seen(15012);
COMMIT;
SELECT wait_finished('{15010, 15110, 15011, 15111, 15012, 15112}');
-- All verified, and the marks are in history.
SELECT * FROM seen(15010);
SELECT * FROM seen(15011);
SELECT * FROM seen(15012);
SELECT s.id, s.status, s.verified_at > max(b.retracted_at) AS verified, s.reason
FROM auction.standings s JOIN auction.bids b ON b.auction_id = s.id
WHERE s.id IN (15010, 15110, 15011, 15111, 15012, 15112)
GROUP BY s.id, s.status, s.verified_at, s.reason ORDER BY s.id;
SELECT auction_id, bid_no, user_id, amount, buy_now, retracted_at IS NOT NULL
	AS retracted, retract_reason
FROM auction.history
WHERE auction_id IN (15010, 15110, 15011, 15111) ORDER BY 1, 2;
-- Then it is too late.
SELECT try('SELECT auction.retract_bid(15010, 2, ''x'')');
SELECT try('SELECT auction.retract_bid(15110, 2, ''x'')');

-- An auction in which bids were retracted closes like any other.
SELECT sale(15013);
SELECT * FROM bid(15013, 7, 3000);
SELECT * FROM bid(15013, 8, 4000);
SELECT * FROM retract(15013, 2);
SELECT * FROM bid(15013, 9, 2000);
SELECT auction.close_auction(15013), auction.close_auction(15113);
SELECT wait_finished('{15013, 15113}');
SELECT * FROM seen(15013);

--
-- Cancelling: no winner, no more bids; price and leader stay as they were.
--
SELECT sale(15014, 'open', NULL, 5000), sale(15015);
SELECT * FROM bid(15014, 7, 1000);
SELECT * FROM bid(15014, 8, 1200);
BEGIN;
SELECT auction.cancel_auction(15014, 'broken'),
	auction.cancel_auction(15114, 'broken');
SELECT * FROM seen(15014);
ROLLBACK;
SELECT * FROM seen(15014);
SELECT * FROM bid(15014, 7, 1300);
SELECT auction.wait_applied('1min');
SELECT auction.cancel_auction(15014, 'broken'),
	auction.cancel_auction(15114, 'broken');
SELECT auction.cancel_auction(15014, 'again'),
	auction.cancel_auction(15114, 'again');
SELECT * FROM seen(15014);
SELECT * FROM bid(15014, 9, 9000);
SELECT * FROM bid(15014, 9, NULL);
SELECT * FROM bid(15014, 1, 9000);
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (15014, 9, 9000)');
SELECT try('INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (15114, 9, 9000)');
SELECT auction.close_auction(15014), auction.close_auction(15114);
SELECT try('SELECT auction.retract_bid(15014, 1, ''x'')');
SELECT try('SELECT auction.retract_bid(15114, 1, ''x'')');
-- Its bids go to history, where they are seen as before; it stays cancelled.
SELECT wait_finished('{15014, 15114}');
SELECT * FROM seen(15014);
SELECT id, status, reason, closed_at IS NOT NULL AS closed,
	verified_at IS NOT NULL AS verified,
	consolidated_at IS NOT NULL AS consolidated, winner_id
FROM auction.standings WHERE id IN (15014, 15114) ORDER BY id;
SELECT (SELECT count(*) FROM auction.journal
		WHERE auction_id IN (15014, 15114)) AS journal,
	(SELECT count(*) FROM auction.history
		WHERE auction_id IN (15014, 15114)) AS history;
SELECT auction.cancel_auction(15014, 'again'),
	auction.cancel_auction(15114, 'again');
SELECT * FROM bid(15014, 9, 9000);
SELECT auction.consolidate(15014), auction.consolidate(15114);
SELECT auction.close_auction(15014), auction.close_auction(15114);
-- Its row can neither be changed nor removed.
SELECT try('UPDATE auction.auctions SET increment = 5 WHERE id = 15014');
SELECT try('UPDATE auction.auctions SET increment = 5 WHERE id = 15114');
SELECT try('DELETE FROM auction.auctions WHERE id = 15014');
SELECT try('DELETE FROM auction.auctions WHERE id = 15114');
UPDATE auction.auctions SET title = 'a broken vase' WHERE id IN (15014, 15114);
SELECT id, title, status FROM auction.standings WHERE id IN (15014, 15114)
ORDER BY id;
-- Without bids, or before it has begun.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (15016, 1, '2098-01-01', '2099-01-01', 'table'),
	(15116, 1, '2098-01-01', '2099-01-01', 'redis');
SELECT auction.cancel_auction(id, 'lost')
FROM unnest(ARRAY[15015, 15115, 15016, 15116]) id;
SELECT * FROM bid(15015, 7, 1000);
SELECT * FROM bid(15016, 7, 1000);
SELECT try('UPDATE auction.auctions SET increment = 5 WHERE id = 15016');
SELECT try('UPDATE auction.auctions SET increment = 5 WHERE id = 15116');

-- Closed: there was a winner, and is none any more; bought, too.
SELECT sale(15017), sale(15018, 'proxy', NULL, 5000);
SELECT * FROM bid(15017, 7, 3000);
BEGIN;
SELECT hold_steward();
SELECT auction.close_auction(15017), auction.close_auction(15117);
SELECT * FROM seen(15017);
SELECT auction.cancel_auction(15017, 'lost'), auction.cancel_auction(15117, 'lost');
SELECT * FROM seen(15017);
SELECT * FROM bid(15018, 7, NULL);
SELECT * FROM retract(15018, 1);
SELECT auction.cancel_auction(15018, 'lost'), auction.cancel_auction(15118, 'lost');
COMMIT;
-- In the caller's transaction it can be consolidated, too.
SELECT sale(15019);
SELECT * FROM bid(15019, 7, 3000);
BEGIN;
SELECT auction.cancel_auction(15019, 'lost'), auction.cancel_auction(15119, 'lost');
SELECT auction.consolidate(15019), auction.consolidate(15119);
SELECT * FROM seen(15019);
COMMIT;
SELECT wait_finished('{15015, 15115, 15016, 15116, 15017, 15117, 15018, 15118}');
SELECT string_agg(id::text, ' ' ORDER BY id) AS ids, status, reason, price,
	leader_id, winner_id, bid_count, retracted_count,
	consolidated_at IS NOT NULL AS consolidated
FROM auction.standings
WHERE id IN (15015, 15115, 15016, 15116, 15017, 15117, 15018, 15118, 15019,
	15119)
GROUP BY id % 100, status, reason, price, leader_id, winner_id, bid_count,
	retracted_count, consolidated_at IS NOT NULL
ORDER BY id % 100;

--
-- What is refused.
--
SELECT sale(15020);
SELECT * FROM bid(15020, 7, 3000);
SELECT * FROM bid(15020, 8, 2000);
SELECT * FROM retract(15020, 2);
SELECT id, try(format('SELECT auction.retract_bid(%s, %s, %L)', id, no, why))
FROM unnest(ARRAY[15020, 15120]) id,
	(VALUES (1, '2', 'x'), (2, '3', 'x'), (3, '0', 'x'), (4, '-1', 'x'),
		(5, '9223372036854775807', 'x'), (6, 'NULL', 'x'), (7, '1', NULL),
		(8, '1', '')) v (n, no, why)
ORDER BY id, n;
SELECT try('SELECT auction.retract_bid(15999, 1, ''x'')');
SELECT try('SELECT auction.retract_bid(NULL, 1, ''x'')');
SELECT try('SELECT auction.cancel_auction(15999, ''x'')');
SELECT try('SELECT auction.cancel_auction(NULL, ''x'')');
SELECT try('SELECT auction.cancel_auction(15020, NULL)');
SELECT try('SELECT auction.cancel_auction(15020, '''')');
SELECT try('SELECT auction.cancel_auction(15010, ''x'')');
SELECT try('SELECT auction.cancel_auction(15110, ''x'')');
BEGIN READ ONLY;
SELECT auction.retract_bid(15020, 1, 'x');
ROLLBACK;
BEGIN READ ONLY;
SELECT auction.cancel_auction(15020, 'x');
ROLLBACK;
-- Quarantined: somebody has to look first.
SELECT sale(15021);
SELECT * FROM bid(15021, 7, 3000);
UPDATE auction._state SET status = 'q', reason = 'test' WHERE auction_id = 15021;
SELECT try('SELECT auction.retract_bid(15021, 1, ''x'')');
SELECT try('SELECT auction.cancel_auction(15021, ''x'')');
UPDATE auction._state SET status = 'o', reason = NULL WHERE auction_id = 15021;
-- Nothing of this has changed anything.
SELECT * FROM seen(15020);
SELECT * FROM seen(15021);

DROP FUNCTION sale, verdict, bid, retract, seen, hold_steward, wait_finished, try;
