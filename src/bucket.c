/*
 * bucket.c: see bucket.h.
 *
 * FNV-1a, 32 bits: offset basis 2166136261, prime 16777619 (Fowler, Noll, Vo).
 */
#include "bucket.h"

#include <inttypes.h>
#include <stdio.h>

#define FNV_BASIS	UINT32_C(2166136261)
#define FNV_PRIME	UINT32_C(16777619)

static uint32_t
fnv1a(uint32_t hash, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) bytes[i]) * FNV_PRIME;
	return hash;
}

int
auc_bucket_of_text(const char *salt, size_t salt_len, const char *value,
				   size_t value_len)
{
	char		decimal[16];
	uint32_t	inner;
	int			len;

	inner = fnv1a(fnv1a(FNV_BASIS, salt, salt_len), value, value_len);
	len = snprintf(decimal, sizeof(decimal), "%" PRIu32, inner);
	return (int) (fnv1a(FNV_BASIS, decimal, (size_t) len) % AUC_BUCKETS);
}

int
auc_bucket(const char *salt, size_t salt_len, int64_t auction_id)
{
	char		decimal[24];
	int			len = snprintf(decimal, sizeof(decimal), "%" PRId64,
							   auction_id);

	return auc_bucket_of_text(salt, salt_len, decimal, (size_t) len);
}
