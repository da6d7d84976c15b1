# A move of a shard is broken at each point, here to there, there to elsewhere,
# and back, by the end of each who takes part; then it is called again, or
# undone. No bid is ever missing, nothing is left over.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::ShardKill;
use PostgreSQL::Test::Utils;
use Test::More;

my $shard = 1;

my @points = (
	'tried', 'begun', 'created', 'piece', 'between', 'copied', 'verified', 'waiting',
	'swapping', 'swapped', 'removed');
my @ways = ([ '', 'one' ], [ 'one', 'two' ], [ 'two', '' ]);

kill_setup(shards => 4);

sub words { return $_[0] eq '' ? 'local' : $_[0]; }

sub call_to
{
	my ($to) = @_;

	return "CALL auction.move_shard($shard, "
	  . ($to eq '' ? 'NULL' : "'$to'") . ')';
}

# Breaks it, and brings it to its end; then the shard has moved.
sub break_move
{
	my ($point, $victim, $from, $to, $undo) = @_;
	my $what = words($from) . ' to ' . words($to) . ", $point";
	my $id = new_bids();
	my @settings = $point =~ /piece|between/ ? 'SET auction.move_rate = 100' : ();
	my $told = kill_at("move: $point", $victim, @settings, call_to($to));
	my $outcome = $told eq '' ? 'finished' : "error $told";

	$what .= ", $victim";
	check_bids("$what: then");
	sql("SELECT auction.close_auction($id)");
	my $phase = sql('SELECT phase FROM auction._shard_moves');
	check_whole("$what: no move is known") if $phase eq '';
	if ($undo && $phase ne '')
	{
		my $error = call_again("CALL auction.abort_move($shard)");

		is($error, $phase eq 'r' ? '55000' : '', "$what: undone, if it can be");
		$outcome .= $error eq '' ? ', undone' : ', cannot be undone';
		check_whole("$what: undone") if $error eq '';
	}
	if (place_of($shard) ne $to
		|| sql('SELECT count(*) FROM auction._shard_moves') ne '0')
	{
		is(call_again(call_to($to)), '', "$what: called again");
		$outcome .= ', called again';
	}
	is(place_of($shard), $to, "$what: it has moved");
	check_whole($what);
	kill_row('move ' . words($from) . ' to ' . words($to) . ": $point",
		$victim, $outcome);
	return;
}

my $n = 0;
foreach my $point (@points)
{
	foreach my $victim (qw(cancel backend home one two))
	{
		next if !kill_turn();
		my @fit = grep { $victim !~ /one|two/ || $victim eq $_->[0] || $victim eq $_->[1] } @ways;
		my $chosen = $fit[ $n++ % @fit ];

		foreach my $way (@ways)
		{
			my ($from, $to) = @$way;

			if ($way == $chosen || ($ENV{AUCTION_KILL_ALL} && grep { $_ == $way } @fit))
			{
				break_move($point, $victim, $from, $to, $n++ % 2);
			}
			else
			{
				is(call_again(call_to($to)), '', 'moved');
			}
		}
	}
	check_whole("all after $point", closed => 1);
}

# The source stands still in the middle: it is given up, and the move goes on
# when it is there again.
sql(call_to('one'));
is(kill_at('move: between', 'one held', 'SET auction.move_rate = 100',
		call_to('two')), '08006', 'a source that stands still is given up');
is(call_again(call_to('two')), '', '... and the move goes on');
check_whole('a source that stood still', closed => 1);

done_testing();
