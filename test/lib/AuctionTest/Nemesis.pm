# AuctionTest::Nemesis: breaks things at random while others bid.
#
#   my $nemesis = AuctionTest::Nemesis->new(node => $node, db => 'postgres',
#       redis => $pair, seed => 7);
#   $nemesis->rage(40);                # seconds; then all is well again, or dies
#   $nemesis->periods                  # [from, to]: something was broken
#   $nemesis->losses                   # when Redis and PostgreSQL died together
#   $nemesis->faults                   # [when in seconds, what]
#
# Which faults, how long each is held, and what goes on during it follow from
# the seed; when they hit follows from the machine. Times are microseconds.
#
# What makes Redis forget and what makes PostgreSQL crash do not meet, unless
# as a double fault, which is a fault of its own: then bids of level "redis" may
# be lost. Each waits until all is well again after the other. Everything else
# may come at any time, also while another fault is held: so PostgreSQL crashes
# while Redis hangs.
package AuctionTest::Nemesis;

use strict;
use warnings;

use AuctionTest;
use Carp;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

# Name, how often, what it endangers, function. soft: neither.
my @faults = (
	[ 'end the router', 3, 'soft', sub { $_[0]->_terminate('router'); } ],
	[ 'end the drain', 3, 'soft', sub { $_[0]->_terminate('drain'); } ],
	[ 'end the steward', 1, 'soft', sub { $_[0]->_terminate('steward'); } ],
	[ 'end the launcher', 1, 'soft', sub { $_[0]->_terminate('launcher'); } ],
	[ 'end some clients', 2, 'soft', \&_terminate_clients ],
	[ 'router hangs', 3, 'soft', sub { $_[0]->_hang('router'); } ],
	[ 'drain hangs', 3, 'soft', sub { $_[0]->_hang('drain'); } ],
	[ 'steward hangs', 1, 'soft', sub { $_[0]->_hang('steward'); } ],
	[ 'drain is paused', 1, 'soft', \&_pause_drain ],
	[ 'Redis hangs', 3, 'soft', \&_hang_redis ],
	[ 'Redis is slow', 2, 'soft', \&_slow_redis ],
	[ 'answers of Redis are cut off', 2, 'soft', \&_cut_answers ],
	[ 'Redis cuts connections', 2, 'soft', \&_cut_redis ],
	[ 'Redis has no memory', 1, 'soft', \&_no_memory ],
	[ 'Redis is read-only', 1, 'soft', \&_read_only ],
	[ 'Redis is busy', 1, 'soft', \&_busy ],
	[ 'Redis forgets its scripts', 1, 'soft', \&_flush_scripts ],
	[ 'another database comes and goes', 1, 'soft', \&_other_database ],
	[ 'kill Redis', 3, 'redis', \&_kill_redis ],
	[ 'restart Redis', 1, 'redis', \&_restart_redis ],
	[ 'kill Redis, its data are lost', 2, 'redis', \&_wipe_redis ],
	[ 'Redis forgets everything', 2, 'redis', \&_flush_redis ],
	[ 'failover to a replica that lags', 3, 'redis', \&_fail_over ],
	[ 'the disk of Redis is full', 2, 'redis', \&_fill_disk ],
	[ 'kill the router', 1, 'postgres', sub { $_[0]->_kill('router'); } ],
	[ 'kill the drain', 1, 'postgres', sub { $_[0]->_kill('drain'); } ],
	[ 'kill the steward', 1, 'postgres', sub { $_[0]->_kill('steward'); } ],
	[ 'kill a client', 1, 'postgres', \&_kill_client ],
	[ 'kill the postmaster', 2, 'postgres', \&_kill_postmaster ],
	[ 'immediate shutdown', 2, 'postgres', sub { $_[0]->_stop('immediate'); } ],
	[ 'fast shutdown', 1, 'postgres', sub { $_[0]->_stop('fast'); } ],
	[ 'PostgreSQL and Redis crash', 1, 'both', \&_crash_both ],
	[ 'PostgreSQL crashes, a lagging replica takes over', 1, 'both',
		\&_fail_over_and_crash ]);

sub new
{
	my ($class, %opt) = @_;
	my $self = bless {
		%opt,
		random => $opt{seed},
		faults => [],
		periods => [],
		losses => [],
		others => 0
	}, $class;

	$self->_below(2) foreach 1 .. 10;
	return $self;
}

sub faults { my ($self) = @_; return @{ $self->{faults} }; }
sub periods { my ($self) = @_; return @{ $self->{periods} }; }
sub losses { my ($self) = @_; return @{ $self->{losses} }; }

# Knuth's MMIX; the low bits are poor.
sub _below
{
	my ($self, $n) = @_;

	use integer;
	$self->{random} =
	  $self->{random} * 6364136223846793005 + 1442695040888963407;
	return (($self->{random} >> 33) & 0x7fffffff) % $n;
}

sub _sleep
{
	my ($self, $most) = @_;
	my $ms = 1 + $self->_below($most * 1000);

	usleep($ms * 1000);
	return;
}

sub _sql { my ($self, $sql) = @_; return ask(@$self{qw(node db)}, $sql); }

# The answer, whatever is broken: asks until there is one.
sub _ask
{
	my ($self, $sql) = @_;

	return poll("it is answered: $sql", sub {
		my ($ret, $out, $err) = $self->_sql($sql);
		return $ret == 0 ? [$out] : undef;
	})->[0];
}

# ---- when ----

# Fault after fault until the time is over; in the end all is well.
sub rage
{
	my ($self, $seconds) = @_;
	my $end = time + $seconds;

	$self->_wait_well;
	while (time < $end)
	{
		$self->_sleep(2);
		$self->_break(0);
		$self->_wait_well if $self->_below(3) > 0;
	}
	$self->_wait_well;
	return;
}

sub _draw
{
	my ($self, @kinds) = @_;
	my @some = grep {
		my $kind = $_->[2];
		grep { $_ eq $kind } @kinds
	} @faults;
	my @tickets = map { ($_) x $_->[1] } @some;

	return $tickets[ $self->_below(scalar @tickets) ];
}

# held: another fault is being held, so nothing may be waited for.
sub _break
{
	my ($self, $held) = @_;
	my $danger = $self->{danger} // 'soft';
	my ($name, undef, $kind, $function) = @{
		$self->_draw(
			!$held ? qw(soft redis postgres both)
			: $danger eq 'redis' ? ('soft')
			: qw(soft postgres))
	};

	$self->_wait_well
	  if !$held && ($kind eq 'both' || $kind ne 'soft' && $danger ne 'soft');
	$self->{since} //= time;
	$self->{danger} = $kind if $kind ne 'soft';
	push @{ $self->{faults} }, [ time, $name ];
	note sprintf '%.3f %s%s', time, $name, $held ? ' (meanwhile)' : '';
	$self->{held} = $held;
	$function->($self);
	return;
}

# For a while; perhaps something else breaks in this time.
sub _hold
{
	my ($self) = @_;

	$self->_sleep(3);
	return if $self->{held} || $self->_below(4) > 0;
	$self->_break(1);
	$self->{held} = 0;
	return;
}

# Every lane takes bids, and they are applied.
sub _wait_well
{
	my ($self) = @_;
	my $lanes = 'SELECT lane_id, applied FROM auction.stat_lanes';

	wait_lanes(@$self{qw(node db)}, 'normal');
	my $before = join ', ',
	  map { my @row = split /\|/; "($row[0], $row[1])" } split /\n/,
	  $self->_ask($lanes);
	poll_until(@$self{qw(node db)}, <<"SQL");
SELECT count(*) > 0 AND bool_and(l.applied > b.applied + 10)
FROM ($lanes) l JOIN (VALUES $before) b (lane_id, applied) USING (lane_id)
SQL
	wait_lanes(@$self{qw(node db)}, 'normal');
	push @{ $self->{periods} }, [ $self->{since} * 1e6, time * 1e6 ]
	  if $self->{since};
	delete @$self{qw(since danger)};
	return;
}

# ---- PostgreSQL's processes ----

# undef: there is none just now.
sub _pid
{
	my ($self, $kind) = @_;
	my $where = $kind eq 'launcher' ? '' : "AND datname = '$self->{db}'";
	my ($ret, $out) = $self->_sql(<<"SQL");
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'auction $kind' $where LIMIT 1
SQL

	return $ret == 0 && $out ne '' ? $out : undef;
}

sub _terminate
{
	my ($self, $kind) = @_;
	my $pid = $self->_pid($kind) // return;

	$self->_sql("SELECT pg_terminate_backend($pid)");
	return;
}

my $clients = <<'SQL';
FROM pg_stat_activity WHERE backend_type = 'client backend'
	AND pid <> pg_backend_pid() AND application_name <> 'psql'
SQL

sub _terminate_clients
{
	my ($self) = @_;
	my $n = 1 + $self->_below(8);

	$self->_sql("SELECT pg_terminate_backend(pid) $clients LIMIT $n");
	return;
}

sub _hang
{
	my ($self, $kind) = @_;
	my $pid = $self->_pid($kind) // return;

	kill 'STOP', $pid;
	$self->{stopped} = $pid;
	$self->_hold;
	kill 'CONT', $pid;
	delete $self->{stopped};
	return;
}

sub _pause_drain
{
	my ($self) = @_;

	$self->_sql('SELECT auction.pause_drain()');
	$self->_hold;
	$self->_ask('SELECT auction.resume_drain()');
	return;
}

sub _kill
{
	my ($self, $kind) = @_;
	my $pid = $self->_pid($kind) // return;

	kill 'KILL', $pid;
	return;
}

sub _kill_client
{
	my ($self) = @_;
	my ($ret, $pid) = $self->_sql("SELECT pid $clients LIMIT 1");

	kill 'KILL', $pid if $ret == 0 && $pid ne '';
	return;
}

# A process that stands still would keep its shared memory for ever, and the
# server from starting.
sub _kill_postmaster
{
	my ($self) = @_;

	restart_killed($self->{node},
		sub { kill 'CONT', $self->{stopped} if $self->{stopped}; });
	return;
}

sub _start
{
	my ($self) = @_;
	my $node = $self->{node};

	poll('the server starts', sub { return $node->start(fail_ok => 1); });
	return;
}

# A process of ours that hangs would keep it from stopping in good order.
sub _stop
{
	my ($self, $how) = @_;

	$how = 'immediate' if $self->{held};
	# it may be starting after a crash; then again
	poll("the server stops: $how",
		sub { return $self->{node}->stop($how, fail_ok => 1); });
	$self->_sleep(1);
	$self->_start;
	return;
}

# ---- Redis ----

sub _hang_redis
{
	my ($self) = @_;
	my $redis = $self->{redis}->primary;

	$redis->freeze;
	$self->_hold;
	$redis->thaw;
	return;
}

sub _slow_redis
{
	my ($self) = @_;

	$self->{redis}->slow_down((1, 10, 50, 200, 700)[ $self->_below(5) ]);
	$self->_hold;
	$self->{redis}->speed_up;
	return;
}

sub _cut_answers
{
	my ($self) = @_;
	my @cuts = map { 1 + $self->_below(300) } 0 .. $self->_below(6);

	$self->{redis}->slow_down(0, @cuts);
	$self->_hold;
	$self->{redis}->speed_up;
	return;
}

# What follows is tried only: while another fault is held, Redis may be away.
# A Redis that hangs would have redis-cli wait for ever.
sub _try
{
	my ($self, @command) = @_;

	$self->{redis}->primary->thaw;
	return $self->{redis}->try(@command);
}

sub _cut_redis
{
	my ($self) = @_;

	foreach (0 .. $self->_below(4))
	{
		$self->_try('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
		$self->_sleep(1);
	}
	return;
}

sub _no_memory
{
	my ($self) = @_;

	$self->_try('CONFIG', 'SET', 'maxmemory', '1mb');
	$self->_hold;
	$self->_try('CONFIG', 'SET', 'maxmemory', '0');
	return;
}

# A replica of nobody: it keeps what it has. Nobody follows it meanwhile.
sub _read_only
{
	my ($self) = @_;

	$self->_try('REPLICAOF', '127.0.0.1', '1');
	$self->_hold;
	$self->_try('REPLICAOF', 'NO', 'ONE');
	return;
}

sub _busy
{
	my ($self) = @_;
	my $ms = 200 + $self->_below(2000);

	$self->_try('CONFIG', 'SET', 'busy-reply-threshold', '100');
	$self->_try('EVAL', <<"LUA", '0');
local function now()
	local t = redis.call('TIME')
	return t[1] * 1000 + math.floor(t[2] / 1000)
end
local finish = now() + $ms
while now() < finish do end
LUA
	$self->_try('CONFIG', 'SET', 'busy-reply-threshold', '5000');
	return;
}

sub _flush_scripts
{
	my ($self) = @_;

	$self->_try('SCRIPT', 'FLUSH');
	return;
}

sub _kill_redis
{
	my ($self) = @_;
	my $redis = $self->{redis}->primary;

	$redis->kill9;
	$self->_hold;
	$redis->start;
	return;
}

sub _restart_redis
{
	my ($self) = @_;

	$self->{redis}->primary->restart;
	return;
}

sub _wipe_redis
{
	my ($self) = @_;
	my $redis = $self->{redis}->primary;

	$redis->kill9;
	$redis->wipe;
	$self->_hold;
	$redis->start;
	return;
}

sub _flush_redis
{
	my ($self) = @_;

	$self->_try('FLUSHALL');
	return;
}

sub _fail_over
{
	my ($self) = @_;

	$self->{redis}->cut_replica;
	$self->_sleep(2);
	$self->{redis}->fail_over;
	$self->_hold;
	$self->{redis}->rejoin;
	return;
}

sub _fill_disk
{
	my ($self) = @_;
	my $redis = $self->{redis}->primary;

	return if !$redis->has_disk;
	$redis->fill_disk;
	$self->_hold;
	$redis->empty_disk;
	# with appendfsync always it ends of it
	$redis->write_file_anew;
	return;
}

# ---- another database ----

# With a lane of its own on the same Redis, under a prefix of its own.
sub _other_database
{
	my ($self) = @_;
	my $node = $self->{node};
	my $name = 'other' . ++$self->{others};
	my $socket = $self->{redis}->socket;

	$self->_sql("CREATE DATABASE $name");
	ask($node, $name, <<"SQL");
CREATE EXTENSION auction;
CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis
	OPTIONS (host '$socket', prefix '$name');
SELECT auction.attach_redis('redis1', 1);
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
VALUES (1, 0, now() + interval '1 hour', 'redis');
SET statement_timeout = '3s';
SELECT * FROM auction.place_bid(1, 1, 1000);
SQL
	ask($node, $name, 'DROP EXTENSION auction CASCADE')
	  if $self->_below(2) == 0;
	$self->_ask("DROP DATABASE IF EXISTS $name WITH (FORCE)");
	return;
}

# ---- both ----

sub _marks
{
	my ($self) = @_;

	return {
		map { split /\|/ } split /\n/,
		$self->_ask("SELECT lane_id, coalesce(possible_loss_after, -1)"
			  . ' FROM auction.stat_lanes') };
}

# From then on what Redis alone has may be lost, and that some is, the drain
# sees to; at: no earlier bid may be decided any more. The marks say what the
# lanes say of it. copies: what the replica has is lost, too.
sub _lose
{
	my ($self, $copies, $function) = @_;
	my $loss = {
		from => (time - 5) * 1e6,
		copies => $copies,
		before => $self->_marks
	};
	my $drain = $self->_pid('drain');

	kill 'STOP', $drain if defined $drain;
	$self->_sleep(1);
	$self->{node}->stop('immediate');
	$function->();
	$loss->{at} = time * 1e6;
	$self->_start;
	wait_lanes(@$self{qw(node db)}, 'normal');
	$loss->{after} = $self->_marks;
	push @{ $self->{losses} }, $loss;
	return;
}

sub _crash_both
{
	my ($self) = @_;
	my $redis = $self->{redis}->primary;
	my $wipe = $self->_below(2);

	$self->_lose($wipe, sub {
		$redis->kill9;
		$redis->wipe if $wipe;
		$redis->start;
	});
	return;
}

sub _fail_over_and_crash
{
	my ($self) = @_;

	$self->{redis}->cut_replica;
	$self->_sleep(2);
	$self->_lose(0, sub { $self->{redis}->fail_over; });
	$self->{redis}->rejoin;
	return;
}

1;
