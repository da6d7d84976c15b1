# Real bids, replayed on both routes, by each way to place a bid; verdict by
# verdict the same as a recomputation in SQL that shares no code with rules.c.
#
# The bids are ../shared/data/ebay_cartier_bids.csv beside the tree, taken as
# plain open bids with increment 1.  Where that is absent: as many generated
# ones, from a fixed seed.

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
sql('SELECT auction.close_auction(id) FROM auction.auctions');
poll_until($node, 'postgres',
	"SELECT bool_and(status IN ('consolidated', 'quarantined'))"
	  . ' FROM auction.standings');
is( sql(<<'SQL'), '0', 'all verified and consolidated');
SELECT count(*) FROM auction.standings WHERE status <> 'consolidated'
SQL
is(sql('SELECT count(*) FROM auction.journal'), '0', 'the journal is empty');
check_bids('history');

$node->stop;
$redis->stop;
done_testing();
