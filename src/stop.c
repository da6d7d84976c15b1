/*
 * stop.c: see stop.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "settings.h"
#include "stop.h"
#include "utils/guc.h"
#include "waits.h"

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
		auc_nap(LOOK_MS, AUC_WAIT_STOP);
		if (!ConfigReloadPending)
			continue;
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}
