/*
 * bid_route.c: a backend's cache of routes.
 *
 * Only a hint.  Route table reads the row again under the auction's lock, and
 * a router knows itself what it may decide; both send a bid with a stale hint
 * back here.  So the cache may be wrong at any time without harm, and exists
 * to save each bid an index scan.
 *
 * Not kept: that an auction is unknown (it may be inserted the next moment),
 * and what this transaction itself wrote (it may roll back).
 *
 * All of it is forgotten when relation.c's generation grows: somewhere a route
 * changed, or the extension was created anew.  It is bounded the simple way:
 * full, it begins again.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "bid_route.h"
#include "relation.h"
#include "store.h"

#define AUC_ROUTES_MAX	8192

typedef struct CachedRoute
{
	int64		auction_id;		/* hash key */
	AucRoute	route;
	int			lane_id;
} CachedRoute;

static HTAB *routes = NULL;
static uint64 routes_generation;

static void
begin_again(void)
{
	HASHCTL		ctl;

	if (routes != NULL)
		hash_destroy(routes);
	routes = NULL;
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(CachedRoute);
	routes = hash_create("auction routes", 256, &ctl,
						 HASH_ELEM | HASH_BLOBS);
}

static CachedRoute *
look_up(int64 auction_id)
{
	if (routes == NULL || routes_generation != auc_relation_generation())
		return NULL;
	return hash_search(routes, &auction_id, HASH_FIND, NULL);
}

static void
keep(int64 auction_id, const AucRow *row)
{
	CachedRoute *cached = hash_search(routes, &auction_id, HASH_ENTER, NULL);

	cached->route = row->route;
	cached->lane_id = row->lane_id;
}

bool
auc_route_find(int64 auction_id, AucRouteHint *hint)
{
	CachedRoute *cached = look_up(auction_id);
	AucStore   *store;
	AucRow		row;
	bool		found;

	if (cached != NULL)
	{
		hint->route = cached->route;
		hint->lane_id = cached->lane_id;
		hint->own = false;
		return true;
	}

	/*
	 * The order matters: look up the relation whose invalidation tells of
	 * changes, note the generation, read.  A change in between leaves an entry
	 * of an old generation.
	 */
	(void) auc_relation_id(AUC_REL_ROUTE_EPOCH, false);
	if (routes == NULL || routes_generation != auc_relation_generation() ||
		hash_get_num_entries(routes) >= AUC_ROUTES_MAX)
	{
		begin_again();
		routes_generation = auc_relation_generation();
	}
	store = auc_store_open(false, AccessShareLock);
	found = auc_store_find(store, auction_id, NULL, &row);
	auc_store_close(store);
	if (!found)
		return false;

	hint->route = row.route;
	hint->lane_id = row.lane_id;
	hint->own = row.own;
	if (!row.own)
		keep(auction_id, &row);
	return true;
}

void
auc_route_forget(int64 auction_id)
{
	if (routes != NULL)
		(void) hash_search(routes, &auction_id, HASH_REMOVE, NULL);
}
