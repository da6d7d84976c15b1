/*
 * stat_shadow.c: mirrored bids as SQL sees them.
 *
 * Counters are read one atomic after the other, while backends and routers go
 * on; the outcomes before the entries they are of.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "shm.h"
#include "shm_lane.h"
#include "shm_shadow.h"

PG_FUNCTION_INFO_V1(auction__stat_shadow);
PG_FUNCTION_INFO_V1(auction__shadow_differences);

/* Columns of auction._stat_shadow() and auction._shadow_differences(). */
#define STAT_COLUMNS		11
#define DIFFERENCE_COLUMNS	14

/* The i-th server, if it is one of this database. */
static AucServer *
own_server(int i)
{
	AucServer  *server = auc_server(i);

	return server->bound && server->dboid == MyDatabaseId ? server : NULL;
}

static void
put_time(const AucShadowTime *time, Datum *values, bool *isnull)
{
	isnull[0] = isnull[1] = time->count == 0;
	if (time->count == 0)
		return;
	values[0] = Float8GetDatum(time->sum_us / 1000.0 / time->count);
	values[1] = Float8GetDatum(time->max_us / 1000.0);
}

/* One row for each attached server of this database. */
Datum
auction__stat_shadow(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; auc_shm_available() && i < auc_server_count(); i++)
	{
		AucServer  *server = own_server(i);
		Datum		values[STAT_COLUMNS] = {0};
		bool		isnull[STAT_COLUMNS] = {false};
		AucShadowStat stat;
		uint64		done;

		if (server == NULL)
			continue;
		auc_shadow_stat(i, server->generation, &stat);
		done = stat.same + stat.different + stat.failed;
		values[0] = NameGetDatum(&server->name);
		values[1] = Int64GetDatum(stat.entries);
		values[2] = Int64GetDatum(stat.same);
		values[3] = Int64GetDatum(stat.different);
		values[4] = Int64GetDatum(stat.failed);
		values[5] = Int64GetDatum(stat.entries > done ?
								  stat.entries - done : 0);
		values[6] = Int64GetDatum(stat.dropped);
		put_time(&stat.table, &values[7], &isnull[7]);
		put_time(&stat.redis, &values[9], &isnull[9]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	return (Datum) 0;
}

/* accepted, reason, price, leader */
static void
put_verdict(const AucVerdict *verdict, Datum *values, bool *isnull)
{
	values[0] = BoolGetDatum(verdict->accepted);
	isnull[1] = verdict->reason == AUC_REASON_NONE;
	if (!isnull[1])
		values[1] = CStringGetTextDatum(auc_reason_name(verdict->reason));
	values[2] = Int64GetDatum(verdict->price);
	isnull[3] = !verdict->has_leader;
	values[3] = Int64GetDatum(verdict->leader_id);
}

static void
put_difference(ReturnSetInfo *rsinfo, AucServer *server,
			   const AucShadowDifference *difference)
{
	Datum		values[DIFFERENCE_COLUMNS] = {0};
	bool		isnull[DIFFERENCE_COLUMNS] = {false};

	values[0] = NameGetDatum(&server->name);
	values[1] = TimestampTzGetDatum(difference->at);
	values[2] = Int64GetDatum(difference->auction_id);
	values[3] = Int64GetDatum(difference->user_id);
	values[4] = Int64GetDatum(difference->amount);
	put_verdict(&difference->table, &values[5], &isnull[5]);
	put_verdict(&difference->shadow, &values[9], &isnull[9]);
	values[13] = CStringGetTextDatum(difference->what);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/* The newest of each server first. */
Datum
auction__shadow_differences(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; auc_shm_available() && i < auc_server_count(); i++)
	{
		AucServer  *server = own_server(i);
		AucShadowDifference difference;

		for (int n = 0; server != NULL &&
			 auc_shadow_difference(i, server->generation, n, &difference); n++)
			put_difference(rsinfo, server, &difference);
	}
	return (Datum) 0;
}
