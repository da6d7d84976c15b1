# What happens at the limits: fewer slots than clients, a full tail, a slow
# drain, a router that does not answer, clients that give up. Bids wait, and
# then fail with an error that says whether they may have been recorded; none
# that was accepted is lost, and no slot stays behind.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('limits', conf => <<'CONF');
auction.slots = 4
auction.role_slots = 100
auction.tail_size = '64kB'
auction.log_retention = '1h'
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);

sub sql { return $node->safe_psql('postgres', @_); }

my $id = new_auction($node, 'postgres', route => "'redis'");
my $slow = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
my $price = 100_000;

sub place
{
	my ($auction) = @_;

	$price++;
	return "SELECT accepted FROM auction.place_bid($auction, 7, $price)";
}

sub recorded
{
	my ($amount) = @_;

	wait_applied($node, 'postgres');
	return sql("SELECT count(*) FROM auction.bids WHERE amount = $amount");
}

sub stop_router
{
	my $pid = worker_pid($node, 'postgres', 'router');

	kill 'STOP', $pid;
	poll('the router is stopped',
		sub { return slurp_file("/proc/$pid/stat") =~ /\) T /; });
	return $pid;
}

# ---- more clients than slots ----

my $first = new_auction($node, 'postgres', route => "'redis'");
my $last = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
my $load = start_bidders(
	$node, 'postgres', $first, $last,
	clients => 16,
	bids => 2000);
my $told = finish_bidders($load);
is($told->{not_recorded} + $told->{unknown},
	0, '16 clients, 4 slots: each bid has a verdict');
wait_applied($node, 'postgres');
check_answers($node, 'postgres', $load);

# ---- giving up while the router does not answer: published, not taken ----

my $router = stop_router();
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($id)),
	'RB002',
	'statement_timeout before the router took the bid: not recorded');
my $withdrawn = $price;
my $client = start_psql($node, 'postgres', place($id));
my $terminated = $price;
wait_waiting($node, 'postgres', 1);
sql(<<'SQL');
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'
SQL
my ($out, $err) = finish_psql($client);
like(
	$err,
	qr/WARNING:  RB002:.*because the session ends.*FATAL:  57P01/s,
	'terminated: the client is told that the bid is not recorded');
is( sql_error(
		$node, 'postgres', "SET auction.overload_timeout = '100ms';" . place($id)
	),
	'RB004',
	'auction.overload_timeout: overloaded');
my $overloaded = $price;

# ---- no slot is free ----

my @clients;
my @amounts;
foreach (1 .. 4)
{
	push @clients,
	  start_psql($node, 'postgres', "SET auction.overload_timeout = '5min'",
		place($id));
	push @amounts, $price;
	wait_waiting($node, 'postgres', scalar(@clients));
}
is( sql_error(
		$node, 'postgres', "SET auction.overload_timeout = '100ms';" . place($id)
	),
	'RB004',
	'no slot: overloaded');
my $slotless = $price;
push @clients,
  start_psql($node, 'postgres', "SET auction.overload_timeout = '5min'",
	place($id));
push @amounts, $price;
wait_waiting($node, 'postgres', 5);
kill 'CONT', $router;
is(join(' ', map { (finish_psql($_))[0] } @clients),
	't t t t t', 'who waited is served when the router goes on');
is(join(' ', map { recorded($_) } @amounts),
	'1 1 1 1 1', '... and recorded once');
is( join(' ',
		map { recorded($_) } $withdrawn,
		$terminated, $overloaded, $slotless),
	'0 0 0 0',
	'who was told "not recorded" is not');

# ---- giving up when the router has taken the bid ----

sql('SELECT auction.pause_drain()');
is( sql_error(
		$node, 'postgres', "SET statement_timeout = '100ms';" . place($slow)),
	'RB003',
	'statement_timeout while the journal is awaited: outcome unknown');
my $timed_out = $price;
$client = start_psql($node, 'postgres', place($slow));
$terminated = $price;
wait_waiting($node, 'postgres', 1);
sql(<<'SQL');
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'
SQL
($out, $err) = finish_psql($client);
like($err, qr/WARNING:  RB003:.*FATAL:  57P01/s,
	'terminated: the client is told that the outcome is unknown');
$client = start_psql($node, 'postgres', place($slow));
my $cancelled = $price;
wait_waiting($node, 'postgres', 1);
sql(<<'SQL');
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
 WHERE wait_event_type = 'Extension' AND backend_type = 'client backend'
SQL
($out, $err) = finish_psql($client);
like($err, qr/RB003/, 'cancelled: the same');
sql('SELECT auction.resume_drain()');
is( join(' ', map { recorded($_) } $timed_out, $terminated, $cancelled),
	'1 1 1', 'this time each of them is recorded, once');

# Had one of the slots stayed behind, the fourth would not be served.
sql('SELECT auction.pause_drain()');
@clients = ();
foreach (1 .. 4)
{
	push @clients, start_psql($node, 'postgres', place($slow));
	wait_waiting($node, 'postgres', scalar(@clients));
}
poll_until($node, 'postgres',
	'SELECT backlog_records = 4 FROM auction.stat_lanes');
sql('SELECT auction.resume_drain()');
is(join(' ', map { (finish_psql($_))[0] } @clients),
	't t t t', 'no slot was lost on the way');

# ---- the tail is full ----

sub fill_tail
{
	my $accepted = 0;

	sql('SELECT auction.pause_drain()');
	while (1)
	{
		my ($ret, $rows, $error) = ask($node, 'postgres', <<"SQL");
\\set VERBOSITY verbose
SET auction.overload_timeout = '300ms';
SELECT count(*) FILTER (WHERE accepted) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, 7, $price + i, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 50) i))
SQL
		if ($ret == 0)
		{
			$accepted += $rows;
			$price += 50;
			next;
		}
		my ($known) =
		  $error =~ /Of the 50 bids of this call (\d+) are known to be accepted/;
		$price += 50;
		return ($accepted + $known, $error);
	}
}

my $before = sql("SELECT bid_count FROM auction.standing($id)");
my ($accepted, $error) = fill_tail();
like($error, qr/RB004/, "full tail: overloaded, after $accepted bids");
cmp_ok($accepted, '>', 100, 'the tail holds a good deal');
is( sql_error(
		$node, 'postgres', "SET auction.overload_timeout = '100ms';" . place($id)
	),
	'RB004',
	'still full');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $id"),
	$before, 'nothing is applied while the drain is held');
cmp_ok(
	sql('SELECT tail_bytes_used FROM auction.stat_lanes'),
	'>', 32 * 1024, 'stat_lanes shows it');
$client = start_psql($node, 'postgres', "SET auction.overload_timeout = '5min'",
	place($id));
wait_waiting($node, 'postgres', 1);
sql('SELECT auction.resume_drain()');
is((finish_psql($client))[0], 't', 'who waits for room gets it');
wait_applied($node, 'postgres');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $id"),
	$before + $accepted + 1, 'all accepted are there, and no other');

# A router that is new to a full tail takes it over as it is.
$before = sql("SELECT bid_count FROM auction.standing($id)");
($accepted, $error) = fill_tail();
$router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
sql('SELECT auction.resume_drain()');
poll_until($node, 'postgres', place($id));
wait_applied($node, 'postgres');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $id"),
	$before + $accepted + 1, 'full tail, new router: nothing is lost');

# A tail that is full again and again, by records of many sizes.
my $sized = new_auction($node, 'postgres', route => "'redis'");
sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($sized, 7, i, NULL,
		jsonb_build_object('a', repeat('x', (i * 37) % 900)))
		::auction.bid_request
	FROM generate_series(1, 1000) i))
SQL
wait_applied($node, 'postgres');
is( sql(<<"SQL"), '1000|1000', 'records of many sizes, many times the tail');
SELECT count(*), count(*) FILTER (
	WHERE length(attributes ->> 'a') = (amount * 37) % 900)
FROM auction.bids WHERE auction_id = $sized
SQL

# ---- auction.drain_rate ----

sub set_and_reload
{
	my ($name, $value) = @_;

	sql("ALTER SYSTEM SET $name = $value");
	sql('SELECT pg_reload_conf()');
	poll_until($node, 'postgres', "SHOW $name", $value =~ s/'//gr);
	return;
}

my $rated = new_auction($node, 'postgres', route => "'redis'");
set_and_reload('auction.drain_rate', 10);
# a worker sees it when it has read one more record
sql("SELECT auction.place_bid($rated, 7, 1)");
poll_until($node, 'postgres',
	"SELECT bid_count = 1 FROM auction.standings WHERE id = $rated");
sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($rated, 7, i, NULL, NULL)::auction.bid_request
	FROM generate_series(2, 200) i))
SQL
poll_until($node, 'postgres',
	"SELECT bid_count >= 3 FROM auction.standings WHERE id = $rated");
cmp_ok(
	sql("SELECT bid_count FROM auction.standings WHERE id = $rated"),
	'<', 100, 'drain_rate: the drain is held back');
is(sql(<<"SQL"), '1', '... to a row a transaction at 10 a second');
SELECT max(n) FROM (SELECT count(*) AS n FROM auction.journal
	WHERE auction_id = $rated GROUP BY xmin::text) t
SQL
set_and_reload('auction.drain_rate', 0);
wait_applied($node, 'postgres');
is( sql("SELECT bid_count FROM auction.standings WHERE id = $rated"),
	'200', 'no limit any more: all is applied');

# ---- the log is trimmed behind what is applied ----

# One entry each: Redis trims by nodes of a hundred.
my $log = '{auction:1}:log';
my $trim_from = $price;
sql(<<"SQL");
DO \$\$ BEGIN
	FOR i IN 1..400 LOOP
		PERFORM auction.place_bid($id, 7, $price + i);
	END LOOP;
END \$\$
SQL
$price += 400;
cmp_ok($redis->cli('XLEN', $log), '>=', 400, 'log_retention: all is kept');
set_and_reload('auction.log_retention', "'0'");
poll('the log is trimmed',
	sub { return $redis->cli('XLEN', $log) <= 100; });
pass('without retention the log is trimmed');
sql('SELECT auction.pause_drain()');
my $applied = sql('SELECT applied FROM auction.stat_lanes');
sql(<<"SQL");
DO \$\$ BEGIN
	FOR i IN 1..150 LOOP
		PERFORM auction.place_bid($id, 7, $price + i);
	END LOOP;
END \$\$
SQL
$price += 150;
# Two rounds of upkeep, seen by what they ask of Redis.
my $trims = sub {
	return $redis->cli('INFO', 'commandstats') =~ /cmdstat_xtrim:calls=(\d+)/
	  ? $1
	  : 0;
};
my $seen = $trims->();
poll('it was trimmed twice', sub { return $trims->() >= $seen + 2; });
my $kept = grep { $_ > $applied } $redis->cli('XRANGE', $log, '-', '+') =~ /^(\d+)-0$/mg;
is($kept, 150, 'what is not applied stays in the log');
sql('SELECT auction.resume_drain()');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'in the end');

done_testing();
