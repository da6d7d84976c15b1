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

#include "access/genam.h"
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
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "bid_slot.h"
#include "errors.h"
#include "lock.h"
#include "relation.h"
#include "settings.h"
#include "shm.h"
#include "store.h"

/* Columns of auction.auctions; see the install script. */
enum AuctionColumn
{
	COL_ID = 1,
	COL_SELLER_ID,
	COL_TITLE,
	COL_KIND,
	COL_STARTS_AT,
	COL_ENDS_AT,
	COL_START_PRICE,
	COL_INCREMENT,
	COL_DURABILITY,
	COL_ROUTE
};

PG_FUNCTION_INFO_V1(auction__auctions_route);
PG_FUNCTION_INFO_V1(auction__auctions_insert);
PG_FUNCTION_INFO_V1(auction__auctions_update);
PG_FUNCTION_INFO_V1(auction__auctions_delete);
PG_FUNCTION_INFO_V1(auction__auctions_truncate);
PG_FUNCTION_INFO_V1(auction__state_insert);

/* Nobody may hang these functions on another table: they know the columns. */
static TriggerData *
trigger_of(FunctionCallInfo fcinfo, AucRelation which)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		RelationGetRelid(trigger->tg_relation) != auc_relation_id(which, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is a trigger of the auction extension's own tables")));
	return trigger;
}

static bool
restoring(void)
{
	return !check_function_bodies &&
		pg_class_aclcheck(auc_relation_id(AUC_REL_STATE, false),
						  GetUserId(), ACL_INSERT) == ACLCHECK_OK;
}


/*
 * Lanes.
 */

/* Neighbouring ids shall not share a lane just because they are neighbours. */
static uint64
mix(uint64 x)
{
	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* The id of the lane that a new auction gets; 0: the database has none. */
static int
pick_lane(int64 auction_id)
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
		lane_id = ids[mix((uint64) auction_id) % (uint64) nlanes];
	pfree(ids);
	return lane_id;
}


/*
 * From auctions to _state.
 */

static Datum
column(Relation rel, HeapTuple tuple, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, RelationGetDescr(rel),
									 &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of relation \"%s\"",
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname),
						RelationGetRelationName(rel)),
				 errtablecol(rel, attnum)));
	return value;
}

/* The codes in _state are the first letters of the words; see rules.h. */
static char
letter(Relation rel, HeapTuple tuple, int attnum)
{
	text	   *word = DatumGetTextPP(column(rel, tuple, attnum));

	return VARSIZE_ANY_EXHDR(word) > 0 ? *VARDATA_ANY(word) : '\0';
}

static int64
amount_column(Relation rel, HeapTuple tuple, int attnum, int64 least)
{
	int64		amount = DatumGetInt64(column(rel, tuple, attnum));

	if (amount < least || amount > AUC_AMOUNT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value %lld is out of range for column \"%s\"",
						(long long) amount,
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname)),
				 errdetail("It must be between %lld and %lld, in the currency's minor unit.",
						   (long long) least, (long long) AUC_AMOUNT_MAX),
				 errtablecol(rel, attnum)));
	return amount;
}

/*
 * A time with its neighbours in 64 bits whatever epoch a reader counts from;
 * infinity would be an auction that nothing ever closes.
 */
static TimestampTz
time_column(Relation rel, HeapTuple tuple, int attnum)
{
	TimestampTz at = DatumGetTimestampTz(column(rel, tuple, attnum));
	TimestampTz limit = (int64) (date2j(10000, 1, 1) -
								 POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;

	if (TIMESTAMP_NOT_FINITE(at) || at >= limit)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("value \"%s\" is out of range for column \"%s\"",
						timestamptz_to_str(at),
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname)),
				 errdetail("It must be finite and before the year 10000."),
				 errtablecol(rel, attnum)));
	return at;
}

/* What the seller decided, checked; the state is that of no bid. */
static void
row_of_tuple(Relation rel, HeapTuple tuple, AucRow *row)
{
	AucAuction *auction = &row->auction;
	TimestampTz ends_at;

	memset(row, 0, sizeof(*row));
	auction->id = DatumGetInt64(column(rel, tuple, COL_ID));
	auction->seller_id = DatumGetInt64(column(rel, tuple, COL_SELLER_ID));
	auction->kind = (AucKind) letter(rel, tuple, COL_KIND);
	auction->start_price = amount_column(rel, tuple, COL_START_PRICE, 0);
	auction->increment = amount_column(rel, tuple, COL_INCREMENT, 1);
	auction->level = letter(rel, tuple, COL_DURABILITY) == 'j' ?
		AUC_LEVEL_JOURNAL : AUC_LEVEL_REDIS;
	auction->starts_at = time_column(rel, tuple, COL_STARTS_AT);
	ends_at = time_column(rel, tuple, COL_ENDS_AT);
	if (ends_at <= auction->starts_at)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("column \"ends_at\" of auction %lld must be after \"starts_at\"",
						(long long) auction->id),
				 errtablecol(rel, COL_ENDS_AT)));
	row->route = (AucRoute) letter(rel, tuple, COL_ROUTE);
	auc_rules_init(auction, ends_at, &row->state);
}


/*
 * INSERT.
 */

/* BEFORE: the route is part of the row, so that the seller can see it. */
Datum
auction__auctions_route(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_AUCTIONS);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	tuple = trigger->tg_trigtuple;
	AucRoute	route = AUC_ROUTE_TABLE;
	int			attnum = COL_ROUTE;
	bool		isnull;
	Datum		value;

	(void) heap_getattr(tuple, attnum, desc, &isnull);
	if (!isnull)
		return PointerGetDatum(tuple);

	if (auc_guc_default_route == AUC_ROUTE_REDIS && auc_shm_available() &&
		pick_lane(0) != 0)
		route = AUC_ROUTE_REDIS;
	value = CStringGetTextDatum(auc_route_name(route));
	isnull = false;
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 1, &attnum,
													 &value, &isnull));
}

Datum
auction__auctions_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store;
	AucRow		row;
	AucRow		there;

	/*
	 * While a dump is restored, another session may be loading _state; the
	 * lock lets only one of them go on, so that none runs into the other's
	 * uncommitted row.
	 */
	store = auc_store_open(false, restoring() ? ShareRowExclusiveLock :
						   RowExclusiveLock);
	row_of_tuple(trigger->tg_relation, trigger->tg_trigtuple, &row);
	if (!auc_store_find(store, row.auction.id, NULL, &there))
	{
		if (row.route == AUC_ROUTE_REDIS)
		{
			row.lane_id = pick_lane(row.auction.id);
			row.keys_left = true;
			if (row.lane_id == 0 && !restoring())
				ereport(ERROR,
						(errcode(AUC_ERRCODE_NOT_ATTACHED),
						 errmsg("auction %lld cannot take route \"redis\"",
								(long long) row.auction.id),
						 errdetail("No Redis server is attached to this database."),
						 errhint("Attach one with auction.attach_redis(), or use route \"table\"."),
						 errtablecol(trigger->tg_relation, COL_ROUTE)));
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
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_STATE);
	int64		auction_id = DatumGetInt64(column(trigger->tg_relation,
												  trigger->tg_trigtuple, 1));
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

/*
 * Locks the auction to the end of the transaction, brings it to rest and reads
 * its row; false: it has none.
 */
static bool
rest(AucStore *store, int64 auction_id, AucRow *row)
{
	auc_lock_acquire(auction_id);
	if (!auc_store_find(store, auction_id, NULL, row))
		return false;

	/* What this transaction itself made, no router can have loaded. */
	if (row->route != AUC_ROUTE_REDIS || row->own)
		return true;
	auc_bid_release(auction_id, row->lane_id);
	return auc_store_find(store, auction_id, NULL, row);
}

static void
refuse_change(const AucRow *row, const char *what)
{
	if (row->state.bid_count > 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_AUCTION_IN_USE),
				 errmsg("auction %lld cannot be %s",
						(long long) row->auction.id, what),
				 errdetail("Number of accepted bids: %lld.",
						   (long long) row->state.bid_count)));
	ereport(ERROR,
			(errcode(AUC_ERRCODE_AUCTION_IN_USE),
			 errmsg("auction %lld cannot be %s",
					(long long) row->auction.id, what),
			 errdetail("Its status is \"%s\".",
					   auc_status_name(row->state.status))));
}

Datum
auction__auctions_update(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_AUCTIONS);
	Relation	rel = trigger->tg_relation;
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	AucRow		before;
	AucRow		after;
	AucRow		row;

	row_of_tuple(rel, trigger->tg_newtuple, &after);
	row_of_tuple(rel, trigger->tg_trigtuple, &before);
	if (after.auction.id != before.auction.id || after.route != before.route)
	{
		int			attnum = after.auction.id != before.auction.id ?
			COL_ID : COL_ROUTE;

		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of auction %lld cannot be changed",
						attnum == COL_ID ? "id" : "route",
						(long long) before.auction.id),
				 errtablecol(rel, attnum)));
	}

	if (rest(store, after.auction.id, &row))
	{
		if (row.state.bid_count > 0 || row.state.status != AUC_STATUS_OPEN)
			refuse_change(&row, "changed");
		row.auction = after.auction;
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

	if (!rest(store, auction_id, &row))
		return;
	if (row.state.bid_count > 0 || row.state.status == AUC_STATUS_QUARANTINED)
		refuse_change(&row, "removed");
	auc_store_remove(store, &row);
	auc_relation_route_changed();
}

Datum
auction__auctions_delete(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store = auc_store_open(false, RowExclusiveLock);

	delete_auction(store, DatumGetInt64(column(trigger->tg_relation,
											   trigger->tg_trigtuple,
											   COL_ID)));
	auc_store_close(store);
	return PointerGetDatum(NULL);
}

Datum
auction__auctions_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, AUC_REL_AUCTIONS);
	AucStore   *store = auc_store_open(false, RowExclusiveLock);
	Relation	rel = trigger->tg_relation;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		delete_auction(store, DatumGetInt64(slot_getattr(slot, COL_ID,
														 &isnull)));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	auc_store_close(store);
	return PointerGetDatum(NULL);
}
