# AuctionTest.pm: what the TAP tests share, over PostgreSQL::Test::Cluster.
#
#   my $node = new_node('main');              # preloaded, started, extension
#   my $redis = start_redis();                # unix socket, AOF everysec
#   attach($node, 'postgres', $redis);        # CREATE SERVER, attach_redis
#   my $id = new_auction($node, 'postgres', route => "'redis'");
#   my $load = start_bidders($node, 'postgres', $id, $id, seconds => 3);
#   kill 9, worker_pid($node, 'postgres', 'router');
#   my $told = finish_bidders($load);         # counts and latencies
#   check_answers($node, 'postgres', $load);  # tests
#
# Nothing here sleeps for a time: every wait is for a condition, with
# PostgreSQL::Test::Utils::timeout_default as its limit.
package AuctionTest;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

use AuctionTest::Node;
use AuctionTest::Redis;

our @EXPORT = qw(
  new_node start_redis attach new_auction place_amounts poll poll_until worker_pid
  set_options wait_workers wait_lanes wait_applied wait_status wait_gone
  start_bidders stop_bidders finish_bidders check_answers check_auctions
  check_journal price_sql shown wait_shown sql_error ask restart_killed start_psql
  told_psql finish_psql open_session end_session wait_waiting wait_rest
  stand_still go_on
);

my $test_dir = dirname(dirname(abs_path(__FILE__)));

# A started node with the library preloaded and the extension in "postgres".
#   conf       more configuration
#   preload    0: the library is not preloaded
#   extension  0: no CREATE EXTENSION
#   start      0: only initialised (no extension either)
#   streaming  1: can be backed up and have standbys
sub new_node
{
	my ($name, %opt) = @_;
	my $node = AuctionTest::Node->new($name);

	$node->init(allows_streaming => $opt{streaming} ? 1 : 0);
	my $conf = slurp_file("$test_dir/auction.conf");
	$conf =~ s/^(shared_preload_libraries|auction\.).*\n//mg
	  if defined $opt{preload} && !$opt{preload};
	# Cluster.pm's own settings are for tests that never crash a backend, and
	# its log of every statement would hold thousands of bids.
	$node->append_conf(
		'postgresql.conf', $conf . <<"CONF" . ($opt{conf} // '') . "\n");
restart_after_crash = on
log_statement = none
max_connections = 100
shared_buffers = 64MB
CONF
	return $node if defined $opt{start} && !$opt{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION auction')
	  if !defined $opt{extension} || $opt{extension};
	return $node;
}

# See AuctionTest::Redis for options and methods.
sub start_redis
{
	my $redis = AuctionTest::Redis->new(@_);
	$redis->start;
	return $redis;
}

# Makes the server object and attaches it; waits until its lanes take bids.
#   server   its name (redis1)
#   lanes    how many (1)
#   options  more options, SQL text
#   wait     0: does not wait
sub attach
{
	my ($node, $db, $redis, %opt) = @_;
	my $server = $opt{server} // 'redis1';
	my $lanes = $opt{lanes} // 1;
	my $socket = $redis->socket;
	my $options = defined $opt{options} ? ", $opt{options}" : '';

	$node->safe_psql($db, <<"SQL");
CREATE SERVER $server FOREIGN DATA WRAPPER auction_redis
	OPTIONS (host '$socket'$options);
SELECT auction.attach_redis('$server', $lanes);
SQL
	wait_lanes($node, $db, 'normal')
	  if !defined $opt{wait} || $opt{wait};
	return $server;
}

# Options of redis1 as in ALTER SERVER; returns when the lanes were taken again
# with them.
sub set_options
{
	my ($node, $db, $options) = @_;
	my $before =
	  $node->safe_psql($db, 'SELECT min(term) FROM auction._lane_terms');

	$node->safe_psql($db, "ALTER SERVER redis1 OPTIONS ($options)");
	poll_until($node, $db,
		"SELECT min(term) > $before FROM auction._lane_terms");
	return wait_lanes($node, $db, 'normal');
}

# Values are SQL expressions. Returns the id.
sub new_auction
{
	my ($node, $db, %columns) = @_;

	$columns{seller_id} //= 0;
	$columns{ends_at} //= "now() + interval '1 hour'";
	my @names = sort keys %columns;
	return $node->safe_psql($db,
			'INSERT INTO auction.auctions ('
		  . join(', ', @names)
		  . ') VALUES ('
		  . join(', ', map { $columns{$_} } @names)
		  . ') RETURNING id');
}

# Bids of these amounts in one call; "accepted|reason" of each, a line each.
sub place_amounts
{
	my ($node, $db, $auction, @amounts) = @_;
	my $list = join ',', @amounts;

	return $node->safe_psql($db, <<"SQL");
SELECT r.accepted, r.reason FROM auction.place_bids(ARRAY(
	SELECT ROW($auction, 1 + amount % 7, amount, NULL, NULL)::auction.bid_request
	FROM unnest(ARRAY[$list]) WITH ORDINALITY a (amount, n) ORDER BY n)) r
SQL
}

# Calls the function until it returns something true, which is returned.
sub poll
{
	my ($what, $function) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my $result = $function->();
		return $result if $result;
		usleep(50_000);
	}
	croak "timed out waiting until $what";
}

# Until the query returns this; a server that is away is asked again.
sub poll_until
{
	my ($node, $db, $query, $expected) = @_;

	$expected //= 't';
	my $last = '';
	my $good = $node->asks(
		$db, $query,
		sub {
			my ($asker) = @_;
			return eval {
				poll(
					"query returns it",
					sub {
						my ($out, $err) = $asker->ask($query);
						$last = ($out // '') . $err;
						return defined $out && $out eq $expected;
					});
			};
		});
	croak "timed out: expected \"$expected\", last was \"$last\" for: $query"
	  if !$good;
	return 1;
}

# (exit status, output, error output); never dies.
sub ask
{
	my ($node, $db, $query) = @_;
	my ($out, $err) = ('', '');

	# A psql that finds the server away may end before it has read the query;
	# IPC::Run dies of the broken pipe.
	local $SIG{PIPE} = 'IGNORE';
	my $ret = eval {
		$node->psql(
			$db, $query,
			stdout => \$out,
			stderr => \$err,
			on_error_die => 0,
			on_error_stop => 1);
	};
	return (2, $out, $@) if !defined $ret;
	return ($ret, $out, $err);
}

# SQLSTATE of a statement's error, '' if there was none.
sub sql_error
{
	my ($node, $db, $query) = @_;
	my ($ret, $out, $err) =
	  ask($node, $db, "\\set VERBOSITY sqlstate\n$query");

	return '' if $ret == 0;
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err;
}

# kind: launcher, steward, router, drain. Waits until there is one, and that
# it is another one than "not", if given.
sub worker_pid
{
	my ($node, $db, $kind, %opt) = @_;
	my $database = $kind eq 'launcher' ? '' : "AND datname = '$db'";
	my $other = $opt{not} ? "AND pid <> $opt{not}" : '';
	my $query = <<"SQL";
SELECT pid FROM pg_stat_activity
 WHERE backend_type = 'auction $kind' $database $other
 ORDER BY backend_start DESC LIMIT 1
SQL

	return poll(
		"there is a $kind",
		sub {
			my ($ret, $out, $err) = ask($node, 'postgres', $query);
			return $ret == 0 && $out ne '' ? $out : undef;
		});
}

sub wait_workers
{
	my ($node, $db, @kinds) = @_;

	worker_pid($node, $db, $_) for @kinds;
	return;
}

# Until no worker is left in the database (kind: only of that kind).
sub wait_gone
{
	my ($node, $db, $kind) = @_;
	my $which =
	  defined $kind
	  ? "= 'auction $kind'"
	  : "IN ('auction steward', 'auction router', 'auction drain')";

	return poll_until($node, 'postgres', <<"SQL");
SELECT NOT EXISTS (SELECT FROM pg_stat_activity
 WHERE backend_type $which AND datname = '$db')
SQL
}

# Until all lanes are in this state.
sub wait_lanes
{
	my ($node, $db, $state) = @_;

	return poll_until($node, $db, <<"SQL");
SELECT count(*) > 0 AND bool_and(state = '$state') FROM auction.stat_lanes
SQL
}

# Until everything accepted before this is in the journal.
sub wait_applied
{
	my ($node, $db) = @_;

	return poll_until($node, $db, "SELECT auction.wait_applied('5s')");
}

sub wait_status
{
	my ($node, $db, $auction, $status) = @_;

	return poll_until($node, $db,
		"SELECT status FROM auction.standings WHERE id = $auction", $status);
}

# Builds the program once a test run.
sub bidders_program
{
	my $build = "$PostgreSQL::Test::Utils::tmp_check/load";
	my $program = "$build/bidders";

	system_or_bail('make', '-s', '-C', "$test_dir/load", "BUILD=$build",
		'bidders');
	return $program;
}

my $nloads = 0;

# Bidders on auctions first..last in the background; options are those of
# test/load/bidders.c without the dashes, with _ for -.
sub start_bidders
{
	my ($node, $db, $first, $last, %opt) = @_;
	my $number = ++$nloads;
	my $answers =
	  "$PostgreSQL::Test::Utils::tmp_check/answers_$$.$number";
	my @cmd = (
		bidders_program(), '--connect', $node->connstr($db),
		'--answers', $answers);

	# request ids must not come twice in a test, so the seed may not either
	$opt{seed} //= 1000 * $number;
	note "bidders: seed $opt{seed}";
	foreach my $name (sort keys %opt)
	{
		(my $option = $name) =~ tr/_/-/;
		push @cmd, "--$option", $opt{$name};
	}
	push @cmd, $first, $last;

	my $load = {
		answers => $answers,
		first => $first,
		last => $last,
		out => '',
		err => ''
	};
	$load->{run} =
	  IPC::Run::start(\@cmd, '<', \undef, '>', \$load->{out}, '2>',
		\$load->{err});
	return $load;
}

# Ends the sending now. Returns what finish_bidders() does.
sub stop_bidders
{
	my ($load) = @_;

	$load->{run}->signal('TERM');
	return finish_bidders($load);
}

# Waits for the end; { accepted => .., rejected => .., not_recorded => ..,
# unknown => .., p50_us => .., p99_us => .., longest_gap_us => .. }
sub finish_bidders
{
	my ($load) = @_;

	$load->{run}->finish;
	croak "bidders failed: $load->{err}" if $load->{run}->result(0) != 0;
	my %told = $load->{out} =~ /^(\w+) ([\d.]+)$/mg;
	note join ', ', map { "$_ $told{$_}" } sort keys %told;
	$load->{told} = \%told;
	return \%told;
}

# The visible price in SQL, written from what the README says, not from rules.c.
# It is about columns of these names: kind, start_price, reserve_price,
# buy_now_price; of the bids that stand, one a bidder, his best: top and second,
# the two best amounts (NULL: none), and bought, whether the best one is a
# buy-now; step, the increment over second.
sub price_sql
{
	return <<'SQL';
CASE
	WHEN top IS NULL THEN start_price
	WHEN kind = 'open' THEN least(top, buy_now_price)
	WHEN bought THEN buy_now_price
	ELSE greatest(start_price,
		CASE WHEN second IS NOT NULL THEN least(top, second + step) END,
		CASE WHEN top >= reserve_price THEN reserve_price END)
END
SQL
}

# For WITH. placed: bids as they were placed, for auction.bids hides maxima.
my $placed = <<'SQL';
placed AS (
	SELECT j.* FROM auction.journal j JOIN auction._state s USING (auction_id)
	 WHERE s.consolidated_at IS NULL
	UNION ALL
	SELECT h.* FROM auction.history h JOIN auction._state s USING (auction_id)
	 WHERE s.consolidated_at IS NOT NULL)
SQL

# outcome: what the bids that stand make of each auction. last_id: who placed
# the last of them, which in an open auction has to be the leader.
my $outcome = $placed . <<'SQL' . price_sql() . <<'SQL';
, best AS (
	SELECT DISTINCT ON (auction_id, user_id) auction_id, user_id, amount,
		bid_no, buy_now
	FROM placed WHERE retracted_at IS NULL
	ORDER BY auction_id, user_id, amount DESC, bid_no),
ranked AS (
	SELECT *, row_number() OVER (PARTITION BY auction_id
		ORDER BY amount DESC, bid_no) AS rank FROM best),
two AS (
	SELECT auction_id, max(user_id) FILTER (WHERE rank = 1) AS leader_id,
		max(amount) FILTER (WHERE rank = 1) AS top,
		max(amount) FILTER (WHERE rank = 2) AS second,
		bool_or(buy_now) FILTER (WHERE rank = 1) AS bought
	FROM ranked WHERE rank <= 2 GROUP BY auction_id),
counts AS (
	SELECT auction_id, count(*) AS n, count(retracted_at) AS retracted,
		(array_agg(user_id ORDER BY bid_no DESC)
			FILTER (WHERE retracted_at IS NULL))[1] AS last_id
	FROM placed GROUP BY auction_id),
outcome AS (
	SELECT a.id, kind, leader_id, last_id, coalesce(n, 0) AS n,
		coalesce(retracted, 0) AS retracted,
SQL
	AS price
	FROM auction.auctions a LEFT JOIN two ON two.auction_id = a.id
		LEFT JOIN counts ON counts.auction_id = a.id,
	LATERAL (SELECT coalesce(
		(SELECT t.increment FROM auction.increment_tables t
		  WHERE t.name = a.increment_table AND t.from_price <= second
		  ORDER BY t.from_price DESC LIMIT 1), a.increment) AS step) s)
SQL

# Tests: what was answered is what was recorded, once. Every load whose bids
# went to these auctions must be given. Call it when all is applied.
sub check_answers
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $db, @loads) = @_;

	$node->safe_psql($db, <<"SQL");
DROP TABLE IF EXISTS auction_test_answers;
CREATE TABLE auction_test_answers (auction_id bigint, user_id bigint,
	amount bigint, request_id uuid, outcome text, bid_no bigint, why text);
SQL
	foreach my $load (@loads)
	{
		finish_bidders($load) if !defined $load->{told};
		$node->safe_psql($db,
			"\\copy auction_test_answers FROM '$load->{answers}'");
	}
	my $join = <<"SQL";
WITH $placed
SELECT count(*) FROM auction_test_answers a LEFT JOIN
 (SELECT request_id, count(*) AS n, min(bid_no) AS bid_no,
	min(auction_id) AS auction_id, min(user_id) AS user_id,
	min(amount) AS amount
  FROM placed WHERE request_id IS NOT NULL GROUP BY request_id) b
 USING (request_id)
SQL
	is($node->safe_psql($db, <<"SQL"), '0', 'accepted: recorded once, as said');
$join WHERE outcome = 'accepted' AND (b.n IS NULL OR b.n <> 1 OR
 (a.auction_id, a.user_id, a.amount, a.bid_no)
 IS DISTINCT FROM (b.auction_id, b.user_id, b.amount, b.bid_no))
SQL
	is($node->safe_psql($db,
			"$join WHERE outcome IN ('rejected', 'not_recorded') "
			  . 'AND b.n IS NOT NULL'),
		'0', 'rejected or not recorded: not there');
	is($node->safe_psql($db, "$join WHERE outcome = 'unknown' AND b.n > 1"),
		'0', 'unknown: there once at most');
	foreach my $load (@loads)
	{
		check_auctions($node, $db, $load->{first}, $load->{last});
	}
	return;
}

# Tests: rule 18 and the state, for auctions first..last. In open auctions a
# bid is above all that stood when it was placed.
sub check_auctions
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $db, $first, $last) = @_;
	my $which = "auction_id BETWEEN $first AND $last";

	is($node->safe_psql($db, <<"SQL"), '0', 'bid_no is 1..n, amounts rise');
WITH $placed, numbered AS (
	SELECT p.*, kind, row_number() OVER w AS n,
		lag(placed_at) OVER w AS earlier,
		max(amount) FILTER (WHERE retracted_at IS NULL) OVER (w
			ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
	FROM placed p JOIN auction.auctions a ON a.id = auction_id WHERE $which
	WINDOW w AS (PARTITION BY auction_id ORDER BY bid_no))
SELECT (SELECT count(*) FROM numbered WHERE bid_no <> n OR placed_at < earlier
		OR kind = 'open' AND amount <= before)
	+ (SELECT count(*) FROM
		(SELECT * FROM numbered WHERE retracted_at IS NOT NULL) r
		JOIN numbered b USING (auction_id)
		WHERE r.kind = 'open' AND r.bid_no < b.bid_no
			AND r.retracted_at > b.placed_at AND r.amount >= b.amount)
SQL
	is($node->safe_psql($db, <<"SQL"), '0', 'standings are those of the bids');
WITH $outcome
SELECT count(*) FROM auction.standings s JOIN outcome o USING (id)
WHERE s.id BETWEEN $first AND $last
 AND ((s.bid_count, s.retracted_count, s.price, s.leader_id)
	IS DISTINCT FROM (o.n, o.retracted, o.price, o.leader_id)
  OR o.kind = 'open' AND o.leader_id IS DISTINCT FROM o.last_id)
SQL
	return;
}

# Tests: what holds for all bids of the database at any moment at which
# nothing is under way, whatever has crashed before; of auctions that are
# quarantined it holds in part only.
sub check_journal
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $db, $when) = @_;

	is($node->safe_psql($db, <<"SQL"), '0', "$when: bid_no is 1..n everywhere");
SELECT count(*) FROM
 (SELECT auction_id FROM auction.bids WHERE auction_id NOT IN
	(SELECT auction_id FROM auction._state WHERE status = 'q')
  GROUP BY auction_id
  HAVING (min(bid_no), max(bid_no), count(DISTINCT bid_no))
	IS DISTINCT FROM (1, count(*), count(*))) b
SQL
	is($node->safe_psql($db, <<"SQL"), '0', "$when: no position is there twice");
SELECT count(*) FROM
 (SELECT FROM
	(SELECT lane_id, position FROM auction.journal UNION ALL
	 SELECT lane_id, position FROM auction.history) j
  WHERE lane_id IS NOT NULL
  GROUP BY lane_id, position HAVING count(*) > 1) b
SQL
	is($node->safe_psql($db, <<"SQL"), '0', "$when: a lane's positions go up with bid_no");
SELECT count(*) FROM
 (SELECT position, lag(position) OVER
	(PARTITION BY auction_id ORDER BY bid_no) AS before
  FROM auction.journal WHERE lane_id IS NOT NULL) j
WHERE position <= before
SQL
	is($node->safe_psql($db, <<"SQL"), '0', "$when: count, price, leader, checksum of each state are those of its bids");
WITH $outcome, sums AS (
	SELECT auction_id, bit_xor(auction._bid_checksum(auction_id, bid_no,
		user_id, amount, placed_at, request_id, attributes)) AS checksum
	FROM placed GROUP BY auction_id)
SELECT count(*) FROM auction._state s JOIN outcome o ON o.id = s.auction_id
	LEFT JOIN sums USING (auction_id)
WHERE s.status <> 'q' AND
 ((s.bid_count, s.retracted, s.checksum, s.price, s.leader_id)
	IS DISTINCT FROM
	(o.n, o.retracted, coalesce(sums.checksum, 0), o.price, o.leader_id)
  OR o.kind = 'open' AND o.leader_id IS DISTINCT FROM o.last_id)
SQL
	return;
}

# What Redis shows of an auction: price, leader (if any), number of bids, up to
# which of them its book is whole, number of retracted ones; then the book, each
# bidder with his best amount.
sub shown
{
	my ($redis, $lane, $id) = @_;
	my @state = split /\n/,
	  $redis->cli('HMGET', "{auction:$lane}:auction:$id",
		'price', 'leader', 'bid_count', 'book', 'retracted'), -1;
	my %best = split /\n/,
	  $redis->cli('ZRANGE', "{auction:$lane}:book:$id", '0', '-1',
		'WITHSCORES');

	$state[4] ||= 0;
	return join ' ', grep { $_ ne '' } @state,
	  map { "$_ $best{$_}" } sort { $a <=> $b } keys %best;
}

# Until Redis shows of each auction what its row and its bids are, the book
# whole. Nobody must bid, but an auction may end: what is consolidated is not
# shown any more. A book that was left unfinished when its auction came to rest is
# finished for its next reader, so somebody reads.
sub wait_shown
{
	my ($node, $db, $redis, @ids) = @_;

	foreach my $id (@ids)
	{
		my ($lane, $wanted, $ended);
		my $last = '';
		eval {
			poll(
				"Redis shows it",
				sub {
					$node->safe_psql($db, "SELECT auction.top_bids($id, 1)");
					($lane, $wanted, $ended) = split /\|/,
					  $node->safe_psql($db, to_be_shown($id));
					return !defined $lane || $ended eq 't'
					  || ($last = shown($redis, $lane, $id)) eq $wanted;
				});
		} or croak "Redis does not show auction $id as "
		  . substr($wanted, 0, 200) . ', but as ' . substr($last, 0, 200);
	}
	return 1;
}

# Its lane, what shown() is to return, and whether nothing is shown any more.
sub to_be_shown
{
	my ($id) = @_;

	return <<"SQL";
SELECT l.lane, concat_ws(' ', price, leader_id, bid_count, bid_count,
	retracted_count, (SELECT string_agg(user_id || ' ' || best, ' '
		ORDER BY user_id) FROM
		(SELECT user_id, max(amount) AS best FROM auction.journal
		  WHERE auction_id = s.id AND retracted_at IS NULL GROUP BY 1) b)),
	consolidated_at IS NOT NULL
FROM auction.standings s JOIN auction.lanes l ON l.id = lane_id
WHERE s.id = $id
SQL
}

# Kills the postmaster alone, and starts it again when it is gone and the
# processes it leaves behind have let go of the shared memory.
sub restart_killed
{
	my ($node, $meanwhile) = @_;
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

	$node->kill9;
	poll('the postmaster is gone', sub { return !kill(0, $pid); });
	$meanwhile->() if $meanwhile;
	poll('the server starts', sub { return $node->start(fail_ok => 1); });
	return;
}

# A psql in the background, for statements of which the last one waits.
sub start_psql
{
	my ($node, $db, @statements) = @_;
	my $psql = { out => '', err => '' };

	$psql->{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v',
			'VERBOSITY=verbose', '-d', $node->connstr($db),
			map { ('-c', $_) } @statements
		],
		'<',
		\undef,
		'>',
		\$psql->{out},
		'2>',
		\$psql->{err});
	return $psql;
}

# What it has been told so far.
sub told_psql
{
	my ($psql) = @_;

	$psql->{run}->pump_nb if $psql->{run}->pumpable;
	return $psql->{out};
}

# (output, error output)
sub finish_psql
{
	my ($psql) = @_;

	$psql->{run}->finish;
	chomp $psql->{out};
	return ($psql->{out}, $psql->{err});
}

# A session in which the statements have been run, and that stays.
sub open_session
{
	my ($node, $db, $statements) = @_;
	my $session = { in => "$statements\n\\echo ready\n", out => '', err => '' };

	$session->{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db)
		],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$session->{run}->pump
	  until $session->{out} =~ /^ready$/m || $session->{err} ne '';
	croak $session->{err} if $session->{err} ne '';
	return $session;
}

sub end_session
{
	my ($session, $statement) = @_;

	$session->{in} .= "$statement\n\\q\n";
	$session->{run}->finish;
	croak "$statement: $session->{err}" if $session->{err} ne '';
	return;
}

# Until a process is stopped indeed.
sub stand_still
{
	my ($pid) = @_;

	kill 'STOP', $pid;
	poll('it stands still',
		sub { return slurp_file("/proc/$pid/stat") =~ /\) T /; });
	return $pid;
}

sub go_on { return kill 'CONT', @_; }

# Until the worker has used no processor time for a while: one that turns
# without need never does.
sub wait_rest
{
	my ($node, $db, $kind) = @_;
	my $pid = worker_pid($node, $db, $kind);
	my $ticks = sub {
		my @stat = split / /, slurp_file("/proc/$pid/stat") =~ s/.*\) //sr;
		return $stat[11] + $stat[12];
	};

	return poll("the $kind rests", sub {
		my $before = $ticks->();
		usleep(300_000);
		return $ticks->() == $before;
	});
}

# Until so many sessions wait for an answer to what they have handed over.
sub wait_waiting
{
	my ($node, $db, $n) = @_;

	return poll_until($node, $db, <<"SQL");
SELECT count(*) = $n FROM pg_stat_activity
 WHERE datname = '$db' AND backend_type = 'client backend'
	AND state = 'active' AND wait_event_type = 'Extension'
SQL
}

1;
