/*
 * drain_apply.c: records become journal rows and state rows.
 *
 * One transaction takes a run of one lane's records: their bids go into the
 * journal in bulk, each auction's state row is written once, from the last
 * record it has in the run, and lanes.applied moves to the last position
 * (rule 7).  The rows stay cached with the TID they were last written to: the
 * drain is their only writer while the route is redis, and a look-up by key of
 * a row updated thousands of times a second is what costs most under an old
 * snapshot.  Where the cache turns out to be wrong (the auction rested and
 * changed meanwhile), the row is read again.
 *
 * A run that fails with an error of the data (class 22 or 23) is cut in half
 * until the record is found whose fault it is; that one is buried and its
 * auction quarantined (rule 8).  Any other error is the lane's: it is tried
 * again a second later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "drain.h"
#include "miscadmin.h"
#include "statement.h"
#include "utils/timestamp.h"
#include "worker.h"

#define RETRY_MS			1000
/* As many bids as store.h takes into one heap_multi_insert. */
#define INSERT_ROWS			1000
/* Rows kept per lane; beyond that the cache begins anew. */
#define ROWS_MAX			20000

static AucStatement begin_lane = {
	"UPDATE auction.lanes SET drain_at = pg_catalog.now() WHERE id = $1 "
	"RETURNING applied",
	1, {INT4OID}
};

static AucStatement move_applied = {
	"UPDATE auction.lanes SET applied = $2 WHERE id = $1",
	2, {INT4OID, INT8OID}
};

/* ---- applied ---- */

void
auc_drain_set_applied(AucDrainLane *dl, uint64 position)
{
	Datum		values[] = {Int32GetDatum(dl->lane_id),
		Int64GetDatum((int64) position)};

	if (auc_statement_run(&move_applied, values, SPI_OK_UPDATE) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("lane %d is not in auction.lanes any more",
						dl->lane_id)));
}

/*
 * Rule 17: what is published here is flushed as synchronous_commit demands.  A
 * commit whose wait for a standby was cut off by a shutdown is not: the check
 * ends the process before anybody hears of it.
 */
void
auc_drain_publish(AucDrainLane *dl, uint64 position, uint64 off)
{
	AucLane    *lane = dl->lane;

	CHECK_FOR_INTERRUPTS();
	dl->applied = position;
	dl->cursor.off = off;
	pg_atomic_write_u64(&lane->applied_off, off);
	pg_write_barrier();
	pg_atomic_write_u64(&lane->applied, position);
	/* "applied_at" says that "applied" is known */
	pg_write_barrier();
	pg_atomic_write_u64(&lane->applied_at, (uint64) GetCurrentTimestamp());
	ConditionVariableBroadcast(&lane->applied_cv);
	/* the router stores what it wants, then looks at "applied" once more */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&lane->applied_wanted) > 0)
		auc_server_wake_router(dl->drain->server);
}

void
auc_drain_lane_begin(AucDrainLane *dl)
{
	Datum		values[] = {Int32GetDatum(dl->lane_id)};
	uint64		applied;
	uint64		off;
	const AucRecord *record;

	auc_worker_xact_begin("beginning with a lane");
	SPI_connect();
	if (auc_statement_run(&begin_lane, values, SPI_OK_UPDATE_RETURNING) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("lane %d is not in auction.lanes", dl->lane_id)));
	applied = (uint64) auc_statement_int64(0, 1);
	SPI_finish();
	auc_worker_xact_commit();

	/* a predecessor may have committed more than it published */
	dl->cursor.lane = dl->lane;
	do
	{
		off = dl->cursor.off = Max(dl->cursor.off,
								   pg_atomic_read_u64(&dl->lane->applied_off));
		record = auc_tail_next(&dl->cursor);
	} while (record != NULL && record->position <= applied);
	auc_drain_publish(dl, applied, off);
	pg_atomic_write_u32(&dl->lane->drain_stopped, 0);
}

/* ---- rows ---- */

void
auc_drain_forget_rows(AucDrainLane *dl)
{
	HASHCTL		ctl = {0};

	if (dl->rows != NULL)
		hash_destroy(dl->rows);
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(AucDrainRow);
	ctl.hcxt = dl->drain->context;
	dl->rows = hash_create("state rows of a lane", 256, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dl->drain->ndirty = 0;
	dl->drain->nmoves = 0;
}

/* NULL: no such auction. */
static AucDrainRow *
read_row(AucDrainLane *dl, AucStore *store, int64 auction_id)
{
	AucDrainRow *entry;
	AucRow		row;

	if (!auc_store_find(store, auction_id, NULL, &row))
		return NULL;
	entry = hash_search(dl->rows, &auction_id, HASH_ENTER, NULL);
	entry->row = row;
	entry->dirty = false;
	entry->moved = false;
	return entry;
}

/* Bids that an auction has before this record. */
static int64
bids_before(const AucRecord *record)
{
	return auc_record_is_bid(record) ? record->bid_no - 1 :
		record->state.bid_count;
}

static AucDrainRow *
row_of(AucDrainLane *dl, AucStore *store, const AucRecord *record)
{
	AucDrainRow *entry = hash_search(dl->rows, &record->auction_id, HASH_FIND,
									 NULL);

	if (entry == NULL)
		entry = read_row(dl, store, record->auction_id);
	/*
	 * The cache may be older than a rest, or the end of a quarantine; never
	 * than our own writes.
	 */
	else if (!entry->dirty &&
			 (entry->row.state.status == AUC_STATUS_QUARANTINED ||
			  bids_before(record) != entry->row.state.bid_count))
		entry = read_row(dl, store, record->auction_id);
	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("auction %lld does not exist",
						(long long) record->auction_id)));
	return entry;
}

/*
 * Bids between this record and what is applied were given up with a gap; its
 * state has them, so that a close or a move would bring them into the row.
 */
static void
check_follows(const AucRecord *record, const AucState *state)
{
	if (bids_before(record) == state->bid_count)
		return;
	if (auc_record_is_bid(record))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("bid %lld of auction %lld does not follow bid %lld",
						(long long) record->bid_no,
						(long long) record->auction_id,
						(long long) state->bid_count)));
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("%s of auction %lld behind bid %lld does not follow bid %lld",
					record->kind == AUC_RECORD_CLOSE ? "close" : "move",
					(long long) record->auction_id,
					(long long) record->state.bid_count,
					(long long) state->bid_count)));
}

/* Returns true if the record's bid is to be inserted into the journal. */
static bool
apply_record(AucDrainLane *dl, AucStore *store, const AucRecord *record)
{
	AucDrainRow *entry;

	if (record->kind == AUC_RECORD_SKIP)
		return false;
	entry = row_of(dl, store, record);
	if (entry->row.state.status == AUC_STATUS_QUARANTINED)
	{
		auc_drain_bury(dl, record, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "the auction is quarantined");
		return false;
	}
	if (entry->row.route != AUC_ROUTE_REDIS)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("auction %lld is not on route \"redis\"",
						(long long) record->auction_id)));
	check_follows(record, &entry->row.state);
	entry->row.state = record->state;
	if (record->kind == AUC_RECORD_MOVE)
		auc_drain_move(dl, entry, record);
	if (!entry->dirty)
	{
		entry->dirty = true;
		dl->drain->dirty[dl->drain->ndirty++] = entry;
	}
	return auc_record_is_bid(record);
}

static void
write_rows(AucDrain *drain, AucStore *store)
{
	for (int i = 0; i < drain->ndirty; i++)
	{
		if (drain->dirty[i]->moved)
			auc_store_write_route(store, &drain->dirty[i]->row, true);
		else
			auc_store_write(store, &drain->dirty[i]->row, true);
		drain->dirty[i]->dirty = false;
	}
	drain->ndirty = 0;
}

/* ---- transactions ---- */

static void
apply_run(AucDrainLane *dl, int from, int n)
{
	AucDrainBatch *batch = &dl->drain->batch;
	const AucRecord *bids[INSERT_ROWS];
	const char *attributes[INSERT_ROWS];
	int			nbids = 0;
	AucStore   *store;

	if (hash_get_num_entries(dl->rows) > ROWS_MAX)
		auc_drain_forget_rows(dl);
	auc_worker_xact_begin("applying records");
	store = auc_store_open(true, RowExclusiveLock);
	SPI_connect();
	for (int i = from; i < from + n; i++)
	{
		const AucRecord *record = batch->records[i];

		if (!apply_record(dl, store, record))
			continue;
		bids[nbids] = record;
		attributes[nbids++] = auc_tail_attributes(record);
		if (nbids == INSERT_ROWS)
		{
			auc_store_insert_bids(store, nbids, bids, attributes, dl->lane_id);
			nbids = 0;
		}
	}
	if (nbids > 0)
		auc_store_insert_bids(store, nbids, bids, attributes, dl->lane_id);
	write_rows(dl->drain, store);
	auc_drain_set_applied(dl, batch->records[from + n - 1]->position);
	SPI_finish();
	auc_store_close(store);
	auc_worker_xact_commit();
	auc_drain_moved(dl);
	auc_drain_publish(dl, batch->records[from + n - 1]->position,
					  batch->ends[from + n - 1]);
}

static void
bury_one(AucDrainLane *dl, int from, int n)
{
	auc_drain_quarantine(dl, from, dl->drain->fault);
}

/* NULL: done; else the error, in the batch's context. */
static ErrorData *
try_work(void (*work) (AucDrainLane *, int, int), AucDrainLane *dl, int from,
		 int n)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		work(dl, from, n);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(dl->drain->batch_context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(dl->drain->batch_context);
	}
	PG_END_TRY();
	if (error != NULL)
		auc_drain_forget_rows(dl);
	return error;
}

/* Lets an error reach the log without ending the process. */
static void
report_retry(AucDrainLane *dl, const ErrorData *error)
{
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("lane %d could not be applied behind position " UINT64_FORMAT ": %s",
					dl->lane_id, dl->applied, error->message),
			 errdetail("It is tried again in a second.")));
	dl->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	pg_atomic_write_u32(&dl->lane->drain_stopped, 1);
}

/* false: the lane has to wait, nothing behind "from" is applied. */
static bool
apply_span(AucDrainLane *dl, int from, int n)
{
	ErrorData  *error = try_work(apply_run, dl, from, n);

	if (error == NULL)
		return true;
	if (n == 1 && auc_drain_is_own_fault(error))
	{
		dl->drain->fault = error;
		error = try_work(bury_one, dl, from, 1);
		if (error == NULL)
			return true;
	}
	if (n == 1 || !auc_drain_is_own_fault(error))
	{
		report_retry(dl, error);
		return false;
	}
	return apply_span(dl, from, n / 2) &&
		apply_span(dl, from + n / 2, n - n / 2);
}

void
auc_drain_apply(AucDrainLane *dl)
{
	if (apply_span(dl, 0, dl->drain->batch.n))
		pg_atomic_write_u32(&dl->lane->drain_stopped, 0);
	MemoryContextReset(dl->drain->batch_context);
}
