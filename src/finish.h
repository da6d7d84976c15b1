/*
 * finish.h: what becomes of closed auctions: brought to rest, verified,
 * consolidated.  By the steward, or by a call of auction.consolidate().
 */
#ifndef AUC_FINISH_H
#define AUC_FINISH_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "rules.h"

/* A closed or cancelled auction, as a statement saw it. */
typedef struct AucClosed
{
	int64		auction_id;
	int			lane_id;
	bool		on_redis;
	bool		verified;
} AucClosed;

/* Where in the closed auctions, by time of closing, the last page ended. */
typedef struct AucFinishCursor
{
	TimestampTz closed_at;
	int64		auction_id;
} AucFinishCursor;

/* Bids are final: it is to be verified and consolidated. */
static inline bool
auc_finish_is_over(AucStatus status)
{
	return status == AUC_STATUS_CLOSED || status == AUC_STATUS_CANCELLED;
}

/* Bids in one transaction, unless a single auction has more. */
#define AUC_FINISH_MAX_BIDS	50000

/* How many auctions one transaction may lock. */
extern int	auc_finish_max_locks(void);
extern void auc_finish_start(AucFinishCursor *cursor);
/*
 * The next closed auctions, as many as one transaction should take; *last says
 * that none follow now.  "unverified": only those that are not verified.  In a
 * transaction; the result is palloc'd.
 */
extern int	auc_finish_page(AucFinishCursor *cursor, bool unverified,
							AucClosed **auctions, bool *last);
/* The auction; returns its status, 'h' if it is consolidated; '\0' unknown. */
extern char auc_finish_find(int64 auction_id, AucClosed *auction);
/*
 * Takes the locks of those that are free and has routers let theirs go.  The
 * array keeps those that are at rest and still over, locked to the end of
 * the transaction; returns how many.
 */
extern int	auc_finish_rest(int n, AucClosed *auctions);
/*
 * The two steps, for auctions at rest: verifies those that are not verified;
 * consolidates those that are.  Return how many, and keep them in the array.
 */
extern int	auc_finish_verify(int n, AucClosed *auctions);
extern int	auc_finish_consolidate(int n, AucClosed *auctions);

#endif							/* AUC_FINISH_H */
