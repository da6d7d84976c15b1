/*
 * compare.c: see compare.h.
 */
#include <math.h>
#include <stdio.h>

#include "compare.h"

/* Chi-square is a fair approximation from so many expected on. */
#define LEAST_EXPECTED	5.0

#define SHARE_CHANCE	0.001
#define SHARE_STEP		0.001
#define LATENCY_RATIO	1.25
#define LATENCY_STEP_MS	0.5

double
auc_compare_sample_ratio(int64_t on_table, int64_t on_redis, double percent)
{
	double		n = (double) on_table + (double) on_redis;
	double		redis = n * percent / 100;
	double		table = n - redis;
	double		off = (double) on_redis - redis;

	if (percent <= 0)
		return on_redis == 0 ? 1 : 0;
	if (percent >= 100)
		return on_table == 0 ? 1 : 0;
	if (redis < LEAST_EXPECTED || table < LEAST_EXPECTED)
		return -1;
	return erfc(sqrt((off * off / redis + off * off / table) / 2));
}

double
auc_compare_shares(uint64_t errors1, uint64_t attempts1,
				   uint64_t errors2, uint64_t attempts2)
{
	double		n1 = (double) attempts1;
	double		n2 = (double) attempts2;
	double		pooled;
	double		deviation;

	if (attempts1 == 0 || attempts2 == 0)
		return 1;
	pooled = ((double) errors1 + (double) errors2) / (n1 + n2);
	deviation = sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2));
	/* none failed, or all */
	if (!(deviation > 0))
		return 1;
	return erfc(fabs((double) errors1 / n1 - (double) errors2 / n2) /
				deviation / sqrt(2));
}

static double
share_of_errors(const AucCompared *route)
{
	return (double) route->errors / (double) (route->bids + route->errors);
}

static AucComparison
compare_errors(const AucCompared *table, const AucCompared *redis)
{
	double		more = share_of_errors(redis) - share_of_errors(table);

	if (fabs(more) < SHARE_STEP ||
		auc_compare_shares(table->errors, table->bids + table->errors,
						   redis->errors, redis->bids + redis->errors) >=
		SHARE_CHANCE)
		return AUC_COMPARE_NO_DIFFERENCE;
	return more > 0 ? AUC_COMPARE_WORSE : AUC_COMPARE_BETTER;
}

static bool
clearly_slower(double ms, double than_ms)
{
	return ms >= than_ms * LATENCY_RATIO && ms - than_ms >= LATENCY_STEP_MS;
}

/* Where one route has errors alone, there is nothing to compare. */
static AucComparison
compare_latency(const AucCompared *table, const AucCompared *redis,
				double table_ms, double redis_ms)
{
	if (table->bids == 0 || redis->bids == 0)
		return AUC_COMPARE_NO_DIFFERENCE;
	if (clearly_slower(redis_ms, table_ms))
		return AUC_COMPARE_WORSE;
	if (clearly_slower(table_ms, redis_ms))
		return AUC_COMPARE_BETTER;
	return AUC_COMPARE_NO_DIFFERENCE;
}

static AucComparison
decide(AucComparison errors, AucComparison p99, AucComparison p50)
{
	if (errors == AUC_COMPARE_WORSE || p99 == AUC_COMPARE_WORSE)
		return AUC_COMPARE_WORSE;
	if (errors == AUC_COMPARE_BETTER || p99 == AUC_COMPARE_BETTER)
		return AUC_COMPARE_BETTER;
	return p50;
}

/* What has decided is said; the rest where nothing did. */
static void
say_why(const AucCompared *table, const AucCompared *redis,
		AucComparison verdict, AucComparison errors, AucComparison p99,
		char *why, size_t size)
{
	bool		say_errors = errors == verdict;
	bool		say_p99 = p99 == verdict;
	bool		say_p50 = !(say_errors || say_p99) ||
		verdict == AUC_COMPARE_NO_DIFFERENCE;
	int			used = 0;

	why[0] = '\0';
	if (say_errors)
		used = snprintf(why, size, "errors %.2f %% instead of %.2f %%",
						100 * share_of_errors(redis),
						100 * share_of_errors(table));
	if (say_p99 && (size_t) used < size)
		used += snprintf(why + used, size - used,
						 "%sp99 %.2f ms instead of %.2f ms",
						 used > 0 ? ", " : "", redis->p99_ms, table->p99_ms);
	if (say_p50 && (size_t) used < size)
		(void) snprintf(why + used, size - used,
						"%sp50 %.2f ms instead of %.2f ms",
						used > 0 ? ", " : "", redis->p50_ms, table->p50_ms);
}

AucComparison
auc_compare_routes(const AucCompared *table, const AucCompared *redis,
				   uint64_t least, char *why, size_t size)
{
	AucComparison errors;
	AucComparison p99;
	AucComparison verdict;

	if (table->bids + table->errors < least ||
		redis->bids + redis->errors < least)
	{
		(void) snprintf(why, size,
						"%llu on route table, %llu on route redis, of %llu each",
						(unsigned long long) (table->bids + table->errors),
						(unsigned long long) (redis->bids + redis->errors),
						(unsigned long long) least);
		return AUC_COMPARE_TOO_FEW;
	}
	errors = compare_errors(table, redis);
	p99 = compare_latency(table, redis, table->p99_ms, redis->p99_ms);
	verdict = decide(errors, p99,
					 compare_latency(table, redis, table->p50_ms,
									 redis->p50_ms));
	say_why(table, redis, verdict, errors, p99, why, size);
	return verdict;
}

const char *
auc_comparison_name(AucComparison comparison)
{
	switch (comparison)
	{
		case AUC_COMPARE_TOO_FEW:
			return "not enough bids yet";
		case AUC_COMPARE_NO_DIFFERENCE:
			return "no difference";
		case AUC_COMPARE_BETTER:
			return "better";
		case AUC_COMPARE_WORSE:
			return "worse";
	}
	return "unknown";
}
