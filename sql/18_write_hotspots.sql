-- write_hotspots() in one session: what it refuses, what it shows when nobody
-- waits, who may call it. Waiting sessions are in test/tap/052_hotspots.pl.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

-- Bad input.
SELECT * FROM auction.write_hotspots(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM auction.write_hotspots(0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM auction.write_hotspots(-5);

-- Nobody waits and nothing is written: nothing is shown. What other sessions
-- write meanwhile is not this test's.
CREATE FUNCTION pg_temp.shown() RETURNS TABLE(kind text, name text,
	writes bigint, lock_waits bigint, wait_share numeric, waiting_avg numeric,
	waiting_now bigint, last_seen timestamptz, query_id bigint)
LANGUAGE sql AS $$
	SELECT kind, name, writes, lock_waits, wait_share, waiting_avg,
		waiting_now, last_seen, query_id
	FROM auction.write_hotspots(1000)
	WHERE kind <> 'table' OR name LIKE 'hot.%'
$$;
SELECT auction.write_hotspots_reset();
SELECT * FROM pg_temp.shown();
SELECT count(*) AS waiting FROM auction._waiting;

-- Writes are counted from the reset on.
CREATE SCHEMA hot;
CREATE TABLE hot.lots (id int PRIMARY KEY, price int);
CREATE TABLE hot."Unused" (id int);
INSERT INTO hot.lots SELECT i, 0 FROM generate_series(1, 10) i;
SELECT pg_stat_force_next_flush();
SELECT * FROM pg_temp.shown();
SELECT auction.write_hotspots_reset();
SELECT * FROM pg_temp.shown();
UPDATE hot.lots SET price = 1 WHERE id <= 3;
DELETE FROM hot.lots WHERE id = 10;
SELECT pg_stat_force_next_flush();
SELECT * FROM pg_temp.shown();
-- statistics that begin anew are not less than nothing
SELECT pg_stat_reset_single_table_counters('hot.lots'::regclass);
SELECT * FROM pg_temp.shown();
UPDATE hot.lots SET price = 2 WHERE id <= 2;
SELECT pg_stat_force_next_flush();
SELECT * FROM pg_temp.shown();

-- Samples as the steward writes them: their shares, the order, the limit, what
-- is dropped, what is a day old.
CREATE TABLE hot.gone (id int);
INSERT INTO auction._waits VALUES
	('hot.lots'::regclass, '(id)=(1)', 0, 'UPDATE lots', 'hot.lots', 60, 60000,
		'2100-01-01'),
	('hot.lots'::regclass, '(id)=(2)', 0, 'UPDATE lots', 'hot.lots', 10, 10000,
		'2100-01-02'),
	('hot.lots'::regclass, '', 77, 'SELECT f(?)', 'hot.lots', 5, 5000,
		'2100-01-03'),
	('hot.gone'::regclass, 'ctid (0,1)', 77, 'select f(?)', 'hot.gone', 20,
		20000, '2100-01-04'),
	(0, 'advisory lock 5', 0, 'x', '-', 5, 5000, '2100-01-05'),
	('hot.lots'::regclass, '(id)=(3)', 0, 'forgotten', 'hot.lots', 900, 900000,
		now() - interval '25 hours');
DROP TABLE hot.gone;
SELECT kind, name, lock_waits, wait_share, waiting_avg > 0 AS waited,
	waiting_now, last_seen, query_id
FROM auction.write_hotspots(1000) WHERE lock_waits > 0;
SELECT kind, name, lock_waits FROM auction.write_hotspots(1)
WHERE lock_waits > 0;
-- a reset that is rolled back
BEGIN;
SELECT auction.write_hotspots_reset();
SELECT count(*) FROM auction.write_hotspots(1000) WHERE lock_waits > 0;
ROLLBACK;
SELECT count(*) FROM auction.write_hotspots(1000) WHERE lock_waits > 0;
SELECT auction.write_hotspots_reset();
SELECT count(*) FROM auction.write_hotspots(1000) WHERE lock_waits > 0;

-- A statement without its constants.
SELECT auction._statement_shape(s) AS shape FROM unnest(ARRAY[
	'UPDATE  lots SET price = 17.5, "a 1" = ''it''''s'' WHERE id=$1 -- 12
	AND t2.x3 = 1e-5+.5-0x1F ;',
	E'SELECT E''\\''secret'', U&''x'', $$two $ $$, $a$ $$ $a$ /* id 7 */, 1::int4',
	'ALTER ROLE x PASSWORD ''cut',
	'SELECT $tag$ cut', '/* cut', '', '  ;; ', '$', '"cut',
	'SELECT ''' || repeat('x', 5000) || ''', y',
	repeat('ä', 200), repeat('ä', 201)]) s;

-- A row by its key, whatever its visibility; else by its place.
CREATE TABLE hot.pair (b text, x int, a int, PRIMARY KEY (a, b));
CREATE TABLE hot.keyless (x int);
CREATE TABLE hot.many (id int PRIMARY KEY) PARTITION BY HASH (id);
INSERT INTO hot.pair VALUES ('one', 1, 1), (repeat('ü', 200), 2, 2);
INSERT INTO hot.pair SELECT string_agg(md5(i::text), ''), 3, 3
FROM generate_series(1, 70) i;
INSERT INTO hot.keyless VALUES (1);
UPDATE hot.pair SET x = 9 WHERE a = 1;
SELECT r, auction._row_key(r, 0, t)
FROM unnest('{hot.pair, hot.keyless}'::regclass[]) r, unnest('{1, 2}'::int[]) t;
SELECT ctid, auction._row_key('hot.pair'::regclass, 0, 4) FROM hot.pair
WHERE a = 1;
-- no such place, table or row
SELECT auction._row_key('hot.pair'::regclass, 0, 0),
	auction._row_key('hot.pair'::regclass, 0, 2000),
	auction._row_key('hot.pair'::regclass, 99, 1),
	auction._row_key('hot.pair'::regclass, -1, 1),
	auction._row_key('hot.many'::regclass, 0, 1),
	auction._row_key('hot.pair_pkey'::regclass, 0, 1),
	auction._row_key(0, 0, 1), auction._row_key(NULL, 0, 1);

-- pg_stat_statements: in any schema, and not preloaded here.
CREATE SCHEMA hot_statements;
CREATE EXTENSION pg_stat_statements SCHEMA hot_statements;
INSERT INTO hot.lots VALUES (11, 1);
SELECT pg_stat_force_next_flush();
SELECT * FROM pg_temp.shown();
SELECT auction.write_hotspots_reset();
SELECT * FROM pg_temp.shown();
DROP EXTENSION pg_stat_statements;

-- Only members of pg_monitor may look, and through the functions alone.
CREATE ROLE regress_auction_watcher;
SET ROLE regress_auction_watcher;
SELECT * FROM auction.write_hotspots();
SELECT auction.write_hotspots_reset();
RESET ROLE;
GRANT pg_monitor TO regress_auction_watcher;
SET ROLE regress_auction_watcher;
SELECT count(*) >= 0 AS seen FROM auction.write_hotspots();
SELECT auction.write_hotspots_reset();
SELECT * FROM auction._waits;
SELECT * FROM auction._waiting;
SELECT * FROM auction._writes_before;
SELECT * FROM auction._waits_since;
SELECT * FROM auction._writes();
SELECT auction._row_key(0, 0, 1);
SELECT auction._statement_shape('x');
RESET ROLE;

DROP SCHEMA hot, hot_statements CASCADE;
DROP ROLE regress_auction_watcher;
