# AuctionTest::Notes: what the program test/load/crowd was told, held against
# what is there.
#
#   my $notes = AuctionTest::Notes->read($dir);
#   my @violations = $notes->check($node, 'postgres', \@faults, $first, $last);
#
# Files in the directory, a line an attempt, tab separated, empty: none; times
# in microseconds since 1970:
#   bids.N   client, number of its transaction (0: alone), way, number of bids
#            in the statement, how it was disturbed, level that the session asks
#            for, auction, user, amount, request, sent, answered, end (ok, error,
#            lost), sqlstate, message, reason in it, verdict (accepted ..
#            reserve_met), fate of the transaction (alone, commit, rollback,
#            lost), when that was known. Way "status" bids not, but asks what
#            became of the request. A request may have several lines
#   moves.N  role, auction, route, disturbed, sent, answered, end, sqlstate,
#            told, fate, when that was known
#   acts.N   what (retract, close, cancel), auction, bid_no, then as a move
#   reads.N  auction, sent, answered, end, sqlstate, number of its bids, of
#            different ones, and of the last one
#
# A violation is a line of text: what is wrong, then the attempt or row. It is
# meant to be empty; nothing here uses the product's own functions.
#
# When Redis and PostgreSQL have died together, bids may be lost for which Redis
# alone had vouched; what is allowed then is said in Notes/Loss.pm.
package AuctionTest::Notes;

use strict;
use warnings;

use AuctionTest::Notes::History;
use AuctionTest::Notes::Loss;
use AuctionTest::Notes::There;

my @bid_columns = qw(client transaction way n hurry level auction user amount
  request sent answered end sqlstate message why accepted reason bid_no price
  leader ends_at route durability reserve_met fate settled);
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
	my $lines = _read_files("$dir/bids.*", @bid_columns);
	my $reads = _read_files("$dir/reads.*",
		qw(auction sent answered end sqlstate n different last));

	@$_{qw(hurry transaction settled)} = ('', 0, $_->{answered})
	  foreach @$reads;
	return bless {
		bids => [ grep { $_->{way} ne 'status' } @$lines ],
		statuses => [ grep { $_->{way} eq 'status' } @$lines ],
		reads => $reads,
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
# losses: when both died (Notes/Loss.pm).
sub check
{
	my ($self, $node, $db, $faults, $first, $last, @losses) = @_;

	$self->{faults} = $faults;
	$self->{losses} = \@losses;
	$self->_load($node, $db, $first, $last);
	$self->_check_errors;
	$self->_check_log($_) foreach values %{ $self->{auctions} };
	$self->_check_auction($_) foreach values %{ $self->{auctions} };
	check_lost($self);
	return @{ $self->{violations} };
}

# What there was, for whoever reads the result.
sub counts
{
	my ($self) = @_;
	my %n = (
		bids => scalar(@{ $self->{bids} }),
		reads => scalar(@{ $self->{reads} }),
		repeats => $self->{repeats} // 0,
		'asked what became of it' => scalar(@{ $self->{statuses} }),
		moves => scalar(@{ $self->{moves} }),
		accepted => 0,
		rejected => $self->{rejected} // 0,
		retracted => $self->{retracted} // 0,
		'recorded though cancelled' => $self->{late_cancel} // 0,
		lost => scalar(@{ $self->{lost} // [] }));

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
			  . ' bid_count end_now lane durability',
			"SELECT a.id, a.seller_id, a.kind, $times, $windows, a.start_price,"
			  . ' a.increment, a.reserve_price, a.buy_now_price,'
			  . ' a.increment_table, s.status, s.route, s.price, s.leader_id,'
			  . ' s.bid_count, '
			  . _us('s.ends_at')
			  . ', s.lane_id, a.durability'
			  . ' FROM auction.auctions a JOIN auction.standings s USING (id)'
			  . " WHERE a.id $which ORDER BY a.id"))
	{
		$_->{steps} = $self->_steps($node, $db, $_->{increment_table})
		  if defined $_->{increment_table};
		@$_{qw(bids told statuses reads moves log acts)} = map { [] } 1 .. 7;
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
	foreach my $kind (qw(statuses reads moves acts))
	{
		push @{ $self->{auctions}{ $_->{auction} }{$kind} }, $_
		  foreach @{ $self->{$kind} };
	}
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
  qw(RB002 RB003 RB004 RB006 RB010 57P01 57P02 57P03 08006);

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

	foreach (map { @{ $self->{$_} } } qw(bids statuses reads moves acts))
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

sub _check_auction
{
	my ($self, $auction) = @_;

	check_there($self, $auction);
	$self->_check_routes($auction);
	check_history($self, $auction);
	return;
}

1;
