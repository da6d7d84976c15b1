/*
 * shard_sum.h: do two places hold the same bids (rule 20)?
 *
 * Count and XOR of the rows' hashes say it, whatever the order; each place
 * computes its own, by functions that every PostgreSQL has:
 * hash_record_extended() is there from 14 on, and the hash of a type is the
 * same in all versions, as tables partitioned by hash depend on it.
 */
#ifndef AUC_SHARD_SUM_H
#define AUC_SHARD_SUM_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct AucShardSum
{
	int64		rows;
	int64		hash;			/* XOR of the rows' */
} AucShardSum;

static inline void
auc_shard_sum_add(AucShardSum *sum, int64 row_hash)
{
	sum->rows++;
	sum->hash ^= row_hash;
}

static inline bool
auc_shard_sum_equal(const AucShardSum *a, const AucShardSum *b)
{
	return a->rows == b->rows && a->hash == b->hash;
}

/*
 * Appends a SELECT of auction_id, rows, hash of the auctions $1 (bigint[]) in
 * these tables together.
 */
extern void auc_shard_sum_by_auction(StringInfo sql, int ntables,
									 char *const *tables);
/* Appends a SELECT of rows, hash of a table, to which a WHERE may follow. */
extern void auc_shard_sum_of_table(StringInfo sql, const char *table);

#endif							/* AUC_SHARD_SUM_H */
