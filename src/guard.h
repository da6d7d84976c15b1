/*
 * guard.h: has route redis broken a limit?  Pure C.
 *
 * The steward fills a window with what became of the route's bids in the last
 * seconds (steward_guard.c); here it is held against the limits.  Bids that
 * still wait stand in the histogram with the time they have waited so far:
 * with a Redis that hangs there would be nothing else to see.
 */
#ifndef AUC_GUARD_H
#define AUC_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latency.h"

typedef struct AucGuardLimits
{
	double		error_share;	/* percent of bids; 100: no limit */
	uint64_t	p99_us;			/* 0: no limit */
	double		lag_s;			/* 0: no limit */
	uint64_t	min_bids;		/* fewer in the window: only lag is looked at */
} AucGuardLimits;

typedef struct AucGuardWindow
{
	uint64_t	errors;			/* bids without a verdict */
	double		lag_s;			/* age of the oldest record not in the journal */
	uint64_t	latency[AUC_LATENCY_BUCKETS];	/* with a verdict, or waiting */
} AucGuardWindow;

/* A bid that has waited so long, and still does. */
extern void auc_guard_add_waiting(AucGuardWindow *window, uint64_t us);

/*
 * true: a limit is broken, and "why" is filled with the first one, in words:
 * "p99 is 812 ms, the limit 500 ms (1520 bids)".
 */
extern bool auc_guard_broken(const AucGuardLimits *limits,
							 const AucGuardWindow *window,
							 char *why, size_t size);

#endif							/* AUC_GUARD_H */
