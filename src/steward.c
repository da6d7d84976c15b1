/*
 * steward.c: one process per database that has the extension.
 *
 * Each round: the servers that are attached get their entries in shared memory
 * (steward_servers.c), a router and a drain; those no longer attached lose
 * them; names of hosts are resolved (steward_resolve.c); then the jobs of
 * steward_close.h run, in short transactions of their own; lock waits are
 * sampled (steward_sample.c).
 *
 * An ERROR in any of that is logged, and the next round begins a second later:
 * what is wrong with one auction, or with one catalog, must not keep the
 * steward from the others.  Routers and drains do not depend on the steward
 * being alive; a new one finds them in the registry.
 */
#include "postgres.h"

#include <setjmp.h>

#include "miscadmin.h"
#include "shm_worker.h"
#include "steward.h"
#include "steward_close.h"
#include "steward_guard.h"
#include "steward_sample.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"
#include "worker.h"
#include "worker_start.h"

/* A round at least so often, whatever happens. */
#define ROUND_MS		1000
#define ERROR_PAUSE_MS	1000

static void
step(TimestampTz now, MemoryContext context, TimestampTz *next)
{
	TimestampTz due = *next;

	auc_steward_servers_run(now, next);
	auc_steward_resolve_run(now);
	auc_steward_guard_run(now);
	auc_steward_jobs_run(now, &due);
	if (due < *next)
		*next = due;
	auc_steward_sample_run(now, context, next);
}

static void
wait_until(TimestampTz next)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													 next),
					 auc_wait_event(AUC_WAIT_STEWARD_MAIN));
}

void
auc_steward_main(Datum arg)
{
	sigjmp_buf	local_sigjmp_buf;
	MemoryContext context;

	auc_worker_begin(AUC_WORKER_STEWARD, -1);
	context = AllocSetContextCreate(TopMemoryContext, "auction steward",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		auc_worker_recover(context);
		/* whoever sets the latch meanwhile is served by the next round */
		ResetLatch(MyLatch);
		wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   ERROR_PAUSE_MS));
	}
	PG_exception_stack = &local_sigjmp_buf;

	for (;;)
	{
		TimestampTz now;
		TimestampTz next;

		/* what happens after this wakes us again */
		ResetLatch(MyLatch);
		auc_worker_loop();
		now = GetCurrentTimestamp();
		next = TimestampTzPlusMilliseconds(now, ROUND_MS);
		step(now, context, &next);
		MemoryContextReset(context);
		wait_until(next);
	}
}
