/*
 * compare.h: is one route better than the other?  Pure C.
 *
 * Two questions of statistics, and the plain verdict of route_report().
 */
#ifndef AUC_COMPARE_H
#define AUC_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Are auctions spread over the routes as "percent" on route redis says?  The
 * probability of a spread at least as uneven by chance (chi-square, one degree
 * of freedom); below AUC_COMPARE_ALARM something is wrong.  Negative: fewer
 * than 5 expected on a route, which is too few to tell.  At 0 and at 100
 * percent nothing is left to chance: 1 or 0.
 */
#define AUC_COMPARE_ALARM	0.001
extern double auc_compare_sample_ratio(int64_t on_table, int64_t on_redis,
									   double percent);

/*
 * The probability of shares of errors that differ as much by chance (test of
 * two proportions, two-sided); 1 if either has no attempts.
 */
extern double auc_compare_shares(uint64_t errors1, uint64_t attempts1,
								 uint64_t errors2, uint64_t attempts2);

typedef struct AucCompared
{
	uint64_t	bids;			/* that got a verdict */
	uint64_t	errors;			/* bids that got none */
	double		p50_ms;
	double		p99_ms;
} AucCompared;

typedef enum AucComparison
{
	AUC_COMPARE_TOO_FEW,		/* fewer than "least" bids and errors on a route */
	AUC_COMPARE_NO_DIFFERENCE,
	AUC_COMPARE_BETTER,
	AUC_COMPARE_WORSE
} AucComparison;

/*
 * Route redis against route table.  A difference is clear
 *   of the share of errors: if chance makes one like it less than once in a
 *     thousand times, and it is at least 0.1 percentage points
 *   of p99 and of p50: if one is at least 1.25 times the other and 0.5 ms more
 * Worse: errors or p99 clearly are.  Else better: one of them clearly is.  Else
 * p50 decides.  "why" is filled with the reason in words.
 */
extern AucComparison auc_compare_routes(const AucCompared *table,
										const AucCompared *redis,
										uint64_t least,
										char *why, size_t size);
extern const char *auc_comparison_name(AucComparison comparison);

#endif							/* AUC_COMPARE_H */
