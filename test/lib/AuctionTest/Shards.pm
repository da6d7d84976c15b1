# Shard servers for TAP tests: nodes, server objects, what they hold.
#
#   my $home = new_node('home');
#   my $one = new_shard_node('one');               # started, no extension
#   my $server = shard_server($home, $one);        # CREATE SERVER, mapping, added
#
# The server's name is the node's unless it is given.
package AuctionTest::Shards;

use strict;
use warnings;

use AuctionTest;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_shard_node make_shard_server shard_server identity hold_still go_on_all
);

# A started node without the library.
#   conf       more configuration
#   extra      arguments of initdb
#   install    where another PostgreSQL is installed: its bin is below
#   streaming  1: can be backed up and have standbys
sub new_shard_node
{
	my ($name, %opt) = @_;
	my $node = AuctionTest::Node->new($name,
		$opt{install} ? (install_path => $opt{install}) : ());

	$node->init(
		allows_streaming => $opt{streaming} ? 1 : 0,
		extra => $opt{extra} // []);
	$node->append_conf('postgresql.conf', <<"CONF" . ($opt{conf} // '') . "\n");
restart_after_crash = on
log_statement = none
max_connections = 50
shared_buffers = 32MB
CONF
	$node->start;
	return $node;
}

# CREATE SERVER and a user mapping in a database of the home; returns the name.
#   server    its name (the node's)
#   db        database of the home (postgres)
#   dbname    database of the shard server (postgres)
#   options   more options of the server, SQL text
#   user      options of the user mapping, SQL text
#   for       whose the mapping is (CURRENT_USER)
#   extension 0: postgres_fdw is there already, or is not wanted
sub make_shard_server
{
	my ($home, $node, %opt) = @_;
	my $server = $opt{server} // $node->name;
	my ($db, $dbname) = ($opt{db} // 'postgres', $opt{dbname} // 'postgres');
	my ($host, $port) = ($node->host, $node->port);
	my $options = defined $opt{options} ? ", $opt{options}" : '';
	my $user = $opt{user} // '';
	my $for = $opt{for} // 'CURRENT_USER';

	$user = "OPTIONS ($user)" if $user ne '';
	$home->safe_psql($db, <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SERVER "$server" FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '$host', port '$port', dbname '$dbname'$options);
CREATE USER MAPPING FOR $for SERVER "$server" $user;
SQL
	return $server;
}

# The same, and it is added.
sub shard_server
{
	my ($home, $node, %opt) = @_;
	my $server = make_shard_server($home, $node, %opt);

	$home->safe_psql($opt{db} // 'postgres',
		"SELECT auction.add_shard_server('$server')");
	return $server;
}

# "history|home|server", '' if there is none.
sub identity
{
	my ($node, $dbname) = @_;
	my ($ret, $out) = ask($node, $dbname // 'postgres',
		'SELECT history, home, server FROM auction_shard.identity');

	return $ret == 0 ? $out : '';
}

# Stops the postmaster and all that it has started, or lets them go on.
sub signal_all
{
	my ($signal, $node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my @pids = ($postmaster);

	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		open my $stat, '<', $file or next;
		push @pids, $1
		  if (<$stat> // '') =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
	}
	kill $signal, @pids;
	return;
}

sub hold_still { return signal_all('STOP', @_); }

sub go_on_all { return signal_all('CONT', @_); }

1;
