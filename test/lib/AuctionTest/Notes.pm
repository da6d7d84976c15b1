# AuctionTest::Notes: what the program test/load/crowd was told, held against
# what is there.
#
#   my $notes = AuctionTest::Notes->read($dir);
#   my @violations = $notes->check($node, 'postgres', \@faults, $first, $last);
#
# Files in the directory, a line an attempt, tab separated, empty: none; times
# in microseconds since 1970:
#   bids.N   client, number of its transaction (0: alone), way, number of bids
#            in the statement, how it was disturbed, auction, user, amount,
#            request, sent, answered, end (ok, error, lost), sqlstate, reason in
#            the error, verdict (accepted .. reserve_met), fate of the
#            transaction (alone, commit, rollback, lost), when that was known
#   moves.N  role, auction, route, disturbed, sent, answered, end, sqlstate,
#            told, fate, when that was known
#   acts.N   what (retract, close, cancel), auction, bid_no, then as a move
#
# A violation is a line of text: what is wrong, then the attempt or row. It is
# meant to be empty; nothing here uses the product's own functions.
package AuctionTest::Notes;

use strict;
use warnings;

use AuctionTest::Model;
use List::Util qw(min);

my @bid_columns = qw(client transaction way n hurry auction user amount request
  sent answered end sqlstate why accepted reason bid_no price leader ends_at
  route durability reserve_met fate settled);
my @act_columns = qw(hurry sent answered end sqlstate told fate settled);

sub _read_files
{
	my ($pattern, @columns) = @_;
	my @rows;

	foreach my $path (glob $pattern)
	{
		open my $file, '<', $path or die "could not read $path: $!";
		while (my $line = <$file>)
		{
			chomp $line;
			my %row;
			@row{@columns} = split /\t/, $line, -1;
			push @rows, \%row;
		}
	}
	return \@rows;
}

sub read
{
	my ($class, $dir) = @_;

	return bless {
		bids => _read_files("$dir/bids.*", @bid_columns),
		moves => _read_files("$dir/moves.*", qw(role auction route),
			@act_columns),
		acts => _read_files("$dir/acts.*", qw(what auction bid_no),
			@act_columns),
		violations => []
	}, $class;
}

sub _wrong
{
	my ($self, $what, $row) = @_;

	push @{ $self->{violations} },
	  $what . ': ' . join ' ',
	  map { defined $row->{$_} && $row->{$_} ne '' ? "$_=$row->{$_}" : () }
	  sort grep { !ref $row->{$_} } keys %$row;
	return;
}

# Rows of a query as hashes; NULL is undef.
sub _rows
{
	my ($node, $db, $columns, $query) = @_;
	my @columns = split ' ', $columns;
	my @rows;

	foreach (split /\n/, $node->safe_psql($db, "\\pset null '~'\n$query"))
	{
		my %row;
		@row{@columns} = map { $_ eq '~' ? undef : $_ } split /\|/, $_, -1;
		push @rows, \%row;
	}
	return @rows;
}

# faults: [from, to] in which workers and servers were away or came back.
sub check
{
	my ($self, $node, $db, $faults, $first, $last) = @_;

	$self->{faults} = $faults;
	$self->_load($node, $db, $first, $last);
	$self->_check_errors;
	$self->_check_log($_) foreach values %{ $self->{auctions} };
	$self->_check_auction($_) foreach values %{ $self->{auctions} };
	return @{ $self->{violations} };
}

# What there was, for whoever reads the result.
sub counts
{
	my ($self) = @_;
	my %n = (
		bids => scalar(@{ $self->{bids} }),
		moves => scalar(@{ $self->{moves} }),
		accepted => 0,
		rejected => $self->{rejected} // 0,
		retracted => $self->{retracted} // 0,
		'recorded though cancelled' => $self->{late_cancel} // 0);

	foreach (@{ $self->{bids} })
	{
		$n{accepted}++ if $_->{accepted} eq 't';
		$n{'rolled back'}++
		  if $_->{accepted} eq 't' && $_->{route} eq 'table'
		  && $_->{fate} eq 'rollback';
	}
	$n{'moves rolled back'} = grep {
		$_->{told} eq 't' && $_->{route} eq 'redis' && $_->{fate} eq 'rollback'
	} @{ $self->{moves} };
	foreach (map { @{ $_->{log} } } values %{ $self->{auctions} })
	{
		$n{"to $_->{to}"}++;
	}
	$n{"error $_"} = $self->{errors}{$_} foreach keys %{ $self->{errors} };
	return %n;
}

# ---- what is there ----

my $us = '(extract(epoch FROM %s) * 1000000)::bigint';

sub _us { return join ', ', map { sprintf $us, $_ } @_; }

sub _load
{
	my ($self, $node, $db, $first, $last) = @_;
	my $which = "BETWEEN $first AND $last";
	my $times = _us(qw(a.starts_at a.ends_at s.closed_at a.extend_limit));
	my $windows = _us(qw(a.extend_window a.extend_by));

	foreach (_rows($node, $db,
			'id seller_id kind starts_at ends_at closed_at extend_limit'
			  . ' extend_window extend_by start_price increment reserve_price'
			  . ' buy_now_price increment_table status route price leader'
			  . ' bid_count end_now',
			"SELECT a.id, a.seller_id, a.kind, $times, $windows, a.start_price,"
			  . ' a.increment, a.reserve_price, a.buy_now_price,'
			  . ' a.increment_table, s.status, s.route, s.price, s.leader_id,'
			  . ' s.bid_count, ' . _us('s.ends_at')
			  . ' FROM auction.auctions a JOIN auction.standings s USING (id)'
			  . " WHERE a.id $which ORDER BY a.id"))
	{
		$_->{steps} = $self->_steps($node, $db, $_->{increment_table})
		  if defined $_->{increment_table};
		@$_{qw(bids told moves log acts)} = ([], [], [], [], []);
		$self->{auctions}{ $_->{id} } = $_;
	}
	$self->_load_bids($node, $db, $which);
	foreach (_rows($node, $db, 'auction id role from to at',
			'SELECT auction_id, id, by_role, from_route, to_route, ' . _us('at')
			  . " FROM auction.route_log WHERE auction_id $which ORDER BY id"))
	{
		push @{ $self->{auctions}{ $_->{auction} }{log} }, $_;
	}
	push @{ $self->{auctions}{ $_->{auction} }{told} }, $_
	  foreach @{ $self->{bids} };
	push @{ $self->{auctions}{ $_->{auction} }{moves} }, $_
	  foreach @{ $self->{moves} };
	push @{ $self->{auctions}{ $_->{auction} }{acts} }, $_
	  foreach @{ $self->{acts} };
	return;
}

sub _steps
{
	my ($self, $node, $db, $name) = @_;

	return [
		map { [ $_->{from}, $_->{step} ] } _rows($node, $db, 'from step',
			'SELECT from_price, increment FROM auction.increment_tables'
			  . " WHERE name = '$name' ORDER BY from_price")
	];
}

sub _load_bids
{
	my ($self, $node, $db, $which) = @_;
	my $times = _us(qw(placed_at retracted_at));
	my $columns = 'auction_id, bid_no, user_id, amount, request_id, buy_now,'
	  . " lane_id IS NULL, $times";

	foreach (_rows($node, $db,
			'auction bid_no user amount request buy table at gone', <<"SQL"))
SELECT $columns FROM auction.journal WHERE auction_id $which
UNION ALL
SELECT $columns FROM auction.history WHERE auction_id $which
ORDER BY auction_id, bid_no
SQL
	{
		$_->{buy} = $_->{buy} eq 't';
		$_->{route} = $_->{table} eq 't' ? 'table' : 'redis';
		push @{ $self->{auctions}{ $_->{auction} }{bids} }, $_;
	}
	return;
}

# ---- errors ----

sub _in_fault
{
	my ($self, $row) = @_;

	return grep { $row->{sent} <= $_->[1] && $row->{settled} >= $_->[0] }
	  @{ $self->{faults} };
}

# Each error has a reason: what was done to the statement, or a fault; or it is
# an answer.
my %answers = map { $_ => 1 } qw(RB001 RB009 42704);
my %given_up = map { $_ => 1 } qw(57014 RB002 RB003);
my %killed = map { $_ => 1 } qw(57P01 RB002 RB003);
my %broken = map { $_ => 1 }
  qw(RB002 RB003 RB004 RB006 RB010 57P01 57P02 57P03 57014 08006);

sub _is_explained
{
	my ($self, $row) = @_;
	my $code = $row->{end} eq 'lost' ? '08006' : $row->{sqlstate};

	return 1 if $answers{$code};
	return 1 if $row->{hurry} ne '' && $given_up{$code};
	return 1 if $row->{hurry} eq 'kill' && ($killed{$code} || $code eq '08006');
	return 1 if $row->{transaction} && $code eq '40001';
	return $broken{$code} && $self->_in_fault($row);
}

sub _check_errors
{
	my ($self) = @_;

	foreach (map { @{ $self->{$_} } } qw(bids moves acts))
	{
		$self->{errors}{ $_->{sqlstate} || $_->{end} }++ if $_->{end} ne 'ok';
		$self->_wrong('an error without a reason', $_)
		  if $_->{end} ne 'ok' && !$self->_is_explained($_);
	}
	return;
}

# ---- moves ----

# yes, no, or maybe: to table it may complete whatever was told.
sub _is_moved
{
	my ($move) = @_;
	my $to_table = $move->{route} eq 'table';

	if ($move->{end} eq 'ok')
	{
		return 'no' if $move->{told} ne 't';
		return 'yes' if $to_table;
		return
		    $move->{fate} eq 'lost' ? 'maybe'
		  : $move->{fate} eq 'rollback' ? 'no'
		  : 'yes';
	}
	return 'maybe' if $to_table;
	return $move->{fate} eq 'alone'
	  && ($move->{end} eq 'lost' || $move->{sqlstate} =~ /^57P/)
	  ? 'maybe'
	  : 'no';
}

# The log's entries are a chain, and each belongs to one attempt.
sub _check_log
{
	my ($self, $auction) = @_;
	my @moves = sort { $a->{answered} <=> $b->{answered} }
	  grep { ($_->{moved} = _is_moved($_)) ne 'no' } @{ $auction->{moves} };
	my $before;

	foreach my $entry (@{ $auction->{log} })
	{
		$self->_wrong('the route log has a break', $entry)
		  if $entry->{from} eq $entry->{to}
		  || $before
		  && ($before->{to} ne $entry->{from} || $before->{at} > $entry->{at});
		$before = $entry;
		$entry->{move} = _mover($entry, 'yes', @moves)
		  // _mover($entry, 'maybe', @moves);
		$self->_wrong('a move that nobody has made', $entry)
		  if !$entry->{move};
		$entry->{move}{entry} = $entry if $entry->{move};
	}
	foreach (@moves)
	{
		$self->_wrong('a move is not in the log', $_)
		  if $_->{moved} eq 'yes' && !$_->{entry};
	}
	$self->_wrong('its route is not the last one in the log', $auction)
	  if $before && $before->{to} ne $auction->{route};
	return;
}

# One that was given up may complete at any time later.
sub _mover
{
	my ($entry, $moved, @moves) = @_;

	foreach (@moves)
	{
		return $_
		  if !$_->{entry}
		  && $_->{moved} eq $moved
		  && $_->{route} eq $entry->{to}
		  && $_->{role} eq $entry->{role}
		  && $_->{sent} <= $entry->{at}
		  && ($moved eq 'maybe' || $_->{answered} >= $entry->{at});
	}
	return undef;
}

# Each bid was decided on the route that the auction had. A bid on redis may
# have been handed over before the move and decided behind it.
sub _check_routes
{
	my ($self, $auction) = @_;
	my @periods;
	my $route = @{ $auction->{log} } ? $auction->{log}[0]{from}
	  : $auction->{route};
	my $from = 0;

	foreach (@{ $auction->{log} })
	{
		push @periods, [ $route, $from, $_->{at} ];
		($route, $from) = ($_->{to}, $_->{at});
	}
	push @periods, [ $route, $from, 9e18 ];
	my $p = 0;
	foreach my $bid (@{ $auction->{bids} })
	{
		$p++
		  while $p < @periods
		  && ($periods[$p][0] ne $bid->{route} || $periods[$p][2] < $bid->{at});
		if ($p == @periods
			|| $bid->{route} eq 'table' && $periods[$p][1] > $bid->{at})
		{
			$self->_wrong('decided on a route that it was not on', $bid);
			return;
		}
	}
	return;
}

# ---- bids ----

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

sub _check_there
{
	my ($self, $auction) = @_;
	my (%by_request, %told);

	foreach (@{ $auction->{bids} })
	{
		$self->_wrong('recorded twice', $_)
		  if $by_request{ $_->{request} // '' }++;
	}
	$told{ $_->{request} } = $_ foreach @{ $auction->{told} };
	foreach my $bid (@{ $auction->{bids} })
	{
		my $told = $told{ $bid->{request} // '' };

		if (!$told)
		{
			$self->_wrong('a bid that nobody has placed', $bid);
			next;
		}
		@$bid{qw(told settled)} = ($told, $told->{settled});
		$told->{bid} = $bid;
		$self->_compare($bid, $told, _is_there($told));
	}
	foreach (@{ $auction->{told} })
	{
		$self->_wrong('accepted, and not there', $_)
		  if _is_there($_) eq 'yes' && !$_->{bid};
	}
	return;
}

sub _compare
{
	my ($self, $bid, $told, $there) = @_;

	$self->_wrong('there, and not accepted', $told)
	  if $there eq 'no' || $there eq 'redis' && $bid->{route} ne 'redis';
	$self->{late_cancel}++ if $told->{sqlstate} eq '57014' && $told->{n} == 1;
	$self->_wrong("not as it was placed, at $bid->{at}", $told)
	  if $bid->{user} != $told->{user}
	  || $bid->{buy} != ($told->{way} eq 'buy_now')
	  || !$bid->{buy} && $bid->{amount} != $told->{amount}
	  || $bid->{at} < $told->{sent}
	  || $bid->{at} > $told->{settled};
	$self->_wrong("not as it was told: $bid->{bid_no}, $bid->{route}", $told)
	  if $told->{end} eq 'ok'
	  && ($bid->{bid_no} != $told->{bid_no} || $bid->{route} ne $told->{route});
	return;
}

# ---- history ----

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

# closed and cancelled: states behind the last bid.
sub _end_states
{
	my ($auction, $states) = @_;

	return if !defined $auction->{closed_at};
	foreach my $status ('closed',
		$auction->{status} eq 'cancelled' ? 'cancelled' : ())
	{
		my $state = $states->[-1]->state;

		@$state{qw(status settled)} = ($status, 9e18);
		$state->{from} = $auction->{closed_at}
		  if $auction->{closed_at} > $state->{from};
		push @$states, $state;
	}
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
		  grep { !$_->{transaction} && $_->{n} == 1 } @{ $auction->{told} });

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

sub _check_auction
{
	my ($self, $auction) = @_;

	$self->_check_there($auction);
	$self->_check_routes($auction);
	$self->_check_order($auction);
	$self->_check_over($auction);
	my @states = $self->_replay($auction);
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
	$self->_check_retractions($auction);
	_end_states($auction, \@states);
	_set_until(\@states);
	$self->_check_rejections($auction, @states);
	return;
}

1;
