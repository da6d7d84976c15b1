# Who bids much does not keep others from bidding: a role has its share of the
# slots (auction.role_slots), a bidder his rate (auction.user_rate_limit), bids
# are decided in the order they were handed over, however hot another auction
# is, and a lane whose tail is full does not stop its neighbour.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('fairness', conf => <<'CONF');
auction.slots = 32
auction.role_slots = 50
auction.tail_size = '64kB'
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

my @in_lane;
while (grep { !defined } @in_lane[ 1, 2 ])
{
	my $id = new_auction($node, 'postgres', route => "'redis'");
	my $lane = sql("SELECT lane_id FROM auction.standings WHERE id = $id");
	$in_lane[$lane] //= $id;
}
my ($hot, $cold) = @in_lane[ 1, 2 ];

sql(<<'SQL');
CREATE ROLE flood LOGIN;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA auction TO flood, other;
GRANT EXECUTE ON FUNCTION auction.place_bid, auction.place_bids TO flood, other;
SQL

# As a role, in sessions that wait: the amounts are all different.
my $price = 0;

sub place
{
	my ($id, $user) = @_;

	$user //= 7;
	$price++;
	return "SELECT accepted FROM auction.place_bid($id, $user, $price)";
}

sub start_as
{
	my ($role, @statements) = @_;
	local $ENV{PGUSER} = $role;

	return start_psql($node, 'postgres',
		"SET auction.overload_timeout = '1min'", @statements);
}

sub try_as
{
	my ($role, $statement, $timeout) = @_;
	local $ENV{PGUSER} = $role;

	$timeout //= '10s';
	return ask($node, 'postgres', <<"SQL");
\\set VERBOSITY verbose
SET auction.overload_timeout = '$timeout';
$statement
SQL
}

sub taken
{
	my ($auction) = @_;

	return sql("SELECT waiting FROM auction.stat_routes WHERE route = 'redis'");
}

# ---- T37: one role floods ----

my $slow = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
sql('SELECT auction.pause_drain()');
# Sixty-four bids of four sessions, in waves: they wait for the journal.
my @flood;
foreach my $client (1 .. 4)
{
	push @flood, start_as('flood', <<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($slow, $client, $client + 4 * i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 16) i))
SQL
}
poll_until($node, 'postgres',
	"SELECT waiting = 16 FROM auction.stat_routes WHERE route = 'redis'");
wait_waiting($node, 'postgres', 4);
my ($ret, $out, $err) = try_as('flood', place($hot), '100ms');
like($err, qr/RB004: .*DETAIL:  The bid was not recorded\. Role "flood" has as many of auction\.slots in use as auction\.role_slots allows/s,
	'the role that floods has its share: RB004 names the limit');
my $answered = 0;
foreach (1 .. 40)
{
	($ret, $out, $err) = try_as('other', place($hot));
	$answered++ if $out eq 't';
}
is($answered, 40, 'all bids of another role are answered meanwhile');
is(taken(), 16, '... while the flood holds half of the slots');
($ret, $out, $err) = try_as('flood', 'SET auction.role_slots = 100');
like($err, qr/42501/, 'a role cannot raise its share');

# A cancelled one, whose slots the router gives back, when it lets go of them.
my $pid = sql(<<'SQL');
SELECT pid FROM pg_stat_activity WHERE usename = 'flood' AND state = 'active'
 AND wait_event = 'AuctionBidOutcome' OR usename = 'flood' AND state = 'active'
 LIMIT 1
SQL
sql("SELECT pg_terminate_backend($pid)");
sql('SELECT auction.resume_drain()');
my @ends = map { [ finish_psql($_) ] } @flood;
is(scalar(grep { $_->[0] eq '16' } @ends), 3, 'the flood gets its answers, too');
wait_applied($node, 'postgres');
poll_until($node, 'postgres',
	"SELECT waiting = 0 FROM auction.stat_routes WHERE route = 'redis'");

# Nothing is left counted: the role gets its whole share again, at once.
sql('SELECT auction.pause_drain()');
my $again = start_as('flood', <<"SQL");
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(ARRAY(
	SELECT ROW($slow, 9, 1000 + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 16) i))
SQL
poll_until($node, 'postgres',
	"SELECT waiting = 16 FROM auction.stat_routes WHERE route = 'redis'");
pass('a session that died has given its slots back');
sql('SELECT auction.resume_drain()');
is((finish_psql($again))[0], '16', '... and all are answered');
wait_applied($node, 'postgres');

# ---- T40: one auction has nearly all bids ----

# What is handed over is decided in that order, whatever it is on: here is a
# router that wakes up to bids on two auctions of its lane, both live.
my $quiet;
do { $quiet = new_auction($node, 'postgres', route => "'redis'") }
  while (sql("SELECT lane_id FROM auction.standings WHERE id = $quiet") != 1);
sql(place($quiet));
my $router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
poll('the router is stopped',
	sub { return slurp_file("/proc/$router/stat") =~ /\) T /; });

# Sessions that begin in the opposite order, so that the places in shared memory
# do not happen to be in that of the bids.
sql('CREATE TABLE go (n int); GRANT SELECT ON go TO flood');
my @queue;
my $first = $price + 1;
foreach my $n (reverse 1 .. 10)
{
	my $amount = $price + int(($n - 1) / 2) * 3 + 1;
	my $bids = $n % 2
	  ? "ROW($hot, 7, $amount, NULL, NULL), ROW($hot, 7, $amount + 1, NULL, NULL)"
	  : "ROW($quiet, 7, $amount + 2, NULL, NULL)";

	push @queue, start_as('flood', <<"SQL1", <<"SQL2");
DO \$\$ BEGIN
	WHILE NOT EXISTS (SELECT FROM go WHERE n = $n) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END \$\$
SQL1
SELECT count(*) FROM auction.place_bids(ARRAY[$bids]::auction.bid_request[])
SQL2
	poll_until($node, 'postgres', <<'SQL', scalar(@queue));
SELECT count(*) FROM pg_stat_activity
 WHERE usename = 'flood' AND wait_event = 'PgSleep'
SQL
}
$price += 15;
foreach my $n (1 .. 10)
{
	sql("INSERT INTO go VALUES ($n)");
	wait_waiting($node, 'postgres', $n);
}
kill 'CONT', $router;
finish_psql($_) for @queue;
wait_applied($node, 'postgres');
is(sql(<<"SQL"), join(' ', $first .. $price), 'bids on two auctions are decided as they were handed over');
SELECT string_agg(amount::text, ' ' ORDER BY position) FROM auction.journal
 WHERE auction_id IN ($hot, $quiet) AND amount BETWEEN $first AND $price
SQL

my $load = start_bidders($node, 'postgres', $hot, $hot,
	clients => 16, seconds => 600);
poll_until($node, 'postgres', "SELECT bid_count > 100 FROM auction.standing($hot)");
foreach (1 .. 30)
{
	sql(place($quiet));
}
my $told = stop_bidders($load);
wait_applied($node, 'postgres');
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $quiet"),
	'36', 'each bid on a quiet auction is accepted while another one is hot');
check_answers($node, 'postgres', $load);

# ---- a full tail, and the lane beside it ----

sql('SELECT auction.pause_drain()');
my $filler = start_as('flood', <<"SQL");
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(ARRAY(
	SELECT ROW($hot, 8, 1000000 + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 1000) i))
SQL
poll_until($node, 'postgres', <<'SQL');
SELECT limited_by = 'tail' AND delay_ms > 500 FROM auction.stat_lanes
 WHERE lane_id = 1
SQL
my $beside = 0;
foreach (1 .. 20)
{
	($ret, $out, $err) = try_as('other', place($cold));
	$beside++ if $out eq 't';
}
is($beside, 20, 'a full tail does not stop the lane beside it');
sql('SELECT auction.resume_drain()');
is((finish_psql($filler))[0], '1000', '... and goes on itself when it is empty');

# ---- auction.user_rate_limit ----

my $table = new_auction($node, 'postgres', route => "'table'");
my $proxy = new_auction($node, 'postgres', route => "'redis'", kind => "'proxy'");
my $top = 2_000_000;

# So few a second that none comes while the test looks.
sql('ALTER ROLE other SET auction.user_rate_limit = 0.001');
sub rate_limited { return sql("SELECT rate_limited FROM auction.stat_routes WHERE route = '$_[0]'"); }
my $user = 100;
foreach my $case ([ $table, 'table' ], [ $cold, 'redis' ], [ $proxy, 'redis' ])
{
	my ($id, $route) = @$case;
	my $before = rate_limited($route);

	$user++;
	$top++;
	($ret, $out, $err) = try_as('other',
		"SELECT accepted FROM auction.place_bid($id, $user, $top);"
		  . "SELECT accepted FROM auction.place_bid($id, $user, $top + 1)");
	is($out, 't', "rate, auction $id on $route: the first bid is placed");
	like($err, qr/RB011: .*user $user bids too often.*The bid was not recorded/s,
		'... the second is RB011');
	is(rate_limited($route), $before + 1, '... and counted, for that route');
	wait_applied($node, 'postgres');
	is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id AND user_id = $user"),
		'1', '... and not recorded');
	($ret, $out, $err) = try_as('other',
		"SELECT accepted FROM auction.place_bid($id, $user + 1000, $top + 2)");
	is($out, 't', '... another bidder bids');
	$top += 2;
}
($ret, $out, $err) = try_as('other', <<"SQL");
SELECT accepted FROM auction.place_bids(ARRAY[
	ROW($cold, 201, $top + 1, NULL, NULL), ROW($cold, 202, $top + 2, NULL, NULL),
	ROW($cold, 201, $top + 3, NULL, NULL), ROW($cold, 203, $top + 4, NULL, NULL)]
	::auction.bid_request[])
SQL
like($err, qr/RB011: .*user 201 .*CONTEXT:  bids accepted before on route "redis", which stay accepted: 2/s,
	'rate: place_bids says how many are accepted');
wait_applied($node, 'postgres');
is(sql("SELECT string_agg(user_id::text, ' ' ORDER BY bid_no) FROM auction.bids WHERE auction_id = $cold AND amount > $top"),
	'201 202', '... those before it');
($ret, $out, $err) = try_as('other', 'SET auction.user_rate_limit = 0');
like($err, qr/42501/, 'rate: a role cannot lift it');

# A burst is what comes in a second.
sql('ALTER ROLE other SET auction.user_rate_limit = 5');
sql("ALTER ROLE other SET statement_timeout = '1h'");
$top += 10;
($ret, $out, $err) = try_as('other', <<"SQL");
SELECT accepted FROM auction.place_bids(ARRAY(
	SELECT ROW($cold, 300, $top + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 1000) i))
SQL
like($err, qr/RB011/, 'rate: a thousand at once are too many for 5 a second');
wait_applied($node, 'postgres');
cmp_ok(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $cold AND user_id = 300"),
	'>=', 5, '... five of them are not');

check_journal($node, 'postgres', 'in the end');
done_testing();
