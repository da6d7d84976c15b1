# AuctionTest::Proxy: stands between the router and Redis, and breaks what it is
# told (test/load/resp_proxy.c, whose head lists actions and words).
#
#   my $proxy = AuctionTest::Proxy->new($redis);   # started
#   attach($node, 'postgres', $proxy);             # in place of $redis
#   $proxy->fault('cut', byte => 7, match => ':auction:');
#   $proxy->fault('delay', message => 1, ms => 500);  # when the first has struck
#   $proxy->wait_fired(2);                         # until both have
#   $proxy->clear;                                 # none is left
#   $proxy->slow(50);                              # each reply, in ms; 0: normal
#   $proxy->down; $proxy->up;                      # no connection at all
#   $proxy->cut;                                   # ends all connections
#   $proxy->stats->{connections};
#   $proxy->stop;
#
# It ends with the test, whatever becomes of that.
package AuctionTest::Proxy;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IO::Handle;
use IPC::Open2;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep time);

my $test_dir = dirname(dirname(dirname(abs_path(__FILE__))));

sub new
{
	my ($class, $redis) = @_;
	my $build = "$PostgreSQL::Test::Utils::tmp_check/load";
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $self = bless { socket => "$dir/proxy.sock" }, $class;

	system_or_bail('make', '-s', '-C', "$test_dir/load", "BUILD=$build",
		'resp_proxy');
	$self->{pid} = open2($self->{out}, $self->{in}, "$build/resp_proxy",
		$self->{socket}, $redis->socket);
	$self->{in}->autoflush(1);
	$self->_answer('start');
	return $self;
}

sub socket { my ($self) = @_; return $self->{socket}; }
sub pid { my ($self) = @_; return $self->{pid}; }

sub _answer
{
	my ($self, $command) = @_;
	my $line = readline($self->{out});

	croak "the proxy has ended at: $command" if !defined $line;
	chomp $line;
	croak "the proxy refuses \"$command\": $line" if $line !~ /^ok/;
	return $line;
}

sub command
{
	my ($self, $command) = @_;
	local $SIG{PIPE} = 'IGNORE';

	print { $self->{in} } "$command\n";
	return $self->_answer($command);
}

# Words as in the head of resp_proxy.c; with => bytes as they are.
sub fault
{
	my ($self, $action, %words) = @_;

	$words{with} = unpack('H*', $words{with}) if defined $words{with};
	$self->command(join ' ', 'fault', $action,
		map { "$_=$words{$_}" } sort keys %words);
	return;
}

sub clear { my ($self) = @_; $self->command('clear'); return; }
sub slow { my ($self, $ms) = @_; $self->command("slow $ms"); return; }
sub down { my ($self) = @_; $self->command('down'); return; }
sub up { my ($self) = @_; $self->command('up'); return; }
sub cut { my ($self) = @_; $self->command('cut'); return; }

sub target
{
	my ($self, $redis) = @_;
	$self->command('target ' . $redis->socket);
	return;
}

# { connections, open, commands, fired, waiting, last_bytes }: connections so
# far, those that are open, commands on these, faults that have struck and that
# wait, bytes of replies on the last connection.
sub stats
{
	my ($self) = @_;
	my %stats = $self->command('stats') =~ /(\w+) (\d+)/g;

	return \%stats;
}

# Until so many faults have struck since the proxy's start. With seconds: false
# if they have not by then.
sub wait_fired
{
	my ($self, $n, $seconds) = @_;
	my $end = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);

	while ($self->stats->{fired} < $n)
	{
		if (time > $end)
		{
			return 0 if defined $seconds;
			croak "timed out waiting for fault $n";
		}
		usleep(5_000);
	}
	return 1;
}

sub stop
{
	my ($self) = @_;

	return if !$self->{pid};
	close $self->{in};
	close $self->{out};
	waitpid($self->{pid}, 0);
	$self->{pid} = undef;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);

	$self->stop;
	return;
}

1;
