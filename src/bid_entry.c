/*
 * bid_entry.c: place_bid, place_bids and buy_now.
 *
 * A bid looks up its route and goes one of two ways: bid_table.c decides it
 * here and now, bid_slot.c hands it to the router.  Either may find that the
 * route is another one by now (rules 2 and 14); then the bid starts again from
 * the row, if need be when the move is applied.  It ends, because no bid
 * changes a route.
 *
 * Bids of one call keep their order.  Neighbours on route redis whose lanes
 * are at the same server are handed over together, which is what makes
 * place_bids fast; a bid on route table ends such a run.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "argument.h"
#include "bid_entry.h"
#include "bid_error.h"
#include "bid_rate.h"
#include "bid_request.h"
#include "bid_route.h"
#include "bid_slot.h"
#include "bid_table.h"
#include "bid_track.h"
#include "bid_wave.h"
#include "errors.h"
#include "lock.h"

PG_FUNCTION_INFO_V1(auction_place_bid);
PG_FUNCTION_INFO_V1(auction_place_bids);
PG_FUNCTION_INFO_V1(auction_buy_now);


/*
 * One bid.
 */

static void
unknown_auction(AucBidResult *result)
{
	memset(result, 0, sizeof(*result));
	result->verdict.reason = AUC_REASON_UNKNOWN_AUCTION;
}

/*
 * The router can not load an auction that this transaction has locked, or has
 * inserted and not committed (rule 3).
 */
static void
check_not_mine(int64 auction_id, const AucRouteHint *hint)
{
	if (!hint->own && !auc_lock_held(auction_id))
		return;
	ereport(ERROR,
			(errcode(AUC_ERRCODE_WAITS_FOR_ITSELF),
			 errmsg("bid on auction %lld would wait for its own transaction",
					(long long) auction_id),
			 errdetail("This transaction has inserted or changed the auction, and its route is \"redis\". The bid was not recorded."),
			 errhint("Commit before you bid.")));
}

/*
 * In PG_CATCH: if so, ERROR; else returns.  Counted, as is an outcome that is
 * said to be unknown, unless the bid has had a verdict before.
 */
static void
given_up(MemoryContext context, AucHandOver *hand_over, AucAnswerKind answer)
{
	if (!auc_bid_given_up() && geterrcode() != AUC_ERRCODE_OUTCOME_UNKNOWN)
		return;
	if (hand_over->answer != AUC_ANSWER_VERDICT)
	{
		hand_over->answer = answer;
		auc_track_hand_over(1, hand_over);
	}
	auc_bid_cancelled(context, hand_over, answer, 0, 1);
}

/*
 * Rule 16: was it accepted before?  What its router remembers aside.
 * "in_journal": only as far as the journal knows.
 */
static bool
accepted_before(const AucBid *bid, AucHandOver *hand_over, bool in_journal,
				AucBidResult *result)
{
	MemoryContext context = CurrentMemoryContext;
	volatile AucAnswerKind if_given_up = AUC_ANSWER_RESUBMIT;
	AucRequestKey key;
	AucRequestBid found;
	AucRow		row;

	auc_request_key(bid, &key);
	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
		if ((!in_journal || auc_request_in_journal(&key)) &&
			auc_request_look(&key, &row, &found) == AUC_LOOK_FOUND)
		{
			/* it is there, but perhaps not safe there */
			if_given_up = AUC_ANSWER_UNKNOWN;
			auc_request_await_flushed(bid->auction_id, &found);
		}
	}
	PG_CATCH();
	{
		given_up(context, hand_over, if_given_up);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (if_given_up == AUC_ANSWER_RESUBMIT)
		return false;
	auc_request_repeat(&row, &found, result);
	return true;
}

/* If it was accepted before the auction was over, that may be in history. */
static void
look_behind_end(const AucBid *bid, AucHandOver *hand_over,
				AucBidResult *result)
{
	AucReason	reason = result->verdict.reason;

	if (bid->has_request_id && (reason == AUC_REASON_CLOSED ||
								reason == AUC_REASON_CANCELLED ||
								reason == AUC_REASON_QUARANTINED))
		(void) accepted_before(bid, hand_over, false, result);
}

static void
fill_hand_over(const AucBid *bid, int lane_id, uint64 look,
			   AucHandOver *hand_over)
{
	memset(hand_over, 0, sizeof(*hand_over));
	hand_over->auction_id = bid->auction_id;
	hand_over->user_id = bid->user_id;
	hand_over->amount = bid->amount;
	hand_over->buy_now = bid->buy_now;
	hand_over->lane_id = lane_id;
	hand_over->has_request_id = bid->has_request_id;
	memcpy(hand_over->request_id, bid->request_id,
		   sizeof(hand_over->request_id));
	hand_over->look = look;
	hand_over->attributes = bid->attributes;
	hand_over->attributes_len = bid->attributes_len;
}

/* It moves: what comes behind that, this bid too, is not recorded. */
static void
await_move(AucHandOver *hand_over)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		auc_bid_await_applied(hand_over->auction_id, hand_over->lane_id,
							  hand_over->until);
	}
	PG_CATCH();
	{
		given_up(context, hand_over, AUC_ANSWER_RESUBMIT);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* false: moved, or to be looked for again: the bid starts again. */
static bool
take_answer(const AucHandOver *hand_over, AucBidResult *result)
{
	if (hand_over->answer != AUC_ANSWER_VERDICT)
	{
		if (hand_over->answer != AUC_ANSWER_LOOK_AGAIN)
			auc_route_forget(hand_over->auction_id);
		return false;
	}
	result->verdict = hand_over->verdict;
	result->route = AUC_ROUTE_REDIS;
	result->level = hand_over->level;
	result->repeated = hand_over->repeated;
	if (result->verdict.reason == AUC_REASON_UNKNOWN_AUCTION)
		auc_route_forget(hand_over->auction_id);
	return true;
}

/* false: moved, the bid starts again. */
static bool
decide_on_table(const AucBid *bid, AucBidResult *result,
				const instr_time *began)
{
	volatile bool decided = false;

	PG_TRY();
	{
		decided = auc_table_bid(bid, result);
	}
	PG_CATCH();
	{
		auc_track_table_failed();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (decided && !result->repeated)
		auc_track_table(&result->verdict, began);
	return decided;
}

/* The same. */
static bool
decide_on_redis(const AucBid *bid, const AucRouteHint *hint,
				AucBidResult *result, const instr_time *began)
{
	AucHandOver hand_over;

	fill_hand_over(bid, hint->lane_id, AUC_NO_LOOK, &hand_over);
	hand_over.began = *began;
	if (bid->has_request_id)
	{
		hand_over.look = auc_bid_looks(hint->lane_id);
		if (accepted_before(bid, &hand_over, true, result))
			return true;
	}
	check_not_mine(bid->auction_id, hint);
	auc_bid_hand_over(1, &hand_over);
	if (take_answer(&hand_over, result))
	{
		look_behind_end(bid, &hand_over, result);
		return true;
	}
	if (hand_over.answer == AUC_ANSWER_MOVING)
		await_move(&hand_over);
	return false;
}

/*
 * An auction that nobody knows has no route; that it is unknown is found in
 * the tables, so it is counted there.  A bid takes one token of its bidder's,
 * however often it starts again.
 */
static void
place(const AucBid *bid, AucBidResult *result, bool has_token)
{
	instr_time	began;

	auc_track_begin(&began);
	for (;;)
	{
		AucRouteHint hint;
		bool		known = auc_route_find(bid->auction_id, &hint);

		if (!has_token && !auc_bid_rate_admits(bid))
			auc_bid_refuse_rate(bid, known ? hint.route : AUC_ROUTE_TABLE);
		has_token = true;
		if (!known)
		{
			unknown_auction(result);
			auc_track_table(&result->verdict, &began);
			return;
		}
		if (hint.route == AUC_ROUTE_REDIS)
		{
			if (decide_on_redis(bid, &hint, result, &began))
				return;
			continue;
		}
		CHECK_FOR_INTERRUPTS();
		if (decide_on_table(bid, result, &began))
			return;
		auc_route_forget(bid->auction_id);
	}
}

/* The statement whose cancel was dropped. */
static TimestampTz cancelled_statement;

/*
 * A verdict beats a cancel that came with it, which would otherwise end the
 * statement as if nobody had decided.  If the statement has more bids to place,
 * the cancel is for those: take_up_cancel().
 */
static void
drop_late_cancel(const AucBidResult *last)
{
	if (last->route != AUC_ROUTE_REDIS || ProcDiePending ||
		!QueryCancelPending)
		return;
	QueryCancelPending = false;
	cancelled_statement = GetCurrentStatementStartTimestamp();
}

static void
take_up_cancel(void)
{
	if (cancelled_statement != 0 &&
		cancelled_statement == GetCurrentStatementStartTimestamp())
		QueryCancelPending = InterruptPending = true;
	cancelled_statement = 0;
}

void
auc_bid_place(const AucBid *bid, AucBidResult *result)
{
	take_up_cancel();
	place(bid, result, false);
	drop_late_cancel(result);
}

void
auc_bid_context(void *arg)
{
	int			accepted = *(int *) arg;

	if (accepted > 0)
		errcontext("bids accepted before on route \"redis\", which stay accepted: %d",
				   accepted);
}


/*
 * place_bid
 */

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


/*
 * place_bids
 */

typedef struct AucBidList
{
	int			n;
	AucBid	   *bids;
	AucBidResult *results;
	AucHandOver *run;			/* neighbours that are handed over together */
	int			accepted;		/* on route redis, for auc_bid_context */
} AucBidList;

static void
read_element(Datum element, int number, TupleDesc desc, AucBid *bid)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(element);
	HeapTupleData tuple;
	Datum		values[AUC_BID_VALUES];
	bool		isnull[AUC_BID_VALUES];

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, isnull);
	auc_bid_from_values(AUC_SOURCE_ELEMENT, number, values, isnull, bid);
}

/* A list of some million bids is more than palloc gives. */
static void *
allocate(int n, Size size)
{
	return MemoryContextAllocHuge(CurrentMemoryContext,
								  mul_size((Size) n, size));
}

/* All elements are checked before the first bid is placed. */
static void
read_list(ArrayType *array, AucBidList *list)
{
	Oid			type = ARR_ELEMTYPE(array);
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elements;
	bool	   *isnull;
	int			i;

	if (desc->natts != AUC_BID_VALUES)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument \"bids\" must be of type auction.bid_request[]")));
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign,
					  &elements, &isnull, &list->n);
	list->bids = allocate(list->n, sizeof(AucBid));
	list->results = allocate(list->n, sizeof(AucBidResult));
	list->run = allocate(list->n, sizeof(AucHandOver));
	for (i = 0; i < list->n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of argument \"bids\" must not be null",
							i + 1)));
		read_element(elements[i], i + 1, desc, &list->bids[i]);
	}
	ReleaseTupleDesc(desc);
}

/*
 * Fills list->run with the bids from "first" on that go to the same server;
 * returns how many, 0 if the first one does not go to any, or is a repeat.
 *
 * From the first bid with a request id on, all of them have the number of its
 * look: if that is too old for one, it is for those behind it on the same
 * auction, so that they keep their order.  Such a run is one wave at most, for
 * a look does not stay good for long.
 */
static int
collect_run(AucBidList *list, int first)
{
	int			server = -1;
	int			lane_id = 0;
	uint64		look = AUC_NO_LOOK;
	int			n = 0;

	while (first + n < list->n)
	{
		const AucBid *bid = &list->bids[first + n];
		AucRouteHint hint;
		AucBidResult before;

		if ((bid->has_request_id || look != AUC_NO_LOOK) && n >= AUC_WAVE_MAX)
			break;
		if (!auc_route_find(bid->auction_id, &hint) ||
			hint.route != AUC_ROUTE_REDIS)
			break;
		if (bid->has_request_id && look == AUC_NO_LOOK)
			look = auc_bid_looks(hint.lane_id);
		fill_hand_over(bid, hint.lane_id, look, &list->run[n]);
		if (bid->has_request_id &&
			accepted_before(bid, &list->run[n], true, &before))
			break;
		check_not_mine(bid->auction_id, &hint);
		if (n == 0 || hint.lane_id != lane_id)
		{
			int			this_server = auc_bid_server_of(hint.lane_id);

			if (n > 0 && this_server != server)
				break;
			server = this_server;
			lane_id = hint.lane_id;
		}
		if (!auc_bid_rate_admits(bid))
		{
			/* those before it first; then it is looked at again */
			if (n > 0)
				break;
			auc_bid_refuse_rate(bid, AUC_ROUTE_REDIS);
		}
		n++;
	}
	return n;
}

static void
count_accepted(AucBidList *list, int i)
{
	if (list->results[i].route == AUC_ROUTE_REDIS &&
		list->results[i].verdict.accepted)
		list->accepted++;
}

static void
place_one(AucBidList *list, int i, bool has_token)
{
	place(&list->bids[i], &list->results[i], has_token);
	count_accepted(list, i);
}

/*
 * All answers of a run are counted before anything more is done for one, for
 * that may fail.  Once an auction has moved, all its later bids have, too: so
 * doing them one by one keeps their order.
 */
static void
place_run(AucBidList *list, int first, int n)
{
	auc_bid_hand_over(n, list->run);
	for (int i = 0; i < n; i++)
		if (take_answer(&list->run[i], &list->results[first + i]))
			count_accepted(list, first + i);
	for (int i = 0; i < n; i++)
	{
		if (list->run[i].answer != AUC_ANSWER_VERDICT)
			place_one(list, first + i, true);
		else if (!list->results[first + i].verdict.accepted)
		{
			look_behind_end(&list->bids[first + i], &list->run[i],
							&list->results[first + i]);
			count_accepted(list, first + i);
		}
	}
}

static void
place_list(AucBidList *list)
{
	ErrorContextCallback context;
	int			i = 0;

	context.callback = auc_bid_context;
	context.arg = &list->accepted;
	context.previous = error_context_stack;
	error_context_stack = &context;
	take_up_cancel();
	while (i < list->n)
	{
		int			n = collect_run(list, i);

		if (n > 0)
		{
			place_run(list, i, n);
			i += n;
		}
		else
			place_one(list, i++, false);
	}
	error_context_stack = context.previous;
	if (list->n > 0)
		drop_late_cancel(&list->results[list->n - 1]);
}

Datum
auction_place_bids(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AucBidList	list;
	Datum		bids;
	int			i;

	auc_bid_prevent("place_bids()");
	bids = auc_argument(fcinfo, 0, "bids");
	InitMaterializedSRF(fcinfo, 0);
	memset(&list, 0, sizeof(list));
	read_list(DatumGetArrayTypeP(bids), &list);
	place_list(&list);

	for (i = 0; i < list.n; i++)
	{
		Datum		values[AUC_RESULT_COLUMNS];
		bool		isnull[AUC_RESULT_COLUMNS];

		auc_bid_result_values(&list.results[i], values, isnull);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	return (Datum) 0;
}
