/*
 * worker_sql.c: SQL functions about workers.
 */
#include "postgres.h"

#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hooks.h"
#include "shm.h"
#include "shm_worker.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction__start_workers);
PG_FUNCTION_INFO_V1(auction__stat_workers);

/* Last statement of the install script. */
Datum
auction__start_workers(PG_FUNCTION_ARGS)
{
	if (!auc_shm_available())
		ereport(WARNING,
				(errcode(AUC_ERRCODE_NOT_PRELOADED),
				 errmsg("auctions are not closed, and route redis is not available, until \"auction\" is in shared_preload_libraries"),
				 errhint("Add auction to shared_preload_libraries and restart the server. Bids on route \"table\" work without it.")));
	else
		auc_hooks_extension_changed();
	PG_RETURN_VOID();
}

static const char *
kind_name(AucWorkerKind kind)
{
	static const char *const names[] = {
		[AUC_WORKER_LAUNCHER] = "launcher",
		[AUC_WORKER_STEWARD] = "steward",
		[AUC_WORKER_CONSOLIDATOR] = "consolidator",
		[AUC_WORKER_ROUTER] = "router",
		[AUC_WORKER_DRAIN] = "drain",
	};

	return names[kind];
}

static const char *
state_name(const AucWorkerInfo *info)
{
	switch (info->state)
	{
		case AUC_WORKER_STARTING:
			return "starting";
		case AUC_WORKER_RUNNING:
			return "running";
		case AUC_WORKER_ENDED:
			/* it failed, and its parent waits */
			if (info->next_start > GetCurrentTimestamp())
				return "waiting";
			return "ended";
		case AUC_WORKER_NONE:
			break;
	}
	return "none";
}

/*
 * kind, database oid, server, pid, state, started_at, restarts, last_exit,
 * next_start
 */
static void
put_worker(ReturnSetInfo *rsinfo, const AucWorkerInfo *info)
{
	Datum		values[9];
	bool		nulls[9] = {false};

	values[0] = CStringGetTextDatum(kind_name(info->kind));
	values[1] = ObjectIdGetDatum(info->dboid);
	nulls[1] = !OidIsValid(info->dboid);
	values[2] = NameGetDatum(&info->server);
	nulls[2] = NameStr(info->server)[0] == '\0';
	values[3] = Int32GetDatum(info->pid);
	nulls[3] = info->pid == 0;
	values[4] = CStringGetTextDatum(state_name(info));
	values[5] = TimestampTzGetDatum(info->started_at);
	nulls[5] = info->starts == 0;
	values[6] = Int32GetDatum(Max(info->starts - 1, 0));
	values[7] = Int32GetDatum(info->last_exit);
	nulls[7] = info->last_exit < 0;
	values[8] = TimestampTzGetDatum(info->next_start);
	nulls[8] = info->state != AUC_WORKER_ENDED ||
		strcmp(state_name(info), "waiting") != 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
auction__stat_workers(PG_FUNCTION_ARGS)
{
	AucWorkerInfo *infos;
	int			n;

	auc_shm_require("auction.stat_workers");
	InitMaterializedSRF(fcinfo, 0);
	infos = auc_worker_snapshot(&n);
	for (int i = 0; i < n; i++)
		put_worker((ReturnSetInfo *) fcinfo->resultinfo, &infos[i]);
	return (Datum) 0;
}
