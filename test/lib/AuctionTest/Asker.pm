# Asker.pm: statements over a psql that stays. A psql and a session for each
# statement take far more of the processors than most statements do, from those
# that a test is about.
#
#   my $asker = AuctionTest::Asker->new($node->connstr('postgres'));
#   my ($out, $err) = $asker->ask('SELECT 1');
#   $asker->quit;
#
# The first error ends the psql, as ON_ERROR_STOP has it; the next statement
# connects again, as it does when the server was away meanwhile.
package AuctionTest::Asker;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;

sub new
{
	my ($class, $conninfo) = @_;
	return bless { conninfo => $conninfo, asked => 0 }, $class;
}

sub _connect
{
	my ($self) = @_;

	@$self{qw(in out err)} = ('', '', '');
	$self->{timer} =
	  IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->{conninfo} ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		$self->{timer});
	return;
}

# What comes first finds out whether the server is still there: without it the
# statement has not run. Dies when psql has ended.
sub _converse
{
	my ($self, $statement) = @_;
	my $n = ++$self->{asked};

	$self->_connect if !defined $self->{run};
	@$self{qw(out err)} = ('', '');
	$self->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
	$self->{in} .= <<"PSQL";
SELECT 1 AS there \\gset
\\echo begin $n
$statement
;
\\echo end $n
\\warn end $n
PSQL
	$self->{run}->pump
	  until $self->{out} =~ /^end $n\n\z/m && $self->{err} =~ /^end $n\n\z/m;
	return;
}

# (answer, error output); the answer is undef if there was an error.
sub ask
{
	my ($self, $statement) = @_;
	my $kept = defined $self->{run};

	# a psql that has ended does not read
	local $SIG{PIPE} = 'IGNORE';
	my $good = eval { $self->_converse($statement); 1 };
	my $died = $@;
	my $begun = $self->{out} =~ s/\Abegin \d+\n//;

	$self->{$_} =~ s/^end \d+\n\z//m foreach qw(out err);
	chomp(my ($out, $err) = @$self{qw(out err)});
	return ($out, $err) if $good;
	$self->_end($died =~ /timeout/);
	return $self->ask($statement) if $kept && !$begun;
	return (undef, $err ne '' ? $err : $died);
}

# It has ended by itself, or hangs.
sub _end
{
	my ($self, $hangs) = @_;
	my $run = delete $self->{run};

	return if !defined $run;
	eval { $hangs ? $run->kill_kill(grace => 5) : $run->finish };
	return;
}

sub quit
{
	my ($self) = @_;

	return if !defined $self->{run};
	local $SIG{PIPE} = 'IGNORE';
	$self->{in} .= "\\q\n";
	$self->_end;
	return;
}

1;
