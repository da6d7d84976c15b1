# auction.shadow: bids of route table go through router and Redis once more and
# leave nothing behind but a comparison. What differs is listed with both
# verdicts; whatever becomes of Redis, the bids themselves go on.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('shadow',
	conf => "auction.shadow = 100\nauction.lane_lease = 1h\nmax_prepared_transactions = 2");
my $redis = start_redis();
my $early = new_auction($node, 'postgres');

sub sql { return $node->safe_psql('postgres', @_); }

# Counters of the server's row, joined by "|".
sub stat_shadow
{
	my ($columns) = @_;
	return sql("SELECT $columns FROM auction.stat_shadow");
}

sub wait_shadow
{
	return poll_until($node, 'postgres',
		'SELECT entries = same + different + failed AND waiting = 0'
		  . ' FROM auction.stat_shadow');
}

sub reset_shadow { wait_shadow(); sql('SELECT auction.stat_reset()'); return; }

# Tests: so many were mirrored, all of them the same.
sub all_same
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what, $n) = @_;

	wait_shadow();
	is(stat_shadow('same, different, failed, dropped'), "$n|0|0|0", $what)
	  or diag sql('SELECT * FROM auction.shadow_differences LIMIT 5');
	return;
}

my $price = 0;

sub bid
{
	my ($id, $user) = @_;

	$price++;
	return sql("SELECT accepted FROM auction.place_bid($id, $user, $price)");
}

is(bid($early, 7), 't', 'no server is attached: bids are as always');
is(sql('SELECT count(*) FROM auction.stat_shadow'),
	'0', '... and nothing is mirrored');
attach($node, 'postgres', $redis, lanes => 2,
	options => "command_timeout '1s'");

# What the lanes know of: nothing that is mirrored.
my $positions =
  'SELECT string_agg(concat_ws(\' \', lane_id, published, confirmed, log_length),'
  . " ', ' ORDER BY lane_id) FROM auction.stat_lanes";
my $before = sql($positions);

# ---- the same, under load: all kinds of auctions ----

my $first = new_auction($node, 'postgres');
new_auction($node, 'postgres', increment => 3);
new_auction($node, 'postgres', kind => "'proxy'");
new_auction($node, 'postgres',
	kind => "'proxy'", increment_table => "'ebay_us'", reserve_price => 50);
my $last = new_auction($node, 'postgres', extend_window => "'2 hours'",
	extend_by => "'2 hours'", extend_limit => "now() + interval '3 hours'");
my $load = start_bidders($node, 'postgres', $first, $last,
	clients => 8, bids => 1500);
my $told = finish_bidders($load);
cmp_ok($told->{accepted}, '>', 100, 'bids were accepted');
wait_shadow();
is(stat_shadow('different, failed'), '0|0', 'a load: nothing is different')
  or diag sql('SELECT * FROM auction.shadow_differences LIMIT 5');
is(sql("SELECT sum(bid_count) FROM auction.standings WHERE id >= $first"),
	$told->{accepted}, 'what counts is what was accepted');
is(sql('SELECT count(*) FROM auction.journal WHERE lane_id IS NOT NULL'),
	'0', 'nothing of it is in the journal');
check_answers($node, 'postgres', $load);
check_journal($node, 'postgres', 'load');

# All but those refused before a first bid, and what found no room.
cmp_ok(
	stat_shadow('same + dropped'), '<=',
	$told->{accepted} + $told->{rejected}, 'no bid was mirrored twice');
cmp_ok(stat_shadow('same + dropped'), '>=', $told->{accepted},
	'every accepted one was');
is(stat_shadow('table_mean_ms > 0 AND shadow_mean_ms > 0'
		  . ' AND table_max_ms >= table_mean_ms'
		  . ' AND shadow_max_ms >= shadow_mean_ms'),
	't', 'both were timed');

# ---- what ends or changes an auction ----

reset_shadow();
my $sale = new_auction($node, 'postgres', buy_now_price => 100);
is(sql("SELECT accepted FROM auction.buy_now($sale, 7)"), 't', 'bought');
is(sql("SELECT reason FROM auction.place_bid($sale, 8, 200)"),
	'closed', 'a bid too late');
my $proxy = new_auction($node, 'postgres', kind => "'proxy'");
sql("SELECT auction.place_bid($proxy, $_->[0], $_->[1])")
  foreach ([ 7, 100 ], [ 8, 300 ], [ 8, 250 ], [ 7, 90 ]);
sql("SELECT auction.retract_bid($proxy, 2, 'mistyped')");
sql("SELECT auction.place_bid($proxy, $_->[0], $_->[1], md5('$_->[0]')::uuid, "
	  . q('{"via": "app"}') . ')') foreach ([ 9, 200 ], [ 7, 300 ]);
all_same('buy now, too late, retraction, request ids, attributes', 8);

# ---- what is in Redis ----

sub keys_like
{
	my ($pattern) = @_;
	return join ' ', sort split /\n/, $redis->cli('KEYS', $pattern);
}

my ($lane) = keys_like("{auction:*}:shadow:$proxy") =~ /^\{auction:(\d)\}/;
my $hash = "{auction:$lane}:shadow:$proxy";
my $book = "{auction:$lane}:shadowbook:$proxy";
my $log = "{auction:$lane}:shadowlog";
is(keys_like('*:log') . ' ' . keys_like('*:term'),
	'{auction:1}:log {auction:2}:log {auction:1}:term {auction:2}:term',
	'each lane has log and term');
is(keys_like('{auction:*}:auction:*') . keys_like('{auction:*}:book:*'),
	'', 'no auction is shown to readers');
is( join('|', split /\n/,
		$redis->cli('HMGET', $hash, 'price', 'leader', 'bid_count', 'status')),
	sql("SELECT price, leader_id, bid_count, 'o' FROM auction.standings"
		  . " WHERE id = $proxy"),
	'the hash is as the row');
is($redis->cli('HLEN', $hash), '5', '... and has nothing else');
is($redis->cli('ZRANGE', $book, 0, -1, 'WITHSCORES'), "9\n200\n7\n300",
	'the book has maxima, and began anew after the retraction');
like($redis->cli('XREVRANGE', $log, '+', '-', 'COUNT', 1),
	qr/^\d{13}-\d+\n\d+\n(bid|buy) \d+/, 'the log has records');
foreach ($hash, $book, $log)
{
	my $left = $redis->cli('TTL', $_);
	ok($left > 3000 && $left <= 3600, "$_ expires in an hour: $left s");
}
$redis->cli('ACL', 'SETUSER', 'reader', 'on', 'nopass',
	'%R~{auction:*}:auction:*', '&auction:auction:*', '-@all', '+@read');
like($redis->try('--user', 'reader', '--pass', 'x', '--no-auth-warning', @$_),
	qr/NOPERM/, "other readers of prices may not $_->[0] it")
  foreach ([ 'HGETALL', $hash ], [ 'ZRANGE', $book, 0, -1 ],
	[ 'XRANGE', $log, '-', '+' ]);
is($redis->cli('XLEN', "{auction:$lane}:log"), '0', "the lane's log is empty");
is(sql($positions), $before, 'no position was used');

# ---- rolled back: not mirrored ----

reset_shadow();
my $id = new_auction($node, 'postgres');
bid($id, 7);
sql(<<"SQL");
BEGIN;
SELECT auction.place_bid($id, 8, 1000);
ROLLBACK;
BEGIN;
SELECT auction.place_bid($id, 8, 10);
SAVEPOINT a;
SELECT auction.place_bid($id, 9, 20);
SAVEPOINT b;
SELECT auction.place_bid($id, 8, 30);
RELEASE b;
SELECT auction.place_bid($id, 9, 40);
ROLLBACK TO a;
SELECT auction.place_bid($id, 9, 21);
SAVEPOINT c;
SELECT auction.place_bid($id, 8, 22);
RELEASE c;
SELECT auction.place_bid($id, 9, 1);
COMMIT;
DO \$\$ BEGIN
	PERFORM auction.place_bid($id, 7, 50);
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	PERFORM auction.place_bid($id, 9, 23);
END \$\$;
SQL
is(sql_error($node, 'postgres', "INSERT INTO auction.bids"
		  . " (auction_id, user_id, amount) VALUES ($id, 7, 1)"),
	'RB001', 'a refused INSERT');
all_same('rolled back: neither transactions nor savepoints', 6);
$price = 100;

reset_shadow();
sql(<<"SQL");
BEGIN;
SELECT auction.place_bid($id, 8, 60);
PREPARE TRANSACTION 'a bid';
COMMIT PREPARED 'a bid';
SQL
is(stat_shadow('entries, dropped'), '0|1', 'prepared: dropped');
bid($id, 7);
wait_shadow();
is(stat_shadow('same, different'), '1|0', '... and the next one is the same');

reset_shadow();
my $many = new_auction($node, 'postgres');
sql("SELECT count(*) FROM auction.place_bids(ARRAY(SELECT ROW($many, i % 9,"
	  . ' i, NULL, NULL)::auction.bid_request FROM generate_series(1, 500) i))');
wait_shadow();
is(stat_shadow('same > 100, same + dropped, different, failed'),
	't|500|0|0', 'many bids of one transaction: no more than there is room');

# ---- beside bids of the router's own ----

reset_shadow();
my $own = new_auction($node, 'postgres', route => "'redis'");
my @loads = map { start_bidders($node, 'postgres', $_, $_, clients => 4,
		bids => 1000) } $own, $many;
finish_bidders($_) foreach @loads;
wait_shadow();
is(stat_shadow('same > 100, different, failed'),
	't|0|0', "beside the router's own bids: nothing differs")
  or diag sql('SELECT * FROM auction.shadow_differences LIMIT 5');
wait_applied($node, 'postgres');
check_answers($node, 'postgres', @loads);

# ---- faults show ----

reset_shadow();
bid($id, 7);
all_same('constants are known', 1);
sql("UPDATE auction._state SET increment = 5 WHERE auction_id = $id");
sql("SELECT auction.place_bid($id, 8, $price + 2)");
wait_shadow();
is(stat_shadow('same, different'), '1|1', 'an increment that was changed');
is( sql(
		'SELECT auction_id, user_id, amount, table_accepted, table_reason,'
		  . ' table_price, table_leader_id, shadow_accepted, shadow_reason,'
		  . ' shadow_price, shadow_leader_id, differs LIKE \'accepted, reason%\''
		  . ' FROM auction.shadow_differences'),
	join('|', $id, 8, $price + 2, 'f', 'too_low', $price, 7,
		't', '', $price + 2, 8, 't'),
	'... is listed with both verdicts');
sql("UPDATE auction._state SET increment = 1 WHERE auction_id = $id");
$price += 10;

($lane) = keys_like("{auction:*}:shadow:$id") =~ /^\{auction:(\d)\}/;
$hash = "{auction:$lane}:shadow:$id";
bid($id, 7);
reset_shadow();
$redis->cli('HSET', $hash, 'price', 1);
bid($id, 8);
wait_shadow();
is( sql('SELECT differs FROM auction.shadow_differences'),
	'in Redis: price 1 instead of ' . ($price - 1),
	'a hash that was changed in Redis');
$redis->cli('DEL', $hash);
bid($id, 7);
wait_shadow();
is( sql('SELECT differs FROM auction.shadow_differences LIMIT 1'),
	'in Redis: the state is gone',
	'... deleted');
$redis->cli('DEL', "{auction:$lane}:shadowbook:$id");
bid($id, 8);
wait_shadow();
is( sql('SELECT differs FROM auction.shadow_differences LIMIT 1'),
	'in Redis: the book is gone',
	'... its book');
bid($id, 7);
wait_shadow();
is(stat_shadow('same, different, failed'), '1|3|0', 'afterwards the same');

# a hidden maximum is not listed
reset_shadow();
sql("SELECT auction.place_bid($proxy, 9, 900)");
wait_shadow();
sql("UPDATE auction._state SET increment = 50 WHERE auction_id = $proxy");
sql("SELECT auction.place_bid($proxy, 7, 700)");
wait_shadow();
is(stat_shadow('different'), '1', 'a proxy auction that differs');
is( sql('SELECT d.amount = least(700, table_price), differs'
		  . ' FROM auction.shadow_differences d'),
	't|price', '... shows no maximum');

# ---- Redis hangs, goes away, is full: bids go on ----

sub goes_on
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	is(join('', map { bid($id, $_) } 7, 8, 9), 'ttt', "$what: bids go on");
	wait_shadow();
	is(stat_shadow('failed, different'), '3|0', '... and are not compared');
	return;
}

# Until one is compared again.
sub comes_back
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	wait_lanes($node, 'postgres', 'normal');
	poll(
		'a bid is compared',
		sub {
			reset_shadow();
			bid($id, 7);
			wait_shadow();
			return stat_shadow('failed') eq '0';
		});
	all_same("$what: compared again", 1);
	reset_shadow();
	return;
}

reset_shadow();
$redis->freeze;
goes_on('it hangs');
$redis->thaw;
comes_back('it goes on');
$redis->stop;
wait_lanes($node, 'postgres', 'degraded');
goes_on('it is away');
$redis->start;
comes_back('it is back');
$redis->cli('CONFIG', 'SET', 'maxmemory', '1');
goes_on('it is full');
$redis->cli('CONFIG', 'SET', 'maxmemory', '0');
comes_back('it has room');
$redis->cli('HSET', "{auction:$lane}:term", 'term', '1000000');
goes_on("the lane is somebody else's");
$redis->restart;
comes_back('it was taken again');

# ---- a router that dies counts what it had as failed ----

$redis->freeze;
bid($id, 7);
my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
$redis->thaw;
wait_lanes($node, 'postgres', 'normal');
wait_shadow();
is(stat_shadow('entries, different, dropped'),
	'1|0|0', 'a router that dies: nothing is left waiting');
comes_back('the next router');

# ---- a hot auction and a small queue ----

$node->append_conf('postgresql.conf', 'auction.shadow_queue = 2');
$node->restart;
sql("ALTER SERVER redis1 OPTIONS (SET command_timeout '1h')");
comes_back('a long command_timeout');
$redis->freeze;
sql(<<"SQL");
DO \$\$ BEGIN
	FOR i IN 1 .. 60 LOOP
		PERFORM auction.place_bid($id, 7 + i % 2, $price + i);
		COMMIT;
	END LOOP;
END \$\$;
SQL
$price += 60;
is(sql("SELECT price FROM auction.standings WHERE id = $id"),
	$price, 'a queue that is full: bids go on');
is(stat_shadow('entries + dropped, dropped > 0, entries >= 2, waiting > 0'),
	'60|t|t|t', '... and what finds no room is dropped');
$redis->thaw;
wait_shadow();
is(stat_shadow('dropped > 0, different, failed'), 't|0|0',
	'... the others are compared when Redis goes on');
sql("ALTER SERVER redis1 OPTIONS (SET command_timeout '1s')");
comes_back('a small queue');
my $hot = start_bidders($node, 'postgres', $id, $id, clients => 8,
	bids => 500);
finish_bidders($hot);
wait_shadow();
is(stat_shadow('different, failed'), '0|0', 'a small queue: nothing differs')
  or diag sql('SELECT * FROM auction.shadow_differences LIMIT 5');
check_auctions($node, 'postgres', $id, $id);

# ---- a share, and none ----

reset_shadow();
$node->append_conf('postgresql.conf', "auction.shadow = 50\n"
	  . 'auction.shadow_queue = 1024');
$node->restart;
wait_lanes($node, 'postgres', 'normal');
my @ids = map { new_auction($node, 'postgres') } 1 .. 40;
bid($_, 7) foreach @ids;
wait_shadow();
my $share = stat_shadow('same');
ok($share > 5 && $share < 35, "half of the auctions: $share of 40");
$node->append_conf('postgresql.conf', 'auction.shadow = 0');
$node->reload;
poll_until($node, 'postgres', "SHOW auction.shadow", '0');
bid($_, 8) foreach @ids;
is(stat_shadow('entries, dropped'), "$share|0", 'none: nothing is mirrored');
ok(wait_rest($node, 'postgres', 'router'), '... and the router rests');

$node->stop;
done_testing();
