# What DBAs do about dead letters: a record that could not be applied is applied
# after all, or given up; either way the auction goes on with bids 1..n, and
# not before its tables agree.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('repair');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);

sub sql { return $node->safe_psql('postgres', @_); }
sub bids { return place_amounts($node, 'postgres', @_); }

sub audit
{
	my ($auction) = @_;

	return sql("SELECT a.place || ': ' || a.item FROM auction.audit($auction) a");
}

sub status
{
	my ($auction) = @_;

	return sql("SELECT status FROM auction.standings WHERE id = $auction");
}

# What of it waits to be shown in Redis again.
sub wait_shown_again
{
	my ($auction) = @_;

	return poll_until($node, 'postgres',
		"SELECT NOT EXISTS (SELECT FROM auction._refresh)"
		  . " AND NOT EXISTS (SELECT FROM auction.audit($auction))");
}

# ids of an auction's dead letters that wait, the earliest first
sub letters
{
	my ($auction) = @_;

	return split /\n/, sql(<<"SQL");
SELECT id FROM auction.dead_letters
WHERE auction_id = $auction AND settled_at IS NULL ORDER BY id
SQL
}

# An auction with bids 10, 20 and the dead letters 2000 .. 2002.
sub quarantined
{
	my $auction = new_auction($node, 'postgres', route => "'redis'");

	sql('ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 1000) NOT VALID');
	bids($auction, 10, 20, 2000, 2001, 2002);
	wait_applied($node, 'postgres');
	sql('ALTER TABLE auction.journal DROP CONSTRAINT modest');
	return $auction;
}

# ---- retried ----

my $id = quarantined();
my @letters = letters($id);
is(scalar @letters, 3, 'three dead letters');
is(audit($id), "dead_letters: records\nstate: status", 'audit names them');
is( sql_error(
		$node, 'postgres', "SELECT auction.retry_dead_letter($letters[1])"),
	'55000',
	'not before the earlier one');
is( sql_error(
		$node, 'postgres', "SELECT auction.lift_quarantine($id, 'x')"),
	'55000',
	'no end of the quarantine while some wait');
sql('ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 1000) NOT VALID');
is( sql_error(
		$node, 'postgres', "SELECT auction.retry_dead_letter($letters[0])"),
	'23514',
	'what was in its way is still there');
sql('ALTER TABLE auction.journal DROP CONSTRAINT modest');
is(scalar letters($id), 3, '... and nothing is changed');
is( sql("BEGIN; SELECT auction.retry_dead_letter($letters[0]); ROLLBACK;"
		  . " SELECT bid_count FROM auction.standings WHERE id = $id"),
	"f\n2",
	'a ROLLBACK undoes it');
is(sql("SELECT auction.retry_dead_letter($letters[0])"),
	'f', 'the first is applied, others wait');
is(status($id), 'quarantined', '... and the auction, too');
is(bids($id, 3000), 'f|quarantined', '... and takes no bids');
is( sql_error(
		$node, 'postgres', "SELECT auction.retry_dead_letter($letters[0])"),
	'55000',
	'settled is settled');
is(sql("SELECT auction.retry_dead_letter($letters[1])"), 'f', 'the second');
is(sql("SELECT auction.retry_dead_letter($letters[2])"),
	't', 'with the last one the quarantine ends');
is( sql("SELECT status, reason, price, bid_count FROM auction.standings"
		  . " WHERE id = $id"),
	'open||2002|5',
	'it is as if all had been applied at once');
wait_shown_again($id);
is(bids($id, 2003), 't|', 'it takes bids');
wait_applied($node, 'postgres');
is(audit($id), '', 'row, bids and Redis agree');
is( sql("SELECT string_agg(what || ' ' || (from_position = to_position), ', '"
		  . " ORDER BY id) FROM auction.repair_log WHERE auction_id = $id"),
	join(', ', ('retry_dead_letter true') x 3),
	'each is in the log of repairs');

# ---- discarded ----

$id = quarantined();
@letters = letters($id);
is(sql("SELECT auction.retry_dead_letter($letters[0])"), 'f', 'one retried');
is(sql("SELECT auction.discard_dead_letter($letters[1], 'told the bidders')"),
	'2', 'the second is discarded, and with it what builds on it');
is(scalar letters($id), 0, 'none waits');
is(status($id), 'quarantined', 'it is still quarantined');
is( sql_error(
		$node, 'postgres',
		"SELECT auction.discard_dead_letter($letters[2], 'x')"),
	'55000',
	'settled is settled');
is( sql("SELECT settled FROM auction.dead_letters WHERE auction_id = $id"
		  . ' ORDER BY id'),
	"applied\ndiscarded\ndiscarded",
	'what became of each stays to be seen');
is(sql("SELECT auction.lift_quarantine($id, 'told the bidders')"),
	't', 'the quarantine is lifted');
is( sql("SELECT status, price, bid_count FROM auction.standings"
		  . " WHERE id = $id"),
	'open|2000|3',
	'it goes on with what it has');
wait_shown_again($id);
is(bids($id, 2001, 2001), "t|\nf|too_low", 'it takes bids');
wait_applied($node, 'postgres');
is(audit($id), '', 'row, bids and Redis agree');
sql("SELECT auction.close_auction($id)");
wait_status($node, 'postgres', $id, 'consolidated');
is(audit($id), '', '... also when it is consolidated');

# ---- a close among them, a move among them ----

$id = new_auction($node, 'postgres', route => "'redis'");
my $moved = new_auction($node, 'postgres', route => "'redis'");
sql('ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 1000) NOT VALID');
sql('SELECT auction.pause_drain()');
bids($id, 10, 2000);
bids($moved, 10, 2000);
my $close = start_psql($node, 'postgres', "SELECT auction.close_auction($id)");
my $move =
  start_psql($node, 'postgres', "SELECT auction.set_route($moved, 'table')");
poll_until($node, 'postgres',
	'SELECT published = confirmed AND published - applied = 6'
	  . ' FROM auction.stat_lanes');
sql('SELECT auction.resume_drain()');
finish_psql($close);
finish_psql($move);
wait_applied($node, 'postgres');
sql('ALTER TABLE auction.journal DROP CONSTRAINT modest');
@letters = letters($id);
is( sql("SELECT auction.retry_dead_letter($letters[0])") . ' '
	  . sql("SELECT auction.retry_dead_letter($letters[1])"),
	'f t',
	'a bid and a close are retried');
wait_status($node, 'postgres', $id, 'consolidated');
is(audit($id), '', 'it is closed, and consolidated');
@letters = letters($moved);
sql("SELECT auction.retry_dead_letter($letters[0])");
is( sql_error(
		$node, 'postgres', "SELECT auction.retry_dead_letter($letters[1])"),
	'55000',
	'a move is not retried');
sql("SELECT auction.discard_dead_letter($letters[1], 'x')");
is(sql("SELECT auction.lift_quarantine($moved, 'x')"),
	't', '... but discarded');
wait_shown_again($moved);
is(sql("SELECT auction.set_route($moved, 'table')"), 't', 'and it can be moved');
is(sql("SELECT accepted, bid_no FROM auction.place_bid($moved, 5, 2100)"),
	't|3', '... and takes bids there');
is(audit($moved), '', 'row and bids agree');

# ---- a cancelled auction stays cancelled ----

$id = new_auction($node, 'postgres', route => "'redis'");
bids($id, 10, 20);
wait_applied($node, 'postgres');
sql(<<"SQL");
BEGIN;
SELECT auction.cancel_auction($id, 'stolen');
UPDATE auction._state SET price = 7 WHERE auction_id = $id;
COMMIT;
SQL
wait_status($node, 'postgres', $id, 'quarantined');
is( sql_error(
		$node, 'postgres', "SELECT auction.lift_quarantine($id, 'x')"),
	'55000',
	'it differs');
sql("UPDATE auction._state SET price = 20 WHERE auction_id = $id");
is(sql("SELECT auction.lift_quarantine($id, 'x')"), 't', 'corrected by hand');
is(status($id), 'cancelled', 'it is cancelled, as it was');
check_journal($node, 'postgres', 'in the end');

done_testing();
