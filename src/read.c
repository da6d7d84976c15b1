/*
 * read.c: SQL functions that look at auctions, or close and finish them.
 *
 * A live auction's state is its router's (rule 1), so standing() and
 * top_bids() ask it.  Whenever it does not answer, or need not be asked, the
 * tables do: they are behind by what the drain has not applied.  The row is
 * read after the router was asked, never before; so an answer is never older
 * than what was true when the question was put.
 *
 * Nothing here waits for a router while it holds an auction's lock, but to
 * have the auction let go.  A transaction that holds the lock already, or has
 * inserted the auction, would wait for itself (rule 3): reads answer from the
 * tables then, a close is refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "bid_args.h"
#include "bid_error.h"
#include "bid_slot.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "finish.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hooks.h"
#include "increments.h"
#include "lock.h"
#include "miscadmin.h"
#include "rest.h"
#include "settings.h"
#include "shard.h"
#include "shm.h"
#include "statement.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How long a read waits for a router before it takes the tables. */
#define ASK_MS	1000

PG_FUNCTION_INFO_V1(auction__live);
PG_FUNCTION_INFO_V1(auction__least_bid);
PG_FUNCTION_INFO_V1(auction_top_bids);
PG_FUNCTION_INFO_V1(auction_close_auction);
PG_FUNCTION_INFO_V1(auction_consolidate);

/*
 * No amount above the price: in a proxy auction it would tell a maximum.  One
 * statement a place: history may have to ask other servers, which may be away,
 * even if there is nothing to be found.
 */
#define BEST_BIDS(table) \
	"SELECT user_id, least(amount, " \
	" (SELECT price FROM auction._state WHERE auction_id = $1)) FROM (" \
	" SELECT DISTINCT ON (user_id) user_id, amount, bid_no FROM " table " " \
	" WHERE auction_id = $1 AND retracted_at IS NULL " \
	" ORDER BY user_id, amount DESC, bid_no) best " \
	"ORDER BY best.amount DESC, bid_no LIMIT $2"

static AucStatement best_in_journal = {
	.text = BEST_BIDS("auction.journal"),
	.nargs = 2,.argtypes = {INT8OID, INT8OID}
};
static AucStatement best_in_history = {
	.text = BEST_BIDS("auction.history"),
	.nargs = 2,.argtypes = {INT8OID, INT8OID}
};
static AucStatement where_bids_are = {
	.text = "SELECT consolidated_at IS NOT NULL, removed_at IS NOT NULL "
	"FROM auction._state WHERE auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};

static bool
find_row(int64 auction_id, AucRow *row)
{
	AucStore   *store = auc_store_open(false, AccessShareLock);
	bool		found = auc_store_find(store, auction_id, NULL, row);

	auc_store_close(store);
	return found;
}

/* This transaction keeps the router from loading it. */
static bool
is_own(const AucRow *row)
{
	return row->own || auc_lock_held(row->auction.id);
}

/*
 * Asks the auction's router, if it may be live; "row" is filled then.  false:
 * take the tables.
 */
static bool
ask_live(int64 auction_id, AucAsk *ask, AucRow *row)
{
	if (RecoveryInProgress() || !auc_shm_available() ||
		!find_row(auction_id, row) ||
		row->route != AUC_ROUTE_REDIS ||
		row->state.status != AUC_STATUS_OPEN ||
		is_own(row))
		return false;
	ask->auction_id = auction_id;
	ask->lane_id = row->lane_id;
	auc_bid_ask(1, &ask, ASK_MS);
	return ask->answer == AUC_ANSWER_VERDICT;
}

/* ---- standing ---- */

/* Null if no amount is acceptable. */
static Datum
least_bid(const AucAuction *auction, const AucState *state, bool *isnull)
{
	int64		least = auc_rules_least(auction, state);

	*isnull = state->status != AUC_STATUS_OPEN || least > AUC_AMOUNT_MAX;
	return Int64GetDatum(least);
}

/* For the view; the arguments are the columns of _state. */
Datum
auction__least_bid(PG_FUNCTION_ARGS)
{
	AucAuction	auction = {0};
	AucState	state = {0};
	bool		isnull;
	Datum		least;

	for (int i = 0; i < 6; i++)
		if (i != 2 && PG_ARGISNULL(i))
			PG_RETURN_NULL();
	state.status = (AucStatus) PG_GETARG_CHAR(0);
	state.price = PG_GETARG_INT64(1);
	state.has_leader = !PG_ARGISNULL(2);
	auction.kind = (AucKind) PG_GETARG_CHAR(3);
	auction.start_price = PG_GETARG_INT64(4);
	auction.increment = PG_GETARG_INT64(5);
	if (!PG_ARGISNULL(6))
		auction.increments = auc_increments_copy(PG_GETARG_DATUM(6));
	auction.buy_now_price = PG_ARGISNULL(7) ? AUC_NO_AMOUNT :
		PG_GETARG_INT64(7);
	least = least_bid(&auction, &state, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(least);
}

/* The state in the router; NULL if the row is the truth. */
Datum
auction__live(PG_FUNCTION_ARGS)
{
	AucAsk		ask = {.kind = AUC_REQUEST_STANDING};
	AucRow		row;
	AucReserve	reserve;
	TupleDesc	tupdesc;
	Datum		values[9];
	bool		isnull[9] = {false};

	if (!ask_live(PG_GETARG_INT64(0), &ask, &row))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("return type must be a row type")));
	reserve = auc_rules_reserve(&row.auction, &ask.state);
	values[0] = CStringGetTextDatum(auc_status_name(ask.state.status));
	values[1] = TimestampTzGetDatum(ask.state.ends_at);
	values[2] = Int64GetDatum(ask.state.price);
	values[3] = Int64GetDatum(ask.state.leader_id);
	isnull[3] = !ask.state.has_leader;
	values[4] = Int64GetDatum(ask.state.bid_count);
	values[5] = TimestampTzGetDatum(ask.state.last_at);
	isnull[5] = ask.state.last_at == 0;
	values[6] = BoolGetDatum(reserve == AUC_RESERVE_MET);
	isnull[6] = reserve == AUC_RESERVE_NONE;
	values[7] = BoolGetDatum(auc_rules_buy_available(&row.auction,
													 &ask.state));
	values[8] = least_bid(&row.auction, &ask.state, &isnull[8]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, isnull)));
}

/* ---- top_bids ---- */

static void
put_bid(ReturnSetInfo *rsinfo, int rank, int64 user_id, int64 amount)
{
	Datum		values[3];
	bool		isnull[3] = {false};

	values[0] = Int32GetDatum(rank);
	values[1] = Int64GetDatum(user_id);
	values[2] = Int64GetDatum(amount);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

Datum
auction_top_bids(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		auction_id = PG_GETARG_INT64(0);
	int32		n = PG_GETARG_INT32(1);
	AucAsk		ask = {.kind = AUC_REQUEST_BOOK,.wanted = n};
	AucRow		row;
	Datum		values[2];
	Snapshot	snapshot;
	uint64		rows;

	if (n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of top bids must be at least 1")));
	InitMaterializedSRF(fcinfo, 0);
	if (n <= AUC_BOOK_MAX && ask_live(auction_id, &ask, &row))
	{
		for (int i = 0; i < ask.nbook; i++)
			put_bid(rsinfo, i + 1, ask.book[i].user_id, ask.book[i].amount);
		return (Datum) 0;
	}

	SPI_connect();
	values[0] = Int64GetDatum(auction_id);
	values[1] = Int64GetDatum(n);
	/* both statements have to agree on where the bids are */
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	if (auc_statement_read(&where_bids_are, values, snapshot) > 0 &&
		!auc_statement_bool(0, 2))
	{
		rows = auc_statement_read(auc_statement_bool(0, 1) ? &best_in_history :
								  &best_in_journal, values, snapshot);
		for (uint64 i = 0; i < rows; i++)
			put_bid(rsinfo, (int) i + 1, auc_statement_int64(i, 1),
					auc_statement_int64(i, 2));
	}
	UnregisterSnapshot(snapshot);
	SPI_finish();
	return (Datum) 0;
}

/* ---- close_auction ---- */

/*
 * Like a bid on route table.  *moved: under the lock the route proved to be
 * redis, and the lock was given back.
 */
static bool
close_on_table(int64 auction_id, bool *moved)
{
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	bool		closed = false;
	AucRow		row;

	auc_lock_acquire(auction_id);
	if (!auc_store_find(store, auction_id, NULL, &row))
		auc_rest_unknown(auction_id);
	*moved = row.route != AUC_ROUTE_TABLE;
	if (!*moved)
		auc_store_check_snapshot(store, &row);
	if (!*moved && auc_rules_close(GetCurrentTimestamp(), &row.state))
	{
		auc_store_write(store, &row, false);
		CommandCounterIncrement();
		closed = true;
	}
	else
		auc_lock_release(auction_id);
	auc_store_close(store);
	return closed;
}

/*
 * The router answers alike whether it closes the auction or finds it closed;
 * but a close that was recorded before the call began has an earlier time.
 */
static bool
close_on_redis(const AucRow *row, bool *moved)
{
	int64		auction_id = row->auction.id;
	AucAsk		ask = {.kind = AUC_REQUEST_CLOSE,.force = true};
	TimestampTz began = GetCurrentTimestamp();

	auc_shm_require("closing an auction on route \"redis\"");
	if (is_own(row))
		ereport(ERROR,
				(errcode(AUC_ERRCODE_WAITS_FOR_ITSELF),
				 errmsg("auction %lld was created or changed in this transaction",
						(long long) auction_id),
				 errdetail("Its router can close it only after this transaction has ended."),
				 errhint("Commit first.")));
	ask.auction_id = auction_id;
	ask.lane_id = row->lane_id;
	auc_bid_ask_patiently(&ask);
	*moved = ask.answer == AUC_ANSWER_MOVED ||
		ask.answer == AUC_ANSWER_MOVING;
	if (ask.answer == AUC_ANSWER_MOVING)
		auc_bid_await_applied(auction_id, row->lane_id, ask.until);
	if (*moved)
		return false;
	if (ask.answer != AUC_ANSWER_VERDICT)
		auc_bid_not_done(auction_id, "closed", ask.answer);
	if (ask.position == 0 || ask.state.status != AUC_STATUS_CLOSED)
		return false;
	auc_bid_await_applied(auction_id, row->lane_id, ask.position);
	return ask.state.last_at >= began;
}

Datum
auction_close_auction(PG_FUNCTION_ARGS)
{
	int64		auction_id = PG_GETARG_INT64(0);
	bool		moved;
	bool		closed;

	auc_bid_prevent("auction.close_auction()");
	do
	{
		AucRow		row;

		CHECK_FOR_INTERRUPTS();
		if (!find_row(auction_id, &row))
			auc_rest_unknown(auction_id);
		if (row.state.status != AUC_STATUS_OPEN)
			PG_RETURN_BOOL(false);
		if (row.route == AUC_ROUTE_TABLE)
			closed = close_on_table(auction_id, &moved);
		else
			closed = close_on_redis(&row, &moved);
	} while (moved);
	PG_RETURN_BOOL(closed);
}

/* ---- consolidate ---- */

/*
 * Where shards are on other servers, bids go there in transactions that end
 * before this one could: the steward hears at the commit what there is to do,
 * and has the consolidator do it.
 */
static int
finish(int n, AucClosed *auctions)
{
	n = auc_finish_verify(n, auctions);
	if (n == 0 || auc_shard_here(true))
		return auc_finish_consolidate(n, auctions);
	auc_hooks_steward_wanted();
	return 0;
}

static int64
consolidate_one(int64 auction_id)
{
	AucClosed	auction;
	char		status;

	auc_lock_acquire(auction_id);
	status = auc_finish_find(auction_id, &auction);
	if (status == '\0')
		auc_rest_unknown(auction_id);
	if (status == AUC_STATUS_CONSOLIDATED)
	{
		auc_lock_release(auction_id);
		return 0;
	}
	if (!auc_finish_is_over((AucStatus) status))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("auction %lld is %s", (long long) auction_id,
						auc_status_name((AucStatus) status)),
				 errdetail("Only a closed or cancelled auction can be consolidated.")));
	if (auction.on_redis)
		auc_bid_release(auction_id, auction.lane_id);
	if (auc_finish_rest(1, &auction) == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_OVERLOADED),
				 errmsg("auction %lld could not be brought to rest",
						(long long) auction_id),
				 errdetail("Nothing was changed."),
				 errhint("Try again.")));
	return finish(1, &auction);
}

static int64
consolidate_all(void)
{
	int			room = auc_finish_max_locks();
	int64		done = 0;
	bool		last = false;
	AucFinishCursor cursor;

	auc_finish_start(&cursor);
	while (!last && room > 0)
	{
		AucClosed  *auctions;
		int			n = auc_finish_page(&cursor, false, &auctions, &last);

		CHECK_FOR_INTERRUPTS();
		n = auc_finish_rest(Min(n, room), auctions);
		room -= n;
		done += finish(n, auctions);
		pfree(auctions);
	}
	return done;
}

Datum
auction_consolidate(PG_FUNCTION_ARGS)
{
	auc_bid_prevent("auction.consolidate()");
	if (PG_ARGISNULL(0))
		PG_RETURN_INT64(consolidate_all());
	PG_RETURN_INT64(consolidate_one(PG_GETARG_INT64(0)));
}
