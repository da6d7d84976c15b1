/*
 * rollout.h: which auctions the rollout wants on which route.
 *
 * auction._rollout has one row at most; none means that nobody has set a
 * rollout, which is route table for all.  Who changes the row holds the
 * rollout's lock (lock.h) to the end of the transaction, so nobody ever waits
 * for the row itself.  Everybody reads it, below SQL, without a lock.
 *
 * Each change has the next number.  What the mover has done for it is in
 * auction._rollout_progress, which the steward alone writes.
 */
#ifndef AUC_ROLLOUT_H
#define AUC_ROLLOUT_H

#include "postgres.h"

#include "move.h"
#include "rules.h"

/* Printable ASCII, so that all services hash the same bytes. */
#define AUC_ROLLOUT_SALT_MAX	100
#define AUC_ROLLOUT_SALT		"rollout"

typedef struct AucRollout
{
	int64		number;
	int			buckets;		/* auctions in buckets below are in */
	bool		move_live;
	AucMoveWhy	why;			/* of the moves that it makes */
	char		set_by[NAMEDATALEN];
	char		salt[AUC_ROLLOUT_SALT_MAX + 1];
} AucRollout;

/*
 * As it is committed now, whatever the caller's isolation level; false: there
 * is none.  An auction that enters with the route this gives, or is unpinned,
 * takes its transaction id before: see steward_move.c.
 */
extern bool auc_rollout_read(AucRollout *rollout);
extern AucRoute auc_rollout_route(const AucRollout *rollout,
								  int64 auction_id);
/*
 * The route of an auction that enters now and names none: redis only where a
 * router could decide it.
 */
extern AucRoute auc_rollout_route_of_new(int64 auction_id);

/* Is a Redis server attached to this database, and the library preloaded? */
extern bool auc_rollout_possible(void);

/*
 * In this transaction: buckets as given, salt NULL for the one there is; the
 * row of route_log; at commit the steward is woken.  "reason" goes with
 * AUC_MOVE_GUARD, and into the log.  The caller holds the rollout's lock.
 */
extern void auc_rollout_change(int buckets, bool move_live, const char *salt,
							   AucMoveWhy why, const char *reason);
/*
 * Everything that is not pinned to redis back on route table; for roll_back()
 * (AUC_MOVE_ROLL_BACK), which waits for whoever is changing the rollout, and
 * the guard (AUC_MOVE_GUARD), which does not: false, nothing done, try again.
 * Once the guard has fired that is on record until set_rollout().
 */
extern bool auc_rollout_roll_back(AucMoveWhy why, const char *reason);

#endif							/* AUC_ROLLOUT_H */
