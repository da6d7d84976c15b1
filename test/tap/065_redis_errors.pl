# Each fault of a Redis and the reaction to it (src/redis_error.c): bids go on,
# acknowledged at level "journal"; what is wrong is in stat_lanes and, in a line
# or two, in the server log; the lane comes back by itself when the cause is
# gone, and log and journal agree.

use strict;
use warnings;

use AuctionTest;
use File::Path qw(remove_tree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('errors', conf => "log_checkpoints = off\n");
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $redis = start_redis(conf => "port $port\nbind 127.0.0.1\nbusy-reply-threshold 20\n");
attach($node, 'postgres', $redis, options => "command_timeout '300ms'");

sub sql { return $node->safe_psql('postgres', @_); }

my $id = new_auction($node, 'postgres', route => "'redis'");
my $log = '{auction:1}:log';
my $term = '{auction:1}:term';
my $price = 0;
my %seen;

# The level at which a bid is accepted; '' if it is not.
sub bid
{
	$price++;
	return sql("SELECT durability FROM auction.place_bid($id, 7, $price)"
		  . ' WHERE accepted');
}

# ... without the drain: only Redis can have confirmed it.
sub bid_without_drain
{
	sql('SELECT auction.pause_drain()');
	my $level = bid();
	sql('SELECT auction.resume_drain()');
	return $level;
}

# Tests: nothing is missing, anywhere.
sub check_all
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $from) = @_;
	my ($last, %there);

	wait_applied($node, 'postgres');
	is( sql("SELECT count(*), max(amount) FROM auction.bids"),
		"$price|$price", "$what: every bid is there once");
	my @lines = split /\n/, ($from // $redis)->cli('XRANGE', $log, '-', '+');
	my $holes = '';
	while (@lines)
	{
		my $position = shift @lines;
		next if $position =~ /^\d+-\d+$/;
		my $text = shift @lines;
		my $first = $text =~ /^(?:jump|skip) (\d+)$/ ? $1 : $position;

		$holes .= " $last-$first" if defined $last && $first != $last + 1;
		$last = $position;
	}
	is("$holes $last", ' ' . sql('SELECT published FROM auction.stat_lanes'),
		"$what: the log has no hole and the last position");
	return;
}

sub lines
{
	my ($from, $pattern) = @_;
	return scalar(
		() = substr(slurp_file($node->logfile), $from) =~ /$pattern/g);
}

# A fault that lasts: do makes it, error is what stat_lanes then says, undo ends
# it.
sub fault
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name, %fault) = @_;
	my $from = -s $node->logfile;

	$fault{do}->();
	isnt(bid(), '', "$name: a bid in that moment is accepted");
	poll_until($node, 'postgres', <<"SQL");
SELECT state = 'degraded' AND redis_error ~ '$fault{error}' AND
	degraded_at IS NOT NULL AND reappended IS NULL FROM auction.stat_lanes
SQL
	pass("$name: the lane is degraded, and stat_lanes says why");
	is(bid(), 'journal', "$name: bids go on, committed by PostgreSQL");
	# ... while the router tries again and again
	my $tries = 0;
	my $at = '';
	poll(
		"$name: the router tries again",
		sub {
			my $now = sql('SELECT redis_error_at FROM auction.stat_lanes');
			$tries++ if $now ne $at;
			$at = $now;
			return $tries >= 5;
		});
	is(bid(), 'journal', "$name: ... however long");
	my $told = lines($from, qr/cannot be used: .*(?:$fault{error})/);
	ok($told >= ($seen{$fault{error}}++ ? 0 : 1) && $told < $tries,
		"$name: the server log says it once, not with every try ($told)");
	ok(lines($from, qr/is degraded/) <= 1, "$name: and of the lane once");

	$fault{undo}->();
	wait_lanes($node, 'postgres', 'normal');
	is(bid_without_drain(), 'redis', "$name: back by itself");
	is( sql('SELECT redis_error IS NULL AND redis_ready AND reappended >= 0'
			  . ' AND degraded_seconds > 0 FROM auction.stat_lanes'),
		't',
		"$name: stat_lanes says that it is over");
	check_all($name);
	return;
}

# One that is over at once: the lane is degraded, or asks who owns it, for a
# moment.
sub passing
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name, $do) = @_;
	$do->();
	isnt(bid(), '', "$name: a bid in that moment is accepted");
	poll_until($node, 'postgres', <<"SQL");
SELECT state = 'normal' AND redis_error IS NULL FROM auction.stat_lanes
SQL
	is(bid_without_drain(), 'redis', "$name: back by itself");
	check_all($name);
	return;
}

sub config { return $redis->cli('CONFIG', 'SET', @_); }

is(bid_without_drain(), 'redis', 'nothing is wrong');
check_all('before');

# ---- the connection ----

fault(
	'refused connection',
	do => sub { $redis->kill9; },
	error => 'could not connect',
	undo => sub { $redis->start; });
passing('closed connection',
	sub { $redis->cli('CLIENT', 'KILL', 'TYPE', 'normal'); });
fault(
	'hang',
	do => sub { $redis->freeze; },
	error => 'no reply within|no answer to the greeting',
	undo => sub { $redis->thaw; });

# ---- error replies ----

fault(
	'READONLY',
	do => sub { $redis->cli('REPLICAOF', '127.0.0.1', '1'); },
	error => 'READONLY',
	undo => sub { $redis->cli('REPLICAOF', 'NO', 'ONE'); });
# One that could be written to, but not while it has lost its master.
config('replica-serve-stale-data', 'no');
config('replica-read-only', 'no');
fault(
	'MASTERDOWN',
	do => sub { $redis->cli('REPLICAOF', '127.0.0.1', '1'); },
	error => 'MASTERDOWN',
	undo => sub { $redis->cli('REPLICAOF', 'NO', 'ONE'); });
fault(
	'OOM',
	do => sub { config('maxmemory', '1'); },
	error => 'OOM',
	undo => sub { config('maxmemory', '0'); });
fault(
	'NOREPLICAS',
	do => sub { config('min-replicas-to-write', '1'); },
	error => 'NOREPLICAS',
	undo => sub { config('min-replicas-to-write', '0'); });

# A disk that takes no write: Redis may not write into its directory.
fault(
	'MISCONF',
	do => sub {
		config('save', '3600 1');
		chmod 0500, $redis->dir;
		$redis->try('BGSAVE');
		poll('BGSAVE has failed',
			sub { $redis->cli('INFO') =~ /rdb_last_bgsave_status:err/ });
	},
	error => 'MISCONF',
	undo => sub {
		chmod 0700, $redis->dir;
		config('save', '');
	});
fault(
	'NOAUTH',
	do => sub {
		config('requirepass', 'open-sesame');
		local $ENV{REDISCLI_AUTH} = 'open-sesame';
		$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
	},
	error => 'NOAUTH',
	undo => sub {
		local $ENV{REDISCLI_AUTH} = 'open-sesame';
		config('requirepass', '');
	});
fault(
	'NOPERM',
	do => sub { $redis->cli('ACL', 'SETUSER', 'default', '-evalsha'); },
	error => 'NOPERM',
	undo => sub { $redis->cli('ACL', 'SETUSER', 'default', '+@all'); });

# Somebody else's script that does not end.
my $foreign;
fault(
	'BUSY',
	do => sub {
		$foreign = IPC::Run::start(
			[
				'redis-cli', '-s', $redis->socket, 'EVAL',
				'while true do end', '0'
			],
			'<', \undef, '>', \my $out, '2>', \my $err);
		poll('Redis is busy',
			sub { $redis->try('PING') =~ /^BUSY/ });
	},
	error => 'BUSY',
	undo => sub {
		$redis->cli('SCRIPT', 'KILL');
		$foreign->finish;
	});

# It loads one key after the other, slowly, from the beginning of its file.
fault(
	'LOADING',
	do => sub {
		$redis->cli('EVAL',
			'for i = 1, 200 do redis.call("SET", "x" .. i, string.rep("x", 2000)) end',
			'0');
		$redis->cli('BGREWRITEAOF');
		poll('the file is rewritten',
			sub { $redis->cli('INFO') =~ /aof_rewrite_in_progress:0/ });
		$redis->stop;
		$redis->{conf} .=
		  "key-load-delay 200000\nloading-process-events-interval-bytes 1024\n";
		$redis->start(wait => 0);
	},
	error => 'LOADING',
	undo => sub {
		config('key-load-delay', '0');
		$redis->{conf} =~ s/^key-load-delay.*\n//m;
	});

passing('NOSCRIPT', sub { $redis->cli('SCRIPT', 'FLUSH'); });

# ---- an append that its own checks refuse (rule 9) ----

passing('another term (TERM)', sub { $redis->cli('HSET', $term, 'term', '9999'); });
passing('the key of the term is gone', sub { $redis->cli('DEL', $term); });
passing('another last position (LAST)',
	sub { $redis->cli('HSET', $term, 'last', '1'); });
passing('the log is gone (GONE)', sub { $redis->cli('DEL', $log); });
passing('everything is gone (FLUSHALL)', sub { $redis->cli('FLUSHALL'); });

# A key of another type is somebody else's: the lane is fenced, nothing of it is
# deleted; when it is gone the next connection takes the lane.
$redis->cli('DEL', $log);
$redis->cli('SET', $log, 'not a log');
$price++;
my $got = sql_error($node, 'postgres',
	"SELECT accepted FROM auction.place_bid($id, 7, $price)");
like($got, qr/^(RB003|RB007|)$/,
	'WRONGTYPE: the bid in that moment is accepted, or its error is clear');
wait_lanes($node, 'postgres', 'fenced');
is( sql_error(
		$node, 'postgres',
		"SELECT auction.place_bid($id, 7, $price + 1)"),
	'RB007',
	'WRONGTYPE: the next one is refused');
is($redis->cli('GET', $log), 'not a log', 'WRONGTYPE: what is there stays');
$redis->cli('DEL', $log);
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
$price = sql('SELECT count(*) FROM auction.bids');
is(bid_without_drain(), 'redis', 'WRONGTYPE: removed, and back');
check_all('WRONGTYPE');

# ---- what Redis lacks is appended, or jumped if it has left the tail ----

sub away_and_back
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $held, $reappended, $change) = @_;

	sql('SELECT auction.pause_drain()') if $held;
	bid() foreach (1 .. 5);
	$change->();
	wait_lanes($node, 'postgres', 'normal');
	is(sql('SELECT reappended FROM auction.stat_lanes'),
		$reappended, "$what: $reappended records are re-appended");
	sql('SELECT auction.resume_drain()') if $held;
	check_all($what);
	return;
}

# As it was at this moment, some time ago.
my $old = PostgreSQL::Test::Utils::tempdir_short();
wait_applied($node, 'postgres');
$redis->stop;
PostgreSQL::Test::RecursiveCopy::copypath($redis->dir . '/appendonlydir',
	"$old/appendonlydir");
$redis->start;
wait_lanes($node, 'postgres', 'normal');

sub older
{
	$redis->kill9;
	$redis->wipe;
	PostgreSQL::Test::RecursiveCopy::copypath("$old/appendonlydir",
		$redis->dir . '/appendonlydir');
	wait_lanes($node, 'postgres', 'degraded');
	return $redis->start;
}

away_and_back('restored from an older file, unapplied', 1, 5, \&older);
away_and_back('restored from an older file, applied',
	0, 0, sub { wait_applied($node, 'postgres'); older(); });
away_and_back(
	'restarted empty, unapplied',
	1, 5,
	sub {
		$redis->kill9;
		$redis->wipe;
		wait_lanes($node, 'postgres', 'degraded');
		$redis->start;
	});

# A replica that lagged when it was promoted.
my $replica = start_redis(
	conf => "replicaof 127.0.0.1 $port\nrepl-diskless-sync-delay 0\n");
poll('the replica has all of it',
	sub { $replica->cli('XLEN', $log) eq $redis->cli('XLEN', $log) });
$replica->cli('REPLICAOF', 'NO', 'ONE');
sql('SELECT auction.pause_drain()');
bid() foreach (1 .. 5);
$redis->kill9;
my $socket = $replica->socket;
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
poll_until($node, 'postgres',
	'SELECT state = \'normal\' AND reappended = 5 FROM auction.stat_lanes');
pass('a replica that lagged and was promoted gets what it lacks');
sql('SELECT auction.resume_drain()');
is(bid_without_drain(), 'redis', '... and confirms bids');
check_all('failover', $replica);

# ---- a Redis Cluster whose slots nobody serves ----

my $cluster_port = PostgreSQL::Test::Cluster::get_free_port();
my $cluster = start_redis(
	conf => "port $cluster_port\nbind 127.0.0.1\ncluster-enabled yes\n"
	  . "cluster-port 0\n");
$socket = $cluster->socket;
sql("ALTER SERVER redis1 OPTIONS (SET host '$socket')");
$redis = $cluster;
poll_until($node, 'postgres',
	"SELECT redis_error ~ 'CLUSTERDOWN' FROM auction.stat_lanes");
is(bid(), 'journal', 'CLUSTERDOWN: bids go on');
$cluster->cli('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
wait_lanes($node, 'postgres', 'normal');
is(bid_without_drain(), 'redis', 'CLUSTERDOWN: back when its slots are served');
check_all('CLUSTERDOWN');
check_journal($node, 'postgres', 'in the end');

done_testing();
