/*
 * router_answer.c: who is answered when.
 *
 * A decided slot becomes a waiter of its lane: it is answered when the position
 * it depends on has reached the level asked for (rule 14).  For an accepted bid
 * that is its own record; for a rejected one the last record of its auction.
 * The level is the auction's or the session's, whichever is higher; in a
 * degraded lane it is journal, whatever was asked for.
 *
 * A router that begins answers what its predecessor has left behind first
 * (rule 13).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "storage/latch.h"

/* The level that position "need" has reached; 0: none yet. */
static AucLevel
level_reached(AucRouterLane *rl, uint64 need)
{
	if (need <= rl->seen_applied)
		return AUC_LEVEL_JOURNAL;
	if (need <= rl->log_last && rl->phase == AUC_PHASE_APPENDING &&
		auc_lane_get_state(rl->lane) == AUC_LANE_NORMAL)
		return need <= rl->replicated ? AUC_LEVEL_REPLICA : AUC_LEVEL_REDIS;
	return 0;
}

void
auc_router_reply(int index, AucAnswerKind kind, AucLevel level)
{
	AucSlot    *slot = auc_slot(index);

	slot->answer = kind;
	slot->level = level;
	auc_slot_answer(index);
}

void
auc_router_reply_at(AucRouterLane *rl, int index, AucLevel level, uint64 need)
{
	AucLevel	reached = level_reached(rl, need);
	AucWaiter  *waiter;

	if (reached >= level)
	{
		auc_router_reply(index, AUC_ANSWER_VERDICT, reached);
		return;
	}
	/* kept in the slot, too, for a router that comes after this one */
	auc_slot(index)->level = level;
	waiter = &rl->waiters[rl->nwaiters++];
	waiter->slot = index;
	waiter->level = level;
	waiter->need = need;
	waiter->auction_id = auc_slot(index)->auction_id;
}

/*
 * What becomes of a waiter whose auction is quarantined.  A bid that was
 * rejected is in no record: it is handed over again, and hears the new reason.
 */
static AucAnswerKind
answer_quarantined(const AucSlot *slot)
{
	if ((slot->kind == AUC_REQUEST_BID || slot->kind == AUC_REQUEST_BUY) &&
		slot->position == 0)
		return AUC_ANSWER_RESUBMIT;
	return AUC_ANSWER_UNKNOWN;
}

/* Rule 8: the drain could not apply this auction from a position on. */
static void
quarantined(AucRouterLane *rl, int64 auction_id, uint64 from)
{
	int			kept = 0;

	auc_router_quarantine(rl, auction_id);
	auc_request_ids_lose(&rl->ids, auction_id, from);
	for (int i = 0; i < rl->nwaiters; i++)
	{
		AucWaiter  *waiter = &rl->waiters[i];

		if (waiter->auction_id == auction_id && waiter->need >= from)
			auc_router_reply(waiter->slot,
							 answer_quarantined(auc_slot(waiter->slot)), 0);
		else
			rl->waiters[kept++] = *waiter;
	}
	rl->nwaiters = kept;
}

static void
read_notices(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		written = pg_atomic_read_u64(&lane->notices);

	if (written == rl->seen_notices)
		return;
	pg_read_barrier();

	/*
	 * Overwritten notices: every auction of the lane has to be read again,
	 * and who waits for one of them cannot be told what became of his bid.
	 */
	if (written - rl->seen_notices >= AUC_LANE_NOTICES)
	{
		auc_router_quarantine(rl, 0);
		for (int i = 0; i < rl->nwaiters; i++)
			auc_router_reply(rl->waiters[i].slot, AUC_ANSWER_UNKNOWN, 0);
		rl->nwaiters = 0;
	}
	else
		for (uint64 n = rl->seen_notices; n < written; n++)
			quarantined(rl, lane->notice[n % AUC_LANE_NOTICES].auction_id,
						lane->notice[n % AUC_LANE_NOTICES].from);
	rl->seen_notices = written;
}

/*
 * A lane that decides nothing for now tells everybody who waits: fenced, or
 * waiting for Redis.
 */
static void
answer_stopped(AucRouterLane *rl, AucAnswerKind refusal)
{
	for (int i = 0; i < rl->nwaiters; i++)
	{
		AucWaiter  *waiter = &rl->waiters[i];
		AucLevel	reached = level_reached(rl, waiter->need);

		if (reached >= waiter->level)
			auc_router_reply(waiter->slot, AUC_ANSWER_VERDICT, reached);
		else
			auc_router_reply(waiter->slot,
							 auc_slot(waiter->slot)->position > 0 ?
							 AUC_ANSWER_UNKNOWN : refusal, 0);
	}
	rl->nwaiters = 0;
}

void
auc_router_answer(AucRouterLane *rl)
{
	uint64		applied = pg_atomic_read_u64(&rl->lane->applied);
	int			kept = 0;
	bool		wanted = !rl->ready || rl->full || rl->delayed ||
	rl->phase == AUC_PHASE_READING || rl->phase == AUC_PHASE_APPLYING;
	bool		there = auc_router_replicas_there(rl->router);

	/* the notices that belong to this "applied" were written before it */
	pg_read_barrier();
	read_notices(rl);
	rl->seen_applied = applied;
	if (auc_lane_get_state(rl->lane) == AUC_LANE_FENCED)
		answer_stopped(rl, AUC_ANSWER_FENCED);
	else if (auc_lane_get_state(rl->lane) == AUC_LANE_WAITING)
		answer_stopped(rl, AUC_ANSWER_WAITING);
	rl->replica_need = 0;
	/* rule 12: what is not in the log waits until Redis says whose lane it is */
	if (rl->asking && auc_lane_get_state(rl->lane) != AUC_LANE_NORMAL)
		return;
	for (int i = 0; i < rl->nwaiters; i++)
	{
		AucWaiter  *waiter = &rl->waiters[i];
		AucLevel	reached = level_reached(rl, waiter->need);

		if (reached >= waiter->level)
			auc_router_reply(waiter->slot, AUC_ANSWER_VERDICT, reached);
		else
		{
			if (waiter->level == AUC_LEVEL_JOURNAL ||
				(waiter->level == AUC_LEVEL_REPLICA && !there) ||
				auc_lane_get_state(rl->lane) != AUC_LANE_NORMAL)
				wanted = true;
			if (waiter->level == AUC_LEVEL_REPLICA &&
				(rl->replica_need == 0 || waiter->need < rl->replica_need))
				rl->replica_need = waiter->need;
			rl->waiters[kept++] = *waiter;
		}
	}
	rl->nwaiters = kept;
	if (rl->router->nreleases > 0 || rl->last_move > applied)
		wanted = true;
	if (pg_atomic_read_u32(&rl->lane->applied_wanted) != wanted)
	{
		pg_atomic_write_u32(&rl->lane->applied_wanted, wanted);

		/*
		 * It may be collecting; or it has just published, and has not seen
		 * that somebody waits for that.
		 */
		pg_memory_barrier();
		if (wanted)
		{
			auc_server_wake_drain(rl->router->server);
			if (pg_atomic_read_u64(&rl->lane->applied) != applied)
				SetLatch(MyLatch);
		}
	}
}

/* ---- what a predecessor left behind (rule 13) ---- */

AucRouterLane *
auc_router_lane_of(AucRouter *router, const AucSlot *slot)
{
	for (int i = 0; i < router->nlanes; i++)
		if (router->lanes[i].index == slot->lane)
			return &router->lanes[i];
	return NULL;
}

/*
 * The position was written into the slot before the record was published: a
 * position that the tail has is recorded, and its verdict is in the slot; any
 * other slot is not recorded.
 */
void
auc_router_adopt(AucRouter *router)
{
	int			n = auc_slot_adopt(router->server_index, router->tickets);

	for (int i = 0; i < n; i++)
	{
		int			index = router->tickets[i].index;
		AucSlot    *slot = auc_slot(index);
		AucRouterLane *rl = auc_router_lane_of(router, slot);

		if (rl != NULL && slot->position > 0 &&
			slot->position <= rl->writer.last)
			auc_router_reply_at(rl, index, slot->level, slot->position);
		else
			auc_router_reply(index, AUC_ANSWER_RESUBMIT, 0);
	}
}
