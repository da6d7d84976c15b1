/*
 * rest.c: see rest.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "bid_slot.h"
#include "errors.h"
#include "lock.h"
#include "rest.h"

bool
auc_rest(AucStore *store, int64 auction_id, AucRow *row)
{
	auc_lock_acquire(auction_id);
	if (!auc_store_find(store, auction_id, NULL, row))
		return false;

	/*
	 * Once this commits, a router decides from the row, and its records reach
	 * Redis: they must not outlive what they build on.
	 */
	ForceSyncCommit();

	/* What this transaction itself made, no router can have loaded. */
	if (row->route != AUC_ROUTE_REDIS || row->own)
		return true;
	auc_bid_release(auction_id, row->lane_id);
	return auc_store_find(store, auction_id, NULL, row);
}

void
auc_rest_unknown(int64 auction_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("auction %lld does not exist", (long long) auction_id)));
}

void
auc_rest_seen(AucStore *store, int64 auction_id, AucRow *row)
{
	if (!auc_rest(store, auction_id, row))
		auc_rest_unknown(auction_id);
	auc_store_check_snapshot(store, row);
}

void
auc_rest_refuse(const AucRow *row, const char *what)
{
	ereport(ERROR,
			(errcode(AUC_ERRCODE_AUCTION_IN_USE),
			 errmsg("auction %lld cannot be %s",
					(long long) row->auction.id, what),
			 row->state.status == AUC_STATUS_OPEN ?
			 errdetail("Number of accepted bids: %lld.",
					   (long long) row->state.bid_count) :
			 errdetail("Its status is \"%s\".",
					   auc_status_name(row->state.status))));
}
