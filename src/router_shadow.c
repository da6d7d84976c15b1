/*
 * router_shadow.c: bids of route table, decided once more, without counting.
 *
 * Entries come from the backends' queue (shm_shadow.h) in rounds, of which one
 * is under way at a time and whose size bounds what a turn does for them:
 *
 *   take     a few entries; what cannot go to Redis now has failed
 *   load     the constants of auctions seen for the first time, from their
 *            rows, without waiting for any lock; fixed from the first bid on
 *            (bid_shadow.c mirrors nothing before), they are kept, as a live
 *            auction's are
 *   decide   each by the rules, from the state its entry names; compared with
 *            what the table decided
 *   send     one call a lane with the round's accepted bids (lua/shadow.lua)
 *   finish   when every call is answered: counted, differences listed
 *
 * Nothing of it touches positions, the tail, or an auction that is live here.
 *
 * Redis answers with what it had of an auction before.  That is compared with
 * what was confirmed last, if that is known and recent enough not to have
 * expired.  Only what any reader may see is in the hash: a checksum of the
 * bids would let hidden maxima be guessed.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "shm_shadow.h"
#include "storage/latch.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_start.h"

/* Entries of a round. */
#define ROUND_ENTRIES		32
/* Auctions whose constants are kept; more: begins again. */
#define KNOWN_MAX			4096
/* A store that is locked is tried again after so long. */
#define BUSY_RETRY_MS		2
/* ... and after an error after so long, so that the log is not flooded. */
#define ERROR_PAUSE_MS		1000
/* The keys: seconds until they expire, entries of the log, members of a book. */
#define KEEP_SECONDS		3600
#define LOG_ENTRIES			1000
#define BOOK_MEMBERS		1000
/* What is older than this is not looked for in Redis. */
#define COMPARE_SECONDS		(KEEP_SECONDS / 2)
/* Values of an auction in an answer of shadow.lua. */
#define ANSWER_VALUES		6

/* An auction that was mirrored. */
typedef struct Known
{
	int64		auction_id;		/* hash key */
	AucAuction	auction;
	AucRouterLane *confirmed_in;	/* Redis has "confirmed"; NULL: unknown */
	AucState	confirmed;
	TimestampTz confirmed_at;
} Known;

typedef struct Item
{
	AucShadowEntry entry;
	AucRouterLane *rl;
	AucVerdict	verdict;
	AucRecord	record;
	unsigned	differs;
	AucKind		kind;
	int64		buy_now_price;
	bool		failed;
	char		in_redis[128];	/* what Redis had instead; "": nothing else */
} Item;

/* What a call tells about one auction. */
typedef struct Sent
{
	int64		auction_id;
	Item	   *first;			/* of its accepted bids in the call */
	Item	   *last;
	int			npairs;
	bool		fresh;			/* does not join on to what was confirmed */
} Sent;

typedef struct Call
{
	AucRouterLane *rl;
	int			nrecords;
	int			nsent;
	Sent		sent[ROUND_ENTRIES];
} Call;

struct AucRouterShadow
{
	AucRouter  *router;
	MemoryContext scratch;		/* of a transaction that failed */
	HTAB	   *known;
	TimestampTz paused_until;	/* loading has failed: not before */
	uint64		options_seen;	/* other options: perhaps another Redis */
	int			nitems;			/* of the round; 0: none is under way */
	Item		items[ROUND_ENTRIES];
	int			outstanding;	/* calls without an answer */
	Call		calls[ROUND_ENTRIES];
};

static AucRouterShadow *
create(AucRouter *router)
{
	AucRouterShadow *shadow = MemoryContextAllocZero(router->context,
													 sizeof(*shadow));

	shadow->router = router;
	shadow->scratch = AllocSetContextCreate(router->context, "auction shadow",
											ALLOCSET_SMALL_SIZES);
	return shadow;
}

/* ---- the constants of auctions ---- */

static void
begin_again(AucRouterShadow *shadow)
{
	HASHCTL		ctl = {0};

	if (shadow->known != NULL)
		hash_destroy(shadow->known);
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(Known);
	ctl.hcxt = shadow->router->context;
	shadow->known = hash_create("auctions that are mirrored", 256, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	shadow->options_seen = shadow->router->options_seen;
}

static Known *
find_known(AucRouterShadow *shadow, int64 auction_id)
{
	return hash_search(shadow->known, &auction_id, HASH_FIND, NULL);
}

static void
load_item(AucRouterShadow *shadow, AucStore *store, Item *item)
{
	int64		auction_id = item->entry.auction_id;
	AucRow		row;
	Known	   *known;

	if (item->failed || find_known(shadow, auction_id) != NULL)
		return;
	if (!auc_store_find(store, auction_id, NULL, &row))
	{
		item->failed = true;
		return;
	}
	known = hash_search(shadow->known, &auction_id, HASH_ENTER, NULL);
	known->auction = row.auction;
	known->confirmed_in = NULL;
}

/* false: the store is locked. */
static bool
load_items(AucRouterShadow *shadow)
{
	AucStore   *store;

	auc_worker_xact_begin("loading mirrored auctions");
	store = auc_store_try_open(false, AccessShareLock);
	for (int i = 0; store != NULL && i < shadow->nitems; i++)
		load_item(shadow, store, &shadow->items[i]);
	if (store != NULL)
		auc_store_close(store);
	auc_worker_xact_commit();
	return store != NULL;
}

/* An ERROR is no reason to end the process, which real bids wait for. */
static bool
try_load_items(AucRouterShadow *shadow)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool loaded = true;

	PG_TRY();
	{
		loaded = load_items(shadow);
	}
	PG_CATCH();
	{
		auc_worker_recover(shadow->scratch);
		shadow->paused_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ERROR_PAUSE_MS);
		for (int i = 0; i < shadow->nitems; i++)
			shadow->items[i].failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return loaded;
}

/* false: not all are there, come back later. */
static bool
know_all(AucRouterShadow *shadow)
{
	int			missing = 0;

	if (shadow->known == NULL ||
		shadow->options_seen != shadow->router->options_seen)
		begin_again(shadow);
	for (int i = 0; i < shadow->nitems; i++)
		if (!shadow->items[i].failed &&
			find_known(shadow, shadow->items[i].entry.auction_id) == NULL)
			missing++;
	if (missing == 0)
		return true;
	if (hash_get_num_entries(shadow->known) + missing > KNOWN_MAX)
		begin_again(shadow);
	return try_load_items(shadow);
}

/* ---- taking and deciding ---- */

static AucRouterLane *
lane_of(AucRouter *router, const AucShadowEntry *entry)
{
	if (entry->database != MyDatabaseId)
		return NULL;
	for (int i = 0; i < router->nlanes; i++)
		if (router->lanes[i].index == entry->lane)
			return &router->lanes[i];
	return NULL;
}

static void
take_items(AucRouterShadow *shadow, TimestampTz now)
{
	AucRouter  *router = shadow->router;
	bool		ready = now >= shadow->paused_until &&
		auc_redis_status(router->redis) == AUC_REDIS_READY;

	while (shadow->nitems < ROUND_ENTRIES)
	{
		Item	   *item = &shadow->items[shadow->nitems];

		if (!auc_shadow_pop(router->server_index, &item->entry))
			return;
		item->rl = lane_of(router, &item->entry);
		item->failed = !ready || item->rl == NULL ||
			item->rl->phase != AUC_PHASE_APPENDING;
		item->differs = 0;
		item->in_redis[0] = '\0';
		shadow->nitems++;
	}
}

static void
decide_item(AucRouterShadow *shadow, Item *item)
{
	Known	   *known = find_known(shadow, item->entry.auction_id);

	item->kind = known->auction.kind;
	item->buy_now_price = known->auction.buy_now_price;
	item->differs = auc_shadow_decide(&known->auction, &item->entry,
									  &item->verdict, &item->record);
}

/* ---- sending ---- */

static Call *
call_of(AucRouterShadow *shadow, AucRouterLane *rl, int *ncalls)
{
	Call	   *call;

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
is_in_call(const Item *item, const Call *call)
{
	return item->rl == call->rl && !item->failed && item->verdict.accepted;
}

static void
add_to_call(AucRouterShadow *shadow, Call *call, Item *item)
{
	Sent	   *sent = NULL;
	Known	   *known;

	call->nrecords++;
	for (int i = 0; i < call->nsent && sent == NULL; i++)
		if (call->sent[i].auction_id == item->entry.auction_id)
			sent = &call->sent[i];
	if (sent == NULL)
	{
		known = find_known(shadow, item->entry.auction_id);
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
put_sent(Call *call, const Sent *sent)
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
	for (const Item *item = sent->first; item <= sent->last; item++)
	{
		if (!is_in_call(item, call) ||
			item->entry.auction_id != sent->auction_id)
			continue;
		auc_redis_arg_int64(redis, item->record.amount);
		auc_redis_arg_int64(redis, item->record.user_id);
	}
}

static void
put_keys(Call *call)
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
send_call(AucRouterShadow *shadow, Call *call)
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
		Item	   *item = &shadow->items[i];
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

static void
send_items(AucRouterShadow *shadow)
{
	int			ncalls = 0;

	for (int i = 0; i < shadow->nitems; i++)
	{
		Item	   *item = &shadow->items[i];

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
compare_number(Item *item, const char *name, int64 there, int64 expected)
{
	size_t		len = strlen(item->in_redis);

	if (there != expected)
		snprintf(item->in_redis + len, sizeof(item->in_redis) - len,
				 "%s%s " INT64_FORMAT " instead of " INT64_FORMAT,
				 len > 0 ? ", " : "in Redis: ", name, there, expected);
}

/* What Redis had of the auction, and what it had confirmed. */
static void
compare_redis(const Known *known, Sent *sent, redisReply **values)
{
	const AucState *state = &known->confirmed;
	Item	   *item = sent->first;
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
answer_is_good(const Call *call, const redisReply *reply)
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
take_answer(AucRouterShadow *shadow, Call *call, const redisReply *reply)
{
	bool		good = answer_is_good(call, reply);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < call->nsent; i++)
	{
		Sent	   *sent = &call->sent[i];
		Known	   *known = find_known(shadow, sent->auction_id);

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

static void
list_difference(AucRouterShadow *shadow, const Item *item)
{
	const AucShadowEntry *entry = &item->entry;
	AucShadowDifference difference;
	size_t		len;

	memset(&difference, 0, sizeof(difference));
	difference.at = entry->verdict.at;
	difference.auction_id = entry->auction_id;
	difference.user_id = entry->user_id;
	difference.amount = entry->buy_now ? item->buy_now_price : entry->amount;
	if (item->kind == AUC_KIND_PROXY)
		difference.amount = Min(difference.amount, entry->verdict.price);
	difference.table = entry->verdict;
	difference.shadow = item->verdict;
	len = auc_shadow_words(item->differs, difference.what,
						   sizeof(difference.what));
	snprintf(difference.what + len, sizeof(difference.what) - len, "%s%s",
			 len > 0 && item->in_redis[0] != '\0' ? "; " : "",
			 item->in_redis);
	auc_shadow_differs(shadow->router->server_index, &difference);
}

/* The round's last answer has come, or it needed none. */
static void
finish_round(AucRouterShadow *shadow)
{
	int			server = shadow->router->server_index;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < shadow->nitems; i++)
	{
		const Item *item = &shadow->items[i];
		const AucShadowEntry *entry = &item->entry;

		if (item->differs != 0 || item->in_redis[0] != '\0')
		{
			list_difference(shadow, item);
			auc_shadow_count(server, AUC_SHADOW_DIFFERENT);
		}
		else
			auc_shadow_count(server, item->failed ? AUC_SHADOW_FAILED :
							 AUC_SHADOW_SAME);
		if (!item->failed)
			auc_shadow_took(server, entry->committed - entry->began,
							now - entry->committed);
	}
	shadow->nitems = 0;
}

/* NULL, too, counts: nothing of a lost connection is asked again. */
static void
shadow_reply(void *arg, const redisReply *reply)
{
	Call	   *call = arg;
	AucRouterShadow *shadow = call->rl->router->shadow;

	take_answer(shadow, call, reply);
	if (--shadow->outstanding == 0)
		finish_round(shadow);
}

/* ---- the turn ---- */

void
auc_router_shadow_turn(AucRouter *router, TimestampTz now)
{
	AucRouterShadow *shadow = router->shadow;

	if (shadow != NULL && shadow->outstanding > 0)
		return;
	if (shadow == NULL || shadow->nitems == 0)
	{
		if (!auc_shadow_waiting(router->server_index))
			return;
		if (shadow == NULL)
			shadow = router->shadow = create(router);
		take_items(shadow, now);
	}
	else if (now < router->shadow_at)
		return;

	router->shadow_at = 0;
	if (!know_all(shadow))
	{
		router->shadow_at = TimestampTzPlusMilliseconds(now, BUSY_RETRY_MS);
		return;
	}
	for (int i = 0; i < shadow->nitems; i++)
		if (!shadow->items[i].failed)
			decide_item(shadow, &shadow->items[i]);
	send_items(shadow);
	if (shadow->outstanding > 0)
		return;
	finish_round(shadow);
	/* the next round has its own turn, so that real bids come between */
	if (auc_shadow_waiting(router->server_index))
		SetLatch(MyLatch);
}
