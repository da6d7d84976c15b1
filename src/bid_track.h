/*
 * bid_track.h: what became of a backend's bids, for auction.stat_routes.
 *
 * The latency of a bid is the time from its beginning in the backend to its
 * verdict, by the monotonic clock.  Route redis: that is all.  Route table: an
 * accepted bid is done only with its transaction, so it is kept here until
 * then (bid_track.c).  Nothing here fails a bid.
 *
 * A bid that got no verdict is an error of its route.  What the application
 * does wrong is none: bad arguments, a refused INSERT (RB001), a bid that would
 * wait for its own transaction (RB008), a bidder that bids too often (RB011,
 * counted apart), a cancel before the bid went any way.
 */
#ifndef AUC_BID_TRACK_H
#define AUC_BID_TRACK_H

#include "postgres.h"

#include "bid_slot.h"
#include "shm_stat.h"

/* Zero while bids are not tracked: then the bid is not counted. */
extern void auc_track_begin(instr_time *began);
/* Microseconds since then; 0 if it is zero. */
extern uint64 auc_track_elapsed(const instr_time *began);

/* Those that were handed over or would have been: with an answer. */
extern void auc_track_hand_over(int n, const AucHandOver *bids);
extern void auc_track_table(const AucVerdict *verdict,
							const instr_time *began);
extern void auc_track_error(AucStatRoute route, AucStatError error);
/* Refused with RB011: no error of the route, which never saw it. */
extern void auc_track_rate_limited(AucStatRoute route);
/* In PG_CATCH: the error that has ended a bid on route table. */
extern void auc_track_table_failed(void);

#endif							/* AUC_BID_TRACK_H */
