/*
 * waits.c: see waits.h.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "waits.h"

static const char *const names[] = {
	[AUC_WAIT_APPLIED] = "AuctionApplied",
	[AUC_WAIT_AUDIT] = "AuctionAudit",
	[AUC_WAIT_BID_OUTCOME] = "AuctionBidOutcome",
	[AUC_WAIT_BID_STATUS] = "AuctionBidStatus",
	[AUC_WAIT_CONSOLIDATOR_MAIN] = "AuctionConsolidatorMain",
	[AUC_WAIT_DRAIN_MAIN] = "AuctionDrainMain",
	[AUC_WAIT_LANE_START] = "AuctionLaneStart",
	[AUC_WAIT_LAUNCHER_MAIN] = "AuctionLauncherMain",
	[AUC_WAIT_PROCEDURE] = "AuctionProcedure",
	[AUC_WAIT_REBUILD] = "AuctionRebuild",
	[AUC_WAIT_RELEASE] = "AuctionRelease",
	[AUC_WAIT_ROUTER_MAIN] = "AuctionRouterMain",
	[AUC_WAIT_SHARD] = "AuctionShard",
	[AUC_WAIT_SLOT_FREE] = "AuctionSlotFree",
	[AUC_WAIT_STEWARD_MAIN] = "AuctionStewardMain",
	[AUC_WAIT_STOP] = "AuctionStop",
	[AUC_WAIT_SUSPEND] = "AuctionSuspend",
};

/* PostgreSQL looks a name up under a lock: too long for each bid. */
uint32
auc_wait_event(AucWaitEvent event)
{
	static uint32 known[lengthof(names)];

	if (known[event] == 0)
		known[event] = auc_wait_event_new(names[event]);
	return known[event];
}

void
auc_nap(long ms, AucWaitEvent event)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 auc_wait_event(event));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
