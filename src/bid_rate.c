/*
 * bid_rate.c: see bid_rate.h.
 */
#include "postgres.h"

#include <math.h>

#include "bid_rate.h"
#include "bid_track.h"
#include "errors.h"
#include "shm_rate.h"

/* As many as come in a second, and at least the one bid. */
static double
burst(void)
{
	return Max(1, auc_guc_user_rate_limit);
}

bool
auc_bid_take_token(const AucBid *bid)
{
	return auc_rate_admits(bid->user_id, auc_guc_user_rate_limit, burst());
}

void
auc_bid_refuse_rate(const AucBid *bid, AucRoute route)
{
	auc_track_rate_limited(route == AUC_ROUTE_REDIS ? AUC_STAT_REDIS :
						   AUC_STAT_TABLE);
	ereport(ERROR,
			(errcode(AUC_ERRCODE_RATE_LIMITED),
			 errmsg("bid on auction %lld is refused: user %lld bids too often",
					(long long) bid->auction_id, (long long) bid->user_id),
			 errdetail(bid->has_request_id ?
					   "This attempt was not recorded, whatever became of an earlier one. A bidder may place %g bids a second (auction.user_rate_limit), and %g at once." :
					   "The bid was not recorded. A bidder may place %g bids a second (auction.user_rate_limit), and %g at once.",
					   auc_guc_user_rate_limit, floor(burst())),
			 errhint("Send it again later.")));
}
