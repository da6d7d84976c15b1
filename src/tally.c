/*
 * tally.c: see tally.h.
 *
 * The result is a bigint[]: user_id, amount, bid_no and 1 or 0 for a buy-now,
 * of the best bidder and then of the second; NULL if no bid stands, four
 * elements if only one bidder has one.  The order of the rows does not matter,
 * so the planner may take any plan.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "tally.h"
#include "utils/array.h"

#define FIELDS	4

PG_FUNCTION_INFO_V1(auction__tally_add);
PG_FUNCTION_INFO_V1(auction__tally_result);

/* (internal, user_id, amount, bid_no, buy_now) */
Datum
auction__tally_add(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	AucTally   *tally;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("this function is a part of aggregate auction._tally")));
	if (PG_ARGISNULL(0))
	{
		tally = MemoryContextAlloc(context, sizeof(AucTally));
		auc_tally_init(tally);
	}
	else
		tally = (AucTally *) PG_GETARG_POINTER(0);
	for (int i = 1; i <= FIELDS; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a bid to be tallied must not have nulls")));
	auc_tally_add(tally, PG_GETARG_INT64(1), PG_GETARG_INT64(2),
				  PG_GETARG_INT64(3), PG_GETARG_BOOL(4));
	PG_RETURN_POINTER(tally);
}

Datum
auction__tally_result(PG_FUNCTION_ARGS)
{
	AucTally   *tally;
	Datum		elements[2 * FIELDS];
	int			n = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	tally = (AucTally *) PG_GETARG_POINTER(0);
	for (int i = 0; i < 2 && tally->best[i].max != AUC_NO_AMOUNT; i++)
	{
		elements[n++] = Int64GetDatum(tally->best[i].user_id);
		elements[n++] = Int64GetDatum(tally->best[i].max);
		elements[n++] = Int64GetDatum(tally->best[i].bid_no);
		elements[n++] = Int64GetDatum(tally->best[i].buy_now ? 1 : 0);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}

void
auc_tally_of_array(Datum datum, bool isnull, AucTally *tally)
{
	ArrayType  *array;
	const int64 *value;
	int			n;

	auc_tally_init(tally);
	if (isnull)
		return;
	array = DatumGetArrayTypeP(datum);
	value = (const int64 *) ARR_DATA_PTR(array);
	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) / FIELDS;
	for (int i = 0; i < n && i < 2; i++, value += FIELDS)
	{
		tally->best[i].user_id = value[0];
		tally->best[i].max = value[1];
		tally->best[i].bid_no = value[2];
		tally->best[i].buy_now = value[3] != 0;
	}
}
