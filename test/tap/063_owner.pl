# Rules 11 and 12: whose lane it is. The lease is long, so that whatever is
# done at once is told from what waits for it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# No wait of this file is as long.
my $lease = 3 * $PostgreSQL::Test::Utils::timeout_default;
my $node = new_node('main', conf => "auction.lane_lease = '${lease}s'");
my $redis = start_redis();
my $term = '{auction:1}:term';

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub owner { return $redis->cli('HGET', $term, 'instance'); }
sub beat { return $redis->cli('HGET', $term, 'beat'); }
sub lane { return sql("SELECT $_[0] FROM auction.stat_lanes"); }

sub lease
{
	my ($time) = @_;
	$node->append_conf('postgresql.conf', "auction.lane_lease = '$time'");
	$node->reload;
	poll_until($node, 'postgres', <<"SQL");
SELECT current_setting('auction.lane_lease')::interval = '$time'::interval
SQL
	return;
}

attach($node, 'postgres', $redis);
pass('just attached: taken at once, though Redis names nobody');
my $id = new_auction($node, 'postgres', route => "'redis'");
my $price = 100;

sub bid
{
	$price++;
	return sql(
		"SELECT accepted, durability FROM auction.place_bid($id, 7, $price)");
}

# ---- who it is, and that it lives ----

is(bid(), 't|redis', 'a bid');
my $instance = owner();
like($instance, qr/^[0-9a-f]{16}$/, 'Redis names the owner');
is(lane('owner'), $instance, '... as stat_lanes does');
is($redis->cli('HGET', $term, 'lease'), $lease * 1000, '... with its lease');

lease('1s');
my $before = beat();
poll('the beat goes on', sub { return beat() > $before + 2; });
pass('the beat goes on, without a bid');
poll_until($node, 'postgres', <<'SQL');
SELECT renewed_at > clock_timestamp() - interval '10 s' FROM auction.stat_lanes
SQL
is($redis->cli('HGET', $term, 'lease'), 1000, 'a new lease is told');
lease("${lease}s");
poll('the long lease is told',
	sub { return $redis->cli('HGET', $term, 'lease') == $lease * 1000; });

# ---- taken at once ----

my $router = worker_pid($node, 'postgres', 'router');
kill 9, worker_pid($node, 'postgres', 'drain');
worker_pid($node, 'postgres', 'router', not => $router);
wait_lanes($node, 'postgres', 'normal');
is(owner(), $instance, 'a crash of a backend: the same instance, at once');
is(bid(), 't|redis', '... bids go on');

$node->restart;
wait_lanes($node, 'postgres', 'normal');
isnt(owner(), $instance, 'a restart: another instance, at once');
is(bid(), 't|redis', '... bids go on');

$instance = owner();
restart_killed($node);
wait_lanes($node, 'postgres', 'normal');
isnt(owner(), $instance,
	'a killed postmaster: the one after it holds its data directory, at once');
is(bid(), 't|redis', '... bids go on');

# Found by the next append; without a bid, by the next beat.
$redis->cli('FLUSHALL');
like(bid(), qr/^t\|/, 'an emptied Redis: a bid is accepted');
poll('taken again', sub { return owner() ne ''; });
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', '... whose lease runs takes it at once');

# ---- given back ----

$node->stop('fast');
is($redis->cli('HGET', $term, 'released'), 1, 'a clean stop gives it back');
$redis->cli('HSET', $term, 'instance', '1' x 16, 'place', 'elsewhere');
$node->start;
wait_lanes($node, 'postgres', 'normal');
is($redis->cli('HEXISTS', $term, 'released'),
	0, 'given back by one elsewhere: taken at once');
is(bid(), 't|redis', '... bids go on');

$router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
wait_lanes($node, 'postgres', 'normal');
is($redis->cli('HEXISTS', $term, 'released'),
	0, 'a router that ends alone gives nothing back');

# ---- claimed while it was ours ----

lease('1s');
poll('the short lease is told',
	sub { return $redis->cli('HGET', $term, 'lease') == 1000; });
my $socket = $redis->socket;
sql("ALTER SERVER redis1 OPTIONS (SET host '/nonexistent/redis.sock')");
wait_lanes($node, 'postgres', 'degraded');
$instance = owner();
$redis->cli('HINCRBY', $term, 'term', '5');
$redis->cli('HSET', $term, 'claim', '3' x 16);
poll_until($node, 'postgres', <<'SQL');
SELECT renewed_at < clock_timestamp() - interval '1 s' FROM auction.stat_lanes
SQL
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
wait_lanes($node, 'postgres', 'normal');
is(owner(), $instance, 'taken without an answer, then claimed: not fenced');
is(bid(), 't|redis', '... bids go on');
lease("${lease}s");

# ---- another owner ----

sub foreign
{
	$redis->cli('HSET', $term, 'instance', '2' x 16, 'place', 'elsewhere',
		'lease', $_[0], 'beat', '1');
	$redis->cli('HDEL', $term, 'released');
	return;
}

$node->stop('fast');
foreign(1000);
$node->start;
poll_until($node, 'postgres', 'SELECT owner FROM auction.stat_lanes',
	'2' x 16);
is(sql_error($node, 'postgres', "SELECT auction.place_bid($id, 7, 500)"),
	'RB006', "another's lane: refused while it is watched");
is(owner(), '2' x 16, '... not taken before the lease is over');
lease('1s');
wait_lanes($node, 'postgres', 'normal');
isnt(owner(), '2' x 16, 'nobody beats for a lease: taken');
is(bid(), 't|redis', '... bids go on');

$node->stop('fast');
foreign(1000);
$node->start;
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
while (time < $end && lane("coalesce(state, '')") ne 'fenced')
{
	$redis->cli('HINCRBY', $term, 'beat', '1');
}
is(lane('state'), 'fenced', 'somebody goes on beating: fenced');
is(sql_error($node, 'postgres', "SELECT auction.place_bid($id, 7, 500)"),
	'RB007', '... bids are refused');
like(
	slurp_file($node->logfile),
	qr/fenced: instance 2222222222222222 of PostgreSQL owns it/,
	'... the log names it');

# A router that comes later gives way, too.
$redis->cli('HSET', $term, 'released', '1');
my $calls = sub {
	my ($n) =
	  $redis->cli('INFO', 'commandstats') =~ /^cmdstat_evalsha:calls=(\d+)/m;
	return $n;
};
my $asked = $calls->();
$router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
poll('it asks', sub { return $calls->() > $asked; });
is(owner(), '2' x 16, '... though that one is gone, and its router another');
is(lane('state'), 'fenced', '... until a DBA decides');
sql("SELECT auction.adopt_lanes('redis1')");
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', '... as here');
wait_applied($node, 'postgres');

check_journal($node, 'postgres', 'owner');
$node->stop('fast');
done_testing();
