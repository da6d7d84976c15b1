# Faults that no other file is about (test/README.md has the list): a Redis that
# writes every append to disk, or far too late; a disk that is full; an
# append-only file that was cut off or changed; a clock that is wrong; rights
# that are lost; entries of the log that nobody can read; a router that ends
# again and again, or stands still while PostgreSQL is to stop; no connection
# that is free; bids of one price at one moment.

use strict;
use warnings;

use AuctionTest;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node(
	'faults', conf => <<'CONF');
auction.slots = 16
auction.role_slots = 100
auction.lane_lease = '1h'
max_connections = 40
superuser_reserved_connections = 20
CONF
my $redis = start_redis(appendfsync => 'always');
attach($node, 'postgres', $redis);

sub sql { return $node->safe_psql('postgres', @_); }

my $load_dir = dirname(abs_path(__FILE__)) . '/../load';
my $build = "$PostgreSQL::Test::Utils::tmp_check/load";
system_or_bail('make', '-s', '-C', $load_dir, "BUILD=$build", 'slow_sync.so',
	'other_clock.so');

sql(<<'SQL');
INSERT INTO auction.auctions (seller_id, ends_at, route)
SELECT 0, now() + interval '1 day', 'redis' FROM generate_series(1, 20) i;
SQL
my $log = '{auction:1}:log';
my $price = 0;
my @loads;

# Its level, of a bid on an auction of ours that the load has not; '' refused.
my $id = new_auction($node, 'postgres', route => "'redis'");

sub bid
{
	$price++;
	return sql("SELECT CASE WHEN accepted THEN durability ELSE '' END"
		  . " FROM auction.place_bid($id, 7, $price)");
}

sub bid_without_drain
{
	sql('SELECT auction.pause_drain()');
	my $level = bid();
	sql('SELECT auction.resume_drain()');
	return $level;
}

sub start_load
{
	push @loads,
	  start_bidders($node, 'postgres', 1, 20,
		clients => 8, think => 4, seconds => 300);
	return wait_progress();
}

# Until a good deal more was decided.
sub wait_progress
{
	my ($n) = @_;
	my $before = sql('SELECT published FROM auction.stat_lanes');

	$n //= 200;
	return poll_until($node, 'postgres',
		"SELECT published > $before + $n FROM auction.stat_lanes");
}

sub check_load
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	stop_bidders($loads[-1]);
	wait_applied($node, 'postgres');
	check_answers($node, 'postgres', @loads);
	check_journal($node, 'postgres', $what);
	check_log($what);
	return;
}

# Test: the log has no hole, and the last position.
sub check_log
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;
	my @lines = split /\n/, $redis->cli('XRANGE', $log, '-', '+');
	my ($last, $holes) = (undef, 0);

	while (@lines)
	{
		my $position = shift @lines;
		next if $position =~ /-/;
		my $from = shift(@lines) =~ /^(?:jump|skip) (\d+)$/ ? $1 : $position;

		# One that was lost with its file's end may come back behind a jump.
		$holes++ if defined $last && $from > $last + 1;
		$last = $position;
	}
	is("$holes $last", '0 ' . sql('SELECT published FROM auction.stat_lanes'),
		"$what: the log has no hole and the last position");
	return;
}

# Redis starts again with options changed; its router finds it.
sub restart_redis
{
	my (%change) = @_;

	$redis->stop;
	$redis->{$_} = $change{$_} foreach keys %change;
	$redis->start;
	return wait_lanes($node, 'postgres', 'normal');
}

# The position of the log's last record.
sub last_of_log
{
	return (split /-/, $redis->cli('XREVRANGE', $log, '+', '-', 'COUNT', '1'))[0];
}

sub aof
{
	my @files = sort glob($redis->dir . '/appendonlydir/*.incr.aof');
	return $files[-1];
}

# ---- T01: Redis has each append on disk before it answers ----

start_load();
foreach (1 .. 3)
{
	$redis->kill9;
	wait_lanes($node, 'postgres', 'degraded');
	wait_progress(50);
	$redis->start;
	wait_lanes($node, 'postgres', 'normal');
	wait_progress(50);
}
check_load('appendfsync always, killed three times');

# ---- T02: everysec, and a disk that takes its time ----

# While one fsync goes on Redis keeps back what it has confirmed.
restart_redis(
	appendfsync => 'everysec',
	env => { LD_PRELOAD => "$build/slow_sync.so", SLOW_SYNC_US => 2500000 });
start_load();
my $router = worker_pid($node, 'postgres', 'router');
my $lost = 0;
foreach (1 .. 5)
{
	sql('SELECT auction.pause_drain()');
	poll('an fsync goes on',
		sub { $redis->cli('INFO', 'persistence') =~ /aof_pending_bio_fsync:[1-9]/ });
	wait_progress(20);
	kill 'STOP', $router;
	my $confirmed = sql('SELECT confirmed FROM auction.stat_lanes');
	$redis->kill9;
	$redis->start;
	$lost = $confirmed - last_of_log();
	kill 'CONT', $router;
	wait_progress(20);
	wait_lanes($node, 'postgres', 'normal');
	sql('SELECT auction.resume_drain()');
	last if $lost > 0;
}
cmp_ok($lost, '>', 0, 'Redis has lost records that it had confirmed');
check_load('slow fsync, killed');
is(sql('SELECT possible_loss_after IS NULL FROM auction.stat_lanes'),
	't', 'none of them is lost: the tail had them');

# ---- T03: the disk is full ----

my $full = "trap '' XFSZ; ulimit -f ";

# 20 blocks more than there are; of 512 bytes, or 1024, as the shell has it.
sub size_limit { return $full . (int((-s aof()) / 512) + 20); }

$redis->stop;
restart_redis_limited('everysec');
bid() while sql('SELECT state FROM auction.stat_lanes') eq 'normal';
like(sql('SELECT redis_error FROM auction.stat_lanes'),
	qr/MISCONF|closed|connect|AOF/, 'everysec, disk full: stat_lanes says so');
is(bid(), 'journal', '... bids go on, committed by PostgreSQL');
restart_redis(limits => undef);
is(bid_without_drain(), 'redis', '... and there is room again');

$redis->stop;
restart_redis_limited('always');
bid() while sql('SELECT state FROM auction.stat_lanes') eq 'normal';
is(bid(), 'journal', 'always, disk full: Redis has ended, bids go on');
$redis->kill9;
$redis->{limits} = undef;
$redis->{appendfsync} = 'everysec';
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', '... and there is room again');
wait_applied($node, 'postgres');
check_journal($node, 'postgres', 'disk full');
check_log('disk full');

sub restart_redis_limited
{
	my ($appendfsync) = @_;

	$redis->{env} = {};
	$redis->{limits} = size_limit();
	$redis->{appendfsync} = $appendfsync;
	$redis->start;
	return wait_lanes($node, 'postgres', 'normal');
}

# ---- T10: the append-only file is cut off, or changed ----

bid() foreach 1 .. 5;
$redis->kill9;
truncate aof(), (-s aof()) - 7 or die "could not truncate: $!";
wait_lanes($node, 'postgres', 'degraded');
is(bid(), 'journal', 'Redis is away');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', 'file cut off within a command: Redis is back');
wait_applied($node, 'postgres');
check_log('file cut off');

# Exchanges bytes of the file; the number of places.
sub change_file
{
	my ($from, $to) = @_;
	my $text = slurp_file(aof());
	my $n = ($text =~ s/\Q$from\E/$to/);

	open my $file, '>', aof() or die "could not write: $!";
	binmode $file;
	print $file $text;
	close $file;
	return $n;
}

$redis->kill9;
copy(aof(), aof() . '.saved');
is(change_file("\$4\r\nXADD", "\$9\r\nXADD"), 1, 'a length is changed');
$redis->start(wait => 0);
waitpid($redis->{pid}, 0);
$redis->{pid} = undef;
is(bid(), 'journal', 'Redis refuses such a file; bids go on');
rename(aof() . '.saved', aof());
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', 'back with the file as it was');
check_log('file changed');

# An amount that became another one on the way, after a crash: only the log has
# the record. Its checksum is that of the bid as it was decided.
my $flipped = new_auction($node, 'postgres', route => "'redis'");
sql("SELECT auction.place_bid($flipped, 7, 1234567)");
wait_applied($node, 'postgres');
sql('SELECT auction.pause_drain()');
sql("SELECT auction.place_bid($flipped, 8, 7654321)");
restart_killed(
	$node,
	sub {
		$redis->stop;
		is(change_file("bid $flipped 2 8 7654321 ", "bid $flipped 2 8 7654329 "),
			1, 'an amount is changed in the file');
		$redis->start;
	});

poll_until($node, 'postgres',
	"SELECT state IN ('normal', 'fenced') FROM auction.stat_lanes");
wait_applied($node, 'postgres');
sql("SELECT auction.close_auction($flipped)");
poll_until($node, 'postgres',
	"SELECT status = 'quarantined' FROM auction.standings WHERE id = $flipped");
pass('it is found: the auction is quarantined, and not consolidated');
is(bid_without_drain(), 'redis', 'others go on');

# ---- T11: Redis has another time ----

foreach my $offset (3600, -3600)
{
	restart_redis(
		env => {
			LD_PRELOAD => "$build/other_clock.so",
			OTHER_CLOCK_S => $offset
		});
	my $told = (split /\n/, $redis->cli('TIME'))[0] - time;
	cmp_ok(abs($told - $offset), '<', 60, "Redis' clock is wrong by $offset s");
	my $ends = new_auction($node, 'postgres',
		route => "'redis'",
		ends_at => "now() + interval '1 second'");
	sql("SELECT auction.place_bid($ends, 7, 100)");
	is(bid_without_drain(), 'redis', '... bids go on');
	poll_until($node, 'postgres',
		"SELECT status = 'consolidated' FROM auction.standings WHERE id = $ends");
	is(sql("SELECT bid_count FROM auction.standings WHERE id = $ends"),
		'1', '... and auctions end by the clock of PostgreSQL');
	check_log("clock $offset s");
}
restart_redis(env => {});

# ---- T16: rights are lost ----

# XADD is done by then, so the bid is in the log: only the book is not whole.
$redis->cli('ACL', 'SETUSER', 'default', '-zadd');
is(bid_without_drain(), 'redis', 'no right to ZADD: the bid is recorded');
is(sql("SELECT amount FROM auction.top_bids($id, 1)"),
	$price, '... and is among the top bids');
$redis->cli('ACL', 'SETUSER', 'default', '-xadd');
is(bid(), 'journal', 'no right to XADD: bids go on, committed by PostgreSQL');
$redis->cli('ACL', 'SETUSER', 'default', '+@all');
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', 'rights are back');
wait_applied($node, 'postgres');
ok(wait_shown($node, 'postgres', $redis, $id), '... and the book is whole');
check_log('rights');

# ---- T20: routers end with bids in their hands, bids are given up ----

# While Redis is frozen here no lane is degraded, and none loses its lease,
# however slow the machine is: what waits for Redis waits until it goes on.
set_options($node, 'postgres', "ADD command_timeout '1h'");

# Four times: a worker that ends at once again and again is started later and
# later.
start_load();
foreach (1 .. 4)
{
	my $pid = worker_pid($node, 'postgres', 'router');

	$redis->freeze;
	poll_until($node, 'postgres',
		'SELECT published > confirmed FROM auction.stat_lanes');
	sql("SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'postgres', 'router', not => $pid);
	$redis->thaw;
	wait_progress(10);
}
check_load('four routers');

# Each of these is withdrawn by its timeout, or answered: at any moment of its
# slot's life.
my $given_up = $node->background_psql('postgres', on_error_stop => 0);
$given_up->query("SET statement_timeout = '1ms'");
foreach (1 .. 200)
{
	$price++;
	$given_up->query("SELECT auction.place_bid($id, 7, $price)");
}
$given_up->quit;

# As many bids as there are slots wait at once: each slot is free.
$redis->freeze;
my @waiting = map {
	start_psql($node, 'postgres',
		"SELECT accepted FROM auction.place_bid(" . new_auction($node, 'postgres',
			route => "'redis'") . ", 7, 100)")
} 1 .. 16;
poll_until($node, 'postgres',
	'SELECT sum(published - confirmed) = 16 FROM auction.stat_lanes');
$redis->thaw;
is(join(' ', map { (finish_psql($_))[0] } @waiting),
	join(' ', ('t') x 16), 'no slot was lost on the way');
set_options($node, 'postgres', 'DROP command_timeout');

# ---- T30: one price, one moment ----

foreach my $route ('redis', 'table')
{
	my $auction = new_auction($node, 'postgres', route => "'$route'");
	my $hold = $route eq 'redis' ? undef : start_psql(
		$node, 'postgres', "BEGIN; UPDATE auction.auctions SET title = 'held',"
		  . " start_price = 1 WHERE id = $auction; SELECT pg_sleep(1)");

	$router = worker_pid($node, 'postgres', 'router');
	kill 'STOP', $router if $route eq 'redis';
	my @same = map {
		start_psql($node, 'postgres',
			"SELECT accepted FROM auction.place_bid($auction, $_, 100)")
	} 1 .. 6;
	wait_waiting($node, 'postgres', 6) if $route eq 'redis';
	kill 'CONT', $router;
	is(join(' ', sort map { (finish_psql($_))[0] } @same),
		'f f f f f t', "$route: of six bids of one price one is accepted");
	finish_psql($hold) if $hold;
}

# ---- T25: no connection is free ----

sql('CREATE ROLE plain LOGIN');
my @sessions = map { start_psql_as('plain', 'SELECT pg_sleep(3600)') } 1 .. 25;
poll('no connection is free', sub {
	my ($out, $err) = finish_psql(start_psql_as('plain', 'SELECT 1'));
	return $err =~ /remaining connection slots|too many clients/;
});
pass('no connection is free');
foreach my $kind ('router', 'drain', 'steward')
{
	my $pid = worker_pid($node, 'postgres', $kind);

	sql("SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'postgres', $kind, not => $pid);
}
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', '... and the workers start all the same');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	  . " WHERE usename = 'plain'");
finish_psql($_) foreach @sessions;

sub start_psql_as
{
	my ($role, $statement) = @_;
	local $ENV{PGUSER} = $role;

	return start_psql($node, 'postgres', $statement);
}

# ---- T21: the router stands still while PostgreSQL is to stop ----

$router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
is(system('pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-t', '2', '-s', 'stop')
	  == 0 ? 1 : 0,
	0, 'a fast shutdown waits for a router that stands still');
kill 'CONT', $router;
poll('PostgreSQL stops', sub { !-e $node->data_dir . '/postmaster.pid' });
pass('... and ends when it goes on');
$node->_update_pid(0);
$node->start;
wait_lanes($node, 'postgres', 'normal');
$router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
$node->stop('immediate');
pass('an immediate shutdown does not wait');
$node->start;
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', 'bids go on');

# ---- T27: entries of the log that nobody can read ----

wait_applied($node, 'postgres');
my $end = last_of_log();
foreach my $entry (
	[ 'no record at all', 'garbage' ],
	[ 'binary', "\1\377\0x" ],
	[ 'an amount beyond any', "bid $id 1 7 99999999999999999999 1 o" ],
	[ 'a kind that is not known', "gift $id 1" ])
{
	my ($what, $text) = @$entry;
	my $next = $end + 1;

	$text =~ s/\0/0/g;
	$node->stop('immediate');
	# a log goes on from the last position it ever had, deleted or not
	$redis->cli('COPY', $log, "$log.before");
	$redis->cli('XADD', $log, "$next-0", $next, $text);
	my $from = -s $node->logfile;
	$node->start;
	wait_lanes($node, 'postgres', 'fenced');
	like(
		slurp_file($node->logfile, $from),
		qr/the log's record at position $next cannot be read/,
		"$what: the lane is fenced, and the log says which position");
	is(sql_error($node, 'postgres',
			"SELECT auction.place_bid($id, 7, $price + 1)"),
		'RB007', '... bids are refused');
	$redis->cli('RENAME', "$log.before", $log);
	$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
	wait_lanes($node, 'postgres', 'normal');
	is(bid_without_drain(), 'redis', '... and go on without it');
	wait_applied($node, 'postgres');
	$end = last_of_log();
}
check_journal($node, 'postgres', 'in the end');
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'nothing worse in the log');

done_testing();
