-- Options of auction_redis servers and user mappings: what is taken, what is
-- refused and with which hint. Nothing here stays attached.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;

-- every option, at its limits
CREATE SERVER s1 FOREIGN DATA WRAPPER auction_redis;
CREATE SERVER s2 FOREIGN DATA WRAPPER auction_redis OPTIONS (
	host '/run/redis/redis.sock', port '1', db '65535', prefix 'shop:eu-1_a.b',
	connect_timeout '1h', command_timeout '500ms');
ALTER SERVER s2 OPTIONS (SET host '::1', SET port '65535', SET db '0',
	SET connect_timeout '1', SET command_timeout '1.5s', DROP prefix);
ALTER SERVER s2 OPTIONS (SET host 'redis.example.com');
CREATE USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (password 'secret');
CREATE USER MAPPING FOR CURRENT_USER SERVER s1
	OPTIONS (username 'auction', password 'secret');

-- values
ALTER SERVER s1 OPTIONS (host '');
ALTER SERVER s1 OPTIONS (host 'two words');
ALTER SERVER s1 OPTIONS (host 'run/redis.sock');
SELECT '/' || repeat('x', 107) AS path, repeat('x', 256) AS name \gset
ALTER SERVER s1 OPTIONS (host :'path');
ALTER SERVER s1 OPTIONS (host :'name');
ALTER SERVER s1 OPTIONS (port '0');
ALTER SERVER s1 OPTIONS (port '65536');
ALTER SERVER s1 OPTIONS (port '6379.4');
ALTER SERVER s1 OPTIONS (port '-1');
ALTER SERVER s1 OPTIONS (port '99999999999999999999');
ALTER SERVER s1 OPTIONS (port '');
ALTER SERVER s1 OPTIONS (db '-1');
ALTER SERVER s1 OPTIONS (db 'main');
ALTER SERVER s1 OPTIONS (prefix '');
ALTER SERVER s1 OPTIONS (prefix 'a{b}');
ALTER SERVER s1 OPTIONS (prefix 'a b');
SELECT repeat('x', 41) AS prefix, repeat('x', 512) AS password \gset
ALTER SERVER s1 OPTIONS (prefix :'prefix');
ALTER SERVER s1 OPTIONS (connect_timeout '0');
ALTER SERVER s1 OPTIONS (connect_timeout '2h');
ALTER SERVER s1 OPTIONS (command_timeout '5 parsecs');
ALTER SERVER s1 OPTIONS (command_timeout '');
-- a secret is not quoted
ALTER USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (SET password '');
ALTER USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (SET password :'password');
ALTER USER MAPPING FOR CURRENT_USER SERVER s1 OPTIONS (SET username '');

-- names
ALTER SERVER s1 OPTIONS (prot '6379');
ALTER SERVER s1 OPTIONS (timeout '6379');
ALTER SERVER s1 OPTIONS (conect_timeout '1s');
ALTER SERVER s1 OPTIONS (port '1', port '2');
ALTER SERVER s1 OPTIONS (DROP port);
ALTER USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (user 'x');

-- the wrong object
ALTER SERVER s1 OPTIONS (password 'secret');
ALTER SERVER s1 OPTIONS (username 'auction');
ALTER USER MAPPING FOR PUBLIC SERVER s1 OPTIONS (port '6379');
ALTER FOREIGN DATA WRAPPER auction_redis OPTIONS (host 'localhost');
ALTER FOREIGN DATA WRAPPER auction_redis OPTIONS (nonsense 'x');
CREATE FOREIGN TABLE t (a int) SERVER s1;

-- attaching what cannot be attached
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER s3 FOREIGN DATA WRAPPER other;
SELECT auction.attach_redis('s3');
SELECT auction.attach_redis('nowhere');
SELECT auction.attach_redis('s1', 0);
SELECT auction.attach_redis('s1', 65);
-- more lanes than there is room; how many are free depends on the server
\set VERBOSITY sqlstate
SELECT auction.attach_redis('s1', 64);
\set VERBOSITY default
SELECT auction.detach_redis('s1');
SELECT auction.detach_redis('nowhere');
SELECT count(*) FROM auction.lanes WHERE server IN ('s1', 's3');

-- attached, and in the same transaction not any more: nothing starts
BEGIN;
SELECT auction.attach_redis('s1', 1);
SELECT lane, applied FROM auction.lanes WHERE server = 's1';
SELECT auction.attach_redis('s1', 1);
ROLLBACK;
BEGIN;
SELECT auction.attach_redis('s1', 1);
SAVEPOINT a;
DROP SERVER s1 CASCADE;
ROLLBACK TO a;
ALTER SERVER s1 RENAME TO s4;
ROLLBACK TO a;
SELECT auction.detach_redis('s1');
ALTER SERVER s1 RENAME TO s4;
DROP SERVER s4 CASCADE;
ROLLBACK;
BEGIN READ ONLY;
SELECT auction.attach_redis('s1', 1);
ROLLBACK;

DROP SERVER s1 CASCADE;
DROP SERVER s2;
DROP FOREIGN DATA WRAPPER other CASCADE;
