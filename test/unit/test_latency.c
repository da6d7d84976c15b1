/*
 * test_latency.c: buckets and percentiles of latencies, against the values
 * themselves, sorted.
 */
#include <math.h>
#include <stdlib.h>

#include "latency.h"
#include "tap.h"

#define VALUES	20000

static int
by_value(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* Each value is in its bucket, and the next bucket begins where one ends. */
static void
test_buckets(void)
{
	int			i;

	for (i = 0; i < AUC_LATENCY_BUCKETS; i++)
	{
		uint64_t	lower = auc_latency_lower(i);
		uint64_t	upper = auc_latency_upper(i);

		expect(lower <= upper);
		expect(auc_latency_bucket(lower) == i);
		expect(auc_latency_bucket(upper) == i);
		expect(auc_latency_bucket((lower + upper) / 2) == i);
		expect(i == 0 ? lower == 0 : lower == auc_latency_upper(i - 1) + 1);
		/* (upper - lower) / lower < 1 / 16 */
		expect((upper - lower) * 16 < lower || upper == lower);
	}
	tap_expected("buckets join, and none is wider than 1/16 of its least value");
	for (i = 0; i < 32; i++)
		expect(auc_latency_lower(auc_latency_bucket(i)) == (uint64_t) i);
	tap_expected("up to 31 us every value has its own bucket");
}

static void
test_edges(void)
{
	uint64_t	limit = UINT64_C(1) << 32;

	ok(auc_latency_bucket(0) == 0, "0");
	ok(auc_latency_bucket(15) == 15, "the last of the first 16");
	ok(auc_latency_bucket(16) == 16, "the first of a power of two");
	ok(auc_latency_bucket(1000) == auc_latency_bucket(1023) &&
	   auc_latency_bucket(1024) == auc_latency_bucket(1023) + 1,
	   "a power of two begins a bucket");
	ok(auc_latency_bucket(limit - 1) == AUC_LATENCY_BUCKETS - 1 &&
	   auc_latency_upper(AUC_LATENCY_BUCKETS - 1) == limit - 1,
	   "the last value that fits is the last bucket's greatest");
	ok(auc_latency_bucket(limit) == AUC_LATENCY_BUCKETS - 1 &&
	   auc_latency_bucket(UINT64_MAX) == AUC_LATENCY_BUCKETS - 1,
	   "what is longer is counted there, too");
	ok(limit / 1000000 > 3600, "which is more than an hour");
}

static void
test_few(void)
{
	uint64_t	histogram[AUC_LATENCY_BUCKETS] = {0};

	ok(auc_latency_percentile(histogram, 0.5) == 0 &&
	   auc_latency_count(histogram) == 0, "no values");
	histogram[auc_latency_bucket(7)]++;
	ok(auc_latency_percentile(histogram, 0.001) == 7 &&
	   auc_latency_percentile(histogram, 1) == 7, "one value is all of them");
	histogram[auc_latency_bucket(9)]++;
	ok(auc_latency_percentile(histogram, 0.5) == 7 &&
	   auc_latency_percentile(histogram, 0.51) == 9,
	   "the median of two is the lower one");
}

/* ---- distributions ---- */

static double
uniform(void)
{
	return ((double) tap_below(1000000) + 0.5) / 1000000;
}

static uint64_t
draw_uniform(void)
{
	return tap_below(100000);
}

static uint64_t
draw_exponential(void)
{
	return (uint64_t) (-2000 * log(uniform()));
}

/* A few are a thousand times as long. */
static uint64_t
draw_long_tail(void)
{
	return (uint64_t) (200 * pow(uniform(), -1.5));
}

static uint64_t
draw_two_humps(void)
{
	return tap_below(100) < 97 ? 300 + tap_below(50) :
		900000 + tap_below(200000);
}

static uint64_t
draw_constant(void)
{
	return 4242;
}

static void
test_distribution(const char *name, uint64_t (*draw) (void))
{
	static const double shares[] = {0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
	static uint64_t values[VALUES];
	uint64_t	histogram[AUC_LATENCY_BUCKETS] = {0};
	size_t		s;
	int			i;

	for (i = 0; i < VALUES; i++)
	{
		values[i] = draw();
		histogram[auc_latency_bucket(values[i])]++;
	}
	qsort(values, VALUES, sizeof(values[0]), by_value);
	expect(auc_latency_count(histogram) == VALUES);
	for (s = 0; s < sizeof(shares) / sizeof(shares[0]); s++)
	{
		uint64_t	exact = values[(int) ceil(shares[s] * VALUES) - 1];
		uint64_t	told = auc_latency_percentile(histogram, shares[s]);

		expect(told >= exact);
		expect((double) told <= (double) exact * 1.0625);
	}
	tap_expected(name);
}

int
main(void)
{
	test_buckets();
	test_edges();
	test_few();
	tap_seed = 4711;
	test_distribution("uniform", draw_uniform);
	test_distribution("exponential", draw_exponential);
	test_distribution("a long tail", draw_long_tail);
	test_distribution("two humps", draw_two_humps);
	test_distribution("always the same", draw_constant);
	return tap_done();
}
