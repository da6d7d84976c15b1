/*
 * health.c: what auction.health() needs from shared memory.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "redis_preflight.h"
#include "shm.h"
#include "shm_lane.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction__preloaded);
PG_FUNCTION_INFO_V1(auction__health_redis);

Datum
auction__preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(auc_shm_available());
}

/* What the router of the server of this name has found; false: nothing. */
static bool
facts_of(const char *name, AucRedisFacts *facts)
{
	for (int i = 0; auc_shm_available() && i < auc_server_count(); i++)
	{
		AucServer  *server = auc_server(i);

		if (!server->bound || server->dboid != MyDatabaseId ||
			strcmp(NameStr(server->name), name) != 0)
			continue;
		auc_server_get_facts(server, facts);
		return facts->asked_at != 0;
	}
	return false;
}

/* (server, relied_on, replicas): item, status, finding, remedy, asked_at */
Datum
auction__health_redis(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AucPreflightWish wish;
	AucRedisFacts facts;

	InitMaterializedSRF(fcinfo, 0);
	if (!facts_of(NameStr(*PG_GETARG_NAME(0)), &facts))
		return (Datum) 0;
	wish.relied_on = PG_GETARG_BOOL(1);
	wish.replicas = PG_GETARG_INT32(2);
	for (int i = 0; i < AUC_PREFLIGHT_COUNT; i++)
	{
		AucPreflightVerdict verdict;
		Datum		values[5];
		bool		isnull[5] = {false};

		auc_preflight_judge(&facts, &wish, (AucPreflightItem) i, &verdict);
		values[0] = CStringGetTextDatum(verdict.item);
		values[1] =
			CStringGetTextDatum(auc_preflight_status_name(verdict.status));
		values[2] = CStringGetTextDatum(verdict.finding);
		isnull[3] = verdict.remedy == NULL;
		if (verdict.remedy != NULL)
			values[3] = CStringGetTextDatum(verdict.remedy);
		values[4] = TimestampTzGetDatum(facts.asked_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	return (Datum) 0;
}
