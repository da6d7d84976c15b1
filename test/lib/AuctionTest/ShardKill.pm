# Breaks a move, a split or the consolidator at a named point (src/stop.h) by
# killing one who takes part, and looks what is there then and in the end.
#
#   kill_setup(shards => 4);            # nodes home, one, two, with bids
#   kill_at('move: piece', 'backend', $call, $what)
#   ...                                 # what goes on then is the caller's
#   check_whole($what);                 # no bid is missing, nothing left over
#   kill_row($phase, $victim, $outcome)
#
# All of it takes a quarter of an hour, so a case asks whether it is its turn.
#
# Victims: 'cancel', 'terminate' (pg_cancel_backend() ..), 'backend' (SIGKILL of
# who is stopped, which crashes the home), 'home' (SIGKILL of its postmaster and
# all others), 'one', 'two' (the same of a shard server), 'one held' (that
# server stands still until it is given up; for the consolidator).
package AuctionTest::ShardKill;

use strict;
use warnings;
use feature 'state';

use AuctionTest;
use AuctionTest::Shards;
use Carp;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  $home %server sql kill_setup stop_at stop_nowhere kill_at new_bids
  check_bids check_whole wait_consolidated kill_row kill_turn call_again
  place_of
);

our $home;
our %server;

# Bids are the same whoever reads them, in whatever place they are.
my $content = 'SELECT count(*), count(DISTINCT (auction_id, bid_no)),'
  . ' bit_xor(hash_record_extended(ROW(b.*), 0)) FROM auction.bids b';
my $expected;
my $auctions = 0;
my $conf = 'autovacuum = off';

sub sql { return $home->safe_psql('postgres', @_); }

sub kill_setup
{
	my (%opt) = @_;

	$home = new_node('home', conf => "auction.stop_at = ''\nauction.shard_timeout = '2s'");
	%server = map { $_ => new_shard_node($_, conf => $conf) } qw(one two);
	shard_server($home, $server{$_}) foreach sort keys %server;
	sql("SELECT auction.create_shards($opt{shards})");
	new_bids();
	wait_consolidated();
	return;
}

# A new auction with bids of 400 users, still open; returns its id.
sub new_bids
{
	my $id = ++$auctions;

	sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route, start_price)
VALUES ($id, 0, now() + interval '1 day', 'table', 100);
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, n, 100 + n, gen_random_uuid(), jsonb_build_object('n', n))
		::auction.bid_request FROM generate_series(1, 400) n ORDER BY n));
SELECT auction.close_auction(id) FROM auction.auctions WHERE id < $id - 1
	AND id IN (SELECT id FROM auction.standings WHERE status = 'open');
SQL
	$expected = sql($content);
	return $id;
}

sub check_bids
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	is(sql($content), $expected, "$what: bids are as before");
	return;
}

# All auctions are closed, and history.
sub wait_consolidated
{
	sql(<<'SQL');
SELECT auction.close_auction(id) FROM auction.standings WHERE status = 'open'
SQL
	poll_until($home, 'postgres',
		"SELECT bool_and(status = 'consolidated') FROM auction.standings");
	return;
}

# Each table that nobody accounts for, and each unfinished move. "shards" has
# "SERVER.TABLE" of each shard that is on a server.
sub left_over
{
	my ($here, $shards) = @_;
	my @over = split / /, $here;
	my %wanted = map { $_ => 1 } split / /, $shards;

	foreach my $name (sort keys %server)
	{
		my $there = $server{$name}->safe_psql('postgres', <<'SQL');
SELECT relname FROM pg_class WHERE relnamespace = 'auction_shard'::regnamespace
	AND relname ~ '^_?history_[0-9]' AND relkind = 'r'
SQL
		push @over, grep { !$wanted{$_} } map { "$name.$_" } split /\n/, $there;
	}
	return join ' ', @over;
}

# Nothing is left over, nothing is missing.  With "closed" auctions are closed
# first, and everything becomes history.
sub check_whole
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, %opt) = @_;

	wait_consolidated() if $opt{closed};
	my ($bids, $journal, $history, $over, $shards) = split /\n/,
	  sql(<<"SQL"), -1;
$content;
SELECT count(*) FROM auction.journal;
SELECT count(*) = (SELECT count(*) FROM auction.bids) FROM auction.history;
SELECT string_agg(what, ' ') FROM
	(SELECT relname FROM pg_class WHERE relnamespace = 'auction'::regnamespace
		AND relname ~ '^_history_[0-9]' AND relkind IN ('r', 'f')
	UNION ALL SELECT 'move_of_' || shard FROM auction._shard_moves) o (what);
SELECT string_agg(server || '.' || remote_table, ' ') FROM auction.shards;
SQL
	is($bids, $expected, "$what: in the end bids are as before");
	is("$journal $history", '0 t', "$what: all is history") if $opt{closed};
	is(left_over($over, $shards), '', "$what: nothing is left over");
	return;
}

# Where a shard is: '' here.
sub place_of
{
	my ($shard) = @_;

	return sql("SELECT server FROM auction.shards WHERE shard = $shard");
}

# ---- stopping ----

# Whoever comes to this point from now on.
sub stop_at
{
	my ($point) = @_;

	sql("ALTER SYSTEM SET auction.stop_at = '$point'");
	$home->reload;
	poll('the new setting counts',
		sub { return sql('SHOW auction.stop_at') eq $point; });
	return;
}

sub stop_nowhere
{
	sql('ALTER SYSTEM RESET auction.stop_at');
	$home->reload;
	return;
}

# The process that is stopped there.
sub stopped
{
	my ($point, $from) = @_;

	return poll(
		"somebody is stopped at \"$point\"",
		sub {
			return slurp_file($home->logfile, $from) =~
			  /\[(\d+)\].* stopped at "\Q$point\E"/ ? $1 : undef;
		});
}

# ---- killing ----

sub children
{
	my ($parent) = @_;
	my @pids;

	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		open my $stat, '<', $file or next;
		push @pids, $1
		  if (<$stat> // '') =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $parent;
	}
	return @pids;
}

sub is_alive
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return 0;
	return (<$stat> // ') Z') !~ /\) Z/;
}

# The postmaster and all it has started; then it is started again.
sub kill_node
{
	my ($node, $meanwhile) = @_;
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	kill 'STOP', $pid;
	my @all = ($pid, children($pid));
	kill 'KILL', @all;
	poll('they are gone', sub { return !grep { is_alive($_) } @all; });
	# as after a reboot: who has not been waited for still has a number
	unlink $node->data_dir . '/postmaster.pid',
	  $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	$node->{_pid} = undef;
	$meanwhile->() if $meanwhile;
	$node->start;
	return;
}

# Kills one of the home's processes; until all others have ended for it.
sub crash_home
{
	my ($pid) = @_;
	my $from = -s $home->logfile;

	# it must not go on when the configuration is read again
	kill 'STOP', $pid;
	stop_nowhere();
	kill 'KILL', $pid;
	poll('the home has noticed', sub {
		return slurp_file($home->logfile, $from) =~
		  /all server processes terminated/;
	});
	poll_until($home, 'postgres', 'SELECT true');
	return;
}

# Runs the statements, and kills the victim when they, or the worker that they
# give work to, have come to the point.  Returns what the caller was told: ''
# (no error), an SQLSTATE or 'lost'.
sub kill_at
{
	my ($point, $victim, @call) = @_;
	my $from = -s $home->logfile;

	stop_at($point);
	my $psql = start_psql($home, 'postgres', @call);
	my $pid = stopped($point, $from);

	if ($victim =~ /^(cancel|terminate)$/)
	{
		sql("SELECT pg_$1_backend($pid)");
	}
	elsif ($victim eq 'backend')
	{
		crash_home($pid);
	}
	elsif ($victim eq 'home')
	{
		sql('ALTER SYSTEM RESET auction.stop_at');
		kill_node($home);
	}
	elsif ($victim eq 'one held')
	{
		hold_still($server{one});
		stop_nowhere();
		if ($point =~ /^move/)
		{
			$psql->{run}->finish;
		}
		else
		{
			poll_until($home, 'postgres',
				"SELECT bool_or(error IS NOT NULL) FROM auction.stat_shards");
		}
		go_on_all($server{one});
	}
	else
	{
		kill_node(
			$server{$victim},
			sub {
				stop_nowhere();
				finish_psql($psql);
			});
	}
	my ($out, $err) = finish_psql($psql);
	stop_nowhere() if $victim =~ /^(cancel|terminate)$/;
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/ ? $1
	  : $err =~ /(ERROR|FATAL|connection|terminated)/ ? 'lost' : '';
}

# Until the call has done what it can do: '' or an SQLSTATE.
sub call_again
{
	my ($call) = @_;

	return sql_error($home, 'postgres', $call);
}

# Is it this case's turn? One in eight is; with AUCTION_KILL_ALL (suite
# shards-long) each is.
sub kill_turn
{
	state $cases = 0;

	return $cases++ % 8 == 0 || $ENV{AUCTION_KILL_ALL};
}

# One line of the kill table.
sub kill_row
{
	my $row = join ' | ', @_;

	note $row;
	if (my $file = $ENV{AUCTION_KILL_TABLE})
	{
		open my $table, '>>', $file or die "$file: $!";
		print $table "$row\n";
		close $table;
	}
	return;
}

1;
