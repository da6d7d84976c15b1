# AuctionTest::Crowd: the program test/load/crowd, in the background.
#
#   make_sale($node, 'postgres', 1, 50, seconds => 15, on_redis => 2);
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

our @EXPORT = qw(make_sale start_crowd stop_crowd);

my $test_dir = dirname(dirname(dirname(abs_path(__FILE__))));
my @all;

# Auctions for a load of so many seconds: both kinds, durabilities and routes
# (of four, so many on redis); a day's soft close, so that each bid moves the
# end, and some that end while the load goes on; reserves, some out of reach, so
# that buy-now stays available. User 0 is the seller.
sub make_sale
{
	my ($node, $db, $first, $last, %opt) = @_;

	$node->safe_psql($db, <<'SQL')
INSERT INTO auction.increment_tables VALUES ('odd', 0, 50), ('odd', 300, 7),
	('odd', 1000, 200), ('odd', 4000, 1), ('odd', 20000, 100);
SQL
	  if !$node->safe_psql($db,
		"SELECT 1 FROM auction.increment_tables WHERE name = 'odd' LIMIT 1");
	$node->safe_psql($db, <<"SQL");
INSERT INTO auction.auctions (id, seller_id, kind, ends_at, start_price,
	increment, increment_table, reserve_price, buy_now_price, extend_window,
	extend_by, extend_limit, durability, route)
SELECT $first - 1 + i, 0, CASE WHEN i % 2 = 0 THEN 'open' ELSE 'proxy' END,
	now() + CASE WHEN short THEN interval '1 s' * $opt{seconds} * .4
		ELSE interval '12 hours' END,
	100 * (i % 4), 1 + i % 3, CASE WHEN i % 6 = 2 THEN 'odd' END,
	CASE WHEN i % 7 = 3 THEN 900000000000 WHEN i % 4 = 1 THEN 3000 + i END,
	CASE WHEN i % 7 = 3 THEN 1000000000000 END,
	CASE WHEN short THEN interval '2 s' WHEN i % 5 = 1 THEN interval '1 day' END,
	CASE WHEN short THEN interval '2 s' WHEN i % 5 = 1 THEN interval '1 day' END,
	CASE WHEN short THEN now() + interval '1 s' * $opt{seconds} * .7 END,
	CASE WHEN i % 3 = 0 THEN 'journal' ELSE 'redis' END,
	CASE WHEN i % 4 < $opt{on_redis} THEN 'redis' ELSE 'table' END
FROM (SELECT i, i % 10 = 0 AND i > 10 AS short
	FROM generate_series(1, $last - $first + 1) i) a;
SQL
	return;
}

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
