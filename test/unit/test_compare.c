/*
 * test_compare.c: sample ratio, shares of errors, and the verdict about routes.
 */
#include <math.h>
#include <string.h>

#include "compare.h"
#include "tap.h"

static bool
near(double value, double expected)
{
	return fabs(value - expected) < 0.0005;
}

/*
 * Chi-square with one degree of freedom from the tables: 3.841 has a
 * probability of 0.05, 6.635 of 0.01, 10.828 of 0.001.
 */
static void
test_sample_ratio(void)
{
	int			drawn;
	int			alarms = 0;

	ok(near(auc_compare_sample_ratio(500, 500, 50), 1), "just as expected");
	/* (R - 5000)^2 / 2500 */
	ok(near(auc_compare_sample_ratio(4902, 5098, 50), 0.05),
	   "chi-square 3.84: p = 0.05");
	ok(near(auc_compare_sample_ratio(5129, 4871, 50), 0.0099),
	   "chi-square 6.66, on the other side: p = 0.0099");
	ok(auc_compare_sample_ratio(4835, 5165, 50) < AUC_COMPARE_ALARM,
	   "chi-square 10.9: alarm");
	ok(auc_compare_sample_ratio(4836, 5164, 50) > AUC_COMPARE_ALARM,
	   "chi-square 10.76: none");
	ok(near(auc_compare_sample_ratio(800, 200, 20), 1) &&
	   auc_compare_sample_ratio(800, 200, 25) < AUC_COMPARE_ALARM,
	   "it depends on the percentage");
	ok(auc_compare_sample_ratio(96, 3, 5) < 0 &&
	   auc_compare_sample_ratio(0, 0, 50) < 0, "too few to tell");
	ok(auc_compare_sample_ratio(10, 0, 0) == 1 &&
	   auc_compare_sample_ratio(1000, 1, 0) == 0, "0 percent: none there");
	ok(auc_compare_sample_ratio(0, 10, 100) == 1 &&
	   auc_compare_sample_ratio(1, 1000, 100) == 0, "100 percent: none here");

	/* chance alone raises the alarm once in a thousand times */
	for (drawn = 0; drawn < 20000; drawn++)
	{
		int			redis = 0;
		int			i;

		for (i = 0; i < 1000; i++)
			redis += tap_below(100) < 20;
		alarms += auc_compare_sample_ratio(1000 - redis, redis, 20) <
			AUC_COMPARE_ALARM;
	}
	printf("# %d alarms of 20000\n", alarms);
	ok(alarms > 5 && alarms < 50, "about one false alarm in a thousand");
}

static void
test_shares(void)
{
	ok(near(auc_compare_shares(10, 1000, 10, 1000), 1), "equal shares");
	/* pooled 0.015, deviation 0.005436, z = 1.8396 */
	ok(near(auc_compare_shares(10, 1000, 20, 1000), 0.0658),
	   "1 % and 2 % of a thousand: p = 0.066");
	ok(auc_compare_shares(100, 10000, 200, 10000) < 0.001,
	   "of ten thousand: hardly by chance");
	ok(auc_compare_shares(10, 1000, 20, 1000) ==
	   auc_compare_shares(20, 1000, 10, 1000), "either way round");
	ok(auc_compare_shares(0, 1000, 0, 10) == 1 &&
	   auc_compare_shares(10, 10, 5, 5) == 1, "none failed, all failed");
	ok(auc_compare_shares(0, 0, 5, 5) == 1, "no attempts");
}

/* ---- the verdict ---- */

static char why[256];

static bool
verdict(AucCompared table, AucCompared redis, AucComparison expected,
		const char *reason)
{
	AucComparison got = auc_compare_routes(&table, &redis, 1000, why,
										   sizeof(why));

	if (got == expected && strcmp(why, reason) == 0)
		return true;
	printf("# %s: %s\n", auc_comparison_name(got), why);
	return false;
}

static void
test_verdict(void)
{
	AucCompared base = {100000, 0, 2.0, 10.0};
	AucCompared faster = {100000, 0, 1.0, 4.0};
	AucCompared slower = {100000, 0, 1.0, 14.0};
	AucCompared same = {100000, 50, 2.2, 11.0};
	AucCompared failing = {99000, 1000, 1.0, 4.0};
	AucCompared few = {990, 9, 1.0, 2.0};
	AucCompared dead = {0, 1000, 0, 0};
	AucCompared p50_only = {100000, 0, 1.2, 10.5};

	ok(verdict(base, few, AUC_COMPARE_TOO_FEW,
			   "100000 on route table, 999 on route redis, of 1000 each"),
	   "999 of 1000 are not enough");
	ok(verdict(few, base, AUC_COMPARE_TOO_FEW,
			   "999 on route table, 100000 on route redis, of 1000 each"),
	   "on either route");
	ok(verdict(base, faster, AUC_COMPARE_BETTER,
			   "p99 4.00 ms instead of 10.00 ms"), "p99 is better");
	ok(verdict(base, slower, AUC_COMPARE_WORSE,
			   "p99 14.00 ms instead of 10.00 ms"),
	   "p99 is worse, whatever p50 is");
	ok(verdict(base, same, AUC_COMPARE_NO_DIFFERENCE,
			   "errors 0.05 % instead of 0.00 %, p99 11.00 ms instead of 10.00 ms, p50 2.20 ms instead of 2.00 ms"),
	   "small differences are none, even if they are no chance");
	ok(verdict(base, failing, AUC_COMPARE_WORSE,
			   "errors 1.00 % instead of 0.00 %"),
	   "errors make it worse, however fast it is");
	ok(verdict(failing, slower, AUC_COMPARE_WORSE,
			   "p99 14.00 ms instead of 4.00 ms"),
	   "nor does a better share of errors help a worse p99");
	ok(verdict(failing, faster, AUC_COMPARE_BETTER,
			   "errors 0.00 % instead of 1.00 %"), "fewer errors: better");
	ok(verdict(base, dead, AUC_COMPARE_WORSE,
			   "errors 100.00 % instead of 0.00 %"), "nothing but errors");
	ok(verdict(base, p50_only, AUC_COMPARE_BETTER,
			   "p50 1.20 ms instead of 2.00 ms"), "p50 decides alone");
	ok(verdict(p50_only, base, AUC_COMPARE_WORSE,
			   "p50 2.00 ms instead of 1.20 ms"), "either way");
}

/* Ratios of tiny times, and differences of long ones, mean nothing. */
static void
test_thresholds(void)
{
	AucCompared tiny = {5000, 0, 0.1, 0.4};
	AucCompared tiny_too = {5000, 0, 0.05, 0.85};
	AucCompared longer = {5000, 0, 0.1, 0.9};
	AucCompared slow = {5000, 0, 0.1, 100};
	AucCompared slow_too = {5000, 0, 0.1, 124.9};
	AucCompared slower = {5000, 0, 0.1, 125};

	ok(verdict(tiny, tiny_too, AUC_COMPARE_NO_DIFFERENCE,
			   "errors 0.00 % instead of 0.00 %, p99 0.85 ms instead of 0.40 ms, p50 0.05 ms instead of 0.10 ms"),
	   "less than 0.5 ms");
	ok(verdict(tiny, longer, AUC_COMPARE_WORSE,
			   "p99 0.90 ms instead of 0.40 ms"), "0.5 ms");
	ok(verdict(slow, slow_too, AUC_COMPARE_NO_DIFFERENCE,
			   "errors 0.00 % instead of 0.00 %, p99 124.90 ms instead of 100.00 ms, p50 0.10 ms instead of 0.10 ms"),
	   "less than 1.25 times");
	ok(verdict(slow, slower, AUC_COMPARE_WORSE,
			   "p99 125.00 ms instead of 100.00 ms"), "1.25 times");
}

static void
test_small_buffer(void)
{
	AucCompared base = {5000, 0, 2, 10};
	char		small[8];
	size_t		size;

	for (size = 1; size <= sizeof(small); size++)
	{
		memset(small, 'x', sizeof(small));
		(void) auc_compare_routes(&base, &base, 1000, small, size);
		expect(memchr(small, '\0', size) != NULL);
		expect(size == sizeof(small) || small[size] == 'x');
	}
	tap_expected("the reason is cut off where its buffer ends");
}

int
main(void)
{
	test_sample_ratio();
	test_shares();
	test_verdict();
	test_thresholds();
	test_small_buffer();
	return tap_done();
}
