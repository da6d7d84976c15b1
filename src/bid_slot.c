/*
 * bid_slot.c: the backend's side of the slots.
 *
 * A wave is what one backend has handed over and not yet read: some slots,
 * published together.  It lives in a static variable, because it has to be
 * given back whatever ends the wait: an answer, a timeout, cancel, terminate,
 * an error, the end of the process (FATAL passes by PG_CATCH).  Rule 15 says
 * how: what is still published becomes free and is certainly not recorded;
 * what the router has taken is abandoned, and its outcome is unknown here.
 *
 * The wait follows syncrep.c: look, then sleep on what may have changed since;
 * cancel and terminate are looked at by hand, because only here can be said
 * whether the bid may have been recorded.  So no other look at interrupts may
 * end the wait by a cancel.  Before anything is published one may: that is
 * said to be "not recorded", too.
 */
#include "postgres.h"

#include "bid_error.h"
#include "bid_slot.h"
#include "bid_track.h"
#include "compat.h"
#include "errors.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "settings.h"
#include "shm.h"
#include "shm_bell.h"
#include "shm_lane.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

typedef enum AucGiveUp
{
	GIVE_UP_NOT,
	GIVE_UP_CANCEL,
	GIVE_UP_TIMEOUT
} AucGiveUp;

typedef struct AucWave
{
	int			n;
	int			slot[AUC_WAVE_MAX];
	AucSlotState state[AUC_WAVE_MAX];	/* PUBLISHED until it is settled */
	int			settled;
} AucWave;

static AucWave wave;

/* ---- lanes ---- */

/*
 * The lane's index in shared memory; -1 while no steward has bound it.  The
 * cache spares the registry lock; the entry tells whether it still holds.
 */
static int
find_lane(int lane_id)
{
	static int	cached_index = -1;
	static uint32 cached_generation;
	AucLane    *lane;

	if (cached_index >= 0)
	{
		lane = auc_lane(cached_index);
		if (lane->lane_id == lane_id && lane->dboid == MyDatabaseId &&
			lane->generation == cached_generation && lane->bound)
			return cached_index;
	}
	cached_index = auc_lane_find(MyDatabaseId, lane_id);
	if (cached_index >= 0)
		cached_generation = auc_lane(cached_index)->generation;
	return cached_index;
}

/* What makes the lane's bids wait now. */
static AucLimit
limit_of(int lane_id)
{
	int			index = find_lane(lane_id);

	return index < 0 ? AUC_LIMIT_NONE : auc_lane_get_delay(auc_lane(index)).by;
}

/* Sleeps a moment, interruptibly; for what nobody would wake us for. */
static void
nap(long ms)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 auc_wait_event_new("AuctionLaneStart"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Waits for the steward to bind it: some moments after a start. */
static int
await_lane(int lane_id, TimestampTz until)
{
	int			index;

	auc_shm_require("a bid on route \"redis\"");
	while ((index = find_lane(lane_id)) < 0)
	{
		if (GetCurrentTimestamp() >= until)
			return -1;
		nap(10);
	}
	return index;
}

static TimestampTz
after_ms(long ms)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

int
auc_bid_server_of(int lane_id)
{
	int			index = await_lane(lane_id, after_ms(auc_guc_overload_timeout));

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
	int			index = auc_shm_available() ? find_lane(lane_id) : -1;

	return index < 0 ? 0 :
		pg_atomic_read_u64(&auc_server(auc_lane(index)->server)->looks);
}

/* ---- waves ---- */

/* Gives back every slot that is not settled; what became of each is kept. */
static void
withdraw_wave(void)
{
	for (int i = 0; i < wave.n; i++)
	{
		if (wave.state[i] != AUC_SLOT_PUBLISHED)
			continue;
		wave.state[i] = auc_slot_withdraw(wave.slot[i]);
		wave.settled++;
	}
}

/* An answer that came while we were giving up still has to be let go of. */
static void
drop_wave(void)
{
	auc_slot_stop_waiting();
	auc_bell_done();
	withdraw_wave();
	for (int i = 0; i < wave.n; i++)
		if (wave.state[i] == AUC_SLOT_ANSWERED)
			auc_slot_free(wave.slot[i]);
	wave.n = 0;
}

static void
drop_wave_at_exit(int code, Datum arg)
{
	drop_wave();
}

/*
 * Claims at least one slot, waiting for it until then.  Wave of 0: none in
 * time, and why.
 */
static void
claim_wave(int server, int wanted, TimestampTz until, AucLimit *why)
{
	static bool registered = false;

	if (!registered)
	{
		before_shmem_exit(drop_wave_at_exit, (Datum) 0);
		registered = true;
	}
	Assert(wave.n == 0);
	wave.settled = 0;
	wanted = Min(wanted, AUC_WAVE_MAX);
	for (;;)
	{
		long		left;

		while (wave.n < wanted)
		{
			int			index = auc_slot_claim(server, why);

			if (index < 0)
				break;
			wave.slot[wave.n] = index;
			wave.state[wave.n] = AUC_SLOT_PUBLISHED;
			wave.n++;
		}
		if (wave.n > 0)
			return;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			return;
		auc_slot_wait_free(left);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
publish_wave(int server)
{
	auc_slot_publish(wave.slot, wave.n);
	auc_server_wake_router(auc_server(server));
}

static void
settle_answered(void)
{
	for (int i = 0; i < wave.n; i++)
		if (wave.state[i] == AUC_SLOT_PUBLISHED &&
			auc_slot_state(wave.slot[i]) == AUC_SLOT_ANSWERED)
		{
			wave.state[i] = AUC_SLOT_ANSWERED;
			wave.settled++;
		}
}

/* true: one of the slots was taken, so the router is at work on the wave. */
static bool
wave_taken(void)
{
	for (int i = 0; i < wave.n; i++)
		if (wave.state[i] == AUC_SLOT_PUBLISHED &&
			auc_slot_state(wave.slot[i]) != AUC_SLOT_PUBLISHED)
			return true;
	return false;
}

/* true: nothing more to wait for, *why says how it ended. */
static bool
wave_ended(TimestampTz until, bool hard, long *left, AucGiveUp *why)
{
	*why = GIVE_UP_NOT;
	settle_answered();
	if (wave.settled == wave.n)
		return true;
	if (ProcDiePending || QueryCancelPending)
	{
		withdraw_wave();
		*why = GIVE_UP_CANCEL;
		return true;
	}
	HOLD_CANCEL_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	RESUME_CANCEL_INTERRUPTS();
	*left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	if (*left > 0 || (!hard && wave_taken()))
		return false;
	withdraw_wave();
	*why = GIVE_UP_TIMEOUT;
	return true;
}

/*
 * Waits until every slot is answered.  After "until" it gives up what the
 * router has not taken; what it has taken too only if "hard".  A short sleep
 * on the bell first, then on the latch (shm_bell.h).
 */
static AucGiveUp
await_wave(TimestampTz until, bool hard)
{
	uint32		event = auc_wait_event_new("AuctionBidOutcome");
	uint32		seen;
	long		left;
	AucGiveUp	why;

	do
	{
		seen = auc_bell_read();
		if (wave_ended(until, hard, &left, &why))
			return why;
	} while (auc_bell_nap(seen, event));

	auc_bell_use_latch();
	for (;;)
	{
		ResetLatch(MyLatch);
		if (wave_ended(until, hard, &left, &why))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (left > 0 ? WL_TIMEOUT : 0), left, event);
	}
	auc_bell_done();
	return why;
}

/* ---- bids ---- */

static void
fill_bid(AucSlot *slot, const AucHandOver *bid)
{
	slot->kind = bid->buy_now ? AUC_REQUEST_BUY : AUC_REQUEST_BID;
	slot->lane = find_lane(bid->lane_id);
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
	AucAnswerKind answer = why == GIVE_UP_TIMEOUT ? AUC_ANSWER_OVERLOADED :
		AUC_ANSWER_RESUBMIT;
	const AucHandOver *culprit = NULL;
	int			accepted;

	for (int i = 0; i < n; i++)
	{
		if (wave.state[i] == AUC_SLOT_ANSWERED)
			read_bid(auc_slot(wave.slot[i]), &bids[first + i]);
		else if (wave.state[i] == AUC_SLOT_ABANDONED)
		{
			answer = AUC_ANSWER_UNKNOWN;
			bids[first + i].answer = answer;
			culprit = &bids[first + i];
		}
		else
		{
			bids[first + i].answer = why == GIVE_UP_TIMEOUT ?
				AUC_ANSWER_OVERLOADED : AUC_ANSWER_RESUBMIT;
			bids[first + i].limit = limit_of(bids[first + i].lane_id);
			if (culprit == NULL)
				culprit = &bids[first + i];
		}
	}
	accepted = count_accepted(nbids, bids);
	drop_wave();
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
	if (why == GIVE_UP_CANCEL)
		QueryCancelPending = false;
	auc_bid_raise(culprit, answer, why == GIVE_UP_CANCEL, accepted, nbids);
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
	claim_wave(server, n, until, &limit);
	if (wave.n == 0)
	{
		bids[first].answer = AUC_ANSWER_OVERLOADED;
		bids[first].limit = limit;
		auc_bid_raise(&bids[first], AUC_ANSWER_OVERLOADED, false,
					  count_accepted(nbids, bids), nbids);
	}
	n = wave.n;
	now = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		bids[first + i].at = now;
		bids[first + i].answer = AUC_ANSWER_RESUBMIT;
		if (INSTR_TIME_IS_ZERO(bids[first + i].began))
			bids[first + i].began = began;
		fill_bid(auc_slot(wave.slot[i]), &bids[first + i]);
	}
	publish_wave(server);
	why = await_wave(until, false);
	if (why != GIVE_UP_NOT)
		report_given_up(bids, first, n, why, nbids);
	else
	{
		for (int i = 0; i < n; i++)
		{
			read_bid(auc_slot(wave.slot[i]), &bids[first + i]);
			auc_slot_free(wave.slot[i]);
		}
		wave.n = 0;
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
		drop_wave();
		auc_track_hand_over(nbids - done, bids + done);
		auc_bid_cancelled(context, first_undone(nbids, bids),
						  AUC_ANSWER_RESUBMIT, count_accepted(nbids, bids),
						  nbids);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- other requests ---- */

static void
fill_ask(AucSlot *slot, const AucAsk *ask)
{
	slot->kind = ask->kind;
	slot->lane = find_lane(ask->lane_id);
	slot->auction_id = ask->auction_id;
	slot->at = GetCurrentTimestamp();
	slot->force = ask->force;
	slot->wanted = ask->wanted;
	slot->has_request_id = ask->request != NULL;
	slot->look = AUC_NO_LOOK;
	if (ask->request != NULL)
	{
		slot->any_user = ask->request->any_user;
		slot->user_id = ask->request->user_id;
		memcpy(slot->request_id, ask->request->request_id,
			   sizeof(slot->request_id));
	}
	slot->attributes_len = ask->attributes_len;
	if (ask->attributes_len > 0)
		memcpy(slot->u.attributes, ask->attributes, ask->attributes_len);
}

static void
read_ask(const AucSlot *slot, AucAsk *ask)
{
	ask->answer = slot->answer;
	ask->level = slot->level;
	ask->position = slot->position;
	ask->until = slot->until;
	ask->state = slot->state;
	ask->verdict = slot->verdict;
	ask->shown = slot->shown;
	ask->nbook = 0;
	if ((slot->kind == AUC_REQUEST_BOOK || slot->kind == AUC_REQUEST_AUDIT) &&
		slot->answer == AUC_ANSWER_VERDICT)
	{
		ask->nbook = slot->nbook;
		memcpy(ask->book, slot->u.book, slot->nbook * sizeof(AucBookEntry));
	}
}

/* Those from "first" on that go to the same server; returns how many. */
static int
ask_wave(AucAsk **asks, int first, int n, TimestampTz until)
{
	int			lane = await_lane(asks[first]->lane_id, until);
	int			server;
	int			same = 1;
	AucLimit	limit;

	if (lane < 0)
		return 1;
	server = auc_lane(lane)->server;
	while (same < n && same < AUC_WAVE_MAX)
	{
		lane = find_lane(asks[first + same]->lane_id);
		if (lane < 0 || auc_lane(lane)->server != server)
			break;
		same++;
	}
	claim_wave(server, same, until, &limit);
	if (wave.n == 0)
		return same;
	same = wave.n;
	for (int i = 0; i < same; i++)
		fill_ask(auc_slot(wave.slot[i]), asks[first + i]);
	publish_wave(server);
	(void) await_wave(until, true);
	for (int i = 0; i < same; i++)
	{
		if (wave.state[i] == AUC_SLOT_ANSWERED)
			read_ask(auc_slot(wave.slot[i]), asks[first + i]);
		else if (wave.state[i] == AUC_SLOT_ABANDONED)
			asks[first + i]->answer = AUC_ANSWER_UNKNOWN;
	}
	drop_wave();
	CHECK_FOR_INTERRUPTS();
	return same;
}

void
auc_bid_ask(int n, AucAsk **asks, long timeout_ms)
{
	TimestampTz until = after_ms(timeout_ms);
	int			done = 0;

	for (int i = 0; i < n; i++)
		asks[i]->answer = AUC_ANSWER_RESUBMIT;
	PG_TRY();
	{
		while (done < n)
			done += ask_wave(asks, done, n - done, until);
	}
	PG_CATCH();
	{
		drop_wave();
		PG_RE_THROW();
	}
	PG_END_TRY();
}
