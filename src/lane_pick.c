/*
 * lane_pick.c: see lane_pick.h.
 *
 * By a hash of the auction's id over the lanes that are attached now.  Whoever
 * picks one holds a lock that detach_redis() waits for (attach.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "lane_pick.h"
#include "relation.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Neighbouring ids shall not share a lane just because they are neighbours. */
static uint64
mix(uint64 x)
{
	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

int
auc_lane_choose(int64 auction_id, int n)
{
	return (int) (mix((uint64) auction_id) % (uint64) n);
}

/* Their ids in order, palloc'd. */
static int *
read_lanes(int *nlanes)
{
	Relation	lanes = auc_relation_open(AUC_REL_LANES, AccessShareLock);
	Relation	index = index_open(RelationGetPrimaryKeyIndex(lanes),
								   AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(lanes, index, snapshot, 0,
												  NULL);
	HeapTuple	tuple;
	int			room = 16;
	int		   *ids = palloc(room * sizeof(int));

	*nlanes = 0;
	while ((tuple = systable_getnext_ordered(scan,
											 ForwardScanDirection)) != NULL)
	{
		bool		isnull;

		if (*nlanes == room)
		{
			room *= 2;
			ids = repalloc(ids, room * sizeof(int));
		}
		ids[(*nlanes)++] = DatumGetInt32(heap_getattr(tuple, 1,
													  RelationGetDescr(lanes),
													  &isnull));
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(lanes, AccessShareLock);
	return ids;
}

int
auc_lane_keep(int64 auction_id, int lane_id)
{
	int			nlanes;
	int		   *ids = read_lanes(&nlanes);
	int			picked = 0;

	if (nlanes > 0)
		picked = ids[auc_lane_choose(auction_id, nlanes)];
	for (int i = 0; i < nlanes; i++)
		if (ids[i] == lane_id)
			picked = lane_id;
	pfree(ids);
	return picked;
}

int
auc_lane_pick(int64 auction_id)
{
	return auc_lane_keep(auction_id, 0);
}
