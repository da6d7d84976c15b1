# Answers of Redis that are cut off, late, said twice, changed or missing, at
# every byte; and answers that no Redis gives. Router and Redis speak through a
# proxy (AuctionTest::Proxy).
#
# A step: a fault is set, 64 bids on two lanes are handed over by one call, and
# all of them are accepted, whatever happens to the answer. When both lanes are
# normal again, nobody having done anything, the next step follows. In the end
# each bid is there once, with the bid_no that was told, and log and journal
# agree.
#
# AUCTION_PROXY_ALL=1 (suite "proxy-long") walks over every byte of what is
# said from a new connection to the append; else every byte of the answers to
# the appends is walked over, and the rest in strides.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Proxy;
use Cwd qw(abs_path);
use Digest::SHA qw(sha1_hex);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $all = $ENV{AUCTION_PROXY_ALL};
my $bids = 64;
my $node = new_node('proxy', conf => 'auction.overload_timeout = 60s');
my $redis = start_redis();
my $proxy = AuctionTest::Proxy->new($redis);
my $append = sha1_hex(
	slurp_file(dirname(abs_path(__FILE__)) . '/../../src/lua/append.lua'));
my $reply_len = length("*1\r\n\$2\r\nOK\r\n");

attach($node, 'postgres', $proxy,
	lanes => 2,
	options => "command_timeout '150ms', connect_timeout '400ms'");

sub sql { return $node->safe_psql('postgres', @_); }

# Four auctions a lane; what each step's bidders were told.
sql(<<'SQL');
INSERT INTO auction.auctions (id, seller_id, ends_at, route)
SELECT i, 0, now() + interval '1 day', 'redis' FROM generate_series(1, 64) i;
CREATE TABLE chosen AS SELECT id, row_number() OVER () AS n FROM
	(SELECT id, row_number() OVER (PARTITION BY lane_id) AS of_lane
	 FROM auction.standings) s WHERE of_lane <= 4;
CREATE TABLE told (step int, n int, auction_id bigint, amount bigint,
	accepted bool, bid_no bigint, durability text);
CREATE FUNCTION place(step int, bids int) RETURNS text LANGUAGE sql AS $$
	WITH asked AS (
		SELECT i, id AS auction_id, step * 1000 + i AS amount
		FROM generate_series(1, bids) i JOIN chosen ON n = 1 + i % 8),
	answers AS (
		INSERT INTO told SELECT step, i, auction_id, amount, accepted, bid_no,
			durability
		FROM auction.place_bids(ARRAY(SELECT ROW(auction_id, i, amount, NULL,
				NULL)::auction.bid_request FROM asked ORDER BY i))
			WITH ORDINALITY JOIN asked ON i = ordinality
		RETURNING accepted)
	SELECT count(*) || ' answered, ' || count(*) FILTER (WHERE accepted)
		|| ' accepted' FROM answers
$$;
-- until both lanes are normal and there is a connection
CREATE FUNCTION is_normal() RETURNS bool LANGUAGE sql AS $$
	SELECT bool_and(state = 'normal' AND redis_ready) FROM auction.stat_lanes
$$;
CREATE PROCEDURE wait_normal() LANGUAGE plpgsql AS $$
DECLARE tries int := 0;
BEGIN
	WHILE NOT is_normal() LOOP
		tries := tries + 1;
		IF tries > 60000 THEN
			RAISE 'the lanes do not become normal again';
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$;
SQL
is(sql('SELECT count(*), count(DISTINCT lane_id) FROM chosen'
		  . ' JOIN auction.standings USING (id)'),
	'8|2', 'both lanes have auctions');

my $router = worker_pid($node, 'postgres', 'router');
my $psql = $node->background_psql('postgres', on_error_stop => 0);
$psql->set_query_timer_restart;
my $step = 0;
my $steps_before = 0;
my $fired = 0;
my @problems;

sub place_bids
{
	my ($what) = @_;
	my $told = $psql->query('SELECT place(' . ++$step . ", $bids)");

	push @problems, "$what: $told"
	  if $told ne "$bids answered, $bids accepted";
	return;
}

# Until the next faults have struck. On a busy machine the router's own timeout
# may end the connection before them; then other bids meet them, or, if they are
# for a new connection, the next one.
sub wait_struck
{
	my ($what, $faults) = @_;
	my $tries = 0;

	$fired += $faults;
	until ($proxy->wait_fired($fired, 3))
	{
		die "$what: it does not strike" if ++$tries > 30;
		$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal');
		place_bids("$what, again");
	}
	return;
}

# Places bids and waits until all is well again.
# "reconnects": the router has to give the connection up. "before": how many
# there had been before the fault, if it may strike before the bids.
sub finish_step
{
	my ($what, $faults, $reconnects, $before) = @_;

	$before //= $proxy->stats->{connections};
	place_bids($what);
	wait_struck($what, $faults);
	if ($reconnects)
	{
		poll('the router connects again', sub {
			my $stats = $proxy->stats;
			return $stats->{connections} > $before && $stats->{open} == 1;
		});
	}
	my $out = $psql->query('CALL wait_normal()');
	push @problems, "$what: $out" if $out ne '';
	return;
}

# Test: no step since the last test had a problem.
sub check_steps
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;
	my $n = $step - $steps_before;

	is(join("\n", @problems), '', "$what: $n steps, all bids are accepted");
	@problems = ();
	$steps_before = $step;
	return;
}

# Test: what clients were told is what is there, once, everywhere.
sub check_all
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($what) = @_;

	wait_applied($node, 'postgres');
	is(sql(<<'SQL'), '0|0|0', "$what: each bid is there once, as it was told");
SELECT count(*) FILTER (WHERE j.amount IS NULL OR j.bid_no <> t.bid_no),
	count(*) FILTER (WHERE t.amount IS NULL),
	count(*) - count(DISTINCT (coalesce(t.auction_id, j.auction_id),
		coalesce(t.amount, j.amount)))
FROM told t FULL JOIN auction.journal j
	ON (t.auction_id, t.amount) = (j.auction_id, j.amount)
SQL
	check_journal($node, 'postgres', $what);
	is(check_log($_), '', "$what: log $_ and journal agree") foreach 1, 2;
	return;
}

# What is wrong between a lane's log and the journal; ''.
sub check_log
{
	my ($lane) = @_;
	my %journal = map { /^(\d+)\|(.*)/ ? ($1 => $2) : () } split /\n/,
	  sql("SELECT position, auction_id || ' ' || bid_no || ' ' || user_id || ' '"
		  . " || amount FROM auction.journal JOIN auction.lanes l"
		  . " ON l.id = lane_id WHERE l.lane = $lane");
	my @lines = split /\n/,
	  $redis->cli('XRANGE', "{auction:$lane}:log", '-', '+');
	my ($last, $first);

	while (@lines)
	{
		my $position = shift @lines;
		next if $position =~ /-/;
		my $text = shift @lines;
		my $jump = $text =~ /^(?:jump|skip) (\d+)$/ ? $1 : undef;
		my $from = $jump // $position;

		return "hole before $from" if defined $last && $from != $last + 1;
		$last = $position;
		$first //= $from;
		delete @journal{ $from .. $position } if $jump;
		next if $text !~ /^bid/;
		my $bid = delete $journal{$position};
		return "position $position: $text" if !defined $bid
		  || $text !~ /^bid \Q$bid\E /;
	}
	# what is applied leaves it after auction.log_retention, perhaps all
	my @missing = grep { defined $first && $_ >= $first } keys %journal;
	return @missing ? "not in the log: @missing" : '';
}

# ---- every byte of the answers to two appends ----

my %walks = (
	cut => { reconnects => 1 },
	halt => { reconnects => 1 },
	delay => { words => [ ms => 300 ], reconnects => 1 },
	again => { words => [ len => 5 ] },
	replace => { words => [ with => 'Z' ] });

foreach my $action (sort keys %walks)
{
	my $walk = $walks{$action};

	foreach my $byte (0 .. 2 * $reply_len - 1)
	{
		next if $action eq 'again' && $byte % $reply_len == 0;
		$proxy->fault($action,
			byte => $byte,
			match => $append,
			@{ $walk->{words} // [] });
		finish_step("$action at byte $byte", 1, $walk->{reconnects});
	}
	check_steps("answers to appends, $action");
}
check_all('answers to appends');

# ---- what is said from a new connection to the append ----

# The append was done, its answer was lost: what the log has is compared.
sub lose_answer
{
	my ($what, @words) = @_;

	$proxy->fault('cut', byte => 0, match => $append);
	$proxy->fault(@words) if @words;
	finish_step($what, @words ? 2 : 1, 1);
	return;
}

# The append was not done: it follows when Redis is there again.
sub append_later
{
	my ($what, @words) = @_;

	$proxy->down;
	place_bids($what);
	$proxy->fault(@words) if @words;
	$proxy->up;
	wait_struck($what, 1) if @words;
	$psql->query('CALL wait_normal()');
	return;
}

# A changed byte of the log is another record, which fences the lane; so what is
# compared is not changed here.
foreach my $conversation (
	[ 'compared', \&lose_answer, 'cut', 'delay', 'halt' ],
	[ 'appended', \&append_later, sort keys %walks ])
{
	my ($name, $break, @actions) = @$conversation;

	$break->("$name, not cut");
	my $len = $proxy->stats->{last_bytes};
	my $stride = $all ? 1 : int($len / 20);
	my $n = 0;

	note "$name: $len bytes";
	for (my $byte = 0; $byte < $len - 100; $byte += $stride)
	{
		my $action = $all ? 'cut' : $actions[ $n % @actions ];

		$break->("$name, $action at byte $byte",
			$action, byte => $byte, since => 'connect',
			@{ $walks{$action}->{words} // [] });
		$n++;
	}
	check_steps("conversation, $name");
	check_all("conversation, $name");
}

# ---- commands that do not arrive as a whole ----

foreach my $byte (0, 1, 5, 40, 300, 2000)
{
	my $before = $proxy->stats->{connections};

	$proxy->fault('cut', of => 'commands', byte => $byte);
	finish_step("commands cut at byte $byte", 1, 1, $before);
}
check_steps('commands that are cut');

# ---- errors at every place of the pipeline ----

my @errors = (
	'NOSCRIPT No matching script.', 'NOPERM this user has no permissions',
	'READONLY You can\'t write against a read only replica.',
	'LOADING Redis is loading the dataset in memory',
	'MOVED 3999 127.0.0.1:6381', 'ASK 3999 127.0.0.1:6381',
	'TRYAGAIN Multiple keys request during rehashing of slot',
	'CLUSTERDOWN The cluster is down',
	'NOREPLICAS Not enough good replicas to write.');

my $place = 0;
foreach my $error (@errors)
{
	foreach my $message (1, 2)
	{
		$proxy->fault('replace', message => $message, match => $append,
			with => "-$error\r\n");
		finish_step("$error as answer $message", 1, 1);
	}
	# SELECT, INFO, seven scripts, two lanes that are taken, two logs
	foreach my $message ($all ? (1 .. 13) : (1 + $place++ % 13))
	{
		lose_answer("$error as answer $message of the connection",
			'replace', message => $message, since => 'connect',
			with => "-$error\r\n");
	}
}
check_steps('errors');
check_all('errors');

# ---- answers that no Redis gives ----

my $huge = '9223372036854775807';
my @hostile = (
	[ 'an array beyond memory', "*2147483647\r\n" ],
	[ 'a string beyond memory', "\$$huge\r\n" ],
	[ 'an array without end', "*$huge\r\n" ],
	[ 'arrays in arrays', "*1\r\n" x 100 . ":1\r\n" ],
	[ 'arrays of arrays', "*1048576\r\n" x 20 ],
	[ 'a push', ">3\r\n+message\r\n+a\r\n+b\r\n" ],
	[ 'a map', "%1\r\n+a\r\n+b\r\n" ],
	[ 'a set', "~1\r\n+a\r\n" ],
	[ 'null, boolean, double', "_\r\n#t\r\n,1.5\r\n" ],
	[ 'an error with a line end', "-ERR x\r\n+OK\r\n" ],
	[ 'a reply too many', "*1\r\n\$2\r\nOK\r\n+OK\r\n" ],
	[ 'an integer', ":1\r\n" ],
	[ 'nil', "\$-1\r\n" ],
	[ 'a nil array', "*-1\r\n" ],
	[ 'an empty array', "*0\r\n" ],
	[ 'an array of arrays', "*1\r\n*1\r\n\$2\r\nOK\r\n" ],
	[ 'zero bytes', "\0" x 1000 ],
	[ 'control characters', "-\e[2J\xff%s%n%s\r\n" ],
	[ 'a negative length', "\$-2\r\n" ],
	[ 'a term beyond any number', "*5\r\n\$5\r\nTAKEN\r\n\$19\r\n$huge\r\n"
		  . "\$1\r\n0\r\n\$0\r\n\r\n\$1\r\n0\r\n", 'take' ]);

foreach (@hostile)
{
	my ($name, $said) = @$_;

	$proxy->fault('replace', message => 1, match => $append, with => $said);
	finish_step("$name for an append", 1, 0);
	lose_answer("$name in a new connection",
		'replace', message => 1 + $place++ % 8, since => 'connect',
		with => $said);
}
check_steps('hostile answers');

# ---- answers without end ----

sql("ALTER SERVER redis1 OPTIONS (SET command_timeout '20s',"
	  . " SET connect_timeout '20s')");
$psql->query('CALL wait_normal()');
foreach my $begin ("+", "-ERR ", ":", "*", "\$$huge\r\n", "\$2000000000\r\n",
	"*1000000\r\n\$1000000000\r\n")
{
	$proxy->fault('flood', message => 1, match => $append, with => $begin);
	finish_step('without end: ' . ($begin =~ s/\W+//gr), 1, 1);
}
check_steps('answers without end');

is(worker_pid($node, 'postgres', 'router'), $router,
	'the router has lived through all of it');
my ($most) = slurp_file("/proc/$router/status") =~ /^VmHWM:\s+(\d+) kB/m;
note "the router has used $most kB at most";
# AddressSanitizer keeps what is freed for a while.
cmp_ok($most, '<', ($ENV{AUCTION_SANITIZED} ? 1200 : 400) * 1024,
	'the router has never used much memory');

check_all('in the end');
$psql->quit;
is(sql('SELECT count(*) FROM auction.dead_letters'), '0', 'no dead letters');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|fenced|terminated by signal|Sanitizer|runtime error/,
	'nothing worse than a lost connection');

done_testing();
