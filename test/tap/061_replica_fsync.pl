# replica_fsync: replicas are asked with WAITAOF where the version's can be
# relied on. Redis 7.0 has none; a relay lets it pass for one that has: it turns
# the version in INFO into 8.0, WAITAOF into WAIT, and the answer back. From
# 7.4.3 on Redis' own is asked.
#
# A replica with appendfsync always has synced a bid when it says that it has
# it. Asked too early it says that with its next word, a second later.

use strict;
use warnings;

use AuctionTest;
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = start_redis(port => 1);
my $info = $redis->cli('INFO', 'server');
my ($version) = $info =~ /^redis_version:([\d.]+)/m;
my $has_own = sprintf('%d%03d%03d', split /\./, "$version.0.0") >= 7004003;
plan skip_all => 'the WAITAOF of this Redis is not relied on'
  if $info =~ /^(?:server_name|valkey_version):/m
  || !$has_own && $version !~ /^7\.0\./;

my $address = $has_own ? $redis->socket : "$redis->{dir}/relay.sock";
my $seen = "$redis->{dir}/waitaof";

# One connection, to its end. Requests and answers that are turned are small,
# and come whole.
sub relay
{
	my ($client) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $redis->socket) or return;
	my $select = IO::Select->new($client, $server);
	my $waits = 0;

	while (my @ready = $select->can_read)
	{
		foreach my $from (@ready)
		{
			sysread($from, my $data, 1 << 20) or return;
			if ($from == $client)
			{
				if ($data =~
					s/\*4\r\n\$7\r\nWAITAOF\r\n\$1\r\n0\r\n/*3\r\n\$4\r\nWAIT\r\n/)
				{
					$waits = 1;
					append_to_file($seen, "asked\n");
				}
				$server->syswrite($data) or return;
				next;
			}
			$data =~ s/redis_version:7\.0/redis_version:8.0/;
			$waits = 0
			  if $waits && $data =~ s/^:(\d+)\r\n/*2\r\n:0\r\n:$1\r\n/m;
			$client->syswrite($data) or return;
		}
	}
	return;
}

my $relay;

sub start_relay
{
	my $listener = IO::Socket::UNIX->new(Local => $address, Listen => 8)
	  or die "could not listen: $!";

	$relay = fork // die "could not fork: $!";
	return if $relay != 0;
	$SIG{CHLD} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		next if fork;
		relay($client);
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}

start_relay() if !$has_own;

END
{
	my $exit_code = $?;
	kill 'TERM', $relay if $relay;
	$? = $exit_code;
}

my $node = new_node('fsync');
my $replica = start_redis(replica_of => $redis, appendfsync => 'always');

sub sql { return $node->safe_psql('postgres', @_); }

sub set_option
{
	my ($name, $value) = @_;

	return sql("ALTER SERVER redis1 OPTIONS (SET $name '$value')");
}

# Whether replicas have been asked with WAITAOF since the last time.
sub asked_waitaof
{
	if ($has_own)
	{
		my $seen = $redis->cli('INFO', 'commandstats') =~ /^cmdstat_waitaof:/m;

		$redis->cli('CONFIG', 'RESETSTAT');
		return $seen;
	}
	return unlink($seen) > 0;
}

# While replicas are there, a bid waits for them as long as it takes.
sql("CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis OPTIONS "
	  . "(host '$address', replica_fsync 'on', replica_timeout '1h')");
sql("SELECT auction.attach_redis('redis1', 1)");
wait_lanes($node, 'postgres', 'normal');

my $id = new_auction($node, 'postgres',
	route => "'redis'", durability => "'replica'");
my $price = 0;

sub bid_sql
{
	$price++;
	return "SELECT durability FROM auction.place_bid($id, 7, $price)";
}

# Until the replica has confirmed a bid while the drain stands still.
sub wait_replica
{
	my $left = 'SELECT max(applied_wanted) > 0 FROM auction.stat_lanes';

	return poll(
		'the replica confirms a bid',
		sub {
			wait_applied($node, 'postgres');
			sql('SELECT auction.pause_drain()');
			my $session = start_psql($node, 'postgres', bid_sql());
			poll('it is told, or waits for the drain',
				sub { return told_psql($session) ne '' || sql($left) eq 't'; });
			sql('SELECT auction.resume_drain()');
			return join('', finish_psql($session)) eq 'replica';
		});
}

# A bid that no replica confirms.
sub not_synced
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	wait_applied($node, 'postgres');
	sql('SELECT auction.pause_drain()');
	my $session = start_psql($node, 'postgres', bid_sql());
	poll_until($node, 'postgres',
		'SELECT applied_wanted > 0 AND replicas = 0 FROM auction.stat_lanes');
	is(told_psql($session), '', "$what: not told");
	sql('SELECT auction.resume_drain()');
	is(join('', finish_psql($session)), 'journal', '... then at level journal');
	return;
}

wait_replica();
pass('what they have synced is told at level replica');
like($redis->cli('INFO', 'commandstats'),
	qr/^cmdstat_wait:/m, 'they are asked with WAIT first');
ok(asked_waitaof(), '... then with WAITAOF');

set_option('replica_timeout', '100ms');
wait_replica();
$replica->freeze;
not_synced('it hangs');
$replica->thaw;
set_option('replica_timeout', '1h');
wait_replica();
pass('it goes on: replica again');

# It has the bid, but not on disk.
if ($has_own)
{
	set_option('replica_timeout', '100ms');
	$replica->cli('CONFIG', 'SET', 'appendonly', 'no');
	not_synced('it writes no append-only file');
	$replica->cli('CONFIG', 'SET', 'appendonly', 'yes');
	set_option('replica_timeout', '1h');
	wait_replica();
	pass('it writes one again: replica again');

	my $denied = "SELECT finding LIKE '%waitaof%' FROM auction.health() "
	  . "WHERE item = 'redis rights'";
	is(sql($denied), 'f', 'health() does not miss the right to WAITAOF');
	$redis->cli('ACL', 'SETUSER', 'default', '-waitaof');
	poll_until($node, 'postgres', $denied);
	pass('... but does when it is taken away');
	$redis->cli('ACL', 'SETUSER', 'default', '+waitaof');
	wait_replica();
	$replica->cli('CONFIG', 'SET', 'appendonly', 'no');
}

# Without replica_fsync the same Redis is asked with WAIT alone, and what the
# replica has is enough.
set_option('replica_fsync', 'off');
poll(
	'WAITAOF is not asked any more',
	sub {
		asked_waitaof();
		wait_replica();
		return !asked_waitaof();
	});
pass('without replica_fsync they are asked with WAIT alone');

$node->stop('immediate');
done_testing();
