/*
 * bid_ask.c: single requests to a router, by a session that waits for them.
 *
 * Built on auc_bid_ask(); what is waited for, and how long, is said in
 * bid_slot.h.
 */
#include "postgres.h"

#include "bid_error.h"
#include "bid_slot.h"
#include "errors.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm_lane.h"
#include "utils/timestamp.h"

/* An interrupt is looked for at least so often. */
#define LOOK_MS	1000

/* Until it has another answer than that its router died, or the timeout. */
void
auc_bid_ask_patiently(AucAsk *ask)
{
	TimestampTz until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									auc_guc_overload_timeout);

	do
		auc_bid_ask(1, &ask,
					TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													until));
	while (ask->answer == AUC_ANSWER_RESUBMIT && GetCurrentTimestamp() < until);
}

void
auc_bid_release(int64 auction_id, int lane_id)
{
	AucAsk		ask = {0};

	ask.kind = AUC_REQUEST_RELEASE;
	ask.auction_id = auction_id;
	ask.lane_id = lane_id;
	auc_bid_ask_patiently(&ask);
	if (ask.answer != AUC_ANSWER_RESTING)
		auc_bid_not_done(auction_id, "changed", ask.answer);
}

void
auc_bid_await_applied(int64 auction_id, int lane_id, uint64 position)
{
	int			index;

	while ((index = auc_lane_find(MyDatabaseId, lane_id)) >= 0)
	{
		if (auc_lane_wait_applied(auc_lane(index), position, LOOK_MS))
			return;
		CHECK_FOR_INTERRUPTS();
	}
	ereport(ERROR,
			(errcode(AUC_ERRCODE_NOT_ATTACHED),
			 errmsg("lane %d of auction %lld is no longer served",
					lane_id, (long long) auction_id),
			 errdetail("Position %llu is recorded, but not applied yet.",
					   (unsigned long long) position)));
}
