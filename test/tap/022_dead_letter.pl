# A record that PostgreSQL refuses for what it says: it and those of its auction
# that follow become dead letters, the auction is quarantined, who waits for the
# journal is told that the outcome is unknown. All other auctions go on.
#
# The cause is a real one: a DBA adds a check to the journal.

use strict;
use warnings;

use AuctionTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dead');
my $redis = start_redis();
attach($node, 'postgres', $redis, lanes => 1);

sub sql { return $node->safe_psql('postgres', @_); }
sub bids { return place_amounts($node, 'postgres', @_); }

my $bad = new_auction($node, 'postgres', route => "'redis'");
my $good = new_auction($node, 'postgres', route => "'redis'");
my $waiting = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");
my $calm = new_auction($node, 'postgres', route => "'redis'",
	durability => "'journal'");

sub place { return "SELECT accepted FROM auction.place_bid($_[0], 7, $_[1])"; }

sql(<<'SQL');
ALTER TABLE auction.journal ADD CONSTRAINT modest CHECK (amount < 1000)
SQL

# Records of four auctions, good and bad, in one run of the drain.
sql('SELECT auction.pause_drain()');
is(bids($bad, 10, 20, 2000, 30, 2001), "t|\nt|\nt|\nf|too_low\nt|",
	'accepted: the rules know nothing of the check');
bids($good, 1 .. 50);
my $early = start_psql($node, 'postgres', place($waiting, 100));
wait_waiting($node, 'postgres', 1);
my $fatal = start_psql($node, 'postgres', place($waiting, 5000));
wait_waiting($node, 'postgres', 2);
my $depends = start_psql($node, 'postgres',
	"SELECT accepted, reason FROM auction.place_bid($waiting, 7, 200)");
wait_waiting($node, 'postgres', 3);
my $bystander = start_psql($node, 'postgres', place($calm, 100));
wait_waiting($node, 'postgres', 4);
bids($good, 51 .. 100);
sql('SELECT auction.resume_drain()');

# ---- what the waiters hear ----

my ($out, $err) = finish_psql($early);
is($out, 't', 'a bid before the bad one: accepted');
($out, $err) = finish_psql($fatal);
like($err, qr/RB003/, 'the bad one: outcome unknown');
like(
	$err,
	qr/DETAIL:  The bid may have been recorded/,
	'... and the detail says so');
($out, $err) = finish_psql($depends);
is($out, 'f|quarantined', 'a rejection that depends on it: a new reason');
($out, $err) = finish_psql($bystander);
is($out, 't', 'a bid on another auction: accepted');

# ---- what is where ----

wait_applied($node, 'postgres');
is(sql(<<"SQL"), <<"RESULT" =~ s/\n\z//r, 'dead letters: the bad ones and what follows them');
SELECT auction_id, split_part(record, ' ', 5), sqlstate,
	message LIKE '%"modest"%', position > 0
FROM auction.dead_letters ORDER BY position
SQL
$bad|2000|23514|t|t
$bad|2001|55000|f|t
$waiting|5000|23514|t|t
RESULT
is( sql("SELECT string_agg(amount::text, ' ' ORDER BY bid_no)"
		  . " FROM auction.bids WHERE auction_id = $bad"),
	'10 20', 'what came before is in bids');
like(
	sql("SELECT status || ': ' || reason FROM auction.standings WHERE id = $bad"),
	qr/^quarantined: position \d+ could not be applied: .*"modest"/,
	'the auction is quarantined, with the reason');
is( sql("SELECT count(*), max(amount) FROM auction.bids"
		  . " WHERE auction_id = $good"),
	'100|100', 'all bids of the other auction are there');
is( sql('SELECT state, backlog_records, drain_stopped FROM auction.stat_lanes'),
	'normal|0|f', 'the lane goes on');
like(
	slurp_file($node->logfile),
	qr/LOG:  auction $bad is quarantined: position \d+ of lane 1 could not/,
	'the log names it');

# ---- from then on ----

is(bids($bad, 50, 500, 5000),
	join("\n", ('f|quarantined') x 3),
	'its bids are refused');
is( sql_error(
		$node, 'postgres',
		"INSERT INTO auction.bids (auction_id, user_id, amount) "
		  . "VALUES ($bad, 7, 60)"),
	'RB001',
	'... as an error of INSERT');
is(bids($good, 101), 't|', 'the other one takes bids');

foreach my $auction ($good, $calm)
{
	sql("SELECT auction.close_auction($auction)");
	wait_status($node, 'postgres', $auction, 'consolidated');
}
is( sql("SELECT bid_count, verified_at IS NOT NULL FROM auction.standings"
		  . " WHERE id = $good"),
	'101|t', 'others are closed, verified and consolidated');
is(sql("SELECT auction.close_auction($bad)"), 'f', 'it cannot be closed');
is( sql("SELECT status FROM auction.standings WHERE id = $bad"),
	'quarantined', '... and stays quarantined');
is(sql("SELECT count(*) FROM auction.journal WHERE auction_id = $bad"),
	'2', 'it keeps its bids');

# ---- after restarts: the router knows it from the row ----

my $router = worker_pid($node, 'postgres', 'router');
sql("SELECT pg_terminate_backend($router)");
worker_pid($node, 'postgres', 'router', not => $router);
is(bids($bad, 70), 'f|quarantined', 'a new router refuses it');

# After a crash the drain meets the record again only if it was not applied.
my $third = new_auction($node, 'postgres', route => "'redis'");
sql('SELECT auction.pause_drain()');
bids($third, 1, 3000, 3001);
$router = worker_pid($node, 'postgres', 'router');
kill 'KILL', $router;
worker_pid($node, 'postgres', 'router', not => $router);
wait_lanes($node, 'postgres', 'normal');
wait_applied($node, 'postgres');
is( sql("SELECT count(*) FROM auction.dead_letters WHERE auction_id = $third"),
	'2', 'a bad record from the log is a dead letter, too');
is(sql('SELECT count(*) FROM auction.dead_letters'), '5', 'no other is new');
is(bids($third, 10), 'f|quarantined', 'its auction is refused');
is(bids($bad, 80), 'f|quarantined', 'the first one still is');

# ---- an error that is not the record's own stops the lane, and loses nothing ----

my $fourth = new_auction($node, 'postgres', route => "'redis'");
sql('ALTER TABLE auction.journal RENAME TO journal_away');
is(bids($fourth, 1, 2, 3), "t|\nt|\nt|", 'bids go on without a journal');
poll_until($node, 'postgres', 'SELECT drain_stopped FROM auction.stat_lanes');
is(sql('SELECT backlog_records FROM auction.stat_lanes'),
	'3', 'the lane waits, and says so');
sql('ALTER TABLE auction.journal_away RENAME TO journal');
wait_applied($node, 'postgres');
is(sql("SELECT count(*) FROM auction.bids WHERE auction_id = $fourth"),
	'3', 'it goes on when the cause is gone');
is(sql('SELECT drain_stopped FROM auction.stat_lanes'),
	'f', '... and says so');
is(sql('SELECT count(*) FROM auction.dead_letters'), '5', 'no dead letter');
check_journal($node, 'postgres', 'in the end');

done_testing();
