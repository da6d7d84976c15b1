/*
 * bid_wave.c: a wave, from its first slot to the last one that is given back.
 *
 * It lives in a static variable, because it has to be given back whatever ends
 * the wait: an answer, a timeout, cancel, terminate, an error, the end of the
 * process (FATAL passes by PG_CATCH).  Rule 15 says how: what is still
 * published becomes free and is certainly not recorded; what the router has
 * taken is abandoned, and its outcome is unknown here.
 *
 * The wait follows syncrep.c: look, then sleep on what may have changed since;
 * cancel and terminate are looked at by hand, because only here can be said
 * whether the bid may have been recorded.  So no other look at interrupts may
 * end the wait by a cancel.
 */
#include "postgres.h"

#include "bid_wave.h"
#include "miscadmin.h"
#include "shm.h"
#include "shm_bell.h"
#include "shm_lane.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "waits.h"

typedef struct AucWave
{
	int			n;
	int			slot[AUC_WAVE_MAX];
	AucSlotState state[AUC_WAVE_MAX];	/* PUBLISHED until it is settled */
	int			settled;
} AucWave;

static AucWave wave;

/* ---- lanes ---- */

/* The cache spares the registry lock; the entry tells if it still holds. */
int
auc_wave_find_lane(int lane_id)
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

int
auc_wave_await_lane(int lane_id, TimestampTz until)
{
	int			index;

	auc_shm_require("a bid on route \"redis\"");
	while ((index = auc_wave_find_lane(lane_id)) < 0)
	{
		if (GetCurrentTimestamp() >= until)
			return -1;
		auc_nap(10, AUC_WAIT_LANE_START);
	}
	return index;
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
void
auc_wave_drop(void)
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
	auc_wave_drop();
}

int
auc_wave_claim(int server, int wanted, TimestampTz until, AucLimit *why)
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
			return wave.n;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			return 0;
		auc_slot_wait_free(left);
		CHECK_FOR_INTERRUPTS();
	}
}

AucSlot *
auc_wave_slot(int i)
{
	return auc_slot(wave.slot[i]);
}

AucSlotState
auc_wave_state(int i)
{
	return wave.state[i];
}

void
auc_wave_publish(int server)
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
	*why = AUC_GIVE_UP_NOT;
	settle_answered();
	if (wave.settled == wave.n)
		return true;
	if (ProcDiePending || QueryCancelPending)
	{
		withdraw_wave();
		*why = AUC_GIVE_UP_CANCEL;
		return true;
	}
	HOLD_CANCEL_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	RESUME_CANCEL_INTERRUPTS();
	*left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	if (*left > 0 || (!hard && wave_taken()))
		return false;
	withdraw_wave();
	*why = AUC_GIVE_UP_TIMEOUT;
	return true;
}

/* A short sleep on the bell first, then on the latch (shm_bell.h). */
AucGiveUp
auc_wave_await(TimestampTz until, bool hard)
{
	uint32		event = auc_wait_event(AUC_WAIT_BID_OUTCOME);
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
