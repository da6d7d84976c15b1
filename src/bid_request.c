/*
 * bid_request.c: see bid_request.h.
 *
 * One snapshot for the row and the journal: a bid that is not in the journal
 * can only be in history if the row says consolidated.  History is read later,
 * which does no harm: what leaves it is gone for good (retention.h).
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "bid_request.h"
#include "errors.h"
#include "owner.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "statement.h"

/* An interrupt is looked for at least so often. */
#define LOOK_MS	1000

#define HISTORY_COLUMNS \
	"SELECT bid_no, placed_at, lane_id FROM auction.history "

static AucStatement in_history = {
	.text = HISTORY_COLUMNS
	"WHERE auction_id = $1 AND request_id = $2 AND user_id = $3 "
	"ORDER BY bid_no LIMIT 1",
	.nargs = 3,.argtypes = {INT8OID, UUIDOID, INT8OID},.latest = true
};
static AucStatement in_history_of_any = {
	.text = HISTORY_COLUMNS
	"WHERE auction_id = $1 AND request_id = $2 "
	"ORDER BY bid_no LIMIT 1",
	.nargs = 2,.argtypes = {INT8OID, UUIDOID},.latest = true
};

void
auc_request_key(const AucBid *bid, AucRequestKey *key)
{
	key->auction_id = bid->auction_id;
	key->any_user = false;
	key->user_id = bid->user_id;
	memcpy(key->request_id, bid->request_id, sizeof(key->request_id));
}

/* What has brought it there was flushed, so nothing of it waits for that. */
static bool
look_in_history(const AucRequestKey *key, AucRequestBid *bid)
{
	AucCaller	caller;
	pg_uuid_t	uuid;
	Datum		values[3];
	bool		found;

	memcpy(uuid.data, key->request_id, UUID_LEN);
	values[0] = Int64GetDatum(key->auction_id);
	values[1] = UUIDPGetDatum(&uuid);
	values[2] = Int64GetDatum(key->user_id);
	auc_owner_begin(&caller);
	found = auc_statement_run(key->any_user ? &in_history_of_any : &in_history,
							  values, SPI_OK_SELECT) > 0;
	if (found)
	{
		bid->bid_no = auc_statement_int64(0, 1);
		bid->at = auc_statement_int64(0, 2);
		bid->lane_id = auc_statement_int32(0, 3);
		bid->position = 0;
		bid->xid = InvalidTransactionId;
	}
	auc_owner_end(&caller);
	return found;
}

bool
auc_request_in_journal(const AucRequestKey *key)
{
	AucRequestBid bid;

	return auc_store_find_request(key, NULL, &bid);
}

/*
 * Under the auction's lock nobody else has an uncommitted bid on it, nor
 * commits one, so no snapshot is needed to see those of one moment.  With one,
 * a SERIALIZABLE transaction would lock the page of the index that it has read,
 * and with that the bids of other auctions there.
 */
bool
auc_request_look_in(const AucRow *row, const AucRequestKey *key,
					AucRequestBid *bid)
{
	return row->consolidated ? look_in_history(key, bid) :
		auc_store_find_request(key, SnapshotSelf, bid);
}

AucLook
auc_request_look(const AucRequestKey *key, AucRow *row, AucRequestBid *bid)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	AucStore   *store = auc_store_open(false, AccessShareLock);
	AucLook		look = AUC_LOOK_UNKNOWN;

	if (auc_store_find(store, key->auction_id, snapshot, row))
	{
		if (row->consolidated ? look_in_history(key, bid) :
			auc_store_find_request(key, snapshot, bid))
			look = AUC_LOOK_FOUND;
		else
			look = AUC_LOOK_NOTHING;
	}
	auc_store_close(store);
	UnregisterSnapshot(snapshot);
	return look;
}

void
auc_request_repeat(const AucRow *row, const AucRequestBid *bid,
				   AucBidResult *result)
{
	auc_rules_repeat(&row->auction, &row->state, bid->bid_no, bid->at,
					 &result->verdict);
	result->route = bid->lane_id == 0 ? AUC_ROUTE_TABLE : AUC_ROUTE_REDIS;
	result->level = AUC_LEVEL_JOURNAL;
	result->repeated = true;
}

/*
 * Route table: its transaction may have had synchronous_commit off, which is
 * nothing to this one.
 */
static void
flush_commit(const AucRequestBid *bid)
{
	XLogRecPtr	commit = TransactionIdGetCommitLSN(bid->xid);

	if (synchronous_commit != SYNCHRONOUS_COMMIT_OFF &&
		!XLogRecPtrIsInvalid(commit))
		XLogFlush(commit);
}

void
auc_request_await_flushed(int64 auction_id, const AucRequestBid *bid)
{
	TimestampTz until;
	int			index;

	if (bid->position == 0)
	{
		flush_commit(bid);
		return;
	}
	if (!auc_shm_available())
		return;
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										auc_guc_overload_timeout);
	while ((index = auc_lane_find(MyDatabaseId, bid->lane_id)) >= 0 &&
		   pg_atomic_read_u64(&auc_lane(index)->applied) < bid->position)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   until);

		if (left <= 0)
			ereport(ERROR,
					(errcode(AUC_ERRCODE_OUTCOME_UNKNOWN),
					 errmsg("bid on auction %lld has an unknown outcome",
							(long long) auction_id),
					 errdetail("It is in the journal as number %lld, but lane %d does not say that this is safe.",
							   (long long) bid->bid_no, bid->lane_id),
					 errhint("See auction.stat_lanes, and the standbys that synchronous_standby_names asks for.")));
		(void) auc_lane_wait_applied(auc_lane(index), bid->position,
									 Min(left, LOOK_MS));
		CHECK_FOR_INTERRUPTS();
	}
}
