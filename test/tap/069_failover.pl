# What level replica is for: Redis and PostgreSQL die together, a replica takes
# over. What was told replica is there; what was told redis, and had not come to
# the replica, is lost, and said to be.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('failover');
my $redis = start_redis(port => 1);
my $replica = start_redis(replica_of => $redis);
attach($node, 'postgres', $redis);

sub sql { return $node->safe_psql('postgres', @_); }

my $copied = new_auction($node, 'postgres',
	route => "'redis'", durability => "'replica'");
my $plain = new_auction($node, 'postgres', route => "'redis'");
my $bids = 300;

# Places bids in one call; returns level, bids and last amount of each level.
sub place
{
	my ($auction, $first) = @_;
	my $last = $first + $bids - 1;

	return sql(<<"SQL");
SELECT durability, count(*), max(price) FROM auction.place_bids(ARRAY(
	SELECT ROW($auction, i, i, NULL, NULL)::auction.bid_request
	FROM generate_series($first, $last) i))
WHERE accepted GROUP BY 1
SQL
}

my $price = 0;
poll(
	'bids are told replica',
	sub {
		$price++;
		return sql("SELECT durability FROM auction.place_bid($copied, 1, $price)")
		  eq 'replica';
	});
wait_applied($node, 'postgres');
my $applied = sql('SELECT applied FROM auction.stat_lanes');
sql('SELECT auction.pause_drain()');
is(place($copied, 1000), "replica|$bids|1299", 'bids are told replica');
my $kept = sql('SELECT replicated FROM auction.stat_lanes');
is($kept, $applied + $bids, 'they are the replicated ones');

# The replica takes over, and does not get what comes now.
$replica->cli('REPLICAOF', 'NO', 'ONE');
is(place($plain, 1000), "redis|$bids|1299", 'others are told redis');
is(sql('SELECT applied FROM auction.stat_lanes'),
	$applied, 'none of them is in the journal');

restart_killed($node, sub { $redis->kill9 });
sql("ALTER SERVER redis1 OPTIONS (SET host '" . $replica->socket . "')");
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is( sql("SELECT count(*), max(amount) FROM auction.bids "
		  . "WHERE auction_id = $copied AND amount >= 1000"),
	"$bids|1299",
	'PostgreSQL and Redis are lost: what was told replica is there');
is(sql("SELECT price FROM auction.standings WHERE id = $copied"),
	'1299', '... and stands');
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $plain"),
	'0', 'what was told redis is not');
is(sql('SELECT possible_loss_after FROM auction.stat_lanes'),
	$kept, '... and the lane says from where on');
check_journal($node, 'postgres', 'after the failover');

# The new Redis has no replica.
is( sql("SELECT durability FROM auction.place_bid($copied, 1, 2000)"),
	'journal', 'without a replica: journal');
done_testing();
