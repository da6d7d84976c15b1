/*
 * bid_view.c: the triggers of the view auction.bids.
 *
 * INSERT INTO auction.bids places a bid, row by row in the order the rows
 * come, and fills in what the engine decides, for RETURNING.  A refused bid is
 * an ERROR here, because an INSERT that inserts nothing and says nothing would
 * be a trap.  It ends the statement; what bids before it did on route redis
 * stays (and the error says how many they were), on route table it goes with
 * the statement.
 *
 * ORMs name every column they know of.  So a null for a column that may be
 * null, or that the engine sets, is as good as leaving it out.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "bid_place.h"
#include "bid_table.h"
#include "errors.h"
#include "trigger.h"

/* Columns of the view; see the install script. */
enum BidColumn
{
	COL_AUCTION_ID = 1,
	COL_BID_NO,
	COL_USER_ID,
	COL_AMOUNT,
	COL_PLACED_AT,
	COL_REQUEST_ID,
	COL_ATTRIBUTES,
	COL_ROUTE,
	COL_BUY_NOW,
	COL_RETRACTED_AT,
	COL_RETRACT_REASON,
	COL_COUNT = COL_RETRACT_REASON
};

/* Where the values of a bid stand, in the order of bid_args.h. */
static const int given_columns[AUC_BID_VALUES] = {
	COL_AUCTION_ID, COL_USER_ID, COL_AMOUNT, COL_REQUEST_ID, COL_ATTRIBUTES
};

/* Nobody gives these: filled in for RETURNING; the last two stay null. */
static const int set_columns[] = {
	COL_BID_NO, COL_PLACED_AT, COL_ROUTE, COL_BUY_NOW,
	COL_RETRACTED_AT, COL_RETRACT_REASON
};

PG_FUNCTION_INFO_V1(auction__bids_insert);
PG_FUNCTION_INFO_V1(auction__bids_refuse);

/*
 * Accepted bids on route redis of the statement so far.  The trigger's lookup
 * data lives as long as the statement, so that is where the number is kept.
 */
static int *
statement_count(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
		flinfo->fn_extra = MemoryContextAllocZero(flinfo->fn_mcxt,
												  sizeof(int));
	return (int *) flinfo->fn_extra;
}

static void
check_set_columns(TupleDesc desc, const bool *isnull)
{
	int			i;

	for (i = 0; i < lengthof(set_columns); i++)
	{
		int			column = set_columns[i];

		if (!isnull[column - 1])
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("cannot insert a value into column \"%s\"",
							NameStr(TupleDescAttr(desc, column - 1)->attname)),
					 errdetail("It is set when the bid is accepted.")));
	}
}

/* What would help the bidder, or NULL. */
static const char *
why_refused(const AucBid *bid, const AucVerdict *verdict)
{
	int64		least;

	switch (verdict->reason)
	{
		case AUC_REASON_TOO_LOW:
			if (auc_table_least(bid->auction_id, verdict, &least) &&
				least <= AUC_AMOUNT_MAX)
				return psprintf("The price is %lld; the least acceptable amount is %lld.",
								(long long) verdict->price, (long long) least);
			return psprintf("The price is %lld; no amount is acceptable.",
							(long long) verdict->price);
		case AUC_REASON_NOT_STARTED:
			return "Bidding has not begun yet.";
		case AUC_REASON_CLOSED:
			return psprintf("Bidding is over; the price is %lld.",
							(long long) verdict->price);
		case AUC_REASON_ALREADY_LEADING:
			return psprintf("User %lld leads at a price of %lld; only a higher maximum than the one given before is a bid.",
							(long long) bid->user_id,
							(long long) verdict->price);
		case AUC_REASON_SELLER:
			return psprintf("User %lld is the seller.",
							(long long) bid->user_id);
		default:
			return NULL;
	}
}

static void
report_rejected(const AucBid *bid, const AucVerdict *verdict, int before)
{
	const char *why = why_refused(bid, verdict);
	const char *stay = before == 0 ? NULL :
		psprintf("Bids accepted before it on route \"redis\" by the same statement, which stay accepted: %d.",
				 before);

	if (why == NULL && stay != NULL)
		why = stay;
	else if (stay != NULL)
		why = psprintf("%s %s", why, stay);
	ereport(ERROR,
			(errcode(AUC_ERRCODE_BID_REJECTED),
			 errmsg("bid on auction %lld was rejected: %s",
					(long long) bid->auction_id,
					auc_reason_name(verdict->reason)),
			 why != NULL ? errdetail_internal("%s", why) : 0));
}

static HeapTuple
filled_tuple(HeapTuple tuple, TupleDesc desc, const AucBidResult *result)
{
	Datum		values[lengthof(set_columns)];
	bool		isnull[lengthof(set_columns)] = {false, false, false, false,
	true, true};
	int			columns[lengthof(set_columns)];

	memcpy(columns, set_columns, sizeof(columns));
	values[0] = Int64GetDatum(result->verdict.bid_no);
	values[1] = TimestampTzGetDatum(result->verdict.at);
	values[2] = CStringGetTextDatum(auc_route_name(result->route));
	values[3] = BoolGetDatum(false);
	values[4] = values[5] = (Datum) 0;
	return heap_modify_tuple_by_cols(tuple, desc, lengthof(columns), columns,
									 values, isnull);
}

Datum
auction__bids_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_BIDS);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int		   *accepted = statement_count(fcinfo);
	ErrorContextCallback context;
	Datum		values[COL_COUNT];
	bool		isnull[COL_COUNT];
	Datum		given[AUC_BID_VALUES];
	bool		given_null[AUC_BID_VALUES];
	AucBid		bid;
	AucBidResult result;
	int			i;

	auc_bid_prevent("INSERT");
	if (desc->natts != COL_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view auction.bids is not as the extension made it")));
	heap_deform_tuple(trigger->tg_trigtuple, desc, values, isnull);

	context.callback = auc_bid_context;
	context.arg = accepted;
	context.previous = error_context_stack;
	error_context_stack = &context;
	check_set_columns(desc, isnull);
	for (i = 0; i < AUC_BID_VALUES; i++)
	{
		given[i] = values[given_columns[i] - 1];
		given_null[i] = isnull[given_columns[i] - 1];
	}
	auc_bid_from_values(AUC_SOURCE_COLUMN, 0, given, given_null, &bid);
	auc_bid_place(&bid, &result);
	error_context_stack = context.previous;

	if (!result.verdict.accepted)
		report_rejected(&bid, &result.verdict, *accepted);
	if (result.route == AUC_ROUTE_REDIS)
		(*accepted)++;
	return PointerGetDatum(filled_tuple(trigger->tg_trigtuple, desc,
										&result));
}

/* UPDATE and DELETE: as a row trigger, for the rewriter, and per statement. */
Datum
auction__bids_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_BIDS);

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot %s bids",
					TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ?
					"delete" : "update"),
			 errdetail("A bid is final once it is accepted.")));
	return PointerGetDatum(NULL);
}
