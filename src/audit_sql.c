/*
 * audit_sql.c: auction.audit().
 *
 * An auction that is being bid on is compared as it was at one moment.  To find
 * one at which row, bids and Redis have to say the same, it is brought to rest:
 * its lock is taken and its router lets it go, when everything decided is
 * applied and hence confirmed.  Then the snapshot is taken and Redis is asked,
 * and the lock is given back: bids wait for no more than this, however many
 * there are to be read.
 *
 * Where that cannot be done (a lane that does not answer, a drain that is held,
 * a lock that somebody holds, a standby), the tables are compared all the same:
 * one snapshot is enough for them, because they are written together.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "argument.h"
#include "audit.h"
#include "executor/spi.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lock.h"
#include "miscadmin.h"
#include "rest.h"
#include "shm.h"
#include "shm_lane.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "waits.h"

PG_FUNCTION_INFO_V1(auction_audit);

/* How long a router may take to let it go, and Redis to answer. */
#define REST_MS		2000
#define REDIS_MS	1000
/* Workers hold an auction's lock for moments; others perhaps for hours. */
#define LOCK_TRIES	50
#define LOCK_LOOK_MS	20

/* NULL: its router can be asked now. */
static const char *
why_not_ask(const AucRow *row)
{
	int			lane;
	AucLaneState state;

	if (RecoveryInProgress())
		return "this is a standby";
	if (!auc_shm_available())
		return "the library is not preloaded";
	if (row->own)
		return "this transaction has changed the auction";
	lane = auc_lane_find(MyDatabaseId, row->lane_id);
	if (lane < 0)
		return "its lane is not running";
	state = auc_lane_get_state(auc_lane(lane));
	if (state != AUC_LANE_NORMAL)
		return psprintf("its lane is %s", auc_lane_state_name(state));
	if (auc_lane_is_held(auc_lane(lane), true))
		return "its drain is held";
	return NULL;
}

static bool
try_lock(int64 auction_id)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (auc_lock_try(auction_id))
			return true;
		auc_nap(LOCK_LOOK_MS, AUC_WAIT_AUDIT);
	}
	return false;
}

/* Lets go of it, with the auction's lock held. */
static bool
release(const AucRow *row)
{
	AucAsk		ask = {.kind = AUC_REQUEST_RELEASE};
	AucAsk	   *asks[] = {&ask};

	ask.auction_id = row->auction.id;
	ask.lane_id = row->lane_id;
	auc_bid_ask(1, asks, REST_MS);
	return ask.answer == AUC_ANSWER_RESTING;
}

/*
 * Asks Redis while it rests; the snapshot is that of the same moment.  Returns
 * NULL, or why it was not compared.
 */
static const char *
ask_at_rest(AucAudit *audit, const AucRow *row, AucAsk *ask)
{
	AucAsk	   *asks[] = {ask};

	if (!release(row))
		return "its router did not let it go in time";
	audit->snapshot = RegisterSnapshot(GetLatestSnapshot());
	ask->kind = AUC_REQUEST_AUDIT;
	ask->auction_id = audit->auction_id;
	ask->lane_id = row->lane_id;
	ask->wanted = AUC_BOOK_MAX;
	auc_bid_ask(1, asks, REDIS_MS);
	return ask->answer == AUC_ANSWER_VERDICT ? NULL :
		"Redis did not answer";
}

/*
 * Where Redis has to be asked; else, or where that fails, nothing but a note of
 * why.  Returns whether "ask" is answered.
 */
static bool
look_into_redis(AucAudit *audit, AucAsk *ask)
{
	AucStore   *store = auc_store_open(false, AccessShareLock);
	const char *why;
	AucRow		row;
	bool		wanted = auc_store_find(store, audit->auction_id, NULL, &row) &&
	row.route == AUC_ROUTE_REDIS && row.state.status == AUC_STATUS_OPEN;

	auc_store_close(store);
	if (!wanted)
		return false;
	why = why_not_ask(&row);
	if (why == NULL && !try_lock(audit->auction_id))
		why = "a transaction holds its lock";
	else if (why == NULL)
	{
		why = ask_at_rest(audit, &row, ask);
		auc_lock_release(audit->auction_id);
	}
	if (why != NULL)
		auc_audit_note(audit, false, "redis", "not compared", NULL, why);
	return why == NULL;
}

static void
put_differences(ReturnSetInfo *rsinfo, const AucAudit *audit)
{
	ListCell   *cell;

	foreach(cell, audit->differences)
	{
		const AucDifference *difference = lfirst(cell);
		Datum		values[5];
		bool		isnull[5] = {false};

		values[0] = CStringGetTextDatum(difference->certain ? "error" :
										"warning");
		values[1] = CStringGetTextDatum(difference->place);
		values[2] = CStringGetTextDatum(difference->item);
		isnull[3] = difference->expected == NULL;
		if (!isnull[3])
			values[3] = CStringGetTextDatum(difference->expected);
		isnull[4] = difference->found == NULL;
		if (!isnull[4])
			values[4] = CStringGetTextDatum(difference->found);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
}

Datum
auction_audit(PG_FUNCTION_ARGS)
{
	AucAudit	audit = {0};
	AucAsk		ask = {0};
	bool		asked;

	audit.auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	audit.context = CurrentMemoryContext;
	InitMaterializedSRF(fcinfo, 0);
	asked = look_into_redis(&audit, &ask);
	if (audit.snapshot == NULL)
		audit.snapshot = RegisterSnapshot(GetLatestSnapshot());
	SPI_connect();
	if (!auc_audit_tables(&audit))
		auc_rest_unknown(audit.auction_id);
	if (asked)
		auc_audit_redis(&audit, &ask);
	SPI_finish();
	UnregisterSnapshot(audit.snapshot);
	put_differences((ReturnSetInfo *) fcinfo->resultinfo, &audit);
	return (Datum) 0;
}
