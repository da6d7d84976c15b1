/*
 * bid_status.c: what became of a bid whose answer was lost (rule 16).
 *
 * "Recorded" is easy to tell: it is in the journal, or in history, or its
 * router remembers it.  "Not recorded" is told only where no hand-over that is
 * on its way can make it untrue:
 *
 *   route table  under the auction's lock, which a bid under way holds
 *   route redis  behind all hand-overs of the auction so far, in the router's
 *                queue, and when what they have left behind is applied
 *
 * If the route changes meanwhile, it starts again.  A backend that has not
 * handed its bid over yet, or is about to do so again, is not seen.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "argument.h"
#include "bid_error.h"
#include "bid_request.h"
#include "bid_slot.h"
#include "lock.h"
#include "settings.h"
#include "shm_lane.h"
#include "waits.h"

PG_FUNCTION_INFO_V1(auction_bid_status);

/* How often a lane is asked whether it has recovered. */
#define RECOVERING_MS	50

typedef struct Inquiry
{
	AucRequestKey key;
	TimestampTz until;			/* then it is an ERROR */
	AucRow		row;			/* as of the last look */
	AucRequestBid bid;			/* if it has found one */
	bool		known;			/* there is such an auction */
	bool		told;			/* by the router: "result" is its verdict */
	AucBidResult result;
} Inquiry;

static long
time_left(const Inquiry *inquiry)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   inquiry->until);
}

/* true: found, or there is nothing to be found. */
static bool
look(Inquiry *inquiry)
{
	AucLook		found = auc_request_look(&inquiry->key, &inquiry->row,
										 &inquiry->bid);

	inquiry->known = found != AUC_LOOK_UNKNOWN;
	if (found == AUC_LOOK_FOUND)
	{
		auc_request_repeat(&inquiry->row, &inquiry->bid, &inquiry->result);
		inquiry->told = true;
	}
	return found != AUC_LOOK_NOTHING;
}

/* No router has it: the lock keeps all others out. true: that was the end. */
static bool
look_under_lock(Inquiry *inquiry, bool mine)
{
	bool		ended;

	auc_lock_acquire(inquiry->key.auction_id);
	ended = look(inquiry) || mine || inquiry->row.route == AUC_ROUTE_TABLE;
	auc_lock_release(inquiry->key.auction_id);
	return ended;
}

static void
await_applied(Inquiry *inquiry, uint64 position)
{
	int			index = auc_lane_find(MyDatabaseId, inquiry->row.lane_id);

	if (index < 0 ||
		!auc_lane_wait_applied(auc_lane(index), position, time_left(inquiry)))
		auc_bid_not_told(inquiry->key.auction_id, AUC_ANSWER_UNKNOWN);
}

/* It recovers: for some time that is no reason to give up. */
static void
await_recovery(Inquiry *inquiry)
{
	if (time_left(inquiry) <= 0)
		auc_bid_not_told(inquiry->key.auction_id, AUC_ANSWER_RECOVERING);
	auc_nap(RECOVERING_MS, AUC_WAIT_BID_STATUS);
}

/* The lane did not answer in time; does it say why? */
static AucAnswerKind
reason_of_silence(const Inquiry *inquiry)
{
	int			index = auc_lane_find(MyDatabaseId, inquiry->row.lane_id);
	AucLaneState state;

	if (index < 0)
		return AUC_ANSWER_UNKNOWN;
	state = auc_lane_get_state(auc_lane(index));
	return state == AUC_LANE_RECOVERING || state == AUC_LANE_UNKNOWN ?
		AUC_ANSWER_RECOVERING : AUC_ANSWER_UNKNOWN;
}

/* true: that was the end. */
static bool
ask_router(Inquiry *inquiry)
{
	AucAsk		ask = {0};
	AucAsk	   *asks = &ask;

	ask.kind = AUC_REQUEST_STATUS;
	ask.auction_id = inquiry->key.auction_id;
	ask.lane_id = inquiry->row.lane_id;
	ask.request = &inquiry->key;
	auc_bid_ask(1, &asks, time_left(inquiry));
	switch (ask.answer)
	{
		case AUC_ANSWER_VERDICT:
			if (ask.verdict.accepted)
			{
				inquiry->result.verdict = ask.verdict;
				inquiry->result.route = AUC_ROUTE_REDIS;
				inquiry->result.level = ask.level;
				inquiry->told = true;
				return true;
			}
			await_applied(inquiry, ask.until);
			break;
		case AUC_ANSWER_RESTING:
			break;
		case AUC_ANSWER_MOVING:
			await_applied(inquiry, ask.until);
			return false;
		case AUC_ANSWER_RECOVERING:
		case AUC_ANSWER_WAITING:
			await_recovery(inquiry);
			return false;
		case AUC_ANSWER_FENCED:
			auc_bid_not_told(inquiry->key.auction_id, ask.answer);
			break;
		default:
			if (time_left(inquiry) <= 0)
				auc_bid_not_told(inquiry->key.auction_id,
								 reason_of_silence(inquiry));
			return false;
	}

	/* what the queue had is committed, if the route is still the router's */
	return look(inquiry) || inquiry->row.route == AUC_ROUTE_REDIS;
}

static void
inquire(Inquiry *inquiry)
{
	bool		ended = look(inquiry);

	while (!ended)
	{
		bool		mine = inquiry->row.own ||
			auc_lock_held(inquiry->key.auction_id);

		CHECK_FOR_INTERRUPTS();
		if (mine || inquiry->row.route == AUC_ROUTE_TABLE)
			ended = look_under_lock(inquiry, mine);
		else
			ended = ask_router(inquiry);
	}
	if (inquiry->told)
		auc_request_await_flushed(inquiry->key.auction_id, &inquiry->bid);
}

/*
 * Not recorded.  In a quarantined auction that is not for sure: the bid may be
 * among the dead letters, and may yet be applied.
 */
static const char *
why_not(Inquiry *inquiry)
{
	AucBidResult *result = &inquiry->result;

	if (!inquiry->known)
	{
		result->verdict.reason = AUC_REASON_UNKNOWN_AUCTION;
		return auc_reason_name(AUC_REASON_UNKNOWN_AUCTION);
	}
	auc_rules_repeat(&inquiry->row.auction, &inquiry->row.state, 0, 0,
					 &result->verdict);
	result->verdict.accepted = false;
	result->route = inquiry->row.route;
	result->level = AUC_LEVEL_JOURNAL;
	return inquiry->row.state.status == AUC_STATUS_QUARANTINED ?
		auc_reason_name(AUC_REASON_QUARANTINED) : "not_recorded";
}

static void
read_arguments(FunctionCallInfo fcinfo, AucRequestKey *key)
{
	key->auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	memcpy(key->request_id,
		   DatumGetUUIDP(auc_argument(fcinfo, 1, "request_id"))->data,
		   UUID_LEN);
	key->any_user = PG_ARGISNULL(2);
	key->user_id = key->any_user ? 0 : PG_GETARG_INT64(2);
}

Datum
auction_bid_status(PG_FUNCTION_ARGS)
{
	Inquiry		inquiry;
	TupleDesc	desc;
	Datum		values[AUC_RESULT_COLUMNS];
	bool		isnull[AUC_RESULT_COLUMNS];

	PreventCommandIfParallelMode("bid_status()");
	PreventCommandDuringRecovery("bid_status()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != AUC_RESULT_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function must return type auction.bid_result")));
	memset(&inquiry, 0, sizeof(inquiry));
	read_arguments(fcinfo, &inquiry.key);
	inquiry.until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									auc_guc_overload_timeout);
	inquire(&inquiry);
	if (inquiry.told)
		auc_bid_result_values(&inquiry.result, values, isnull);
	else
	{
		const char *reason = why_not(&inquiry);

		auc_bid_result_values(&inquiry.result, values, isnull);
		values[1] = CStringGetTextDatum(reason);
		isnull[1] = false;
		isnull[7] = true;		/* there is no bid to be durable */
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, isnull)));
}
