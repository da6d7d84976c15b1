# 50 auctions are moved to and fro without pause while 32 clients bid on them
# in every way there is, and while router, drain, Redis and PostgreSQL break,
# each once. Then all that clients and movers were told is held against what is
# there, bid by bid, by AuctionTest::Notes.
#
# The faults follow one another as soon as all goes on again. The suite
# "migration-long" sets AUCTION_MOVES_SECONDS: the load lasts so long at least,
# and the faults are spread over it. It ends after the last of them in any
# case: how long a fault takes is the machine's affair (a Redis that shares it
# with such a crowd may read its append-only file for half a minute).

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Crowd;
use AuctionTest::Notes;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{AUCTION_MOVES_SECONDS};
my $nauctions = 50;
my $node = new_node('moves', conf => "auction.overload_timeout = '30s'");
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2,
	options => "command_timeout '500ms'");

sub sql { return $node->safe_psql('postgres', @_); }

my $length = $seconds // 15;
make_sale($node, 'postgres', 1, $nauctions,
	seconds => $length, on_redis => 2);

# ---- the load, and what breaks meanwhile ----

my @faults;
my $begun = time;
my $crowd = start_crowd($node, 'postgres', 1, $nauctions,
	seconds => 600, 'ends-within' => $length, clients => 32, movers => 4,
	seed => $ENV{AUCTION_MOVES_SEED} // 5);

# Until bids are applied on every lane, and auctions are moved both ways.
sub wait_flowing
{
	my $lanes = 'SELECT lane, applied FROM auction.stat_lanes';
	my $moves = 'SELECT to_route, count(*) FROM auction.route_log GROUP BY 1';
	my ($applied, $moved);

	wait_lanes($node, 'postgres', 'normal');
	foreach ([ \$applied, $lanes, 'lane', 'applied' ],
		[ \$moved, $moves, 'to_route', 'count' ])
	{
		my ($values, $query, $key) = @$_;

		$$values = join ', ', map { my @row = split /\|/; "('$row[0]', $row[1])" }
		  split /\n/, sql($query);
	}
	poll_until($node, 'postgres', <<"SQL");
SELECT (SELECT count(*) = 2 AND bool_and(applied > before + 100)
	FROM ($lanes) l JOIN (VALUES $applied) b (name, before)
		ON name = lane::text)
 AND (SELECT count(*) = 2 AND bool_and(count > before + 15)
	FROM ($moves) m JOIN (VALUES $moved) b (name, before) ON name = to_route)
SQL
	return;
}

# In the long run: not before its share of the time.
sub break
{
	my ($what, $function) = @_;
	my $due = $begun + ($seconds // 0) * (1 + @faults) / 8;

	poll('it is time', sub { return time >= $due; });
	my $from = time;
	$function->();
	wait_flowing();
	push @faults, [ $from * 1e6, time * 1e6 ];
	note sprintf '%s: over after %.1f s', $what, time - $from;
	pass("$what: bids and moves go on");
	return;
}

sub terminate
{
	my ($kind) = @_;
	my $pid = worker_pid($node, 'postgres', $kind);

	sql("SELECT pg_terminate_backend($pid)");
	worker_pid($node, 'postgres', $kind, not => $pid);
	return;
}

poll_until($node, 'postgres',
	'SELECT count(DISTINCT to_route) = 2 FROM auction.route_log');
wait_flowing();
break('a router is ended', sub { terminate('router'); });
break('a drain is ended', sub { terminate('drain'); });
break('Redis is killed', sub {
	$redis->kill9;
	wait_lanes($node, 'postgres', 'degraded');
	$redis->start;
});
break('Redis hangs', sub {
	$redis->freeze;
	wait_lanes($node, 'postgres', 'degraded');
	$redis->thaw;
});
break('a router is killed, and PostgreSQL with it', sub {
	my $pid = worker_pid($node, 'postgres', 'router');

	kill 'KILL', $pid;
	worker_pid($node, 'postgres', 'router', not => $pid);
});
break('PostgreSQL is stopped at once', sub {
	$node->stop('immediate');
	$node->start;
});
poll('it is time', sub { return time >= $begun + ($seconds // 0); });
stop_crowd($crowd);
my $took = time - $begun;

# ---- what they were told, and what is there ----

wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
my $notes = AuctionTest::Notes->read($crowd->{dir});
my @violations =
  $notes->check($node, 'postgres', \@faults, 1, $nauctions);
my %told = $notes->counts;
my $summary = sprintf 'result: %.0f s, ', $took;
$summary .= join ', ', map { "$_ $told{$_}" } sort keys %told;
$summary .= ', faults ' . @faults . ', violations ' . @violations;
diag $summary;
is(scalar(@violations), 0, 'what was told is what is there')
  or diag join "\n", @violations[ 0 .. ($#violations > 20 ? 20 : $#violations) ];
cmp_ok($told{accepted}, '>', 2000, 'many bids were accepted');
cmp_ok($told{"to $_"}, '>', 150, "there were many moves to $_")
  foreach qw(table redis);
cmp_ok($told{$_} // 0, '>', 0, "there were some: $_")
  foreach ('retracted', 'rolled back', 'moves rolled back', 'error 57014',
	'error RB001');
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
check_journal($node, 'postgres', 'after the load');

# ---- afterwards ----

# The short ones may have a few seconds left.
poll_until($node, 'postgres', <<'SQL');
SELECT NOT EXISTS (SELECT FROM auction.standings
 WHERE status = 'open' AND ends_at < now() + interval '1 hour')
SQL
my @open = split /\n/,
  sql("SELECT id FROM auction.standings WHERE status = 'open' ORDER BY id");
cmp_ok(scalar(@open), '>', 25, scalar(@open) . ' auctions are open');
is(sql(<<'SQL'), scalar(@open), 'each of them takes a bid, on its route');
SELECT count(*) FROM auction.standings s,
	LATERAL auction.place_bid(s.id, 1000, s.least_bid + 1000) b
WHERE status = 'open' AND b.accepted AND b.route = s.route
SQL
wait_applied($node, 'postgres');
my @on_redis = split /\n/, sql(<<'SQL');
SELECT id FROM auction.standings WHERE status = 'open' AND route = 'redis'
SQL
ok(wait_shown($node, 'postgres', $redis, @on_redis),
	'Redis shows those that are on it');
poll_until($node, 'postgres', <<'SQL');
SELECT NOT EXISTS (SELECT FROM auction._state
 WHERE keys_left AND (route = 't' OR consolidated_at IS NOT NULL))
SQL
my @shown = sort map { /:(\d+)$/ ? $1 : () } split /\n/,
  $redis->cli('KEYS', '*}:auction:*');
is("@shown", join(' ', sort @on_redis), '... and no others');
my $bids = 'SELECT count(*), sum(bid_no), count(retracted_at) FROM auction.bids';
my $before = sql($bids);
sql("SELECT auction.close_auction(id) FROM auction.standings"
	  . " WHERE status = 'open'");
poll_until($node, 'postgres', <<'SQL');
SELECT bool_and(consolidated_at IS NOT NULL OR status = 'quarantined')
FROM auction.standings
SQL
is(sql("SELECT count(*) FROM auction.standings WHERE status = 'quarantined'"),
	'0', 'all are verified and consolidated');
is(sql($bids), $before, '... with all their bids');
poll('the keys are removed',
	sub { return $redis->cli('KEYS', '*}:[ab]*o*:*') eq ''; });
$node->stop;
$redis->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|fenced|could not be applied/,
	'nothing worse in the log');

done_testing();
