/*
 * bid_entry.c: place_bid and buy_now.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"

#include "bid_place.h"

PG_FUNCTION_INFO_V1(auction_place_bid);
PG_FUNCTION_INFO_V1(auction_buy_now);

/* The row type of the result, kept as long as the caller's plan. */
static TupleDesc
result_desc(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
			desc->natts != AUC_RESULT_COLUMNS)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("function must return type auction.bid_result")));
		flinfo->fn_extra = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
	}
	return (TupleDesc) flinfo->fn_extra;
}

static Datum
place_and_return(FunctionCallInfo fcinfo, const AucBid *bid)
{
	TupleDesc	desc = result_desc(fcinfo);
	Datum		values[AUC_RESULT_COLUMNS];
	bool		isnull[AUC_RESULT_COLUMNS];
	AucBidResult result;

	auc_bid_place(bid, &result);
	auc_bid_result_values(&result, values, isnull);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
}

Datum
auction_place_bid(PG_FUNCTION_ARGS)
{
	Datum		given[AUC_BID_VALUES];
	bool		given_null[AUC_BID_VALUES];
	AucBid		bid;
	int			i;

	auc_bid_prevent("place_bid()");
	for (i = 0; i < AUC_BID_VALUES; i++)
	{
		given_null[i] = PG_ARGISNULL(i);
		given[i] = PG_GETARG_DATUM(i);
	}
	auc_bid_from_values(AUC_SOURCE_ARGUMENT, 0, given, given_null, &bid);
	PG_RETURN_DATUM(place_and_return(fcinfo, &bid));
}

/* place_bid's arguments without the amount, which the auction knows. */
Datum
auction_buy_now(PG_FUNCTION_ARGS)
{
	Datum		given[AUC_BID_VALUES];
	bool		given_null[AUC_BID_VALUES];
	AucBid		bid;
	int			arg = 0;
	int			i;

	auc_bid_prevent("buy_now()");
	for (i = 0; i < AUC_BID_VALUES; i++)
	{
		if (i == AUC_BID_VALUE_AMOUNT)
		{
			given_null[i] = false;
			given[i] = Int64GetDatum(0);
			continue;
		}
		given_null[i] = PG_ARGISNULL(arg);
		given[i] = PG_GETARG_DATUM(arg);
		arg++;
	}
	auc_bid_from_values(AUC_SOURCE_ARGUMENT, 0, given, given_null, &bid);
	bid.buy_now = true;
	PG_RETURN_DATUM(place_and_return(fcinfo, &bid));
}
