# AuctionTest::Redis: a throw-away Redis on a unix socket.
#
# Its directory outlives a restart, so an append-only file is read again.  All
# signals go to the process that was started here, never to a name.
#
# With a disk of its own (disk => '64m'), the data lie on a tmpfs of that size
# that nobody else sees, in a mount namespace that needs no privilege; a process
# of ours keeps it while Redis is away.  Where that is not possible, has_disk()
# is false and the data lie where they always do.
package AuctionTest::Redis;

use strict;
use warnings;

use Carp;
use File::Path qw(remove_tree);
use IPC::Run ();
use POSIX ":sys_wait_h";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep time);

my @all;

# Options: appendonly (yes), appendfsync (everysec), conf (more lines); env, a
# hash of what is added to its environment; limits, shell commands before it;
# port (1: listens on a free port of 127.0.0.1, too, so that it can have
# replicas), replica_of (a Redis with a port); disk (above).
sub new
{
	my ($class, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();

	my $self = bless {
		dir => $dir,
		appendonly => $opt{appendonly} // 'yes',
		appendfsync => $opt{appendfsync} // 'everysec',
		port => $opt{port} ? PostgreSQL::Test::Cluster::get_free_port() : 0,
		conf => $opt{conf} // '',
		env => $opt{env} // {},
		limits => $opt{limits}
	}, $class;
	$self->{conf} .= "\nreplicaof 127.0.0.1 $opt{replica_of}{port}"
	  if $opt{replica_of};
	push @all, $self;
	$self->_make_disk($opt{disk}) if defined $opt{disk};
	return $self;
}

# The keeper of the namespace says when the file system is there.
sub _make_disk
{
	my ($self, $size) = @_;
	my $disk = "$self->{dir}/disk";

	mkdir $disk or croak "could not make $disk: $!";
	my $pid = fork // croak "could not fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$self->{dir}/log";
		open STDERR, '>>', "$self->{dir}/log";
		exec('unshare', '-rm', 'sh', '-c',
			"mount -t tmpfs -o size=$size tmpfs $disk && touch $disk/ready"
			  . ' && exec sleep 1000000')
		  or POSIX::_exit(127);
	}
	$self->{keeper} = $pid;
	while (!-e $self->_data_dir . '/ready')
	{
		if (waitpid($pid, WNOHANG) == $pid)
		{
			delete $self->{keeper};
			return;
		}
		usleep(10_000);
	}
	return;
}

sub has_disk { my ($self) = @_; return defined $self->{keeper}; }

# As this process sees it.
sub _data_dir
{
	my ($self) = @_;

	return $self->{keeper}
	  ? "/proc/$self->{keeper}/root$self->{dir}/disk"
	  : $self->{dir};
}

# Takes all the room that is left on its disk; gives it back.
sub fill_disk
{
	my ($self) = @_;
	my $block = "\0" x 65536;

	open my $file, '>', $self->_data_dir . '/filler'
	  or croak "could not make a file: $!";
	1 while syswrite $file, $block;
	1 while syswrite $file, "\0" x 512;
	close $file;
	return;
}

sub empty_disk
{
	my ($self) = @_;

	unlink $self->_data_dir . '/filler';
	return;
}

# A write that a full disk has cut short may stay in the append-only file, and
# Redis then refuses to read it: has it write another one.
sub write_file_anew
{
	my ($self) = @_;

	eval {
		$self->cli('BGREWRITEAOF');
		my $end = time + $PostgreSQL::Test::Utils::timeout_default;
		usleep(20_000)
		  while time < $end
		  && $self->cli('INFO', 'persistence') =~
		  /^aof_rewrite_(?:in_progress|scheduled):1/m;
	};
	return;
}

sub socket { my ($self) = @_; return "$self->{dir}/redis.sock"; }
sub dir { my ($self) = @_; return $self->{dir}; }
sub pid { my ($self) = @_; return $self->{pid}; }

# Options: wait (0: does not wait until it answers).
sub start
{
	my ($self, %opt) = @_;

	croak 'Redis is running' if $self->{pid};
	my $file = "$self->{dir}/redis.conf";
	open my $conf, '>', $file or croak "could not write $file: $!";
	print $conf <<"CONF";
port $self->{port}
bind 127.0.0.1
repl-diskless-sync-delay 0
unixsocket $self->{dir}/redis.sock
dir @{[ $self->{keeper} ? "$self->{dir}/disk" : $self->{dir} ]}
pidfile $self->{dir}/redis.pid
appendonly $self->{appendonly}
appendfsync $self->{appendfsync}
save ""
$self->{conf}
CONF
	close $conf;

	my $pid = fork // croak "could not fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$self->{dir}/log";
		open STDERR, '>>', "$self->{dir}/log";
		$ENV{$_} = $self->{env}->{$_} foreach keys %{ $self->{env} };
		my @command = ('redis-server', $file);
		unshift @command, 'sh', '-c', "$self->{limits}\nexec \"\$@\"", 'sh'
		  if defined $self->{limits};
		unshift @command, 'nsenter', '--preserve-credentials', '-U', '-m', '-t',
		  $self->{keeper}
		  if $self->{keeper};
		exec(@command) or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	return if defined $opt{wait} && !$opt{wait};

	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $end)
	{
		return if $self->try('PING') eq 'PONG';
		if (waitpid($pid, WNOHANG) == $pid)
		{
			$self->{pid} = undef;
			last;
		}
		usleep(20_000);
	}
	croak 'Redis did not start: ' . slurp_file("$self->{dir}/log");
}

# A command's output, one line a value; '' if there is no answer.
sub try
{
	my ($self, @command) = @_;
	my ($out, $err) = ('', '');

	eval {
		IPC::Run::run([ 'redis-cli', '-s', $self->socket, '--raw', @command ],
			'<', \undef, '>', \$out, '2>', \$err,
			IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	};
	chomp $out;
	return $out;
}

# The same, but dies if there is no answer, or an error.
sub cli
{
	my ($self, @command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(
		[ 'redis-cli', '-e', '-s', $self->socket, '--raw', @command ],
		'<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default))
	  or croak "redis-cli @command: $err$out";
	chomp $out;
	return $out;
}

sub _gone
{
	my ($self) = @_;

	waitpid($self->{pid}, 0);
	$self->{pid} = undef;
	unlink $self->socket;
	return;
}

sub kill9
{
	my ($self) = @_;

	return if !$self->{pid};
	kill 'KILL', $self->{pid};
	$self->_gone;
	return;
}

# In good order: the append-only file is flushed.
sub stop
{
	my ($self) = @_;

	return if !$self->{pid};
	kill 'CONT', $self->{pid};
	kill 'TERM', $self->{pid};
	$self->_gone;
	return;
}

sub restart { my ($self) = @_; $self->stop; $self->start; return; }

# Hangs: connections stay, nothing is answered.
sub freeze { my ($self) = @_; $self->_signal('STOP'); return; }
sub thaw { my ($self) = @_; $self->_signal('CONT'); return; }

# One that does not run gets none.
sub _signal
{
	my ($self, $signal) = @_;

	kill $signal, $self->{pid} if $self->{pid};
	return;
}

# Forgets everything; only while stopped.
sub wipe
{
	my ($self) = @_;

	croak 'Redis is running' if $self->{pid};
	remove_tree($self->_data_dir . '/appendonlydir');
	unlink $self->_data_dir . '/dump.rdb';
	return;
}

END
{
	my $exit_code = $?;
	foreach my $pid (map { $_->{pid} // (), $_->{keeper} // () } @all)
	{
		kill 'CONT', $pid;
		kill 'KILL', $pid;
		waitpid($pid, 0);
	}
	$? = $exit_code;
}

1;
