# Real bids, replayed on both routes; verdict by verdict the same as a
# recomputation in SQL that shares no code with rules.c.
#
# The bids are ../shared/data/ebay_cartier_bids.csv beside the tree: as plain
# open bids with increment 1, by each way to place a bid; and as the bids of
# proxy auctions that they are, the final prices of which are known. Where the
# file is absent: generated ones from a fixed seed, and only the former.

use strict;
use warnings;

use AuctionTest;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('replay');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 2);

sub sql { return $node->safe_psql('postgres', @_); }

# --- The bids ----------------------------------------------------------

my $top = dirname(dirname(dirname(abs_path(__FILE__))));
my $csv = "$top/../shared/data/ebay_cartier_bids.csv";

sql(<<'SQL');
CREATE TABLE source (n bigint GENERATED ALWAYS AS IDENTITY,
	auction_id bigint, bid_no bigint, user_id bigint, amount bigint,
	placed_day float8, open_price bigint, days float8);
SQL
if (-r $csv)
{
	note "bids: $csv";
	sql("\\copy source (auction_id, bid_no, user_id, amount, placed_day, "
		  . "open_price, days) FROM '$csv' (FORMAT csv, HEADER)");
}
else
{
	note 'bids: generated, seed 0.2007';
	sql(<<'SQL');
SELECT setseed(0.2007);
INSERT INTO source (auction_id, bid_no, user_id, amount, placed_day,
	open_price, days)
SELECT a, n, 1 + floor(random() * 40), 5000 + floor(random() * 400 * n * n),
	0, 100 * (a % 90), 7
FROM generate_series(1, 136) a,
	generate_series(1, 1 + (a * 7919) % 29) n
ORDER BY a, n;
SQL
}

# What each bid must get, from the amounts before it alone: the price is the
# highest of those that reached the start price.
sql(<<'SQL');
CREATE TABLE lots AS
SELECT row_number() OVER (ORDER BY min(n)) AS lot, auction_id,
	min(open_price) AS start_price FROM source GROUP BY auction_id;
CREATE TABLE expected AS
WITH before AS (
	SELECT n, lot, user_id, amount, start_price,
		max(amount) FILTER (WHERE amount >= start_price) OVER (
			PARTITION BY lot ORDER BY n
			ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS best
	FROM source JOIN lots USING (auction_id)),
verdict AS (
	SELECT *, amount >= coalesce(best + 1, start_price) AS accepted
	FROM before),
numbered AS (
	SELECT *, count(*) FILTER (WHERE accepted) OVER w AS accepted_count
	FROM verdict WINDOW w AS (PARTITION BY lot ORDER BY n))
SELECT n, lot, accepted,
	CASE WHEN NOT accepted THEN 'too_low' END AS reason,
	CASE WHEN accepted THEN accepted_count END AS bid_no,
	CASE WHEN accepted THEN amount ELSE coalesce(best, start_price) END
		AS price,
	first_value(CASE WHEN accepted_count > 0 THEN user_id END) OVER (
		PARTITION BY lot, accepted_count ORDER BY n) AS leader_id
FROM numbered;
SQL
my $nbids = sql('SELECT count(*) FROM source');
cmp_ok($nbids, '>', 1000, "$nbids bids");
my $accepted = sql('SELECT count(*) FROM expected WHERE accepted');
ok($accepted > 100 && $accepted < $nbids,
	"$accepted of them to be accepted, the others not");

# --- Six times the same sale -------------------------------------------

my %first_id = (
	'table place_bid' => 100_000,
	'redis place_bid' => 200_000,
	'table place_bids' => 300_000,
	'redis place_bids' => 400_000,
	'table insert' => 500_000,
	'redis insert' => 600_000);

sql(<<'SQL');
CREATE TABLE verdicts (way text, n bigint, accepted bool, reason text,
	bid_no bigint, price bigint, leader_id bigint, route text,
	PRIMARY KEY (way, n));

CREATE PROCEDURE by_place_bid(way text, first bigint) LANGUAGE plpgsql AS $$
DECLARE
	b record;
BEGIN
	FOR b IN SELECT s.*, lot FROM source s JOIN lots USING (auction_id)
		ORDER BY n
	LOOP
		INSERT INTO verdicts SELECT way, b.n, r.accepted, r.reason, r.bid_no,
			r.price, r.leader_id, r.route
		FROM auction.place_bid(first + b.lot, b.user_id, b.amount) r;
	END LOOP;
END $$;

CREATE PROCEDURE by_place_bids(way text, first bigint) LANGUAGE plpgsql AS $$
DECLARE
	part bigint[];
BEGIN
	-- calls of many sizes, so that hand-overs end anywhere
	FOR part IN SELECT array_agg(n ORDER BY n) FROM source
		GROUP BY floor(sqrt(n))
	LOOP
		INSERT INTO verdicts
		SELECT way, part[r.ordinality], r.accepted, r.reason, r.bid_no,
			r.price, r.leader_id, r.route
		FROM auction.place_bids(ARRAY(
			SELECT ROW(first + lot, user_id, amount, NULL, NULL)
				::auction.bid_request
			FROM source JOIN lots USING (auction_id)
			WHERE n = ANY (part) ORDER BY n)) WITH ORDINALITY r;
	END LOOP;
END $$;

-- A rejected bid is an error; price and leader are not told.
CREATE PROCEDURE by_insert(way text, first bigint) LANGUAGE plpgsql AS $$
DECLARE
	b record;
	no bigint;
BEGIN
	FOR b IN SELECT s.*, lot FROM source s JOIN lots USING (auction_id)
		ORDER BY n
	LOOP
		no := NULL;
		BEGIN
			INSERT INTO auction.bids (auction_id, user_id, amount)
			VALUES (first + b.lot, b.user_id, b.amount)
			RETURNING bids.bid_no INTO no;
		EXCEPTION WHEN SQLSTATE 'RB001' THEN
			NULL;
		END;
		INSERT INTO verdicts (way, n, accepted, bid_no)
		VALUES (way, b.n, no IS NOT NULL, no);
	END LOOP;
END $$;
SQL
foreach my $way (sort keys %first_id)
{
	my ($route, $function) = split / /, $way;
	my $first = $first_id{$way};

	sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, start_price, increment, ends_at,
	route)
SELECT $first + lot, 0, start_price, 1, now() + interval '1 day', '$route'
FROM lots;
SQL
	sql("CALL by_$function('$way', $first)");

	my $told = $function eq 'insert' ? '' : <<'SQL';
	OR (e.reason, e.price, e.leader_id) IS DISTINCT FROM
		(v.reason, v.price, v.leader_id)
SQL
	my $differ = <<"SQL";
FROM expected e LEFT JOIN verdicts v ON v.n = e.n AND v.way = '$way'
WHERE (e.accepted, e.bid_no) IS DISTINCT FROM (v.accepted, v.bid_no) $told
SQL
	is(sql("SELECT count(*) $differ"),
		'0', "$way: $nbids verdicts as expected")
	  or diag sql("SELECT e, v $differ ORDER BY e.n LIMIT 5");
	is(sql("SELECT count(*) FROM verdicts WHERE way = '$way'"),
		$nbids, "$way: a verdict for each");
	is( sql("SELECT DISTINCT route FROM verdicts WHERE way = '$way'"),
		$route, "$way: decided on that route")
	  if $function ne 'insert';
}

# --- As the proxy auctions that they were ------------------------------

# recorded: as in the file. raised: of a winner the file has no maximum, but
# what the final price tells of it; so his last bid of his highest amount gets
# a maximum that nobody reaches.
sub prepare_proxies
{
	(my $answers = $csv) =~ s/_bids/_expected/;

	sql(<<'SQL');
CREATE TABLE answers (auction_id bigint, bids int, open_price bigint,
	final_price bigint, class text);
CREATE TABLE proxy_verdicts (way text, replay text, first bigint, n bigint,
	accepted bool, reason text, bid_no bigint, price bigint, leader_id bigint,
	route text, PRIMARY KEY (way, n));
SQL
	sql("\\copy answers FROM '$answers' (FORMAT csv, HEADER)");
	sql(<<'SQL');
CREATE TABLE replays AS
SELECT replay, lot, start_price, class, final_price, auction_id, n, user_id,
	amount
FROM source s JOIN lots USING (auction_id) JOIN answers USING (auction_id),
	(VALUES ('recorded'), ('raised')) r (replay)
WHERE replay = 'recorded' OR class = 'exact';
UPDATE replays r SET amount = 1000000000000
WHERE replay = 'raised' AND n =
	(SELECT max(s.n) FROM source s,
		(SELECT user_id, amount FROM source WHERE auction_id = r.auction_id
		ORDER BY amount DESC, n LIMIT 1) best
	WHERE (s.auction_id, s.user_id, s.amount)
		= (r.auction_id, best.user_id, best.amount));

CREATE PROCEDURE replay_proxies(way text, what text, first bigint)
LANGUAGE plpgsql AS $$
DECLARE
	b record;
BEGIN
	FOR b IN SELECT * FROM replays WHERE replay = what ORDER BY n
	LOOP
		INSERT INTO proxy_verdicts
		SELECT way, what, first, b.n, r.accepted, r.reason, r.bid_no, r.price,
			r.leader_id, r.route
		FROM auction.place_bid(first + b.lot, b.user_id, b.amount) r;
	END LOOP;
END $$;
SQL
	return;
}

# What each bid must get, from the accepted ones before it: who of them has the
# best amount, who the second best, and what that makes.
sub prepare_model
{
	sql(<<'SQL' . price_sql() . <<'SQL');
CREATE FUNCTION step_over(amount bigint) RETURNS bigint
	RETURN (SELECT increment FROM auction.increment_tables
		WHERE name = 'ebay_us' AND from_price <= amount
		ORDER BY from_price DESC LIMIT 1);
CREATE TABLE proxy_taken (way text, lot bigint, n bigint, user_id bigint,
	amount bigint);
CREATE INDEX ON proxy_taken (way, lot);
CREATE TYPE proxy_state AS (leader_id bigint, top bigint, price bigint);
CREATE FUNCTION state_after(w text, l bigint, start_price bigint, at bigint)
RETURNS proxy_state LANGUAGE sql STABLE AS $$
WITH best AS (
	SELECT DISTINCT ON (user_id) user_id, amount, n FROM proxy_taken
	WHERE way = w AND lot = l AND n <= at ORDER BY user_id, amount DESC, n),
ranked AS (SELECT *, rank() OVER (ORDER BY amount DESC, n) AS rank FROM best),
two AS (
	SELECT max(user_id) FILTER (WHERE rank = 1) AS leader_id,
		max(amount) FILTER (WHERE rank = 1) AS top,
		max(amount) FILTER (WHERE rank = 2) AS second FROM ranked)
SELECT leader_id, top,
SQL
	FROM two, LATERAL (SELECT step_over(second), 'proxy', NULL::bigint,
		NULL::bigint, false) s (step, kind, reserve_price, buy_now_price, bought)
$$;
CREATE VIEW proxy_differ AS
SELECT way, replay, n, v FROM replays r JOIN proxy_verdicts v USING (replay, n),
	state_after(way, lot, start_price, n - 1) b,
	state_after(way, lot, start_price, n) a,
	LATERAL (SELECT CASE
		WHEN user_id = b.leader_id THEN
			CASE WHEN amount <= b.top THEN 'already_leading' END
		WHEN amount < CASE WHEN b.leader_id IS NULL THEN start_price
			ELSE b.price + step_over(b.price) END THEN 'too_low' END) w (reason)
WHERE (v.accepted, v.reason, v.price, v.leader_id)
	IS DISTINCT FROM (w.reason IS NULL, w.reason, a.price, a.leader_id);
SQL
	return;
}

# Tests: how many final prices are the real ones, of those that can be.
sub check_final_prices
{
	my ($way, $replay) = @_;
	my %wanted =
	  $replay eq 'raised'
	  ? (exact => '101 of 102')
	  : (capped => '14 of 14', tie => '2 of 2');
	my $final = <<"SQL";
(SELECT DISTINCT ON (lot) r.*, price, leader_id FROM replays r
	JOIN proxy_verdicts v USING (replay, n)
  WHERE way = '$way' ORDER BY lot, n DESC) f
SQL
	foreach my $class (sort keys %wanted)
	{
		my $right = sql(<<"SQL");
SELECT count(*) FILTER (WHERE price = final_price) || ' of ' || count(*)
FROM $final WHERE class = '$class'
SQL
		note "$way: class $class: $right final prices";
		is($right, $wanted{$class}, "$way: final prices of class $class");
		note "$way: not so: $_" foreach split /\n/, sql(<<"SQL");
SELECT format('auction %s: %s, really %s', auction_id, price, final_price)
FROM $final WHERE class = '$class' AND price <> final_price
SQL
	}
	is(sql(<<"SQL"), '0', "$way: a tie is the earlier bidder's");
SELECT count(*) FROM $final WHERE class = 'tie' AND leader_id <>
	(SELECT user_id FROM replays r WHERE (r.replay, r.lot) = (f.replay, f.lot)
	  ORDER BY amount DESC, n LIMIT 1)
SQL
	return;
}

my %proxy_first = (
	'table recorded' => 1_100_000,
	'redis recorded' => 1_200_000,
	'table raised' => 1_300_000,
	'redis raised' => 1_400_000);

sub replay_proxies
{
	foreach my $way (sort keys %proxy_first)
	{
		my ($route, $replay) = split / /, $way;
		my $first = $proxy_first{$way};

		sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, kind, start_price, increment_table,
	ends_at, route)
SELECT DISTINCT $first + lot, 0, 'proxy', start_price, 'ebay_us',
	now() + interval '1 day', '$route'
FROM replays WHERE replay = '$replay';
CALL replay_proxies('$way', '$replay', $first);
INSERT INTO proxy_taken
SELECT way, lot, n, user_id, amount FROM replays
	JOIN proxy_verdicts USING (replay, n) WHERE way = '$way' AND accepted;
SQL
		is( sql("SELECT count(*) FROM proxy_differ WHERE way = '$way'"),
			'0', "$way: proxy verdicts as recomputed, bid by bid")
		  or diag sql("SELECT v FROM proxy_differ WHERE way = '$way' LIMIT 5");
		is( sql("SELECT count(*), min(route) FROM proxy_verdicts v"
				  . " WHERE way = '$way' AND route = '$route'"),
			sql("SELECT count(*), '$route' FROM replays"
				  . " WHERE replay = '$replay'"),
			"$way: a verdict for each bid, on that route");
		check_final_prices($way, $replay);
	}
	return;
}

# Tests: bids and winners are those of the verdicts.
sub check_proxies
{
	my ($when) = @_;
	my $source = $when eq 'history' ? 'auction.history' : 'auction.journal';

	is(sql(<<"SQL"), '0', "$when: whole amounts of proxy bids are kept");
SELECT count(*) FROM
 (SELECT first + lot AS auction_id, r.user_id, amount, bid_no FROM replays r
	JOIN proxy_verdicts USING (replay, n) WHERE accepted) e
 FULL JOIN (SELECT * FROM $source WHERE auction_id > 1100000) b
	USING (auction_id, user_id, amount, bid_no)
WHERE e IS NULL OR b IS NULL
SQL
	is(sql(<<"SQL"), '0', "$when: price, leader, winner of proxy auctions");
SELECT count(*) FROM
 (SELECT DISTINCT ON (first, lot) first + lot AS id, v.price, v.leader_id,
	CASE '$when' WHEN 'history' THEN v.leader_id END AS winner_id
  FROM replays JOIN proxy_verdicts v USING (replay, n)
  ORDER BY first, lot, n DESC) e
 FULL JOIN (SELECT * FROM auction.standings WHERE id > 1100000) s USING (id)
WHERE (e.price, e.leader_id, e.winner_id)
	IS DISTINCT FROM (s.price, s.leader_id, s.winner_id)
SQL
	check_auctions($node, 'postgres', 1_100_000, 1_500_000);
	return;
}

my $proxies = -r $csv;
SKIP:
{
	skip "real proxy auctions: $csv is not there", 1 if !$proxies;
	prepare_proxies();
	prepare_model();
	replay_proxies();
}

# --- What is left of it ------------------------------------------------

wait_applied($node, 'postgres');
sub check_bids
{
	my ($when) = @_;

	foreach my $way (sort keys %first_id)
	{
		my $first = $first_id{$way};
		is(sql(<<"SQL"), '0', "$when, $way: bids are the accepted ones");
SELECT count(*) FROM
 (SELECT e.lot, e.bid_no, s.user_id, s.amount FROM expected e
  JOIN source s USING (n) WHERE accepted) e
 FULL JOIN (SELECT auction_id - $first AS lot, bid_no, user_id, amount
  FROM auction.bids WHERE auction_id > $first
	AND auction_id < $first + 100000) b
 ON (e.lot, e.bid_no, e.user_id, e.amount)
	= (b.lot, b.bid_no, b.user_id, b.amount)
WHERE e.lot IS NULL OR b.lot IS NULL
SQL
	}
	return;
}

check_bids('journal');
check_proxies('journal') if $proxies;
sql('SELECT auction.close_auction(id) FROM auction.auctions');
poll_until($node, 'postgres',
	"SELECT bool_and(status IN ('consolidated', 'quarantined'))"
	  . ' FROM auction.standings');
is( sql(<<'SQL'), '0', 'all verified and consolidated');
SELECT count(*) FROM auction.standings WHERE status <> 'consolidated'
SQL
is(sql('SELECT count(*) FROM auction.journal'), '0', 'the journal is empty');
check_bids('history');
check_proxies('history') if $proxies;

$node->stop;
$redis->stop;
done_testing();
