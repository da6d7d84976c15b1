# auction.audit() with a Redis: no false difference while bids go on; what was
# changed, deleted or lost in Redis is named, and after a loss of everything
# auction.rebuild_redis() writes it anew.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('audit');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

# "status: place: item: expected | found" of each difference
sub audit
{
	my (@auctions) = @_;
	my $list = join ',', @auctions;

	return sql(<<"SQL");
SELECT format('%s: %s: %s: %s | %s', a.status, a.place, a.item, a.expected,
	a.found)
FROM unnest(ARRAY[$list]::bigint[]) id, auction.audit(id) a
SQL
}

sub key
{
	my ($kind, $auction) = @_;
	my $lane = sql(<<"SQL");
SELECT lane FROM auction.lanes l JOIN auction._state s ON s.lane_id = l.id
WHERE auction_id = $auction
SQL
	return "{auction:$lane}:$kind:$auction";
}

# ---- while bids go on ----

my @ids =
  map { new_auction($node, 'postgres', route => $_, kind => "'proxy'") }
  ("'redis'", "'redis'", "'redis'", "'table'");
my $load = start_bidders(
	$node, 'postgres', $ids[0], $ids[-1],
	clients => 8,
	increment => 1,
	seconds => 120);
poll_until($node, 'postgres', <<"SQL");
SELECT min(bid_count) > 50 FROM auction._state WHERE auction_id >= $ids[0]
SQL
my $before = sql("SELECT sum(bid_count) FROM auction._state");
my $rows = '';
$rows .= audit(@ids) foreach 1 .. 15;
is($rows, '', 'busy auctions show no difference');
poll_until($node, 'postgres',
	"SELECT sum(bid_count) > $before + 50 FROM auction._state");
pass('... and their bids go on');
stop_bidders($load);
wait_applied($node, 'postgres');
is(audit(@ids), '', 'nor when it is quiet');
check_answers($node, 'postgres', $load);

# ---- what differs in Redis ----

my $id = new_auction($node, 'postgres', route => "'redis'");
sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, 1 + n, 100 * n, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 5) n))
SQL
wait_applied($node, 'postgres');
is(audit($id), '', 'a small one');
my ($hash, $book) = (key('auction', $id), key('book', $id));

sub differs_by
{
	my ($expected, $what, @command) = @_;

	$redis->cli('COPY', $hash, "$hash:was", 'REPLACE');
	$redis->cli('COPY', $book, "$book:was", 'REPLACE');
	$redis->cli(@command);
	is(audit($id), $expected, $what);
	$redis->cli('COPY', "$hash:was", $hash, 'REPLACE');
	$redis->cli('COPY', "$book:was", $book, 'REPLACE');
	return;
}

differs_by('error: redis: price: 500 | 499', 'price', 'HSET', $hash, 'price',
	499);
differs_by('error: redis: leader: 6 | 5', 'leader', 'HSET', $hash, 'leader',
	5);
differs_by("error: redis: leader: 6 | ", 'no leader', 'HSET', $hash, 'leader',
	'');
differs_by(
	"error: redis: number of bids: 5 | 6\nwarning: redis: not shown yet:  | its book is not complete",
	'number of bids', 'HSET', $hash, 'bid_count', 6);
differs_by('error: redis: status: open | c', 'status', 'HSET', $hash,
	'status', 'c');
differs_by('error: redis: state hash: numbers | something else',
	'what is no number', 'HSET', $hash, 'price', 'x');
differs_by('warning: redis: not shown yet:  | its book is not complete',
	'the mark of the book', 'HDEL', $hash, 'book');
differs_by('warning: redis: not shown yet:  | its book is not complete',
	'a book of before a retraction', 'HSET', $hash, 'retracted', 1);
differs_by('error: redis: state hash: there | ', 'the hash', 'DEL', $hash);
differs_by('error: redis: bidders in the book: 5 | 0', 'the book', 'DEL',
	$book);
differs_by(
	"error: redis: bidders in the book: 5 | 4\n"
	  . "error: redis: book, rank 3: user 4 | user 3\n"
	  . "error: redis: book, rank 4: user 3 | user 2\n"
	  . 'error: redis: book, rank 5: user 2 | ',
	'a bidder',
	'ZREM',
	$book,
	4);
differs_by(
	'error: redis: book, rank 3: amount as in the journal | another amount',
	'an amount, which is not told',
	'ZADD', $book, 301, 4);
like(
	do
	{
		$redis->cli('HSET', $hash, 'ends_at', 5);
		audit($id);
	},
	qr/^error: redis: ends_at: [^|]+ \| [^|\n]+$/,
	'the end');
is(sql("SELECT accepted FROM auction.place_bid($id, 7, 600)"),
	't', 'bids go on from the row');
wait_applied($node, 'postgres');
is(audit($id), '', '... and write what the hash says anew');

# ---- what cannot be compared is said ----

my $holder = start_psql(
	$node, 'postgres', 'BEGIN',
	"SELECT auction.retract_bid($id, 1, 'x')",
	'SELECT pg_sleep(1000)');
poll_until($node, 'postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
is( audit($id),
	'warning: redis: not compared:  | a transaction holds its lock',
	'its lock is held: the tables are compared all the same');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	  . " WHERE wait_event = 'PgSleep'");
finish_psql($holder);
sql('SELECT auction.pause_drain()');
is(audit($id), 'warning: redis: not compared:  | its drain is held',
	'nobody waits for a drain that is held');
sql('SELECT auction.resume_drain()');
$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
is( audit($id),
	'warning: redis: not compared:  | its lane is degraded',
	'Redis is away: said so');
sql("SELECT auction.place_bid($id, 8, 700)");
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(audit($id), '', 'Redis is back: no difference');

# A change that was made at rest, and is to be shown yet.
my $steward = worker_pid($node, 'postgres', 'steward');
kill 'STOP', $steward;
sql("SELECT auction.retract_bid($id, bid_count, 'x')"
	  . " FROM auction._state WHERE auction_id = $id");
is( audit($id),
	'warning: redis: not shown yet:  | a change waits for the steward',
	'a retraction that the steward has not shown is no difference');
kill 'CONT', $steward;
poll_until($node, 'postgres',
	'SELECT NOT EXISTS (SELECT FROM auction._refresh)'
	  . " AND NOT EXISTS (SELECT FROM auction.audit($id))");
pass('... and shown, it is none');

# ---- everything is lost: Redis was replaced by an empty one ----

# auctions that nobody bids on any more, one with a book of several pieces
my $first = sql(<<'SQL');
INSERT INTO auction.auctions (seller_id, ends_at, route, kind)
SELECT 0, now() + interval '1 hour', 'redis', 'proxy' FROM generate_series(1, 40);
SELECT max(id) - 39 FROM auction.auctions
SQL
my $last = $first + 39;
sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(a, 1 + n % 7, 100 * n, NULL, NULL)::auction.bid_request
	FROM generate_series($first, $last - 1) a, generate_series(1, 9) n
	ORDER BY n));
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($last, 1 + n, 100 * n, NULL, NULL)::auction.bid_request
	FROM generate_series(1, 1700) n));
SELECT auction.retract_bid($last, 1700, 'x')
SQL
wait_applied($node, 'postgres');
poll_until($node, 'postgres', 'SELECT NOT EXISTS (SELECT FROM auction._refresh)');
my @all = ($first .. $last);

sub rebuild { return sql("SELECT auction.rebuild_redis('redis1')"); }

# The router finds out, and takes its lanes again.
sub flush
{
	$redis->cli('FLUSHALL');
	poll('the lanes are taken again', sub {
		$redis->cli('EXISTS', '{auction:1}:term', '{auction:2}:term') eq '2' });
	wait_lanes($node, 'postgres', 'normal');
	return;
}

my $open = sql(<<'SQL');
SELECT count(*) FROM auction._state
WHERE route = 'r' AND status = 'o' AND bid_count > 0
SQL
$redis->cli('EVAL', <<'LUA', 0);
for _, key in ipairs(redis.call('KEYS', '{auction:*}:*')) do
  if string.find(key, ':auction:', 1, true) or string.find(key, ':book:', 1, true) then
    redis.call('UNLINK', key)
  end
end
LUA
my @lost = audit(@all) =~ /^error: redis: state hash: there \| $/mg;
is(scalar @lost, 40, 'what is lost is named');
is(rebuild(), $open, 'all open auctions are written anew');
is(audit(@all), '', '... and nothing differs');
is( sql("SELECT string_agg(amount::text, ' ') FROM auction.top_bids($last, 3)"),
	'169801 169800 169700', 'the ranking is there');

flush();
is(rebuild(), $open, 'FLUSHALL: all open auctions are written anew');
is(audit(@all), '', '... and nothing differs');

$redis->stop;
$redis->wipe;
wait_lanes($node, 'postgres', 'degraded');
is(sql_error($node, 'postgres', "SELECT auction.rebuild_redis('redis1')"),
	'55000', 'not while Redis is away');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(rebuild(), $open, 'an empty Redis: all open auctions are written anew');
is(audit(@all), '', '... and nothing differs');
is(rebuild(), $open, 'again: the same');
is(audit(@all), '', '... and nothing differs');

# nobody has to wait for a router that does not answer
my $router = worker_pid($node, 'postgres', 'router');
kill 'STOP', $router;
is( sql_error(
		$node, 'postgres',
		"SET statement_timeout = '300ms'; SELECT auction.rebuild_redis('redis1')"),
	'57014',
	'its wait ends with the statement');
kill 'CONT', $router;

# a book that calls itself complete, and is not
$redis->cli('ZREM', key('book', $first), 3);
isnt(audit($first), '', 'a bidder is missing');
rebuild();
is(audit($first), '', '... and written anew');

# while bids go on
flush();
$load = start_bidders(
	$node, 'postgres', $first, $last,
	clients => 8,
	increment => 100,
	seconds => 120);
poll_until($node, 'postgres', <<"SQL");
SELECT sum(bid_count) > 2150 FROM auction._state
WHERE auction_id BETWEEN $first AND $last
SQL
wait_lanes($node, 'postgres', 'normal');
is(rebuild(), $open, 'while bids go on');
stop_bidders($load);
wait_applied($node, 'postgres');
is(audit(@all), '', '... and nothing differs afterwards');

is(sql_error($node, 'postgres', "SELECT auction.rebuild_redis('nobody')"),
	'42704', 'no such server');
is(sql_error($node, 'postgres', "SELECT auction.rebuild_redis(NULL)"),
	'22004', 'NULL');
sql("CREATE SERVER redis2 FOREIGN DATA WRAPPER auction_redis OPTIONS (host '/x')");
is(sql_error($node, 'postgres', "SELECT auction.rebuild_redis('redis2')"),
	'RB010', 'not attached');

done_testing();
