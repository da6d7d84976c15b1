-- What CREATE EXTENSION makes, who may use it, and that DROP takes it all.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS auction;
CREATE EXTENSION auction;

SELECT extversion, extrelocatable, extnamespace::regnamespace
FROM pg_extension WHERE extname = 'auction';

-- Its objects.
SELECT pg_describe_object(d.classid, d.objid, 0) AS object
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE e.extname = 'auction' AND d.refclassid = 'pg_extension'::regclass
	AND d.deptype = 'e'
	AND d.classid <> 'pg_type'::regclass
ORDER BY pg_describe_object(d.classid, d.objid, 0) COLLATE "C";

-- Functions: what may be done with them where.
SELECT p.oid::regprocedure AS function, p.provolatile, p.proparallel,
	p.proisstrict AS strict, p.prosecdef AS definer, p.proconfig
FROM pg_proc p
WHERE p.pronamespace = 'auction'::regnamespace
	AND p.prorettype <> 'trigger'::regtype
ORDER BY p.proname COLLATE "C";

-- A function that runs with its owner's rights must fix its search_path.
SELECT p.oid::regprocedure
FROM pg_proc p
WHERE p.pronamespace = 'auction'::regnamespace AND p.prosecdef
	AND p.proconfig IS NULL;

-- Nothing is open to everybody but the schema's names, the types, and what the
-- view standings computes with.
SELECT c.oid::regclass FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'auction'::regnamespace AND a.grantee = 0;
SELECT p.oid::regprocedure
FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'auction'::regnamespace AND a.grantee = 0
ORDER BY p.proname COLLATE "C";

-- Every public object has a comment; the names that begin with _ and what
-- belongs to a table are internal.
SELECT c.oid::regclass::text AS without_comment
FROM pg_class c
WHERE c.relnamespace = 'auction'::regnamespace
	AND c.relkind IN ('r', 'p', 'v', 'c') AND NOT c.relispartition
	AND c.relname NOT LIKE '\_%'
	AND coalesce(obj_description(c.oid, 'pg_class'),
		obj_description(c.reltype, 'pg_type')) IS NULL
UNION ALL
SELECT p.oid::regprocedure::text
FROM pg_proc p
WHERE p.pronamespace = 'auction'::regnamespace
	AND p.proname NOT LIKE '\_%'
	AND obj_description(p.oid, 'pg_proc') IS NULL;

-- pg_dump takes the rows of these.
SELECT c.oid::regclass AS dumped
FROM pg_extension e, unnest(e.extconfig, e.extcondition) x(relid, condition)
	JOIN pg_class c ON c.oid = x.relid
WHERE e.extname = 'auction'
ORDER BY c.relname COLLATE "C";

-- ... which is every table and sequence but those that have no rows (history
-- has its partitions for that), the notes of what Redis is to be shown again,
-- and what write_hotspots() counts.
SELECT c.oid::regclass AS not_dumped
FROM pg_class c
WHERE c.relnamespace = 'auction'::regnamespace
	AND c.relkind IN ('r', 'p', 'S')
	AND NOT EXISTS (SELECT FROM pg_extension e
		WHERE e.extname = 'auction' AND c.oid = ANY (e.extconfig))
ORDER BY c.relname COLLATE "C";

-- Each partition of history has its key.
SELECT count(*) AS partitions,
	count(*) FILTER (WHERE EXISTS (SELECT FROM pg_index x
		WHERE x.indrelid = i.inhrelid AND x.indisunique)) AS with_key
FROM pg_inherits i WHERE i.inhparent = 'auction.history'::regclass;

DROP EXTENSION auction;
SELECT count(*) AS left_behind FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'auction');
CREATE EXTENSION auction;
