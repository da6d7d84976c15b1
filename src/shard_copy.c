/*
 * shard_copy.c: see shard_copy.h.  The format is described with COPY in
 * PostgreSQL's documentation.
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "shard_copy.h"
#include "shard_table.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Sent when there is so much. */
#define CHUNK_BYTES		65536

struct AucShardCopy
{
	AucRemote  *remote;
	StringInfoData buffer;
	MemoryContext row_context;	/* what a row's functions leave behind */
	uint64		bytes;
	FmgrInfo	send[AUC_SHARD_NCOLUMNS];
};

static void
flush(AucShardCopy *copy)
{
	auc_remote_copy_put(copy->remote, copy->buffer.data, copy->buffer.len);
	copy->bytes += copy->buffer.len;
	resetStringInfo(&copy->buffer);
}

static void
put_header(AucShardCopy *copy)
{
	static const char signature[] = "PGCOPY\n\377\r\n";	/* with its NUL */

	appendBinaryStringInfo(&copy->buffer, signature, sizeof(signature));
	pq_sendint32(&copy->buffer, 0);	/* flags */
	pq_sendint32(&copy->buffer, 0);	/* no extension of the header */
}

AucShardCopy *
auc_shard_copy_begin(AucRemote *remote, const char *table, TupleDesc desc)
{
	AucShardCopy *copy = palloc(sizeof(AucShardCopy));

	copy->remote = remote;
	copy->bytes = 0;
	copy->row_context = AllocSetContextCreate(CurrentMemoryContext,
											  "auction row for a shard",
											  ALLOCSET_SMALL_SIZES);
	initStringInfo(&copy->buffer);
	enlargeStringInfo(&copy->buffer, CHUNK_BYTES + 8192);
	for (int i = 0; i < AUC_SHARD_NCOLUMNS; i++)
	{
		Oid			function;
		bool		is_varlena;

		getTypeBinaryOutputInfo(TupleDescAttr(desc, i)->atttypid, &function,
								&is_varlena);
		fmgr_info(function, &copy->send[i]);
	}
	auc_remote_copy_begin(remote,
						  psprintf("COPY %s (" AUC_SHARD_COLUMNS
								   ") FROM STDIN (FORMAT binary)", table));
	put_header(copy);
	return copy;
}

void
auc_shard_copy_row(AucShardCopy *copy, const Datum *values,
				   const bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(copy->row_context);
	StringInfo	buffer = &copy->buffer;

	pq_sendint16(buffer, AUC_SHARD_NCOLUMNS);
	for (int i = 0; i < AUC_SHARD_NCOLUMNS; i++)
	{
		bytea	   *bytes;

		if (isnull[i])
		{
			pq_sendint32(buffer, -1);
			continue;
		}
		bytes = SendFunctionCall(&copy->send[i], values[i]);
		pq_sendint32(buffer, VARSIZE(bytes) - VARHDRSZ);
		appendBinaryStringInfo(buffer, VARDATA(bytes),
							   VARSIZE(bytes) - VARHDRSZ);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(copy->row_context);
	if (buffer->len >= CHUNK_BYTES)
		flush(copy);
}

uint64
auc_shard_copy_end(AucShardCopy *copy, uint64 *bytes)
{
	uint64		rows;

	pq_sendint16(&copy->buffer, -1);	/* the trailer */
	flush(copy);
	rows = auc_remote_copy_end(copy->remote);
	if (bytes != NULL)
		*bytes = copy->bytes;
	MemoryContextDelete(copy->row_context);
	pfree(copy->buffer.data);
	pfree(copy);
	return rows;
}
