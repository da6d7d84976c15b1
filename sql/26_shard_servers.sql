-- auction.add_shard_server() without a second server: who may call it, and
-- what it refuses before it has spoken to anybody. The rest is in
-- test/tap/080_shard_servers.pl.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
CREATE EXTENSION postgres_fdw;
CREATE ROLE regress_auction_shards;

SELECT auction.add_shard_server(NULL);
SELECT auction.add_shard_server('nowhere');
CREATE SERVER a_redis FOREIGN DATA WRAPPER auction_redis;
SELECT auction.add_shard_server('a_redis');
CREATE SERVER shard1 FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '/nonexistent', port '5432');
SELECT auction.attach_redis('shard1');

-- rights
SET ROLE regress_auction_shards;
SELECT auction.add_shard_server('shard1');
SELECT * FROM auction.shard_servers;
RESET ROLE;
GRANT EXECUTE ON FUNCTION auction.add_shard_server TO regress_auction_shards;
SET ROLE regress_auction_shards;
SELECT auction.add_shard_server('shard1');
RESET ROLE;
BEGIN READ ONLY;
SELECT auction.add_shard_server('shard1');
ROLLBACK;

-- the message names the user that runs the tests
\set VERBOSITY sqlstate
SELECT auction.add_shard_server('shard1');
\set VERBOSITY default
CREATE USER MAPPING FOR PUBLIC SERVER shard1 OPTIONS (user 'nobody');
SELECT auction.add_shard_server('shard1');

-- whoever owns the server says where we go, and needs a password for it
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO regress_auction_shards;
ALTER SERVER shard1 OWNER TO regress_auction_shards;
SELECT auction.add_shard_server('shard1');
ALTER USER MAPPING FOR PUBLIC SERVER shard1 OPTIONS (ADD password '');
SELECT auction.add_shard_server('shard1');
SET ROLE regress_auction_shards;
ALTER USER MAPPING FOR PUBLIC SERVER shard1
	OPTIONS (ADD password_required 'false');
RESET ROLE;
ALTER USER MAPPING FOR PUBLIC SERVER shard1 OPTIONS (SET password 'secret');
\set VERBOSITY sqlstate
SELECT auction.add_shard_server('shard1');
\set VERBOSITY default

-- what libpq refuses at once
ALTER SERVER shard1 OPTIONS (SET port 'http');
SELECT auction.add_shard_server('shard1');

-- nothing has been left
SELECT * FROM auction.shard_servers;
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'shard1';
-- it is like any other server
ALTER SERVER shard1 RENAME TO shard2;
DROP SERVER shard2 CASCADE;

DROP EXTENSION postgres_fdw CASCADE;
DROP SERVER a_redis;
REVOKE EXECUTE ON FUNCTION auction.add_shard_server FROM regress_auction_shards;
DROP ROLE regress_auction_shards;
