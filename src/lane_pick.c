/*
 * lane_pick.c: see lane_pick.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "lane_pick.h"
#include "relation.h"

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
	return mix((uint64) auction_id) % (uint64) n;
}

int
auc_lane_pick(int64 auction_id)
{
	Relation	lanes = auc_relation_open(AUC_REL_LANES, AccessShareLock);
	Relation	index = index_open(RelationGetPrimaryKeyIndex(lanes),
								   AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(lanes, index, snapshot, 0,
												  NULL);
	HeapTuple	tuple;
	int			nlanes = 0;
	int			room = 16;
	int		   *ids = palloc(room * sizeof(int));
	int			lane_id = 0;

	while ((tuple = systable_getnext_ordered(scan,
											 ForwardScanDirection)) != NULL)
	{
		bool		isnull;

		if (nlanes == room)
		{
			room *= 2;
			ids = repalloc(ids, room * sizeof(int));
		}
		ids[nlanes++] = DatumGetInt32(heap_getattr(tuple, 1,
												   RelationGetDescr(lanes),
												   &isnull));
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(lanes, AccessShareLock);

	if (nlanes > 0)
		lane_id = ids[auc_lane_choose(auction_id, nlanes)];
	pfree(ids);
	return lane_id;
}
