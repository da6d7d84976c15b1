/*
 * drain.c: the process that applies records to PostgreSQL.
 *
 * One per attached server and database; for route redis the only writer of
 * journal, state rows and lanes.applied.  It takes records from the lanes'
 * tails, in order, as far as the router allows (apply_limit: confirmed by
 * Redis, or the lane is degraded).  It knows no Redis: after a crash of
 * PostgreSQL the router puts the log's records into the tail.
 *
 * While nobody waits for the journal it collects for auction.drain_delay
 * between two transactions; a waiter (applied_wanted) makes it go on at once.
 */
#include "postgres.h"

#include "drain.h"
#include "errors.h"
#include "miscadmin.h"
#include "settings.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"
#include "worker.h"

/* Longest sleep of an idle drain; the router wakes it. */
#define IDLE_MS		1000

/* ---- what may be applied ---- */

static void
size_batch(AucDrain *drain)
{
	AucDrainBatch *batch = &drain->batch;

	if (batch->size >= auc_guc_drain_batch)
		return;
	if (batch->records != NULL)
	{
		pfree(batch->records);
		pfree(batch->ends);
		pfree(drain->dirty);
		pfree(drain->moves);
	}
	batch->size = auc_guc_drain_batch;
	batch->records = MemoryContextAlloc(drain->context,
										batch->size * sizeof(AucRecord *));
	batch->ends = MemoryContextAlloc(drain->context,
									 batch->size * sizeof(uint64));
	drain->dirty = MemoryContextAlloc(drain->context,
									  batch->size * sizeof(AucDrainRow *));
	drain->moves = MemoryContextAlloc(drain->context,
									  batch->size * sizeof(int64));
}

/* Rule 8: a gap stops this lane and nothing else. */
static void
stop_at_gap(AucDrainLane *dl, const AucRecord *record)
{
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("lane %d is stopped: positions " UINT64_FORMAT " to " UINT64_FORMAT " are missing",
					dl->lane_id, dl->applied + 1, record->first - 1),
			 errdetail("The lane's drain goes on when they are there; other lanes are not concerned.")));
	pg_atomic_write_u32(&dl->lane->drain_stopped, 1);
	dl->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 60000);
}

/* Fills the batch with at most "most" records that may be applied now. */
static void
collect(AucDrainLane *dl, int most)
{
	AucDrainBatch *batch = &dl->drain->batch;
	uint64		limit = pg_atomic_read_u64(&dl->lane->apply_limit);
	AucTailCursor cursor = dl->cursor;
	uint64		applied = dl->applied;
	const AucRecord *record;

	batch->n = 0;
	while (batch->n < most && (record = auc_tail_next(&cursor)) != NULL &&
		   record->position <= limit)
	{
		if (record->first != applied + 1)
		{
			if (batch->n == 0)
				stop_at_gap(dl, record);
			break;
		}
		applied = record->position;
		batch->records[batch->n] = record;
		batch->ends[batch->n++] = cursor.off;
	}
}

static bool
has_work(AucDrainLane *dl)
{
	AucTailCursor cursor = dl->cursor;
	const AucRecord *record = auc_tail_next(&cursor);

	return record != NULL &&
		record->position <= pg_atomic_read_u64(&dl->lane->apply_limit);
}

/* ---- auction.drain_rate ---- */

/* Rows that may be applied now: a bucket that holds a tenth of a second. */
static int
allowance(AucDrain *drain, TimestampTz now)
{
	double		rate = auc_guc_drain_rate;

	if (rate <= 0)
	{
		drain->tokens = 0;
		drain->tokens_at = now;
		return auc_guc_drain_batch;
	}
	drain->tokens += rate * (now - drain->tokens_at) / USECS_PER_SEC;
	drain->tokens = Min(drain->tokens, Max(rate / 10, 1));
	drain->tokens_at = now;
	return Min((int) drain->tokens, auc_guc_drain_batch);
}

/* ---- a turn ---- */

typedef enum AucDrainNext
{
	DRAIN_IDLE,					/* nothing to apply: sleep until woken */
	DRAIN_COLLECT,				/* applied something: let more come together */
	DRAIN_WAIT,					/* work is there, but not allowed yet */
	DRAIN_AGAIN					/* there is more */
} AucDrainNext;

static AucDrainNext
step_lane(AucDrainLane *dl, TimestampTz now)
{
	AucDrain   *drain = dl->drain;
	int			most = allowance(drain, now);

	if (dl->retry_at != 0 && now < dl->retry_at)
		return has_work(dl) ? DRAIN_WAIT : DRAIN_IDLE;
	dl->retry_at = 0;
	if (most <= 0)
		return has_work(dl) ? DRAIN_WAIT : DRAIN_IDLE;
	collect(dl, most);
	if (drain->batch.n == 0)
		return dl->retry_at != 0 ? DRAIN_WAIT : DRAIN_IDLE;
	most = drain->batch.n;
	auc_drain_apply(dl);
	if (auc_guc_drain_rate > 0)
		drain->tokens -= most;
	if (dl->retry_at != 0)
		return DRAIN_WAIT;
	return most == auc_guc_drain_batch ? DRAIN_AGAIN : DRAIN_COLLECT;
}

static AucDrainNext
step(AucDrain *drain)
{
	AucDrainNext next = DRAIN_IDLE;

	if (pg_atomic_read_u32(&drain->server->drain_paused))
		return DRAIN_IDLE;
	size_batch(drain);
	/* in turn, so that none takes all that auction.drain_rate allows */
	drain->first = (drain->first + 1) % drain->nlanes;
	for (int i = 0; i < drain->nlanes; i++)
	{
		AucDrainLane *dl = &drain->lanes[(drain->first + i) % drain->nlanes];
		AucDrainNext lane_next = step_lane(dl, GetCurrentTimestamp());

		next = Max(next, lane_next);
	}
	return next;
}

/* Says that it sleeps before it looks a last time, so no wake-up is missed. */
static bool
may_idle(AucDrain *drain)
{
	pg_atomic_exchange_u32(&drain->server->drain_idle, 1);
	if (pg_atomic_read_u32(&drain->server->drain_paused))
		return true;
	for (int i = 0; i < drain->nlanes; i++)
		if (has_work(&drain->lanes[i]) && drain->lanes[i].retry_at == 0)
		{
			pg_atomic_exchange_u32(&drain->server->drain_idle, 0);
			return false;
		}
	return true;
}

static void
wait_for_work(AucDrain *drain, AucDrainNext next)
{
	long		timeout = IDLE_MS;

	if (next == DRAIN_AGAIN)
		return;
	if (next == DRAIN_COLLECT)
		timeout = auc_guc_drain_delay;
	else if (next == DRAIN_WAIT)
		timeout = auc_guc_drain_rate > 0 ? 10 : 100;
	else if (!may_idle(drain))
		return;
	if (timeout > 0)
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, auc_wait_event(AUC_WAIT_DRAIN_MAIN));
	ResetLatch(MyLatch);
}

/* ---- the process ---- */

static AucDrain *
create_drain(int server_index)
{
	AucDrain   *drain = MemoryContextAllocZero(TopMemoryContext,
											   sizeof(AucDrain));

	drain->server = auc_server(server_index);
	drain->context = AllocSetContextCreate(TopMemoryContext, "auction drain",
										   ALLOCSET_DEFAULT_SIZES);
	drain->batch_context = AllocSetContextCreate(TopMemoryContext,
												 "auction drain batch",
												 ALLOCSET_DEFAULT_SIZES);
	drain->tokens_at = GetCurrentTimestamp();
	drain->lanes = MemoryContextAllocZero(drain->context,
										  auc_lane_count() *
										  sizeof(AucDrainLane));
	for (int i = 0; i < auc_lane_count(); i++)
	{
		AucLane    *lane = auc_lane(i);
		AucDrainLane *dl = &drain->lanes[drain->nlanes];

		if (!lane->bound || lane->server != server_index ||
			lane->dboid != MyDatabaseId)
			continue;
		dl->drain = drain;
		dl->lane = lane;
		dl->lane_id = lane->lane_id;
		drain->nlanes++;
	}
	if (drain->nlanes == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("no lane of server \"%s\" is bound yet",
						NameStr(drain->server->name))));
	return drain;
}

void
auc_drain_main(Datum arg)
{
	AucDrain   *drain;

	auc_worker_begin(AUC_WORKER_DRAIN, DatumGetInt32(arg));
	drain = create_drain(DatumGetInt32(arg));
	pg_atomic_exchange_u32(&drain->server->drain_idle, 0);
	for (int i = 0; i < drain->nlanes; i++)
	{
		auc_drain_forget_rows(&drain->lanes[i]);
		auc_drain_lane_begin(&drain->lanes[i]);
	}
	/* the router may wait for "applied" to be known */
	auc_server_wake_router(drain->server);
	for (;;)
	{
		auc_worker_loop();
		wait_for_work(drain, step(drain));
	}
}
