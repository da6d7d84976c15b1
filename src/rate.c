/*
 * rate.c: see rate.h.
 */
#include "rate.h"

#define SECOND	1e9

bool
auc_rate_take(int64_t *full_at, int64_t now, double rate, double burst)
{
	double		token = SECOND / rate;	/* how long one takes to come */
	double		lacking = *full_at > now ? (double) (*full_at - now) : 0;

	/* emptied under another rate: it is not emptier than empty */
	if (lacking > burst * token)
		lacking = burst * token;
	/* half a nanosecond for what was rounded */
	if (lacking + token > burst * token + 0.5)
	{
		*full_at = now + (int64_t) lacking;
		return false;
	}
	*full_at = now + (int64_t) (lacking + token);
	return true;
}
