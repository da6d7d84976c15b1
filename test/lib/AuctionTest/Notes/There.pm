# AuctionTest::Notes::There: whether an auction's bids are those that clients were
# told of, each once.
#
# A request may have been sent several times: its bid is there once, at most,
# placed by one of these attempts, and every answer names that one.
package AuctionTest::Notes::There;

use strict;
use warnings;

use AuctionTest::Notes::Loss;
use Exporter 'import';
use List::Util qw(max);

our @EXPORT = qw(check_there);

# Whether it has to be there: yes, no, maybe; redis: maybe, if decided there.
sub _is_there
{
	my ($told) = @_;
	my $gone = $told->{end} eq 'lost' || $told->{sqlstate} =~ /^(57P|08)/;

	if ($told->{end} eq 'ok')
	{
		return 'no' if $told->{accepted} ne 't';
		return 'yes' if $told->{route} eq 'redis';
		return
		    $told->{fate} eq 'rollback' ? 'no'
		  : $told->{fate} eq 'lost' ? 'maybe'
		  : 'yes';
	}
	return $told->{transaction} ? 'redis' : 'maybe' if $gone;
	# whichever of several bids has failed; cancelled when it was answered
	return $told->{n} > 1 || $told->{sqlstate} =~ /^(RB003|57014)$/
	  ? 'redis'
	  : 'no';
}

sub _may_be_there
{
	my ($told, $bid) = @_;
	my $there = _is_there($told);

	return $there ne 'no' && ($there ne 'redis' || $bid->{route} eq 'redis');
}

# Whether this attempt may have placed it.
sub _may_have_placed
{
	my ($told, $bid) = @_;

	return
	     $bid->{user} == $told->{user}
	  && $bid->{buy} == ($told->{way} eq 'buy_now')
	  && ($bid->{buy} || $bid->{amount} == $told->{amount})
	  && $bid->{at} >= $told->{sent}
	  && $bid->{at} <= $told->{settled};
}

sub _says
{
	my ($told, $bid) = @_;

	return $bid->{bid_no} == $told->{bid_no} && $bid->{route} eq $told->{route};
}

# Finds the attempt that has placed it; what the others were told fits.
sub _check_attempts
{
	my ($notes, $auction, $bid, @attempts) = @_;
	my @may = grep { _may_be_there($_, $bid) } @attempts;
	my @placed = grep { _may_have_placed($_, $bid) } @may;
	my ($told) =
	  ((grep { $_->{end} eq 'ok' } @placed), @placed, @may, @attempts);

	$notes->_wrong('there, and not accepted', $told) if !@may;
	$notes->_wrong("not as it was placed, at $bid->{at}", $told)
	  if @may && !@placed;
	$notes->{late_cancel}++ if $told->{sqlstate} eq '57014' && $told->{n} == 1;
	@$bid{qw(told settled)} = ($told, $told->{settled});
	foreach my $told (grep { $_->{end} eq 'ok' } @attempts)
	{
		if (_is_there($told) ne 'no')
		{
			$told->{bid} = $bid;
			$notes->_wrong("not as it was told: $bid->{bid_no}, $bid->{route}",
				$told)
			  if !_says($told, $bid) && !may_be_lost($notes, $auction, $told);
		}
		elsif ($told->{accepted} ne 't')
		{
			$notes->_wrong("refused, and it was there: $bid->{bid_no}", $told)
			  if $bid->{at} < $told->{sent};
		}
	}
	return;
}

# What somebody was told who has asked.
sub _check_status
{
	my ($notes, $auction, $told, $bid) = @_;

	return if $told->{end} ne 'ok';
	if ($told->{accepted} eq 't')
	{
		$notes->_wrong('it is said to be there', $told)
		  if (!$bid || !_says($told, $bid))
		  && !may_be_lost($notes, $auction, $told);
	}
	elsif ($bid)
	{
		$notes->_wrong("it is said not to be there: $bid->{bid_no}", $told)
		  if $bid->{at} < $told->{sent};
	}
	return;
}

my %level = (redis => 1, replica => 2, journal => 3);

# The higher one of what its auction and its session asked for.
sub _check_level
{
	my ($notes, $auction, $told) = @_;
	my $reached = $told->{durability};

	return
	  if $told->{end} ne 'ok' || $told->{route} ne 'redis' || $reached eq '';
	$notes->_wrong("a level lower than asked for, $auction->{durability}", $told)
	  if $level{$reached} < max(map { $level{$_} } $auction->{durability},
		$told->{level} || 'redis');
	return;
}

# Each bid once at any moment; none missing whose commit was known.
sub _check_reads
{
	my ($notes, $auction) = @_;
	my @committed = sort { $a->{settled} <=> $b->{settled} }
	  grep {
		$_->{told} && $_->{told}{end} eq 'ok'
		  && ($_->{route} eq 'table' || $_->{told}{durability} eq 'journal')
	  } @{ $auction->{bids} };
	my $last = 0;

	foreach my $read (sort { $a->{sent} <=> $b->{sent} }
		grep { $_->{end} eq 'ok' } @{ $auction->{reads} })
	{
		$last = max($last, (shift @committed)->{bid_no})
		  while @committed && $committed[0]{settled} < $read->{sent};
		$notes->_wrong('read other bids than 1 .. n', $read)
		  if $read->{n} != $read->{different} || $read->{n} != $read->{last};
		$notes->_wrong("bid $last was committed, and not read", $read)
		  if $read->{last} < $last;
	}
	return;
}

# Of an auction as AuctionTest::Notes has loaded it. Sets "told" of each bid, the
# attempt that has placed it, and "bid" of each answer that has told of one.
sub check_there
{
	my ($notes, $auction) = @_;
	my (%bid, %told);

	push @{ $told{ $_->{request} } }, $_ foreach @{ $auction->{told} };
	foreach my $bid (@{ $auction->{bids} })
	{
		my $request = $bid->{request} // '';
		my $told = $told{$request};

		$notes->_wrong('recorded twice', $bid) if $bid{$request};
		$bid{$request} //= $bid;
		if ($told)
		{
			_check_attempts($notes, $auction, $bid, @$told);
		}
		else
		{
			$notes->_wrong('a bid that nobody has placed', $bid);
		}
	}
	foreach my $told (@{ $auction->{told} })
	{
		_check_level($notes, $auction, $told);
		$notes->_wrong('accepted, and not there', $told)
		  if _is_there($told) eq 'yes'
		  && !$bid{ $told->{request} }
		  && !may_be_lost($notes, $auction, $told);
	}
	$notes->{repeats} += @$_ - 1 foreach values %told;
	_check_status($notes, $auction, $_, $bid{ $_->{request} })
	  foreach @{ $auction->{statuses} };
	_check_reads($notes, $auction);
	return;
}

1;
