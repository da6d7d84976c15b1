# What is asked of which shard, and that the functions that ask each shard by
# itself count what is history, no more: not what is on its way there.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $home = new_node('home');
my $one = new_shard_node('one');
my $two = new_shard_node('two');
shard_server($home, $one);
shard_server($home, $two);

sub sql { return $home->safe_psql('postgres', @_); }

# --- A history ---------------------------------------------------------

# Users 1 to 60 bid in these auctions, of both kinds; some bids are retracted.
sub hold
{
	my ($first, $last) = @_;

	sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route, start_price, kind,
	reserve_price)
SELECT i, 0, now() + interval '1 day', 'table', 100,
	CASE WHEN i % 2 = 0 THEN 'proxy' ELSE 'open' END,
	CASE WHEN i % 5 = 0 THEN 1000000 WHEN i % 5 = 1 THEN 150 END
FROM generate_series($first, $last) i;
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(auction, 1 + (auction * 7 + n * n) % 60, 100 + 10 * n,
		gen_random_uuid(), NULL)::auction.bid_request
	FROM generate_series($first, $last) auction, generate_series(1, 40) n
	ORDER BY n, auction));
SELECT auction.retract_bid(auction_id, bid_no, 'mistyped')
FROM auction.journal WHERE auction_id BETWEEN $first AND $last
	AND auction_id % 3 = 0 AND bid_no % 11 = 0;
SQL
	return;
}

sub close_all
{
	my ($first, $last) = @_;

	sql(<<"SQL");
SELECT auction.cancel_auction(i, 'broken')
FROM generate_series($first, $last) i WHERE i % 7 = 0;
SELECT auction.close_auction(i)
FROM generate_series($first, $last) i WHERE i % 7 <> 0;
SQL
	return;
}

sub await_history
{
	my ($first, $last) = @_;

	return poll_until($home, 'postgres', <<"SQL");
SELECT bool_and(consolidated_at IS NOT NULL) FROM auction.standings
WHERE id BETWEEN $first AND $last
SQL
}

sql('SELECT auction.create_shards(8)');
sql("CALL auction.move_shard($_, 'one')") foreach 0 .. 3;
sql("CALL auction.move_shard($_, 'two')") foreach 4 .. 6;
hold(1, 60);
close_all(1, 60);
await_history(1, 60);
hold(1000, 1000);
sql(<<'SQL');
CREATE TABLE users (id bigint PRIMARY KEY, name text UNIQUE);
INSERT INTO users SELECT i, 'name' || i FROM generate_series(1, 60) i;
ANALYZE users;
SQL

# One of each place: a user of a shard there.
my %user = map { split /\|/ } split /\n/, sql(<<'SQL');
SELECT DISTINCT ON (s.server) coalesce(s.server, 'here'), u.id
FROM users u JOIN auction.shards s
	ON auction._shard_hash(u.id) & (s.modulus - 1) = s.shard
ORDER BY s.server, u.id
SQL
is(join(' ', sort keys %user), 'here one two', 'users everywhere');

# --- What is asked of which shard --------------------------------------

# Tests: the plan of a query, with so many scans of shards on other servers,
# all of which have this in the query that is sent.
sub plan_is
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($plan, $scans, $sent, $what) = @_;
	my @sent = $plan =~ /Remote SQL: (.*)/g;

	is(scalar(@sent), $scans, "$what: $scans shards of other servers are asked")
	  or diag $plan;
	is(scalar(grep { !/$sent/ } @sent), 0, "$what: they are asked for no more")
	  or diag $plan;
	return;
}

sub plan
{
	my ($query, $before) = @_;

	return sql(($before // '') . ";EXPLAIN (VERBOSE, COSTS OFF) $query");
}

my $generic = 'SET plan_cache_mode = force_generic_plan';
my $of_auction = qr/WHERE \(\(auction_id = 7(?:::bigint)?\)\)$/;
my $of_user = qr/WHERE \(\(user_id = (?:\d+|\$1)(?:::bigint)?\)\)$/;

foreach my $relation ('history', 'bids')
{
	foreach my $where ('one', 'two')
	{
		plan_is(
			plan("SELECT * FROM auction.$relation WHERE user_id = $user{$where}"),
			1, $of_user, "$relation of a user on $where");
	}
	my $prepared = "PREPARE of_user(bigint) AS"
	  . " SELECT * FROM auction.$relation WHERE user_id = \$1";
	my $plan = plan("EXECUTE of_user($user{one})", "$generic; $prepared");
	plan_is($plan, 1, $of_user, "$relation of a user, generic plan");
	like($plan, qr/Subplans Removed: 7/, "$relation: the others are removed");
	plan_is(plan("SELECT * FROM auction.$relation WHERE user_id = $user{here}"),
		0, qr/./, "$relation of a user here");
	plan_is(
		plan("SELECT u.name, b.* FROM users u JOIN auction.$relation b"
			  . " ON b.user_id = u.id WHERE u.id = $user{one}"),
		1, $of_user, "$relation with users, by number");

	# which one it is comes out when the user's number is there
	my $by_name = "SELECT * FROM auction.$relation WHERE user_id ="
	  . " (SELECT id FROM users WHERE name = 'name$user{one}')";
	plan_is(plan($by_name), 7, $of_user, "$relation of a user by name");
	$plan = sql("EXPLAIN (ANALYZE, COSTS OFF) $by_name");
	is(scalar(() = $plan =~ /Foreign Scan.*actual/g),
		1, "$relation of a user by name: one is asked");

	$plan = plan("SELECT * FROM auction.$relation WHERE auction_id = 7");
	plan_is($plan, 7, $of_auction, "$relation of an auction");
	is(scalar(() = $plan =~ /Async Foreign Scan/g),
		7, "$relation of an auction: at once");
}

my $by_user = 'SELECT user_id, count(*) FROM auction.history GROUP BY user_id';
my $partitionwise = 'SET enable_partitionwise_aggregate = on';
plan_is(plan($by_user, $partitionwise), 7, qr/count\(\*\).*GROUP BY 1$/,
	'history by user');
plan_is(plan('SELECT count(*), sum(amount) FROM auction.history', $partitionwise),
	7, qr/^SELECT amount FROM/, 'README: a total is not computed there');

# What functions ask, by auto_explain: the plans of what they run.
sub plans_within
{
	my ($query) = @_;
	my ($ret, $out, $err) = ask($home, 'postgres', <<"SQL");
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_verbose = on;
SET auto_explain.log_analyze = on;
SET client_min_messages = log;
$query;
SQL
	is($ret, 0, $query) or diag $err;
	return map { s/^\s*Query Text:.*?^(?=\S)//msr } split /^psql:.*LOG:  /m, $err;
}

sub one_plan
{
	my ($query, $like) = @_;
	my @plans = grep { /$like/ } plans_within($query);

	is(scalar(@plans), 1, "$query: one plan");
	return $plans[0] // '';
}

my $join = "SELECT b.* FROM users u, auction.user_bids(u.id) b"
  . " WHERE u.name = 'name$user{one}'";
plan_is(one_plan($join, qr/Remote SQL/), 1, $of_user, 'user_bids() in a join');
my $by_function = one_plan('SELECT auction.auction_bids(7)', qr/Remote SQL/);
plan_is($by_function, 7, $of_auction, 'auction_bids()');
is(scalar(() = $by_function =~ /Async Foreign Scan/g), 7, 'auction_bids(): at once');
is(scalar(grep { /Foreign Scan/ } plans_within('SELECT auction.auction_bids(1000)')),
	0, 'auction_bids() of one that is open asks nobody');

foreach my $query (
	'auction.history_totals()',
	'auction.top_bidders()',
	"auction.top_bidders(3, 'auctions', '2020-01-01', '2099-01-01')",
	"auction.top_bidders(3, 'spent')")
{
	my $plan = one_plan("SELECT * FROM $query", qr/Aggregate on/);
	my $sent = $query =~ /totals/ ? qr/^SELECT \d, count\(\*\)/
	  : $query =~ /spent/ ? qr/user_id = ANY .* GROUP BY 1$/
	  : qr/GROUP BY 1 ORDER BY count.* LIMIT (?:3|10)::bigint$/;

	plan_is($plan, 7, $sent, $query);
	is(scalar(() = $plan =~ /Async Foreign Scan/g), 7, "$query: at once");
}

# --- What the functions say --------------------------------------------

my $history = 'auction.bids b JOIN auction.standings s ON s.id = b.auction_id'
  . ' AND s.consolidated_at IS NOT NULL';
my $won = <<'SQL';
(SELECT winner_id AS user_id, count(*) AS won, sum(price) AS spent
FROM auction.standings WHERE status = 'consolidated' AND winner_id IS NOT NULL
GROUP BY 1)
SQL
my $totals = <<"SQL";
SELECT h.shard, h.server, count(b.user_id), count(b.retracted_at),
	count(DISTINCT b.user_id),
	(SELECT coalesce(sum(won), 0) FROM $won w
	 WHERE auction._shard_hash(user_id) & (h.modulus - 1) = h.shard),
	(SELECT coalesce(sum(spent), 0) FROM $won w
	 WHERE auction._shard_hash(user_id) & (h.modulus - 1) = h.shard),
	min(b.placed_at), max(b.placed_at)
FROM auction.shards h LEFT JOIN ($history)
	ON auction._shard_hash(b.user_id) & (h.modulus - 1) = h.shard
GROUP BY h.shard, h.server, h.modulus ORDER BY h.shard
SQL

sub bidders
{
	my ($n, $by, $condition) = @_;
	my $order = { bids => 2, auctions => 3, won => 4, spent => 5 }->{$by};

	return <<"SQL";
SELECT row_number() OVER (), t.* FROM (
	SELECT user_id, coalesce(bids, 0), coalesce(auctions, 0),
		coalesce(won, 0), coalesce(spent, 0), last_at
	FROM (SELECT user_id, count(*) AS bids,
			count(DISTINCT auction_id) AS auctions, max(placed_at) AS last_at
		FROM $history WHERE b.retracted_at IS NULL GROUP BY 1) b
		FULL JOIN $won w USING (user_id) WHERE $condition
	ORDER BY $order DESC, 1 LIMIT $n) t
SQL
}

sub functions_agree
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($when) = @_;

	is(sql('SELECT * FROM auction.history_totals()'), sql($totals),
		"$when: history_totals()");
	foreach my $by ('bids', 'auctions', 'won', 'spent')
	{
		my $condition = $by =~ /won|spent/ ? 'won > 0' : 'bids > 0';

		is(sql("SELECT * FROM auction.top_bidders(12, '$by')"),
			sql(bidders(12, $by, $condition)), "$when: top_bidders() by $by");
	}
	return;
}

# What does not depend on what is on its way.
my $sums = <<'SQL';
SELECT sum(bids), sum(retracted), sum(bidders), sum(sold), sum(turnover),
	(SELECT sum(bids) || ' ' || sum(auctions) FROM auction.top_bidders(100))
FROM auction.history_totals()
SQL
my $before = sql($sums);

functions_agree('at rest');
is(sql("SELECT count(*) FROM auction.top_bidders(1000)"),
	sql(q{SELECT count(DISTINCT user_id) FROM auction.bids
		WHERE auction_id < 1000 AND retracted_at IS NULL}), 'all bidders');
is(sql("SELECT count(*) FROM auction.top_bidders(10, 'bids', now())"),
	'0', 'nobody has bid since now');
is(sql("SELECT count(*) FROM auction.top_bidders(10, 'spent', until => '2020-01-01')"),
	'0', 'nobody had bought before');
is(sql('SELECT * FROM auction.history_totals(5)'),
	(split /\n/, sql($totals))[5], 'one shard');

foreach my $where (sort keys %user)
{
	is(sql("SELECT * FROM auction.user_bids($user{$where}) ORDER BY 1, 2"),
		sql("SELECT * FROM auction.bids WHERE user_id = $user{$where} ORDER BY 1, 2"),
		"bids of a user $where");
}
foreach my $auction (1 .. 8, 1000)
{
	is(sql("SELECT * FROM auction.auction_bids($auction)"),
		sql("SELECT * FROM auction.bids WHERE auction_id = $auction ORDER BY 2"),
		"bids of auction $auction");
}
isnt(sql('SELECT max(amount) FROM auction.journal WHERE auction_id = 1000'),
	sql('SELECT max(amount) FROM auction.auction_bids(1000)'),
	'a maximum is hidden');

my %error = (
	'top_bidders(0)' => '22023',
	'top_bidders(NULL)' => '22023',
	"top_bidders(5, 'amount')" => '22023',
	'top_bidders(5, NULL)' => '22023',
	'history_totals(8)' => '42704',
	'history_totals(-1)' => '42704');
is(sql_error($home, 'postgres', "SELECT * FROM auction.$_"), $error{$_}, $_)
  foreach sort keys %error;

# --- Bids that are on their way ----------------------------------------

# Until all bids of these auctions that belong on other servers are there.
sub await_sent
{
	my ($first, $last) = @_;
	my $which = "auction_id BETWEEN $first AND $last";
	my $expected = sql(<<"SQL");
SELECT count(*) FROM auction.journal j JOIN auction.shards s
	ON auction._shard_hash(user_id) & (modulus - 1) = shard
WHERE server IS NOT NULL AND $which
SQL

	return poll('bids are sent', sub {
		my $sent = 0;
		$sent += $_->safe_psql('postgres',
			"SELECT count(*) FROM auction_shard.history WHERE $which")
		  foreach $one, $two;
		return $sent > 0 && $sent == $expected;
	});
}

hold(101, 110);
hold(201, 210);
my $onlooker = open_session($home, 'postgres', 'BEGIN; SELECT 1;');
my $repeatable = open_session($home, 'postgres',
	'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
close_all(101, 110);
await_sent(101, 110);
is(sql('SELECT count(*) > 0 FROM auction.history WHERE auction_id > 100'),
	't', 'history itself shows them');
is(sql($sums), $before, 'bids that are sent do not count');
functions_agree('sent');

# one that was sent can be changed, and is not verified then
sql("SELECT auction.retract_bid(101, bid_no, 'mistyped')"
	  . ' FROM auction.auction_bids(101) WHERE retracted_at IS NULL LIMIT 1');
is(sql($sums), $before, 'nor if they are to be verified again');

# The snapshot of $repeatable is older than the end of these auctions: it sees
# them open, and their bids on the shards.
end_session($repeatable, "$sums; COMMIT;");
like($repeatable->{out}, qr/^\Q$before\E$/m,
	'nor for a snapshot from before');

# The snapshot of this one is older than the mark, but the bids were there
# before it, so that the mark does not wait for it.
$repeatable = open_session($home, 'postgres',
	'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM auction._state;');
end_session($onlooker, 'COMMIT;');
await_history(102, 110);
isnt(sql($sums), $before, 'history has grown');
end_session($repeatable, "$sums; COMMIT;");
like($repeatable->{out}, qr/^\Q$before\E$/m, 'not for an older snapshot');
await_history(101, 110);
functions_agree('marked');

# --- Rights ------------------------------------------------------------

sql(<<'SQL');
CREATE ROLE plain LOGIN;
CREATE ROLE analyst LOGIN;
GRANT EXECUTE ON FUNCTION auction.history_totals, auction.top_bidders,
	auction.user_bids, auction.auction_bids TO analyst;
SQL
foreach my $call (
	'history_totals()', 'top_bidders()', "user_bids($user{one})",
	'auction_bids(7)')
{
	is(sql_error($home, 'postgres',
			"SET ROLE plain; SELECT count(*) FROM auction.$call"),
		'42501', "$call: not for everybody");
	is(sql("SET ROLE analyst; SELECT count(*) FROM auction.$call"),
		sql("SELECT count(*) FROM auction.$call"),
		"$call: needs no other right, and no user mapping");
}

# --- Without one of the servers ----------------------------------------

my %bids = map {
	$_ => sql("SELECT count(*) FROM auction.bids WHERE user_id = $user{$_}")
} keys %user;
my $rest = join "\n",
  grep { !/^[456]\|/ } split /\n/, sql('SELECT * FROM auction.history_totals()');
$two->stop;
foreach my $where ('here', 'one')
{
	is(sql("SELECT count(*) FROM auction.bids WHERE user_id = $user{$where}"),
		$bids{$where}, "bids of a user $where");
	is(sql("$generic; PREPARE of_user(bigint) AS SELECT count(*)"
			. " FROM auction.bids WHERE user_id = \$1; EXECUTE of_user($user{$where})"),
		$bids{$where}, "the same with a generic plan");
	# so often that a generic plan is made
	is(sql("SELECT DISTINCT count(b.*) FROM generate_series(1, 10) i,"
			. " auction.user_bids($user{$where} + 0 * i) b GROUP BY i"),
		$bids{$where}, "user_bids() $where");
}
isnt(sql('SELECT count(*) FROM auction.auction_bids(1000)'),
	0, 'bids of an open auction');
is(sql('SELECT t.* FROM auction.shards s, auction.history_totals(s.shard) t'
		. " WHERE s.server IS DISTINCT FROM 'two' ORDER BY 1"),
	$rest, 'totals of the others');
foreach my $call ('history_totals()', 'top_bidders()',
	"user_bids($user{two})", 'auction_bids(7)')
{
	my ($ret, $out, $err) =
	  ask($home, 'postgres', "SELECT count(*) FROM auction.$call");

	isnt($ret, 0, "$call fails");
	like($err, qr/could not connect to server "two"/, "$call: says which one");
}
$two->start;
functions_agree('back');

done_testing();
