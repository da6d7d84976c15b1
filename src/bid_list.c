/*
 * bid_list.c: place_bids.
 *
 * Bids of one call keep their order.  Neighbours on route redis whose lanes
 * are at the same server are handed over together, which is what makes
 * place_bids fast; a bid on route table ends such a run.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "argument.h"
#include "bid_place.h"
#include "bid_rate.h"
#include "bid_wave.h"

PG_FUNCTION_INFO_V1(auction_place_bids);

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
		auc_bid_fill_hand_over(bid, hint.lane_id, look, &list->run[n]);
		if (bid->has_request_id &&
			auc_bid_accepted_before(bid, &list->run[n], true, &before))
			break;
		auc_bid_check_not_mine(bid->auction_id, &hint);
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
	auc_bid_place_one(&list->bids[i], &list->results[i], has_token);
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
		if (auc_bid_take_answer(&list->run[i], &list->results[first + i]))
			count_accepted(list, first + i);
	for (int i = 0; i < n; i++)
	{
		if (list->run[i].answer != AUC_ANSWER_VERDICT)
			place_one(list, first + i, true);
		else if (!list->results[first + i].verdict.accepted)
		{
			auc_bid_look_behind_end(&list->bids[first + i], &list->run[i],
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
	auc_bid_take_up_cancel();
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
		auc_bid_drop_late_cancel(&list->results[list->n - 1]);
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
