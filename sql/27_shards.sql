-- The shards of history, as far as no other server is needed.
SELECT count(*) FROM auction.shards;

-- bad input
SELECT auction.create_shards(0);
SELECT auction.create_shards(7);
SELECT auction.create_shards(2048);
SELECT auction.create_shards(NULL);


-- the first consolidation has made them
SELECT auction.create_shards();
SELECT string_agg(shard || '/' || modulus, ' ' ORDER BY shard) FROM auction.shards;

-- a shard's number is what PostgreSQL says
SELECT count(*) AS users, count(*) FILTER (WHERE satisfies_hash_partition(
	'auction.history'::regclass, m,
	(auction._shard_hash(u) & (m - 1))::int, u)) AS right_ones
FROM unnest(ARRAY[1, 2, 8, 64, 1024]) m,
	(SELECT generate_series(-500, 500)::bigint
	UNION ALL VALUES (9223372036854775807), (-9223372036854775808),
		(4294967296), (-4294967296), (2147483648)) u (u);

-- where there is nothing to move, and to
CALL auction.move_shard(8, NULL);
CALL auction.move_shard(-1, NULL);
CALL auction.move_shard(NULL, NULL);
CALL auction.move_shard(3, NULL);
CALL auction.move_shard(3, 'no_such_server');
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER no_shards FOREIGN DATA WRAPPER nothing;
CALL auction.move_shard(3, 'no_shards');
DROP FOREIGN DATA WRAPPER nothing CASCADE;
CALL auction.split_shard(8);
CALL auction.split_shard(NULL);
CALL auction.abort_move(3);
CALL auction.abort_move(NULL);
CALL auction.abort_move(3, NULL);
BEGIN;
CALL auction.split_shard(3);
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
CALL auction.split_shard(3);
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
CALL auction.split_shard(3);
RESET default_transaction_read_only;
SELECT * FROM auction.rebalance_plan();
SELECT * FROM auction.rebalance_plan('{}');
SELECT * FROM auction.rebalance_plan('{no_such_server}');
SELECT * FROM auction.rebalance_plan('{NULL}');
CALL auction.rebalance('{no_such_server}');
CALL auction.rebalance('{NULL}');
SELECT count(*) FROM auction._shard_moves;

-- a split keeps every bid, and its indexes serve
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
VALUES (27001, 0, now() + interval '1 day', 'table'),
	(27002, 0, now() + interval '1 day', 'table');
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(auction, n, n, NULL, NULL)::auction.bid_request
	FROM generate_series(27001, 27002) auction, generate_series(1, 200) n
	ORDER BY n, auction));
SELECT auction.close_auction(27001);
SELECT auction.consolidate(27001);
SELECT count(*), sum(amount) FROM auction.history WHERE auction_id = 27001;
CALL auction.split_shard(3);
CALL auction.split_shard(11);
SELECT string_agg(shard || '/' || modulus, ' ' ORDER BY shard) FROM auction.shards;
SELECT count(*), sum(amount) FROM auction.history WHERE auction_id = 27001;
SELECT count(*) AS misplaced FROM auction.history h JOIN auction.shards s
	ON h.tableoid = s.relation
WHERE auction._shard_hash(h.user_id) & (s.modulus - 1) <> s.shard;
SELECT s.shard, count(*) FILTER (WHERE i.indisunique) AS keys, count(*) AS indexes
FROM auction.shards s JOIN pg_index i ON i.indrelid = s.relation
GROUP BY 1 HAVING count(*) <> 3 OR count(*) FILTER (WHERE i.indisunique) <> 1;
-- nothing is left of it, nor of the CHECK that it needed
SELECT relname FROM pg_class
WHERE relnamespace = 'auction'::regnamespace AND relkind IN ('r', 'f')
	AND relname LIKE '\_history\_%';
SELECT count(*) FROM pg_constraint WHERE conname = 'of_shard';
SELECT count(*) FROM auction._shard_moves;
SELECT auction.close_auction(27002);
SELECT auction.consolidate(27002);
SELECT count(*), sum(amount) FROM auction.history WHERE auction_id IN (27001, 27002);
SELECT * FROM auction.verify_history(27001, 27002, deep => true);

-- what it would export, and what it removes
CALL auction.remove_history(NULL);
SELECT count(*) FROM auction.history_export(now())
WHERE auction_id IN (27001, 27002);
SELECT count(*) FROM auction.history_export('2000-01-01');
CALL auction.remove_history('2000-01-01');
SELECT count(*) FROM auction.bids WHERE auction_id IN (27001, 27002);
CALL auction.remove_history('infinity');
SELECT count(*) FROM auction.bids WHERE auction_id IN (27001, 27002);
SELECT count(*) FROM auction.history WHERE auction_id IN (27001, 27002);
SELECT id, status, price, leader_id, bid_count, removed_at IS NOT NULL AS removed
FROM auction.standings WHERE id IN (27001, 27002) ORDER BY id;
SELECT * FROM auction.audit(27001);
SELECT * FROM auction.verify_history(27001, 27002);
SELECT * FROM auction.top_bids(27001);
