/*
 * shard_copy.h: rows to another server, by COPY in binary format.
 *
 * Binary, because both sides then copy numbers instead of printing and reading
 * them; the formats of the types concerned are the same in all versions.
 */
#ifndef AUC_SHARD_COPY_H
#define AUC_SHARD_COPY_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "remote.h"

typedef struct AucShardCopy AucShardCopy;

/*
 * Begins COPY table (the columns of a bid in history) FROM STDIN; palloc'd.
 * "desc": the first AUC_SHARD_NCOLUMNS columns of the rows are these columns.
 */
extern AucShardCopy *auc_shard_copy_begin(AucRemote *remote,
										  const char *table, TupleDesc desc);
extern void auc_shard_copy_row(AucShardCopy *copy, const Datum *values,
							   const bool *isnull);
/* Returns how many rows arrived; *bytes, unless NULL: what was sent. */
extern uint64 auc_shard_copy_end(AucShardCopy *copy, uint64 *bytes);

#endif							/* AUC_SHARD_COPY_H */
