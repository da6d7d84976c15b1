/*
 * retention.h: bids that leave history: auction.history_retention after their
 * auction was consolidated, or when auction.remove_history() says so.
 *
 *   mark    _state.removed_at and a row of _removals, in one transaction; from
 *           its commit on no reader looks for the auction's bids
 *   list    what is marked, and committed; and the onlookers of that moment:
 *           they may still look
 *   remove  when those have ended, some auctions a transaction: from the shard
 *           servers, each in a transaction there, which are committed first;
 *           then from the shards here, together with the rows of _removals
 *
 * A crash leaves marks, which are found in _removals: what is removed twice is
 * removed.  The auctions and their states stay.  Nothing is removed while a
 * shard is being moved, as its copy has to stay like it.
 *
 * By the consolidator, or by the session that calls auction.remove_history().
 */
#ifndef AUC_RETENTION_H
#define AUC_RETENTION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "onlooker.h"
#include "remote.h"

/*
 * A connection to a shard server, as long as the transaction at least.  With
 * InvalidOid: what follows speaks to none; returns NULL.
 */
typedef AucRemote *(*AucRetentionConnect) (Oid serverid);

/* Before when auctions of now are too old; DT_NOBEGIN: none is. */
extern TimestampTz auc_retention_before(TimestampTz now);
/*
 * Marks some that were consolidated before that; returns how many.  Inside a
 * transaction, with the rights of the extension's owner.
 */
extern int	auc_retention_mark(TimestampTz before);

/* What is marked at one moment. */
typedef struct AucRemoval
{
	MemoryContext context;		/* all of it lives there */
	int			n;
	int			next;			/* those before it are removed */
	int64	   *ids;
	int64	   *bids;			/* of each */
	AucOnlookers *onlookers;
} AucRemoval;

/* NULL: nothing is marked.  Inside a transaction and SPI, as above. */
extern AucRemoval *auc_retention_list(MemoryContext parent);
/* Removes some more; returns how many, 0: a shard is being moved.  As above. */
extern int	auc_retention_remove(AucRemoval *removal,
								 AucRetentionConnect connect);

/*
 * A worker's turn: marks, or removes, what is due; true: there is more at once.
 * Outside transactions.  Is called at least every some seconds.
 */
extern bool auc_retention_turn(AucRetentionConnect connect);
/* There is something to be removed, or may be soon. */
extern bool auc_retention_wanted(void);

#endif							/* AUC_RETENTION_H */
