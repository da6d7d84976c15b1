/*
 * bid_shadow.h: mirroring bids of route table, in the backend.
 */
#ifndef AUC_BID_SHADOW_H
#define AUC_BID_SHADOW_H

#include "bid_args.h"
#include "datatype/timestamp.h"
#include "store.h"

/* Is the auction in the share that is mirrored?  Then the time, else 0. */
extern TimestampTz auc_shadow_bid_begins(int64 auction_id);
/*
 * The bid was decided at "at", from "before", with the outcome row->state and
 * verdict.  Goes on its way if and when the transaction commits.
 */
extern void auc_shadow_bid_decided(const AucBid *bid, const AucRow *row,
								   const AucState *before,
								   const AucVerdict *verdict,
								   TimestampTz at, TimestampTz began);

#endif							/* AUC_BID_SHADOW_H */
