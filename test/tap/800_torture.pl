# Many clients do everything they may do, things break at random, and then all
# that clients were told is held against what is there. Round after round: each
# has auctions of its own, so that what there is to check, and the space it
# takes, stays small.
#
# test/torture runs it with
#   AUCTION_TORTURE_SECONDS  how long (90); a round that has begun is finished
#   AUCTION_TORTURE_SEED     which faults, and what clients do
#   AUCTION_TORTURE_KEEP     directory: what is needed to see a violation again
#                            is left there
#
# A round: a crowd (test/load/crowd) bids and reads for 40 seconds while
# AuctionTest::Nemesis breaks things. When all is well again,
#   * AuctionTest::Notes checks each answer against the tables,
#   * Redis shows each live auction as its row and bids are,
#   * auction.audit() finds no difference either,
#   * all auctions are closed and consolidated, and history has the same bids,
#   * nothing is left over: dead letters, journal rows, keys in Redis.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Crowd;
use AuctionTest::Nemesis;
use AuctionTest::Notes;
use AuctionTest::RedisPair;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{AUCTION_TORTURE_SECONDS} // 90;
my $seed = $ENV{AUCTION_TORTURE_SEED} // 1;
my $keep = $ENV{AUCTION_TORTURE_KEEP};
my $round_seconds = 40;
my $nauctions = 40;

my $node = new_node('torture', conf => <<'CONF');
auction.overload_timeout = '60s'
log_min_error_statement = panic
CONF
my $redis = AuctionTest::RedisPair->new(
	disk => '256m',
	conf => "auto-aof-rewrite-min-size 16mb\n");
attach($node, 'postgres', $redis, lanes => 2,
	options => "command_timeout '500ms'");

sub sql { return $node->safe_psql('postgres', @_); }

my (%total, @violations);
my $rounds = 0;
my $begun = time;

# The last step that was begun, if one never ends; the faults of the round.
my $step = '';
my $round_faults;

# What is wrong with what is there, whatever anybody was told; plain SQL.
sub check_sums
{
	my ($first, $last) = @_;
	my $which = "auction_id BETWEEN $first AND $last";
	my %sums = (
		'bids that are there twice' => <<"SQL",
SELECT count(*) FROM
 (SELECT FROM (SELECT auction_id, bid_no FROM auction.journal WHERE $which
	UNION ALL SELECT auction_id, bid_no FROM auction.history WHERE $which) b
  GROUP BY auction_id, bid_no HAVING count(*) > 1) b
SQL
		'rows whose number of bids is not that of their bids' => <<"SQL",
SELECT count(*) FROM auction._state LEFT JOIN
 (SELECT auction_id, count(*) FROM
	(SELECT auction_id FROM auction.journal WHERE $which UNION ALL
	 SELECT auction_id FROM auction.history WHERE $which) b
  GROUP BY auction_id) b USING (auction_id)
WHERE $which AND bid_count <> coalesce(count, 0)
SQL
		'auctions that are quarantined' =>
		  "SELECT count(*) FROM auction._state WHERE status = 'q'",
		'dead letters' => 'SELECT count(*) FROM auction.dead_letters');

	$step = 'totals';
	foreach my $what (sort keys %sums)
	{
		my $n = sql($sums{$what});
		push @violations, "$n $what" if $n ne '0';
	}
	return;
}

my $worse = 'PANIC|TRAP|by signal (?:6|11)\b|could not be applied';

# In auctions first..last, each with its bids as one value.
sub digest
{
	my ($first, $last) = @_;

	return sql(<<"SQL");
SELECT count(*), sum(bid_no), sum(hashtextextended(concat_ws(' ', auction_id,
	bid_no, user_id, amount, request_id, placed_at, retracted_at, buy_now), 0))
FROM (SELECT auction_id, bid_no, user_id, amount, request_id, placed_at,
		retracted_at, buy_now FROM auction.journal
	UNION ALL SELECT auction_id, bid_no, user_id, amount, request_id, placed_at,
		retracted_at, buy_now FROM auction.history) b
WHERE auction_id BETWEEN $first AND $last
SQL
}

my $nemesis = AuctionTest::Nemesis->new(
	node => $node,
	db => 'postgres',
	redis => $redis,
	seed => $seed);
sub settle
{
	my ($first, $last) = @_;

	$step = 'all is applied';
	wait_applied($node, 'postgres');
	$step = 'Redis shows what is there';
	my @live = split /\n/, sql(<<"SQL");
SELECT id FROM auction.standings WHERE status = 'open' AND route = 'redis'
	AND id BETWEEN $first AND $last
SQL
	wait_shown($node, 'postgres', $redis, @live) if @live;
	return;
}

sub check_notes
{
	my ($crowd, $first, $last) = @_;
	my $notes = AuctionTest::Notes->read($crowd->{dir});

	$step = 'the notes are checked';
	push @violations,
	  $notes->check($node, 'postgres', [ $nemesis->periods ], $first, $last,
		$nemesis->losses);
	my %told = $notes->counts;
	$total{$_} += $told{$_} foreach keys %told;
	return;
}

# What is there agrees, so audit() has to say so: of open auctions, of closed
# ones, of consolidated ones.
sub check_audit
{
	my ($first, $last) = @_;

	$step = 'all is audited';
	push @violations, map { "audit: $_" } split /\n/, sql(<<"SQL");
SELECT id, a.* FROM auction.auctions, LATERAL auction.audit(id) a
WHERE id BETWEEN $first AND $last AND a.status = 'error' ORDER BY id
SQL
	return;
}

sub close_all
{
	my ($first, $last) = @_;
	my $before = digest($first, $last);

	$step = 'all auctions are consolidated';
	sql("SELECT auction.close_auction(id) FROM auction.standings"
		  . " WHERE status = 'open'");
	poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(consolidated_at IS NOT NULL OR status = 'quarantined')
FROM auction.standings
SQL
	my $after = digest($first, $last);
	push @violations, "bids were $before, in history they are $after"
	  if $before ne $after;
	push @violations, 'rows are left in the journal'
	  if sql('SELECT count(*) FROM auction.journal') ne '0';
	remove_keys();
	return;
}

# A replica that lags may still have what was removed before it was promoted,
# and nobody looks for that: then it is removed here, once the product says that
# it has none left.
sub remove_keys
{
	my $keys = '{auction:*}:[ab]*o*:*';

	$step = 'the keys are removed';
	if (grep { $_->[1] =~ /replica/ } @{$round_faults})
	{
		poll_until($node, 'postgres',
			'SELECT NOT EXISTS (SELECT FROM auction._state WHERE keys_left)');
		my @left = split /\n/, $redis->cli('KEYS', $keys);
		note 'left by a replica that lagged: ' . @left;
		$redis->cli('DEL', @left) if @left;
	}
	poll($step, sub { return $redis->cli('KEYS', $keys) eq ''; });
	return;
}

# Whether all came back and was as it was told.
sub run_round
{
	my $first = 1000 * ++$rounds;
	my $last = $first + $nauctions - 1;
	my $left = $seconds - (time - $begun);
	my $tmp = $PostgreSQL::Test::Utils::tmp_check;
	my $nfaults = $nemesis->faults;

	$step = 'auctions are made';
	make_sale($node, 'postgres', $first, $last,
		seconds => $round_seconds, on_redis => 3);
	my $crowd = start_crowd($node, 'postgres', $first, $last,
		dir => "$tmp/notes_$rounds",
		seconds => 100000, 'ends-within' => $round_seconds, clients => 32,
		movers => 4, readers => 2, pause => 15, seed => $seed * 1000 + $rounds,
		repeats => 1, levels => 1);
	$step = 'all is well again after a fault';
	$nemesis->rage($left < $round_seconds ? $left : $round_seconds);
	my @faults = $nemesis->faults;
	$round_faults = [ @faults[ $nfaults .. $#faults ] ];
	$step = 'the crowd ends';
	stop_crowd($crowd);
	settle($first, $last);
	check_notes($crowd, $first, $last);
	check_audit($first, $last);
	close_all($first, $last);
	check_sums($first, $last);
	push @violations, "in the server log: $1"
	  if slurp_file($node->logfile) =~ /(.*(?:$worse).*)/;
	return 0 if @violations;

	# an hour of these would fill the disk
	PostgreSQL::Test::Utils::system_log('rm', '-r', "$tmp/notes_$rounds");
	truncate $node->logfile, 0;
	return 1;
}

# Everything that is needed to see it again, in one file.
sub keep_all
{
	my $tmp = $PostgreSQL::Test::Utils::tmp_check;
	my $dir = "$tmp/kept";
	my $file = "torture-$seed.tar.gz";

	mkdir $dir;
	append_to_file("$dir/faults",
		join '', map { sprintf "%.6f %s\n", @$_ } $nemesis->faults);
	append_to_file("$dir/violations", join "\n", @violations, '');
	foreach (qw(auctions _state lanes _lane_terms journal history route_log
		dead_letters stat_lanes stat_workers))
	{
		my ($ret, $out, $err) = ask($node, 'postgres',
			"COPY (SELECT * FROM auction.$_) TO STDOUT CSV HEADER");
		append_to_file("$dir/$_.csv", $ret == 0 ? $out : $err);
	}
	my (undef, $activity) = ask($node, 'postgres', 'TABLE pg_stat_activity');
	append_to_file("$dir/activity", $activity);
	append_to_file("$dir/redis_keys", $redis->try('KEYS', '*'));
	append_to_file("$dir/redis_log_$_",
		$redis->try('XRANGE', "{auction:$_}:log", '-', '+'))
	  foreach 1, 2;
	my $number = 0;
	PostgreSQL::Test::Utils::system_log('cp', $_->dir . '/log',
		"$dir/redis_" . ++$number)
	  foreach $redis->primary, $redis->replica;
	PostgreSQL::Test::Utils::system_log('cp', $node->logfile, "$dir/postgresql");
	mkdir $keep;
	PostgreSQL::Test::Utils::system_log('tar', '-C', $tmp, '-czf', "$keep/$file",
		'kept',
		"notes_$rounds");
	diag "kept in test/results/$file";
	return;
}

my $good = 1;

while ($good && time - $begun < $seconds)
{
	my $nfaults = $nemesis->faults;
	my $from = time;

	$good = eval { run_round(); };
	push @violations, "\"$step\" did not end: $@" if !defined $good;
	my @faults = $nemesis->faults;
	splice @faults, 0, $nfaults;
	diag sprintf 'round %d: %.0f s, %d faults: %s', $rounds, time - $from,
	  scalar @faults, join ', ', map { $_->[1] } @faults;
}
keep_all() if !$good && defined $keep;

my $summary = sprintf 'result: seed %s, %.0f s, rounds %d, faults %d, ', $seed,
  time - $begun, $rounds, scalar(my @all = $nemesis->faults);
$summary .= join ', ', map { "$_ $total{$_}" } sort keys %total;
diag $summary . ', violations ' . @violations;
is(scalar(@violations), 0, 'what was told is what is there')
  or diag join "\n", @violations[ 0 .. ($#violations > 20 ? 20 : $#violations) ];
cmp_ok($total{accepted} // 0, '>', 100, 'bids were accepted');
cmp_ok(scalar @all, '>', 0, 'things were broken');
eval { $node->stop('immediate'); };
$redis->stop;

done_testing();
