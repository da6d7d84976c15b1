/*
 * bid_place.h: one bid, whatever its route.
 */
#ifndef AUC_BID_PLACE_H
#define AUC_BID_PLACE_H

#include "bid_args.h"
#include "bid_route.h"
#include "bid_slot.h"

/* Decides the bid; errors as in bid_slot.h, and those of route table. */
extern void auc_bid_place(const AucBid *bid, AucBidResult *result);

/*
 * Error context of calls and statements that place several bids: "arg" points
 * to the number of bids (int) that were accepted on route redis so far, which
 * an error does not undo.
 */
extern void auc_bid_context(void *arg);

/* ---- its parts, for bid_list.c, which hands over several at once ---- */

/*
 * One of a call's bids; "has_token": its bidder's rate has admitted it.  The
 * call begins with take_up_cancel and ends with drop_late_cancel.
 */
extern void auc_bid_place_one(const AucBid *bid, AucBidResult *result,
							  bool has_token);
/*
 * A verdict beats a cancel that came with it, which would otherwise end the
 * statement as if nobody had decided.  If the statement has more bids to
 * place, the cancel is for those: the next one takes it up.
 */
extern void auc_bid_drop_late_cancel(const AucBidResult *last);
extern void auc_bid_take_up_cancel(void);
/* ERROR: only this transaction's end would let the router load it (rule 3). */
extern void auc_bid_check_not_mine(int64 auction_id, const AucRouteHint *hint);
/*
 * Rule 16: was it accepted before?  What its router remembers aside.
 * "in_journal": only as far as the journal knows.
 */
extern bool auc_bid_accepted_before(const AucBid *bid, AucHandOver *hand_over,
									bool in_journal, AucBidResult *result);
/* If it was accepted before the auction was over, that may be in history. */
extern void auc_bid_look_behind_end(const AucBid *bid, AucHandOver *hand_over,
									AucBidResult *result);
extern void auc_bid_fill_hand_over(const AucBid *bid, int lane_id, uint64 look,
								   AucHandOver *hand_over);
/* false: moved, or to be looked for again: the bid starts again. */
extern bool auc_bid_take_answer(const AucHandOver *hand_over,
								AucBidResult *result);

#endif							/* AUC_BID_PLACE_H */
