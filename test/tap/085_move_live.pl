# Shards move to and fro while 64 clients bid on both routes, auctions close and
# are consolidated, and others read: nobody sees an error. A transaction that
# reads for long makes the move wait, and nobody else. What cannot be moved is
# refused, and nothing is changed by that.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $home = new_node('home', conf => "auction.stop_at = ''");
# Every bidder's session may have a connection there: a bid that comes too late
# is looked up in history by its request id.
my $one = new_shard_node('one', conf => 'max_connections = 120');
my $two = new_shard_node('two', conf => 'max_connections = 120');
my $redis = start_redis();

shard_server($home, $_) foreach ($one, $two);
attach($home, 'postgres', $redis, lanes => 2);

sub sql { return $home->safe_psql('postgres', @_); }

sub fails_with
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($call, $state, $what) = @_;

	return is(sql_error($home, 'postgres', $call), $state, $what);
}

# ---- the load ----

my $nlasting = 20;				# the others end while shards move
my $nauctions = 60;

sql('SELECT auction.create_shards(4)');
sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route, start_price)
SELECT i, 0, now() + interval '1 day',
	CASE i % 2 WHEN 0 THEN 'table' ELSE 'redis' END, 1
FROM generate_series(1, $nauctions) i;
INSERT INTO auction.auctions (id, seller_id, ends_at, route, start_price)
SELECT 1000 + i, 0, now() + interval '1 day', 'table', 1
FROM generate_series(1, 20) i;
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW(1000 + i, n, n, NULL, jsonb_build_object('n', n))
		::auction.bid_request
	FROM generate_series(1, 20) i, generate_series(1, 1000) n ORDER BY n));
SELECT auction.close_auction(1000 + i) FROM generate_series(1, 20) i;
SQL
poll_until($home, 'postgres',
	"SELECT bool_and(status = 'consolidated') FROM auction.standings WHERE id > 1000");

sub show_speed
{
	my ($when, $told) = @_;

	return diag sprintf
	  '64 clients %s: %d bids, p50 %.1f ms, p99 %.1f ms, max %.1f ms, longest gap %.1f ms',
	  $when, $told->{accepted} + $told->{rejected}, map { $told->{$_} / 1000 }
	  qw(p50_us p99_us max_us longest_gap_us);
}

# For comparison: nothing moves.
my $alone = start_bidders($home, 'postgres', 1, $nauctions,
	clients => 64, seconds => 5, think => 40);
show_speed('alone', finish_bidders($alone));

# Those whose auctions end are others: a bid that comes too late is looked up in
# history, perhaps elsewhere.
my $load = start_bidders($home, 'postgres', 1, $nlasting,
	clients => 64, seconds => 300, think => 40);
my $late = start_bidders($home, 'postgres', $nlasting + 1, $nauctions,
	clients => 4, seconds => 300, think => 40);
poll_until($home, 'postgres',
	"SELECT count(*) > 1000 FROM auction.journal");

# A reader who never waits for more than the limit; it says how long it did.
sub reader
{
	return start_psql($home, 'postgres', "SET lock_timeout = '10s'", <<'SQL');
DO $$
DECLARE
	n bigint;
	looks int := 0;
	began timestamptz;
	most interval := '0';
BEGIN
	LOOP
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM pg_tables WHERE tablename = 'readers_end');
		began := clock_timestamp();
		SELECT count(*) INTO n FROM auction.bids WHERE auction_id = 1001 + looks % 20;
		most := greatest(most, clock_timestamp() - began);
		IF n <> 1000 THEN
			RAISE EXCEPTION 'look % saw % bids', looks, n;
		END IF;
		SELECT count(*) INTO n FROM auction.bids
		WHERE user_id = 1 + looks % 1000 AND auction_id > 1000;
		IF n <> 20 THEN
			RAISE EXCEPTION 'look % saw % bids of user %', looks, n, 1 + looks % 1000;
		END IF;
		looks := looks + 1;
	END LOOP;
	RAISE NOTICE 'looked % times, waited % ms at most', looks,
		(extract(epoch FROM most) * 1000)::int;
END $$
SQL
}

sub end_readers
{
	my ($what, @readers) = @_;

	sql('CREATE TABLE readers_end ()');
	foreach my $reader (@readers)
	{
		my (undef, $err) = finish_psql($reader);

		like($err, qr/looked \d+ times/, "$what: who reads sees all bids, and no error");
		diag "$what: reader $1" if $err =~ /(looked .* at most)/;
	}
	sql('DROP TABLE readers_end');
	return;
}

my @readers = (reader(), reader());
my $began = time;
my $closed = $nlasting;
foreach my $move ("move_shard(0, 'one')", "move_shard(1, 'two')",
	"move_shard(0, 'two')", "move_shard(1, NULL)", 'split_shard(2)',
	"move_shard(0, 'one')", 'split_shard(0)', "move_shard(3, 'one')",
	"move_shard(0, NULL)", "move_shard(6, 'two')")
{
	my $psql = start_psql($home, 'postgres', "CALL auction.$move");

	# some auctions end meanwhile
	sql("SELECT auction.close_auction($_)") foreach ($closed + 1 .. $closed + 4);
	$closed += 4;
	my ($out, $err) = finish_psql($psql);
	is($err, '', "$move while all bid");
}
# Two at once.
my @both = map { start_psql($home, 'postgres', "CALL auction.$_") }
  ("move_shard(1, 'one')", "move_shard(2, 'two')");
is((finish_psql($_))[1], '', 'two shards move at once') foreach @both;
diag sprintf 'moves took %.1f s', time - $began;
poll_until($home, 'postgres',
	"SELECT bool_and(status = 'consolidated') FROM auction.standings WHERE id BETWEEN $nlasting + 1 AND $closed");
pass('auctions that ended meanwhile are consolidated');
my $told = stop_bidders($load);
show_speed('while shards move', $told);
my $told_late = stop_bidders($late);
is($told->{$_} + $told_late->{$_}, 0, "no bid: $_")
  foreach qw(not_recorded unknown);
end_readers('moves', @readers);
wait_applied($home, 'postgres');
sql("SELECT auction.close_auction(i) FROM generate_series(1, $nauctions) i");
poll_until($home, 'postgres',
	"SELECT bool_and(status = 'consolidated') FROM auction.standings");
is(sql('SELECT count(*) FROM auction.journal'), '0', 'all is history');
check_answers($home, 'postgres', $alone, $load, $late);
check_journal($home, 'postgres', 'after the moves');
is(sql(<<'SQL'), '0/8 1/4@one 2/8@two 3/4@one 4/8@one 6/8@two', 'where the shards are');
SELECT string_agg(shard || '/' || modulus || coalesce('@' || server, ''), ' '
	ORDER BY shard) FROM auction.shards
SQL

# ---- who reads for long ----

sub wait_phase
{
	my ($shard, $phase) = @_;

	return poll_until($home, 'postgres',
		"SELECT coalesce(phase, 'over') FROM auction.stat_shards WHERE shard = $shard",
		$phase);
}

sub place_of
{
	return sql("SELECT coalesce(server, 'home') FROM auction.shards WHERE shard = $_[0]");
}

# Of a shard.
my $count = 'SELECT count(*) FROM auction.history WHERE auction._shard_hash(user_id)';
my $old = open_session($home, 'postgres', 'BEGIN; SELECT count(*) FROM auction.lanes;');
my $move = start_psql($home, 'postgres', "CALL auction.move_shard(0, 'one')");
wait_phase(0, 'swapping');
@readers = (reader());
my $second = open_session($home, 'postgres', 'BEGIN; SELECT count(*) FROM auction.history;');
is(place_of(0), 'home', 'a transaction from before makes the move wait');
my $holder = sql("SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'
	AND query LIKE '%auction.lanes%'");
poll('the caller is told', sub { told_psql($move); $move->{err} ne '' });
like($move->{err}, qr/^NOTICE:.*shard 0 waits for the transaction of process $holder to end/,
	'... after a while the caller hears for whom it waits');
end_session($old, 'COMMIT;');
# now it is the lock of the second that it waits for
poll_until($home, 'postgres',
	'SELECT count(*) >= 20 FROM auction.bids WHERE user_id = 1') foreach 1 .. 20;
is(place_of(0), 'home', 'a transaction that has read history makes it wait');
is(sql('SELECT moved_by IS NOT NULL FROM auction.stat_shards WHERE shard = 0'), 't', '... it is said who does it');
my $holders = sql("SELECT string_agg(pid::text, '|') FROM pg_stat_activity
	WHERE query ~ 'auction.(history|bids)' AND pid <> pg_backend_pid()");
poll('the caller is told again',
	sub { told_psql($move); $move->{err} =~ /NOTICE.*NOTICE.*DETAIL:.*\n/s });
like($move->{err}, qr/process (?:$holders) to end\nDETAIL: .*"auction.history"/,
	'... the caller hears for whose lock it waits');
end_readers('a long reader', @readers);
end_session($second, 'SELECT count(*) FROM auction.history; COMMIT;');
unlike((finish_psql($move))[1], qr/ERROR|NOTICE.*NOTICE.*NOTICE/s,
	'then it goes on; it was told once for each');
is(place_of(0), 'one', '... and the shard has moved');

# ---- the onlooker rule ----

# It has looked at "two", but at nothing that the swap locks; what is copied
# there later it would not see.
sql("CREATE FOREIGN TABLE look (relname name) SERVER two
	OPTIONS (schema_name 'pg_catalog', table_name 'pg_class')");
my $wanted = sql("$count & 7 = 4");
$old = open_session($home, 'postgres',
	"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM look;");
$move = start_psql($home, 'postgres', "CALL auction.move_shard(4, 'two')");
wait_phase(4, 'swapping');
end_session($old, <<"SQL");
SELECT pg_sleep(0.5);
SELECT 1 / (count(*) = $wanted)::int FROM auction.history WHERE auction._shard_hash(user_id) & 7 = 4;
COMMIT;
SQL
pass('who has an older snapshot of the target server sees all of a shard that moves there');
is((finish_psql($move))[1], '', '... and then it moves');
is(place_of(4), 'two', '... there');

# ---- the rate, and two at a time ----

my $n = sql("$count & 7 = 4");
$began = time;
sql('SET auction.move_rate = ' . int($n / 2) . '; CALL auction.move_shard(4, NULL)');
cmp_ok(time - $began, '>', 1.5, "auction.move_rate: $n bids, half of them in a second");

sql("ALTER SYSTEM SET auction.stop_at = 'move: copied'");
$home->reload;
poll_until($home, 'postgres', 'SHOW auction.stop_at', 'move: copied');
my $from = -s $home->logfile;
$move = start_psql($home, 'postgres', "CALL auction.move_shard(4, 'two')");
poll('it has stopped', sub { return slurp_file($home->logfile, $from) =~ /stopped at/; });
fails_with($_, '55006', "$_: another session is at it") foreach
  "CALL auction.move_shard(4, 'two')", 'CALL auction.split_shard(4)', 'CALL auction.abort_move(4)';
is(sql("SELECT moving, moving_to, phase, moved_by IS NOT NULL, bids_copied, left_over FROM auction.stat_shards WHERE shard = 4"),
	"move|two|copying|t|$n|", 'stat_shards says how far it is');
sql("SELECT pg_cancel_backend(moved_by) FROM auction.stat_shards WHERE shard = 4");
like((finish_psql($move))[1], qr/57014/, 'cancelled');
sql('ALTER SYSTEM RESET auction.stop_at');
$home->reload;
poll_until($home, 'postgres', 'SHOW auction.stop_at', '');
fails_with("CALL auction.move_shard(4, 'one')", '55000', 'a move that is not over, to another server');
fails_with('CALL auction.split_shard(4)', '55000', 'a move that is not over, a split');
sql('CREATE ROLE mover; GRANT USAGE ON SCHEMA auction TO mover;'
	  . ' GRANT EXECUTE ON PROCEDURE auction.abort_move TO mover');
is(sql('SET ROLE mover; CALL auction.abort_move(4)'), '', 'undone, by whoever may call it');

# ---- what is refused ----

sub all_there_is
{
	my $tables = "SELECT relname FROM pg_class WHERE relnamespace = 'auction_shard'::regnamespace ORDER BY 1";

	return join "\n", sql('SELECT * FROM auction.shards ORDER BY shard'),
	  sql('SELECT * FROM auction._shard_moves'),
	  sql("SELECT relname FROM pg_class WHERE relname ~ 'history_'  ORDER BY 1"),
	  map { $_->safe_psql('postgres', $tables) } ($one, $two);
}
my $before = all_there_is();

make_shard_server($home, $two, server => 'fdw');
sql('CREATE ROLE nobody LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor');
fails_with('CALL auction.move_shard(99, \'one\')', '42704', 'no such shard');
fails_with('CALL auction.move_shard(-1, \'one\')', '42704', 'a negative number');
fails_with('CALL auction.move_shard(2147483647, NULL)', '42704', 'the greatest number');
fails_with('CALL auction.split_shard(99)', '42704', 'splits no such shard');
fails_with('CALL auction.move_shard(NULL, \'one\')', '22004', 'NULL is moved');
fails_with('CALL auction.split_shard(NULL)', '22004', 'NULL is split');
fails_with('CALL auction.abort_move(NULL)', '22004', 'NULL is undone');
fails_with('CALL auction.abort_move(0, NULL)', '22004', 'force NULL');
fails_with('CALL auction.abort_move(0)', '55000', 'nothing is to be undone');
fails_with('CALL auction.abort_move(99)', '55000', 'undoes no such shard');
fails_with('CALL auction.move_shard(0, \'one\')', '55000', 'it is there');
fails_with('CALL auction.move_shard(4, NULL)', '55000', 'it is here');
fails_with('CALL auction.move_shard(0, \'nowhere\')', '42704', 'no such server');
fails_with('CALL auction.move_shard(0, \'redis1\')', '55000', 'a server of another kind');
fails_with('CALL auction.move_shard(0, \'fdw\')', '55000', 'a server that was not added');
fails_with("BEGIN;\nCALL auction.move_shard(0, 'two')", '25001', 'in a transaction block');
fails_with("BEGIN;\nCALL auction.split_shard(0)", '25001', 'a split in a transaction block');
fails_with("DO \$\$ BEGIN PERFORM 1; CALL auction.abort_move(0); EXCEPTION WHEN division_by_zero THEN END \$\$",
	'25001', 'in a subtransaction');
fails_with("SET default_transaction_isolation = 'repeatable read';\nCALL auction.move_shard(0, 'two')",
	'55000', 'another isolation level');
foreach my $role (qw(nobody monitor))
{
	fails_with("SET ROLE $role;\nCALL auction.$_", '42501', "$role: $_")
	  foreach 'move_shard(0, \'two\')', 'split_shard(0)', 'abort_move(0)';
}
is(all_there_is(), $before, 'nothing is changed by all that');

# A table with rows in it, that no move accounts for.
$two->safe_psql('postgres', <<'SQL');
CREATE TABLE auction_shard.history_8_4 PARTITION OF auction_shard.history
	FOR VALUES WITH (MODULUS 8, REMAINDER 4);
INSERT INTO auction_shard.history SELECT 1, 1, u, 1, now(), NULL, NULL, false
FROM (SELECT u FROM generate_series(1, 100) u
	WHERE satisfies_hash_partition('auction_shard.history'::regclass, 8, 4, u::bigint) LIMIT 1) x;
SQL
fails_with("CALL auction.move_shard(4, 'two')", '42P07', 'a table with rows is there');
$two->safe_psql('postgres', 'DROP TABLE auction_shard.history_8_4');
$two->stop('fast');
fails_with("CALL auction.move_shard(4, 'two')", '08001', 'the server is away');
$two->start;
sql('DROP USER MAPPING FOR CURRENT_USER SERVER two');
fails_with("CALL auction.move_shard(4, 'two')", '42704', 'there is no user mapping any more');
sql('CREATE USER MAPPING FOR CURRENT_USER SERVER two');
sql('DROP SERVER fdw CASCADE');
is(all_there_is(), $before, 'nothing is changed by that either');
sql("CALL auction.move_shard(4, 'two')");
is(place_of(4), 'two', 'and it can be moved');
is(sql("$count & 7 = 4"), $n, '... with all it had');

done_testing();
