# A shard is split, here and on another server, and a move is undone; each is
# broken at each point by the end of each who takes part, and then called
# again, or undone. No bid is ever missing, nothing is left over.
#
# Every point meets every victim, here or there, and with AUCTION_KILL_ALL both.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::ShardKill;
use PostgreSQL::Test::Utils;
use Test::More;

my @points = (
	'tried', 'begun', 'created', 'piece', 'between', 'copied', 'verified', 'waiting',
	'swapping', 'swapped', 'attached', 'removed');

kill_setup(shards => 4);
sql("CALL auction.move_shard($_, 'one')") foreach (2, 3);

# A shard there that is as great as any; '' is here.
sub greatest
{
	my ($place) = @_;

	return split /\|/, sql(<<"SQL");
SELECT shard, modulus FROM auction.shards WHERE coalesce(server, '') = '$place'
ORDER BY modulus, shard LIMIT 1
SQL
}

sub under_way
{
	return sql('SELECT count(*) FROM auction._shard_moves');
}

sub break_split
{
	my ($point, $victim, $place, $undo) = @_;
	my ($shard, $modulus) = greatest($place);
	my $call = "CALL auction.split_shard($shard)";
	my $where = $place eq '' ? 'local' : $place;
	my $what = "split $where, $point, $victim";
	my $id = new_bids();
	my @settings = $point =~ /piece|between/ ? 'SET auction.move_rate = 50' : ();
	my $told = kill_at("move: $point", $victim, @settings, $call);
	my $outcome = $told eq '' ? 'finished' : "error $told";
	my $split = "SELECT count(*) FROM auction.shards
		WHERE modulus = 2 * $modulus AND shard IN ($shard, $shard + $modulus)
			AND coalesce(server, '') = '$place'";

	check_bids("$what: then");
	sql("SELECT auction.close_auction($id)");
	my $phase = sql('SELECT phase FROM auction._shard_moves');
	check_whole("$what: no move is known") if $phase eq '';
	if ($undo && $phase ne '')
	{
		my $error = call_again("CALL auction.abort_move($shard)");

		is($error, $phase =~ /[rd]/ ? '55000' : '', "$what: undone, if it can be");
		$outcome .= $error eq '' ? ', undone' : ', cannot be undone';
		check_whole("$what: undone") if $error eq '';
	}
	if (under_way() ne '0' || sql($split) ne '2')
	{
		is(call_again($call), '', "$what: called again");
		$outcome .= ', called again';
	}
	is(sql($split), '2', "$what: there are two");
	check_whole($what);
	kill_row("split $where: $point", $victim, $outcome);
	return;
}

# A move to one from here, or from there to two, is being undone.
sub break_undoing
{
	my ($point, $victim, $to) = @_;
	my ($shard) = greatest($to eq 'two' ? 'one' : '');
	my $what = "abort of a move to $to, $point, $victim";
	my $call = "CALL auction.abort_move($shard)";
	my $move = "CALL auction.move_shard($shard, '$to')";
	my $from = place_of($shard);

	new_bids();
	is(kill_at('move: copied', 'cancel', $move), '57014', 'a move is under way');
	my $told = kill_at("move: $point", $victim, $call);
	my $outcome = $told eq '' ? 'finished' : "error $told";
	check_bids("$what: then");
	if (under_way() ne '0')
	{
		is(call_again($move), '55000', "$what: it does not go on");
		is(call_again($call), '', "$what: called again");
		$outcome .= ', called again';
	}
	is(place_of($shard), $from, "$what: it has not moved");
	check_whole($what);
	kill_row("abort of a move to $to: $point", $victim, $outcome);
	return;
}

my $n = 0;
foreach my $point (@points)
{
	foreach my $victim (qw(cancel backend home one))
	{
		break_split($point, $victim, '', $n++ % 2)
		  if $point ne 'attached' && $victim ne 'one' && kill_turn();
		break_split($point, $victim, 'one', $n++ % 2) if kill_turn();
	}
	check_whole("all after $point", closed => 1);
}
foreach my $point (qw(aborting dropped))
{
	break_undoing($point, $_, 'one')
	  foreach grep { kill_turn() } qw(cancel backend home one);
	break_undoing($point, $_, 'two') foreach grep { kill_turn() } qw(home two);
}

check_whole('all after an abort', closed => 1);

done_testing();
