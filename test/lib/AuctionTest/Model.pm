# AuctionTest::Model: an auction as the README says it goes, in Perl.
#
#   my $model = AuctionTest::Model->new($auction);   # a row of auctions
#   $model->why_not($user, $amount, $buy, $from, $to)
#   $model->take($user, $amount, $buy, $at);
#   $model->retract(@bids_that_stand);
#   my $state = $model->state;                       # a copy, to keep
#
# Written from the table of rules, not from rules.c. Amounts are numbers, times
# microseconds since 1970; what is not there is undef.
package AuctionTest::Model;

use strict;
use warnings;

use List::Util qw(max min);

# Of the auction: seller_id, kind, starts_at, ends_at, start_price, increment,
# steps ([[from_price, increment], ...], rising, or undef), reserve_price,
# buy_now_price, extend_window, extend_by, extend_limit.
sub new
{
	my ($class, $auction) = @_;

	return bless {
		auction => $auction,
		status => 'open',
		n => 0,
		price => $auction->{start_price},
		ends_at => $auction->{ends_at}
	}, $class;
}

sub state
{
	my ($self) = @_;

	return bless {%$self}, ref $self;
}

sub _step
{
	my ($self, $amount) = @_;
	my $step = $self->{auction}{increment};

	foreach (@{ $self->{auction}{steps} // [] })
	{
		$step = $_->[1] if $_->[0] <= $amount;
	}
	return $step;
}

# What a bidder who does not lead has to bid at least.
sub least
{
	my ($self) = @_;
	my $a = $self->{auction};

	return $a->{start_price} if !defined $self->{leader};
	my $least = $self->{price} + $self->_step($self->{price});
	return $a->{kind} eq 'open' && defined $a->{buy_now_price}
	  ? min($least, $a->{buy_now_price})
	  : $least;
}

# 1, 0, or undef without a reserve.
sub reserve_met
{
	my ($self) = @_;
	my $reserve = $self->{auction}{reserve_price};

	return undef if !defined $reserve;
	return defined $self->{leader} && $self->{price} >= $reserve ? 1 : 0;
}

# The reasons with which it may be refused between two moments: one, or two if
# the auction ends in between; '' stands for none.
sub why_not
{
	my ($self, $user, $amount, $buy, $from, $to) = @_;
	my $a = $self->{auction};
	my @why;

	return $self->{status} if $self->{status} ne 'open';
	push @why, 'not_started' if $from < $a->{starts_at};
	push @why, 'closed' if $to >= $self->{ends_at};
	push @why, $self->_why_not_now($user, $amount, $buy)
	  if $from < $self->{ends_at} && $to >= $a->{starts_at};
	return @why;
}

sub _why_not_now
{
	my ($self, $user, $amount, $buy) = @_;
	my $a = $self->{auction};

	return 'seller' if $user == $a->{seller_id};
	if ($buy)
	{
		my $met = $self->reserve_met // 1;

		return !defined $a->{buy_now_price}
		  || defined $self->{leader} && $met ? 'not_available' : '';
	}
	return $amount > $self->{top} ? '' : 'already_leading'
	  if $a->{kind} eq 'proxy' && defined $self->{leader}
	  && $self->{leader} == $user;
	return $amount < $self->least ? 'too_low' : '';
}

sub _set_price
{
	my ($self) = @_;
	my $a = $self->{auction};

	if (!defined $self->{leader})
	{
		$self->{price} = $a->{start_price};
	}
	elsif ($a->{kind} eq 'open' || $self->{bought})
	{
		$self->{price} = min($self->{top}, $a->{buy_now_price} // $self->{top});
	}
	else
	{
		my @least = ($a->{start_price});

		push @least,
		  min($self->{top}, $self->{second} + $self->_step($self->{second}))
		  if defined $self->{second};
		push @least, $a->{reserve_price}
		  if defined $a->{reserve_price} && $self->{top} >= $a->{reserve_price};
		$self->{price} = max(@least);
	}
	return;
}

sub _count
{
	my ($self, $user, $amount, $buy) = @_;

	if (!defined $self->{leader} || $amount > $self->{top})
	{
		$self->{second} = $self->{top}
		  if defined $self->{leader} && $self->{leader} != $user;
		@$self{qw(leader top bought)} = ($user, $amount, $buy);
	}
	elsif ($user != $self->{leader})
	{
		$self->{second} = max($self->{second} // $amount, $amount);
	}
	return;
}

sub take
{
	my ($self, $user, $amount, $buy, $at) = @_;
	my $a = $self->{auction};

	$self->{n}++;
	$self->_count($user, $amount, $buy);
	$self->_set_price;
	if ($buy
		|| $a->{kind} eq 'open' && defined $a->{buy_now_price}
		&& $amount >= $a->{buy_now_price})
	{
		$self->{status} = 'closed';
	}
	elsif (defined $a->{extend_window}
		&& $self->{ends_at} - $at <= $a->{extend_window})
	{
		my $end = $at + $a->{extend_by};

		$end = min($end, $a->{extend_limit}) if defined $a->{extend_limit};
		$self->{ends_at} = max($self->{ends_at}, $end);
	}
	return;
}

# The bids that stand, each [user, amount, buy], in their order.
sub retract
{
	my ($self, @bids) = @_;

	delete @$self{qw(leader top second bought)};
	$self->_count(@$_) foreach @bids;
	# of each bidder the best counts; a leader may have been second before
	my %best;
	foreach (@bids)
	{
		$best{ $_->[0] } = max($best{ $_->[0] } // 0, $_->[1]);
	}
	my @others = map { $best{$_} }
	  grep { defined $self->{leader} && $_ != $self->{leader} } keys %best;
	$self->{second} = max(@others);
	$self->_set_price;
	return;
}

1;
