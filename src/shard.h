/*
 * shard.h: history, the table of consolidated bids, and its partitions.
 */
#ifndef AUC_SHARD_H
#define AUC_SHARD_H

#include "postgres.h"

/*
 * Moves the bids of verified auctions from the journal to history, in the
 * current transaction; callers hold the auctions' locks, and the auctions are
 * at rest.  Quarantines those whose bids do not arrive as they were.  "ids"
 * keeps the consolidated ones; returns how many.
 */
extern int	auc_shard_consolidate(int n, int64 *ids);

#endif							/* AUC_SHARD_H */
