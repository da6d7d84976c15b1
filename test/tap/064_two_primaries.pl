# Two primaries on one Redis: an old one that was stopped and wakes up, and a
# clone that was promoted while production goes on (rules 11, 12).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = start_redis();
my $old = new_node('old', streaming => 1, conf => "auction.lane_lease = '2s'");
attach($old, 'postgres', $redis, lanes => 2);
my $first = new_auction($old, 'postgres', route => "'redis'");
my $last = $first;
$last = new_auction($old, 'postgres', route => "'redis'") for 1 .. 5;

sub states
{
	return $_[0]->safe_psql('postgres',
		"SELECT string_agg(DISTINCT state, ' ') FROM auction.stat_lanes");
}

# Postmaster and all its children.
sub signal_all
{
	my ($node, $signal) = @_;
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @children = split ' ', qx(ps -o pid= --ppid $pid);

	kill $signal, @children, $pid;
	return;
}

sub bid_error
{
	my ($node) = @_;
	return sql_error($node, 'postgres',
		"SELECT auction.place_bid($first, 7, 1000000000000)");
}

# ---- the old one is stopped, its standby promoted ----

$old->backup('base');
my $new = AuctionTest::Node->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;

my $load = start_bidders($old, 'postgres', $first, $last, seconds => 600);
poll_until($old, 'postgres', 'SELECT count(*) > 500 FROM auction.journal');
signal_all($old, 'STOP');
my $owner = $redis->cli('HGET', '{auction:1}:term', 'instance');
$new->promote;
wait_lanes($new, 'postgres', 'normal');
isnt($redis->cli('HGET', '{auction:1}:term', 'instance'),
	$owner, 'the old one is silent for a lease: the new one has the lane');
my $new_load = start_bidders($new, 'postgres', $first, $last, seconds => 600);
my $before = $new->safe_psql('postgres', 'SELECT count(*) FROM auction.journal');
poll_until($new, 'postgres',
	"SELECT count(*) > $before + 100 FROM auction.journal");

signal_all($old, 'CONT');
wait_lanes($old, 'postgres', 'fenced');
is(bid_error($old), 'RB007', 'the old one wakes up: its bids are refused');
my $told = stop_bidders($load);
cmp_ok($told->{accepted}, '>', 0, 'what it had accepted before');
my $log = slurp_file($old->logfile);
like($log, qr/is fenced: instance [0-9a-f]{16} of PostgreSQL owns it/,
	'... its log names the owner');
unlike($log, qr/is degraded/, '... it committed nothing alone');
is(states($new), 'normal', 'the new one is not disturbed');
$before = $new->safe_psql('postgres', 'SELECT count(*) FROM auction.journal');
poll_until($new, 'postgres',
	"SELECT count(*) > $before + 100 FROM auction.journal");
$told = stop_bidders($new_load);
is($told->{unknown} + $told->{not_recorded}, 0, '... nor are its bidders');
wait_applied($new, 'postgres');
check_answers($new, 'postgres', $load, $new_load);
check_journal($new, 'postgres', 'the new primary');
$old->stop('immediate');

# ---- a clone of the new one is promoted while that goes on ----

$new->backup('clone');
my $clone = AuctionTest::Node->new('clone');
$clone->init_from_backup($new, 'clone', has_streaming => 1);
$load = start_bidders($new, 'postgres', $first, $last, seconds => 600);
my $offset = -s $new->logfile;
$clone->start;
$clone->promote;
poll_until($clone, 'postgres',
	'SELECT count(owner) = 2 FROM auction.stat_lanes');
like(bid_error($clone), qr/RB00[67]/, 'a clone waits');
wait_lanes($clone, 'postgres', 'fenced');
is(bid_error($clone), 'RB007', '... and is refused');
is($clone->safe_psql('postgres', 'SELECT count(DISTINCT owner) FROM auction.stat_lanes'),
	'1', '... it shows whose the lanes are');
$before = $new->safe_psql('postgres', 'SELECT count(*) FROM auction.journal');
poll_until($new, 'postgres',
	"SELECT count(*) > $before + 100 FROM auction.journal");
$told = stop_bidders($load);
is($told->{unknown} + $told->{not_recorded}, 0, 'production notices nothing');
is(states($new), 'normal', '... its lanes are normal');
unlike(substr(slurp_file($new->logfile), $offset),
	qr/is (degraded|fenced)|ERROR/, '... and have been');
wait_applied($new, 'postgres');
check_answers($new, 'postgres', $load);

# A restart of production is no opportunity.
$new->restart;
wait_lanes($new, 'postgres', 'normal');
is(states($clone), 'fenced', 'production restarts: the clone does not take the lanes');

# ---- the DBA says whose they are ----

is($clone->safe_psql('postgres', "SELECT auction.adopt_lanes('redis1')"),
	'2', 'both lanes are adopted');
wait_lanes($new, 'postgres', 'fenced');
is(bid_error($new), 'RB007', 'the other side is fenced');
wait_lanes($clone, 'postgres', 'normal');
is(bid_error($clone), '', '... and the clone has them');
like(slurp_file($clone->logfile),
	qr/lane 1 of server "redis1" is adopted by role "\w+"/, '... its log says by whom');
wait_applied($clone, 'postgres');
check_journal($clone, 'postgres', 'the adopted lanes');

# ---- the one that has lost them gets keys of its own ----

$new->safe_psql('postgres', "ALTER SERVER redis1 OPTIONS (ADD prefix 'other')");
wait_lanes($new, 'postgres', 'normal');
is(bid_error($new), '', 'with another prefix it goes on');
wait_applied($new, 'postgres');
check_journal($new, 'postgres', 'another prefix');

$clone->stop('fast');
$new->stop('fast');
done_testing();
