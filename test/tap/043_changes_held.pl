# Changes of auctions that others must not notice, or have to notice: a held
# auction, a held drain, a commit that does not wait, a router that ends.

use strict;
use warnings;

use AuctionTest;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing but a commit that asks for it flushes the WAL soon.
my $node = new_node('held', conf => <<'CONF');
wal_writer_delay = 10s
auction.overload_timeout = '60s'
CONF
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);

sub sql { return $node->safe_psql('postgres', @_); }
sub session { return open_session($node, 'postgres', @_); }
sub auction { return new_auction($node, 'postgres', route => "'redis'", @_); }
sub key { return "{auction:1}:auction:$_[0]"; }
sub book_key { return "{auction:1}:book:$_[0]"; }

# Users 1..n bid 10, 20, 30 .. in this order.
sub some_bids
{
	my ($id, $n) = @_;

	sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, i, i * 10, NULL, NULL)::auction.bid_request
	FROM generate_series(1, $n) i ORDER BY i))
SQL
	return wait_applied($node, 'postgres');
}

sub bid
{
	my ($id, $user, $amount) = @_;
	return sql("SELECT accepted, bid_no"
		  . " FROM auction.place_bid($id, $user, $amount)");
}

sub retract_sql
{
	my ($id, $bid_no) = @_;
	return "SELECT price, leader_id FROM auction.retract_bid($id, $bid_no, 'x')";
}

# bid_count, book, retracted of the hash, and the number of users in the book.
sub marks
{
	my ($id) = @_;
	return join ' ', split(/\n/, $redis->cli('HMGET', key($id), 'bid_count',
			'book', 'retracted'), -1), $redis->cli('ZCARD', book_key($id));
}

# Tests: Redis comes to say so.
sub comes_to
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($id, $expected, $what) = @_;

	eval { poll('', sub { return marks($id) eq $expected; }) };
	is(marks($id), $expected, $what);
	return;
}

sub consolidates
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($id, $what) = @_;

	poll_until($node, 'postgres', "SELECT status = 'quarantined' OR"
		  . " consolidated_at IS NOT NULL FROM auction.standings WHERE id = $id");
	is(sql("SELECT status, reason FROM auction.standings WHERE id = $id"),
		'consolidated|', "$what: consolidated");
	check_auctions($node, 'postgres', $id, $id);
	return;
}

# ---- (j) a book that has to wait for the drain keeps no other waiting ----

sub others_are_rebuilt
{
	my @ids = map { auction() } 1 .. 6;
	my $behind = $ids[2];

	some_bids($_, 4) foreach @ids;
	comes_to($_, '4 4  4', 'normal') foreach @ids;
	sql('SELECT auction.pause_drain()');
	is(bid($behind, 9, 45), 't|5', 'a bid that is not applied');
	$redis->cli('DEL', map { book_key($_) } @ids);
	my @asked = map { start_psql($node, 'postgres',
			"SELECT count(*) FROM auction.top_bids($_)") } @ids;
	comes_to($_, '4 4 0 4', 'drain held: written anew')
	  foreach grep { $_ != $behind } @ids;
	isnt(marks($behind), '5 5 0 5', 'the one that is behind is not whole');
	sql('SELECT auction.resume_drain()');
	note 'top_bids: ' . join ' ', map { (finish_psql($_))[0] } @asked;
	comes_to($behind, '5 5 0 5', 'drain goes on: that one, too');
	return;
}

# ---- (i) an open transaction holds up its own auction only ----

sub due_past_a_held_one
{
	my ($end, $winner) = @_;
	my @ids = split /\n/, sql(<<'SQL');
INSERT INTO auction.auctions (seller_id, ends_at, route)
SELECT 0, now() + i * interval '1 ms' + interval '3 s', 'redis'
FROM generate_series(0, 20) i RETURNING id
SQL
	my $others = "id BETWEEN $ids[1] AND $ids[-1]";

	# at once: they end soon
	sql(<<"SQL");
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(a, i, i * 10, NULL, NULL)::auction.bid_request
	FROM generate_series($ids[0], $ids[-1]) a, generate_series(1, 3) i
	ORDER BY a, i))
SQL
	my $session = session('BEGIN; ' . retract_sql($ids[0], 3) . ';');
	poll_until($node, 'postgres', "SELECT string_agg(DISTINCT status, ' ')"
		  . " FROM auction.standings WHERE $others", 'consolidated');
	is( sql("SELECT status, ends_at < now() FROM auction.standings"
			  . " WHERE id = $ids[0]"),
		'open|t', '20 due auctions are done while one is held');
	end_session($session, "$end;");
	consolidates($ids[0], "$end of the held one");
	is(sql("SELECT winner_id FROM auction.standings WHERE id = $ids[0]"),
		$winner, "... which counts: $end");
	return;
}

# ---- (d) the server is killed right after a retraction ----

sub killed_after
{
	my ($with_bid) = @_;
	my $what = $with_bid ? 'killed after retraction and bid' : 'killed';
	my $id = auction();
	my $next = 6;

	some_bids($id, 5);
	sql('SELECT auction.pause_drain()');
	sql('SET synchronous_commit = off; ' . retract_sql($id, 5));
	is(bid($id, 8, 41), 't|' . $next++, "$what: bid") if $with_bid;
	restart_killed($node);
	wait_lanes($node, 'postgres', 'normal');
	wait_applied($node, 'postgres');
	is( sql("SELECT string_agg(bid_no::text, ' ') FROM auction.bids"
			  . " WHERE auction_id = $id AND retracted_at IS NOT NULL"),
		'5', "$what: the retraction is there");
	is(bid($id, 9, 42), "t|$next", "$what: bids go on");
	is(sql("SELECT auction.close_auction($id)"), 't', "$what: closed");
	consolidates($id, $what);
	return;
}

# ---- the server is killed right after a bid was told again ----

sub killed_after_repeat
{
	my $id = new_auction($node, 'postgres', route => "'table'");
	my $place = 'SELECT accepted, bid_no FROM auction.place_bid'
	  . "($id, 7, 10, md5('once')::uuid)";

	is(sql("SET synchronous_commit = off; $place"),
		't|1', 'a bid on table, its commit does not wait');
	is(sql($place), 't|1', '... told again to who waits for commits');
	restart_killed($node);
	is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id"),
		'1', '... and there when the server was killed then');
	wait_lanes($node, 'postgres', 'normal');
	return;
}

# ---- (h) cancelled: what Redis shows, until the keys go ----

sub cancelled
{
	my $id = auction();
	my %seen;

	some_bids($id, 4);
	is(sql("SELECT auction.cancel_auction($id, 'x')"), 't', 'cancelled');
	poll('no note is left', sub {
		return sql("SELECT NOT EXISTS (SELECT FROM auction._refresh"
			  . " WHERE auction_id = $id)") eq 't'; });
	poll('the keys are gone', sub {
		$seen{ $redis->cli('HGET', key($id), 'status') } = 1;
		return $redis->cli('EXISTS', key($id), book_key($id)) eq '0'; });
	ok(!$seen{o}, 'Redis does not show it as open: ' . join '/', sort keys %seen);
	poll_until($node, 'postgres',
		"SELECT consolidated_at IS NOT NULL AND NOT keys_left"
		  . " FROM auction._state WHERE auction_id = $id");
	is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $id"),
		'4', 'its bids can be read');
	is($redis->cli('EXISTS', key($id), book_key($id)), '0', 'the keys stay away');
	return;
}

# ---- (e) the router ends while it writes a big book ----

# Over one connection: a redis-cli for each look would be too slow.
sub wait_rebuilding
{
	my ($id) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $redis->socket) or die "$!";
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		print $socket 'HEXISTS ' . key($id) . " rebuild\r\n";
		$socket->flush;
		return if <$socket> =~ /^:1/;
	}
	die 'no book is being written';
}

sub router_ends_rebuilding
{
	my ($id, $other) = (auction(), auction());

	sql(<<"SQL") foreach 0 .. 9;
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, i % 5000 + 1, $_ * 2000 + i, NULL, NULL)
		::auction.bid_request
	FROM generate_series(1, 2000) i ORDER BY i))
SQL
	wait_applied($node, 'postgres');
	my $router = worker_pid($node, 'postgres', 'router');
	my $users = sql("SELECT count(DISTINCT user_id) FROM auction.bids"
		  . " WHERE auction_id = $id AND bid_no < 20000");
	my $retract = start_psql($node, 'postgres', retract_sql($id, 20000));
	wait_rebuilding($id);
	note 'at the kill: ' . marks($id);
	sql("SELECT pg_terminate_backend($router)");
	finish_psql($retract);
	is(bid($other, 7, $_), "t|$_", 'another auction gets verdicts') foreach 1 .. 20;
	# by itself if the steward's note was still there at the kill
	sql("SELECT count(*) FROM auction.top_bids($id, 1)");
	comes_to($id, "20000 20000 1 $users", 'whole in the end, when it is read');
	return;
}

# Its note is gone by then; the rest of the book waits for the drain.
sub router_ends_noted
{
	my $id = auction();

	some_bids($id, 4);
	sql(retract_sql($id, 4));
	comes_to($id, '4 4 1 3', 'shown');
	poll_until($node, 'postgres', 'SELECT count(*) = 0 FROM auction._refresh');
	sql('SELECT auction.pause_drain()');
	is(bid($id, 9, 45), 't|5', 'not applied');
	$redis->cli('DEL', book_key($id));
	my $read = start_psql($node, 'postgres', "SELECT auction.top_bids($id)");
	wait_rebuilding($id);
	my $router = worker_pid($node, 'postgres', 'router');
	sql("SELECT pg_terminate_backend($router)");
	worker_pid($node, 'postgres', 'router', not => $router);
	sql('SELECT auction.resume_drain()');
	finish_psql($read);
	wait_applied($node, 'postgres');
	# only who loads an auction looks at its book; top_bids does not
	is(bid($id, 8, 46), 't|6', 'a bid loads it');
	comes_to($id, '6 6 1 5', 'whole when it has been loaded again');
	return;
}

# ---- all bids retracted, then a bid ----

sub all_retracted
{
	my $id = auction();

	some_bids($id, 3);
	sql(join ';', map { retract_sql($id, $_) } 1 .. 3);
	comes_to($id, '3 3 3 0', 'all retracted');
	is(bid($id, 9, 3), 't|4', 'then a bid');
	comes_to($id, '4 4 3 1', 'all retracted, a bid: book follows');
	sql("SELECT count(*) FROM auction.top_bids($id, 1)");
	comes_to($id, '4 4 3 1', 'all retracted, a bid, a read: book is whole');
	return;
}

others_are_rebuilt();
due_past_a_held_one(@$_) foreach ([ 'COMMIT', 2 ], [ 'ROLLBACK', 3 ]);
cancelled();
killed_after($_) foreach (0, 1);
killed_after_repeat();
router_ends_rebuilding();
router_ends_noted();
all_retracted();
check_journal($node, 'postgres', 'in the end');
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|fenced/, 'the log');
done_testing();
