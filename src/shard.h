/*
 * shard.h: history, the table of consolidated bids, and its partitions.
 */
#ifndef AUC_SHARD_H
#define AUC_SHARD_H

#include "postgres.h"

#include "shard_map.h"

/*
 * Can the caller's transaction consolidate: are all shards here, and none is
 * moving?  If not, the consolidator does it.  Holds the map to the end of the
 * transaction; makes the first shards if there are none.  "wait" false: the
 * answer is no if somebody changes the map just now.
 */
extern bool auc_shard_here(bool wait);
/*
 * Moves the bids of verified auctions from the journal to history, in the
 * current transaction; callers hold the auctions' locks, the auctions are at
 * rest, and auc_shard_here() was true.  Quarantines those whose bids do not
 * arrive as they were.  "ids" keeps the consolidated ones; returns how many.
 */
extern int	auc_shard_consolidate(int n, int64 *ids);

/*
 * Retractions that rows of the auction in local shards lack, as they came there
 * before.  Inside SPI.
 */
extern void auc_shard_correct(const AucShardMap *map, int64 auction_id);

/*
 * The end of that, also for the consolidator: deletes these auctions' bids from
 * the journal, which have to be as many as were copied, and marks them as
 * consolidated.  Inside SPI; ERROR if anything has changed meanwhile.
 */
extern void auc_shard_mark(int n, const int64 *ids, uint64 copied);

#endif							/* AUC_SHARD_H */
