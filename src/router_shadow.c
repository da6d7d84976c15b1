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
 * Rounds keep a distance, unless one was full: a router that woke for each
 * mirrored bid would take the processor from real ones.
 *
 * Nothing of it touches positions, the tail, or an auction that is live here.
 * Sending, and what Redis had to say, is in router_shadow_send.c.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router_shadow.h"
#include "shm_stat.h"
#include "storage/latch.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_start.h"

/* Auctions whose constants are kept; more: begins again. */
#define KNOWN_MAX			4096
/*
 * A round that was not full is the last one for so long: real bids have the
 * processor that waking for each mirrored one would take.
 */
#define ROUND_MS			4
/* A store that is locked is tried again after so long. */
#define BUSY_RETRY_MS		2
/* ... and after an error after so long, so that the log is not flooded. */
#define ERROR_PAUSE_MS		1000

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
	ctl.entrysize = sizeof(AucShadowKnown);
	ctl.hcxt = shadow->router->context;
	shadow->known = hash_create("auctions that are mirrored", 256, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	shadow->options_seen = shadow->router->options_seen;
}

AucShadowKnown *
auc_router_shadow_known(AucRouterShadow *shadow, int64 auction_id)
{
	return hash_search(shadow->known, &auction_id, HASH_FIND, NULL);
}

static void
load_item(AucRouterShadow *shadow, AucStore *store, AucShadowItem *item)
{
	int64		auction_id = item->entry.auction_id;
	AucRow		row;
	AucShadowKnown *known;

	if (item->failed || auc_router_shadow_known(shadow, auction_id) != NULL)
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
	{
		const AucShadowItem *item = &shadow->items[i];

		if (!item->failed &&
			auc_router_shadow_known(shadow, item->entry.auction_id) == NULL)
			missing++;
	}
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

	while (shadow->nitems < AUC_SHADOW_ROUND)
	{
		AucShadowItem *item = &shadow->items[shadow->nitems];

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
decide_item(AucRouterShadow *shadow, AucShadowItem *item)
{
	AucShadowKnown *known;

	known = auc_router_shadow_known(shadow, item->entry.auction_id);
	item->kind = known->auction.kind;
	item->buy_now_price = known->auction.buy_now_price;
	item->differs = auc_shadow_decide(&known->auction, &item->entry,
									  &item->verdict, &item->record);
}

/* ---- finishing ---- */

static void
list_difference(AucRouterShadow *shadow, const AucShadowItem *item)
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
void
auc_router_shadow_finish(AucRouterShadow *shadow)
{
	int			server = shadow->router->server_index;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < shadow->nitems; i++)
	{
		const AucShadowItem *item = &shadow->items[i];
		const AucShadowEntry *entry = &item->entry;

		if (item->differs != 0 || item->in_redis[0] != '\0')
		{
			list_difference(shadow, item);
			auc_shadow_count(server, AUC_SHADOW_DIFFERENT);
		}
		else
			auc_shadow_count(server, item->failed ? AUC_SHADOW_FAILED :
							 AUC_SHADOW_SAME);
		if (item->failed)
			auc_stat_error(AUC_STAT_SHADOW, AUC_STAT_OTHER);
		else
		{
			auc_shadow_took(server, entry->committed - entry->began,
							now - shadow->began);
			auc_stat_verdict(AUC_STAT_SHADOW, &item->verdict,
							 now - shadow->began);
		}
	}
	shadow->nitems = 0;
}

/* ---- the turn ---- */

/* Takes entries for the next round; false: none, or it is not time yet. */
static bool
begin_round(AucRouterShadow *shadow, TimestampTz now)
{
	AucRouter  *router = shadow->router;

	if (now < shadow->next_round)
	{
		router->shadow_at = shadow->next_round;
		return false;
	}
	take_items(shadow, now);
	shadow->began = now;
	shadow->next_round = shadow->nitems == AUC_SHADOW_ROUND ? now :
		TimestampTzPlusMilliseconds(now, ROUND_MS);
	return shadow->nitems > 0;
}

void
auc_router_shadow_turn(AucRouter *router, TimestampTz now)
{
	AucRouterShadow *shadow = router->shadow;

	if ((shadow != NULL && shadow->outstanding > 0) ||
		now < router->shadow_at)
		return;
	router->shadow_at = 0;
	if (shadow == NULL || shadow->nitems == 0)
	{
		if (!auc_shadow_waiting(router->server_index))
			return;
		if (shadow == NULL)
			shadow = router->shadow = create(router);
		if (!begin_round(shadow, now))
			return;
	}
	if (!know_all(shadow))
	{
		router->shadow_at = TimestampTzPlusMilliseconds(now, BUSY_RETRY_MS);
		return;
	}
	for (int i = 0; i < shadow->nitems; i++)
		if (!shadow->items[i].failed)
			decide_item(shadow, &shadow->items[i]);
	auc_router_shadow_send(shadow);
	if (shadow->outstanding > 0)
		return;
	auc_router_shadow_finish(shadow);
	/* the next round has its own turn, so that real bids come between */
	if (auc_shadow_waiting(router->server_index))
		SetLatch(MyLatch);
}
