/*
 * store_state.c: opening a store, and the rows of _state.
 *
 * Protocol: see store.h.  A row is found through the primary key under a
 * snapshot, or by the TID that the caller wrote last.  A TID alone proves
 * nothing (the row may have moved, the place may hold another row, or one of a
 * transaction that was rolled back), so a write looks at the version first:
 * it must be visible and of the same auction, and table_tuple_update then says
 * whether it is the newest.
 *
 * The columns are known by number: only the install and upgrade scripts of the
 * extension make and change these tables.  If you add one: the
 * enum, store_parse(), fill_auction() or fill_state(), AucRow, and
 * auction_row.c.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "increments.h"
#include "relation.h"
#include "store_row.h"

enum StateColumn
{
	COL_AUCTION_ID = 1,
	COL_SELLER_ID,
	COL_STARTS_AT,
	COL_START_PRICE,
	COL_INCREMENT,
	COL_RESERVE_PRICE,
	COL_BUY_NOW_PRICE,
	COL_EXTEND_WINDOW,
	COL_EXTEND_BY,
	COL_EXTEND_LIMIT,
	COL_ENDS_AT,
	COL_LAST_AT,
	COL_PRICE,
	COL_LEADER_ID,
	COL_LEADER_MAX,
	COL_SECOND_MAX,
	COL_BID_COUNT,
	COL_RETRACTED,
	COL_CHECKSUM,
	COL_CLOSED_AT,
	COL_VERIFIED_AT,
	COL_CONSOLIDATED_AT,
	COL_MOVED_AT,
	COL_LANE_ID,
	COL_KIND,
	COL_DURABILITY,
	COL_ROUTE,
	COL_STATUS,
	COL_KEYS_LEFT,
	COL_REASON,
	COL_INCREMENT_TABLE,
	COL_INCREMENTS,
	COL_COUNT = COL_INCREMENTS
};


/*
 * Opening and closing.
 */

static AucStore *
make_store(Relation state, Relation journal)
{
	MemoryContext context;
	MemoryContext old;
	AucStore   *store;

	context = AllocSetContextCreate(CurrentMemoryContext, "auction store",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	store = palloc0(sizeof(AucStore));
	store->context = context;
	store->state.rel = state;
	store->journal.rel = journal;
	store->state_index = RelationGetPrimaryKeyIndex(state);
	if (!OidIsValid(store->state_index) ||
		RelationGetDescr(state)->natts < COL_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is not as the extension made it",
						RelationGetRelationName(state)),
				 errhint("Create the extension anew, or update it to the version of the library.")));
	store->found = table_slot_create(state, NULL);
	store->formed = MakeSingleTupleTableSlot(RelationGetDescr(state),
											 &TTSOpsVirtual);
	MemoryContextSwitchTo(old);
	return store;
}

AucStore *
auc_store_open(bool journal, LOCKMODE mode)
{
	Relation	state = auc_relation_open(AUC_REL_STATE, mode);

	return make_store(state,
					  journal ? auc_relation_open(AUC_REL_JOURNAL, mode) : NULL);
}

/* With its primary key, which reading opens; that must not wait either. */
static Relation
try_open_table(AucRelation which, LOCKMODE mode)
{
	Relation	rel = auc_relation_try_open(which, mode);
	Oid			index;

	if (rel == NULL)
		return NULL;
	index = RelationGetPrimaryKeyIndex(rel);
	if (!OidIsValid(index) ||
		ConditionalLockRelationOid(index, AccessShareLock))
		return rel;
	table_close(rel, NoLock);
	return NULL;
}

AucStore *
auc_store_try_open(bool journal, LOCKMODE mode)
{
	Relation	state = try_open_table(AUC_REL_STATE, mode);
	Relation	journal_rel = NULL;

	if (state == NULL)
		return NULL;
	if (journal)
	{
		journal_rel = try_open_table(AUC_REL_JOURNAL, mode);
		if (journal_rel == NULL)
		{
			table_close(state, NoLock);
			return NULL;
		}
	}
	return make_store(state, journal_rel);
}

static void
close_table(AucStoreTable *table)
{
	if (table->rel == NULL)
		return;
	if (table->info != NULL)
		ExecCloseIndices(table->info);
	table_close(table->rel, NoLock);
}

void
auc_store_close(AucStore *store)
{
	int			i;

	for (i = 0; i < store->nbids; i++)
		ExecDropSingleTupleTableSlot(store->bids[i]);
	ExecDropSingleTupleTableSlot(store->found);
	ExecDropSingleTupleTableSlot(store->formed);
	close_table(&store->journal);
	close_table(&store->state);
	if (store->estate != NULL)
		FreeExecutorState(store->estate);
	MemoryContextDelete(store->context);
}

/*
 * Opens the indexes of a table that is going to be written.  Range table
 * index 0 stands for a relation that is in no range table.
 */
void
auc_store_prepare_write(AucStore *store, AucStoreTable *table)
{
	MemoryContext old;

	if (table->info != NULL)
		return;
	old = MemoryContextSwitchTo(store->context);
	if (store->estate == NULL)
		store->estate = CreateExecutorState();
	table->info = makeNode(ResultRelInfo);
	InitResultRelInfo(table->info, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->info, false);
	MemoryContextSwitchTo(old);
}

/* Constraints before a row is written, index entries after. */
void
auc_store_check_and_index(AucStore *store, AucStoreTable *table,
						  TupleTableSlot *slot, bool check, bool index)
{
	if (check && RelationGetDescr(table->rel)->constr != NULL)
		ExecConstraints(table->info, slot, store->estate);
	if (index && table->info->ri_NumIndices > 0)
		auc_insert_index_tuples(table->info, slot, store->estate);
	ResetPerTupleExprContext(store->estate);
}


/*
 * Rows and slots.
 */

static int64
column_int64(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* An amount that may be absent. */
static int64
column_amount(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return isnull ? AUC_NO_AMOUNT : DatumGetInt64(value);
}

static char
column_char(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return isnull ? '\0' : DatumGetChar(value);
}

static void
store_parse(TupleTableSlot *slot, AucRow *row)
{
	bool		isnull;
	Datum		value;

	memset(row, 0, sizeof(*row));
	row->auction.id = column_int64(slot, COL_AUCTION_ID);
	row->auction.seller_id = column_int64(slot, COL_SELLER_ID);
	row->auction.starts_at = column_int64(slot, COL_STARTS_AT);
	row->auction.start_price = column_int64(slot, COL_START_PRICE);
	row->auction.increment = column_int64(slot, COL_INCREMENT);
	row->auction.reserve_price = column_amount(slot, COL_RESERVE_PRICE);
	row->auction.buy_now_price = column_amount(slot, COL_BUY_NOW_PRICE);
	row->auction.extend_window = column_int64(slot, COL_EXTEND_WINDOW);
	row->auction.extend_by = column_int64(slot, COL_EXTEND_BY);
	value = slot_getattr(slot, COL_EXTEND_LIMIT, &isnull);
	row->auction.extend_limit = isnull ? PG_INT64_MAX :
		DatumGetTimestampTz(value);
	value = slot_getattr(slot, COL_INCREMENTS, &isnull);
	if (!isnull)
		row->auction.increments = auc_increments_of_array(value);
	row->auction.kind = (AucKind) column_char(slot, COL_KIND);
	row->auction.level = auc_level_of_letter(column_char(slot, COL_DURABILITY));

	row->state.ends_at = column_int64(slot, COL_ENDS_AT);
	row->state.last_at = column_int64(slot, COL_LAST_AT);
	row->state.price = column_int64(slot, COL_PRICE);
	value = slot_getattr(slot, COL_LEADER_ID, &isnull);
	row->state.has_leader = !isnull;
	row->state.leader_id = isnull ? 0 : DatumGetInt64(value);
	row->state.leader_max = column_amount(slot, COL_LEADER_MAX);
	row->state.second_max = column_amount(slot, COL_SECOND_MAX);
	row->state.bid_count = column_int64(slot, COL_BID_COUNT);
	row->state.retracted = column_int64(slot, COL_RETRACTED);
	row->state.checksum = (uint64) column_int64(slot, COL_CHECKSUM);
	row->state.status = (AucStatus) column_char(slot, COL_STATUS);

	row->route = (AucRoute) column_char(slot, COL_ROUTE);
	row->moved_at = column_int64(slot, COL_MOVED_AT);
	value = slot_getattr(slot, COL_LANE_ID, &isnull);
	row->lane_id = isnull ? 0 : DatumGetInt32(value);
	value = slot_getattr(slot, COL_KEYS_LEFT, &isnull);
	row->keys_left = !isnull && DatumGetBool(value);
	row->verified_at = column_int64(slot, COL_VERIFIED_AT);
	(void) slot_getattr(slot, COL_CONSOLIDATED_AT, &isnull);
	row->consolidated = !isnull;
	row->tid = slot->tts_tid;
	value = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);
	row->own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(value));
}

static void
set_column(TupleTableSlot *slot, int column, Datum value, bool isnull)
{
	slot->tts_values[column - 1] = isnull ? (Datum) 0 : value;
	slot->tts_isnull[column - 1] = isnull;
}

static void
set_amount(TupleTableSlot *slot, int column, int64 amount)
{
	set_column(slot, column, Int64GetDatum(amount), amount == AUC_NO_AMOUNT);
}

/* The columns that bids, closes, retractions and a cancellation change. */
static void
fill_state(TupleTableSlot *slot, const AucState *state)
{
	set_column(slot, COL_ENDS_AT, TimestampTzGetDatum(state->ends_at), false);
	set_column(slot, COL_LAST_AT, TimestampTzGetDatum(state->last_at),
			   state->last_at == 0);
	set_column(slot, COL_PRICE, Int64GetDatum(state->price), false);
	set_column(slot, COL_LEADER_ID, Int64GetDatum(state->leader_id),
			   !state->has_leader);
	set_amount(slot, COL_LEADER_MAX, state->leader_max);
	set_amount(slot, COL_SECOND_MAX, state->second_max);
	set_column(slot, COL_BID_COUNT, Int64GetDatum(state->bid_count), false);
	set_column(slot, COL_RETRACTED, Int64GetDatum(state->retracted), false);
	set_column(slot, COL_CHECKSUM, Int64GetDatum((int64) state->checksum),
			   false);
	set_column(slot, COL_STATUS, CharGetDatum((char) state->status), false);
	if (state->status != AUC_STATUS_OPEN &&
		slot->tts_isnull[COL_CLOSED_AT - 1])
		set_column(slot, COL_CLOSED_AT, TimestampTzGetDatum(state->last_at),
				   false);
}

/* ... those that a move changes ... */
static void
fill_route(TupleTableSlot *slot, const AucRow *row)
{
	set_column(slot, COL_ROUTE, CharGetDatum((char) row->route), false);
	set_column(slot, COL_LANE_ID, Int32GetDatum(row->lane_id),
			   row->lane_id == 0);
	set_column(slot, COL_KEYS_LEFT, BoolGetDatum(row->keys_left), false);
	set_column(slot, COL_MOVED_AT, TimestampTzGetDatum(row->moved_at),
			   row->moved_at == 0);
}

/* ... and those that are settled before the first bid. */
static void
fill_auction(TupleTableSlot *slot, const AucRow *row)
{
	const AucAuction *auction = &row->auction;

	set_column(slot, COL_AUCTION_ID, Int64GetDatum(auction->id), false);
	set_column(slot, COL_SELLER_ID, Int64GetDatum(auction->seller_id), false);
	set_column(slot, COL_STARTS_AT, TimestampTzGetDatum(auction->starts_at),
			   false);
	set_column(slot, COL_START_PRICE, Int64GetDatum(auction->start_price),
			   false);
	set_column(slot, COL_INCREMENT, Int64GetDatum(auction->increment), false);
	set_amount(slot, COL_RESERVE_PRICE, auction->reserve_price);
	set_amount(slot, COL_BUY_NOW_PRICE, auction->buy_now_price);
	set_column(slot, COL_EXTEND_WINDOW, Int64GetDatum(auction->extend_window),
			   auction->extend_window == 0);
	set_column(slot, COL_EXTEND_BY, Int64GetDatum(auction->extend_by),
			   auction->extend_window == 0);
	set_column(slot, COL_EXTEND_LIMIT,
			   TimestampTzGetDatum(auction->extend_limit),
			   auction->extend_limit == PG_INT64_MAX);
	set_column(slot, COL_KIND, CharGetDatum((char) auction->kind), false);
	set_column(slot, COL_DURABILITY,
			   CharGetDatum(auc_level_letter(auction->level)), false);
	fill_route(slot, row);
	set_column(slot, COL_INCREMENT_TABLE,
			   row->increment_table == NULL ? (Datum) 0 :
			   CStringGetTextDatum(row->increment_table),
			   row->increment_table == NULL);
	set_column(slot, COL_INCREMENTS,
			   auction->increments == NULL ? (Datum) 0 :
			   auc_increments_array(auction->increments),
			   auction->increments == NULL);
}


/*
 * Reading.
 */

bool
auc_store_find(AucStore *store, int64 auction_id, Snapshot snapshot,
			   AucRow *row)
{
	Relation	index = index_open(store->state_index, AccessShareLock);
	IndexScanDesc scan;
	ScanKeyData key;
	bool		found;

	snapshot = RegisterSnapshot(snapshot != NULL ? snapshot :
								GetLatestSnapshot());
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(auction_id));
	scan = auc_index_beginscan(store->state.rel, index, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, store->found);
	if (found)
		store_parse(store->found, row);
	ExecClearTuple(store->found);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	return found;
}

void
auc_store_check_snapshot(AucStore *store, AucRow *row)
{
	AucRow		seen;

	if (!IsolationUsesXactSnapshot())
		return;
	if (auc_store_find(store, row->auction.id, GetTransactionSnapshot(),
					   &seen) &&
		ItemPointerEquals(&seen.tid, &row->tid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent bids on auction %lld",
					(long long) row->auction.id),
			 errhint("Start the transaction again.")));
}

/*
 * The version at "tid" into store->found, if it is visible now and of this
 * auction.  SnapshotSelf sees what is committed and what this transaction
 * wrote; what was rolled back it does not.
 */
static bool
fetch_version(AucStore *store, int64 auction_id, ItemPointer tid)
{
	if (!ItemPointerIsValid(tid) ||
		!table_tuple_fetch_row_version(store->state.rel, tid, SnapshotSelf,
									   store->found))
		return false;
	if (column_int64(store->found, COL_AUCTION_ID) == auction_id)
		return true;
	ExecClearTuple(store->found);
	return false;
}


/*
 * Writing.
 */

static void
report_lost_row(int64 auction_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("state of auction %lld was changed by another transaction",
					(long long) auction_id),
			 errhint("Start the transaction again.")));
}

/* Begins a new version as a copy of store->found. */
static void
begin_version(AucStore *store)
{
	TupleTableSlot *slot = store->formed;
	int			natts = slot->tts_tupleDescriptor->natts;

	slot_getallattrs(store->found);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, store->found->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, store->found->tts_isnull, natts * sizeof(bool));
}

/* Writes store->formed over the version at row->tid; false: not the newest. */
static bool
write_version(AucStore *store, AucRow *row)
{
	TM_FailureData failure;
	TM_Result	result;
	bool		index;

	ExecStoreVirtualTuple(store->formed);
	auc_store_check_and_index(store, &store->state, store->formed, true,
							  false);
	result = auc_table_tuple_update(store->state.rel, &row->tid,
									store->formed, &failure, &index);
	if (result != TM_Ok)
		return false;
	auc_store_check_and_index(store, &store->state, store->formed, false,
							  index);
	row->tid = store->formed->tts_tid;
	ExecClearTuple(store->formed);
	ExecClearTuple(store->found);
	return true;
}

/* Of a row, beside the state, which is always written. */
typedef enum Part
{
	PART_NONE,
	PART_ROUTE,
	PART_AUCTION
} Part;

static bool
write_at_tid(AucStore *store, AucRow *row, Part part)
{
	if (!fetch_version(store, row->auction.id, &row->tid))
		return false;
	begin_version(store);
	if (part == PART_ROUTE)
		fill_route(store->formed, row);
	else if (part == PART_AUCTION)
		fill_auction(store->formed, row);
	fill_state(store->formed, &row->state);
	return write_version(store, row);
}

static void
write_newest(AucStore *store, AucRow *row, Part part, bool chase)
{
	AucRow		newest;

	auc_store_prepare_write(store, &store->state);
	if (write_at_tid(store, row, part))
		return;
	if (!chase || !auc_store_find(store, row->auction.id, NULL, &newest))
		report_lost_row(row->auction.id);
	row->tid = newest.tid;
	if (!write_at_tid(store, row, part))
		report_lost_row(row->auction.id);
}

void
auc_store_write(AucStore *store, AucRow *row, bool chase)
{
	write_newest(store, row, PART_NONE, chase);
}

void
auc_store_write_route(AucStore *store, AucRow *row, bool chase)
{
	write_newest(store, row, PART_ROUTE, chase);
}

void
auc_store_replace(AucStore *store, AucRow *row)
{
	auc_store_prepare_write(store, &store->state);
	if (!write_at_tid(store, row, PART_AUCTION))
		report_lost_row(row->auction.id);
}

void
auc_store_create(AucStore *store, AucRow *row)
{
	TupleTableSlot *slot = store->formed;

	auc_store_prepare_write(store, &store->state);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   slot->tts_tupleDescriptor->natts * sizeof(bool));
	fill_auction(slot, row);
	fill_state(slot, &row->state);
	ExecStoreVirtualTuple(slot);
	auc_store_check_and_index(store, &store->state, slot, true, false);
	table_tuple_insert(store->state.rel, slot, GetCurrentCommandId(true), 0,
					   NULL);
	auc_store_check_and_index(store, &store->state, slot, false, true);
	row->tid = slot->tts_tid;
	ExecClearTuple(slot);
}

void
auc_store_remove(AucStore *store, AucRow *row)
{
	TM_FailureData failure;

	if (table_tuple_delete(store->state.rel, &row->tid,
						   GetCurrentCommandId(true), SnapshotSelf,
						   InvalidSnapshot, true, &failure, false) != TM_Ok)
		report_lost_row(row->auction.id);
	ItemPointerSetInvalid(&row->tid);
}
