# AuctionTest::RedisPair: a Redis and its replica behind one address, a symbolic
# link to the socket of the one that serves.
#
#   my $pair = AuctionTest::RedisPair->new(disk => '64m');
#   attach($node, 'postgres', $pair);
#   $pair->cut_replica;                # from here on the replica lacks writes
#   $pair->fail_over;                  # the primary dies, the replica serves
#   $pair->rejoin;                     # who was primary is a replica again
#   $pair->slow_down(50); $pair->speed_up;
#
# Options are those of AuctionTest::Redis. socket, cli and try go to the one
# that serves.
package AuctionTest::RedisPair;

use strict;
use warnings;

use AuctionTest::Proxy;
use AuctionTest::Redis;
use Carp;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep time);

sub new
{
	my ($class, %opt) = @_;
	my $conf = delete $opt{conf} // '';
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my @members;

	foreach (1, 2)
	{
		# a replica that has lost its link is to notice soon
		push @members, AuctionTest::Redis->new(%opt, port => 1, conf => <<"CONF");
repl-timeout 5
repl-ping-replica-period 1
$conf
CONF
	}
	my $self = bless { dir => $dir, members => \@members }, $class;

	$_->start foreach @members;
	$self->_serve($members[0]->socket);
	$self->rejoin;
	return $self;
}

sub socket { my ($self) = @_; return "$self->{dir}/redis.sock"; }
sub primary { my ($self) = @_; return $self->{members}[0]; }
sub replica { my ($self) = @_; return $self->{members}[1]; }
sub cli { my ($self, @command) = @_; return $self->primary->cli(@command); }
sub try { my ($self, @command) = @_; return $self->primary->try(@command); }

# The address leads there, for connections to come.
sub _serve
{
	my ($self, $socket) = @_;
	my $new = $self->socket . '.new';

	symlink $socket, $new or croak "could not make $new: $!";
	rename $new, $self->socket or croak "could not rename $new: $!";
	return;
}

# Waits until the replica has all the primary has.
sub rejoin
{
	my ($self) = @_;
	my ($primary, $replica) = @{ $self->{members} };
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	$replica->start if !$replica->pid;
	$replica->cli('REPLICAOF', '127.0.0.1', $primary->{port});
	while ($replica->try('INFO', 'replication') !~ /master_link_status:up/)
	{
		croak 'the replica does not follow' if time > $end;
		usleep(50_000);
	}
	return;
}

sub cut_replica
{
	my ($self) = @_;

	$self->replica->cli('REPLICAOF', 'NO', 'ONE');
	return;
}

# Only behind cut_replica: who is promoted takes writes.
sub fail_over
{
	my ($self) = @_;

	$self->primary->kill9;
	@{ $self->{members} } = reverse @{ $self->{members} };
	$self->_serve($self->primary->socket);
	return;
}

# A proxy in between, with connections of its own: each reply is late by so many
# milliseconds, and at each of these bytes, one after the other, an answer is cut
# off, and the connection with it.
sub slow_down
{
	my ($self, $delay, @cuts) = @_;

	return if $self->{proxy};
	my $proxy = $self->{proxy} = AuctionTest::Proxy->new($self->primary);
	$proxy->slow($delay);
	$proxy->fault('cut', byte => $_) foreach @cuts;
	$self->_serve($proxy->socket);
	# one that hangs would have redis-cli wait for ever
	$self->primary->thaw;
	$self->primary->try('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
	return;
}

sub speed_up
{
	my ($self) = @_;
	my $proxy = delete $self->{proxy} // return;

	$self->_serve($self->primary->socket);
	$proxy->stop;
	return;
}

sub stop
{
	my ($self) = @_;

	$self->speed_up;
	$_->stop foreach @{ $self->{members} };
	return;
}

1;
