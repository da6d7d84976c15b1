# A lane at each of its limits: from three quarters of it on bids slow down, at
# the limit they fail with RB004 and say which one it is, and when the figure
# falls they go on by themselves. Meanwhile another lane goes on, nothing that
# was accepted is lost, and what makes a lane emptier is not held up.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('overload', conf => <<'CONF');
auction.tail_size = '64kB'
auction.log_retention = '1h'
CONF
my $redis = start_redis();
my $other_redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);
attach($node, 'postgres', $other_redis, server => 'redis2');

sub sql { return $node->safe_psql('postgres', @_); }

sub lane_of
{
	my ($id) = @_;

	return sql("SELECT lane_id FROM auction.standings WHERE id = $id");
}

# An auction in each lane: 1 and 2 at the same router, 3 at another.
my %in_lane;
while (keys %in_lane < 3)
{
	my $id = new_auction($node, 'postgres', route => "'redis'");
	$in_lane{ lane_of($id) } //= $id;
}
my $price = 0;

sub place
{
	my ($lane, $timeout) = @_;

	$timeout //= '1min';
	$price++;
	return "SET auction.overload_timeout = '$timeout';"
	  . "SELECT accepted FROM auction.place_bid($in_lane{$lane}, 7, $price)";
}

# Places that many of some size; how many were accepted.
sub place_many
{
	my ($lane, $n, $bytes) = @_;

	$price += $n;
	return sql(<<"SQL");
SET auction.overload_timeout = '5min';
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(ARRAY(
	SELECT ROW($in_lane{$lane}, 7, $price - $n + i, NULL,
		jsonb_build_object('a', repeat('x', $bytes)))::auction.bid_request
	FROM generate_series(1, $n) i))
SQL
}

sub is_limited
{
	my ($lane, $by, $which) = @_;

	return poll_until($node, 'postgres', <<"SQL");
SELECT limited_by = '$by' AND $which FROM auction.stat_lanes
 WHERE lane_id = $lane
SQL
}

sub wait_unlimited
{
	my ($lane) = @_;

	return poll_until($node, 'postgres', <<"SQL");
SELECT limited_by IS NULL AND delay_ms = 0 FROM auction.stat_lanes
 WHERE lane_id = $lane
SQL
}

sub set_and_reload
{
	my ($name, $value) = @_;

	sql("ALTER SYSTEM SET $name = $value");
	sql('SELECT pg_reload_conf()');
	return;
}

# At the limit a bid fails, and says why; the other lane takes one.
sub fails_for
{
	my ($lane, $other, $why, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = $price + 1;
	my ($ret, $out, $err) = ask($node, 'postgres',
		"\\set VERBOSITY verbose\n" . place($lane, '50ms'));

	like($err, qr/ERROR:  RB004: .*lane overloaded.*DETAIL:  The bid was not recorded\. $why/s,
		"$name: RB004 says which limit it is");
	is(sql(place($other)), 't', "$name: another lane goes on");
	return $before;
}

sub is_not_recorded
{
	my ($name, @amounts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $list = join ', ', @amounts;

	wait_applied($node, 'postgres');
	is(sql("SELECT count(*) FROM auction.bids WHERE amount IN ($list)"),
		'0', "$name: what failed is not recorded");
	return;
}

# What health() says of a lane's limits.
sub health_of
{
	my ($lane) = @_;

	return sql(<<"SQL");
SELECT status || ' ' || finding FROM auction.health()
 WHERE item = 'limits' AND object LIKE 'lane $lane of %'
SQL
}

is( sql('SELECT count(*) FROM auction.stat_lanes WHERE limited_by IS NULL AND delay_ms = 0'),
	'3', 'no lane is limited');

# ---- the tail ----

sql('SELECT auction.pause_drain()');
my $accepted = place_many(1, 50, 500);
while (sql('SELECT coalesce(delay_ms, 0) < 200 FROM auction.stat_lanes WHERE lane_id = 1') eq 't')
{
	$accepted += place_many(1, 1, 500);
}
is_limited(1, 'tail', "delay_ms BETWEEN 200 AND 1000 AND tail_bytes_used < tail_size");
pass("tail: after $accepted bids they slow down");
like(health_of(1), qr/^warning tail: bids wait \d+ ms$/, 'tail, slow: health() warns');
my $failed = fails_for(1, 2, 'The tail of lane 1 is full', 'tail, slow');
is(sql(place(1)), 't', 'tail, slow: who waits gets his bid in');
$accepted++;

my $waiting = start_psql($node, 'postgres', <<"SQL");
SET auction.overload_timeout = '5min';
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(ARRAY(
	SELECT ROW($in_lane{1}, 8, $price + i, NULL,
		jsonb_build_object('a', repeat('x', 500)))::auction.bid_request
	FROM generate_series(1, 64) i))
SQL
$price += 64;
is_limited(1, 'tail', "delay_ms = 'Infinity'");
is(health_of(1), 'error tail: no bid is taken', 'tail, full: an error in health()');
is(health_of(2), 'ok bids are taken at once', '... of that lane alone');
my $failed_full = fails_for(1, 2, 'The tail of lane 1 is full', 'tail, full');
sql('SELECT auction.resume_drain()');
is((finish_psql($waiting))[0], '64', 'tail: who still waits is served when the drain goes on');
wait_unlimited(1);
is_not_recorded('tail', $failed, $failed_full);
is( sql("SELECT bid_count FROM auction.standings WHERE id = $in_lane{1}"),
	$accepted + 64, 'tail: all that was accepted is there, and no other');

# ---- the log ----

# One entry each.
sql(<<"SQL");
DO \$\$ BEGIN
	FOR i IN 1..300 LOOP
		PERFORM auction.place_bid($in_lane{1}, 7, $price + i);
	END LOOP;
END \$\$
SQL
$price += 300;
my $entries = $redis->cli('XLEN', '{auction:1}:log');
set_and_reload('auction.log_limit', int($entries / 0.85));
is_limited(1, 'log', "delay_ms BETWEEN 1 AND 1000 AND log_length < log_limit");
pass('log: bids slow down');
$failed = fails_for(1, 2, 'The log of lane 1 ', 'log, slow');
set_and_reload('auction.log_limit', $entries);
is_limited(1, 'log', "delay_ms = 'Infinity' AND log_length >= log_limit");
my $failed_at_limit = fails_for(1, 2, 'The log of lane 1 ', 'log, too long');
$waiting = start_psql($node, 'postgres', place(1));
wait_waiting($node, 'postgres', 1);
set_and_reload('auction.log_retention', "'0'");
is((finish_psql($waiting))[0], 't', 'log: bids go on when it is shorter');
wait_unlimited(1);
is_not_recorded('log', $failed, $failed_at_limit);
set_and_reload('auction.log_limit', 0);

# ---- Redis' memory ----

set_and_reload('auction.redis_memory_limit', 50);
my ($used) = $other_redis->cli('INFO', 'memory') =~ /^used_memory:(\d+)/m;
$other_redis->cli('CONFIG', 'SET', 'maxmemory', int($used / 0.45));
is_limited(3, 'memory', "delay_ms BETWEEN 1 AND 1000");
pass('memory: bids slow down');
$other_redis->cli('CONFIG', 'SET', 'maxmemory', int($used * 1.5));
is_limited(3, 'memory', "delay_ms = 'Infinity' AND redis_memory_used >= redis_memory_limit");
$failed = fails_for(3, 1, 'The Redis of lane 3 ', 'memory');
is(sql('SELECT limited_by IS NULL FROM auction.stat_lanes WHERE lane_id = 2'),
	't', "memory: the other Redis has its own");

# What is not a bid passes; a close does not overtake a bid.
my ($moves, $closes) = @in_lane{ 3, 3 };
do { $closes = new_auction($node, 'postgres', route => "'redis'") }
  while (lane_of($closes) != 3);
my $mover = start_psql($node, 'postgres', place(3));
wait_waiting($node, 'postgres', 1);
sql("SELECT auction.set_route($moves, 'table')");
is((finish_psql($mover))[0], 't', 'a move to table overtakes a bid that waits, which goes on there');
is( sql("SELECT route FROM auction.bids WHERE auction_id = $moves AND amount = $price"),
	'table', '... and is decided on table');
$in_lane{3} = $closes;
my $bidder = start_psql($node, 'postgres', place(3));
wait_waiting($node, 'postgres', 1);
my $closer = start_psql($node, 'postgres', "SET auction.overload_timeout = '5min'",
	"SELECT auction.close_auction($closes)");
wait_waiting($node, 'postgres', 2);
$other_redis->cli('CONFIG', 'SET', 'maxmemory', 0);
is((finish_psql($bidder))[0], 't', 'a close waits behind a bid that came before it');
finish_psql($closer);
wait_status($node, 'postgres', $closes, 'consolidated');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $closes"),
	'1', '... and the bid is there');
wait_unlimited(3);
is_not_recorded('memory', $failed);
set_and_reload('auction.redis_memory_limit', 0);

# ---- the journal is behind ----

set_and_reload('auction.backlog_limit', "'2s'");
sql('SELECT auction.pause_drain()');
my $oldest = sql(place(1));
is_limited(1, 'backlog', 'delay_ms > 0');
is_limited(1, 'backlog', "delay_ms = 'Infinity' AND backlog_seconds >= backlog_limit");
$failed = fails_for(1, 2, 'The journal is behind lane 1 ', 'backlog');
$waiting = start_psql($node, 'postgres', place(1));
wait_waiting($node, 'postgres', 1);
sql('SELECT auction.resume_drain()');
is((finish_psql($waiting))[0], 't', 'backlog: bids go on when the journal has come closer');
wait_unlimited(1);
is_not_recorded('backlog', $failed);
set_and_reload('auction.backlog_limit', 0);

# ---- under load ----

my $load = start_bidders($node, 'postgres', $in_lane{1}, $in_lane{1},
	clients => 8, seconds => 600);
foreach my $round (1 .. 2)
{
	sql('SELECT auction.pause_drain()');
	is_limited(1, 'tail', "delay_ms >= 300");
	is(sql(place(2)), 't', 'under load: another lane goes on');
	sql('SELECT auction.resume_drain()');
	my $reached = sql('SELECT published FROM auction.stat_lanes WHERE lane_id = 1');
	poll_until($node, 'postgres',
		"SELECT applied > $reached + 100 FROM auction.stat_lanes WHERE lane_id = 1");
}
my $told = stop_bidders($load);
cmp_ok($told->{accepted}, '>', 100, 'under load: bids go on after it');
is($told->{unknown}, 0, 'under load: no outcome is unknown');
wait_applied($node, 'postgres');
check_answers($node, 'postgres', $load);
check_journal($node, 'postgres', 'in the end');

done_testing();
