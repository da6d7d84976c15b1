/*
 * shard_sum.c: see shard_sum.h.
 */
#include "postgres.h"

#include "shard_sum.h"
#include "shard_table.h"

void
auc_shard_sum_by_auction(StringInfo sql, int ntables, char *const *tables)
{
	appendStringInfoString(sql,
						   "SELECT auction_id, count(*), bit_xor(hash) FROM (");
	for (int i = 0; i < ntables; i++)
		appendStringInfo(sql, "%sSELECT auction_id, " AUC_SHARD_ROW_HASH
						 " AS hash FROM %s WHERE auction_id = ANY ($1)",
						 i > 0 ? " UNION ALL " : "", tables[i]);
	appendStringInfoString(sql, ") b GROUP BY auction_id");
}

void
auc_shard_sum_of_table(StringInfo sql, const char *table)
{
	appendStringInfo(sql, "SELECT count(*), bit_xor(" AUC_SHARD_ROW_HASH
					 ") FROM %s", table);
}
