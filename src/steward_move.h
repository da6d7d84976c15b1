/*
 * steward_move.h: the steward moves live auctions to the route that their pin
 * or the rollout wants.
 */
#ifndef AUC_STEWARD_MOVE_H
#define AUC_STEWARD_MOVE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "rollout.h"
#include "utils/palloc.h"

/*
 * SQL, for one look at what there is to do: the number of the rollout that is
 * not done with, NULL if there is none.
 */
#define AUC_STEWARD_MOVE_SQL \
	" (SELECT r.number FROM auction._rollout r WHERE r.move_live " \
	"  AND NOT EXISTS (SELECT FROM auction._rollout_progress p " \
	"   WHERE p.number = r.number AND p.done_at IS NOT NULL))"

/*
 * steward_move.c: one page for that rollout, outside a transaction; memory in
 * "context".  Returns whether to go on with the next at once; else lowers
 * *next to when.
 */
extern bool auc_steward_move(MemoryContext context, int64 number,
							 TimestampTz now, TimestampTz *next);

/* ---- steward_move_page.c: moving the auctions of a page ---- */

/*
 * To redis, bids wait from an auction's move to the commit of the page; to
 * table, until the page is applied.
 */
#define AUC_MOVE_TO_REDIS	100
#define AUC_MOVE_TO_TABLE	400

typedef struct AucMoveItem
{
	int64		auction_id;
	int			lane_id;
} AucMoveItem;

typedef struct AucMovePage
{
	AucRollout	rollout;
	int			pass;			/* from 0 */
	int			nto_redis;		/* what is on the wrong route, by id */
	int			nto_table;
	AucMoveItem to_redis[AUC_MOVE_TO_REDIS];
	AucMoveItem to_table[AUC_MOVE_TO_TABLE];
	/* outcome */
	bool		passed_over;	/* some could not be moved now */
	int			nleft;			/* of those to redis: no time; to the front */
	/* not yet in _rollout_progress */
	int			moved;
	int			failed;
} AucMovePage;

/*
 * Outside a transaction.  What moves an auction to redis notes that, too; all
 * else is left in moved and failed.
 */
extern void auc_steward_move_to_redis(AucMovePage *page);
extern void auc_steward_move_to_table(MemoryContext context,
									  AucMovePage *page);
/* In a transaction: progress so far; "done": there is nothing left. */
extern void auc_steward_move_note(AucMovePage *page, bool done);

#endif							/* AUC_STEWARD_MOVE_H */
