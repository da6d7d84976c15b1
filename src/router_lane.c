/*
 * router_lane.c: a lane's part of the router's turn, and what the other files
 * of the router need of a lane.
 *
 * router_take.c and router_append.c move the lane's phase on; this file turns
 * what comes of it into the lane's state in shared memory, lets the drain go
 * on, and frees the tail (rule 6).
 */
#include "postgres.h"

#include "errors.h"
#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "utils/timestamp.h"

/* ---- for the other files ---- */

bool
auc_router_reply_is(const redisReply *reply, const char *text)
{
	return reply->type == REDIS_REPLY_STRING && strcmp(reply->str, text) == 0;
}

int
auc_router_log_key(AucRouterLane *rl, char *key)
{
	return auc_key_log(key, rl->router->options.prefix, rl->number);
}

int
auc_router_term_key(AucRouterLane *rl, char *key)
{
	return auc_key_term(key, rl->router->options.prefix, rl->number);
}

void
auc_router_lane_confirm(AucRouterLane *rl, uint64 position)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	pg_atomic_write_u64(&rl->lane->confirmed, position);
	if (state == AUC_LANE_NORMAL || state == AUC_LANE_RECOVERING)
		pg_atomic_write_u64(&rl->lane->apply_limit, position);
}

void
auc_router_lane_wake_drain(AucRouterLane *rl)
{
	AucServer  *server = rl->router->server;

	if (pg_atomic_read_u32(&rl->lane->applied_wanted) > 0 ||
		pg_atomic_exchange_u32(&server->drain_idle, 0) != 0)
		auc_server_wake_drain(server);
}

const char *
auc_router_said(const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STRING)
		return reply->str;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
		reply->element[0]->type == REDIS_REPLY_STRING)
		return reply->element[0]->str;
	return "an unexpected answer";
}

void
auc_router_lane_give_up(AucRouterLane *rl, const char *what,
						const redisReply *reply)
{
	char		where[100];

	/* another owner: the lane is not degraded before that is known */
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
		auc_router_reply_is(reply->element[0], "TERM"))
		auc_router_owner_doubt(rl);
	snprintf(where, sizeof(where), "%s on lane %d", what, rl->lane_id);
	auc_redis_close_refused(rl->router->redis, where, reply);
}

void
auc_router_lane_fence(AucRouterLane *rl, const char *why, const char *hint)
{
	/* one that was tried again, and still is not ours, is only put aside */
	if (auc_lane_get_state(rl->lane) != AUC_LANE_FENCED)
	{
		ereport(LOG,
				(errcode(AUC_ERRCODE_FENCED),
				 errmsg("lane %d of server \"%s\" is fenced: %s", rl->lane_id,
						NameStr(rl->router->server->name), why),
				 errdetail("Nothing is decided or applied in it until this is resolved; waiting bids fail."),
				 errhint("%s", hint != NULL ? hint :
						 "If what Redis has there is known to be abandoned, auction.adopt_lanes(server, give_up_log => true) deletes it and goes on; or choose another prefix. The lane is tried again on the next connection.")));
		pg_atomic_write_u64(&rl->lane->apply_limit, 0);
		pg_atomic_write_u32(&rl->lane->fenced_recovering,
							auc_lane_get_state(rl->lane) == AUC_LANE_RECOVERING);
		auc_lane_set_state(rl->lane, AUC_LANE_FENCED);
	}
	auc_router_connection_works(rl->router);
	rl->phase = AUC_PHASE_NONE;
	rl->gap_to = 0;
	rl->asking = false;
	rl->fenced_on = auc_redis_generation(rl->router->redis);
	rl->ready = false;
	rl->ready_at = rl->writer.last;
}

/* ---- begin, connection ---- */

void
auc_router_lane_begin(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;

	auc_tail_open(&rl->writer, lane);
	rl->published = rl->writer.last;
	rl->ready = false;
	rl->ready_at = rl->writer.last;
	rl->phase = AUC_PHASE_NONE;
	rl->told = true;
	rl->logged_off = pg_atomic_read_u64(&lane->freed_off);
	rl->log_last = pg_atomic_read_u64(&lane->confirmed);
	auc_router_replicas_forget(rl);
	rl->term = pg_atomic_read_u64(&lane->term);
	rl->delay = auc_lane_get_delay(lane);
	/* the predecessor may have left some unread; reading one twice is harmless */
	rl->seen_notices = pg_atomic_read_u64(&lane->notices);
	rl->seen_notices -= Min(rl->seen_notices, AUC_LANE_NOTICES - 1);
}

void
auc_router_lane_note_degraded(AucRouterLane *rl, bool told)
{
	pg_atomic_write_u64(&rl->lane->degraded_us, 0);
	pg_atomic_write_u64(&rl->lane->degraded_at,
						(uint64) GetCurrentTimestamp());
	rl->told = told;
}

int64
auc_router_lane_note_returned(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	TimestampTz began = (TimestampTz) pg_atomic_read_u64(&lane->degraded_at);
	int64		took = Max(GetCurrentTimestamp() - began, 1);

	if (began == 0 || pg_atomic_read_u64(&lane->degraded_us) != 0)
		return 0;
	pg_atomic_write_u64(&lane->reappended, rl->reappended);
	pg_atomic_write_u64(&lane->degraded_us, (uint64) took);
	return took;
}

void
auc_router_lane_disconnected(AucRouterLane *rl, const char *error)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	rl->phase = AUC_PHASE_NONE;
	rl->in_flight = false;
	rl->reading = false;
	rl->gap_to = 0;				/* found again when it is read again */
	if (auc_router_owner_asks(rl))
		return;
	if (state == AUC_LANE_NORMAL || state == AUC_LANE_RETURNING ||
		(state == AUC_LANE_WAITING && auc_guc_degraded))
		auc_router_lane_degrade(rl, error, rl->router->told);
}

/* From wherever: what the log has is confirmed, and nobody has to insist. */
void
auc_router_lane_normal(AucRouterLane *rl)
{
	auc_lane_set_state(rl->lane, AUC_LANE_NORMAL);
	auc_router_lane_confirm(rl, rl->log_last);
	auc_router_adopt_void(rl);
}

/* One that was returning, and did not get there, was told of already. */
void
auc_router_lane_degrade(AucRouterLane *rl, const char *why, bool tell)
{
	AucLane    *lane = rl->lane;
	bool		again = auc_lane_get_state(lane) == AUC_LANE_RETURNING;

	if (!auc_guc_degraded)
	{
		if (tell)
			ereport(LOG,
					(errmsg("lane %d of server \"%s\" waits for Redis: bids are refused, because auction.degraded is off",
							rl->lane_id, NameStr(rl->router->server->name)),
					 errdetail("Redis: %s.", why)));
		/* one that was returning may have records that the log has not */
		pg_atomic_write_u64(&lane->apply_limit,
							pg_atomic_read_u64(&lane->confirmed));
		auc_lane_set_state(lane, AUC_LANE_WAITING);
		return;
	}
	if (!again)
	{
		auc_router_lane_note_degraded(rl, tell);
		if (tell)
			ereport(LOG,
					(errmsg("lane %d of server \"%s\" is degraded: bids are acknowledged when PostgreSQL has committed them",
							rl->lane_id, NameStr(rl->router->server->name)),
					 errdetail("Redis: %s.", why)));
	}
	auc_lane_set_state(lane, AUC_LANE_DEGRADED);
	pg_atomic_write_u64(&lane->apply_limit, PG_UINT64_MAX);
	auc_server_wake_drain(rl->router->server);
}

/* ---- the turn ---- */

/* Rule 6: what may leave the tail. */
static void
free_tail(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		off = pg_atomic_read_u64(&lane->applied_off);
	bool		away = rl->phase == AUC_PHASE_NONE ||
		rl->phase == AUC_PHASE_TAKING ||
		rl->phase == AUC_PHASE_WATCHING;

	if (!away || auc_lane_get_state(lane) != AUC_LANE_DEGRADED)
		off = Min(off, rl->logged_off);
	if (rl->phase == AUC_PHASE_COMPARING)
		off = Min(off, rl->compare.off);
	auc_tail_free(lane, off);
}

void
auc_router_lane_turn(AucRouterLane *rl)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	if (state == AUC_LANE_UNKNOWN)
	{
		auc_router_begin_recovery(rl);
		state = auc_lane_get_state(rl->lane);
		if (state == AUC_LANE_UNKNOWN)
			return;
	}
	auc_router_advance(rl);
	auc_router_owner_beat(rl);
	free_tail(rl);
	state = auc_lane_get_state(rl->lane);
	if (!rl->ready && state != AUC_LANE_RECOVERING &&
		state != AUC_LANE_FENCED &&
		pg_atomic_read_u64(&rl->lane->applied) >= rl->ready_at)
	{
		rl->ready = true;
		auc_router_ids_begin(rl);
	}
	auc_router_ids_turn(rl);
}

/* Rule 6: visible by one store, and before anything is sent. */
void
auc_router_lane_publish(AucRouterLane *rl)
{
	if (rl->published == rl->writer.last)
		return;
	auc_tail_publish(&rl->writer);
	rl->published = rl->writer.last;
	if (pg_atomic_read_u64(&rl->lane->apply_limit) == PG_UINT64_MAX)
		auc_router_lane_wake_drain(rl);
}
