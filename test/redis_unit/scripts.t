#!/usr/bin/perl
#
# What src/lua/*.lua promise (src/redis_script.h), clause by clause, against a
# throw-away Redis on a unix socket.  Prints TAP; LUA_DIR names other scripts.
#
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

my $lua_dir = $ENV{LUA_DIR} || dirname(__FILE__) . '/../../src/lua';
my $dir = tempdir('auction.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $parent = $$;
my ($server, %sha, $redis);

END { stop_redis() if $$ == $parent }
$SIG{INT} = $SIG{TERM} = sub { exit 1 };
$SIG{ALRM} = sub { die "a reply does not come" };
alarm 120;

sub stop_redis
{
	my $status = $?;
	return if !$server;
	kill 'KILL', $server;
	waitpid $server, 0;
	undef $server;
	$? = $status;
}

sub start_redis
{
	$server = fork() // die "fork: $!";
	if ($server == 0)
	{
		open STDOUT, '>', "$dir/log";
		open STDERR, '>&', \*STDOUT;
		exec 'redis-server', '--port', 0, '--unixsocket', "$dir/sock",
		  '--dir', $dir, '--save', '', '--appendonly', 'no'
		  or POSIX::_exit(1);
	}
	for (1 .. 400)
	{
		return if $redis = open_redis();
		sleep 0.025;
	}
	die "redis-server does not start";
}

# --- A client: reply arrays are array references, nil is undef

sub open_redis
{
	return IO::Socket::UNIX->new(Peer => "$dir/sock");
}

sub send_command
{
	my ($socket, @args) = @_;
	print $socket '*', scalar(@args), "\r\n",
	  map { '$' . length($_) . "\r\n$_\r\n" } @args;
	$socket->flush;
}

sub read_reply
{
	my ($socket) = @_;
	my $line = <$socket> // die "Redis is gone";
	$line =~ s/\r\n\z//;
	my ($type, $rest) = (substr($line, 0, 1), substr($line, 1));
	return $rest if $type =~ /[+:]/;
	return "ERROR $rest" if $type eq '-';
	return undef if $rest == -1;
	return [ map { read_reply($socket) } 1 .. $rest ] if $type eq '*';
	my $text = '';
	while (length($text) < $rest + 2)
	{
		read($socket, $text, $rest + 2 - length($text), length($text))
		  or die "Redis is gone";
	}
	return substr($text, 0, $rest);
}

sub redis
{
	send_command($redis, @_);
	return read_reply($redis);
}

sub script
{
	my ($name, $keys, @args) = @_;
	return redis('EVALSHA', $sha{$name}, scalar(@$keys), @$keys, @args);
}

# --- The lane

my ($log, $term) = ('{a:1}:log', '{a:1}:term');
my ($auction, $book) = ('{a:1}:auction:7', '{a:1}:book:7');
my $channel = 'a:auction:7';

sub take
{
	my ($uuid, $instance, $least, %opt) = @_;
	return script('take', [ $log, $term ], $uuid, $instance, $least,
		$opt{place} // "place of $instance", $opt{lease} // 5000,
		$opt{how} // 'first', $opt{seen} // '', $opt{own_last} // 0);
}

sub beat
{
	my ($instance, $in_term, %opt) = @_;
	return script('beat', [$term], $instance, $in_term,
		$opt{lease} // 5000, $opt{released} // 0);
}

# One auction a call: records by position, then what bids there are.
sub append
{
	my ($in_term, $previous, $first, $last, %state) = @_;
	my @pairs = @{ $state{pairs} || [] };
	my @auction = (
		$state{channel} // $channel, $state{price} // 100,
		$state{leader} // 5, $state{count} // 1,
		$state{ends_at} // 1000, $state{status} // 'o',
		$state{first} // 0, $state{loaded} // 0, scalar(@pairs) / 2, @pairs);
	return script('append', [ $log, $term, $auction, $book ],
		$in_term, $previous, $last, $last - $first + 1,
		(map { ($_, "record $_") } $first .. $last), 1, @auction);
}

sub book_of
{
	my ($n, $retracted) = @_;
	return script('book', [ $auction, $book ], $n, $retracted // 0);
}

sub everything
{
	my %all;
	for my $key (sort @{ redis('KEYS', '*') })
	{
		my $type = redis('TYPE', $key);
		$all{$key} =
		    $type eq 'stream' ? [ redis('XINFO', 'STREAM', $key, 'FULL') ]
		  : $type eq 'zset'
		  ? redis('ZRANGE', $key, 0, -1, 'WITHSCORES')
		  : $type eq 'hash' ? { @{ redis('HGETALL', $key) } }
		  :                   $type;
	}
	return \%all;
}

sub hash_of { return { @{ redis('HGETALL', $_[0]) } } }

# The call must leave every key as it was.
sub nothing_changes
{
	my ($name, $call, $expected) = @_;
	my $before = everything();
	my $reply = $call->();
	if (ref $expected eq 'Regexp')
	{
		like($reply, $expected, "$name: refused");
	}
	else
	{
		is_deeply($reply, $expected, "$name: refused");
	}
	is_deeply(everything(), $before, "$name: nothing has changed");
}

start_redis();
for my $file (glob "$lua_dir/*.lua")
{
	my ($name) = $file =~ m{([^/]+)\.lua$};
	open my $in, '<', $file or die "$file: $!";
	my $source = do { local $/; <$in> };
	like($source, qr/\A#!lua( flags=[a-z-]+)?\n/, "$name begins with #!lua");
	$sha{$name} = redis('SCRIPT', 'LOAD', $source);
	like($sha{$name}, qr/^[0-9a-f]{40}$/, "$name loads");
}
is(join(' ', sort keys %sha),
	'append audit beat book mark rebuild remove shadow take',
	'these are all scripts');

# --- take

is_deeply(take('u1', 'i1', 0), [ 'TAKEN', 1, 0, '', 0 ],
	'an empty Redis gives term 1, position 0');
is(redis('XLEN', $log), 0, 'the log is there and empty');
is_deeply(
	hash_of($term),
	{
		uuid => 'u1', term => 1, instance => 'i1', last => 0,
		place => 'place of i1', lease => 5000, beat => 0
	},
	'the term hash holds what was said');
is_deeply(take('u1', 'i1', 0, how => ''), [ 'TAKEN', 2, 0, 'i1', 0 ],
	'taking again raises the term and names the instance before');
is_deeply(take('u1', 'i1', 2), [ 'TAKEN', 3, 0, 'i1', 0 ],
	'the term goes above a least_term that equals it');
is_deeply(take('u1', 'i1', 90), [ 'TAKEN', 91, 0, 'i1', 0 ],
	'and above a higher one');
nothing_changes('another uuid', sub { take('u2', 'i3', 1000) },
	[ 'OTHER', 'u1' ]);
nothing_changes('another uuid, adopted',
	sub { take('u2', 'i3', 1000, how => 'adopt') },
	[ 'OTHER', 'u1' ]);
nothing_changes('a least_term that is no number',
	sub { take('u1', 'i1', 'x') }, qr/^ERROR/);

redis('HSET', $term, 'term', '9007199254740980');
is_deeply(take('u1', 'i1', 0), [ 'TAKEN', '9007199254740981', 0, 'i1', 0 ],
	'a large term stays exact');
redis('DEL', $term);
take('u1', 'i1', 0);
redis('HSET', $term, 'last', 55);
is((take('u1', 'i1', 0))->[2], 0, 'the end of the log is read from the log');
is(redis('HGET', $term, 'last'), 0, 'and noted in the term hash');

# --- take and beat: whose lane it is

my @held = ('i1', 2, 5000, '');
nothing_changes("another instance's", sub { take('u1', 'i2', 0) },
	[ 'HELD', 'u1 i1 2 0 ', @held ]);
is_deeply(beat('i1', 2, lease => 7000), ['OK'], 'the owner beats');
@held = ('i1', 2, 7000, '');
nothing_changes('with a beat since', sub {
		take('u1', 'i2', 0, seen => 'u1 i1 2 0 ') },
	[ 'HELD', 'u1 i1 2 1 ', @held ]);
nothing_changes('a beat of another instance', sub { beat('i2', 2) },
	[ 'OTHER', 'i1', 2 ]);
nothing_changes('a beat of an earlier term', sub { beat('i1', 1) },
	[ 'OTHER', 'i1', 2 ]);
is_deeply(take('u1', 'i2', 0, seen => 'u1 i1 2 1 '),
	[ 'CLAIMED', 'u1 i1 2 1 i2', @held ], 'without one: claimed');
nothing_changes('its owner comes back, and may have lost it',
	sub { take('u1', 'i1', 0, how => '') },
	[ 'HELD', 'u1 i1 2 1 i2', @held ]);
nothing_changes('a third one', sub {
		take('u1', 'i3', 0, seen => 'u1 i1 2 1 ') },
	[ 'HELD', 'u1 i1 2 1 i2', @held ]);
beat('i1', 2);
nothing_changes('a claim behind which there is a beat',
	sub { take('u1', 'i2', 0, seen => 'u1 i1 2 1 i2') },
	[ 'HELD', 'u1 i1 2 2 ', 'i1', 2, 5000, '' ]);
take('u1', 'i2', 0, seen => 'u1 i1 2 2 ');
is_deeply(take('u1', 'i1', 0, how => 'held'), [ 'TAKEN', 3, 0, 'i1', 0 ],
	'the owner whose lease still runs takes it though it is claimed');
is(redis('HEXISTS', $term, 'claim'), 0, 'which voids the claim');
take('u1', 'i2', 0, seen => 'u1 i1 3 0 ');
is_deeply(take('u1', 'i2', 0, seen => 'u1 i1 3 0 i2'),
	[ 'TAKEN', 4, 0, 'i1', 0 ], 'claimed, and still silent: taken');
nothing_changes('the owner before, whose lease ran',
	sub { take('u1', 'i1', 3, how => 'held') },
	[ 'HELD', 'u1 i2 4 0 ', 'i2', 4, 5000, '' ]);
nothing_changes('the owner before, appending', sub { append(3, 0, 1, 1) },
	[ 'TERM', 4 ]);
is_deeply(take('u1', 'i1', 3, place => 'place of i2', how => ''),
	[ 'TAKEN', 5, 0, 'i2', 0 ], 'one that is dead at our own place: taken');
is_deeply(beat('i1', 5, released => 1), ['OK'], 'given back');
nothing_changes('given back, to one that is fenced',
	sub { take('u1', 'i3', 0, how => 'fenced') },
	[ 'HELD', 'u1 i1 5 1 ', 'i1', 5, 5000, '' ]);
is_deeply(take('u1', 'i2', 0, how => ''), [ 'TAKEN', 6, 0, 'i1', 0 ],
	'given back, to any other: taken');
nothing_changes('it is given back once', sub { take('u1', 'i1', 0) },
	[ 'HELD', 'u1 i2 6 0 ', 'i2', 6, 5000, '' ]);
nothing_changes('an empty log has nothing in common',
	sub { take('u1', 'i1', 0, own_last => 9) },
	[ 'HELD', 'u1 i2 6 0 ', 'i2', 6, 5000, '' ]);
is_deeply(take('u1', 'i1', 0, how => 'adopt'), [ 'TAKEN', 7, 0, 'i2', 0 ],
	'adopted: taken though it beats');
append(7, 0, 3, 3);
append(7, 3, 4, 8);
is((take('u1', 'i2', 0, own_last => 6))->[5], 3,
	"what the log has in common: its last entry up to one's own");
is((take('u1', 'i2', 0, own_last => 8))->[5], 8, '... all of it');
redis('HSET', $term, 'uuid', 'u1/7');
nothing_changes('the same lane in another database',
	sub { take('u1/8', 'i1', 0) }, [ 'OTHER', 'u1/7' ]);
is((take('u1/8', 'i2', 0, how => 'adopt'))->[0],
	'TAKEN', '... adopted: taken');
nothing_changes('another uuid, to be discarded: its owner may live',
	sub { take('u2', 'i1', 0, how => 'discard') },
	[ 'HELD', 'u1/8 i2 8 0 ', 'i2', 8, 5000, '' ]);
is_deeply(take('u2', 'i1', 0, how => 'discard', seen => 'u1/8 i2 8 0 '),
	[ 'CLAIMED', 'u1/8 i2 8 0 i1', 'i2', 8, 5000, '' ],
	'... silent for a lease: claimed');
is((take('u2', 'i1', 0, how => 'discard', seen => 'u1/8 i2 8 0 i1'))->[0],
	'TAKEN', '... and for longer: taken');
redis('DEL', $term, $log);
is((take('u2', 'i1', 7, how => 'discard'))->[1], 8, 'cleared: taken');
redis('DEL', $term, $log);
nothing_changes('an empty one, not just attached',
	sub { take('u1', 'i1', 3, how => '') },
	[ 'HELD', '- - 0 0 ', '', 0, 0, '' ]);
is_deeply(take('u1', 'i1', 3, how => '', seen => '- - 0 0 '),
	[ 'TAKEN', 4, 0, '', 0 ], '... which stays empty: taken');
redis('DEL', $term);
is_deeply(take('u1', 'i1', 3, how => 'held'), [ 'TAKEN', 4, 0, '', 0 ],
	'an empty one, our lease still runs: taken');

redis('RENAME', $log, '{a:1}:x');
redis('SET', $log, 'of another type');
nothing_changes('a log of another type', sub { take('u1', 'i1', 0) },
	qr/WRONGTYPE/);
redis('RENAME', '{a:1}:x', $log);

# --- append: refusals

is((take('u1', 'i1', 9))->[1], 10, 'the lane is taken under term 10');
nothing_changes('a lower term', sub { append(9, 0, 1, 1, first => 1) },
	[ 'TERM', 10 ]);
nothing_changes('a higher term', sub { append(11, 0, 1, 1, first => 1) },
	[ 'TERM', 10 ]);
nothing_changes('a gap', sub { append(10, 1, 2, 2, first => 1) },
	[ 'LAST', 0 ]);
is_deeply(append(10, 0, 1, 2, first => 1, count => 2, pairs => [ 100, 5 ]),
	['OK'], 'the right term and position: appended');
nothing_changes('the same again', sub { append(10, 0, 1, 2, first => 1) },
	[ 'LAST', 2 ]);
nothing_changes('an overlap', sub { append(10, 1, 2, 3, first => 1) },
	[ 'LAST', 2 ]);

redis('HSET', $term, 'last', 1);
nothing_changes('a position that the log already has',
	sub { append(10, 1, 2, 2, first => 1) }, qr/^ERROR.*XADD/);
redis('HSET', $term, 'last', 2);

nothing_changes('no records',
	sub { script('append', [ $log, $term ], 10, 2, 3, 0, 0) }, qr/^ERROR/);

redis('RENAME', $log, '{a:1}:x');
nothing_changes('a log that has vanished',
	sub { append(10, 2, 3, 3, first => 3) }, ['GONE']);
is(redis('EXISTS', $log), 0, 'it is not made anew');
redis('RENAME', '{a:1}:x', $log);

redis('RENAME', $term, '{a:1}:x');
nothing_changes('a term that has vanished',
	sub { append(10, 2, 3, 3, first => 3) }, [ 'TERM', '' ]);
redis('RENAME', '{a:1}:x', $term);

# --- mark

sub mark { return script('mark', [$term], @_); }

nothing_changes('mark under a lower term', sub { mark(9, 2) }, [ 'TERM', 10 ]);
nothing_changes('mark under a higher term', sub { mark(11, 2) },
	[ 'TERM', 10 ]);
nothing_changes('mark beyond the log', sub { mark(10, 3) }, [ 'LAST', 2 ]);
is_deeply(mark(10, 1), ['OK'], 'mark before the end of the log');
is_deeply(mark(10, 2), ['OK'], 'mark at its end');
is(redis('HGET', $term, 'marked'), 2, 'it writes the position down');
is(redis('HGET', $term, 'last'), 2, 'and nothing else');
redis('RENAME', $term, '{a:1}:x');
nothing_changes('mark where the lane is not', sub { mark(10, 2) },
	[ 'TERM', '' ]);
redis('RENAME', '{a:1}:x', $term);

# --- append: effects

is_deeply(redis('XRANGE', $log, '-', '+'),
	[ [ '2-0', [ 1, 'record 1', 2, 'record 2' ] ] ],
	'one entry under its last position, one field a record');
is(redis('HGET', $term, 'last'), 2, 'last has moved with it');
is_deeply(
	hash_of($auction),
	{
		price => 100, leader => 5, bid_count => 2, ends_at => 1000,
		status => 'o', book => 2
	},
	'the auction hash');

my $listener = open_redis();
send_command($listener, 'SUBSCRIBE', $channel);
read_reply($listener);
is_deeply(
	append(10, 2, 3, 4, price => 300, leader => 6, count => 4, first => 3,
		ends_at => 2000, pairs => [ 200, 5, 300, 6 ]),
	['OK'], 'a second batch');
is_deeply(read_reply($listener),
	[ 'message', $channel, '300 6 4 2000 o' ], 'the price is published');
is_deeply(redis('ZRANGE', $book, 0, -1, 'WITHSCORES'),
	[ 5, 200, 6, 300 ], 'the book has the best amount of each user');
append(10, 4, 5, 5, count => 5, first => 5, pairs => [ 150, 5 ]);
read_reply($listener);
is(redis('ZSCORE', $book, 5), 200, 'a lower amount does not replace it');
is(redis('HGET', $auction, 'book'), 5, 'the mark moves on without a gap');

append(10, 5, 6, 6, count => 5, first => 0, status => 'c');
is_deeply(read_reply($listener),
	[ 'message', $channel, '100 5 5 1000 c' ], 'a close is published');
is(redis('HGET', $auction, 'book'), 5, 'and leaves the mark alone');
append(10, 6, 7, 7, count => 0, leader => '', first => 0, status => 'c');
is_deeply(read_reply($listener), [ 'message', $channel, '100 - 0 1000 c' ],
	'no leader is published as "-"');
is(redis('HGET', $auction, 'book'), 0, 'no bids: the book is whole');

redis('HSET', $auction, 'book', 5, 'bid_count', 5);
append(10, 7, 8, 8, count => 9, first => 8, pairs => [ 900, 9 ]);
is(redis('HGET', $auction, 'book'), 5, 'a gap before the bids: no mark');
append(10, 8, 9, 9, count => 9, first => 0, status => 'c');
is(redis('HGET', $auction, 'book'), 5, 'a close does not close the gap');
append(10, 9, 10, 10, count => 6, first => 5, pairs => [ 600, 9 ]);
is(redis('HGET', $auction, 'book'), 6, 'bids that come again: a mark');
redis('DEL', $book);
append(10, 10, 11, 11, count => 7, first => 7, pairs => [ 900, 9 ]);
is(redis('HGET', $auction, 'book'), 6, 'a lost sorted set: no mark');
redis('DEL', $auction, $book);
append(10, 11, 12, 12, count => 8, first => 8, pairs => [ 900, 9 ]);
is(redis('HGET', $auction, 'book'), undef, 'a lost hash: no mark');
redis('DEL', $auction, $book);
append(10, 12, 13, 13, count => 2, first => 1, pairs => [ 900, 9 ]);
is(redis('HGET', $auction, 'book'), 2, 'an auction from its first bid on');

# Several auctions a call, the first of which cannot be written.
redis('DEL', $auction, $book);
redis('SET', $book, 'of another type');
my $reply = script('append',
	[ $log, $term, $auction, $book, '{a:1}:auction:8', '{a:1}:book:8' ],
	10, 13, 14, 1, 14, 'record 14', 2,
	$channel, 100, 5, 1, 1000, 'o', 1, 1, 1, 100, 5,
	'a:auction:8', 200, 6, 1, 1000, 'o', 1, 1, 1, 200, 6);
is($reply->[0], 'OK', 'a book of another type: the append stands');
like($reply->[1], qr/WRONGTYPE/, 'and says what failed');
is(redis('HGET', $term, 'last'), 14, 'last has moved');
is(redis('HGET', $auction, 'book'), undef, 'the book is not called whole');
is_deeply(redis('ZRANGE', '{a:1}:book:8', 0, -1, 'WITHSCORES'),
	[ 6, 200 ], 'the other auction is written');
redis('DEL', $auction, $book);

$reply = script('append', [ $log, $term ], 10, 14, 15, 1, 15, 'record 15',
	'x');
$reply = [$reply] if !ref $reply;
is($reply->[0], 'OK', 'broken arguments behind the records: appended');
like($reply->[1], qr/number/, 'and says what failed');

# The largest batch, and records of any bytes.
is_deeply(
	append(10, 15, 16, 1015, count => 1000, first => 1,
		pairs => [ map { (1000 + $_, $_) } 1 .. 1000 ]),
	['OK'], 'a thousand records and bids in one append');
is(scalar @{ redis('XRANGE', $log, '1015-0', '1015-0')->[0][1] }, 2000,
	'they are one entry');
is(redis('ZCARD', $book), 1000, 'and a thousand bidders');
my $bytes = join '', map { chr } 0 .. 255;
script('append', [ $log, $term ], 10, 1015, 1016, 1, 1016, $bytes, 0);
is(redis('XRANGE', $log, '1016-0', '+')->[0][1][1], $bytes,
	'a record of all bytes comes back');
is_deeply(take('u1', 'i1', 0), [ 'TAKEN', 11, 1016, 'i1', 15 ],
	'take says where the log ends, and how long it is');
redis('XTRIM', $log, 'MAXLEN', 0);
is_deeply(take('u1', 'i1', 0), [ 'TAKEN', 12, 1016, 'i1', 0 ],
	'a log trimmed to nothing keeps its end');

# --- Bids that were given up

redis('DEL', $auction, $book);
append(12, 1016, 1017, 1018, count => 2, first => 1, loaded => 1,
	pairs => [ 900, 9, 910, 8 ]);
append(12, 1018, 1019, 1019, count => 3, first => 3, loaded => 1,
	pairs => [ 950, 8 ]);
is(redis('HGET', $auction, 'book'), 3, 'loaded with what the book has: a mark');
append(12, 1019, 1020, 1020, count => 3, first => 3, loaded => 1,
	pairs => [ 940, 7 ]);
is(redis('HGET', $auction, 'book'), undef, 'another third bid: none');
append(12, 1020, 1021, 1021, count => 4, first => 4, pairs => [ 960, 7 ]);
is(redis('HGET', $auction, 'book'), undef, '... nor with the next one');
redis('HSET', $auction, 'book', 4);
append(12, 1021, 1022, 1022, count => 2, first => 1, loaded => 1,
	pairs => [ 10, 1, 20, 2 ]);
is(redis('HGET', $auction, 'book'), 2, 'all are given up: a mark');
is_deeply(redis('ZRANGE', $book, 0, -1, 'WITHSCORES'),
	[ 1, 10, 2, 20 ], '... and a book without them');

# --- Numbers that a double or %.14g would not keep

my $max = '9007199254740991';
redis('DEL', $auction, $book);
redis('XADD', $log, '9007199254740989-0', 'x', 'x');
is((take('u1', 'i1', 0))->[2], '9007199254740989', 'a large position: taken');
is_deeply(
	script('append', [ $log, $term, $auction, $book ], 13,
		'9007199254740989', $max, 2, '9007199254740990', 'a', $max, 'b', 1,
		$channel, $max, $max, $max, $max, 'o', '9007199254740990', 0, 2,
		'9007199254740990', '100000000000000', $max, $max),
	['OK'], 'a large position: appended');
is(redis('XRANGE', $log, "$max-0", '+')->[0][1][2], $max, 'the record');
is(redis('HGET', $term, 'last'), $max, 'last');
is(redis('HGET', $auction, $_), $max, $_)
  for qw(price leader bid_count ends_at);
is_deeply(book_of(10),
	[ 0, $max, $max, $max, $max, $max, '100000000000000', '9007199254740990' ],
	'amounts one apart keep their order in the book');
redis('HSET', $auction, 'book', '9007199254740989');
redis('HSET', $term, 'last', '0');
redis('DEL', $log);
take('u1', 'i1', 0);
append(14, 0, 1, 1, count => $max, first => '9007199254740990',
	pairs => [ $max, 1 ]);
is(redis('HGET', $auction, 'book'), $max, 'the mark joins on');

# --- book

redis('DEL', $auction, $book);
is_deeply(book_of(3), [ 0, 0, 0, '' ], 'an auction that Redis does not know');
append(14, 1, 2, 4, price => 300, leader => 3, count => 3, first => 1,
	pairs => [ 100, 1, 200, 2, 300, 3 ]);
is_deeply(book_of(2), [ 1, 3, 300, 3, 3, 300, 2, 200 ], 'the best two');
is_deeply(book_of(9), [ 1, 3, 300, 3, 3, 300, 2, 200, 1, 100 ],
	'all, if there are fewer');
is_deeply(book_of(0), [ 1, 3, 300, 3 ], 'none');
redis('HSET', $auction, 'book', 2);
is_deeply(book_of(1), [ 0, 3, 300, 3, 3, 300 ],
	'an older mark: not complete');
redis('HSET', $auction, 'book', 3);
is_deeply(book_of(1, 1), [ 0, 3, 300, 3, 3, 300 ],
	'more retracted bids than Redis knows of: not complete');
redis('HSET', $auction, 'retracted', 1);
is_deeply(book_of(1, 1), [ 1, 3, 300, 3, 3, 300 ], 'as many: complete');
is_deeply(book_of(1), [ 0, 3, 300, 3, 3, 300 ], 'fewer: not complete');
redis('HDEL', $auction, 'retracted');
redis('RENAME', $book, '{a:1}:x');
is_deeply(book_of(1), [ 0, 3, 300, 3 ], 'a lost sorted set: not complete');
redis('HSET', $auction, 'retracted', 3);
is_deeply(book_of(1, 3), [ 1, 3, 300, 3 ],
	'none is needed where every bid is retracted');
append(14, 4, 5, 5, price => 50, leader => 9, count => 4, first => 4,
	pairs => [ 50, 9 ]);
is_deeply(book_of(9, 3), [ 1, 4, 50, 9, 9, 50 ],
	'... and the next bid begins a whole one');
redis('HSET', $auction, 'price', 300, 'leader', 3, 'bid_count', 3, 'book', 3);
redis('HDEL', $auction, 'retracted');
redis('RENAME', '{a:1}:x', $book);

# --- rebuild

# The pairs of a chunk, and the state.
sub rebuild
{
	my ($in_term, $stage, $last, $retracted, @pairs) = @_;
	return script('rebuild', [ $term, $auction, $book ], $in_term, $stage,
		$last, scalar(@pairs) / 2, @pairs, $channel, 500, 4, 4, 2000, 'o',
		$retracted);
}

my @keys = ($term, $auction, $book);
nothing_changes('rebuild under another term',
	sub { rebuild(13, 'begin', 1, 0) }, [ 'TERM', 14 ]);
nothing_changes('a later chunk without a first one',
	sub { rebuild(14, 'add', 1, 0, 300, 8) }, ['GONE']);
redis('HSET', $auction, 'book', 4);
is_deeply(rebuild(14, 'begin', 0, 2, 400, 7, 500, 4), ['OK'], 'a first chunk');
is_deeply(book_of(9, 2), [ 0, 4, 500, 4, 4, 500, 7, 400 ],
	'replaces the old book, which is not complete then');
is_deeply(rebuild(14, 'add', 1, 2, 300, 8), ['OK'], 'a last chunk');
is_deeply(book_of(9, 2), [ 1, 4, 500, 4, 4, 500, 7, 400, 8, 300 ],
	'completes it');
is_deeply(
	hash_of($auction),
	{
		price => 500, leader => 4, bid_count => 4, ends_at => 2000,
		status => 'o', book => 4, retracted => 2
	},
	'the state is as given');
nothing_changes('audit: hash, size of the book, its best',
	sub { script('audit', [ $auction, $book ], 2) },
	[ 1, 500, 4, 4, 2000, 'o', 4, 2, 3, 4, 500, 7, 400 ]);
nothing_changes('audit: nothing there',
	sub { script('audit', [ '{a:1}:no', '{a:1}:none' ], 2) },
	[ 0, ('') x 7, 0 ]);
nothing_changes('a chunk behind the last one',
	sub { rebuild(14, 'add', 1, 2, 900, 9) }, ['GONE']);
is_deeply(
	script('rebuild', \@keys, 14, 'begin', 1, 0, $channel, 100, '', 0, 2000, 'o', 0),
	['OK'], 'one chunk without a bid');
is_deeply(book_of(9), [ 1, 0, 100, '' ], 'an empty book');
rebuild(14, 'begin', 0, 0, 500, 4);
append(14, 5, 6, 6, price => 600, leader => 6, count => 5, first => 5,
	pairs => [ 600, 6 ]);
rebuild(14, 'add', 1, 0, 300, 8);
is_deeply(book_of(9), [ 1, 5, 600, 6, 6, 600, 4, 500, 8, 300 ],
	'an append between the chunks is in the book, and not taken back');
redis('HSET', $auction, 'price', 1);
is_deeply(rebuild(14, 'show', 0, 0), ['OK'], 'just shown');
is(redis('HGET', $auction, 'price'), 500, '... the state is there');
is_deeply([ @{ book_of(9) }[ 4 .. 9 ] ], [ 6, 600, 4, 500, 8, 300 ],
	'... the book is as it was');
rebuild(14, 'begin', 0, 0, 500, 4);
redis('HSET', $term, 'term', 15);
nothing_changes('the next router, which has not begun it',
	sub { rebuild(15, 'add', 1, 0, 300, 8) }, ['GONE']);
redis('HSET', $term, 'term', 14);

# --- remove

nothing_changes('remove under another term',
	sub { script('remove', \@keys, 13) }, [ 'TERM', 14 ]);
is_deeply(script('remove', \@keys, 14), ['OK'], 'remove');
is(redis('EXISTS', $auction, $book), 0, 'both keys are gone');
is_deeply(script('remove', \@keys, 14), ['OK'], 'remove what is not there');

# --- shadow

my ($shadow, $shadow_book) = ('{a:1}:shadow:7', '{a:1}:shadowbook:7');
my $shadow_log = '{a:1}:shadowlog';

# One auction a call; pairs: (amount user)...; a record for each pair.
sub shadow
{
	my ($in_term, $fresh, %state) = @_;
	my @pairs = @{ $state{pairs} };
	my $n = @pairs / 2;
	return script('shadow', [ $term, $shadow_log, $shadow, $shadow_book ],
		$in_term, 100, 50, $state{members} // 10, $n,
		(map { ($state{count} - $n + $_, "record $_") } 1 .. $n),
		1, $fresh, $state{price}, $state{leader}, $state{count}, 1000, 'o',
		$n, @pairs);
}

my $log_before = redis('XLEN', $log);
nothing_changes('shadow under another term',
	sub { shadow(13, 1, price => 1, leader => 1, count => 1, pairs => [ 1, 1 ]) },
	[ 'TERM', 14 ]);
is_deeply(
	shadow(14, 1, price => 100, leader => 5, count => 3, pairs => [ 100, 5 ]),
	[ 'OK', 0, '', '', '', '', '' ], 'shadow: there was nothing');
is_deeply(
	shadow(14, 0, price => 300, leader => 6, count => 5,
		pairs => [ 200, 5, 300, 6 ]),
	[ 'OK', 1, 100, 5, 3, 1000, 'o' ], 'what there was before');
is_deeply(hash_of($shadow),
	{ price => 300, leader => 6, bid_count => 5, ends_at => 1000,
		status => 'o' }, 'the hash is the last state');
is_deeply(redis('ZRANGE', $shadow_book, 0, -1, 'WITHSCORES'),
	[ 5, 200, 6, 300 ], 'the book has each best bid');
is(redis('XLEN', $shadow_log), 2, 'an entry a call in a log of its own');
is_deeply((redis('XREVRANGE', $shadow_log, '+', '-', 'COUNT', 1))->[0][1],
	[ 4, 'record 1', 5, 'record 2' ], '... with its records');
is(redis('XLEN', $log), $log_before, 'nothing in the log');
ok(redis('TTL', $_) > 90, "$_ expires")
  for $shadow, $shadow_book, $shadow_log;
redis('DEL', $shadow_book);
is_deeply(
	shadow(14, 1, price => 900, leader => 9, count => 9, members => 2,
		pairs => [ 700, 7, 800, 8, 900, 9 ]),
	[ 'OK', 0, 300, 6, 5, 1000, 'o' ], 'the book was gone');
is_deeply(redis('ZRANGE', $shadow_book, 0, -1), [ 8, 9 ],
	'a fresh book, no larger than said: the best stay');
shadow(14, 0, price => 1, leader => 1, count => 1, pairs => [ 1, $_ ])
  for 1 .. 400;
ok(redis('XLEN', $shadow_log) < 300, 'the log is bounded');
redis('DEL', $shadow, $shadow_book, $shadow_log);

# --- Out of memory, a read-only script, a restart

append(14, 6, 7, 7, count => 1, first => 1, pairs => [ 100, 1 ]);
my $small = redis('CONFIG', 'GET', 'maxmemory')->[1];
redis('CONFIG', 'SET', 'maxmemory', 1);
nothing_changes('append without memory',
	sub { append(14, 7, 8, 8, count => 2, first => 2) }, qr/OOM/);
nothing_changes('shadow without memory',
	sub { shadow(14, 1, price => 1, leader => 1, count => 1, pairs => [ 1, 1 ]) },
	qr/OOM/);
nothing_changes('take without memory', sub { take('u1', 'i1', 0) }, qr/OOM/);
nothing_changes('rebuild without memory',
	sub { rebuild(14, 'begin', 1, 0) }, qr/OOM/);
is_deeply(book_of(1), [ 1, 1, 100, 5, 1, 100 ],
	'book without memory: reads');
is_deeply(script('remove', \@keys, 14), ['OK'],
	'remove without memory: frees some');
redis('CONFIG', 'SET', 'maxmemory', $small);
is_deeply(append(14, 7, 8, 8, count => 1, first => 1), ['OK'],
	'with memory again: appended');

redis('SCRIPT', 'FLUSH');
like(append(14, 8, 9, 9), qr/^ERROR NOSCRIPT/, 'scripts can be lost');

done_testing();
