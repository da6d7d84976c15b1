# Servers: a changed option reaches the running router; names, passwords; two
# databases on one Redis; two Redis servers in one database.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('servers');

sub sql { return $node->safe_psql('postgres', @_); }

my $price = 0;

# "accepted|durability", or the SQLSTATE. The drain is held, so that Redis
# alone can have confirmed an accepted bid.
sub bid
{
	my ($db, $auction) = @_;

	$price++;
	my ($ret, $out, $err) = ask($node, $db, <<"SQL");
\\set VERBOSITY sqlstate
SELECT FROM auction.pause_drain();
SELECT accepted, durability FROM auction.place_bid($auction, 7, $price);
SELECT FROM auction.resume_drain();
SQL
	return $out =~ s/\s+\z//r =~ s/\A\s+//r if $ret == 0;
	$node->safe_psql($db, 'SELECT auction.resume_drain()');
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $err;
}

# The last position that the log in this Redis has.
sub log_end
{
	my ($redis, $key) = @_;

	my $id = $redis->try('XREVRANGE', $key, '+', '-', 'COUNT', '1');
	return $id =~ /^(\d+)-/ ? $1 : 0;
}

sub wait_log
{
	my ($redis, $key) = @_;
	my $published =
	  sql("SELECT published FROM auction.stat_lanes WHERE server = 'redis1'");

	poll('the log is there', sub { log_end($redis, $key) == $published });
	return;
}

# ---- a changed option reaches the running router ----

my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);
my $router = worker_pid($node, 'postgres', 'router');
my $id = new_auction($node, 'postgres', route => "'redis'");
is(bid('postgres', $id), 't|redis', 'attached');
my $log = '{auction:1}:log';
is(log_end($redis, $log), 1, 'its log is there');

my $second = start_redis();
my $socket = $second->socket;
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
wait_log($second, $log);
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $id), 't|redis', 'another socket: bids go on');
is(log_end($second, $log), 2, '... and are in the other log');
is(log_end($redis, $log), 1, '... not in the first');

sql("ALTER SERVER redis1 OPTIONS (ADD prefix 'shop', ADD db '3')");
poll('the log has moved',
	sub { $second->try('-n', '3', 'EXISTS', '{shop:1}:log') eq '1' });
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $id), 't|redis', 'another prefix and db: bids go on');
sql('ALTER SERVER redis1 OPTIONS (DROP prefix, DROP db)');

# A rolled back change is none.
sql(<<'SQL');
BEGIN;
ALTER SERVER redis1 OPTIONS (SET host '/nonexistent/redis.sock');
ROLLBACK;
SQL

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $tcp = start_redis(conf => "port $port\nbind 127.0.0.1 -::1");
sql("ALTER SERVER redis1 OPTIONS (SET host '127.0.0.1', ADD port '$port')");
wait_log($tcp, $log);
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $id), 't|redis', 'a numeric address');

my $other_port = PostgreSQL::Test::Cluster::get_free_port();
my $named = start_redis(conf => "port $other_port\nbind 127.0.0.1 -::1");
sql("ALTER SERVER redis1 OPTIONS (SET host 'localhost', SET port '$other_port')"
);
wait_log($named, $log);
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $id), 't|redis', 'a name, which the steward resolves');
$named->restart;
wait_lanes($node, 'postgres', 'normal');
poll_until($node, 'postgres', 'SELECT redis_ready FROM auction.stat_lanes');
is(bid('postgres', $id), 't|redis', '... and its Redis restarted');

# ---- passwords ----

# The default user, who the test is, may not do what the router has to.
my $locked = start_redis(conf => <<'CONF');
user default on nopass ~* &* +@all -evalsha -script
user keeper on >Right-Secret-1 ~* &* +@all
CONF
$socket = $locked->socket;
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
wait_lanes($node, 'postgres', 'degraded');
poll_until($node, 'postgres',
	"SELECT redis_error LIKE '%NOPERM%' FROM auction.stat_lanes");
pass('without a user mapping: the default user, whose rights do not suffice');
is(sql("SELECT accepted, durability FROM auction.place_bid($id, 7, 500)"),
	't|journal', 'bids go on, committed by PostgreSQL');

sql(<<'SQL');
CREATE USER MAPPING FOR CURRENT_USER SERVER redis1
	OPTIONS (username 'keeper', password 'Wrong-Secret-2');
SQL
poll_until($node, 'postgres',
	"SELECT redis_error LIKE '%AUTH%' FROM auction.stat_lanes");
my $error = sql('SELECT redis_error FROM auction.stat_lanes');
like($error, qr/refused AUTH: .*(password|WRONGPASS)/,
	"a wrong password is a clear error: $error");
unlike($error, qr/Secret/, '... which does not quote it');

sql(<<'SQL');
ALTER USER MAPPING FOR CURRENT_USER SERVER redis1
	OPTIONS (SET password 'Right-Secret-1');
SQL
$price = 1000;
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $id), 't|redis', 'the right one reaches the router');
is(sql('SELECT redis_error IS NULL AND redis_ready FROM auction.stat_lanes'),
	't', 'the error is gone');
like(
	$locked->cli('CLIENT', 'LIST'),
	qr/ user=keeper /,
	'the router is who the mapping says');

sql(<<'SQL');
ALTER USER MAPPING FOR CURRENT_USER SERVER redis1 OPTIONS (DROP username);
SQL
wait_lanes($node, 'postgres', 'degraded');
$price = 2000;
sql("SELECT auction.place_bid($id, 7, 1999)");
sql(<<'SQL');
ALTER USER MAPPING FOR CURRENT_USER SERVER redis1 OPTIONS (ADD username 'keeper');
SQL
wait_lanes($node, 'postgres', 'normal');
is(worker_pid($node, 'postgres', 'router'),
	$router, 'all of this was the same router');

# ---- two databases, one Redis ----

my $shared = start_redis();
$socket = $shared->socket;
sql('DROP USER MAPPING FOR CURRENT_USER SERVER redis1');
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
wait_log($shared, $log);
wait_lanes($node, 'postgres', 'normal');
sql('CREATE DATABASE two');
$node->safe_psql('two', 'CREATE EXTENSION auction');
attach($node, 'two', $shared, lanes => 1, wait => 0);
wait_lanes($node, 'two', 'fenced');
my $twin = new_auction($node, 'two', route => "'redis'");
is(bid('two', $twin), 'RB007', 'the same prefix: the second is fenced');
like(
	slurp_file($node->logfile),
	qr/lane 1 of server "redis1" is fenced: Redis has a lane of another database/,
	'... and the log says why');
is($node->safe_psql('two', 'SELECT count(*) FROM auction.journal'),
	'0', '... nothing is decided');
is(bid('postgres', $id), 't|redis', 'the first is not concerned');
is(log_end($shared, $log),
	sql('SELECT published FROM auction.stat_lanes'),
	'... nor its log');

$node->safe_psql('two', "ALTER SERVER redis1 OPTIONS (ADD prefix 'two')");
wait_lanes($node, 'two', 'normal');
is(bid('two', $twin), 't|redis', 'another prefix: both work');
is(bid('postgres', $id), 't|redis', '... the first, too');
is(log_end($shared, '{two:1}:log') > 0 ? 1 : 0, 1, '... with a log each');
wait_applied($node, 'two');
check_journal($node, 'two', 'second database');

# A prefix that is another's, later on: fenced with bids in it, and back.
$node->safe_psql('two', 'ALTER SERVER redis1 OPTIONS (DROP prefix)');
wait_lanes($node, 'two', 'fenced');
is(bid('two', $twin), 'RB007', "another's prefix later on: fenced");
$node->safe_psql('two', "ALTER SERVER redis1 OPTIONS (ADD prefix 'two')");
wait_lanes($node, 'two', 'normal');
is(bid('two', $twin), 't|redis', '... and back');
wait_applied($node, 'two');
check_journal($node, 'two', 'second database, fenced meanwhile');

# ---- two Redis servers, one database ----

my $extra = start_redis();
attach($node, 'postgres', $extra, server => 'redis2', lanes => 1);
my %at;
poll(
	'both servers have an auction',
	sub {
		my $new = new_auction($node, 'postgres', route => "'redis'");
		my $server = sql('SELECT server FROM auction.lanes l'
			  . ' JOIN auction.standings s ON s.lane_id = l.id'
			  . " WHERE s.id = $new");
		$at{$server} = $new;
		return keys %at == 2;
	});
is(bid('postgres', $at{redis1}), 't|redis', 'two servers: the first');
is(bid('postgres', $at{redis2}), 't|redis', '... and the second');
is($extra->cli('EXISTS', "{auction:1}:auction:$at{redis2}"),
	'1', '... whose auctions are there');

# One call that goes to both, and to route table.
my $table = new_auction($node, 'postgres', route => "'table'");
is(sql(<<"SQL"), "t|redis\nt|redis\nt|table\nt|redis", 'one call to all of them');
SELECT r.accepted, r.route FROM auction.place_bids(ARRAY[
	ROW($at{redis2}, 7, 5001, NULL, NULL), ROW($at{redis1}, 7, 5001, NULL, NULL),
	ROW($table, 7, 5001, NULL, NULL), ROW($at{redis2}, 8, 5002, NULL, NULL)
	]::auction.bid_request[]) r
SQL

$price = 6000;
$extra->kill9;
poll_until($node, 'postgres',
	"SELECT state = 'degraded' FROM auction.stat_lanes WHERE server = 'redis2'"
);
is( sql("SELECT accepted, durability FROM auction.place_bid($at{redis2}, 7, 5999)"
	),
	't|journal',
	'one away: its lanes are degraded');
is(bid('postgres', $at{redis1}), 't|redis', '... the other is not concerned');
$extra->start;
wait_lanes($node, 'postgres', 'normal');
is(bid('postgres', $at{redis2}), 't|redis', '... and it comes back');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'two servers');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/Secret/, 'no password in the log');

done_testing();
