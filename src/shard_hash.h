/*
 * shard_hash.h: which shard has a user's bids.  Pure.
 *
 * History is partitioned with PostgreSQL's own hash partitioning by user_id,
 * so this is its formula (compute_partition_hash_value() in partbounds.c and
 * hash_combine64() in hashfn.h, PostgreSQL 11 and later), for the one type
 * that is needed.  Regression test 26_shards holds it against
 * satisfies_hash_partition().
 */
#ifndef AUC_SHARD_HASH_H
#define AUC_SHARD_HASH_H

#include "postgres.h"

#define AUC_SHARD_SEED	UINT64CONST(0x7A5B22367996DCFD)
/* hash_combine64() of 0 and a hash adds this to it */
#define AUC_SHARD_PLUS	UINT64CONST(0x49A0F4DD15E5A8E3)
#define AUC_SHARD_MAX	1024	/* greatest modulus */
#define AUC_SHARD_FIRST	8		/* modulus, unless somebody chooses another */

extern uint64 auc_shard_hash(int64 user_id);

/* modulus: a power of two; the remainder is the shard's number. */
static inline int
auc_shard_remainder(uint64 hash, int modulus)
{
	return (int) (hash & (uint64) (modulus - 1));
}

static inline bool
auc_shard_modulus_valid(int64 modulus)
{
	return modulus >= 1 && modulus <= AUC_SHARD_MAX &&
		(modulus & (modulus - 1)) == 0;
}

#endif							/* AUC_SHARD_HASH_H */
