/*
 * stop.c: see stop.h.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "settings.h"
#include "stop.h"
#include "storage/latch.h"
#include "utils/guc.h"

#define LOOK_MS	10

static bool
wanted(const char *point)
{
	return auc_guc_stop_at != NULL && strcmp(auc_guc_stop_at, point) == 0;
}

void
auc_stop_at(const char *point)
{
	if (!wanted(point))
		return;
	ereport(LOG, (errmsg("stopped at \"%s\"", point)));
	while (wanted(point))
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, auc_wait_event_new("AuctionStop"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!ConfigReloadPending)
			continue;
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}
