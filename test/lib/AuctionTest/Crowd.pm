# AuctionTest::Crowd: the program test/load/crowd, in the background.
#
#   my $crowd = start_crowd($node, 'postgres', 1, 50, seconds => 600);
#   stop_crowd($crowd);                    # long before these seconds are over
#   AuctionTest::Notes->read($crowd->{dir})
package AuctionTest::Crowd;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_crowd stop_crowd);

my $test_dir = dirname(dirname(dirname(abs_path(__FILE__))));
my @all;

# Options are the program's, without the dashes, and dir, where the notes go.
# Makes the movers' roles.
sub start_crowd
{
	my ($node, $db, $first, $last, %opt) = @_;
	my $tmp = $PostgreSQL::Test::Utils::tmp_check;
	my $crowd = { dir => delete $opt{dir} // "$tmp/crowd", err => '' };

	system_or_bail('make', '-s', '-C', "$test_dir/load", "BUILD=$tmp/load",
		'crowd');
	mkdir $crowd->{dir} or croak "could not make $crowd->{dir}: $!";
	$opt{movers} //= 4;
	foreach (0 .. $opt{movers} - 1)
	{
		$node->safe_psql($db, "CREATE ROLE mover_$_ SUPERUSER LOGIN")
		  if !$node->safe_psql($db,
			"SELECT 1 FROM pg_roles WHERE rolname = 'mover_$_'");
	}
	note join ' ', 'crowd:', map { "$_ $opt{$_}" } sort keys %opt;
	$crowd->{run} = IPC::Run::start(
		[
			"$tmp/load/crowd", '--connect', $node->connstr($db),
			'--out', $crowd->{dir}, map({ ("--$_", $opt{$_}) } sort keys %opt),
			$first, $last
		],
		'<', \undef, '2>', \$crowd->{err});
	push @all, $crowd;
	return $crowd;
}

sub stop_crowd
{
	my ($crowd) = @_;

	$crowd->{run}->signal('TERM');
	$crowd->{run}->finish;
	@all = grep { $_ != $crowd } @all;
	croak "crowd failed: $crowd->{err}" if $crowd->{run}->result(0) != 0;
	return;
}

# A test that dies does not leave its load behind.
END
{
	my $exit_code = $?;
	$_->{run}->signal('TERM') foreach @all;
	$? = $exit_code;
}

1;
