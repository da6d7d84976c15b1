# What a role may do that is no superuser: every table, function, setting,
# server option and user mapping there is, asked of the catalog, so that what
# is added without a thought of it fails here. And what ends up where it must
# not: passwords in logs, junk as code, objects of others in place of ours.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = 'swordfish0815';
my $node = new_node('security', conf => <<'CONF');
auction.overload_timeout = '3s'
log_statement = all
CONF
my $redis = start_redis();
$redis->cli('CONFIG', 'SET', 'requirepass', $secret);

sub sql { return $node->safe_psql('postgres', @_); }

# As another role; (SQLSTATE, output).
sub as
{
	my ($role, $query) = @_;
	my ($ret, $out, $err) = ask($node, 'postgres',
		"SET ROLE $role;\n\\set VERBOSITY sqlstate\n$query");

	return ('', $out) if $ret == 0;
	return ($err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err, $out);
}

sub denied
{
	my ($role, $query, $what) = @_;
	my ($state) = as($role, $query);

	return is($state, '42501', "$role: $what");
}

# Those of the statements that are not denied; each is tried on its own. That
# a view cannot be written by anybody (55000) is as good.
sub not_denied
{
	my ($role, @queries) = @_;
	my $script = "SET client_min_messages = error;\n";

	foreach my $query (@queries)
	{
		(my $literal = $query) =~ s/'/''/g;
		$script .= "SELECT pg_temp.try('$role', '$literal');\n";
	}
	my $out = sql(<<"SQL" . $script);
CREATE FUNCTION pg_temp.try(role text, command text) RETURNS text
LANGUAGE plpgsql AS \$\$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE command;
	RAISE invalid_authorization_specification USING MESSAGE = 'it did';
EXCEPTION
	WHEN insufficient_privilege THEN RETURN NULL;
	WHEN object_not_in_prerequisite_state THEN
		RETURN CASE WHEN SQLERRM !~ '^cannot .* view' THEN command END;
	WHEN OTHERS THEN RETURN command || ': ' || SQLSTATE || ' ' || SQLERRM;
END \$\$;
SQL
	return grep { $_ ne '' } split /\n/, $out;
}

# ---- Redis with a password ----

my $socket = $redis->socket;
sql(<<"SQL");
SET log_statement = none;
CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis OPTIONS (host '$socket');
CREATE USER MAPPING FOR PUBLIC SERVER redis1 OPTIONS (password '$secret');
SELECT auction.attach_redis('redis1', 1);
CREATE ROLE nobody LOGIN;
CREATE ROLE app LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
GRANT EXECUTE ON FUNCTION auction.place_bid TO app;
GRANT SELECT ON auction.bids, auction.standings TO app;
SQL
wait_lanes($node, 'postgres', 'normal');
my $on_redis = new_auction($node, 'postgres', route => "'redis'");
my $on_table = new_auction($node, 'postgres', route => "'table'");

# ---- the application does its work ----

foreach my $id ($on_redis, $on_table)
{
	is((as('app', "SELECT accepted FROM auction.place_bid($id, 7, 100)"))[1],
		't', "app: bids on auction $id");
}
wait_applied($node, 'postgres');
is((as('app', 'SELECT count(*) FROM auction.bids'))[1], '2', 'app: reads bids');
is((as('app', 'SELECT count(*), sum(price) FROM auction.standings'))[1],
	'2|200', 'app: reads standings');
is((as('app', "SET auction.overload_timeout = '2s'; SELECT 1"))[0], '',
	'app: its own patience is its own affair');

# ---- and nothing else: tables ----

my @relations = split /\n/, sql(<<'SQL');
SELECT c.relname || ' ' || c.relkind::text FROM pg_class c
WHERE c.relnamespace = 'auction'::regnamespace
 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1
SQL
cmp_ok(scalar(@relations), '>', 25, scalar(@relations) . ' relations');
my %readable = map { $_ => 1 } qw(bids standings);
foreach my $role ('nobody', 'app')
{
	my @queries;

	foreach (@relations)
	{
		my ($name, $kind) = split / /;
		my $relation = "auction.$name";

		if ($kind eq 'S')
		{
			push @queries, "SELECT nextval('$relation')",
			  "SELECT setval('$relation', 1)", "SELECT * FROM $relation";
			next;
		}
		push @queries, "SELECT * FROM $relation LIMIT 1",
		  "LOCK TABLE $relation IN ACCESS SHARE MODE"
		  if $role eq 'nobody' || !$readable{$name};
		push @queries, "DELETE FROM $relation",
		  "INSERT INTO $relation DEFAULT VALUES",
		  "SELECT 1 FROM $relation FOR UPDATE";
		push @queries, "TRUNCATE $relation", "ALTER TABLE $relation OWNER TO $role"
		  if $kind eq 'r' || $kind eq 'p';
		push @queries, "DROP TABLE $relation" if $kind eq 'r';
		push @queries, "CREATE RULE x AS ON INSERT TO $relation DO INSTEAD NOTHING";
	}
	my @bad = not_denied($role, @queries);
	is("@bad", '', "$role: " . scalar(@queries) . ' statements on tables are denied');
}

# ---- functions ----

my %open = map { $_ => 1 } qw(_least_bid rollout_bucket);
my @functions = split /\n/, sql(<<'SQL');
SELECT p.proname, p.prokind, p.oid::regprocedure,
	(SELECT coalesce(string_agg(format('(SELECT NULL::%s OFFSET 0)',
			format_type(t, NULL)), ', ' ORDER BY n), '')
	 FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n)
	 WHERE n <= pronargs - pronargdefaults),
	p.prosecdef, coalesce(array_to_string(p.proconfig, ';'), '')
FROM pg_proc p WHERE p.pronamespace = 'auction'::regnamespace ORDER BY 3
SQL
cmp_ok(scalar(@functions), '>', 50, scalar(@functions) . ' functions');
my (@calls, @grants, @loose);
foreach (@functions)
{
	my ($name, $kind, $signature, $arguments, $definer, $config) = split /\|/, $_, -1;

	push @loose, $signature
	  if $definer eq 't' && $config !~ /^search_path=pg_catalog, pg_temp(;|$)/;
	next if $open{$name};
	push @grants, $signature;
	next if $arguments =~ /internal|trigger/;
	push @calls, "SELECT auction.$name($arguments)" if $kind eq 'f';
	# CALL takes no subquery, and does not look whether it is strict
	push @calls, "CALL auction.$name("
	  . ($arguments =~ s/\(SELECT (.*?) OFFSET 0\)/$1/gr) . ')'
	  if $kind eq 'p';
}
is("@loose", '', 'every SECURITY DEFINER function fixes its search_path');
# history_export() has its caller's rights, and is to become part of his query.
is(sql(<<'SQL'), '', 'no function has a search_path of its own that others write');
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'auction'::regnamespace
 AND p.prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql'))
 AND p.prokind <> 'a' AND p.proname <> 'history_export' AND NOT ('search_path=pg_catalog, pg_temp' = ANY
	(coalesce(p.proconfig, '{}')))
SQL
is(sql("SELECT string_agg(f, ' ') FROM unnest(ARRAY['"
		  . join("','", map { s/'/''/gr } @grants)
		  . "']) f WHERE has_function_privilege('nobody', f, 'EXECUTE')"),
	'', 'nobody may execute nothing');
# Arguments from subqueries: a strict function of a constant NULL is not called.
my @bad = not_denied('nobody', @calls);
is("@bad", '', 'nobody: ' . scalar(@calls) . ' calls are denied');
@bad = not_denied('app', grep { !/\bplace_bid\(/ } @calls);
is("@bad", '', 'app: all but place_bid are denied');
is(sql(<<'SQL'), '', 'PUBLIC has nothing but names and what computes from its arguments');
SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(p.proacl,
	acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'auction'::regnamespace AND a.grantee = 0
 AND p.proname NOT IN ('_least_bid', 'rollout_bucket')
UNION ALL
SELECT NULL FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'auction'::regnamespace AND a.grantee = 0
SQL
denied('app', 'CREATE TABLE auction.mine (a int)', 'makes nothing in the schema');
denied('app',
	'CREATE FUNCTION auction.place_bid(int, int, int) RETURNS int'
	  . ' LANGUAGE sql AS $$ SELECT 1 $$', 'nor a function of ours');

# ---- who watches sees no secret and changes nothing ----

my %watched = map { $_ => 1 } split /\n/, sql(<<'SQL');
SELECT relname FROM pg_class WHERE relnamespace = 'auction'::regnamespace
 AND has_table_privilege('pg_monitor', oid, 'SELECT')
SQL
is(join(' ', grep { /^(journal|history|_state|dead_letters|auctions|bids)/ } sort keys %watched),
	'', 'pg_monitor reads no bids');
is(sql(<<'SQL'), '', '... and writes nothing');
SELECT relname FROM pg_class WHERE relnamespace = 'auction'::regnamespace
 AND relkind <> 'S'
 AND has_table_privilege('pg_monitor', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
SQL
unlike((as('watcher', 'SELECT * FROM auction.stat_lanes'))[1], qr/$secret/,
	'watcher: no password in stat_lanes');

# ---- settings ----

my %own = map { $_ => 1 } split /\n/,
  sql("SELECT name FROM pg_settings WHERE name LIKE 'auction.%'"
	  . " AND context = 'user'");
is(join(' ', sort grep { !/^auction\.(durability|move_rate|overload_timeout)$/ } keys %own),
	'', 'what a role sets for itself is about its own bids alone');
my @settings = split /\n/, sql("SELECT name, context FROM pg_settings"
	  . " WHERE name LIKE 'auction.%' AND context <> 'user'");
cmp_ok(scalar(@settings), '>', 15, scalar(@settings) . ' settings of the server');
foreach (@settings)
{
	my ($name, $context) = split /\|/;
	my ($state) = as('app', "SET $name TO DEFAULT");

	# 55P02: not now, whoever asks
	is($state, $context eq 'superuser' ? '42501' : '55P02',
		"app: does not set $name");
}
denied('app', 'ALTER SYSTEM SET auction.drain_rate = 1',
	'sets nothing for the server');
is((as('app', "SET auction.nonsense = 1"))[0], '42602',
	'app: makes up no setting');

# ---- server options and user mappings ----

foreach my $role ('nobody', 'app', 'watcher')
{
	denied($role,
		"CREATE SERVER mine FOREIGN DATA WRAPPER auction_redis"
		  . " OPTIONS (host '169.254.169.254', port '22')",
		'makes no server, so it makes ours connect nowhere');
	denied($role, "ALTER SERVER redis1 OPTIONS (SET host '127.0.0.1')",
		'changes no server');
	denied($role, 'DROP SERVER redis1', 'drops no server');
	denied($role,
		"CREATE USER MAPPING FOR $role SERVER redis1 OPTIONS (password 'x')",
		'maps itself to no password');
	denied($role,
		"ALTER USER MAPPING FOR PUBLIC SERVER redis1 OPTIONS (SET password 'x')",
		'changes no mapping');
	denied($role, 'SELECT * FROM pg_user_mapping', 'reads no mapping');
	is((as($role, 'SELECT umoptions FROM pg_user_mappings'))[1], '',
		"$role: sees no password in pg_user_mappings");
}
is((as('app', "SELECT auction.place_bid($on_redis, 8, 200)"))[0], '',
	'app: still bids');

# Who may make servers, a superuser has said so, sees what is wrong with his
# own; nobody else sees what the peer said.
sql('GRANT USAGE ON FOREIGN DATA WRAPPER auction_redis TO watcher');
is((as('watcher',
		"CREATE SERVER probe FOREIGN DATA WRAPPER auction_redis"
		  . " OPTIONS (host '127.0.0.1', port '22')"))[0],
	'', 'who may use the wrapper makes a server');
denied('watcher', "SELECT auction.attach_redis('probe')",
	'lets nobody connect to it');
sql('DROP SERVER probe; REVOKE USAGE ON FOREIGN DATA WRAPPER auction_redis FROM watcher');

# ---- no secret where it can be read ----

sql(<<"SQL");
SET log_statement = none;
ALTER USER MAPPING FOR PUBLIC SERVER redis1 OPTIONS (SET password 'Wrong$secret');
SQL
wait_lanes($node, 'postgres', 'degraded');
poll_until($node, 'postgres',
	"SELECT redis_error LIKE '%AUTH%' FROM auction.stat_lanes");
my $seen = sql('SELECT * FROM auction.stat_lanes')
  . sql('SELECT * FROM auction.health()')
  . sql('SELECT * FROM pg_stat_activity')
  . sql('SELECT * FROM auction.stat_workers');
unlike($seen, qr/$secret/, 'no view has the password');
sql("SET log_statement = none;\n"
	  . "ALTER USER MAPPING FOR PUBLIC SERVER redis1 OPTIONS (SET password '$secret')");
wait_lanes($node, 'postgres', 'normal');
my ($ret, $out, $err) = ask($node, 'postgres',
	"SET log_statement = none; SET log_min_error_statement = panic;\n"
	  . "CREATE USER MAPPING FOR app SERVER redis1 OPTIONS (password '"
	  . $secret x 60 . "')");
isnt($ret, 0, 'a password that is too long is refused');
unlike($err, qr/ERROR.*$secret/, '... and not repeated by the error');
unlike(slurp_file($node->logfile), qr/$secret/, 'nor has the server log it');

# ---- junk is data ----

my @junk = (
	"'; DROP TABLE auction.journal; --",
	'$1 %s %n \\x00 \\',
	"line\r\nFLUSHALL\r\n*1\r\n\$8\r\nSHUTDOWN\r\n",
	"\x{7f}\x{1}\x{1b}[2J",
	'}:log', "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", '"},{"x":["', ' ');
my ($bids, $amount) = (0, 1000);
foreach my $junk (@junk)
{
	my $literal = join '', map { sprintf '\\%03o', ord } split //, $junk;
	# E'' takes the bytes as they are
	foreach my $id ($on_redis, $on_table)
	{
		$amount += 10;
		is( sql("SELECT accepted FROM auction.place_bid($id, 9, $amount, NULL,"
				  . " jsonb_build_object('x', E'$literal'))"),
			't', "auction $id: a bid with junk in its attributes");
	}
	is(sql("UPDATE auction.auctions SET title = E'$literal' WHERE id = $on_redis"
			  . " RETURNING title = E'$literal'"), 't', '... and in the title');
	$bids++;
}
wait_applied($node, 'postgres');
foreach my $id ($on_redis, $on_table)
{
	my @found = split /\n/, sql("SELECT encode(convert_to(attributes->>'x', 'UTF8'), 'hex')"
		  . " FROM auction.bids WHERE auction_id = $id AND attributes IS NOT NULL"
		  . ' ORDER BY bid_no');
	is("@found", join(' ', map { unpack 'H*', $_ } @junk),
		"auction $id: it is there as it was");
}
is(sql("SELECT auction.cancel_auction($on_table, E'" . q{\'; DROP TABLE x; --\r\n} . "')"),
	't', 'junk as a reason');
is(sql("SELECT reason = E'" . q{\'; DROP TABLE x; --\r\n} . "' FROM auction.standings"
		  . " WHERE id = $on_table"), 't', '... is what is read');
isnt(sql_error($node, 'postgres', "SELECT auction.place_bid($on_redis, 9, 99999, NULL,"
	  . " to_jsonb(repeat('x', 1000000)))"), '', 'a megabyte of attributes is refused');
foreach my $bad ("'NaN'::float8", '-1', "'9007199254740992'", "'-0.0'::numeric - 1",
	"'Infinity'::float8", "1e300::numeric", "'1' || chr(0)")
{
	isnt(sql_error($node, 'postgres',
			"SELECT auction.place_bid($on_redis, 9, ($bad)::bigint)"),
		'', "amount $bad: refused");
}
is(sql_error($node, 'postgres',
		"SELECT auction.place_bid($on_redis, 9, 99999, NULL, E'\"\\xff\"'::jsonb)"),
	'22021', 'bytes that are no text are refused');
is(sql("SELECT auction.place_bid($on_redis, 9, 100000)") =~ /^\(t,/, 1,
	'and bids go on');

# ---- objects of others ----

# Operators and functions on the path of who bids, with hearts of stone.
sql(<<'SQL');
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO app;
SQL
is((as('app', <<"SQL"))[1], 't', 'hostile operators on the path are not asked');
CREATE FUNCTION evil.eq(bigint, bigint) RETURNS bool LANGUAGE plpgsql AS
	'BEGIN RAISE ''evil''; END';
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS
	'BEGIN RAISE ''evil''; END';
CREATE FUNCTION evil.coalesce(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
	'BEGIN RAISE ''evil''; END';
CREATE TEMP TABLE _state (auction_id bigint, route "char");
CREATE TEMP TABLE journal (auction_id bigint);
SET search_path = evil, pg_temp, pg_catalog;
SELECT accepted FROM auction.place_bid($on_redis, 10, 200000);
SQL
is((as('app', <<"SQL"))[1], '1', '... nor when the views are read');
SET search_path = evil, pg_temp, pg_catalog;
SELECT pg_catalog.count(*) FROM auction.standings
WHERE price OPERATOR(pg_catalog.=) 200000;
SQL

# CREATE EXTENSION takes over nothing that is there already.
$node->safe_psql('postgres', 'CREATE DATABASE taken');
$node->safe_psql('taken', <<'SQL');
CREATE SCHEMA auction AUTHORIZATION app;
SQL
is(sql_error($node, 'taken', 'CREATE EXTENSION auction'), '42501',
	'a schema of that name that belongs to somebody else is not used');
$node->safe_psql('taken', 'DROP SCHEMA auction; CREATE SCHEMA auction;'
	  . ' CREATE FUNCTION auction.place_bid(int) RETURNS int LANGUAGE sql'
	  . " AS 'SELECT 1'");
is(sql_error($node, 'taken', 'CREATE EXTENSION auction'), '42P06',
	'nor one that has objects in it');
$node->safe_psql('taken', 'DROP FUNCTION auction.place_bid(int);'
	  . ' CREATE EXTENSION auction');
is($node->safe_psql('taken', 'SELECT count(*) FROM auction.auctions'), '0',
	'an empty one of the installing role is');

$node->stop;
$redis->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'nothing worse in the log');

done_testing();
