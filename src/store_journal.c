/*
 * store_journal.c: the store's other half, accepted bids into the journal and
 * out of it.
 *
 * Protocol: see store.h.  Rows go in by heap_multi_insert, one WAL record a
 * page; then each row's index entries.  A violated constraint is an ERROR with
 * its own SQLSTATE (class 23; attributes that are no JSON: class 22), from
 * which the drain tells a record that can not be applied from a cluster that
 * has a problem.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "relation.h"
#include "store_row.h"

enum JournalColumn
{
	COL_AUCTION_ID,
	COL_BID_NO,
	COL_USER_ID,
	COL_AMOUNT,
	COL_PLACED_AT,
	COL_POSITION,
	COL_LANE_ID,
	COL_BUY_NOW,
	COL_REQUEST_ID,
	COL_ATTRIBUTES,
	COL_RETRACTED_AT,
	COL_RETRACT_REASON,
	COL_COUNT
};

static Datum
attributes_datum(const char *attributes, uint32 len)
{
	char	   *text = pnstrdup(attributes, len);

	/* Text from the log comes from outside and may be damaged. */
	if (!pg_verifymbstr(text, (int) len, true) || strlen(text) != len)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("attributes of a bid are not valid text in encoding \"%s\"",
						GetDatabaseEncodingName())));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

static void
fill_bid(TupleTableSlot *slot, const AucRecord *record,
		 const char *attributes, int lane_id)
{
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	ExecClearTuple(slot);
	memset(isnull, false, slot->tts_tupleDescriptor->natts * sizeof(bool));
	values[COL_AUCTION_ID] = Int64GetDatum(record->auction_id);
	values[COL_BID_NO] = Int64GetDatum(record->bid_no);
	values[COL_USER_ID] = Int64GetDatum(record->user_id);
	values[COL_AMOUNT] = Int64GetDatum(record->amount);
	values[COL_PLACED_AT] = TimestampTzGetDatum(record->at);

	isnull[COL_POSITION] = lane_id == 0;
	isnull[COL_LANE_ID] = lane_id == 0;
	values[COL_POSITION] = Int64GetDatum((int64) record->position);
	values[COL_LANE_ID] = Int32GetDatum(lane_id);

	values[COL_BUY_NOW] = BoolGetDatum(record->kind == AUC_RECORD_BUY);
	isnull[COL_RETRACTED_AT] = true;
	isnull[COL_RETRACT_REASON] = true;

	isnull[COL_REQUEST_ID] = !record->has_request_id;
	if (record->has_request_id)
	{
		pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

		memcpy(uuid->data, record->request_id, UUID_LEN);
		values[COL_REQUEST_ID] = UUIDPGetDatum(uuid);
	}

	isnull[COL_ATTRIBUTES] = record->attributes_len == 0;
	if (record->attributes_len > 0)
		values[COL_ATTRIBUTES] = attributes_datum(attributes,
												  record->attributes_len);
	ExecStoreVirtualTuple(slot);
}

/* The slots are kept from call to call: a drain writes batch after batch. */
static void
make_slots(AucStore *store, int wanted)
{
	MemoryContext old = MemoryContextSwitchTo(store->context);

	if (store->bids == NULL)
		store->bids = palloc(AUC_STORE_BIDS * sizeof(TupleTableSlot *));
	while (store->nbids < wanted)
	{
		store->bids[store->nbids] = table_slot_create(store->journal.rel,
													  NULL);
		store->nbids++;
	}
	if (store->scratch == NULL)
		store->scratch = AllocSetContextCreate(store->context,
											   "auction journal rows",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
}

static void
insert_some(AucStore *store, int nrecords, const AucRecord *const *records,
			const char *const *attributes, int lane_id)
{
	MemoryContext old;
	int			i;

	make_slots(store, nrecords);
	old = MemoryContextSwitchTo(store->scratch);
	for (i = 0; i < nrecords; i++)
	{
		fill_bid(store->bids[i], records[i], attributes[i], lane_id);
		auc_store_check_and_index(store, &store->journal, store->bids[i],
								  true, false);
	}
	table_multi_insert(store->journal.rel, store->bids, nrecords,
					   GetCurrentCommandId(true), 0, NULL);
	for (i = 0; i < nrecords; i++)
	{
		auc_store_check_and_index(store, &store->journal, store->bids[i],
								  false, true);
		ExecClearTuple(store->bids[i]);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(store->scratch);
}

void
auc_store_insert_bids(AucStore *store, int nrecords,
					  const AucRecord *const *records,
					  const char *const *attributes, int lane_id)
{
	int			done;

	if (RelationGetDescr(store->journal.rel)->natts < COL_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is not as the extension made it",
						RelationGetRelationName(store->journal.rel)),
				 errhint("Create the extension anew, or update it to the version of the library.")));
	auc_store_prepare_write(store, &store->journal);
	for (done = 0; done < nrecords; done += AUC_STORE_BIDS)
		insert_some(store, Min(nrecords - done, AUC_STORE_BIDS),
					records + done, attributes + done, lane_id);
}

static void
read_bid(TupleTableSlot *slot, AucJournalBid *bid)
{
	slot_getallattrs(slot);
	bid->bid_no = DatumGetInt64(slot->tts_values[COL_BID_NO]);
	bid->user_id = DatumGetInt64(slot->tts_values[COL_USER_ID]);
	bid->amount = DatumGetInt64(slot->tts_values[COL_AMOUNT]);
	bid->retracted = !slot->tts_isnull[COL_RETRACTED_AT];
}

int
auc_store_read_bids(AucStore *store, int64 auction_id, int64 after, int room,
					AucJournalBid *bids)
{
	Relation	rel = store->journal.rel;
	Relation	index = index_open(RelationGetPrimaryKeyIndex(rel),
								   AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ScanKeyData keys[2];
	IndexScanDesc scan;
	int			n = 0;

	ScanKeyInit(&keys[0], COL_AUCTION_ID + 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(auction_id));
	ScanKeyInit(&keys[1], COL_BID_NO + 1, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(after));
	scan = auc_index_beginscan(rel, index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	while (n < room &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
		read_bid(slot, &bids[n++]);
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	return n;
}

static int64
column_int64(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? 0 :
		DatumGetInt64(slot->tts_values[column]);
}

static void
read_request(TupleTableSlot *slot, AucRequestBid *bid)
{
	bid->bid_no = column_int64(slot, COL_BID_NO);
	bid->at = column_int64(slot, COL_PLACED_AT);
	bid->lane_id = slot->tts_isnull[COL_LANE_ID] ? 0 :
		DatumGetInt32(slot->tts_values[COL_LANE_ID]);
	bid->position = (uint64) column_int64(slot, COL_POSITION);
	bid->xid = HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(slot, false,
															 NULL)->t_data);
}

/* The bids that the scan finds, hardly ever more than one. */
static bool
first_request(IndexScanDesc scan, Relation rel, const AucRequestKey *key,
			  AucRequestBid *bid)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found = false;

	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		if ((key->any_user ||
			 column_int64(slot, COL_USER_ID) == key->user_id) &&
			(!found || column_int64(slot, COL_BID_NO) < bid->bid_no))
		{
			read_request(slot, bid);
			found = true;
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

bool
auc_store_find_request(const AucRequestKey *key, Snapshot snapshot,
					   AucRequestBid *bid)
{
	Relation	rel = auc_relation_open(AUC_REL_JOURNAL, AccessShareLock);
	Relation	index = auc_relation_open(AUC_REL_JOURNAL_REQUEST,
										  AccessShareLock);
	pg_uuid_t	uuid;
	ScanKeyData keys[2];
	IndexScanDesc scan;
	bool		fresh = snapshot == NULL;
	bool		found;

	memcpy(uuid.data, key->request_id, UUID_LEN);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key->auction_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(&uuid));
	if (fresh)
		snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = auc_index_beginscan(rel, index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	found = first_request(scan, rel, key, bid);
	index_endscan(scan);
	if (fresh)
		UnregisterSnapshot(snapshot);
	relation_close(index, NoLock);
	relation_close(rel, NoLock);
	return found;
}
