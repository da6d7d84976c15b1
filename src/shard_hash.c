/*
 * shard_hash.c: see shard_hash.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "shard_hash.h"

/* hashint8extended(): so that equal int4 and int8 have the same hash. */
static uint64
hash_int8(int64 value)
{
	uint32		low = (uint32) value;
	uint32		high = (uint32) (value >> 32);

	low ^= value >= 0 ? high : ~high;
	return DatumGetUInt64(hash_uint32_extended(low, AUC_SHARD_SEED));
}

/* Combined with 0, the hash of no columns before it. */
uint64
auc_shard_hash(int64 user_id)
{
	return hash_combine64(0, hash_int8(user_id));
}
