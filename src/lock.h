/*
 * lock.h: the locks of an auction (rules 2 and 3), an increment table, the
 * rollout, and the map of shards.
 *
 * A heavyweight lock in a class of its own beside the advisory locks, so that
 * no SQL can take it by accident.  Exclusive; held to the end of the
 * transaction, or given back at once.
 *   held by   bids on route table, DELETE of the auction and UPDATE of a
 *             deciding column (not INSERT: see trigger.c), retract_bid and
 *             cancel_auction, the steward's closes on route table, verify and
 *             consolidate
 *   tested by the router while it loads the auction, without waiting
 * The drain does not take it: while the committed route is redis it alone
 * writes the state row.  Nobody waits for a router while holding it, but for
 * AUC_REQUEST_RELEASE, whose answer needs no lock.
 */
#ifndef AUC_LOCK_H
#define AUC_LOCK_H

#include "postgres.h"

extern void auc_lock_acquire(int64 auction_id);
extern bool auc_lock_try(int64 auction_id);
extern void auc_lock_release(int64 auction_id); /* what acquire/try took once */
extern bool auc_lock_held(int64 auction_id);	/* by this transaction */
/* Who waits for the lock of any auction of this database; not cheap. */
extern int	auc_lock_waiting(void);

/*
 * Who changes rows of an increment table, to the end of his transaction: that
 * it is a table then depends on all of them.  Names may share a lock.
 */
extern void auc_lock_increments(const char *name);

/*
 * Who changes the rollout, to the end of his transaction.  "wait" false:
 * returns false instead of waiting.
 */
extern bool auc_lock_rollout(bool wait);

/*
 * The map of shards (shard_map.h), to the end of the transaction: exclusively
 * to change it, shared to write by it.  "wait" as above.
 */
extern bool auc_lock_shards(bool exclusive, bool wait);
extern void auc_unlock_shards(void);	/* shared, taken once */

/*
 * Who runs the move of a shard: a lock of the session, which outlives its
 * transactions, until it is given back.  false: another session has it.
 */
extern bool auc_lock_move(int shard);
extern void auc_unlock_move(int shard);

#endif							/* AUC_LOCK_H */
