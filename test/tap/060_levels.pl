# Durability levels on route redis: what a verdict promises is so when it is
# told, whatever replicas, drain and Redis do meanwhile.
#
# A paused drain tells levels apart: what is answered then has not waited for
# the journal.

use strict;
use warnings;

use AuctionTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# No beat finds out first what an append or a mark is to find.
my $node = new_node('levels', conf => "auction.lane_lease = '10min'");
my $redis = start_redis(port => 1);
my $replica = AuctionTest::Redis->new(replica_of => $redis);
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

my $term = '{auction:1}:term';
my $price = 100;
my ($plain, $copied, $written) =
  map { new_auction($node, 'postgres', route => "'redis'",
	durability => "'$_'") } qw(redis replica journal);

sub pause { sql('SELECT auction.pause_drain()'); return; }
sub resume { sql('SELECT auction.resume_drain()'); return; }

# A statement with a bid that the rules accept; returns the level told.
sub bid_sql
{
	my ($auction) = @_;

	$price++;
	return "SELECT durability FROM auction.place_bid($auction, 7, $price)";
}

sub low_sql
{
	my ($auction) = @_;

	return "SELECT reason, durability FROM auction.place_bid($auction, 8, 1)";
}

sub bid { my ($auction) = @_; return sql(bid_sql($auction)); }

# Bids until one is told this level.
sub wait_level
{
	my ($auction, $level) = @_;

	return poll("a bid is told $level", sub { return bid($auction) eq $level; });
}

# Starts the statements, each in a session, one after the other; none is
# answered while the drain stands still, each is when it goes on. A refusal
# waits for the bid before it. Returns what each was told.
sub held
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, @statements) = @_;
	my @sessions;

	wait_applied($node, 'postgres');
	pause();
	foreach (@statements)
	{
		push @sessions, start_psql($node, 'postgres', @$_);
		wait_waiting($node, 'postgres', scalar @sessions);
	}
	poll_until($node, 'postgres',
		'SELECT bool_or(applied_wanted > 0) FROM auction.stat_lanes');
	my $early = grep { told_psql($_) ne '' } @sessions;
	resume();
	my @told = map { join '', finish_psql($_) } @sessions;
	is($early, 0, "$what: not told while the drain stands still");
	return @told;
}

sub journal_count
{
	my ($auction) = @_;

	return sql("SELECT count(*) FROM auction.journal WHERE auction_id = $auction");
}

# --- no replica

sub connections
{
	return scalar grep { !/ cmd=client/ } split /\n/,
	  $redis->cli('CLIENT', 'LIST', 'TYPE', 'normal');
}

is(bid($plain), 'redis', 'redis, the default');
is(connections(), 1, 'nobody has asked for replicas: no second connection');
my @told = held('no replica', [ bid_sql($copied) ], [ low_sql($copied) ]);
is("@told", 'journal too_low|journal',
	'... then both, an acceptance and a refusal, at level journal');
poll_until($node, 'postgres', 'SELECT min(replicas) FROM auction.stat_lanes',
	'0');
is(sql('SELECT count(*) FROM auction.stat_lanes WHERE replicated > 0'),
	'0', 'no position is replicated');
is(connections(), 2, 'there is a second connection');
like(slurp_file($node->logfile),
	qr/bids of durability "replica" are acknowledged when PostgreSQL has committed them/,
	'the log says so');

# --- a replica comes

$replica->start;
wait_level($copied, 'replica');
pass('a replica has come: bids are told replica');
wait_applied($node, 'postgres');
pause();
my $published = 'SELECT max(published) FROM auction.stat_lanes';
is(bid($copied), 'replica', 'it is told without the journal');
is(sql(low_sql($copied)), 'too_low|replica', '... a refusal, too');
is( sql('SELECT bool_and(replicated = confirmed) FROM auction.stat_lanes '
		  . "JOIN auction.standings s USING (lane_id) WHERE s.id = $copied"),
	't', 'stat_lanes: replicated');
is(bid($plain), 'redis', 'an auction that does not ask gets no more');
is(sql('SELECT min(replicas) FROM auction.stat_lanes'),
	'1', 'stat_lanes: replicas');
resume();

# What was told is there: the replica alone has it.
my $at = sql("SELECT max(replicated) FROM auction.stat_lanes JOIN "
	  . "auction.standings s USING (lane_id) WHERE s.id = $copied");
my $lane = sql("SELECT lane FROM auction.lanes l JOIN auction.standings s "
	  . "ON s.lane_id = l.id WHERE s.id = $copied");
cmp_ok($replica->cli('HGET', "{auction:$lane}:term", 'last'), '>=', $at,
	'the replica has what is replicated');

# --- who asks: the session, for a transaction, on any way of bidding

wait_applied($node, 'postgres');
pause();
is( sql('BEGIN; SET LOCAL auction.durability = replica; '
		  . bid_sql($plain)
		  . '; COMMIT; '
		  . bid_sql($plain)),
	"replica\nredis",
	'SET LOCAL ends with the transaction');
resume();

my $set = "SET auction.durability = 'journal'";
my $buyable =
  new_auction($node, 'postgres', route => "'redis'", buy_now_price => '1000000');
my $before = journal_count($plain);
$price += 10;
@told = held(
	'journal asked for by the session',
	[ $set, bid_sql($copied) ],
	[ $set, low_sql($copied) ],
	[ $set, "SELECT durability FROM auction.buy_now($buyable, 9)" ],
	[ $set, "INSERT INTO auction.bids (auction_id, user_id, amount) "
		  . "VALUES ($plain, 8, $price)",
		'SELECT count(*) - '
		  . $before
		  . " FROM auction.journal WHERE auction_id = $plain" ],
	[ $set, 'SELECT durability FROM auction.place_bids(ARRAY['
		  . "ROW($written, 8, 900, NULL, NULL), ROW($written, 8, 1, NULL, NULL)"
		  . ']::auction.bid_request[])' ]);
is(shift @told, 'journal', 'place_bid: then journal');
is(shift @told, 'too_low|journal', 'a refusal: then journal');
is(shift @told, 'journal', 'buy_now: then journal');
is(shift @told, '1', 'INSERT: then it is in the journal');
is(shift @told, "journal\njournal", 'place_bids: then journal');
@told = held(
	'the auction asks for more than the session',
	[ "SET auction.durability = 'redis'", bid_sql($written) =~ s/\d+\)/99999)/r ]);
is("@told", 'journal', 'then journal');
wait_applied($node, 'postgres');
pause();
is(bid($plain), 'redis', 'nobody else waits for them');
resume();

# --- replicas break

wait_level($copied, 'replica');
$replica->freeze;
@told = held('a replica that hangs', [ bid_sql($copied) ], [ low_sql($copied) ]);
is("@told", 'journal too_low|journal', '... then at level journal');
sql("ALTER SERVER redis1 OPTIONS (ADD replica_timeout '1h')");
@told = held('one that is known to hang', [ bid_sql($copied) ]);
is("@told", 'journal', 'is not waited for');
sql("ALTER SERVER redis1 OPTIONS (SET replica_timeout '100ms')");
$replica->thaw;
wait_level($copied, 'replica');
pass('it goes on: replica again');

sql("ALTER SERVER redis1 OPTIONS (ADD replicas '2')");
@told = held('two are asked for, one is there', [ bid_sql($copied) ]);
is("@told", 'journal', '... then at level journal');
sql("ALTER SERVER redis1 OPTIONS (SET replicas '1')");
wait_level($copied, 'replica');
pass('one is asked for: replica again');

# Redis 7.0 has no WAITAOF, later ones count a replica that syncs.
if ($redis->cli('INFO', 'server') =~ /^redis_version:7\.0/m)
{
	sql("ALTER SERVER redis1 OPTIONS (ADD replica_fsync 'true')");
	@told = held('replica_fsync without WAITAOF', [ bid_sql($copied) ]);
	is("@told", 'journal', '... then at level journal');
	sql("ALTER SERVER redis1 OPTIONS (DROP replica_fsync)");
	wait_level($copied, 'replica');
}

# --- connections break

sub kill_second
{
	my ($second) =
	  $redis->cli('CLIENT', 'LIST') =~ /^id=(\d+).* cmd=wait /m;
	ok($second, 'WAIT is on a connection of its own');
	$redis->cli('CLIENT', 'KILL', 'ID', $second);
	return;
}

my $since = sql('SELECT max(since) FROM auction.stat_lanes');
kill_second();
wait_level($copied, 'replica');
pass('it is lost: replica again');

# Another Redis at the same address: what it or its replicas have says nothing
# of our log.
my $other = start_redis();
my $address = $redis->socket;
kill_second();
rename($address, "$address.own") or die "could not rename: $!";
symlink($other->socket, $address) or die "could not link: $!";
@told = held('another Redis at its address', [ bid_sql($copied) ]);
is("@told", 'journal', '... then at level journal');
like(slurp_file($node->logfile),
	qr/another Redis answers than the one that has the log/, 'the log says so');
unlink($address);
rename("$address.own", $address) or die "could not rename: $!";
wait_level($copied, 'replica');
is( sql("SELECT string_agg(DISTINCT state, ' '), max(since) "
		  . 'FROM auction.stat_lanes'),
	"normal|$since",
	'... the lanes have not noticed');
$other->stop;

# Redis refuses the question.
$redis->cli('ACL', 'SETUSER', 'bids', 'on', '>secret', '~*', '&*', '+@all',
	'-wait');
sql('CREATE USER MAPPING FOR PUBLIC SERVER redis1 '
	  . "OPTIONS (username 'bids', password 'secret')");
poll('the router is that user',
	sub { return $redis->cli('CLIENT', 'LIST') =~ / user=bids / });
wait_lanes($node, 'postgres', 'normal');
@told = held('WAIT is not permitted', [ bid_sql($copied) ]);
is("@told", 'journal', '... then at level journal');
poll('the log says so',
	sub { return slurp_file($node->logfile) =~ /Replicas of Redis: .*NOPERM/ });
is( sql("SELECT string_agg(DISTINCT state, ' ') FROM auction.stat_lanes"),
	'normal', '... the lanes go on');
$redis->cli('ACL', 'SETUSER', 'bids', '+wait');
wait_level($copied, 'replica');
pass('it is permitted: replica again');
sql('DROP USER MAPPING FOR PUBLIC SERVER redis1');
poll('the router is no more that user',
	sub { return $redis->cli('CLIENT', 'LIST') !~ / user=bids / });
wait_lanes($node, 'postgres', 'normal');
wait_level($copied, 'replica');

# A lane that somebody else has taken: a mark is no append, but a refused one
# makes the router look.
$lane = sql("SELECT lane FROM auction.lanes l JOIN auction.standings s "
	  . "ON s.lane_id = l.id WHERE s.id = $plain");
wait_applied($node, 'postgres');
pause();
is(bid($plain), 'redis', 'a bid no replica was asked about');
$redis->cli('HSET', "{auction:$lane}:term", 'term', '999');
my $session = start_psql($node, 'postgres',
	'SET auction.durability = replica', low_sql($plain));
poll_until($node, 'postgres', 'SELECT max(term) > 999 FROM auction.stat_lanes');
resume();
like(join('', finish_psql($session)), qr/^too_low\|(replica|journal)$/,
	'a mark that is refused: the lane is taken again, the bid answered');
like(slurp_file($node->logfile), qr/mark was refused on lane/, 'the log says so');
wait_lanes($node, 'postgres', 'normal');
wait_level($copied, 'replica');

# Redis dies between append and replica: what the replica has not got is told
# at level journal, or not at all.
$replica->freeze;
wait_applied($node, 'postgres');
pause();
$session = start_psql($node, 'postgres', bid_sql($copied));
wait_waiting($node, 'postgres', 1);
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
is(told_psql($session), '', 'Redis died before the replica had it: not told yet');
is(sql('SELECT count(replicated) FROM auction.stat_lanes'),
	'0', 'nothing is known to be replicated any more');
resume();
is(join('', finish_psql($session)), 'journal', 'then at level journal');
$redis->start;
$replica->thaw;
wait_lanes($node, 'postgres', 'normal');
wait_level($copied, 'replica');
pass('Redis and replica are back: replica again');

# --- many

my $first = new_auction($node, 'postgres', route => "'redis'");
my $last;
$last = new_auction($node, 'postgres', route => "'redis'",
	durability => "'$_'")
  foreach qw(replica journal redis);
my $load = start_bidders($node, 'postgres', $first, $last,
	clients => 64, seconds => 600, durability => 'mixed', grace => 120);
my $more = sub {
	my ($n) = @_;
	my $now = sql("SELECT sum(bid_count) FROM auction.standings "
		  . "WHERE id BETWEEN $first AND $last");
	poll_until($node, 'postgres', "SELECT sum(bid_count) > $now + $n "
		  . "FROM auction.standings WHERE id BETWEEN $first AND $last");
};
$more->(2000);
$replica->freeze;
$more->(500);
$replica->thaw;
$more->(500);
$replica->kill9;
$more->(500);
$replica->start;
$more->(500);
my $router = worker_pid($node, 'postgres', 'router');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
$more->(500);
$redis->kill9;
$more->(500);
$redis->start;
wait_lanes($node, 'postgres', 'normal');
$more->(1000);
my $counts = stop_bidders($load);
is($counts->{below_level}, '0', 'nothing was told with less than asked for');
cmp_ok($counts->{"level_$_"}, '>', 0, "... of what was told at level $_")
  foreach qw(redis replica journal);
wait_applied($node, 'postgres');
check_answers($node, 'postgres', $load);
check_journal($node, 'postgres', 'at the end');

done_testing();
