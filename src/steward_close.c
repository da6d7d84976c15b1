/*
 * steward_close.c: closes auctions and finishes them.
 *
 * A due auction refuses bids already, whoever decides them (rules.c); closing
 * it makes that final.  Route table: under the auction's lock, taken without
 * waiting, like a bid.  Route redis: the router is asked for a close record,
 * which stands behind all bids of the auction in its lane; the drain writes
 * the row.  That is asked for outside a transaction and without any lock
 * (rule 21).
 *
 * Then: closed -> verified -> consolidated -> keys removed from Redis, a batch
 * and a transaction each, so that due auctions never wait for more than one
 * batch; and a page of live auctions goes to another route (steward_move.c).
 * Each step starts from what the rows say; a steward that dies leaves nothing
 * behind but the next steward's work.
 *
 * What cannot be done now, because of a lock or a lane, is passed over by a
 * cursor and found again after the cursor has come round.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "finish.h"
#include "lock.h"
#include "miscadmin.h"
#include "settings.h"
#include "shard.h"
#include "shm_worker.h"
#include "statement.h"
#include "steward_ask.h"
#include "steward_close.h"
#include "steward_move.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_start.h"

#define DUE_PAGE	100
/* When to look again at what could not be closed, or is being closed. */
#define RETRY_MS	100

typedef struct Glance
{
	bool		due;
	bool		closed;
	bool		keys_left;
	bool		notes;			/* in _refresh */
	bool		removals;		/* of history, marked */
	int64		rollout;		/* that is not done with; 0: none */
	TimestampTz next_end;
} Glance;

/* A place in an index: (time, auction). */
typedef struct Cursor
{
	TimestampTz at;
	int64		auction_id;
} Cursor;

typedef struct Due
{
	int64		auction_id;
	int			lane_id;
} Due;

static MemoryContext run_context;
static AucFinishCursor finish_cursor;

static AucStatement glance_all = {
	.text = "SELECT EXISTS (SELECT FROM auction._state "
	"  WHERE status = 'o' AND ends_at <= $1), "
	" EXISTS (SELECT FROM auction._state "
	"  WHERE status IN ('c', 'x') AND consolidated_at IS NULL), "
	" EXISTS (SELECT FROM auction._state "
	"  WHERE keys_left AND (consolidated_at IS NOT NULL OR route = 't')), "
	" (SELECT ends_at FROM auction._state "
	"  WHERE status = 'o' AND ends_at > $1 ORDER BY ends_at LIMIT 1), "
	" EXISTS (SELECT FROM auction._refresh), " AUC_STEWARD_MOVE_SQL ", "
	" EXISTS (SELECT FROM auction._removals)",
	.nargs = 1,.argtypes = {TIMESTAMPTZOID}
};
static AucStatement due_page = {
	.text = "SELECT auction_id, ends_at, lane_id FROM auction._state "
	"WHERE status = 'o' AND route = $1 AND ends_at <= $2 "
	" AND (ends_at, auction_id) > ($3, $4) "
	"ORDER BY ends_at, auction_id LIMIT " CppAsString2(DUE_PAGE),
	.nargs = 4,.argtypes = {CHAROID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
};

static void
rewind_cursor(Cursor *cursor)
{
	cursor->at = DT_NOBEGIN;
	cursor->auction_id = PG_INT64_MIN;
}

/* What there is to do at all: on most wakes nothing. */
static void
glance(TimestampTz now, Glance *result)
{
	Datum		values[1];
	bool		isnull;
	Datum		next_end;

	auc_worker_xact_begin("looking for auctions to close");
	SPI_connect();
	values[0] = TimestampTzGetDatum(now);
	(void) auc_statement_run(&glance_all, values, SPI_OK_SELECT);
	result->due = auc_statement_bool(0, 1);
	result->closed = auc_statement_bool(0, 2);
	result->keys_left = auc_statement_bool(0, 3);
	result->notes = auc_statement_bool(0, 5);
	result->rollout = auc_statement_int64(0, 6);
	result->removals = auc_statement_bool(0, 7);
	next_end = auc_statement_datum(0, 4, &isnull);
	result->next_end = isnull ? DT_NOEND : DatumGetTimestampTz(next_end);
	SPI_finish();
	auc_worker_xact_commit();
}

/* ---- closing ---- */

/* The next due auctions of the route into due[DUE_PAGE]; in a transaction. */
static int
read_due(AucRoute route, TimestampTz now, Cursor *cursor, Due *due)
{
	Datum		values[4];
	uint64		rows;

	SPI_connect();
	values[0] = CharGetDatum((char) route);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(cursor->at);
	values[3] = Int64GetDatum(cursor->auction_id);
	rows = auc_statement_run(&due_page, values, SPI_OK_SELECT);
	for (uint64 row = 0; row < rows; row++)
	{
		due[row].auction_id = auc_statement_int64(row, 1);
		due[row].lane_id = auc_statement_int32(row, 3);
		cursor->auction_id = due[row].auction_id;
		cursor->at = auc_statement_int64(row, 2);
	}
	SPI_finish();
	return (int) rows;
}

/* false: somebody holds its lock, or its route has become another. */
static bool
close_on_table(AucStore *store, int64 auction_id, TimestampTz now)
{
	AucRow		row;
	bool		mine = false;

	if (!auc_lock_try(auction_id))
		return false;
	if (auc_store_find(store, auction_id, NULL, &row))
	{
		mine = row.route == AUC_ROUTE_TABLE;
		if (mine && auc_rules_due(&row.state, now) &&
			auc_rules_close(now, &row.state))
		{
			auc_store_write(store, &row, false);
			return true;
		}
	}
	auc_lock_release(auction_id);
	return mine;
}

/* Returns whether all could be closed. */
static bool
close_due_on_table(TimestampTz now)
{
	Due			due[DUE_PAGE];
	Cursor		cursor;
	bool		all = true;
	int			n;

	rewind_cursor(&cursor);
	do
	{
		AucStore   *store;

		auc_worker_xact_begin("closing auctions");
		n = read_due(AUC_ROUTE_TABLE, now, &cursor, due);
		store = auc_store_open(false, RowExclusiveLock);
		for (int i = 0; i < n; i++)
			if (!close_on_table(store, due[i].auction_id, now))
				all = false;
		auc_store_close(store);
		auc_worker_xact_commit();
	} while (n == DUE_PAGE);
	return all;
}

/*
 * Returns whether there was nothing to do.  What the router has closed shows
 * in the row only after the drain has been there, so it is looked at again.
 */
static bool
close_due_on_redis(TimestampTz now)
{
	Due			due[DUE_PAGE];
	AucAsk	   *asks = NULL;
	Cursor		cursor;
	int			n;

	rewind_cursor(&cursor);
	do
	{
		auc_worker_xact_begin("closing auctions");
		n = read_due(AUC_ROUTE_REDIS, now, &cursor, due);
		auc_worker_xact_commit();
		if (n == 0)
			break;
		if (asks == NULL)
			asks = MemoryContextAlloc(run_context, DUE_PAGE * sizeof(AucAsk));
		memset(asks, 0, n * sizeof(AucAsk));
		for (int i = 0; i < n; i++)
		{
			asks[i].kind = AUC_REQUEST_CLOSE;
			asks[i].auction_id = due[i].auction_id;
			asks[i].lane_id = due[i].lane_id;
		}
		auc_steward_ask(n, asks);
	} while (n == DUE_PAGE);
	return asks == NULL;
}

/* ---- finishing ---- */

/*
 * One page of closed auctions; returns whether to go on with the next.  What
 * is verified is left to the consolidator if that has to go to other servers.
 */
static bool
finish_some(TimestampTz now, TimestampTz *next)
{
	AucClosed  *auctions;
	AucClosed  *page;
	bool		here;
	bool		last;
	int			n;

	auc_worker_xact_begin("verifying closed auctions");
	here = auc_shard_here(false);
	n = auc_finish_page(&finish_cursor, !here, &page, &last);
	auctions = MemoryContextAlloc(run_context, Max(n, 1) * sizeof(AucClosed));
	memcpy(auctions, page, n * sizeof(AucClosed));
	n = auc_finish_verify(auc_finish_rest(n, auctions), auctions);
	auc_worker_xact_commit();

	if (n > 0 && here)
	{
		auc_worker_xact_begin("consolidating auctions");
		n = auc_shard_here(false) ? auc_finish_rest(n, auctions) : 0;
		n = auc_finish_consolidate(n, auctions);
		auc_worker_xact_commit();
	}
	if (!here)
	{
		auc_worker_start(AUC_WORKER_CONSOLIDATOR, MyDatabaseId, -1, now, next);
		auc_database_wake_consolidator(MyDatabaseId);
	}
	if (last)
		auc_finish_start(&finish_cursor);
	return !last && n > 0;
}

void
auc_steward_jobs_run(TimestampTz now, TimestampTz *next_due)
{
	MemoryContext old = CurrentMemoryContext;
	Glance		work;
	TimestampTz next_move = DT_NOEND;
	TimestampTz next_start = DT_NOEND;
	bool		again = false;
	bool		more = false;

	if (run_context == NULL)
	{
		run_context = AllocSetContextCreate(TopMemoryContext,
											"auction steward jobs",
											ALLOCSET_DEFAULT_SIZES);
		auc_finish_start(&finish_cursor);
	}
	MemoryContextReset(run_context);	/* an error may have left something */
	glance(now, &work);
	if (work.due)
	{
		if (!close_due_on_table(now))
			again = true;
		if (!close_due_on_redis(now))
			again = true;
	}
	/* before its keys may go */
	if (work.notes && auc_steward_refresh(run_context))
		more = true;
	if ((work.due || work.closed) && finish_some(now, &next_start))
		more = true;
	if (work.removals || auc_guc_history_retention > 0)
		auc_worker_start(AUC_WORKER_CONSOLIDATOR, MyDatabaseId, -1, now,
						 &next_start);
	/* moving goes first, as it leaves keys behind */
	if (work.rollout != 0 &&
		auc_steward_move(run_context, work.rollout, now, &next_move))
		more = true;
	else if (work.keys_left && auc_steward_remove_keys(run_context))
		more = true;
	MemoryContextReset(run_context);
	MemoryContextSwitchTo(old);

	*next_due = Min(Min(work.next_end, next_move), next_start);
	if (again)
		*next_due = Min(*next_due, TimestampTzPlusMilliseconds(now, RETRY_MS));
	if (more)
		*next_due = now;
}
