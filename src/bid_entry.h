/*
 * bid_entry.h: one bid, whatever its route.
 */
#ifndef AUC_BID_ENTRY_H
#define AUC_BID_ENTRY_H

#include "bid_args.h"

/* Decides the bid; errors as in bid_slot.h, and those of route table. */
extern void auc_bid_place(const AucBid *bid, AucBidResult *result);

/*
 * Error context of calls and statements that place several bids: "arg" points
 * to the number of bids (int) that were accepted on route redis so far, which
 * an error does not undo.
 */
extern void auc_bid_context(void *arg);

#endif							/* AUC_BID_ENTRY_H */
