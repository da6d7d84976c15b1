# A shard on a server of a later major version, if one is installed here:
# consolidated to, moved there and back, split, read, and compared.
# AUCTION_SHARD_INSTALL names another directory whose bin is taken.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use PostgreSQL::Test::Utils;
use Test::More;

my ($ours) = qx(pg_config --version) =~ /(\d+)/;
my ($install) = $ENV{AUCTION_SHARD_INSTALL} // (
	sort { $b cmp $a }
	grep { m{/(\d+)$} && $1 > $ours && -x "$_/bin/initdb" && -x "$_/bin/pg_config" }
	  glob '/usr/lib/postgresql/*');
plan skip_all => "no PostgreSQL later than $ours is installed" if !$install;
note "shards on the PostgreSQL of $install";

my $home = new_node('home');
my $later = new_shard_node('later', install => $install);
shard_server($home, $later);

sub sql { return $home->safe_psql('postgres', @_); }

my $content = 'SELECT count(*), bit_xor(hash_record_extended(ROW(b.*), 0)) FROM auction.bids b';
my $id = 0;

sub fill
{
	$id++;
	sql(<<"SQL");
INSERT INTO auction.auctions (id, seller_id, ends_at, route, start_price)
VALUES ($id, 0, now() + interval '1 day', 'table', 100);
SELECT count(*) FROM auction.place_bids(ARRAY(
	SELECT ROW($id, n, 100 + n, gen_random_uuid(), jsonb_build_object('ü', n / 3.0))
		::auction.bid_request FROM generate_series(1, 400) n ORDER BY n));
SQL
	my $before = sql($content);
	sql("SELECT auction.close_auction($id)");
	wait_status($home, 'postgres', $id, 'consolidated');
	is(sql($content), $before, "auction $id: bids are as before");
	return $before;
}

sql('SELECT auction.create_shards(4)');
fill();
sql("CALL auction.move_shard($_, 'later')") foreach 0 .. 2;
my $before = fill();
cmp_ok($later->safe_psql('postgres', 'SELECT count(*) FROM auction_shard.history'),
	'>', 400, 'bids are there');
sql('CALL auction.split_shard(0); CALL auction.move_shard(0, NULL);');
is(sql($content), $before, 'after a split and a move back bids are as before');
fill();
is(sql('SELECT count(*) FROM auction._shard_moves'), '0', 'nothing is left over');

done_testing();
