/*
 * hotspot.c: what the view auction._waiting asks of C: the key of a row that
 * somebody waits for, and the shape of a statement.
 *
 * A row that many sessions update has another ctid after each update, so it is
 * its primary key that tells which row it is.  The lock names a version of the
 * row; that version is read whatever its visibility, because the sessions that
 * wait for it keep it from being removed.  Should it be gone all the same, or
 * the table be locked by somebody who alters it, the row is told by its ctid.
 *
 * Nothing is waited for, and the table's lock is given back at once.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/bitmapset.h"
#include "shape.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(auction__row_key);
PG_FUNCTION_INFO_V1(auction__statement_shape);

/* Characters of a key or a statement that are kept. */
#define KEY_MAX		100
#define SHAPE_MAX	200

static text *
clipped(const char *string, int len, int max)
{
	int			kept = pg_mbcharcliplen(string, len, max);
	StringInfoData result;

	initStringInfo(&result);
	appendBinaryStringInfo(&result, string, kept);
	if (kept < len)
		appendStringInfoString(&result, "...");
	return cstring_to_text_with_len(result.data, result.len);
}

/* NULL: a long value that is stored elsewhere, which nobody needs to see. */
static char *
column_text(Form_pg_attribute att, Datum value)
{
	Oid			output;
	bool		varlena;

	if (att->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		return NULL;
	getTypeOutputInfo(att->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* (column, ..)=(value, ..) of the primary key; NULL: no such key. */
static text *
key_text(Relation rel, TupleTableSlot *slot)
{
	Bitmapset  *columns =
		RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	StringInfoData names;
	StringInfoData values;
	int			x = -1;

	if (bms_is_empty(columns))
		return NULL;
	initStringInfo(&names);
	initStringInfo(&values);
	while ((x = bms_next_member(columns, x)) >= 0)
	{
		AttrNumber	attno = x + FirstLowInvalidHeapAttributeNumber;
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  attno - 1);
		const char *separator = names.len > 0 ? ", " : "";
		bool		isnull;
		Datum		value = slot_getattr(slot, attno, &isnull);
		char	   *string = isnull ? NULL : column_text(att, value);

		if (string == NULL)
			return NULL;
		appendStringInfo(&names, "%s%s", separator, NameStr(att->attname));
		appendStringInfo(&values, "%s%s", separator, string);
	}
	appendStringInfo(&names, ")=(%s)", values.data);
	return clipped(psprintf("(%s", names.data), names.len + 1, KEY_MAX);
}

/* The row must not go meanwhile: the caller has locked the table. */
static text *
read_key(Relation rel, ItemPointer tid)
{
	TupleTableSlot *slot;
	text	   *result = NULL;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_tableam != GetHeapamTableAmRoutine() ||
		ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(rel))
		return NULL;
	slot = table_slot_create(rel, NULL);
	if (table_tuple_fetch_row_version(rel, tid, SnapshotAny, slot))
		result = key_text(rel, slot);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/* _row_key(relation oid, page int, tuple int): text */
Datum
auction__row_key(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	BlockNumber page = (BlockNumber) PG_GETARG_INT32(1);
	OffsetNumber tuple = (OffsetNumber) PG_GETARG_INT32(2);
	Relation	rel = NULL;
	ItemPointerData tid;
	text	   *result = NULL;

	ItemPointerSet(&tid, page, tuple);
	if (ItemPointerIsValid(&tid) &&
		ConditionalLockRelationOid(relid, AccessShareLock))
	{
		rel = try_relation_open(relid, NoLock);
		if (rel != NULL)
		{
			result = read_key(rel, &tid);
			relation_close(rel, NoLock);
		}
		UnlockRelationOid(relid, AccessShareLock);
	}
	if (result == NULL)
		result = cstring_to_text(psprintf("ctid (%u,%u)", page, tuple));
	PG_RETURN_TEXT_P(result);
}

/* _statement_shape(statement text): text */
Datum
auction__statement_shape(PG_FUNCTION_ARGS)
{
	char	   *statement = text_to_cstring(PG_GETARG_TEXT_PP(0));
	size_t		size = strlen(statement) + 1;
	char	   *shape = palloc(size);
	size_t		len = auc_shape_write(statement, shape, size);

	PG_RETURN_TEXT_P(clipped(shape, (int) len, SHAPE_MAX));
}
