/*
 * bid_rate.h: auction.user_rate_limit, before a bid goes any way.
 */
#ifndef AUC_BID_RATE_H
#define AUC_BID_RATE_H

#include "postgres.h"

#include "bid_args.h"
#include "settings.h"

/* Takes a token of the bidder's; false: auction.user_rate_limit has none. */
extern bool auc_bid_take_token(const AucBid *bid);
/* ERROR (_RATE_LIMITED) for a bid that got no token; counts it. */
extern void auc_bid_refuse_rate(const AucBid *bid, AucRoute route)
			pg_attribute_noreturn();

static inline bool
auc_bid_rate_admits(const AucBid *bid)
{
	return auc_guc_user_rate_limit == 0 || auc_bid_take_token(bid);
}

#endif							/* AUC_BID_RATE_H */
