/*
 * rate.h: an allowance (a token bucket) in one number.  Pure C.
 *
 * It holds at most "burst" tokens and gets "rate" of them a second; what is
 * done takes one.  It is kept as the moment at which it will be full again if
 * nothing takes any more: each token taken puts that off by 1/rate.  A moment
 * that has passed, such as 0, is a full one, which so need not be kept at all.
 */
#ifndef AUC_RATE_H
#define AUC_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Nanoseconds of a clock that never runs back; rate > 0, burst >= 1. */
extern bool auc_rate_take(int64_t *full_at, int64_t now, double rate,
						  double burst);

#endif							/* AUC_RATE_H */
