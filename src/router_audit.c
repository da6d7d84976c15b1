/*
 * router_audit.c: what Redis has of an auction, for auction.audit().
 *
 * Loads nothing and changes nothing: who asks holds the auction's lock, and has
 * had it let go, if he wants to compare what he is told with the row.  Only a
 * lane in state NORMAL is asked: in every other one Redis is known to lag.
 */
#include "postgres.h"

#include "router.h"

/* Elements of the answer before the book's pairs. */
#define FIELDS	9

static bool
is_empty(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING && reply->len == 0;
}

/* The hash; a field that is no number makes it unreadable. */
static void
read_hash(redisReply *const *field, AucShown *shown, AucState *state)
{
	int64		ends_at;
	int64		retracted = 0;
	int64		mark;

	shown->there = auc_router_reply_is(field[0], "1");
	state->has_leader = !is_empty(field[2]);
	shown->readable = auc_router_number(field[1], &state->price) &&
		(!state->has_leader ||
		 auc_router_number(field[2], &state->leader_id)) &&
		auc_router_number(field[3], &state->bid_count) &&
		auc_router_number(field[4], &ends_at) &&
		field[5]->type == REDIS_REPLY_STRING && field[5]->len == 1 &&
		(is_empty(field[7]) || auc_router_number(field[7], &retracted));
	if (!shown->readable)
		return;
	/* back to the engine's epoch */
	state->ends_at = ends_at - auc_unix_microseconds(0);
	state->status = (AucStatus) field[5]->str[0];
	state->retracted = retracted;
	shown->whole = auc_router_number(field[6], &mark) &&
		mark == state->bid_count;
}

static bool
read_audit(const redisReply *reply, AucSlot *slot)
{
	redisReply *const *pair;

	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY ||
		reply->elements < FIELDS || reply->elements % 2 != FIELDS % 2 ||
		!auc_router_number(reply->element[8], &slot->shown.members))
		return false;
	read_hash(reply->element, &slot->shown, &slot->state);
	slot->nbook = Min((int) (reply->elements - FIELDS) / 2, slot->wanted);
	pair = reply->element + FIELDS;
	for (int i = 0; i < slot->nbook; i++, pair += 2)
		if (!auc_router_number(pair[0], &slot->u.book[i].user_id) ||
			!auc_router_number(pair[1], &slot->u.book[i].amount))
			return false;
	return true;
}

static void
answer(int index, AucAnswerKind kind)
{
	auc_slot(index)->answer = kind;
	auc_slot(index)->level = AUC_LEVEL_REDIS;
	auc_slot_answer(index);
}

static void
audit_reply(void *arg, const redisReply *reply)
{
	int			index = (int) (intptr_t) arg;

	answer(index, read_audit(reply, auc_slot(index)) ?
		   AUC_ANSWER_VERDICT : AUC_ANSWER_RESTING);
}

void
auc_router_audit(AucRouter *router, AucRouterLane *rl, int index)
{
	AucRedis   *redis = router->redis;
	AucSlot    *slot = auc_slot(index);

	if (!auc_router_lane_usable(rl) ||
		auc_lane_get_state(rl->lane) != AUC_LANE_NORMAL)
	{
		answer(index, AUC_ANSWER_RESTING);
		return;
	}
	memset(&slot->shown, 0, sizeof(slot->shown));
	memset(&slot->state, 0, sizeof(slot->state));
	slot->nbook = 0;
	slot->wanted = Max(Min(slot->wanted, AUC_BOOK_MAX), 1);
	auc_redis_begin_script(redis, AUC_SCRIPT_AUDIT, 2, 1);
	auc_router_put_keys(rl, false, slot->auction_id);
	auc_redis_arg_int64(redis, slot->wanted);
	auc_redis_end(redis, audit_reply, (void *) (intptr_t) index);
}
