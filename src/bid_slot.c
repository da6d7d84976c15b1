/*
 * bid_slot.c: bids on their way to a router and back.
 *
 * In waves (bid_wave.h), for a call may have more bids than there are slots.
 * Once a bid is published a cancel is looked at by the wave alone, which knows
 * whether the bid may have been recorded; before, any look at interrupts may
 * find one: that is "not recorded", too.
 */
#include "postgres.h"

#include "bid_error.h"
#include "bid_slot.h"
#include "bid_track.h"
#include "bid_wave.h"
#include "errors.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "utils/timestamp.h"

/* ---- lanes ---- */

/* What makes the lane's bids wait now. */
static AucLimit
limit_of(int lane_id)
{
	int			index = auc_wave_find_lane(lane_id);

	return index < 0 ? AUC_LIMIT_NONE : auc_lane_get_delay(auc_lane(index)).by;
}

static TimestampTz
after_ms(long ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

int
auc_bid_server_of(int lane_id)
{
	int			index =
		auc_wave_await_lane(lane_id, after_ms(auc_guc_overload_timeout));

	if (index < 0)
	{
		auc_track_error(AUC_STAT_REDIS, AUC_STAT_OTHER);
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("lane %d is not served", lane_id),
				 errdetail("The bid was not recorded."),
				 errhint("See auction.stat_workers and the server log.")));
	}
	return auc_lane(index)->server;
}

uint64
auc_bid_looks(int lane_id)
{
	int			index = auc_shm_available() ? auc_wave_find_lane(lane_id) : -1;

	return index < 0 ? 0 :
		pg_atomic_read_u64(&auc_server(auc_lane(index)->server)->looks);
}

/* ---- bids ---- */

static void
fill_bid(AucSlot *slot, const AucHandOver *bid)
{
	slot->kind = bid->buy_now ? AUC_REQUEST_BUY : AUC_REQUEST_BID;
	slot->lane = auc_wave_find_lane(bid->lane_id);
	slot->auction_id = bid->auction_id;
	slot->user_id = bid->user_id;
	slot->amount = bid->amount;
	slot->at = bid->at;
	slot->wanted_level = (AucLevel) auc_guc_durability;
	slot->has_request_id = bid->has_request_id;
	if (bid->has_request_id)
		memcpy(slot->request_id, bid->request_id, sizeof(slot->request_id));
	slot->look = bid->look;
	slot->repeated = false;
	slot->attributes_len = bid->attributes_len;
	if (bid->attributes_len > 0)
		memcpy(slot->u.attributes, bid->attributes, bid->attributes_len);
}

static void
read_bid(const AucSlot *slot, AucHandOver *bid)
{
	bid->answer = slot->answer;
	bid->until = slot->until;
	bid->verdict = slot->verdict;
	bid->repeated = slot->repeated;
	bid->level = slot->level;
	bid->took_us = auc_track_elapsed(&bid->began);
}

/* Of the whole call; what was not handed over yet has no answer. */
static int
count_accepted(int nbids, const AucHandOver *bids)
{
	int			accepted = 0;

	for (int i = 0; i < nbids; i++)
		if (bids[i].answer == AUC_ANSWER_VERDICT && bids[i].verdict.accepted)
			accepted++;
	return accepted;
}

/* There is one. */
static const AucHandOver *
first_undone(int nbids, const AucHandOver *bids)
{
	int			i = 0;

	while (i < nbids - 1 && bids[i].answer != 0 &&
		   bids[i].answer != AUC_ANSWER_RESUBMIT)
		i++;
	return &bids[i];
}

/*
 * After a wave was given up.  Terminate: says what has to be said, then lets
 * the process die.
 */
static void
report_given_up(AucHandOver *bids, int first, int n, AucGiveUp why, int nbids)
{
	AucAnswerKind answer = why == AUC_GIVE_UP_TIMEOUT ? AUC_ANSWER_OVERLOADED :
		AUC_ANSWER_RESUBMIT;
	const AucHandOver *culprit = NULL;
	int			accepted;

	for (int i = 0; i < n; i++)
	{
		if (auc_wave_state(i) == AUC_SLOT_ANSWERED)
			read_bid(auc_wave_slot(i), &bids[first + i]);
		else if (auc_wave_state(i) == AUC_SLOT_ABANDONED)
		{
			answer = AUC_ANSWER_UNKNOWN;
			bids[first + i].answer = answer;
			culprit = &bids[first + i];
		}
		else
		{
			bids[first + i].answer = why == AUC_GIVE_UP_TIMEOUT ?
				AUC_ANSWER_OVERLOADED : AUC_ANSWER_RESUBMIT;
			bids[first + i].limit = limit_of(bids[first + i].lane_id);
			if (culprit == NULL)
				culprit = &bids[first + i];
		}
	}
	accepted = count_accepted(nbids, bids);
	auc_wave_drop();
	if (culprit == NULL)
		return;					/* all answers came while we gave up */
	if (ProcDiePending)
	{
		auc_track_hand_over(n, bids + first);
		ereport(WARNING,
				(errcode(answer == AUC_ANSWER_UNKNOWN ?
						 AUC_ERRCODE_OUTCOME_UNKNOWN :
						 AUC_ERRCODE_NOT_RECORDED),
				 errmsg("bid on auction %lld is given up because the session ends",
						(long long) culprit->auction_id),
				 errdetail(answer == AUC_ANSWER_UNKNOWN ?
						   "The bid may have been recorded." :
						   "The bid was not recorded.")));
		CHECK_FOR_INTERRUPTS();
	}
	if (why == AUC_GIVE_UP_CANCEL)
		QueryCancelPending = false;
	auc_bid_raise(culprit, answer, why == AUC_GIVE_UP_CANCEL, accepted, nbids);
}

/*
 * One wave, beginning at bids[first]; returns how many bids it had.  Bids that
 * nobody has recorded (a router died) come back as AUC_ANSWER_RESUBMIT.
 */
static int
hand_over_wave(int server, AucHandOver *bids, int first, int n, int nbids,
			   TimestampTz until)
{
	AucGiveUp	why;
	TimestampTz now;
	instr_time	began;
	AucLimit	limit = AUC_LIMIT_NONE;

	auc_track_begin(&began);
	bids[first].answer = AUC_ANSWER_RESUBMIT;
	n = auc_wave_claim(server, n, until, &limit);
	if (n == 0)
	{
		bids[first].answer = AUC_ANSWER_OVERLOADED;
		bids[first].limit = limit;
		auc_bid_raise(&bids[first], AUC_ANSWER_OVERLOADED, false,
					  count_accepted(nbids, bids), nbids);
	}
	now = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		bids[first + i].at = now;
		bids[first + i].answer = AUC_ANSWER_RESUBMIT;
		if (INSTR_TIME_IS_ZERO(bids[first + i].began))
			bids[first + i].began = began;
		fill_bid(auc_wave_slot(i), &bids[first + i]);
	}
	auc_wave_publish(server);
	why = auc_wave_await(until, false);
	if (why != AUC_GIVE_UP_NOT)
		report_given_up(bids, first, n, why, nbids);
	else
	{
		for (int i = 0; i < n; i++)
			read_bid(auc_wave_slot(i), &bids[first + i]);
		auc_wave_drop();
	}
	return n;
}

void
auc_bid_hand_over(int nbids, AucHandOver *bids)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz until = after_ms(auc_guc_overload_timeout);
	volatile int done = 0;

	PG_TRY();
	{
		int			server = auc_bid_server_of(bids[0].lane_id);

		/* not once it is handed over: then the outcome may be unknown */
		bids[0].answer = AUC_ANSWER_RESUBMIT;
		CHECK_FOR_INTERRUPTS();
		while (done < nbids)
		{
			int			n = hand_over_wave(server, bids, done, nbids - done,
										   nbids, until);

			for (int i = done; i < done + n; i++)
			{
				/* the router that had it is gone; nothing was recorded */
				while (bids[i].answer == AUC_ANSWER_RESUBMIT &&
					   GetCurrentTimestamp() < until)
					(void) hand_over_wave(server, bids, i, 1, nbids, until);
				if (bids[i].answer != AUC_ANSWER_VERDICT &&
					bids[i].answer != AUC_ANSWER_LOOK_AGAIN &&
					bids[i].answer != AUC_ANSWER_MOVED &&
					bids[i].answer != AUC_ANSWER_MOVING)
					auc_bid_raise(&bids[i], bids[i].answer, false,
								  count_accepted(nbids, bids), nbids);
			}
			auc_track_hand_over(n, bids + done);
			done += n;
			until = after_ms(auc_guc_overload_timeout);
		}
	}
	PG_CATCH();
	{
		auc_wave_drop();
		auc_track_hand_over(nbids - done, bids + done);
		auc_bid_cancelled(context, first_undone(nbids, bids),
						  AUC_ANSWER_RESUBMIT, count_accepted(nbids, bids),
						  nbids);
		PG_RE_THROW();
	}
	PG_END_TRY();
}
