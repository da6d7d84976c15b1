/*
 * guard.c: see guard.h.
 */
#include <stdio.h>

#include "guard.h"

void
auc_guard_add_waiting(AucGuardWindow *window, uint64_t us)
{
	window->latency[auc_latency_bucket(us)]++;
}

/* Share in percent of all bids of the window. */
static double
error_share(const AucGuardWindow *window, uint64_t bids)
{
	return bids == 0 ? 0 : 100.0 * (double) window->errors / (double) bids;
}

bool
auc_guard_broken(const AucGuardLimits *limits, const AucGuardWindow *window,
				 char *why, size_t size)
{
	uint64_t	timed = auc_latency_count(window->latency);
	uint64_t	bids = timed + window->errors;
	double		share = error_share(window, bids);
	uint64_t	p99 = auc_latency_percentile(window->latency, 0.99);
	bool		enough = bids >= limits->min_bids && bids > 0;

	if (enough && share > limits->error_share)
		snprintf(why, size,
				 "%.2f %% of the bids ended with an error, the limit is %.2f %% (%llu bids)",
				 share, limits->error_share, (unsigned long long) bids);
	else if (enough && limits->p99_us > 0 && p99 > limits->p99_us)
		snprintf(why, size, "p99 is %.1f ms, the limit is %.1f ms (%llu bids)",
				 (double) p99 / 1000, (double) limits->p99_us / 1000,
				 (unsigned long long) bids);
	else if (limits->lag_s > 0 && window->lag_s > limits->lag_s)
		snprintf(why, size,
				 "the journal is %.1f s behind, the limit is %.1f s",
				 window->lag_s, limits->lag_s);
	else
		return false;
	return true;
}
