# Whatever is killed while bids come in: each bid is recorded as it was
# answered, once, and bids go on afterwards. Nobody has to do anything.
#
# The bidders run through all faults of a part; what they were told is compared
# with what is there when the part is over. A fault counts as over when every
# lane says "normal" and a new bid on each lane is accepted at the level that
# needs Redis.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('crash');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

# Auctions 1..20 promise Redis, 21..30 the journal, 31..40 are for probes.
sql(<<'SQL');
INSERT INTO auction.auctions (id, seller_id, ends_at, route, durability)
SELECT i, 0, now() + interval '1 day', 'redis',
	CASE WHEN i BETWEEN 21 AND 30 THEN 'journal' ELSE 'redis' END
FROM generate_series(1, 40) i;
SQL
my @probes = split /\n/,
  sql('SELECT min(id) FROM auction.standings WHERE id > 30 GROUP BY lane_id');
is(scalar(@probes), 2, 'both lanes have auctions');

my @loads;

# Who waits for the journal has clients of his own: they all wait while the
# drain is held.
sub start_load
{
	my %opt = (think => 4, seconds => 300);

	push @loads,
	  [
		start_bidders($node, 'postgres', 1, 20, clients => 10, %opt),
		start_bidders($node, 'postgres', 21, 30, clients => 4, %opt)
	  ];
	wait_progress();
	return;
}

# Until a good deal of the running load is in the journal.
sub wait_progress
{
	my ($n) = @_;
	my $before = sql('SELECT sum(bid_count) FROM auction._state');

	$n //= 200;
	return poll_until($node, 'postgres',
		"SELECT sum(bid_count) > $before + $n FROM auction._state");
}

# Until unapplied records are there that only tail and log have.
sub wait_backlog
{
	sql('SELECT auction.pause_drain()');
	return poll_until($node, 'postgres',
		'SELECT min(backlog_records) > 300 FROM auction.stat_lanes');
}

sub terms { return sql('SELECT min(term) FROM auction._lane_terms'); }

# Until each lane was taken again after "term" was seen.
sub wait_taken
{
	my ($term) = @_;
	return poll_until($node, 'postgres',
		"SELECT min(term) > $term FROM auction._lane_terms");
}

my $amount = 0;

sub wait_flowing
{
	my ($what) = @_;

	wait_lanes($node, 'postgres', 'normal');
	foreach my $id (@probes)
	{
		$amount++;
		poll_until($node, 'postgres', <<"SQL", 't|redis');
SELECT accepted, CASE durability WHEN 'journal' THEN 'redis' ELSE durability END
FROM auction.place_bid($id, 5, $amount * 1000 +
	(SELECT count(*) FROM auction.journal WHERE auction_id = $id))
SQL
	}
	wait_progress(50);
	pass("$what: bids flow again");
	return;
}

sub check_part
{
	my ($what) = @_;
	my %told;

	foreach my $load (@{ $loads[-1] })
	{
		my $part = stop_bidders($load);
		$told{$_} += $part->{$_} foreach keys %$part;
	}
	cmp_ok($told{accepted}, '>', 1000,
		"$what: $told{accepted} bids accepted, $told{unknown} unknown");
	wait_applied($node, 'postgres');
	check_answers($node, 'postgres', map { @$_ } @loads);
	check_journal($node, 'postgres', $what);
	return;
}

# ---- one process of ours, asked to end, or gone ----

start_load();
foreach my $kind ('router', 'drain', 'steward')
{
	my $pid = worker_pid($node, 'postgres', $kind);

	# that it also has something to find
	wait_backlog() if $kind eq 'drain';
	sql("SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'postgres', $kind, not => $pid);
	sql('SELECT auction.resume_drain()') if $kind eq 'drain';
	wait_flowing("terminated $kind");
}
# With bids in its hands that Redis has not confirmed, however long that takes.
set_options($node, 'postgres', "ADD command_timeout '1h'");
$redis->freeze;
poll_until($node, 'postgres',
	'SELECT sum(published - confirmed) > 3 FROM auction.stat_lanes');
my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
$redis->thaw;
wait_flowing('terminated router, appends unanswered');
set_options($node, 'postgres', 'DROP command_timeout');

my $term = terms();
$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
wait_taken($term);
wait_flowing('connection to Redis cut');
check_part('terminated');

# ---- Redis ----

start_load();
$term = terms();
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
wait_progress();
$redis->start;
wait_taken($term);
wait_flowing('killed Redis');

$term = terms();
$redis->freeze;
wait_lanes($node, 'postgres', 'degraded');
wait_progress();
$redis->thaw;
wait_taken($term);
wait_flowing('Redis that hung');

wait_backlog();
$term = terms();
$redis->kill9;
$redis->wipe;
$redis->start;
wait_taken($term);
sql('SELECT auction.resume_drain()');
wait_flowing('Redis that forgot everything');
check_part('Redis');

# ---- PostgreSQL ----

my $reserved;

sub note_reserved
{
	$reserved = 'VALUES '
	  . join(', ', split /\n/,
		sql('SELECT (lane_id, reserved) FROM auction._lane_terms'));
	return;
}

# Tests: no position that may have been given before the crash is given again.
sub check_reserved
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	is(sql(<<"SQL"), '0', "$what: all positions are new");
SELECT count(*) FROM auction.stat_lanes s
	JOIN ($reserved) r (lane_id, reserved) USING (lane_id)
WHERE s.published <= r.reserved
SQL
	return;
}

# A crash restart while records are in tail and log alone: the log has them.
sub crash
{
	my ($kind) = @_;
	my $router = worker_pid($node, 'postgres', 'router');

	wait_backlog();
	my $pid = $kind eq 'backend'
	  ? sql(<<'SQL')
SELECT max(pid) FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND application_name <> 'psql'
	AND pid <> pg_backend_pid()
SQL
	  : worker_pid($node, 'postgres', $kind);
	kill 'KILL', $pid;
	worker_pid($node, 'postgres', 'router', not => $router);
	return;
}

start_load();
foreach my $kind ('drain', 'backend')
{
	note_reserved();
	crash($kind);
	wait_flowing("killed $kind");
	check_reserved("killed $kind");
}

wait_backlog();
note_reserved();
restart_killed($node);
wait_flowing('killed postmaster');
check_reserved('killed postmaster');

wait_backlog();
$node->stop('fast');
$node->start;
wait_flowing('fast shutdown');

is(sql('SELECT count(*) FROM auction._lane_terms'
		  . ' WHERE possible_loss_after IS NOT NULL'),
	'0', 'no loss was thought possible');
check_part('PostgreSQL');

# ---- both: what Redis has kept is there, and a loss is thought possible ----

start_load();
wait_backlog();
restart_killed($node, sub { $redis->kill9; $redis->start; });
wait_flowing('killed postmaster and Redis');
is(sql('SELECT count(*) FROM auction.stat_lanes'
		  . ' WHERE possible_loss_after IS NOT NULL'),
	'2', 'it is said that a loss is possible');
check_part('both');

is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|fenced/,
	'nothing worse in the log');

done_testing();
