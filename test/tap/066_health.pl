# auction.health() finds what is wrong with the configuration of a Redis, within
# ten seconds of a change, says what to do, and sees that it was done; and what
# else is not as it should be while auctions are bid on.

use strict;
use warnings;

use AuctionTest;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('health');
my $redis = start_redis(
	conf => <<'CONF');
maxmemory 500mb
maxmemory-policy allkeys-lru
user narrow on >secret ~* &* +@all -zadd -publish
user blind on >secret ~* &* +@all -config -acl
CONF

sub sql { return $node->safe_psql('postgres', @_); }

# "status|finding" of an item; each has one row here.
sub row
{
	my ($item) = @_;
	return sql("SELECT status, finding FROM auction.health()"
		  . " WHERE item = '$item'");
}

# Tests: it becomes this, and has a remedy unless it is ok; how long it took.
sub becomes
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($item, $expected, $name) = @_;
	my $begin = time;

	poll_until($node, 'postgres', <<"SQL", $expected);
SELECT status || '|' || finding FROM auction.health()
WHERE item = '$item' AND (status = 'ok') = (remedy IS NULL)
SQL
	pass($name);
	return time - $begin;
}

sub config { return $redis->cli('CONFIG', 'SET', @_); }

is(row('redis connection'), 'ok|no server is attached', 'no server, no error');

# ---- attached with a bad configuration ----

attach($node, 'postgres', $redis);
my $id = new_auction($node, 'postgres', route => "'redis'");
becomes('maxmemory-policy', 'error|allkeys-lru', 'a policy that evicts');
like(slurp_file($node->logfile),
	qr/does not suit: maxmemory-policy: allkeys-lru/,
	'... is in the server log');
is(row('redis version') =~ /^ok\|\d+\.\d+\.\d+$/ ? 1 : 0, 1, 'the version');
is(row('redis rights'), 'ok|suffice', 'rights of the default user');
is(row('append-only file'), 'ok|written', 'an append-only file');
is(row('appendfsync'), 'ok|everysec', 'and how it is synced');

# ---- changed while it runs: found within ten seconds ----

my $longest = 0;
foreach (
	[
		'maxmemory-policy', 'noeviction', 'maxmemory-policy',
		'ok|noeviction', 'nothing is evicted any more'
	],
	[
		'appendfsync', 'no', 'appendfsync', 'warning|no', 'it is not synced'
	],
	[
		'appendfsync', 'always', 'appendfsync', 'ok|always', 'always synced'
	],
	[
		'no-appendfsync-on-rewrite',
		'yes',
		'no-appendfsync-on-rewrite',
		'error|yes: appendfsync always does not hold while a file is rewritten',
		'... but for rewrites'
	],
	[
		'no-appendfsync-on-rewrite', 'no', 'no-appendfsync-on-rewrite', 'ok|no',
		'... in rewrites, too'
	],
	[
		'appendonly', 'no', 'append-only file', 'error|no append-only file',
		'no append-only file, and an auction relies on it'
	],
	[
		'appendonly', 'yes', 'append-only file', 'ok|written',
		'an append-only file again'
	],
	[
		'min-replicas-to-write', '2', 'replicas', 'error|0 online, 2 needed',
		'fewer replicas than Redis itself demands'
	],
	[
		'min-replicas-to-write', '0', 'replicas', 'ok|0 online, 0 needed',
		'... demands no more'
	],)
{
	my ($parameter, $value, $item, $expected, $name) = @$_;

	config($parameter, $value);
	my $took = becomes($item, $expected, $name);
	$longest = $took if $took > $longest;
}
note("the longest took $longest s");

# ---- what the ACL allows ----

sql("CREATE USER MAPPING FOR PUBLIC SERVER redis1"
	  . " OPTIONS (username 'narrow', password 'secret')");
becomes(
	'redis rights',
	'error|not allowed: zadd, publish',
	'commands that the user may not call, before a script fails at them');
sql("ALTER USER MAPPING FOR PUBLIC SERVER redis1"
	  . " OPTIONS (SET username 'blind')");
becomes(
	'redis rights',
	'warning|not known: ACL DRYRUN is not allowed',
	'rights that it may not ask for are not known');
is( row('appendfsync'),
	'warning|not known: CONFIG GET is not allowed',
	'nor is the configuration');
is(row('maxmemory-policy'), 'ok|noeviction',
	'... but for what INFO tells everybody');

# The user that the README makes.
my $readme = slurp_file(
	dirname(dirname(dirname(abs_path(__FILE__)))) . '/README.md');
$readme =~ /`ACL SETUSER auction on >PASSWORD ([^`]*)`/
  or die 'the README has no ACL';
$redis->cli('ACL', 'SETUSER', 'auction', 'on', '>secret', split(" ", $1));
sql("ALTER USER MAPPING FOR PUBLIC SERVER redis1"
	  . " OPTIONS (SET username 'auction')");
becomes('redis rights', 'ok|suffice', "the README's ACL gives every right");
is(row('appendfsync'), 'ok|always', '... and lets the configuration be asked');
is( sql("SELECT accepted, durability FROM auction.place_bid($id, 7, 4)"),
	't|redis', '... and bids be confirmed');
sql('DROP USER MAPPING FOR PUBLIC SERVER redis1');
becomes('redis rights', 'ok|suffice', 'they do again');

# ---- connection, lane, drain ----

$redis->kill9;
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(CASE item
	WHEN 'redis connection' THEN status = 'error' AND
		finding LIKE 'not connected: could not connect%' AND remedy IS NOT NULL
	WHEN 'lane' THEN status = 'warning' AND finding LIKE 'degraded since %'
	ELSE true END)
FROM auction.health()
SQL
pass('Redis is away: connection and lane say so');
$redis->{conf} =~ s/allkeys-lru/noeviction/;
$redis->start;
poll_until($node, 'postgres', <<'SQL');
SELECT count(*) = 2 AND bool_and(status = 'ok') FROM auction.health()
WHERE item IN ('redis connection', 'lane')
SQL
pass('... and that it is back');

sql('SELECT auction.pause_drain()');
sql("SELECT auction.place_bid($id, 7, 5)");
is(row('drain'), 'warning|paused', 'a paused drain');
like(row('backlog'), qr/^ok\|1 records/, 'its backlog');
sql('SELECT auction.resume_drain()');
is(row('drain'), 'ok|applies', 'resumed');
wait_applied($node, 'postgres');

# Whoever reads it need not have any right on what it reads; who has none at all
# does not see what a Redis answers.
sql('CREATE ROLE watch LOGIN; GRANT pg_monitor TO watch; CREATE ROLE plain LOGIN');
is( $node->safe_psql(
		'postgres',
		"SELECT count(*) FROM auction.health() WHERE status <> 'ok'",
		extra_params => [ '-U', 'watch' ]),
	'0',
	'nothing is wrong in the end, as a member of pg_monitor sees');
my ($ret, $out, $err) = $node->psql(
	'postgres',
	'SELECT * FROM auction.health()',
	extra_params => [ '-U', 'plain' ]);
like($err, qr/permission denied for function health/, 'not for everybody');

# ---- without the library ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(row('library'), 'error|not preloaded', 'not preloaded');
is(row('lane'), 'error|not running', 'so no lane runs');
is(row('dead letters'), 'ok|none', 'the tables are looked at all the same');

done_testing();
