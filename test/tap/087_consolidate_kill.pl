# Consolidation to shards here and on two servers is broken at each point, by
# the end of each who takes part; it goes on by itself. No bid is ever missing
# or there twice.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::ShardKill;
use PostgreSQL::Test::Utils;
use Test::More;

kill_setup(shards => 4);
sql("CALL auction.move_shard(1, 'one')");
sql("CALL auction.move_shard(2, 'two')");

foreach my $point ('sent', 'committed', 'all committed', 'checked', 'marked')
{
	foreach my $victim ('cancel', 'terminate', 'backend', 'home', 'one', 'two',
		$point eq 'sent' || $point eq 'all committed' ? 'one held' : ())
	{
		next if !kill_turn();
		my $what = "$point, $victim";

		new_bids() foreach 1 .. 3;
		kill_at("consolidate: $point", $victim,
			'SELECT auction.close_auction(id) FROM auction.standings'
			  . " WHERE status = 'open'");
		check_bids("$what: then");
		check_whole($what, closed => 1);
		kill_row("consolidation: $point", $victim, 'went on by itself');
	}
}
is(sql('SELECT count(*) FROM auction.stat_shards WHERE error IS NOT NULL'),
	'0', 'no error is left');

done_testing();
