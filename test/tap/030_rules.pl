# Rules of the lane protocol (src/README.md) that no other test file is about:
# who breaks one sees it here. The router's connection is cut by giving the
# server another address, so that what Redis has can be changed meanwhile.

use strict;
use warnings;

use AuctionTest;
use IO::Select;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(usleep);

# streaming: without it commits never wait for a standby
my $node = new_node('rules', streaming => 1, conf => <<'CONF');
auction.slots = 256
max_prepared_transactions = 2
auction.tail_size = '1MB'
auction.lane_lease = '1h'
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1,
	options => "command_timeout '1h', connect_timeout '500ms'");
my $socket = $redis->socket;
my ($log, $term) = ('{auction:1}:log', '{auction:1}:term');

sub sql { return $node->safe_psql('postgres', @_); }

my $id = new_auction($node, 'postgres', route => "'redis'");
my $other = new_auction($node, 'postgres', route => "'redis'");
my $price = 0;
my $next;
my $proxy;

sub place
{
	my ($auction, $amount) = @_;
	return "SELECT accepted, reason FROM auction.place_bid($auction, 7, $amount)";
}

# A bid that the rules accept.
sub bid { $price++; return sql(place($id, $price)); }

sub lane { return sql("SELECT $_[0] FROM auction.stat_lanes"); }

sub recorded
{
	return sql('SELECT count(*) FROM auction.bids'
		  . " WHERE auction_id = $id AND amount = $_[0]");
}

sub leave_redis
{
	sql("ALTER SERVER redis1 OPTIONS (SET host '/nonexistent/redis.sock')");
	return poll_until($node, 'postgres',
		'SELECT NOT redis_ready FROM auction.stat_lanes');
}

sub return_to_redis
{
	return sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
}

# Stands between router and Redis. While the file "hold" is there, it keeps back
# what has the record of a bid in it, and all that follows.
sub proxy
{
	my ($path, $hold) = @_;
	my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 5)
	  or die "could not listen: $!";
	my $pid = fork // die "could not fork: $!";

	return $pid if $pid != 0;
	$SIG{TERM} = sub { POSIX::_exit(0) };
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	while (my $client = $listen->accept)
	{
		my $server = IO::Socket::UNIX->new(Peer => $socket) or next;
		my $select = IO::Select->new($client, $server);
		my $open = 1;

		while ($open)
		{
			foreach my $from ($select->can_read)
			{
				my $data = '';
				$open = 0 if !sysread($from, $data, 65536);
				usleep(10_000)
				  while $from == $client && $data =~ /^bid \d/m && -e $hold;
				syswrite($from == $client ? $server : $client, $data);
			}
		}
	}
	POSIX::_exit(0);
}

sub stop_proxy
{
	return if !$proxy;
	kill 'TERM', $proxy;
	waitpid $proxy, 0;
	$proxy = undef;
	return;
}

END
{
	my $exit_code = $?;
	stop_proxy();
	$? = $exit_code;
}

sub crash
{
	my $router = worker_pid($node, 'postgres', 'router');

	kill 'KILL', worker_pid($node, 'postgres', 'drain');
	worker_pid($node, 'postgres', 'router', not => $router);
	return;
}

# ---- place_bids: in order, whoever else hands bids over ----

my @sales = map { new_auction($node, 'postgres', route => "'redis'") } 1 .. 16;
my @clients = map { start_psql($node, 'postgres', <<"SQL") } @sales;
SELECT count(*), count(*) FILTER (WHERE accepted) FROM
	generate_series(0, 39) wave,
	LATERAL (SELECT array_agg(ROW($_, 7, wave * 50 + i, NULL, NULL)
		::auction.bid_request ORDER BY i) AS bids
		FROM generate_series(1, 50) i) b,
	LATERAL auction.place_bids(bids)
SQL
is( join(' ', map { (finish_psql($_))[0] } @clients),
	join(' ', ('2000|2000') x 16),
	'16 clients: rising bids of one call are decided in their order');

# ---- rule 14: no verdict before what it depends on is confirmed ----

bid();
wait_applied($node, 'postgres');
$redis->freeze;
my $pending = ++$price;
my $patient = "SET auction.overload_timeout = '1min'";
my $accepted = start_psql($node, 'postgres', $patient, place($id, $pending));
wait_waiting($node, 'postgres', 1);
poll_until($node, 'postgres',
	'SELECT backlog_records = 1 FROM auction.stat_lanes');
my $rejected = start_psql($node, 'postgres', $patient, place($id, $pending));
wait_waiting($node, 'postgres', 2);

# The seller's bid on an auction without records depends on nothing: when it is
# answered, those before it have been decided.
is( sql("SELECT reason FROM auction.place_bid($other, 0, 1)"),
	'seller', 'a rejection that depends on no record needs no Redis')
  foreach 1 .. 3;
wait_waiting($node, 'postgres', 2);
is(told_psql($accepted) . told_psql($rejected),
	'', 'neither acceptance nor rejection is told while Redis has not answered');

# ---- rule 13: a new router answers its predecessor's slots ----

sql('SELECT auction.pause_drain()');
my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
wait_lanes($node, 'postgres', 'degraded');
wait_waiting($node, 'postgres', 2);
is(told_psql($accepted) . told_psql($rejected),
	'', 'nor does the next router tell, while nothing is confirmed or applied');
$redis->thaw;
sql('SELECT auction.resume_drain()');
is((finish_psql($accepted))[0],
	't|', 'a bid whose record is in the tail is accepted by the next router');
is((finish_psql($rejected))[0],
	'f|too_low', 'a slot without a record is handed over and decided again');
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is(recorded($pending), '1', 'it is recorded once');

# It decides nothing while rows are behind the tail.
sql('SELECT auction.pause_drain()');
bid() foreach 1 .. 3;
$router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
my $late = start_psql($node, 'postgres', place($id, $price));
wait_waiting($node, 'postgres', 1);
poll_until($node, 'postgres',
	"SELECT state = 'normal' AND redis_ready FROM auction.stat_lanes");
sql('SELECT auction.resume_drain()');
is((finish_psql($late))[0],
	'f|too_low', 'a new router decides on rows that have all of the tail');

# ---- rule 17: applied is told when it is flushed where it has to be ----

my $slow = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
wait_applied($node, 'postgres');
sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
$node->reload;

sub wait_hanging
{
	my ($drain) = @_;

	return poll_until($node, 'postgres', <<"SQL");
SELECT count(*) = 1 FROM pg_stat_activity
 WHERE wait_event = 'SyncRep' AND backend_type = 'auction drain' AND pid <> $drain
SQL
}

poll(
	'commits wait for the standby',
	sub {
		$price++;
		sql("SELECT auction.place_bid($id, 7, $price, gen_random_uuid())");
		return sql("SELECT count(*) FROM pg_stat_activity"
			  . " WHERE wait_event = 'SyncRep' AND backend_type = 'auction drain'"
		);
	});
my $flushed = start_psql($node, 'postgres', place($slow, 1));
wait_waiting($node, 'postgres', 1);
my $applied = lane('applied');
my $drain = worker_pid($node, 'postgres', 'drain');
sql("SELECT pg_terminate_backend($drain)");
wait_hanging($drain);
is(lane('applied'), $applied,
	'neither a drain that is told to end nor its successor publish "applied"');
is(told_psql($flushed), '', '... and nobody is told who waits for it');
my ($repeat) = split /\n/, sql(<<"SQL");
SELECT format('SELECT auction.place_bid(%s, 7, %s, %L)', auction_id, amount,
	request_id)
FROM auction.journal WHERE position > $applied
SQL
is( sql_error($node, 'postgres', "SET statement_timeout = '200ms'; $repeat"),
	'RB003',
	'... nor who repeats a bid that is in the journal: unknown, at the timeout');
is( sql_error(
		$node, 'postgres', "SET auction.overload_timeout = '200ms'; $repeat"),
	'RB003',
	'... and at the end of his patience');
sql('ALTER SYSTEM RESET synchronous_standby_names');
$node->reload;
is((finish_psql($flushed))[0], 't|', 'commits go on: so does he');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'routers and drains');

# ---- rule 21: a held auction keeps the steward from no other ----

my ($held, $due) = split /\n/, sql(<<'SQL');
INSERT INTO auction.auctions (seller_id, ends_at, route)
SELECT 0, now() + i * interval '1 ms' + interval '3 s', 'table'
FROM generate_series(1, 2) i RETURNING id;
BEGIN;
UPDATE auction.auctions SET start_price = 5
 WHERE route = 'table' AND id = (SELECT max(id) - 1 FROM auction.auctions);
PREPARE TRANSACTION 'held';
SQL
wait_status($node, 'postgres', $due, 'consolidated');
is(sql("SELECT status, ends_at < now() FROM auction.standings WHERE id = $held"),
	'open|t', 'the steward goes on to the next auction, past one that is held');
sql("COMMIT PREPARED 'held'");
wait_status($node, 'postgres', $held, 'consolidated');

# ---- rule 5: a position is never given twice ----

my $reserved = sql('SELECT reserved FROM auction._lane_terms');
crash();
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is(bid(), 't|', 'after a crash');
cmp_ok(lane('published'), '>', $reserved,
	'the block that was reserved before is given up');
cmp_ok(sql('SELECT reserved FROM auction._lane_terms'),
	'>', lane('published'), '... and another one reserved');

# ---- rule 6: what is unapplied stays in the tail; rule 10: the jump ----

wait_applied($node, 'postgres');
sql('SELECT auction.pause_drain()');
$applied = lane('published');
bid() foreach 1 .. 5;
leave_redis();
my $stored_term = sql('SELECT term FROM auction._lane_terms');
$redis->cli('FLUSHALL');
return_to_redis();
wait_lanes($node, 'postgres', 'normal');
is(sql("SELECT term > $stored_term FROM auction._lane_terms"),
	't', 'an empty Redis does not take the term back');
is($redis->cli('HGET', $term, 'term'),
	sql('SELECT term FROM auction._lane_terms'),
	'... which PostgreSQL knows');
my %entries =
  $redis->cli('XRANGE', $log, '-', '+') =~ /^(\d+)\n((?:jump|bid) .*)$/mg;
my @first = sort { $a <=> $b } keys %entries;
is(scalar(@first), 6, 'an empty Redis gets a jump and what is unapplied');
is($first[0], $applied, '... the jump up to what is applied');
is($entries{ $first[0] }, 'jump 1', '... and from the first position on');
is(bid(), 't|', 'bids go on');
sql('SELECT auction.resume_drain()');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'Redis emptied');

# While a router returns, the drain applies what the log does not have yet.
my $hold = PostgreSQL::Test::Utils::tempdir() . '/hold';
my $path = PostgreSQL::Test::Utils::tempdir_short() . '/proxy.sock';
$proxy = proxy($path, $hold);
leave_redis();
sql('SELECT auction.pause_drain()');
my $back = start_psql($node, 'postgres', place($id, ++$price));
poll_until($node, 'postgres',
	'SELECT backlog_records = 1 FROM auction.stat_lanes');
$next = lane('published');
append_to_file($hold, '');
sql("ALTER SERVER redis1 OPTIONS (SET host '$path')");
wait_lanes($node, 'postgres', 'returning');
sql('SELECT auction.resume_drain()');
is((finish_psql($back))[0], 't|', 'a returning lane: bids are committed');
my ($error, $tries) = ('', 0);
while ($error eq '' && $tries++ < 100)
{
	$error = sql_error($node, 'postgres', <<"SQL");
SET auction.overload_timeout = '500ms';
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, 7, $price + i, NULL,
		jsonb_build_object('a', repeat('x', 900)))::auction.bid_request
	FROM generate_series(1, 50) i))
SQL
	$price += 50;
}
is($error, 'RB004', '... and fill the tail, as the log does not have them');
unlink $hold;
wait_lanes($node, 'postgres', 'normal');
my $bids = () = $redis->cli('XRANGE', $log, "$next-0", '+') =~ /^bid /mg;
is($bids, lane('published') - $next + 1, '... from which it gets all of them');
leave_redis();

# auction.degraded is turned off meanwhile: what is returned to says nothing yet
sql('SELECT auction.pause_drain()');
$back = start_psql($node, 'postgres', place($id, ++$price));
poll_until($node, 'postgres',
	'SELECT backlog_records = 1 FROM auction.stat_lanes');
sql('ALTER SYSTEM SET auction.degraded = off');
$node->reload;
poll('refused',
	sub { return sql_error($node, 'postgres', place($id, $price + 1)) eq 'RB006'; });
append_to_file($hold, '');
sql("ALTER SERVER redis1 OPTIONS (SET host '$path')");
wait_lanes($node, 'postgres', 'returning');
my $undecided = start_psql($node, 'postgres', place($id, $price + 1));
wait_waiting($node, 'postgres', 2);
leave_redis();
wait_lanes($node, 'postgres', 'waiting');
like((finish_psql($undecided))[1],
	qr/RB006|waits for Redis/, 'auction.degraded off, returning: nothing is decided');
like((finish_psql($back))[1], qr/RB003/, '... nor told of what was before');
stop_proxy();
unlink $hold;
return_to_redis();
wait_lanes($node, 'postgres', 'normal');
is(lane('degraded_seconds > 0 AND reappended IS NOT NULL'),
	't', '... until it is normal');
sql('SELECT auction.resume_drain()');
wait_applied($node, 'postgres');
is(recorded($price) . recorded($price + 1), '10', '... which is recorded then');
sql('ALTER SYSTEM RESET auction.degraded');
$node->reload;

# ---- rule 9: the log is compared with the tail by content ----

sql('SELECT auction.pause_drain()');
leave_redis();
my $decided = start_psql($node, 'postgres', place($id, ++$price));
poll_until($node, 'postgres',
	'SELECT backlog_records = 1 FROM auction.stat_lanes');
$next = lane('published');
$redis->cli('XADD', $log, "$next-0", $next, 'bid of somebody else');
return_to_redis();
wait_lanes($node, 'postgres', 'fenced');
$node->wait_for_log(
	qr/lane 1 .* is fenced: the log differs from what was decided here/);
like(
	(finish_psql($decided))[1],
	qr/RB003/,
	'another record at our position: fenced, the outcome is unknown');
is(sql_error($node, 'postgres', place($id, $price + 1)),
	'RB007', '... and nothing is decided');
sql('SELECT auction.resume_drain()');
$drain = worker_pid($node, 'postgres', 'drain');
my $began = sql('SELECT drain_at FROM auction.lanes');
sql("SELECT pg_terminate_backend($drain)");
worker_pid($node, 'postgres', 'drain', not => $drain);
poll_until($node, 'postgres',
	"SELECT drain_at > '$began' FROM auction.lanes");
is(recorded($price), '0', '... or applied, though a drain has looked at it');
# The second term taken says that the first comparison is over.
for (1 .. 2)
{
	my $before = $redis->cli('HGET', $term, 'term');
	$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
	AuctionTest::poll('the lane is taken again',
		sub { return $redis->cli('HGET', $term, 'term') > $before; });
}
is(lane('state'), 'fenced', '... nor on the connections after that');
$redis->cli('DEL', $log, $term);
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is(recorded($price), '1', 'the log is gone: what was decided here stands');

# The log names a position that nobody was given.
leave_redis();
$next = lane('published') + 10;
$redis->cli('XADD', $log, "$next-0", $next, 'bid of somebody else');
return_to_redis();
wait_lanes($node, 'postgres', 'fenced');
pass('a position that was never given: fenced');
$redis->cli('DEL', $log, $term);
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_lanes($node, 'postgres', 'normal');
is(bid(), 't|', '... until it is gone');

# ---- rule 11: a lane of another uuid is refused; a possible loss is told ----

wait_applied($node, 'postgres');
is( lane('possible_loss_after IS NULL'),
	't', 'so far no acknowledged bid can be lost');
sql('SELECT auction.pause_drain()');
$applied = lane('applied');
is(bid(), 't|', 'a bid that only Redis and the tail have');
$redis->cli('HSET', $term, 'uuid', '00000000-0000-0000-0000-000000000000');
my $stream = $redis->cli('XINFO', 'STREAM', $log);
sql("ALTER SYSTEM SET auction.lane_lease = '1s'");
$node->reload;
crash();
wait_lanes($node, 'postgres', 'fenced');
is(sql_error($node, 'postgres', place($id, $price + 1)),
	'RB007', 'another uuid in Redis: fenced');
is($redis->cli('XINFO', 'STREAM', $log), $stream, '... the log is not touched');

# Redis has not restarted and its log ends where "applied" is: nothing but that
# the lane was fenced says that there may have been more.
$redis->cli('DEL', $log, $term);
$redis->cli('XADD', $log, "$applied-0", $applied, 'jump 1');
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_lanes($node, 'postgres', 'normal');
is(lane('possible_loss_after'),
	$applied, 'lost while fenced and recovering: it is said from where on');
is(bid(), 't|', 'bids go on');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'in the end');
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');

done_testing();
