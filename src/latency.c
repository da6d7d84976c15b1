/*
 * latency.c: see latency.h.
 */
#include <math.h>

#include "latency.h"

#define SUB_BUCKETS		(1 << AUC_LATENCY_SUB_BITS)

int
auc_latency_bucket(uint64_t us)
{
	int			shift;

	if (us < SUB_BUCKETS)
		return (int) us;
	if (us >> AUC_LATENCY_MAX_BITS != 0)
		return AUC_LATENCY_BUCKETS - 1;
	/* the leading bits, as many as number a power of two's buckets */
	shift = 63 - __builtin_clzll(us) - AUC_LATENCY_SUB_BITS;
	return (shift << AUC_LATENCY_SUB_BITS) + (int) (us >> shift);
}

uint64_t
auc_latency_lower(int bucket)
{
	int			shift;

	if (bucket < SUB_BUCKETS)
		return (uint64_t) bucket;
	shift = (bucket >> AUC_LATENCY_SUB_BITS) - 1;
	return (uint64_t) (bucket - (shift << AUC_LATENCY_SUB_BITS)) << shift;
}

uint64_t
auc_latency_upper(int bucket)
{
	return auc_latency_lower(bucket + 1) - 1;
}

uint64_t
auc_latency_count(const uint64_t *histogram)
{
	uint64_t	count = 0;
	int			i;

	for (i = 0; i < AUC_LATENCY_BUCKETS; i++)
		count += histogram[i];
	return count;
}

uint64_t
auc_latency_percentile(const uint64_t *histogram, double share)
{
	uint64_t	count = auc_latency_count(histogram);
	uint64_t	wanted = (uint64_t) ceil(share * (double) count);
	uint64_t	seen = 0;
	int			last = 0;
	int			i;

	if (count == 0)
		return 0;
	for (i = 0; i < AUC_LATENCY_BUCKETS; i++)
	{
		if (histogram[i] == 0)
			continue;
		last = i;
		seen += histogram[i];
		if (seen >= wanted)
			break;
	}
	return auc_latency_upper(last);
}
