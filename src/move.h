/*
 * move.h: moving an auction from one route to the other.
 *
 * To redis: whoever holds the auction's lock writes the row in his own
 * transaction; at its commit waiting bids find the route changed and go to the
 * router, which loads the row.  To table: the router appends a move record,
 * and the drain writes the row when it applies it (drain_move.c).
 */
#ifndef AUC_MOVE_H
#define AUC_MOVE_H

#include "postgres.h"

#include "bid_slot.h"
#include "datatype/timestamp.h"
#include "store.h"

/* Why; route_log.why has the word. */
typedef enum AucMoveWhy
{
	AUC_MOVE_MANUAL,			/* set_route() */
	AUC_MOVE_PIN,				/* pin_route() */
	AUC_MOVE_ROLLOUT,			/* set_rollout() */
	AUC_MOVE_ROLL_BACK,			/* roll_back() */
	AUC_MOVE_GUARD				/* the guard has rolled back */
} AucMoveWhy;

extern const char *auc_move_why_name(AucMoveWhy why);

/*
 * To redis, in this transaction.  The caller holds the auction's lock and has
 * read "row" under it: route table, status open.  Writes row and route log;
 * "by" is the role that wants it, "began" when it was asked for.  ERROR
 * (AUC_ERRCODE_NOT_ATTACHED) if no server is attached.
 */
extern void auc_move_to_redis(AucStore *store, AucRow *row, AucMoveWhy why,
							  const char *by, TimestampTz began);

/*
 * To table: fills the request to the router.  The move is done when the answer
 * is AUC_ANSWER_VERDICT and the record at "position" is applied.  Others:
 *   MOVED     it is not on route redis any more
 *   MOVING    somebody else moves it: done when "until" is applied
 *   RESTING   it is not open any more, as the row says when "until" is applied
 *   BUSY      its lock is held; only unless "force" is set, which waits
 */
extern void auc_move_ask(AucAsk *ask, int64 auction_id, int lane_id,
						 AucMoveWhy why, const char *by);

/*
 * One row in the route log, inside SPI, of a move that "row" says already
 * (route, moved_at).  "who" is the JSON text of the request and of the move
 * record, {"why": route_log.why, "by": role}.
 */
extern void auc_move_log(const AucRow *row, TimestampTz began,
						 const char *who, size_t who_len);

#endif							/* AUC_MOVE_H */
