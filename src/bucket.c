/*
 * bucket.c: see bucket.h.
 */
#include "bucket.h"

#include <inttypes.h>
#include <stdio.h>

#define FNV_BASIS	UINT32_C(2166136261)
#define FNV_PRIME	UINT32_C(16777619)

static uint32_t
fnv1a(uint32_t hash, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) data[i]) * FNV_PRIME;
	return hash;
}

int
auc_bucket(int64_t auction_id, const char *salt, size_t len)
{
	char		text[24];
	uint32_t	inner = fnv1a(FNV_BASIS, salt, len);
	int			n = snprintf(text, sizeof(text), "%" PRId64, auction_id);

	inner = fnv1a(inner, text, n);
	n = snprintf(text, sizeof(text), "%" PRIu32, inner);
	return fnv1a(FNV_BASIS, text, n) % AUC_BUCKETS;
}
