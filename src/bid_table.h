/*
 * bid_table.h: a bid on route table.
 */
#ifndef AUC_BID_TABLE_H
#define AUC_BID_TABLE_H

#include "bid_args.h"

/*
 * Decides the bid in the caller's transaction, under the auction's lock.
 * false: the route is another one; nothing was done, the lock was given back.
 */
extern bool auc_table_bid(const AucBid *bid, AucBidResult *result);

/* The least amount that could be accepted now; false: no such auction. */
extern bool auc_table_least(int64 auction_id, const AucVerdict *verdict,
							int64 *least);

#endif							/* AUC_BID_TABLE_H */
