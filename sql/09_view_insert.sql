-- INSERT INTO auction.bids in the shapes that applications and ORMs send.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, start_price,
	increment, route)
VALUES (9001, 1, '2020-01-01', '2099-01-01', 10, 1, 'table'),
	(9002, 1, '2020-01-01', '2099-01-01', 10, 1, 'table');

-- Row counts, RETURNING.
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9001, 7, 10);
\echo :ROW_COUNT
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (9001, 7, 11), (9001, 8, 12), (9002, 7, 10)
RETURNING auction_id, bid_no, user_id, amount, request_id, attributes, route;
\echo :ROW_COUNT
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (9001, 8, 13) RETURNING placed_at BETWEEN now() AND clock_timestamp()
	AS placed_now;

-- Columns in another order, an alias, an expression.
INSERT INTO auction.bids AS b (amount, user_id, auction_id)
VALUES (10 + 4, 7, 9001) RETURNING b.bid_no, b.amount * 2 AS twice;

-- INSERT .. SELECT: order as given; none at all.
INSERT INTO auction.bids (auction_id, user_id, amount)
SELECT 9001, 100 + i, 20 + i FROM generate_series(1, 5) i ORDER BY i;
INSERT INTO auction.bids (auction_id, user_id, amount)
SELECT 9001, 7, 1 WHERE false;

-- SQLAlchemy: casts and a quoted name in RETURNING.
INSERT INTO auction.bids (auction_id, user_id, amount, request_id, attributes)
VALUES (9001::BIGINT, 7::BIGINT, 30::BIGINT,
	'00000000-0000-0000-0000-000000009001'::UUID, '{"k": "v"}'::JSONB)
RETURNING auction.bids.bid_no;

-- Django: everything quoted, explicit nulls, more than one RETURNING column.
INSERT INTO "auction"."bids" ("auction_id", "bid_no", "user_id", "amount",
	"placed_at", "request_id", "attributes")
VALUES (9001, NULL, 7, 31, NULL, NULL, NULL)
RETURNING "auction"."bids"."auction_id", "auction"."bids"."bid_no";

-- ActiveRecord: a prepared statement with parameters, DEFAULT for the rest.
PREPARE record (bigint, bigint, bigint) AS
INSERT INTO "auction"."bids" ("auction_id", "user_id", "amount", "bid_no",
	"placed_at", "request_id", "attributes", "route")
VALUES ($1, $2, $3, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT)
RETURNING "bid_no";
EXECUTE record(9001, 7, 32);
EXECUTE record(9001, 8, 33);

-- JDBC with generated keys: RETURNING *; a generic plan.
SET plan_cache_mode = force_generic_plan;
PREPARE jdbc (int8, int8, int8) AS
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES ($1, $2, $3)
RETURNING *;
EXECUTE jdbc(9001, 7, 34) \gset
SELECT :auction_id, :bid_no, :user_id, :amount, :'route';
RESET plan_cache_mode;

-- Hibernate, Ecto: a null of an unknown type.
INSERT INTO auction.bids (auction_id, user_id, amount, request_id, attributes)
VALUES ('9001', '8', '35', NULL, NULL) RETURNING bid_no;

-- search_path instead of a qualified name.
SET search_path = auction, public;
INSERT INTO bids (auction_id, user_id, amount) VALUES (9001, 7, 36)
RETURNING bids.bid_no;
RESET search_path;

-- In a function, in a CTE.
DO $$
DECLARE
	no bigint;
BEGIN
	INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (9001, 8, 37) RETURNING bid_no INTO no;
	ASSERT no = 18, no;
END
$$;
WITH placed AS (
	INSERT INTO auction.bids (auction_id, user_id, amount)
	VALUES (9001, 7, 38), (9001, 8, 39) RETURNING bid_no, amount
)
SELECT sum(bid_no), sum(amount) FROM placed;

-- COPY, as text and as CSV.
COPY auction.bids (auction_id, user_id, amount, attributes) FROM stdin;
9001	7	40	{"from": "copy"}
9001	8	41	\N
\.
COPY auction.bids (auction_id, user_id, amount, request_id)
FROM stdin WITH (FORMAT csv);
9001,7,42,00000000-0000-0000-0000-000000009002
9001,8,43,
\.

-- A refused row: an error, and on route table none of the statement stays.
INSERT INTO auction.bids (auction_id, user_id, amount)
VALUES (9002, 7, 50), (9002, 8, 50), (9002, 9, 60);
COPY auction.bids (auction_id, user_id, amount) FROM stdin;
9002	7	70
9002	8	70
\.
SELECT bid_no, amount FROM auction.bids WHERE auction_id = 9002;
BEGIN;
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9002, 7, 80);
SAVEPOINT s;
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9002, 8, 80);
ROLLBACK TO s;
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9002, 8, 81)
RETURNING bid_no;
COMMIT;

-- A bid conflicts with nothing.
INSERT INTO auction.bids (auction_id, user_id, amount) VALUES (9002, 8, 90)
ON CONFLICT DO NOTHING RETURNING bid_no;

-- MERGE, where it takes views (from PostgreSQL 17 on), places bids, too.
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 170000 THEN
		INSERT INTO auction.bids (auction_id, user_id, amount)
		VALUES (9002, 7, 100);
	ELSE
		MERGE INTO auction.bids b USING (VALUES (9002, 7, 100)) v (id, who, n)
			ON b.auction_id = v.id AND b.amount = v.n
		WHEN NOT MATCHED THEN INSERT (auction_id, user_id, amount)
			VALUES (v.id, v.who, v.n);
	END IF;
END
$$;
SELECT bid_no, user_id, amount FROM auction.bids
WHERE auction_id = 9002 AND amount >= 100 ORDER BY bid_no;

-- What a view cannot do says so.
INSERT INTO auction.bids DEFAULT VALUES;
-- MERGE is refused by PostgreSQL up to 16, by the view from 17 on.
\set VERBOSITY sqlstate
MERGE INTO auction.bids b USING (VALUES (9002, 1)) v (id, no)
	ON b.auction_id = v.id
WHEN MATCHED THEN DELETE;
MERGE INTO auction.bids b USING (VALUES (9002, 1)) v (id, no)
	ON b.auction_id = v.id
WHEN MATCHED THEN UPDATE SET amount = 1;
\set VERBOSITY default
UPDATE auction.bids SET amount = 1 WHERE auction_id = 9002;
DELETE FROM auction.bids WHERE auction_id = 9002;

-- All of them, in order.
SELECT bid_no, user_id, amount, request_id, attributes
FROM auction.bids WHERE auction_id = 9001 ORDER BY bid_no;
