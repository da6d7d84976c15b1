# What a DBA decides: auction.degraded, adopt_lanes(), a log that is given up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "auction.lane_lease = '1s'");
my $redis = start_redis();
my $term = '{auction:1}:term';

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub lane { return sql("SELECT $_[0] FROM auction.stat_lanes"); }
sub give_up { return sql("SELECT auction.adopt_lanes('redis1', give_up_log => true)"); }

attach($node, 'postgres', $redis);
my $id = new_auction($node, 'postgres', route => "'redis'");
my $price = 100;

sub bid
{
	$price++;
	return sql(
		"SELECT accepted, durability FROM auction.place_bid($id, 7, $price)");
}

sub bid_error
{
	return sql_error($node, 'postgres',
		"SELECT auction.place_bid($id, 7, 1000000)");
}

is(bid(), 't|redis', 'a bid');
is(sql("SELECT auction.adopt_lanes('redis1')"),
	'0', 'nothing to adopt: no lane is asked for');

# ---- auction.degraded ----

sql('ALTER SYSTEM SET auction.degraded = off');
$node->reload;
my $uuid = $redis->cli('HGET', $term, 'uuid');
$redis->cli('HSET', $term, 'uuid', 'another');
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
wait_lanes($node, 'postgres', 'fenced');
$redis->cli('HSET', $term, 'uuid', $uuid);
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
wait_lanes($node, 'postgres', 'normal');
is(lane('degraded_at'), '',
	'auction.degraded is off: a lane that was fenced does not return');
$redis->kill9;
wait_lanes($node, 'postgres', 'waiting');
is(bid_error(), 'RB006', 'auction.degraded is off: bids are refused');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', '... until Redis is back');
$redis->kill9;
wait_lanes($node, 'postgres', 'waiting');
sql('ALTER SYSTEM RESET auction.degraded');
$node->reload;
wait_lanes($node, 'postgres', 'degraded');
is(bid(), 't|journal', 'turned on while Redis is away: bids go on');
sql('ALTER SYSTEM SET auction.degraded = off');
$node->reload;
poll('refused', sub { return bid_error() eq 'RB006'; });
pass('... turned off: refused again');
sql('ALTER SYSTEM RESET auction.degraded');
$node->reload;
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', 'normal again');

# ---- a recovering lane whose Redis does not come back ----

$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
restart_killed($node);
wait_lanes($node, 'postgres', 'recovering');
poll('refused', sub { return bid_error() eq 'RB006'; });
pass('recovering, and no Redis: refused');
my $applied = lane('applied');
is(give_up(), '1', 'the log is given up');
wait_lanes($node, 'postgres', 'degraded');
is(bid(), 't|journal', '... bids go on without it');
is(lane('possible_loss_after'), $applied, '... what may be lost is said');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', 'Redis comes back with the old log: it is not used');
like($redis->cli('XRANGE', '{auction:1}:log', '-', '+', 'COUNT', '1'),
	qr/jump/, '... but a new one begun');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'a log given up');
wait_shown($node, 'postgres', $redis, $id);

# ---- a lane that stands before a gap ----

# The position of the bid that the log has lost.
sub make_gap
{
	sql('SELECT auction.pause_drain()');
	bid() for 1 .. 3;
	my $entries =
	  $redis->cli('XREVRANGE', '{auction:1}:log', '+', '-', 'COUNT', 2);
	my ($lost) = $entries =~ /^(\d+)-0$(?!.*^\d+-0$)/ms;
	$node->stop('immediate');
	is($redis->cli('XDEL', '{auction:1}:log', "$lost-0"),
		'1', 'the log loses a bid');
	$node->start;
	poll('a gap', sub { return lane('gap_to') ne ''; });
	return $lost;
}

my $lost = make_gap();
is(sql("SELECT auction.adopt_lanes('redis1')"),
	'1', 'a lane that is taken already is adopted');
poll('it is said',
	sub { return slurp_file($node->logfile) =~ /is taken already: the request/; });
is(lane('state, gap_to IS NULL'), 'recovering|f', '... it stands where it stood');
is(give_up(), '1', 'its log is given up');
wait_lanes($node, 'postgres', 'normal');
is(lane('gap_to'), '', '... there is no gap any more');
is(lane('possible_loss_after + 1'), $lost, '... what may be lost is said');
is(bid(), 't|redis', '... bids go on');
like($redis->cli('XRANGE', '{auction:1}:log', '-', '+', 'COUNT', '1'),
	qr/jump/, '... in a new log');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'given up before a gap');

# ---- a lane that has become normal before anybody saw the request ----

make_gap();
my $late = open_session($node, 'postgres', <<'SQL');
BEGIN;
SELECT auction.adopt_lanes('redis1', give_up_log => true);
SQL
sql(q{SELECT auction.skip_gap(lane_id, 'lost') FROM auction.stat_lanes});
wait_lanes($node, 'postgres', 'normal');
end_session($late, 'COMMIT;');
ok( poll_until(
		$node, 'postgres',
		'SELECT NOT bool_or(at > taken_at) FROM auction._adoptions'
		  . ' JOIN auction._lane_terms USING (lane_id)'),
	'no router will find it in another outage');

# ---- the extension is dropped and made again ----

sql('DROP EXTENSION auction CASCADE');
wait_gone($node, 'postgres');
sql('CREATE EXTENSION auction');
attach($node, 'postgres', $redis, wait => 0);
wait_lanes($node, 'postgres', 'fenced');
$id = new_auction($node, 'postgres', route => "'redis'");
is(bid_error(), 'RB007', 'keys of an earlier installation: refused');
like(
	slurp_file($node->logfile),
	qr/as after DROP EXTENSION, auction\.adopt_lanes\(server, give_up_log => true\)/,
	'... the log says what to do');
is(sql("SELECT auction.adopt_lanes('redis1')"), '1', 'to adopt is not enough');
poll('it is said',
	sub { return slurp_file($node->logfile) =~ /cannot be adopted/; });
is(lane('state'), 'fenced', '... the lane stays fenced');
$redis->cli('ACL', 'SETUSER', 'default', '-unlink');
give_up();
poll('it is said',
	sub { return slurp_file($node->logfile) =~ /could not delete keys on lane/; });
is(lane('state'), 'fenced', 'its keys cannot be deleted: so it stays');
$redis->cli('ACL', 'SETUSER', 'default', '+unlink');
wait_lanes($node, 'postgres', 'normal');
$price = 100;
is(bid(), 't|redis', 'given up: bids go on');
is(shown($redis, 1, $id), "$price 7 1 1 0 7 $price",
	'... and Redis shows nothing of the earlier auction of that number');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'made again');

# ---- a log that is none ----

$redis->cli('SET', '{auction:1}:log', 'not a log');
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
wait_lanes($node, 'postgres', 'fenced');
sql("SELECT auction.adopt_lanes('redis1')");
poll('it is said',
	sub { return slurp_file($node->logfile) =~ /cannot be adopted: Redis has a key/; });
is(lane('state'), 'fenced', 'a key of another type: not adopted');
wait_rest($node, 'postgres', 'router');
give_up();
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|redis', '... but given up');

# ---- the same prefix twice ----

sql('CREATE DATABASE two');
$node->safe_psql('two', 'CREATE EXTENSION auction');
attach($node, 'two', $redis, wait => 0);
wait_lanes($node, 'two', 'fenced');
$node->safe_psql('two',
	"SELECT auction.adopt_lanes('redis1', give_up_log => true)");
poll('it is said',
	sub { return slurp_file($node->logfile) =~ /not given up: its owner, .* is alive/; });
is($node->safe_psql('two', 'SELECT state FROM auction.stat_lanes'),
	'fenced', "a log whose owner is alive is not given up");
is(bid(), 't|redis', '... the other is not concerned');

# ---- who may ----

sql('CREATE ROLE bidder');
like(
	(ask($node, 'postgres', "SET ROLE bidder; SELECT auction.adopt_lanes('redis1')"))[2],
	qr/permission denied/, 'not for everybody');
is(sql_error($node, 'postgres', "SELECT auction.adopt_lanes('nowhere')"),
	'42704', 'no such server');

$node->stop('fast');
done_testing();
