/*
 * router_decide.c: requests in ticket order.
 *
 * A turn looks at all published slots of this server, oldest ticket first.
 * What cannot be decided now stays published, so that its backend can still
 * withdraw it: its auction is being loaded or let go, its lane is recovering,
 * not ready, full, or near a limit (router_limits.c).  The next turn looks
 * again, in the same order.
 *
 * What is decided is answered by router_answer.c.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "utils/timestamp.h"

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
			auc_router_reply(index, AUC_ANSWER_LOOK_AGAIN, 0);
			return true;
		case AUC_RECALL_REPEATED:
			/* for the next router: if it has this one, it has the first */
			slot->position = live->last_position;
			auc_router_reply_at(live->lane, index, level,
								live->last_position);
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
		auc_router_reply_at(live->lane, index, AUC_LEVEL_REDIS,
							live->last_position);
	else
		auc_router_reply(index, AUC_ANSWER_VERDICT, 0);
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
		auc_router_reply_at(rl, index, level, live->last_position);
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
	record.loaded = record.bid_no == live->loaded_bids + 1;
	if (record.has_request_id)
		auc_router_remember(live, &record);
	append(live, slot, &record, slot->u.attributes);
	auc_router_reply_at(rl, index, level, record.position);
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
	auc_router_reply(index, AUC_ANSWER_VERDICT, 0);
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
		auc_router_reply(index, AUC_ANSWER_RESTING, 0);
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
	auc_router_reply(index, AUC_ANSWER_VERDICT, 0);
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
			auc_router_reply(index, AUC_ANSWER_MOVING, 0);
			break;
		case AUC_REQUEST_STANDING:
			slot->state = live->state;
			auc_router_reply_at(live->lane, index, AUC_LEVEL_REDIS,
								live->last_position);
			break;
		case AUC_REQUEST_RELEASE:
			want_release(router, live, index);
			break;
		case AUC_REQUEST_BOOK:
		case AUC_REQUEST_REMOVE:
			auc_router_reply(index, AUC_ANSWER_RESTING, 0);
			break;
		case AUC_REQUEST_REFRESH:
			auc_router_reply(index, AUC_ANSWER_MOVED, 0);
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
			auc_router_reply_at(live->lane, index, AUC_LEVEL_REDIS,
								live->last_position);
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
				auc_router_reply(index, AUC_ANSWER_RESTING, 0);
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
		auc_router_reply(index, AUC_ANSWER_RESTING, 0);
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
		auc_router_reply(index, AUC_ANSWER_MOVED, 0);
	else if (load->result == AUC_LOAD_BUSY)
		auc_router_reply(index, AUC_ANSWER_BUSY, 0);
	else if (slot->kind == AUC_REQUEST_BOOK)
		auc_router_reply(index, AUC_ANSWER_RESTING, 0);
	else
	{
		memset(&slot->verdict, 0, sizeof(slot->verdict));
		slot->verdict.reason = AUC_REASON_UNKNOWN_AUCTION;
		auc_router_reply(index, AUC_ANSWER_VERDICT, AUC_LEVEL_JOURNAL);
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
		case AUC_LANE_RETURNING:
			/* what is decided now would be committed before Redis has it */
			return rl->ready && auc_guc_degraded;
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
	AucRouterLane *rl = auc_router_lane_of(router, slot);
	AucAnswerKind refusal;
	AucLive    *live;
	AucLoad    *load;

	if (rl == NULL)
	{
		if (auc_slot_take(ticket))
			auc_router_reply(index, AUC_ANSWER_RESUBMIT, 0);
		return;
	}
	if (!lane_decides(router, rl, &refusal))
	{
		if (refusal != 0 && auc_slot_take(ticket))
			auc_router_reply(index, refusal, 0);
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
							  auc_router_keeps_behind(router, live, ticket)))
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
