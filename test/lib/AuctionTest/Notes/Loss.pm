# AuctionTest::Notes::Loss: what may be missing after Redis and PostgreSQL have
# died together, in the middle of it all.
#
# A loss has: from, some seconds before; at, when neither was alive any more;
# before and after, the marks of each lane ("possible_loss_after", or -1);
# copies, whether the replica was lost, too.
#
# Missing may be a bid that was accepted on route redis at level "redis" (or
# "replica", if copies; an INSERT tells no level: what auction and session ask
# for), and answered in between. Its lane's mark must have changed. What is lost
# of a lane is the end of it: no bid is there that was sent after the answer to
# one that is lost, and decided before both died.
package AuctionTest::Notes::Loss;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(may_be_lost may_know_lost check_lost);

sub may_be_lost
{
	my ($notes, $auction, $told) = @_;
	my @levels =
	  $told->{durability} || ($auction->{durability}, $told->{level} || 'redis');

	return 0 if $told->{route} ne 'redis' || grep { $_ eq 'journal' } @levels;
	my $replicas = grep { $_ eq 'replica' } @levels;
	my ($number) = grep {
		my $loss = $notes->{losses}[$_];
		$told->{answered} >= $loss->{from}
		  && $told->{sent} <= $loss->{at}
		  && (!$replicas || $loss->{copies})
	} 0 .. $#{ $notes->{losses} };

	return 0 if !defined $number;
	push @{ $notes->{lost} },
	  { told => $told, number => $number, lane => $auction->{lane} };
	return 1;
}

# A rejection may follow from a bid that was lost later.
sub may_know_lost
{
	my ($notes, $told) = @_;

	return scalar grep {
		$told->{answered} >= $_->{from} && $told->{sent} <= $_->{at}
	} @{ $notes->{losses} };
}

# first{lane}{number of the loss}: the first answer that was lost.
sub check_lost
{
	my ($notes) = @_;
	my %first;

	foreach my $lost (@{ $notes->{lost} // [] })
	{
		my ($told, $lane) = @$lost{qw(told lane)};
		my $loss = $notes->{losses}[ $lost->{number} ];
		my $first = \$first{$lane}{ $lost->{number} };

		$notes->_wrong("lost, and lane $lane does not say so", $told)
		  if $loss->{before}{$lane} eq $loss->{after}{$lane};
		$$first = $told if !$$first || $told->{answered} < $$first->{answered};
	}
	foreach my $auction (values %{ $notes->{auctions} })
	{
		my $lost = $first{ $auction->{lane} // next } // next;

		foreach my $bid (grep { $_->{told} } @{ $auction->{bids} })
		{
			next if $bid->{route} ne 'redis';
			$notes->_wrong('it is there, an earlier one of its lane is lost',
				$bid)
			  if grep {
				$bid->{told}{sent} > $lost->{$_}{answered}
				  && $bid->{at} < $notes->{losses}[$_]{at}
			  } keys %$lost;
		}
	}
	return;
}

1;
