# replica_fsync: replicas are asked with WAITAOF where the version's can be
# relied on. Redis 7.0 has none; a relay lets it pass for one that has: it turns
# the version in INFO into 8.0, WAITAOF into WAIT, and the answer back.

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
plan skip_all => 'this Redis may have a WAITAOF of its own'
  if $redis->cli('INFO', 'server') !~ /^redis_version:7\.0/m;

my $address = "$redis->{dir}/relay.sock";
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
			$data =~ s/^:(\d+)\r\n/*2\r\n:0\r\n:$1\r\n/m if $waits;
			$client->syswrite($data) or return;
		}
	}
	return;
}

my $listener = IO::Socket::UNIX->new(Local => $address, Listen => 8)
  or die "could not listen: $!";
my $relay = fork // die "could not fork: $!";
if ($relay == 0)
{
	$SIG{CHLD} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		next if fork;
		relay($client);
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
close $listener;

END
{
	my $exit_code = $?;
	kill 'TERM', $relay if $relay;
	$? = $exit_code;
}

my $node = new_node('fsync');
my $replica = start_redis(replica_of => $redis);

sub sql { return $node->safe_psql('postgres', @_); }

sql("CREATE SERVER redis1 FOREIGN DATA WRAPPER auction_redis "
	  . "OPTIONS (host '$address', replica_fsync 'on')");
sql("SELECT auction.attach_redis('redis1', 1)");
wait_lanes($node, 'postgres', 'normal');

my $id = new_auction($node, 'postgres',
	route => "'redis'", durability => "'replica'");
my $price = 0;

sub bid
{
	$price++;
	return sql("SELECT durability FROM auction.place_bid($id, 7, $price)");
}

poll('a bid is told replica', sub { return bid() eq 'replica'; });
ok(-s $seen, 'replicas are asked with WAITAOF');
sql('SELECT auction.pause_drain()');
is(bid(), 'replica', 'what they have synced is told at level replica');
sql('SELECT auction.resume_drain()');
is(sql('SELECT replicas FROM auction.stat_lanes'), '1', 'stat_lanes: replicas');

$replica->freeze;
wait_applied($node, 'postgres');
sql('SELECT auction.pause_drain()');
my $session = start_psql($node, 'postgres',
	"SELECT durability FROM auction.place_bid($id, 7, 1000)");
poll_until($node, 'postgres',
	'SELECT applied_wanted > 0 AND replicas = 0 FROM auction.stat_lanes');
is($session->{out}, '', 'none has synced: not told');
sql('SELECT auction.resume_drain()');
is(join('', finish_psql($session)), 'journal', '... then at level journal');

# Without replica_fsync the same Redis is asked with WAIT.
$replica->thaw;
unlink $seen;
sql("ALTER SERVER redis1 OPTIONS (SET replica_fsync 'off')");
$price = 1000;
poll('a bid is told replica', sub { return bid() eq 'replica'; });
ok(!-e $seen, 'without replica_fsync they are asked with WAIT');

$node->stop('immediate');
done_testing();
