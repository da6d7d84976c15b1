/*
 * router_limits.c: a lane near one of its limits takes bids later, or not.
 *
 * Each turn holds the lane's figures against their limits (limit.h).  A bid
 * that has not yet waited as long as that says is left published, and so are
 * the lane's bids behind it, so that their order stays; other lanes of the
 * router go on.  What is delayed can be withdrawn by its backend, which gives
 * up after auction.overload_timeout: not recorded.
 *
 * Only bids on live auctions are delayed: what else is asked for makes a lane
 * no fuller, or, as a move to route table, makes it emptier, and loading an
 * auction shows whether it has moved.  But a close must not overtake a bid
 * of its auction that came in time, nor bid_status() any of them.  (A tail without any room stops
 * everything, in router_decide.c.)
 *
 * What Redis alone knows, the entries of the logs and its memory, is asked for
 * once a second.  It delays nobody while the lane does without Redis, for then
 * neither grows.
 */
#include "postgres.h"

#include "limit.h"
#include "redis_preflight.h"
#include "router.h"
#include "settings.h"
#include "utils/timestamp.h"

/* ---- what delays a lane ---- */

static bool
writes_to_redis(AucRouterLane *rl)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	return state == AUC_LANE_NORMAL || state == AUC_LANE_RETURNING;
}

static double
backlog_seconds(AucRouterLane *rl, TimestampTz now)
{
	TimestampTz oldest = auc_tail_oldest_at(rl->lane);

	return oldest == 0 || oldest > now ? 0 :
		(double) (now - oldest) / USECS_PER_SEC;
}

void
auc_router_limits_turn(AucRouterLane *rl, TimestampTz now)
{
	AucLane    *lane = rl->lane;
	AucServer  *server = rl->router->server;
	AucFigure	figures[AUC_LIMIT_LANE_END] = {{0}};
	AucDelay	delay;

	figures[AUC_LIMIT_TAIL].is =
		(double) (lane->tail_size - auc_tail_room(&rl->writer));
	figures[AUC_LIMIT_TAIL].limit = (double) (lane->tail_size -
											  AUC_TAIL_ROOM_WANTED);
	if (auc_guc_backlog_limit > 0)
	{
		figures[AUC_LIMIT_BACKLOG].is = backlog_seconds(rl, now);
		figures[AUC_LIMIT_BACKLOG].limit = auc_guc_backlog_limit;
	}
	if (writes_to_redis(rl))
	{
		figures[AUC_LIMIT_LOG].is =
			(double) pg_atomic_read_u64(&lane->log_length);
		figures[AUC_LIMIT_LOG].limit = auc_guc_log_limit;
		figures[AUC_LIMIT_MEMORY].is =
			(double) pg_atomic_read_u64(&server->memory_used);
		figures[AUC_LIMIT_MEMORY].limit =
			(double) pg_atomic_read_u64(&server->memory_max) *
			auc_guc_redis_memory_limit / 100;
	}
	delay = auc_limits_delay(figures);
	if (delay.by != rl->delay.by || delay.ms != rl->delay.ms)
	{
		rl->delay = delay;
		auc_lane_set_delay(lane, delay);
	}
	rl->delayed = false;
	rl->delayed_until = 0;
}

/* ---- what it means for a request ---- */

static bool
is_bid(const AucSlot *slot)
{
	return slot->kind == AUC_REQUEST_BID || slot->kind == AUC_REQUEST_BUY;
}

/* In ticket order; the first one that is delayed delays those behind it. */
bool
auc_router_delays(AucRouterLane *rl, const AucSlot *slot, TimestampTz now)
{
	if (rl->delay.ms == 0 || !is_bid(slot))
		return false;
	if (!rl->delayed && rl->delay.ms != AUC_DELAY_FOREVER)
	{
		TimestampTz until = TimestampTzPlusMilliseconds(slot->at, rl->delay.ms);

		if (until <= now)
			return false;
		rl->delayed_until = until;
	}
	rl->delayed = true;
	return true;
}

bool
auc_router_keeps_behind(AucRouter *router, const AucLive *live,
					   const AucTicket *ticket)
{
	AucRequestKind kind = auc_slot(ticket->index)->kind;

	if (!live->lane->delayed ||
		(kind != AUC_REQUEST_CLOSE && kind != AUC_REQUEST_STATUS))
		return false;
	for (const AucTicket *before = router->tickets; before < ticket; before++)
	{
		const AucSlot *slot = auc_slot(before->index);

		if (slot->auction_id == live->auction_id && is_bid(slot) &&
			(kind == AUC_REQUEST_STATUS ||
			 !auc_rules_due(&live->state, slot->at)) &&
			auc_slot_state(before->index) == AUC_SLOT_PUBLISHED)
			return true;
	}
	return false;
}

/* When to look at delayed bids again; 0: there are none, or a figure tells. */
TimestampTz
auc_router_delayed_until(AucRouter *router)
{
	TimestampTz first = 0;

	for (int i = 0; i < router->nlanes; i++)
	{
		TimestampTz until = router->lanes[i].delayed_until;

		if (until != 0 && (first == 0 || until < first))
			first = until;
	}
	return first;
}

/* ---- Redis' memory, once a second ---- */

static void
memory_reply(void *arg, const redisReply *reply)
{
	AucServer  *server = ((AucRouter *) arg)->server;
	AucRedisFacts facts;

	auc_facts_clear(&facts);
	if (reply != NULL && reply->type == REDIS_REPLY_STRING)
		auc_facts_info(&facts, reply->str, reply->len);
	pg_atomic_write_u64(&server->memory_used, Max(facts.used_memory, 0));
	pg_atomic_write_u64(&server->memory_max, Max(facts.maxmemory, 0));
}

void
auc_router_ask_memory(AucRouter *router)
{
	AucRedis   *redis = router->redis;

	if (auc_redis_status(redis) != AUC_REDIS_READY)
		return;
	auc_redis_begin(redis, 2);
	auc_redis_arg_str(redis, "INFO");
	auc_redis_arg_str(redis, "memory");
	auc_redis_end(redis, memory_reply, router);
}
