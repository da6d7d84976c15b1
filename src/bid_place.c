/*
 * bid_place.c: one bid, whatever its route; see bid_place.h.
 *
 * A bid looks up its route and goes one of two ways: bid_table.c decides it
 * here and now, bid_slot.c hands it to the router.  Either may find that the
 * route is another one by now (rules 2 and 14); then the bid starts again from
 * the row, if need be when the move is applied.  It ends, because no bid
 * changes a route.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "bid_error.h"
#include "bid_place.h"
#include "bid_rate.h"
#include "bid_request.h"
#include "bid_table.h"
#include "bid_track.h"
#include "errors.h"
#include "lock.h"

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
void
auc_bid_check_not_mine(int64 auction_id, const AucRouteHint *hint)
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

bool
auc_bid_accepted_before(const AucBid *bid, AucHandOver *hand_over,
						bool in_journal, AucBidResult *result)
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

void
auc_bid_look_behind_end(const AucBid *bid, AucHandOver *hand_over,
						AucBidResult *result)
{
	AucReason	reason = result->verdict.reason;

	if (bid->has_request_id && (reason == AUC_REASON_CLOSED ||
								reason == AUC_REASON_CANCELLED ||
								reason == AUC_REASON_QUARANTINED))
		(void) auc_bid_accepted_before(bid, hand_over, false, result);
}

void
auc_bid_fill_hand_over(const AucBid *bid, int lane_id, uint64 look,
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

bool
auc_bid_take_answer(const AucHandOver *hand_over, AucBidResult *result)
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

	auc_bid_fill_hand_over(bid, hint->lane_id, AUC_NO_LOOK, &hand_over);
	hand_over.began = *began;
	if (bid->has_request_id)
	{
		hand_over.look = auc_bid_looks(hint->lane_id);
		if (auc_bid_accepted_before(bid, &hand_over, true, result))
			return true;
	}
	auc_bid_check_not_mine(bid->auction_id, hint);
	auc_bid_hand_over(1, &hand_over);
	if (auc_bid_take_answer(&hand_over, result))
	{
		auc_bid_look_behind_end(bid, &hand_over, result);
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
void
auc_bid_place_one(const AucBid *bid, AucBidResult *result, bool has_token)
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

void
auc_bid_drop_late_cancel(const AucBidResult *last)
{
	if (last->route != AUC_ROUTE_REDIS || ProcDiePending ||
		!QueryCancelPending)
		return;
	QueryCancelPending = false;
	cancelled_statement = GetCurrentStatementStartTimestamp();
}

void
auc_bid_take_up_cancel(void)
{
	if (cancelled_statement != 0 &&
		cancelled_statement == GetCurrentStatementStartTimestamp())
		QueryCancelPending = InterruptPending = true;
	cancelled_statement = 0;
}

void
auc_bid_place(const AucBid *bid, AucBidResult *result)
{
	auc_bid_take_up_cancel();
	auc_bid_place_one(bid, result, false);
	auc_bid_drop_late_cancel(result);
}

void
auc_bid_context(void *arg)
{
	int			accepted = *(int *) arg;

	if (accepted > 0)
		errcontext("bids accepted before on route \"redis\", which stay accepted: %d",
				   accepted);
}
