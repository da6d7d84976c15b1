# A bid that comes again, rule 16: whatever died, moved or was given up since,
# it is recorded once at most, and its repeat gets the verdict it had;
# bid_status() tells what became of it. Who takes part is held with SIGSTOP, or
# waits for what is held.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('request_id', conf => <<'CONF');
auction.overload_timeout = '120s'
auction.slots = 64
auction.tail_size = '16MB'
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1,
	options => "command_timeout '1h'");

sub sql { return $node->safe_psql('postgres', @_); }
sub on_redis { return new_auction($node, 'postgres', route => "'redis'", @_); }
sub start { return start_psql($node, 'postgres', @_); }

# The n-th request id, and bids and questions with it.
sub uuid { return sprintf "'00000000-0000-0000-0000-%012d'", $_[0]; }

sub place
{
	my ($auction, $amount, $n) = @_;

	return 'SELECT accepted, bid_no FROM auction.place_bid'
	  . "($auction, 7, $amount, " . uuid($n) . ')';
}

sub status
{
	my ($auction, $n, $user) = @_;

	return 'SELECT accepted, coalesce(reason, bid_no::text) FROM'
	  . " auction.bid_status($auction, " . uuid($n)
	  . ($user ? ", $user)" : ')');
}

sub bid { return sql(place(@_)); }
sub what { return sql(status(@_)); }

sub cut_off
{
	my ($query, $ms) = @_;

	return sql_error($node, 'postgres',
		'SET statement_timeout = ' . ($ms // 200) . "; $query");
}

sub end_router
{
	my $pid = worker_pid($node, 'postgres', 'router');

	sql("SELECT pg_terminate_backend($pid)");
	return worker_pid($node, 'postgres', 'router', not => $pid);
}

sub recorded
{
	my ($auction) = @_;

	wait_applied($node, 'postgres');
	return sql('SELECT string_agg(right(request_id::text, 3), \' \' ORDER BY bid_no)'
		  . " FROM auction.bids WHERE auction_id = $auction");
}

# ---- given up ----

my $id = on_redis();
is(bid($id, 10, 1), 't|1', 'a bid');
stand_still(my $router = worker_pid($node, 'postgres', 'router'));
is(cut_off(place($id, 20, 2)), 'RB002',
	'the router stands still: not recorded, at the timeout');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '200ms';" . place($id, 20, 2)),
	'RB004',
	'... and as overloaded');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '200ms';" . status($id, 2)),
	'RB003',
	'... nobody says what became of it');
is(what($id, 1), 't|1', '... but of what is in the journal');
is(bid($id, 10, 1), 't|1', '... which is also told again');
go_on($router);
is(what($id, 2), 'f|not_recorded', 'the router goes on: it was not recorded');
is(bid($id, 20, 2), 't|2', '... and is accepted when it comes again');

$redis->freeze;
is(cut_off(place($id, 30, 3)), 'RB003',
	'Redis does not answer: the outcome is unknown, at the timeout');
is(cut_off(place($id, 30, 3)), 'RB003', '... nor is it known to its repeat');
my @asks = (start(status($id, 3, 7)), start(status($id, 3)));
my $again = start(place($id, 30, 3));
wait_waiting($node, 'postgres', 3);
$redis->thaw;
is((finish_psql($again))[0], 't|3', 'Redis goes on: it was recorded');
is((finish_psql($_))[0], 't|3', '... says bid_status()') foreach @asks;
is(recorded($id), '001 002 003', '... once');

# ---- given up while it is looked for ----

# "accepted before" is what the context of an error says of a list.
sub list_error
{
	my ($timeout, @bids) = @_;
	my $list = join ', ', map {
		"ROW($_->[0], 7, $_->[1], " . uuid($_->[2]) . ', NULL)'
	} @bids;
	my $err = (finish_psql(start("SET statement_timeout = '$timeout'",
		'SELECT count(*) FROM auction.place_bids'
		  . "(ARRAY[$list]::auction.bid_request[])")))[1];
	my ($code) = $err =~ /^ERROR:\s+(\w{5})/m;
	my ($before) = $err =~ /which stay accepted: (\d+)/;

	return ($code // $err) . ' ' . ($before // 0);
}

sub errors
{
	return sql('SELECT errors FROM auction.stat_routes'
		  . " WHERE route = 'redis'");
}

my $over = on_redis();
is(bid($over, 10, 1), 't|1', 'a bid');
sql("SELECT auction.close_auction($over)");
poll_until($node, 'postgres', 'SELECT consolidated_at IS NOT NULL'
	  . " FROM auction.standings WHERE id = $over");
end_router();					# its successor does not remember the bid
my $errors = errors();
my $locker = open_session($node, 'postgres',
	'BEGIN; LOCK TABLE auction.journal;');
is(cut_off(place($id, 10, 1)), 'RB002',
	'the journal is locked: not recorded, at the timeout');
is( sql_error(
		$node, 'postgres', "SET lock_timeout = '200ms';" . place($id, 10, 1)),
	'RB002',
	'... or at that of the lock');
is(list_error('200ms', [ $id, 10, 1 ]), 'RB002 0', '... in a list, too');
is(errors(), $errors + 3, '... and an error of the route');
end_session($locker, 'ROLLBACK;');
my $free = on_redis();
$locker = open_session($node, 'postgres',
	'BEGIN; LOCK TABLE auction.history;');
is(cut_off(place($over, 10, 1)), 'RB002',
	'history is locked, in which a bid of an auction that is over may be');
is(list_error('200ms', [ $over, 10, 1 ], [ $free, 10, 1 ], [ $free, 20, 2 ]),
	'RB002 2', '... those behind it in a list are accepted, and counted');
end_session($locker, 'ROLLBACK;');
is(recorded($free), '001 002', '... and there');
is(list_error('1h', [ $over, 10, 1 ], [ $free, 10, 1 ], [ $free, 30, 3 ]),
	' 0', '... all of it is told again');
is(recorded($free), '001 002 003', '... and goes on');

# ---- the drain is held: only the router knows ----

sql('SELECT auction.pause_drain()');
is(bid($id, 40, 4), 't|4', 'drain held: a bid');
is(bid($id, 40, 4), 't|4', '... is told again');
is(cut_off("SET auction.durability = 'journal'; " . place($id, 40, 4)),
	'RB003', '... but not to who asks for level journal');
is(what($id, 4, 7), 't|4', '... and known to bid_status()');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '200ms';" . status($id, 4, 8)),
	'RB003',
	'... that it is not another user\'s, only the journal can tell');

# ---- the router dies ----

end_router();
$again = start(place($id, 40, 4));
my $fresh = start(place($id, 50, 5));
wait_waiting($node, 'postgres', 2);
sql('SELECT auction.resume_drain()');
is((finish_psql($again))[0], 't|4', 'a new router: the bid is told again');
is((finish_psql($fresh))[0], 't|5', '... and the next one accepted');

# A repeat that waits for the record it repeats, and for a later one.
$redis->freeze;
my $first = start(place($id, 60, 6));
wait_waiting($node, 'postgres', 1);
my $later = start(place($id, 70, 7));
wait_waiting($node, 'postgres', 2);
$again = start(place($id, 60, 6));
my $ask = start(status($id, 6, 7));
wait_waiting($node, 'postgres', 4);
end_router();
$redis->thaw;
is((finish_psql($first))[0], 't|6', 'the router dies before Redis answers: accepted');
is((finish_psql($again))[0], 't|6', '... so is the repeat that waited');
is((finish_psql($later))[0], 't|7', '... and the bid between them');
is((finish_psql($ask))[0], 't|6', '... bid_status() waited, too');
is(recorded($id), '001 002 003 004 005 006 007', '... each once');

# ---- without Redis ----

$redis->kill9;
wait_lanes($node, 'postgres', 'degraded');
is(bid($id, 80, 8), 't|8', 'degraded: a bid');
is(bid($id, 80, 8), 't|8', '... is told again');
is(bid($id, 60, 6), 't|6', '... as is one from before');
sql('SELECT auction.pause_drain()');
is(cut_off(place($id, 90, 9)), 'RB003',
	'degraded and the drain held: the outcome is unknown');
$ask = start(status($id, 9));
$again = start(place($id, 90, 9));
wait_waiting($node, 'postgres', 2);
sql('SELECT auction.resume_drain()');
is((finish_psql($ask))[0], 't|9', '... and known when the drain goes on');
is((finish_psql($again))[0], 't|9', '... to the repeat, too');
$redis->start;
wait_lanes($node, 'postgres', 'normal');
is(bid($id, 80, 8), 't|8', 'back to normal: still told again');
is(what($id, 10), 'f|not_recorded', 'one that never was');

# ---- PostgreSQL crashes ----

sql('SELECT auction.pause_drain()');
is(bid($id, 100, 10), 't|10', 'a bid that only Redis has');
restart_killed($node);
is(bid($id, 100, 10), 't|10', 'PostgreSQL crashed: it is told again');
is(what($id, 10, 7), 't|10', '... and known');

sql('SELECT auction.pause_drain()');
is(bid($id, 110, 11), 't|11', 'another one');
restart_killed($node, sub { $redis->stop });
wait_lanes($node, 'postgres', 'recovering');
is( sql_error(
		$node, 'postgres',
		"SET auction.overload_timeout = '300ms';" . status($id, 11)),
	'RB006',
	'PostgreSQL crashed, Redis is away: cannot be told');
is(bid($id, 100, 10), 't|10', '... but what is in the journal can');
$ask = start(status($id, 11));
wait_waiting($node, 'postgres', 1);
$redis->start;
is((finish_psql($ask))[0], 't|11', 'Redis is back: bid_status() waited for it');
is(bid($id, 110, 11), 't|11', '... and the bid is told again');
is(recorded($id), '001 002 003 004 005 006 007 008 009 010 011', '... each once');

# ---- more ids than are remembered ----

# "accepted, lowest and highest bid_no, different ones"
sub many
{
	my ($auction) = @_;

	return sql(<<"SQL");
SELECT count(*) FILTER (WHERE accepted), min(bid_no), max(bid_no),
	count(DISTINCT bid_no)
FROM auction.place_bids(ARRAY(SELECT
	ROW($auction, 7, n, md5(n::text)::uuid, NULL)::auction.bid_request
	FROM generate_series(1, 20000) n))
SQL
}

my $many = on_redis();
is(many($many), '20000|1|20000|20000', '20,000 bids with ids');
is(many($many), '20000|1|20000|20000', '... are told again');
sql('SELECT auction.pause_drain()');
my $held = on_redis();
is(many($held), '20000|1|20000|20000', 'drain held: 20,000 bids');
is(many($held), '20000|1|20000|20000', '... are told again, from memory');
sql('SELECT auction.resume_drain()');
is(many($held), '20000|1|20000|20000', '... and as they are applied');

# ---- a look that is too old ----

# Calls the function while a bid with that id has been looked for, and is not
# handed over yet: there is no free slot, until the session stands still. Returns
# what that bid is told then.
sub meanwhile
{
	my ($auction, $amount, $n, $function) = @_;
	my $held = stand_still(worker_pid($node, 'postgres', 'router'));
	my $fill = start('SELECT count(*) FROM auction.place_bids(ARRAY(SELECT ROW'
		  . "($many, 7, 1, NULL, NULL)::auction.bid_request"
		  . ' FROM generate_series(1, 64)))');
	wait_waiting($node, 'postgres', 1);
	my $late = start(place($auction, $amount, $n));
	wait_waiting($node, 'postgres', 2);
	my $pid = sql('SELECT pid FROM pg_stat_activity WHERE state = \'active\''
		  . " AND query LIKE '%place_bid($auction,%' AND pid <> pg_backend_pid()");
	stand_still($pid);
	go_on($held);
	is((finish_psql($fill))[0], '64', 'the slots are free again');
	$function->();
	go_on($pid);
	return (finish_psql($late))[0];
}

my $back = on_redis();
is(bid($back, 10, 1), 't|1', 'a bid');
is( meanwhile(
		$back, 20, 2,
		sub {
			sql("SELECT auction.set_route($back, 'table')");
			is(bid($back, 20, 2), 't|2', 'meanwhile on table: accepted');
			sql("SELECT auction.set_route($back, 'redis')");
		}),
	't|2',
	'looked for before it was accepted on table: told again');
is( meanwhile(
		$back, 30, 3,
		sub {
			is(bid($back, 30, 3), 't|3', 'meanwhile on redis: accepted');
			foreach my $from (1, 2)
			{
				sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(SELECT
	ROW($many, 8, 20000 * $from + n, gen_random_uuid(), NULL)::auction.bid_request
	FROM generate_series(1, 20000) n))
SQL
				wait_applied($node, 'postgres');
			}
		}),
	't|3',
	'... and its router has forgotten it since: told again');
is(recorded($back), '001 002 003', '... each once');

# ---- a record that cannot be applied ----

sql('ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 100000)');
my $bad = on_redis();
is(bid($bad, 10, 1), 't|1', 'a bid');
is(bid($bad, 100000, 2), 't|2', '... and one that cannot be applied');
wait_status($node, 'postgres', $bad, 'quarantined');
is(sql('SELECT accepted, reason FROM auction.place_bid'
		  . "($bad, 7, 100000, " . uuid(2) . ')'),
	'f|quarantined', 'a dead letter is not told again as accepted');
is(bid($bad, 10, 1), 't|1', '... what is in the journal is');
is(what($bad, 2, 7), 'f|quarantined', '... bid_status() does not say not_recorded');
is(what($bad, 1, 7), 't|1', '... or that of what is there');
sql('ALTER TABLE auction.journal DROP CONSTRAINT modest');

# ---- many at once, while the auction moves and things break ----

my $moving = on_redis();
sql(<<'SQL');
CREATE TABLE told (auction_id bigint, n bigint, accepted bool, bid_no bigint);
CREATE TABLE failed (code text);
CREATE TABLE enough ();
-- All who call it use the same ids at about the same time, and come back to
-- some that are a little older.
CREATE PROCEDURE bid_along(auction_id bigint) LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	b auction.bid_result;
BEGIN
	WHILE NOT EXISTS (SELECT FROM enough) LOOP
		n := floor(extract(epoch FROM clock_timestamp()) * 100)
			- CASE WHEN random() < 0.5 THEN floor(random() * 100) ELSE 0 END;
		BEGIN
			b := auction.place_bid(auction_id, n % 100,
				coalesce(b.price, 0) + 1 + floor(random() * 5)::bigint,
				md5(n::text)::uuid);
			INSERT INTO told VALUES (auction_id, n, b.accepted, b.bid_no);
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO failed VALUES (SQLSTATE);
		END;
		COMMIT;
	END LOOP;
END $$;
SQL
my @crowd = map { start("CALL bid_along($moving)") } 1 .. 16;

# Until the crowd was told of so many more bids.
sub await_told
{
	my ($more) = @_;
	my $before = sql('SELECT count(*) FROM told WHERE accepted');

	return poll_until($node, 'postgres',
		"SELECT count(*) >= $before + $more FROM told WHERE accepted");
}

foreach my $round (1 .. 6)
{
	await_told(50);
	is(sql("SELECT auction.set_route($moving, 'table')"), 't', "to table, $round");
	await_told(50);
	is(sql("SELECT auction.set_route($moving, 'redis')"), 't', "to redis, $round");
	await_told(50);
	end_router() if $round == 2 || $round == 5;
	$redis->restart if $round == 3;
	end_router() if $round == 3;
}
sql('INSERT INTO enough DEFAULT VALUES');
is((finish_psql($_))[1], '', 'a bidder has ended well') foreach @crowd;
wait_applied($node, 'postgres');
note 'errors: ' . sql('SELECT coalesce(string_agg(code || \' \' || n, \', \'), \'none\')'
	  . ' FROM (SELECT code, count(*) AS n FROM failed GROUP BY 1) f');
note 'repeats: ' . sql('SELECT count(*) - count(DISTINCT n) FROM told WHERE accepted');
is(sql('SELECT count(*) FROM failed'), '0', 'no bid has failed');

# Tests: what the crowd was told is what is there.
sub check_told
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($when) = @_;

	is(sql(<<"SQL"), '0', "$when: each request id is there once at most");
SELECT count(*) FROM (SELECT FROM auction.bids WHERE auction_id = $moving
	GROUP BY user_id, request_id HAVING count(*) > 1) b
SQL
	is(sql(<<"SQL"), '0', "$when: all who were told accepted were told its number");
SELECT count(*) FROM told t LEFT JOIN auction.bids b
	ON b.auction_id = t.auction_id AND b.user_id = n % 100
		AND b.request_id = md5(n::text)::uuid
WHERE accepted AND b.bid_no IS DISTINCT FROM t.bid_no
SQL
	is(sql(<<"SQL"), '0', "$when: bid_status() says what is there");
SELECT count(*) FROM (SELECT DISTINCT n FROM told ORDER BY n LIMIT 500) t
	LEFT JOIN auction.bids b ON b.auction_id = $moving AND b.user_id = n % 100
		AND b.request_id = md5(n::text)::uuid,
	auction.bid_status($moving, md5(n::text)::uuid, n % 100) s
WHERE s.bid_no IS DISTINCT FROM b.bid_no
SQL
	is(sql(<<"SQL"), '0', "$when: repeats are told as before");
SELECT count(*) FROM (SELECT n, min(bid_no) AS bid_no FROM told WHERE accepted
	GROUP BY n ORDER BY n LIMIT 500) t,
	auction.place_bid($moving, n % 100, 1, md5(n::text)::uuid) b
WHERE (b.accepted, b.bid_no) IS DISTINCT FROM (true, t.bid_no)
SQL
	return;
}

check_told('moved and broken');
sql("SELECT auction.set_route($moving, 'table')");
check_told('on table');
sql("SELECT auction.close_auction($moving)");
poll_until($node, 'postgres', 'SELECT consolidated_at IS NOT NULL'
	  . " FROM auction.standings WHERE id = $moving");
check_told('consolidated');
check_journal($node, 'postgres', 'at the end');

done_testing();
