# AuctionTest::Notes::History: what an auction went through, by the rules alone,
# held against what its bidders were told.
#
# The bids that are there, in their order, and the retractions give the states
# that the auction had (AuctionTest::Model). Each verdict is that of the state
# behind its bid; each rejection follows from a state that the auction may have
# had between question and answer; who was told before another one asked has
# the smaller number.
package AuctionTest::Notes::History;

use strict;
use warnings;

use AuctionTest::Model;
use AuctionTest::Notes::Loss;
use Exporter 'import';
use List::Util qw(max min);

our @EXPORT = qw(check_history);

# ---- the states that it had ----

# Bids and retractions, in the order in which they were decided. A retraction
# is before the bids that have its time: they were handed over earlier.
sub _events
{
	my ($auction) = @_;
	my @gone = sort { $a->{gone} <=> $b->{gone} }
	  grep { defined $_->{gone} } @{ $auction->{bids} };
	my @events;

	foreach my $bid (@{ $auction->{bids} })
	{
		push @events, { gone => shift @gone }
		  while @gone
		  && $gone[0]{bid_no} < $bid->{bid_no}
		  && $gone[0]{gone} <= $bid->{at};
		push @events, { bid => $bid };
	}
	push @events, map { { gone => $_ } } @gone;
	return @events;
}

# Goes through it with the rules alone; returns the states, each with "from",
# when it may have begun, and "settled", when it was known to somebody.
sub _replay
{
	my ($self, $auction) = @_;
	my $model = AuctionTest::Model->new($auction);
	my @states = ($model->state);
	my (@stand, %gone);
	my $n = 0;

	$states[0]{from} = $states[0]{settled} = 0;
	foreach my $event (_events($auction))
	{
		if (my $bid = $event->{bid})
		{
			my @bid = ($bid->{user}, $bid->{amount}, $bid->{buy});
			my @why = $model->why_not(@bid, $bid->{at}, $bid->{at});

			$self->_wrong("bid_no is not $n + 1", $bid)
			  if $bid->{bid_no} != ++$n;
			$self->_wrong("earlier than the bid before", $bid)
			  if $bid->{at} < $states[-1]{from};
			$self->_wrong("accepted against the rules: @why", $bid)
			  if "@why" ne '';
			$model->take(@bid, $bid->{at});
			push @stand, [ $bid->{bid_no}, @bid ];
		}
		else
		{
			$gone{ $event->{gone}{bid_no} } = 1;
			$model->retract(
				map { [ @$_[ 1 .. 3 ] ] } grep { !$gone{ $_->[0] } } @stand);
		}
		push @states, $model->state;
		_date($event, $states[-1]);
	}
	return @states;
}

sub _date
{
	my ($event, $state) = @_;
	my $bid = $event->{bid};

	if ($bid)
	{
		$state->{from} = $bid->{at};
		$state->{settled} = $bid->{settled} // 9e18;
		$bid->{state} = $state;
	}
	else
	{
		$state->{from} = $event->{gone}{gone};
		$state->{settled} = 9e18;
		$event->{gone}{state_gone} = $state;
	}
	return;
}

# A state that differs from another one in its status alone.
sub _as
{
	my ($state, $status, $from) = @_;
	my $as = $state->state;

	@$as{qw(status from settled)} = ($status, max($from, $state->{from}), 9e18);
	return $as;
}

# closed and cancelled: states behind the last bid. A bid may still be retracted
# when the auction is closed.
sub _end_states
{
	my ($auction, $states) = @_;
	my $closed_at = $auction->{closed_at} // return;
	my $n = @$states;

	$n-- while $n > 1 && $states->[ $n - 1 ]{from} > $closed_at;
	splice @$states, $n, 0, _as($states->[ $n - 1 ], 'closed', $closed_at);
	$_->{status} = 'closed' foreach @$states[ $n + 1 .. $#$states ];
	push @$states, _as($states->[-1], 'cancelled', $closed_at)
	  if $auction->{status} eq 'cancelled';
	return;
}

# until: somebody was told of a later state by then, so this one was over.
sub _set_until
{
	my ($states) = @_;
	my $until = 9e18;

	foreach (reverse @$states)
	{
		$_->{until} = $until;
		$until = min($until, $_->{settled});
	}
	return;
}

sub _same
{
	my ($x, $y) = @_;

	return ($x // '') eq ($y // '');
}

sub _tells
{
	my ($state, $told) = @_;
	my $met = $state->reserve_met;

	return
	     _same($told->{price}, $state->{price})
	  && _same($told->{leader}, $state->{leader})
	  && _same($told->{ends_at}, $state->{ends_at})
	  && _same($told->{reserve_met}, defined $met ? ($met ? 't' : 'f') : '');
}

# The states that it may have been decided from.
sub _possible
{
	my ($states, $told) = @_;
	my ($low, $high) = (0, $#$states);

	while ($low < $high)
	{
		my $middle = int(($low + $high) / 2);

		if ($states->[$middle]{until} < $told->{sent})
		{
			$low = $middle + 1;
		}
		else
		{
			$high = $middle;
		}
	}
	$high = $low;
	$high++
	  while $high < @$states && $states->[$high]{from} <= $told->{answered};
	return @$states[ $low .. $high - 1 ];
}

sub _is_possible
{
	my ($state, $told) = @_;
	my $reason = $told->{end} eq 'ok' ? $told->{reason} : $told->{why};

	return 0
	  if !grep { $_ eq $reason } $state->why_not(
		$told->{user}, $told->{amount}, $told->{way} eq 'buy_now',
		$told->{sent}, $told->{answered});
	return $told->{end} ne 'ok' || _tells($state, $told);
}

# A rejection follows from a state that the auction had between question and
# answer; so does the number of an accepted bid that was rolled back. What a
# transaction sees that has bid before, and is not committed, nobody else sees.
sub _check_rejections
{
	my ($self, $auction, @states) = @_;
	my %own;

	foreach my $told (@{ $auction->{told} })
	{
		my $key = "$told->{client} $told->{transaction}";
		my $hidden = $told->{transaction} && $own{$key};

		$own{$key} = 1
		  if $told->{transaction} && $told->{route} eq 'table'
		  && $told->{accepted} eq 't' && $told->{fate} ne 'commit';
		next if $hidden;
		# rows of one statement see each other
		next if $told->{n} > 1 && $told->{end} ne 'ok';
		next if may_know_lost($self, $told);
		if ($told->{accepted} eq 'f' || $told->{why} ne '')
		{
			$self->{rejected}++;
			$self->_wrong('rejected by no state that it had', $told)
			  if !grep { _is_possible($_, $told) } _possible(\@states, $told);
		}
		elsif ($told->{accepted} eq 't' && !$told->{bid})
		{
			$self->_wrong('numbered by no state that it had', $told)
			  if !grep { $_->{n} == $told->{bid_no} - 1 }
			  _possible(\@states, $told);
		}
	}
	return;
}

# Told accepted before another was sent: the smaller number.
sub _check_order
{
	my ($self, $auction) = @_;
	my $until = 9e18;

	foreach (reverse @{ $auction->{bids} })
	{
		next if !$_->{told};
		$self->_wrong("after it was sent, a later bid had been answered", $_)
		  if $until < $_->{told}{sent};
		$until = min($until, $_->{settled});
	}
	return;
}

sub _check_over
{
	my ($self, $auction) = @_;
	my $over = min(9e18, map { $_->{answered} }
		  grep { ($_->{reason} || $_->{why}) =~ /^(closed|cancelled)$/ }
		  grep {
			!$_->{transaction} && $_->{n} == 1 && !may_know_lost($self, $_)
		  } @{ $auction->{told} });

	foreach (@{ $auction->{bids} })
	{
		$self->_wrong('accepted after the close', $_)
		  if defined $auction->{closed_at} && $_->{at} > $auction->{closed_at}
		  || $_->{told} && $_->{told}{sent} > $over;
	}
	return;
}

# ---- retractions ----

sub _check_retractions
{
	my ($self, $auction) = @_;
	my (%done, %maybe);

	foreach (grep { $_->{what} eq 'retract' } @{ $auction->{acts} })
	{
		$maybe{ $_->{bid_no} } = 1
		  if $_->{end} eq 'lost' || $_->{fate} eq 'lost'
		  || $_->{sqlstate} =~ /^57P/;
		$done{ $_->{bid_no} } = $_
		  if $_->{end} eq 'ok' && $_->{fate} =~ /^(alone|commit)$/;
	}
	foreach my $bid (@{ $auction->{bids} })
	{
		my $act = delete $done{ $bid->{bid_no} };
		my $gone = defined $bid->{gone};

		$self->{retracted} += $gone;
		$self->_wrong('retracted by nobody', $bid)
		  if $gone && !$act && !$maybe{ $bid->{bid_no} };
		$self->_wrong('retracted, and stands', $act) if $act && !$gone;
		$self->_wrong("the price after it was $bid->{state_gone}{price}", $act)
		  if $act && $gone && $act->{told} != $bid->{state_gone}{price};
	}
	$self->_wrong('retracted, and not there', $_) foreach values %done;
	return;
}

# Of an auction as AuctionTest::Notes has loaded it; violations go there.
sub check_history
{
	my ($self, $auction) = @_;

	_check_order($self, $auction);
	_check_over($self, $auction);
	my @states = _replay($self, $auction);
	foreach (@{ $auction->{bids} })
	{
		next if !$_->{told} || $_->{told}{end} ne 'ok';
		next if $_->{told}{way} eq 'insert';
		$self->_wrong("the verdict is not that of the rules, $_->{bid_no}",
			$_->{told})
		  if !_tells($_->{state}, $_->{told});
	}
	my $end = $states[-1];
	$self->_wrong("its row is not as the bids are", $auction)
	  if $auction->{bid_count} != $end->{n}
	  || $auction->{price} != $end->{price}
	  || !_same($auction->{leader}, $end->{leader})
	  || $auction->{end_now} != $end->{ends_at}
	  || $auction->{status} eq 'quarantined';
	_check_retractions($self, $auction);
	_end_states($auction, \@states);
	_set_until(\@states);
	_check_rejections($self, $auction, @states);
	return;
}

1;
