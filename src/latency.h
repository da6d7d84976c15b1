/*
 * latency.h: a histogram of latencies, log-linear as HdrHistogram's.
 *
 * Pure C.  Values are whole microseconds.  Below 16 each has a bucket of its
 * own; above, each power of two is cut into 16 buckets of equal width, so that
 * a bucket is never wider than 1/16 (6.25 %) of its least value.  The last
 * bucket also takes everything from 2^32 us (71 minutes) on.
 *
 * A histogram is an array of AUC_LATENCY_BUCKETS counts.  Where a bucket
 * stands for one value, that is its greatest: a percentile is never told lower
 * than it was, and at most 6.25 % higher.
 */
#ifndef AUC_LATENCY_H
#define AUC_LATENCY_H

#include <stdint.h>

#define AUC_LATENCY_SUB_BITS	4
#define AUC_LATENCY_MAX_BITS	32
#define AUC_LATENCY_BUCKETS \
	((AUC_LATENCY_MAX_BITS - AUC_LATENCY_SUB_BITS + 1) << AUC_LATENCY_SUB_BITS)

extern int	auc_latency_bucket(uint64_t us);
/* The least and the greatest value of a bucket. */
extern uint64_t auc_latency_lower(int bucket);
extern uint64_t auc_latency_upper(int bucket);

extern uint64_t auc_latency_count(const uint64_t *histogram);
/*
 * The value that a share of all values does not exceed: share 0.5 is the
 * median, above 0 and at most 1.  0 if there are no values.
 */
extern uint64_t auc_latency_percentile(const uint64_t *histogram, double share);

#endif							/* AUC_LATENCY_H */
