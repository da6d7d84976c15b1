-- auction.health(): a row for everything that is looked at, and who may look.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

-- Until launcher and steward are there, which CREATE EXTENSION has started.
DO $$
BEGIN
	WHILE EXISTS (SELECT FROM auction.health()
		WHERE item = 'worker' AND status <> 'ok')
	LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;

CREATE TEMP VIEW bad AS
SELECT item, object, status, finding, remedy FROM auction.health()
WHERE status <> 'ok';

-- No server is attached; the workers' number depends on other databases.
SELECT item, object, status,
	regexp_replace(finding, '\d+', 'N', 'g') AS finding, remedy
FROM auction.health()
WHERE item NOT IN ('dead letters', 'quarantined auctions');

-- Every row is of a known status, and has a remedy if it is not ok.
SELECT count(*) FROM auction.health()
WHERE item IS NULL OR finding IS NULL
	OR status NOT IN ('ok', 'warning', 'error')
	OR (status = 'ok') <> (remedy IS NULL);

-- An auction with which something is wrong, and a record that nobody could apply.
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (9101, 1, '2020-01-01', '2099-01-01', 'table');
BEGIN;
DELETE FROM auction.dead_letters;
UPDATE auction._state SET status = 'o' WHERE status = 'q';
SELECT * FROM bad;
UPDATE auction._state SET status = 'q', reason = 'x' WHERE auction_id = 9101;
INSERT INTO auction.dead_letters
	(lane_id, position, auction_id, record, sqlstate, message, at)
VALUES (1, 7, 9101, 'x', '22003', 'x', '2020-01-01 00:00:00+00');
SET LOCAL timezone = 'UTC';
SELECT * FROM bad;
ROLLBACK;
DELETE FROM auction.auctions WHERE id = 9101;

-- Members of pg_monitor may look; what it is made of stays closed to them.
CREATE ROLE regress_auction_watch;
SET ROLE regress_auction_watch;
SELECT * FROM auction.health();
RESET ROLE;
GRANT pg_monitor TO regress_auction_watch;
SET ROLE regress_auction_watch;
SELECT count(*) > 0 AS rows FROM auction.health();
SELECT * FROM auction._health_auctions();
SELECT * FROM auction.dead_letters;
RESET ROLE;
DROP ROLE regress_auction_watch;
