/*
 * consolidator.c: one process per database whose history has a shard on
 * another server, or being moved, or is too old (retention.h); the protocol of
 * consolidation is in consolidator.h.
 *
 * Batches that were sent wait in a queue, in memory only, until they can be
 * marked, oldest first; more are sent meanwhile.  A new process has an empty
 * queue and sends what is not marked again.
 *
 * A page that finds nothing to do makes the cursor begin again, after a pause:
 * auctions that wait for a server or a move, or were verified late, are behind
 * it.
 */
#include "postgres.h"

#include <setjmp.h>

#include "access/xact.h"
#include "consolidator.h"
#include "miscadmin.h"
#include "retention.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"
#include "worker.h"
#include "worker_start.h"

#define ROUND_MS		1000
#define ERROR_PAUSE_MS	1000
/* How often onlookers are looked for. */
#define ONLOOKER_MS		10
#define MAX_BATCHES		64

static List *batches = NIL;		/* in TopMemoryContext, oldest first */
static AucFinishCursor cursor;
/* Not before this does the cursor begin again. */
static TimestampTz next_pass = 0;

static void
add_batch(AucBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	batches = lappend(batches, batch);
	MemoryContextSwitchTo(old);
}

/* Marks those whose onlookers have ended, as long as they are the oldest. */
static void
mark_some(void)
{
	while (batches != NIL)
	{
		AucBatch   *batch = linitial(batches);

		if (batch->onlookers != NULL && !auc_onlookers_gone(batch->onlookers))
			return;
		/* whatever happens to it, it is not tried twice */
		batches = list_delete_first(batches);
		auc_consolidator_mark(batch);
	}
}

/* What send_some() found. */
static bool all_local;

/* true: there may be more at once. */
static bool
send_some(void)
{
	/* an ERROR leaves it where it was */
	AucFinishCursor next = cursor;
	AucBatch   *batch;
	bool		last;

	if (list_length(batches) >= MAX_BATCHES || next_pass > GetCurrentTimestamp())
		return false;
	batch = auc_consolidator_send(&next, batches, &last, &all_local);
	cursor = next;
	if (batch != NULL)
		add_batch(batch);
	if (!last)
		return true;
	auc_finish_start(&cursor);
	next_pass = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROUND_MS);
	return false;
}

/* The servers that the last step of removing spoke to. */
static List *removed_from = NIL;

static AucRemote *
connect_shard_server(Oid serverid)
{
	AucShardServer *server;
	MemoryContext old;

	if (!OidIsValid(serverid))
	{
		auc_shard_servers_use(NULL);
		return NULL;
	}
	server = auc_shard_servers_get(serverid);
	auc_shard_servers_use(server);
	old = MemoryContextSwitchTo(TopMemoryContext);
	removed_from = list_append_unique_ptr(removed_from, server);
	MemoryContextSwitchTo(old);
	return auc_shard_servers_connect(server);
}

/* Not while a server fails: what it holds could not be removed. */
static bool
remove_some(void)
{
	bool		more;
	ListCell   *cell;

	if (auc_shard_servers_next(GetCurrentTimestamp()) != DT_NOEND)
		return false;
	list_free(removed_from);
	removed_from = NIL;
	more = auc_retention_turn(connect_shard_server);
	foreach(cell, removed_from)
		auc_shard_servers_succeeded(lfirst(cell));
	return more;
}

/*
 * Runs it; an ERROR that a shard server is to blame for is noted there, and it
 * can be tried again without that.  Any other is the caller's.
 */
static bool
try_step(bool (*step) (void), MemoryContext context)
{
	volatile bool more = true;

	PG_TRY();
	{
		more = step();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		HOLD_INTERRUPTS();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
		if (!auc_shard_servers_failed(error, GetCurrentTimestamp()))
			ReThrowError(error);
	}
	PG_END_TRY();
	return more;
}

/* Returns whether somebody has set the latch. */
static bool
wait_until(TimestampTz next)
{
	return WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 next),
					 auc_wait_event(AUC_WAIT_CONSOLIDATOR_MAIN)) &
		WL_LATCH_SET;
}

static TimestampTz
next_round(bool more)
{
	TimestampTz now = GetCurrentTimestamp();

	if (more)
		return now;
	if (batches != NIL)
		return TimestampTzPlusMilliseconds(now, ONLOOKER_MS);
	return Min(TimestampTzPlusMilliseconds(now, ROUND_MS),
			   auc_shard_servers_next(now));
}

void
auc_consolidator_main(Datum arg)
{
	sigjmp_buf	local_sigjmp_buf;
	MemoryContext context;

	auc_worker_begin(AUC_WORKER_CONSOLIDATOR, -1);
	context = AllocSetContextCreate(TopMemoryContext, "auction consolidator",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	auc_finish_start(&cursor);

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		auc_worker_recover(context);
		/* whoever sets the latch meanwhile is served by the next round */
		ResetLatch(MyLatch);
		(void) wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  ERROR_PAUSE_MS));
	}
	PG_exception_stack = &local_sigjmp_buf;

	for (;;)
	{
		bool		more;

		/* what happens after this wakes us again */
		ResetLatch(MyLatch);
		auc_worker_loop();
		mark_some();
		more = try_step(send_some, context);
		if (try_step(remove_some, context))
			more = true;
		if (all_local && batches == NIL && !auc_retention_wanted())
			proc_exit(0);
		MemoryContextReset(context);
		/* the steward has verified some */
		if (wait_until(next_round(more)))
			next_pass = 0;
	}
}
