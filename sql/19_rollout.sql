-- Rollout by percentage, pins. Begins with a database of its own, so to speak.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS auction CASCADE;
CREATE EXTENSION auction;
SET auction.overload_timeout = '1min';

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
CREATE FUNCTION done() RETURNS bool LANGUAGE sql AS
	$$ SELECT wait_until('SELECT done_at IS NOT NULL FROM auction.rollout') $$;
CREATE FUNCTION enter(first int, last int, VARIADIC route text[] DEFAULT '{}')
RETURNS void LANGUAGE sql AS $$
	INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
	SELECT i, 1, '2020-01-01', '2099-01-01', route[1]
	FROM generate_series(first, last) i;
$$;
-- Open auctions per route; wrong: those that the rollout wants elsewhere.
CREATE VIEW groups AS
SELECT route, count(*), count(*) FILTER (WHERE route <> CASE
	WHEN auction.rollout_bucket(id, r.salt) < r.percent * 100 THEN 'redis'
	ELSE 'table' END) AS wrong
FROM auction.standings, auction.rollout r WHERE status = 'open'
GROUP BY 1 ORDER BY 1;

--
-- The hash: GrowthBook's own examples hash a text, ours an id.
--
SELECT auction.rollout_bucket(42, 'rollout') AS "7576",
	auction.rollout_bucket(42, 'autumn') AS "7256",
	auction.rollout_bucket(-1, 'rollout') AS "3928",
	auction.rollout_bucket(-9223372036854775808, 'rollout') AS "8075",
	auction.rollout_bucket(9223372036854775807, 'rollout') AS "3178",
	auction.rollout_bucket(42, '') BETWEEN 0 AND 9999 AS empty,
	auction.rollout_bucket(NULL, 'rollout') AS none,
	auction.rollout_bucket(42, NULL) AS no_salt;

--
-- Never set.
--
SELECT percent, salt, move_live, why, set_at, set_by, open, on_redis, pinned,
	to_move, moved, failed, per_second, time_left, done_at, guard_fired_at,
	guard_reason
FROM auction.rollout;
SELECT enter(1, 3);
SELECT * FROM groups;

--
-- What is refused.
--
CALL auction.set_rollout(20);	-- nothing is attached
CALL auction.set_rollout(NULL);
CALL auction.set_rollout(0, NULL);
CALL auction.set_rollout(-0.01);
CALL auction.set_rollout(100.01);
CALL auction.set_rollout(12.345);
CALL auction.set_rollout('NaN');
CALL auction.set_rollout('Infinity');
CALL auction.set_rollout(1e100);
CALL auction.set_rollout(0, true, '');
CALL auction.set_rollout(0, true, repeat('x', 101));
CALL auction.set_rollout(0, true, E'tab\t');
CALL auction.set_rollout(0, true, E'\x7f');
SELECT auction.pin_route(NULL, 'table');
SELECT auction.pin_route(1, NULL);
SELECT auction.pin_route(1, 'Redis');
SELECT auction.pin_route(99, 'table');
SELECT auction.pin_route(1, 'redis');	-- nothing is attached
SELECT auction.unpin_route(NULL);
SELECT auction.unpin_route(99);
BEGIN READ ONLY;
CALL auction.set_rollout(0);
ROLLBACK;
BEGIN READ ONLY;
CALL auction.roll_back();
ROLLBACK;
BEGIN READ ONLY;
SELECT auction.pin_route(1, 'table');
ROLLBACK;
BEGIN READ ONLY;
SELECT auction.unpin_route(1);
ROLLBACK;
SELECT count(*) AS nothing_done FROM auction._rollout, auction._pins;
\set VERBOSITY sqlstate
CALL auction.set_rollout(20);
CALL auction.set_rollout(NULL);
CALL auction.set_rollout(101);
CALL auction.set_rollout(0, salt => '');
SELECT auction.pin_route(1, NULL);
SELECT auction.pin_route(1, 'Redis');
SELECT auction.pin_route(99, 'table');
SELECT auction.pin_route(1, 'redis');
SELECT auction.unpin_route(99);
\set VERBOSITY default

--
-- Without a server: 0 can be set, pins to table, too; then one is attached.
--
CALL auction.set_rollout(0.00, salt => 'autumn');
SELECT done();
SELECT auction.pin_route(1, 'table') AS moved, auction.unpin_route(2) AS was;
DO $$ BEGIN
	EXECUTE format('CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis'
		' OPTIONS (host %L, prefix ''rollout'')',
		current_setting('auction_test.redis'));
	PERFORM auction.attach_redis('redis1', 2);
END $$;
SELECT wait_until($$SELECT bool_and(state = 'normal') FROM auction.stat_lanes$$);

--
-- New auctions and open ones. Auction 1 is pinned.
--
SELECT enter(4, 200);
CALL auction.set_rollout(20.5, salt => 'rollout');
SELECT done();
SELECT percent, salt, move_live, why, set_by = session_user AS by_me, open,
	on_redis, pinned, to_move, moved, failed, time_left, guard_fired_at
FROM auction.rollout;
SELECT enter(201, 400);
SELECT * FROM groups;
SELECT array_agg(id ORDER BY id) AS pinned FROM auction.standings
WHERE pinned IS NOT NULL;
-- a route that is named is the one it begins with
SELECT enter(401, 420, 'redis'), enter(421, 440, 'table');
SELECT route, count(*) FROM auction.standings WHERE id > 400 GROUP BY 1
ORDER BY 1;
-- ... until the next rollout, which has the salt of the one before
CALL auction.set_rollout(50);
SELECT done();
SELECT * FROM groups;
SELECT salt FROM auction.rollout;
-- who was in is still in
SELECT count(*) FROM auction.standings
WHERE auction.rollout_bucket(id, 'rollout') < 2050 AND route <> 'redis';

-- Bids are taken wherever they are.
SELECT r.accepted, r.route = s.route AS as_said, count(*)
FROM auction.standings s, auction.place_bid(s.id, 7, 100) r GROUP BY 1, 2;

--
-- move_live => false: open auctions stay.
--
CALL auction.set_rollout(10, move_live => false);
SELECT enter(501, 700);
SELECT percent, move_live, to_move, moved, done_at FROM auction.rollout;
SELECT id > 500 AS new, count(*) FILTER (WHERE route <> CASE
	WHEN auction.rollout_bucket(id, 'rollout') < 1000 THEN 'redis'
	ELSE 'table' END) > 0 AS wrong
FROM auction.standings WHERE pinned IS NULL GROUP BY 1 ORDER BY 1;

--
-- Pins. 1 is in bucket 6772, 3 in 86.
--
CALL auction.set_rollout(1);
SELECT done();
SELECT id, route, pinned FROM auction.standings WHERE id IN (1, 2, 3) ORDER BY 1;
SELECT auction.pin_route(1, 'redis') AS moved, auction.pin_route(2, 'redis') AS too;
SELECT auction.pin_route(1, 'redis') AS moved;	-- it is there
SELECT auction.pin_route(3, 'table') AS moved;
SELECT id, route, pinned FROM auction.standings WHERE id IN (1, 2, 3) ORDER BY 1;
CALL auction.roll_back();
SELECT done();
SELECT id, route, pinned FROM auction.standings WHERE route = 'redis' ORDER BY 1;
CALL auction.set_rollout(100);
SELECT done();
SELECT id, route, pinned FROM auction.standings WHERE route = 'table' ORDER BY 1;
-- a pin that is rolled back is none, nor is its move to redis
CALL auction.set_rollout(0);
SELECT done();
BEGIN;
SELECT auction.pin_route(5, 'redis');
SELECT id, route, pinned FROM auction.standings WHERE id = 5;
ROLLBACK;
SELECT id, route, pinned FROM auction.standings WHERE id = 5;
-- unpinned, it goes where the rollout wants it
SELECT auction.unpin_route(1) AS was, auction.unpin_route(1) AS no_more;
SELECT id, route, pinned FROM auction.standings WHERE id IN (1, 2, 3) ORDER BY 1;
CALL auction.set_rollout(10, move_live => false);
SELECT auction.unpin_route(3);
SELECT id, route, pinned FROM auction.standings WHERE id IN (1, 2, 3) ORDER BY 1;
CALL auction.set_rollout(10);
SELECT done();
SELECT auction.unpin_route(2);
SELECT * FROM groups;
-- one that is over cannot be pinned, but unpinned
SELECT auction.pin_route(6, 'table');
SELECT auction.close_auction(6);
SELECT wait_until('SELECT status = ''consolidated'' FROM auction.standings WHERE id = 6');
SELECT auction.pin_route(6, 'redis');
SELECT auction.unpin_route(6);
-- a removed auction takes its pin along
SELECT enter(701, 703);
SELECT count(auction.pin_route(i, 'table')) FROM generate_series(701, 703) i;
DELETE FROM auction.auctions WHERE id = 701;
SELECT auction_id, route FROM auction._pins ORDER BY 1;
BEGIN;
DELETE FROM auction.auctions WHERE id = 702;
ROLLBACK;
SELECT auction_id, route FROM auction._pins ORDER BY 1;

--
-- In a transaction: as committed.
--
CALL auction.set_rollout(0);
SELECT done();
BEGIN;
CALL auction.set_rollout(100);
SELECT enter(711, 711);
ROLLBACK;
SELECT enter(711, 711);
SELECT percent FROM auction.rollout;
SELECT route FROM auction.auctions WHERE id = 711;
BEGIN;
CALL auction.set_rollout(100);
SELECT enter(712, 712);
COMMIT;
SELECT route FROM auction.auctions WHERE id = 712;
SELECT done();

--
-- The log.
--
CALL auction.set_rollout(33.3, false, 'winter');
CALL auction.roll_back();
SELECT done();
SELECT why, by_role = session_user AS by_me, from_route, to_route, took, detail
FROM auction.route_log WHERE auction_id IS NULL ORDER BY id;
SELECT why, from_route, to_route, count(*) > 0 AS some, bool_and(took >= '0')
	AS took, bool_and(by_role = session_user) AS by_me
FROM auction.route_log WHERE auction_id IS NOT NULL GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

--
-- Privileges.
--
CREATE ROLE regress_auction_app;
CREATE ROLE regress_auction_watcher;
CREATE ROLE regress_auction_operator;
GRANT pg_monitor TO regress_auction_watcher;
GRANT INSERT ON auction.auctions TO regress_auction_app;
GRANT EXECUTE ON PROCEDURE auction.set_rollout, auction.roll_back
TO regress_auction_operator;
GRANT EXECUTE ON FUNCTION auction.pin_route, auction.unpin_route
TO regress_auction_operator;
SET ROLE regress_auction_app;
SELECT auction.rollout_bucket(42, 'rollout');
CALL auction.set_rollout(10);
CALL auction.roll_back();
SELECT auction.pin_route(2, 'table');
SELECT auction.unpin_route(2);
SELECT percent FROM auction.rollout;
SELECT * FROM auction._rollout;
SELECT * FROM auction._pins;
SET ROLE regress_auction_operator;
CALL auction.set_rollout(100);
SELECT count(auction.pin_route(2, 'table'));
SET ROLE regress_auction_app;
INSERT INTO auction.auctions (id, seller_id, ends_at) VALUES (720, 1, '2099-01-01');
SET ROLE regress_auction_watcher;
SELECT percent, set_by = session_user AS by_me FROM auction.rollout;
RESET ROLE;
SELECT route FROM auction.auctions WHERE id = 720;
SELECT auction.unpin_route(2);

-- Whatever is in front of pg_catalog.
CREATE TABLE pg_temp._rollout (number int);
SET search_path = pg_temp, pg_catalog;
CALL auction.roll_back();
RESET search_path;
SELECT done();

-- The server is detached: what a rollout wants on redis enters on table.
CALL auction.set_rollout(100, move_live => false);
SELECT auction.wait_applied();
SELECT auction.detach_redis('redis1');
SELECT enter(730, 732);
SELECT * FROM groups;
DROP TABLE pg_temp._rollout;
DROP OWNED BY regress_auction_app, regress_auction_operator;
DROP ROLE regress_auction_app, regress_auction_watcher, regress_auction_operator;
DROP VIEW groups;
DROP FUNCTION enter, done, wait_until;
DROP EXTENSION auction CASCADE;
CREATE EXTENSION auction;
