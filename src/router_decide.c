/*
 * router_decide.c: requests in ticket order, and who is answered when.
 *
 * A turn looks at all published slots of this server, oldest ticket first.
 * What cannot be decided now stays published, so that its backend can still
 * withdraw it: its auction is being loaded or let go, its lane is recovering,
 * not ready, full, or near a limit (router_limits.c).  The next turn looks
 * again, in the same order.
 *
 * A decided slot becomes a waiter of its lane: it is answered when the position
 * it depends on has reached the level asked for (rule 14).  For an accepted bid
 * that is its own record; for a rejected one the last record of its auction.
 * The level is the auction's or the session's, whichever is higher; in a
 * degraded lane it is journal, whatever was asked for.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

/* ---- answers ---- */

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

static void
answer(int index, AucAnswerKind kind, AucLevel level)
{
	AucSlot    *slot = auc_slot(index);

	slot->answer = kind;
	slot->level = level;
	auc_slot_answer(index);
}

/* Answers the slot now or when what it depends on has come far enough. */
static void
answer_at(AucRouterLane *rl, int index, AucLevel level, uint64 need)
{
	AucLevel	reached = level_reached(rl, need);
	AucWaiter  *waiter;

	if (reached >= level)
	{
		answer(index, AUC_ANSWER_VERDICT, reached);
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
			answer(waiter->slot, AUC_ANSWER_UNKNOWN, 0);
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
			answer(rl->waiters[i].slot, AUC_ANSWER_UNKNOWN, 0);
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
			answer(waiter->slot, AUC_ANSWER_VERDICT, reached);
		else
			answer(waiter->slot, auc_slot(waiter->slot)->position > 0 ?
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
			answer(waiter->slot, AUC_ANSWER_VERDICT, reached);
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

static AucRouterLane *
lane_of(AucRouter *router, const AucSlot *slot)
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
		AucRouterLane *rl = lane_of(router, slot);

		if (rl != NULL && slot->position > 0 &&
			slot->position <= rl->writer.last)
			answer_at(rl, index, slot->level, slot->position);
		else
			answer(index, AUC_ANSWER_RESUBMIT, 0);
	}
}

/* ---- requests ---- */

static void
append(AucLive *live, AucSlot *slot, const AucRecord *record,
	   const char *attributes)
{
	/* the slot names its position before the tail shows the record */
	slot->position = record->position;
	if (!auc_tail_append(&live->lane->writer, record, attributes))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("tail of lane %d has no room for a record that was let in",
						live->lane->lane_id)));
	live->last_position = record->position;
}

/*
 * A bid whose request id was looked for (rule 16): true if that settles it.
 * The verdict shows the auction as it is by now, so it waits for that.
 */
static bool
answer_repeated(AucLive *live, int index, AucLevel level)
{
	AucSlot    *slot = auc_slot(index);

	switch (auc_router_recall(live, slot))
	{
		case AUC_RECALL_NEW:
			break;
		case AUC_RECALL_LOOK_AGAIN:
			answer(index, AUC_ANSWER_LOOK_AGAIN, 0);
			return true;
		case AUC_RECALL_REPEATED:
			/* for the next router: if it has this one, it has the first */
			slot->position = live->last_position;
			answer_at(live->lane, index, level, live->last_position);
			return true;
	}
	return false;
}

/*
 * Behind all earlier hand-overs of the auction.  What is not remembered may be
 * applied, or will be once the position is.
 */
static void
decide_status(AucLive *live, int index)
{
	AucSlot    *slot = auc_slot(index);

	slot->until = live->last_position;
	memset(&slot->verdict, 0, sizeof(slot->verdict));
	if (!slot->any_user &&
		auc_router_recall(live, slot) == AUC_RECALL_REPEATED)
		answer_at(live->lane, index, AUC_LEVEL_REDIS, live->last_position);
	else
		answer(index, AUC_ANSWER_VERDICT, 0);
}

static void
decide_bid(AucLive *live, int index)
{
	AucRouterLane *rl = live->lane;
	AucSlot    *slot = auc_slot(index);
	bool		buy = slot->kind == AUC_REQUEST_BUY;
	AucLevel	level = Max(live->auction.level, slot->wanted_level);
	AucRecord	record;

	slot->lane = rl->index;
	if (slot->look != AUC_NO_LOOK && answer_repeated(live, index, level))
		return;
	auc_rules_place(&live->auction, buy, slot->user_id, slot->amount, slot->at,
					&live->state, &slot->verdict);
	if (!slot->verdict.accepted)
	{
		answer_at(rl, index, level, live->last_position);
		return;
	}
	record.attributes_len = slot->attributes_len;
	record.position = record.first = rl->writer.last + 1;
	record.auction_id = slot->auction_id;
	record.user_id = slot->user_id;
	record.amount = slot->amount;
	record.has_request_id = slot->has_request_id;
	memset(record.request_id, 0, sizeof(record.request_id));
	if (slot->has_request_id)
		memcpy(record.request_id, slot->request_id, sizeof(record.request_id));
	auc_record_accept(&record, &live->auction, &slot->verdict, buy,
					  slot->u.attributes, &live->state);
	if (record.has_request_id)
		auc_router_remember(live, &record);
	append(live, slot, &record, slot->u.attributes);
	answer_at(rl, index, level, record.position);
}

static void
decide_close(AucLive *live, int index)
{
	AucRouterLane *rl = live->lane;
	AucSlot    *slot = auc_slot(index);
	bool		due = slot->force || auc_rules_due(&live->state, slot->at);

	if (due && auc_rules_close(slot->at, &live->state))
	{
		AucRecord	record = {0};

		record.kind = AUC_RECORD_CLOSE;
		record.position = record.first = rl->writer.last + 1;
		record.auction_id = slot->auction_id;
		record.at = live->state.last_at;
		record.state = live->state;
		append(live, slot, &record, NULL);
	}
	else
		slot->position = live->last_position;
	slot->state = live->state;

	/*
	 * At once: it promises nothing but a place behind all bids so far.  Whoever
	 * needs the close itself waits until slot->position is applied.
	 */
	answer(index, AUC_ANSWER_VERDICT, 0);
}

/*
 * The move record ends this state: from here on the row decides, once it is
 * applied.  Answered at once, as a close is.
 */
static void
decide_move(AucLive *live, int index)
{
	AucRouterLane *rl = live->lane;
	AucSlot    *slot = auc_slot(index);
	AucRecord	record = {0};

	slot->until = live->last_position;
	if (live->state.status != AUC_STATUS_OPEN)
	{
		answer(index, AUC_ANSWER_RESTING, 0);
		return;
	}
	record.kind = AUC_RECORD_MOVE;
	record.attributes_len = slot->attributes_len;
	record.position = record.first = rl->writer.last + 1;
	record.auction_id = slot->auction_id;
	record.at = slot->at;
	record.state = live->state;
	append(live, slot, &record, slot->u.attributes);
	live->moving = true;
	rl->last_move = record.position;
	answer(index, AUC_ANSWER_VERDICT, 0);
}

static void
want_release(AucRouter *router, AucLive *live, int index)
{
	AucRelease *release = &router->releases[router->nreleases++];

	release->auction_id = live->auction_id;
	release->lane = live->lane;
	release->need = live->last_position;
	release->slot = index;
}

/* What comes behind a move starts again from the row, when it is applied. */
static void
answer_moving(AucRouter *router, AucLive *live, int index)
{
	AucSlot    *slot = auc_slot(index);

	switch (slot->kind)
	{
		case AUC_REQUEST_BID:
		case AUC_REQUEST_BUY:
		case AUC_REQUEST_CLOSE:
		case AUC_REQUEST_MOVE:
		case AUC_REQUEST_STATUS:
			slot->until = live->last_position;
			answer(index, AUC_ANSWER_MOVING, 0);
			break;
		case AUC_REQUEST_STANDING:
			slot->state = live->state;
			answer_at(live->lane, index, AUC_LEVEL_REDIS, live->last_position);
			break;
		case AUC_REQUEST_RELEASE:
			want_release(router, live, index);
			break;
		case AUC_REQUEST_BOOK:
		case AUC_REQUEST_REMOVE:
			answer(index, AUC_ANSWER_RESTING, 0);
			break;
		case AUC_REQUEST_REFRESH:
			answer(index, AUC_ANSWER_MOVED, 0);
			break;
		case AUC_REQUEST_AUDIT:
			auc_router_audit(router, live->lane, index);
			break;
	}
}

static void
decide_live(AucRouter *router, AucLive *live, int index, TimestampTz now)
{
	AucSlot    *slot = auc_slot(index);

	live->used_at = now;
	switch (slot->kind)
	{
		case AUC_REQUEST_BID:
		case AUC_REQUEST_BUY:
			decide_bid(live, index);
			break;
		case AUC_REQUEST_CLOSE:
			decide_close(live, index);
			break;
		case AUC_REQUEST_STATUS:
			decide_status(live, index);
			break;
		case AUC_REQUEST_STANDING:
			slot->state = live->state;
			answer_at(live->lane, index, AUC_LEVEL_REDIS, live->last_position);
			break;
		case AUC_REQUEST_BOOK:
			auc_router_book_read(router, live, index);
			break;
		case AUC_REQUEST_REFRESH:
			auc_router_book_refresh(router, live, index);
			break;
		case AUC_REQUEST_RELEASE:
			live->releasing = true;
			want_release(router, live, index);
			break;
		case AUC_REQUEST_MOVE:
			decide_move(live, index);
			break;
		case AUC_REQUEST_AUDIT:
			auc_router_audit(router, live->lane, index);
			break;
		case AUC_REQUEST_REMOVE:
			/* not to be shown any more when this was asked; it may be again */
			if (live->state.status == AUC_STATUS_OPEN)
				answer(index, AUC_ANSWER_RESTING, 0);
			else
				auc_router_book_remove(router, live->lane, index);
			break;
	}
}

/* Requests that do not load an auction for themselves. */
static void
decide_resting(AucRouter *router, AucRouterLane *rl, int index)
{
	if (auc_slot(index)->kind == AUC_REQUEST_REMOVE)
		auc_router_book_remove(router, rl, index);
	else if (auc_slot(index)->kind == AUC_REQUEST_AUDIT)
		auc_router_audit(router, rl, index);
	else
		answer(index, AUC_ANSWER_RESTING, 0);
}

static AucLoad *
load_of(AucRouter *router, int64 auction_id)
{
	for (int i = 0; i < router->nloads; i++)
		if (router->loads[i].auction_id == auction_id)
			return &router->loads[i];
	return NULL;
}

/* Earlier requests of the auction are left for the next turn. */
static bool
load_pending(AucRouter *router, int64 auction_id)
{
	const AucLoad *load = load_of(router, auction_id);

	return load != NULL && (load->result == AUC_LOAD_WANTED ||
							load->result == AUC_LOAD_BUSY);
}

static void
want_load(AucRouter *router, int64 auction_id)
{
	AucLoad    *load = &router->loads[router->nloads++];

	load->auction_id = auction_id;
	load->result = AUC_LOAD_WANTED;
}

static void
answer_unloaded(AucLoad *load, int index)
{
	AucSlot    *slot = auc_slot(index);

	if (load->result == AUC_LOAD_MOVED ||
		(load->result == AUC_LOAD_UNKNOWN && slot->kind == AUC_REQUEST_MOVE))
		answer(index, AUC_ANSWER_MOVED, 0);
	else if (load->result == AUC_LOAD_BUSY)
		answer(index, AUC_ANSWER_BUSY, 0);
	else if (slot->kind == AUC_REQUEST_BOOK)
		answer(index, AUC_ANSWER_RESTING, 0);
	else
	{
		memset(&slot->verdict, 0, sizeof(slot->verdict));
		slot->verdict.reason = AUC_REASON_UNKNOWN_AUCTION;
		answer(index, AUC_ANSWER_VERDICT, AUC_LEVEL_JOURNAL);
	}
}

/*
 * May the lane decide now?  If not, and it will not within the patience of
 * the backends, says so with "refusal".
 */
static bool
lane_decides(AucRouter *router, AucRouterLane *rl, AucAnswerKind *refusal)
{
	*refusal = 0;
	if (rl->asking)
		return false;			/* rule 12: whose lane is it? */
	switch (auc_lane_get_state(rl->lane))
	{
		case AUC_LANE_FENCED:
			*refusal = AUC_ANSWER_FENCED;
			return false;
		case AUC_LANE_UNKNOWN:
		case AUC_LANE_RECOVERING:
			/* rule 12: never degraded; refused until Redis answers */
			if (router->refused_before || rl->gap_to != 0 ||
				rl->phase == AUC_PHASE_WATCHING)
				*refusal = AUC_ANSWER_RECOVERING;
			return false;
		case AUC_LANE_WAITING:
			*refusal = AUC_ANSWER_WAITING;
			return false;
		case AUC_LANE_DEGRADED:
			if (!auc_guc_degraded)
			{
				*refusal = AUC_ANSWER_WAITING;
				return false;
			}
			return rl->ready;
		default:
			return rl->ready;
	}
}

/*
 * Whoever asks for this wants the auction live.  A book is asked for by its
 * auction's state; and one that was left unfinished, when its auction came to
 * rest, is finished for whoever reads it next.
 */
static bool
loads(AucRequestKind kind)
{
	return kind == AUC_REQUEST_BID || kind == AUC_REQUEST_BUY ||
		kind == AUC_REQUEST_CLOSE || kind == AUC_REQUEST_MOVE ||
		kind == AUC_REQUEST_REFRESH || kind == AUC_REQUEST_BOOK;
}

/*
 * The steward's own requests do not wait for somebody who holds the auction's
 * lock: it has other auctions to look after, and comes back.  Nor does a
 * reader, who has the tables.
 */
static bool
gives_way(const AucSlot *slot)
{
	return slot->kind == AUC_REQUEST_REFRESH ||
		slot->kind == AUC_REQUEST_BOOK ||
		((slot->kind == AUC_REQUEST_CLOSE ||
		  slot->kind == AUC_REQUEST_MOVE) && !slot->force);
}

/* One published slot.  Leaves it alone if it is not its time. */
static void
decide(AucRouter *router, const AucTicket *ticket, TimestampTz now)
{
	int			index = ticket->index;
	AucSlot    *slot = auc_slot(index);
	AucRouterLane *rl = lane_of(router, slot);
	AucAnswerKind refusal;
	AucLive    *live;
	AucLoad    *load;

	if (rl == NULL)
	{
		if (auc_slot_take(ticket))
			answer(index, AUC_ANSWER_RESUBMIT, 0);
		return;
	}
	if (!lane_decides(router, rl, &refusal))
	{
		if (refusal != 0 && auc_slot_take(ticket))
			answer(index, refusal, 0);
		return;
	}
	if (rl->full || auc_tail_room(&rl->writer) < AUC_TAIL_ROOM_WANTED)
	{
		rl->full = true;
		return;
	}
	live = auc_router_live(router, slot->auction_id);
	if (live != NULL)
	{
		if (live->releasing && slot->kind != AUC_REQUEST_RELEASE)
			return;
		if (!live->moving && (auc_router_delays(rl, slot, now) ||
							  auc_router_delays_close(router, live, ticket)))
			return;
		if (!auc_slot_take(ticket))
			return;
		if (live->moving)
			answer_moving(router, live, index);
		else
			decide_live(router, live, index, now);
		return;
	}
	if (slot->kind == AUC_REQUEST_STATUS &&
		load_pending(router, slot->auction_id))
		return;
	if (!loads(slot->kind))
	{
		if (auc_slot_take(ticket))
			decide_resting(router, rl, index);
		return;
	}
	load = load_of(router, slot->auction_id);
	if (load == NULL)
		want_load(router, slot->auction_id);
	else if (load->result == AUC_LOAD_WANTED ||
			 (load->result == AUC_LOAD_BUSY && !gives_way(slot)))
		return;
	else if (auc_slot_take(ticket))
		answer_unloaded(load, index);
}

static void
begin_pass(AucRouter *router, TimestampTz now)
{
	for (int i = 0; i < router->nlanes; i++)
	{
		router->lanes[i].full = false;
		auc_router_limits_turn(&router->lanes[i], now);
	}
}

void
auc_router_decide(AucRouter *router, TimestampTz now)
{
	int			n = auc_slot_collect(router->server_index, router->tickets);

	router->nloads = 0;
	begin_pass(router, now);
	for (int i = 0; i < n; i++)
		decide(router, &router->tickets[i], now);
	if (router->nloads == 0)
		router->load_at = 0;	/* who waited for a busy auction has gone */
	if (router->nloads == 0 || now < router->load_at)
		return;

	/* load what was missed, and look again at those that are left */
	auc_router_load(router, now);
	begin_pass(router, now);
	n = auc_slot_collect(router->server_index, router->tickets);
	for (int i = 0; i < n; i++)
		decide(router, &router->tickets[i], now);
}
