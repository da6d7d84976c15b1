/*
 * router_shadow_send.c: mirrored bids to Redis, and what it had before.
 *
 * Redis answers with what it had of an auction before.  That is compared with
 * what was confirmed last, if that is known and recent enough not to have
 * expired.  Only what any reader may see is in the hash: a checksum of the
 * bids would let hidden maxima be guessed.
 */
#include "postgres.h"

#include "router_shadow.h"
#include "utils/timestamp.h"

/* Seconds until the keys expire, entries of the log, bidders of a book. */
#define KEEP_SECONDS		3600
#define LOG_ENTRIES			1000
#define BOOK_MEMBERS		1000
/* What is older than this is not looked for in Redis. */
#define COMPARE_SECONDS		(KEEP_SECONDS / 2)
/* Values of an auction in an answer of shadow.lua. */
#define ANSWER_VALUES		6

/* ---- sending ---- */

static AucShadowCall *
call_of(AucRouterShadow *shadow, AucRouterLane *rl, int *ncalls)
{
	AucShadowCall *call;

	for (int i = 0; i < *ncalls; i++)
		if (shadow->calls[i].rl == rl)
			return &shadow->calls[i];
	call = &shadow->calls[(*ncalls)++];
	call->rl = rl;
	call->nrecords = 0;
	call->nsent = 0;
	return call;
}

static bool
is_in_call(const AucShadowItem *item, const AucShadowCall *call)
{
	return item->rl == call->rl && !item->failed && item->verdict.accepted;
}

static void
add_to_call(AucRouterShadow *shadow, AucShadowCall *call, AucShadowItem *item)
{
	AucShadowSent *sent = NULL;
	AucShadowKnown *known;

	call->nrecords++;
	for (int i = 0; i < call->nsent && sent == NULL; i++)
		if (call->sent[i].auction_id == item->entry.auction_id)
			sent = &call->sent[i];
	if (sent == NULL)
	{
		known = auc_router_shadow_known(shadow, item->entry.auction_id);
		sent = &call->sent[call->nsent++];
		sent->auction_id = item->entry.auction_id;
		sent->first = item;
		sent->npairs = 0;
		sent->fresh = known->confirmed_in != call->rl ||
			!auc_shadow_same_state(&known->confirmed, &item->entry.before);
	}
	sent->last = item;
	sent->npairs++;
}

static void
put_sent(AucShadowCall *call, const AucShadowSent *sent)
{
	AucRedis   *redis = call->rl->router->redis;
	const AucState *state = &sent->last->record.state;
	char		status = (char) state->status;

	auc_redis_arg_int64(redis, sent->fresh ? 1 : 0);
	auc_redis_arg_int64(redis, state->price);
	if (state->has_leader)
		auc_redis_arg_int64(redis, state->leader_id);
	else
		auc_redis_arg(redis, "", 0);
	auc_redis_arg_int64(redis, state->bid_count);
	auc_redis_arg_int64(redis, auc_unix_microseconds(state->ends_at));
	auc_redis_arg(redis, &status, 1);
	auc_redis_arg_int64(redis, sent->npairs);
	for (const AucShadowItem *item = sent->first; item <= sent->last; item++)
	{
		if (!is_in_call(item, call) ||
			item->entry.auction_id != sent->auction_id)
			continue;
		auc_redis_arg_int64(redis, item->record.amount);
		auc_redis_arg_int64(redis, item->record.user_id);
	}
}

static void
put_keys(AucShadowCall *call)
{
	AucRouter  *router = call->rl->router;
	const char *prefix = router->options.prefix;
	int			number = call->rl->number;
	char		key[AUC_KEY_MAX];
	int			len = auc_router_term_key(call->rl, key);

	auc_redis_arg(router->redis, key, len);
	len = auc_key_shadow_log(key, prefix, number);
	auc_redis_arg(router->redis, key, len);
	for (int i = 0; i < call->nsent; i++)
	{
		int64		id = call->sent[i].auction_id;

		len = auc_key_shadow(key, prefix, number, id);
		auc_redis_arg(router->redis, key, len);
		len = auc_key_shadow_book(key, prefix, number, id);
		auc_redis_arg(router->redis, key, len);
	}
}

static void shadow_reply(void *arg, const redisReply *reply);

static void
send_call(AucRouterShadow *shadow, AucShadowCall *call)
{
	AucRedis   *redis = shadow->router->redis;
	char		text[AUC_RECORD_TEXT_MAX];

	/* each auction has 7 arguments, each record a text and a pair */
	auc_redis_begin_script(redis, AUC_SCRIPT_SHADOW, 2 + 2 * call->nsent,
						   6 + 4 * call->nrecords + 7 * call->nsent);
	put_keys(call);
	auc_redis_arg_int64(redis, call->rl->term);
	auc_redis_arg_int64(redis, KEEP_SECONDS);
	auc_redis_arg_int64(redis, LOG_ENTRIES);
	auc_redis_arg_int64(redis, BOOK_MEMBERS);
	auc_redis_arg_int64(redis, call->nrecords);
	for (int i = 0; i < shadow->nitems; i++)
	{
		AucShadowItem *item = &shadow->items[i];
		size_t		len;

		if (!is_in_call(item, call))
			continue;
		len = auc_record_encode(&item->record, item->entry.attributes, text);
		auc_redis_arg_int64(redis, item->record.bid_no);
		auc_redis_arg(redis, text, len);
	}
	auc_redis_arg_int64(redis, call->nsent);
	for (int i = 0; i < call->nsent; i++)
		put_sent(call, &call->sent[i]);
	auc_redis_end(redis, shadow_reply, call);
	shadow->outstanding++;
}

void
auc_router_shadow_send(AucRouterShadow *shadow)
{
	int			ncalls = 0;

	for (int i = 0; i < shadow->nitems; i++)
	{
		AucShadowItem *item = &shadow->items[i];

		if (!item->failed && item->verdict.accepted)
			add_to_call(shadow, call_of(shadow, item->rl, &ncalls), item);
	}
	for (int i = 0; i < ncalls; i++)
		send_call(shadow, &shadow->calls[i]);
}

/* ---- answers ---- */

static int64
number_of(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING && reply->len > 0 ?
		strtoll(reply->str, NULL, 10) : -1;
}

static void
compare_number(AucShadowItem *item, const char *name, int64 there,
			   int64 expected)
{
	size_t		len = strlen(item->in_redis);

	if (there != expected)
		snprintf(item->in_redis + len, sizeof(item->in_redis) - len,
				 "%s%s " INT64_FORMAT " instead of " INT64_FORMAT,
				 len > 0 ? ", " : "in Redis: ", name, there, expected);
}

/* What Redis had of the auction, and what it had confirmed. */
static void
compare_redis(const AucShadowKnown *known, AucShadowSent *sent,
			  redisReply **values)
{
	const AucState *state = &known->confirmed;
	AucShadowItem *item = sent->first;
	const redisReply *status = values[5];

	if (values[1]->len == 0)
	{
		strlcpy(item->in_redis, "in Redis: the state is gone",
				sizeof(item->in_redis));
		return;
	}
	compare_number(item, "price", number_of(values[1]), state->price);
	compare_number(item, "leader", number_of(values[2]),
				   state->has_leader ? state->leader_id : -1);
	compare_number(item, "bid_count", number_of(values[3]), state->bid_count);
	if (item->in_redis[0] != '\0')
		return;
	if (number_of(values[4]) != auc_unix_microseconds(state->ends_at))
		strlcpy(item->in_redis, "in Redis: ends_at", sizeof(item->in_redis));
	else if (status->len != 1 || status->str[0] != (char) state->status)
		strlcpy(item->in_redis, "in Redis: status", sizeof(item->in_redis));
	else if (!auc_router_reply_is(values[0], "1"))
		strlcpy(item->in_redis, "in Redis: the book is gone",
				sizeof(item->in_redis));
}

static bool
answer_is_good(const AucShadowCall *call, const redisReply *reply)
{
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY ||
		reply->elements != 1 + ANSWER_VALUES * call->nsent ||
		!auc_router_reply_is(reply->element[0], "OK"))
		return false;
	for (size_t i = 1; i < reply->elements; i++)
		if (reply->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return true;
}

static void
take_answer(AucRouterShadow *shadow, AucShadowCall *call,
			const redisReply *reply)
{
	bool		good = answer_is_good(call, reply);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < call->nsent; i++)
	{
		AucShadowSent *sent = &call->sent[i];
		AucShadowKnown *known;

		known = auc_router_shadow_known(shadow, sent->auction_id);
		if (good && known->confirmed_in == call->rl &&
			!TimestampDifferenceExceeds(known->confirmed_at, now,
										COMPARE_SECONDS * 1000))
			compare_redis(known, sent,
						  &reply->element[1 + ANSWER_VALUES * i]);
		known->confirmed_in = good ? call->rl : NULL;
		known->confirmed = sent->last->record.state;
		known->confirmed_at = now;
	}
	for (int i = 0; !good && i < shadow->nitems; i++)
		if (shadow->items[i].rl == call->rl)
			shadow->items[i].failed = true;
}

/* NULL, too, counts: nothing of a lost connection is asked again. */
static void
shadow_reply(void *arg, const redisReply *reply)
{
	AucShadowCall *call = arg;
	AucRouterShadow *shadow = call->rl->router->shadow;

	take_answer(shadow, call, reply);
	if (--shadow->outstanding == 0)
		auc_router_shadow_finish(shadow);
}
