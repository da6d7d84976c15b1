/*
 * repair_lane.c: what a DBA does to lanes: skip_gap, rebuild_redis.
 *
 * skip_gap only writes its decision down, in the caller's transaction; the
 * router, which has found the gap, acts on it once that is committed
 * (router_gap.c).
 *
 * rebuild_redis asks the router for each open auction, a few at a time so that
 * bids find slots, and waits until Redis has its book.  It holds no lock that a
 * bid needs.
 */
#include "postgres.h"

#include "argument.h"
#include "bid_args.h"
#include "bid_slot.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "hooks.h"
#include "miscadmin.h"
#include "refresh_note.h"
#include "repair.h"
#include "shm.h"
#include "shm_lane.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "waits.h"

PG_FUNCTION_INFO_V1(auction__lane_gaps);
PG_FUNCTION_INFO_V1(auction_skip_gap);
PG_FUNCTION_INFO_V1(auction_rebuild_redis);

/* Auctions that are asked for at a time. */
#define PAGE			16
#define ASK_MS			1000
#define LOOK_MS			20
/* Without any progress for so long it gives up. */
#define PATIENCE_MS		15000

static AucStatement find_lane = {
	.text = "SELECT server FROM auction.lanes WHERE id = $1",
	.nargs = 1,.argtypes = {INT4OID}
};
static AucStatement lanes_of = {
	.text = "SELECT id FROM auction.lanes WHERE server = $1 ORDER BY id",
	.nargs = 1,.argtypes = {NAMEOID}
};
static AucStatement next_auctions = {
	.text = "SELECT s.auction_id, s.lane_id FROM auction._state s "
	"WHERE s.status = 'o' AND s.auction_id > $2 AND s.route = 'r' "
	" AND s.bid_count > 0 AND s.lane_id IN "
	" (SELECT id FROM auction.lanes WHERE server = $1) "
	"ORDER BY s.auction_id LIMIT " CppAsString2(PAGE),
	.nargs = 2,.argtypes = {NAMEOID, INT8OID}
};

/* ---- gaps ---- */

/* For the view stat_lanes: one row for each lane that has one. */
Datum
auction__lane_gaps(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; auc_shm_available() && i < auc_lane_count(); i++)
	{
		AucLane    *lane = auc_lane(i);
		Datum		values[3];
		bool		isnull[3] = {false};
		uint64		from;
		uint64		to;

		if (!lane->bound || lane->dboid != MyDatabaseId ||
			!auc_lane_gap(lane, &from, &to))
			continue;
		values[0] = Int32GetDatum(lane->lane_id);
		values[1] = Int64GetDatum((int64) from);
		values[2] = Int64GetDatum((int64) to);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	return (Datum) 0;
}

static AucLane *
running_lane(int lane_id)
{
	int			index = auc_lane_find(MyDatabaseId, lane_id);

	if (index < 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("lane %d is not running", lane_id)));
	return auc_lane(index);
}

Datum
auction_skip_gap(PG_FUNCTION_ARGS)
{
	int			lane_id = DatumGetInt32(auc_argument(fcinfo, 0, "lane_id"));
	text	   *reason = auc_argument_reason(fcinfo, 1,
											 "It is kept in auction.repair_log.");
	Datum		values[2] = {Int32GetDatum(lane_id)};
	bool		isnull[2] = {false};
	uint64		from;
	uint64		to;
	TupleDesc	desc;

	auc_bid_prevent("auction.skip_gap()");
	auc_shm_require("auction.skip_gap()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("return type must be a row type")));
	SPI_connect();
	if (auc_statement_run(&find_lane, values, SPI_OK_SELECT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("lane %d does not exist", lane_id),
				 errhint("Lanes are in auction.lanes; the argument is its id.")));
	if (!auc_lane_gap(running_lane(lane_id), &from, &to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("lane %d has no gap", lane_id),
				 errdetail("Its state is \"%s\".",
						   auc_lane_state_name(auc_lane_get_state(running_lane(lane_id)))),
				 errhint("See gap_from and gap_to in auction.stat_lanes.")));
	auc_repair_log("skip_gap", 0, lane_id, (int64) from, (int64) to, reason);
	SPI_finish();
	values[0] = Int64GetDatum((int64) from);
	values[1] = Int64GetDatum((int64) to);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, isnull)));
}

/* ---- rebuild_redis ---- */

typedef struct Rebuild
{
	AucAsk		ask;
	bool		asked;			/* it will be written */
	bool		done;			/* it is, or need not be */
	int64		members;		/* of its book, as last seen */
} Rebuild;

/* ERROR unless there are lanes and all of them are normal. */
static void
check_server(Name server)
{
	Datum		values[] = {NameGetDatum(server)};
	uint64		n;

	(void) get_foreign_server_oid(NameStr(*server), false);
	n = auc_statement_run(&lanes_of, values, SPI_OK_SELECT);
	if (n == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("server \"%s\" is not attached", NameStr(*server)),
				 errhint("Attached servers are in auction.lanes.")));
	for (uint64 i = 0; i < n; i++)
	{
		int			lane_id = auc_statement_int32(i, 1);
		AucLaneState state = auc_lane_get_state(running_lane(lane_id));

		if (state != AUC_LANE_NORMAL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("lane %d of server \"%s\" is %s", lane_id,
							NameStr(*server), auc_lane_state_name(state)),
					 errhint("Wait until its state in auction.stat_lanes is \"normal\".")));
	}
}

static int
read_page(Name server, int64 after, Rebuild *page)
{
	Datum		values[] = {NameGetDatum(server), Int64GetDatum(after)};
	int			n = (int) auc_statement_run(&next_auctions, values,
											SPI_OK_SELECT);

	memset(page, 0, PAGE * sizeof(Rebuild));
	for (int i = 0; i < n; i++)
	{
		page[i].ask.auction_id = auc_statement_int64(i, 1);
		page[i].ask.lane_id = auc_statement_int32(i, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* One that is being changed is shown by the steward, when that has ended. */
static void
leave_note(Rebuild *rebuild)
{
	auc_refresh_note(rebuild->ask.auction_id);
	auc_hooks_steward_wanted();
	rebuild->done = true;
}

/* What has been answered; returns whether there was any progress. */
static bool
take_answer(Rebuild *rebuild)
{
	AucAsk	   *ask = &rebuild->ask;
	bool		progress;

	if (!rebuild->asked)
	{
		rebuild->asked = ask->answer == AUC_ANSWER_VERDICT;
		/* moved to table, or closed, meanwhile */
		rebuild->done = ask->answer == AUC_ANSWER_MOVED;
		if (ask->answer == AUC_ANSWER_BUSY)
			leave_note(rebuild);
		return rebuild->asked || rebuild->done;
	}
	if (ask->answer != AUC_ANSWER_VERDICT)
		return false;
	progress = ask->shown.members != rebuild->members;
	rebuild->members = ask->shown.members;
	rebuild->done = ask->shown.whole;
	/* not shown yet, or closed and removed meanwhile: the router knows */
	rebuild->asked = ask->shown.there;
	return progress || rebuild->done;
}

static bool
ask_page(int n, Rebuild *page, int *left)
{
	AucAsk	   *asks[PAGE];
	int			nasks = 0;
	bool		progress = false;

	*left = 0;
	for (int i = 0; i < n; i++)
	{
		if (page[i].done)
			continue;
		page[i].ask.kind = page[i].asked ? AUC_REQUEST_AUDIT :
			AUC_REQUEST_REFRESH;
		page[i].ask.force = true;
		page[i].ask.wanted = 1;
		asks[nasks++] = &page[i].ask;
	}
	if (nasks > 0)
		auc_bid_ask(nasks, asks, ASK_MS);
	for (int i = 0; i < n; i++)
	{
		if (page[i].done)
			continue;
		progress |= take_answer(&page[i]);
		if (!page[i].done)
			(*left)++;
	}
	return progress;
}

static void
raise_stuck(int n, const Rebuild *page)
{
	int			i = 0;

	while (i < n - 1 && page[i].done)
		i++;
	ereport(ERROR,
			(errcode(AUC_ERRCODE_OVERLOADED),
			 errmsg("auction %lld could not be written to Redis anew",
					(long long) page[i].ask.auction_id),
			 errdetail("What was written before it stays."),
			 errhint("See auction.stat_lanes and the server log, and try again.")));
}

static void
rebuild_page(int n, Rebuild *page)
{
	TimestampTz until = 0;
	int			left;

	for (;;)
	{
		if (ask_page(n, page, &left) || until == 0)
			until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												PATIENCE_MS);
		if (left == 0)
			return;
		if (GetCurrentTimestamp() >= until)
			raise_stuck(n, page);
		auc_nap(LOOK_MS, AUC_WAIT_REBUILD);
	}
}

Datum
auction_rebuild_redis(PG_FUNCTION_ARGS)
{
	Name		server = DatumGetName(auc_argument(fcinfo, 0, "server"));
	Rebuild    *page;
	int64		after = PG_INT64_MIN;
	int64		done = 0;
	int			n;

	auc_bid_prevent("auction.rebuild_redis()");
	auc_shm_require("auction.rebuild_redis()");
	SPI_connect();
	page = palloc(PAGE * sizeof(Rebuild));
	check_server(server);
	while ((n = read_page(server, after, page)) > 0)
	{
		after = page[n - 1].ask.auction_id;
		rebuild_page(n, page);
		done += n;
	}
	auc_repair_log("rebuild_redis", 0, 0, 0, 0,
				   cstring_to_text(NameStr(*server)));
	SPI_finish();
	PG_RETURN_INT64(done);
}
