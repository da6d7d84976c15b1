/*
 * router_live.c: which auctions are live.
 *
 * Loading (rule 3): a new READ COMMITTED transaction, no waiting for any lock,
 * the auction's own lock tried.  It reads nothing but the state row,
 * which is the truth, because no record of the lane from an earlier life is
 * unapplied (rule 1: the lane is "ready", and an auction leaves only when its
 * last record is applied).  Unknown auctions are not remembered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lock.h"
#include "miscadmin.h"
#include "router.h"
#include "storage/latch.h"
#include "store.h"
#include "utils/timestamp.h"
#include "worker.h"

/* An auction that nobody asked about for so long is let go. */
#define IDLE_SECONDS		60
/* A busy auction is tried again after so long. */
#define BUSY_RETRY_MS		2

static void
forget(AucRouter *router, AucLive *live)
{
	int64		auction_id = live->auction_id;

	if (live->check_book || live->rebuild_book)
		router->nbooks--;
	/* auc_router_live() may still point here: the lane tells it otherwise */
	live->lane = NULL;
	(void) hash_search(router->live, &auction_id, HASH_REMOVE, NULL);
}

static bool
at_rest(const AucLive *live)
{
	return live->last_position <= pg_atomic_read_u64(&live->lane->lane->applied);
}

AucLive *
auc_router_live(AucRouter *router, int64 auction_id)
{
	static AucLive *recent = NULL;

	/* the hot auction, most of the time; removed entries have no lane */
	if (recent == NULL || recent->auction_id != auction_id ||
		recent->lane == NULL)
		recent = hash_search(router->live, &auction_id, HASH_FIND, NULL);
	if (recent != NULL && recent->moving && at_rest(recent))
	{
		forget(router, recent);
		recent = NULL;
	}
	return recent;
}

/* ---- loading ---- */

static AucRouterLane *
lane_by_id(AucRouter *router, int lane_id)
{
	for (int i = 0; i < router->nlanes; i++)
		if (router->lanes[i].lane_id == lane_id)
			return &router->lanes[i];
	return NULL;
}

/*
 * As committed now; AUC_LOAD_LIVE: it is ours.  Looked at once without the
 * auction's lock: where the route is table, bids may hold that lock without a
 * pause, and who comes here by an old hint would wait for them to end.
 */
static AucLoadResult
find_row(AucRouter *router, AucStore *store, int64 auction_id, AucRow *row)
{
	if (!auc_store_find(store, auction_id, NULL, row))
		return AUC_LOAD_UNKNOWN;
	if (row->route != AUC_ROUTE_REDIS ||
		lane_by_id(router, row->lane_id) == NULL)
		return AUC_LOAD_MOVED;
	return AUC_LOAD_LIVE;
}

static AucLoadResult
load_row(AucRouter *router, AucStore *store, int64 auction_id, TimestampTz now)
{
	AucRow		row;
	AucRouterLane *rl;
	AucLive    *live;
	AucLoadResult result = find_row(router, store, auction_id, &row);

	if (result != AUC_LOAD_LIVE)
		return result;
	if (!auc_lock_try(auction_id))
		return AUC_LOAD_BUSY;
	result = find_row(router, store, auction_id, &row);
	if (result != AUC_LOAD_LIVE)
		return result;
	rl = lane_by_id(router, row.lane_id);
	if (!rl->ready)
		return AUC_LOAD_BUSY;
	live = hash_search(router->live, &auction_id, HASH_ENTER, NULL);
	live->lane = rl;
	live->auction = row.auction;
	live->state = row.state;
	live->loaded_bids = row.state.bid_count;
	live->last_position = 0;
	/* its bids may be in no record that is remembered (rule 16) */
	live->look = row.state.bid_count == 0 ? 0 : auc_router_raise_looks(router);
	live->used_at = now;
	live->releasing = false;
	live->moving = false;
	/* a closed auction's keys are removed, and not to come back */
	live->check_book = row.state.bid_count > 0 &&
		row.state.status == AUC_STATUS_OPEN;
	live->rebuild_book = false;
	live->rebuilding = false;
	live->rebuild_failed = false;
	live->rebuild_at = 0;
	if (live->check_book)
		router->nbooks++;
	return AUC_LOAD_LIVE;
}

void
auc_router_load(AucRouter *router, TimestampTz now)
{
	AucStore   *store;
	bool		busy = false;

	auc_worker_xact_begin("loading auctions");
	store = auc_store_try_open(false, AccessShareLock);
	if (store == NULL)
		busy = true;
	for (int i = 0; store != NULL && i < router->nloads; i++)
	{
		AucLoad    *load = &router->loads[i];

		load->result = load_row(router, store, load->auction_id, now);
		if (load->result == AUC_LOAD_BUSY)
			busy = true;
	}
	if (store != NULL)
		auc_store_close(store);
	auc_worker_xact_commit();
	router->load_at = busy ?
		TimestampTzPlusMilliseconds(now, BUSY_RETRY_MS) : 0;
}

/* ---- letting go ---- */

void
auc_router_releases(AucRouter *router)
{
	int			kept = 0;

	for (int i = 0; i < router->nreleases; i++)
	{
		AucRelease *release = &router->releases[i];
		AucLane    *lane = release->lane->lane;
		bool		fenced = auc_lane_get_state(lane) == AUC_LANE_FENCED;
		AucLive    *live;

		if (!fenced && release->need > pg_atomic_read_u64(&lane->applied))
		{
			router->releases[kept++] = *release;
			continue;
		}
		live = auc_router_live(router, release->auction_id);
		if (live != NULL && fenced)
			live->releasing = false;
		else if (live != NULL)
			forget(router, live);
		auc_slot(release->slot)->answer = fenced ? AUC_ANSWER_FENCED :
			AUC_ANSWER_RESTING;
		auc_slot_answer(release->slot);
		/* bids that came meanwhile were left published */
		SetLatch(MyLatch);
	}
	router->nreleases = kept;
}

void
auc_router_unload_idle(AucRouter *router, TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;

	hash_seq_init(&scan, router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
		if (!live->releasing && at_rest(live) &&
			!live->check_book && !live->rebuild_book &&
			TimestampDifferenceExceeds(live->used_at, now,
									   IDLE_SECONDS * 1000))
			forget(router, live);
}

/* auction_id 0: every auction of the lane is read again from its row. */
void
auc_router_quarantine(AucRouterLane *rl, int64 auction_id)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;

	if (auction_id != 0)
	{
		live = auc_router_live(rl->router, auction_id);
		if (live != NULL)
			live->state.status = AUC_STATUS_QUARANTINED;
		return;
	}
	rl->ready = false;
	rl->ready_at = rl->writer.last;
	hash_seq_init(&scan, rl->router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
		if (live->lane == rl)
			forget(rl->router, live);
}
