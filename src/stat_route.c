/*
 * stat_route.c: the routes as SQL sees them: their figures (shm_stat.h) and
 * what compare.c says about them.
 */
#include "postgres.h"

#include <math.h>

#include "argument.h"
#include "compare.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lock.h"
#include "miscadmin.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_shadow.h"
#include "shm_slot.h"
#include "shm_stat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction__stat_routes);
PG_FUNCTION_INFO_V1(auction_stat_reset);
PG_FUNCTION_INFO_V1(auction__sample_ratio);
PG_FUNCTION_INFO_V1(auction__compare_routes);

/* Columns of auction._stat_routes(). */
#define STAT_COLUMNS	17

static const char *const route_names[AUC_STAT_ROUTES] = {
	[AUC_STAT_TABLE] = "table",
	[AUC_STAT_REDIS] = "redis",
	[AUC_STAT_SHADOW] = "shadow",
};

static const char *const error_names[AUC_STAT_ERRORS] = {
	[AUC_STAT_NOT_RECORDED] = "not_recorded",
	[AUC_STAT_UNKNOWN] = "unknown",
	[AUC_STAT_OVERLOADED] = "overloaded",
	[AUC_STAT_RECOVERING] = "recovering",
	[AUC_STAT_FENCED] = "fenced",
	[AUC_STAT_OTHER] = "other",
};

/* ---- figures ---- */

static AucStatSince
since_of(Datum value)
{
	char	   *since;

	since = text_to_cstring(DatumGetTextPP(value));
	if (strcmp(since, "step") == 0)
		return AUC_STAT_STEP;
	if (strcmp(since, "reset") == 0)
		return AUC_STAT_RESET;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"since\" must not be \"%s\"", since),
			 errhint("It is \"step\" or \"reset\".")));
}

/* {"name": count, ...} of those that are not 0. */
static Datum
counts_as_jsonb(int n, const uint64 *counts, const char *(*name_of) (int))
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < n; i++)
		if (counts[i] > 0)
			appendStringInfo(&text, "%s\"%s\": " UINT64_FORMAT,
							 text.len > 1 ? ", " : "", name_of(i), counts[i]);
	appendStringInfoChar(&text, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

static const char *
reason_name(int reason)
{
	return auc_reason_name((AucReason) reason);
}

static const char *
error_name(int error)
{
	return error_names[error];
}

/* Bids that wait now; a mirrored bid waits for nobody. */
static Datum
waiting(AucStatRoute route, bool *isnull)
{
	int			n = 0;

	if (route == AUC_STAT_TABLE)
		n = auc_lock_waiting();
	else if (route == AUC_STAT_REDIS)
	{
		for (int i = 0; i < auc_server_count(); i++)
			if (auc_server(i)->bound && auc_server(i)->dboid == MyDatabaseId)
				n += auc_slot_waiting(i, NULL);
	}
	*isnull = route == AUC_STAT_SHADOW;
	return Int64GetDatum(n);
}

static Datum
milliseconds(uint64 us)
{
	return Float8GetDatum((double) us / 1000);
}

/*
 * p50, p95, p99, p99.9, the longest and the mean.  A bucket's greatest value
 * may be above the longest that was seen.
 */
static void
latency_values(const AucRouteStat *stat, Datum *values, bool *isnull)
{
	static const double shares[] = {0.5, 0.95, 0.99, 0.999};
	uint64		n = auc_latency_count(stat->latency);

	for (int i = 0; i < lengthof(shares); i++)
		values[i] = milliseconds(Min(auc_latency_percentile(stat->latency,
															shares[i]),
									 stat->max_us));
	values[4] = milliseconds(stat->max_us);
	values[5] = Float8GetDatum(n == 0 ? 0 :
							   (double) stat->sum_us / (double) n / 1000);
	for (int i = 0; i < 6; i++)
		isnull[i] = n == 0;
}

static void
route_values(AucStatRoute route, const AucRouteStat *stat, TimestampTz since,
			 Datum *values, bool *isnull)
{
	uint64		rejected = auc_stat_rejected(stat);

	values[0] = CStringGetTextDatum(route_names[route]);
	values[1] = Int64GetDatum(stat->accepted + rejected);
	values[2] = Int64GetDatum(stat->accepted);
	values[3] = Int64GetDatum(rejected);
	values[4] = counts_as_jsonb(AUC_REASONS, stat->rejected, reason_name);
	values[5] = Int64GetDatum(stat->rolled_back);
	values[6] = Int64GetDatum(auc_stat_errors(stat));
	values[7] = counts_as_jsonb(AUC_STAT_ERRORS, stat->errors, error_name);
	values[8] = waiting(route, &isnull[8]);
	latency_values(stat, &values[9], &isnull[9]);
	values[15] = TimestampTzGetDatum(since);
	values[16] = Int64GetDatum((int64) stat->rate_limited);
}

/* No row without the library, none for shadow bids before there was one. */
Datum
auction__stat_routes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AucStatSince since = since_of(auc_argument(fcinfo, 0, "since"));

	InitMaterializedSRF(fcinfo, 0);
	if (!auc_shm_available())
		return (Datum) 0;
	for (int route = 0; route < AUC_STAT_ROUTES; route++)
	{
		AucRouteStat stat;
		TimestampTz at = auc_stat_read(MyDatabaseId, route, since, &stat);
		Datum		values[STAT_COLUMNS] = {0};
		bool		isnull[STAT_COLUMNS] = {false};

		if (route == AUC_STAT_SHADOW && stat.accepted == 0 &&
			auc_stat_rejected(&stat) == 0 && auc_stat_errors(&stat) == 0)
			continue;
		route_values(route, &stat, at, values, isnull);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, isnull);
	}
	return (Datum) 0;
}

Datum
auction_stat_reset(PG_FUNCTION_ARGS)
{
	auc_shm_require("auction.stat_reset()");
	auc_stat_reset();
	for (int i = 0; i < auc_server_count(); i++)
		if (auc_server(i)->bound && auc_server(i)->dboid == MyDatabaseId)
			auc_shadow_reset(i);
	PG_RETURN_VOID();
}

/* ---- comparing ---- */

/* NULL: too few to tell. */
Datum
auction__sample_ratio(PG_FUNCTION_ARGS)
{
	double		p = auc_compare_sample_ratio(PG_GETARG_INT64(0),
											 PG_GETARG_INT64(1),
											 PG_GETARG_FLOAT8(2));

	if (p < 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(p);
}

/* bids, errors, p50, p99; the last two are null where there are no bids. */
static AucCompared
compared(FunctionCallInfo fcinfo, int arg)
{
	AucCompared route;

	route.bids = (uint64) PG_GETARG_INT64(arg);
	route.errors = (uint64) PG_GETARG_INT64(arg + 1);
	route.p50_ms = PG_ARGISNULL(arg + 2) ? 0 : PG_GETARG_FLOAT8(arg + 2);
	route.p99_ms = PG_ARGISNULL(arg + 3) ? 0 : PG_GETARG_FLOAT8(arg + 3);
	return route;
}

Datum
auction__compare_routes(PG_FUNCTION_ARGS)
{
	AucCompared table = compared(fcinfo, 0);
	AucCompared redis = compared(fcinfo, 4);
	char		why[256];
	AucComparison comparison;
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2] = {false, false};

	comparison = auc_compare_routes(&table, &redis,
									(uint64) PG_GETARG_INT64(8),
									why, sizeof(why));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function must return a row")));
	values[0] = CStringGetTextDatum(auc_comparison_name(comparison));
	values[1] = CStringGetTextDatum(why);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, isnull)));
}
