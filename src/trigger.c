/*
 * trigger.c: the triggers of auction.auctions and auction._state.
 *
 * A row of auctions is the seller's, a row of _state the engine's.  What
 * decides bids stands in both, so that the engine reads one row; these
 * triggers carry it over, and see that it can not change any more once it has
 * decided something.
 *
 *   INSERT    makes the _state row.  It takes no lock: until the transaction
 *             commits nobody else sees the row, so nobody can load it; and a
 *             bulk load would need a lock for each auction.
 *   UPDATE    of a deciding column: takes the auction's lock (lock.h) to the
 *             end of the transaction; on route redis asks the router to let
 *             the auction go, which it can not load again before that end;
 *             then the row is the truth, and is changed only while there is
 *             no bid.
 *   DELETE    the same; the _state row goes with the auction.
 *   TRUNCATE  a DELETE of each.
 *
 * Row triggers run AFTER the change, so that they see what other triggers made
 * of the row; only the route's default is filled in BEFORE.
 *
 * Restoring a dump: pg_dump's scripts load auctions and _state with plain
 * COPY, in either order and perhaps at the same time.  A _state row that is
 * there is kept by auctions' trigger, and replaced by a row that is loaded
 * into _state, which the engine itself never writes through SQL.  Dump scripts
 * are known by check_function_bodies, which they switch off.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "auction_row.h"
#include "errors.h"
#include "lane_pick.h"
#include "relation.h"
#include "rest.h"
#include "settings.h"
#include "shm.h"
#include "store.h"
#include "trigger.h"

PG_FUNCTION_INFO_V1(auction__auctions_route);
PG_FUNCTION_INFO_V1(auction__auctions_insert);
PG_FUNCTION_INFO_V1(auction__auctions_update);
PG_FUNCTION_INFO_V1(auction__auctions_delete);
PG_FUNCTION_INFO_V1(auction__auctions_truncate);
PG_FUNCTION_INFO_V1(auction__state_insert);


TriggerData *
auc_trigger_of(FunctionCallInfo fcinfo, AucRelation which)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		RelationGetRelid(trigger->tg_relation) != auc_relation_id(which, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is a trigger of the auction extension's own tables")));
	return trigger;
}

bool
auc_trigger_restoring(void)
{
	return !check_function_bodies &&
		pg_class_aclcheck(auc_relation_id(AUC_REL_STATE, false),
						  GetUserId(), ACL_INSERT) == ACLCHECK_OK;
}


/*
 * INSERT.
 */

/* BEFORE: the route is part of the row, so that the seller can see it. */
Datum
auction__auctions_route(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_AUCTIONS);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	tuple = trigger->tg_trigtuple;
	AucRoute	route = AUC_ROUTE_TABLE;
	int			attnum = AUC_AUCTION_ROUTE;
	bool		isnull;
	Datum		value;

	(void) heap_getattr(tuple, attnum, desc, &isnull);
	if (!isnull)
		return PointerGetDatum(tuple);

	if (auc_guc_default_route == AUC_ROUTE_REDIS && auc_shm_available() &&
		auc_lane_pick(0) != 0)
		route = AUC_ROUTE_REDIS;
	value = CStringGetTextDatum(auc_route_name(route));
	isnull = false;
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 1, &attnum,
													 &value, &isnull));
}

Datum
auction__auctions_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store;
	AucRow		row;
	AucRow		there;

	/*
	 * While a dump is restored, another session may be loading _state; the
	 * lock lets only one of them go on, so that none runs into the other's
	 * uncommitted row.
	 */
	store = auc_store_open(false, auc_trigger_restoring() ? ShareRowExclusiveLock :
						   RowExclusiveLock);
	auc_auction_row(trigger->tg_relation, trigger->tg_trigtuple,
					auc_trigger_restoring(), &row);
	if (!auc_store_find(store, row.auction.id, NULL, &there))
	{
		if (row.route == AUC_ROUTE_REDIS)
		{
			/* as in rest.c: a router decides from it once it commits */
			ForceSyncCommit();
			row.lane_id = auc_lane_pick(row.auction.id);
			row.keys_left = true;
			if (row.lane_id == 0 && !auc_trigger_restoring())
				ereport(ERROR,
						(errcode(AUC_ERRCODE_NOT_ATTACHED),
						 errmsg("auction %lld cannot take route \"redis\"",
								(long long) row.auction.id),
						 errdetail("No Redis server is attached to this database."),
						 errhint("Attach one with auction.attach_redis(), or use route \"table\"."),
						 errtablecol(trigger->tg_relation, AUC_AUCTION_ROUTE)));
		}
		auc_store_create(store, &row);
	}
	auc_store_close(store);
	return PointerGetDatum(NULL);
}

/* BEFORE INSERT on _state: the row that is loaded wins. */
Datum
auction__state_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_STATE);
	int64		auction_id = DatumGetInt64(auc_auction_column(trigger->tg_relation,
														 trigger->tg_trigtuple,
														 1));
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	AucRow		row;

	if (auc_store_find(store, auction_id, NULL, &row))
	{
		auc_store_remove(store, &row);
		auc_relation_route_changed();
	}
	auc_store_close(store);
	return PointerGetDatum(trigger->tg_trigtuple);
}


/*
 * UPDATE, DELETE, TRUNCATE.
 */

Datum
auction__auctions_update(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_AUCTIONS);
	Relation	rel = trigger->tg_relation;
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	AucRow		before;
	AucRow		after;
	AucRow		row;

	auc_auction_row(rel, trigger->tg_newtuple, false, &after);
	auc_auction_row(rel, trigger->tg_trigtuple, true, &before);
	if (after.auction.id != before.auction.id || after.route != before.route)
	{
		int			attnum = after.auction.id != before.auction.id ?
			AUC_AUCTION_ID : AUC_AUCTION_ROUTE;

		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of auction %lld cannot be changed",
						attnum == AUC_AUCTION_ID ? "id" : "route",
						(long long) before.auction.id),
				 errtablecol(rel, attnum)));
	}

	if (auc_rest(store, after.auction.id, &row))
	{
		if (row.state.bid_count > 0 || row.state.status != AUC_STATUS_OPEN)
			auc_rest_refuse(&row, "changed");
		row.auction = after.auction;
		row.increment_table = after.increment_table;
		row.state = after.state;
		auc_store_replace(store, &row);
	}
	auc_store_close(store);
	return PointerGetDatum(NULL);
}

static void
delete_auction(AucStore *store, int64 auction_id)
{
	AucRow		row;

	if (!auc_rest(store, auction_id, &row))
		return;
	if (row.state.bid_count > 0 || row.state.status == AUC_STATUS_QUARANTINED)
		auc_rest_refuse(&row, "removed");
	auc_store_remove(store, &row);
	auc_relation_route_changed();
}

Datum
auction__auctions_delete(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store = auc_store_open(false, RowExclusiveLock);

	delete_auction(store, DatumGetInt64(auc_auction_column(trigger->tg_relation,
														   trigger->tg_trigtuple,
														   AUC_AUCTION_ID)));
	auc_store_close(store);
	return PointerGetDatum(NULL);
}

Datum
auction__auctions_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	Relation	rel = trigger->tg_relation;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		delete_auction(store, DatumGetInt64(slot_getattr(slot, AUC_AUCTION_ID,
														 &isnull)));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	auc_store_close(store);
	return PointerGetDatum(NULL);
}
