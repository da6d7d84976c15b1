/*
 * limit.c: see limit.h.
 */
#include <math.h>
#include <stddef.h>

#include "limit.h"

/* The part of a limit up to which nothing waits. */
#define SOFT_MARK	0.75

static uint32_t
delay_ms(double fill)
{
	if (fill >= 1)
		return AUC_DELAY_FOREVER;
	return (uint32_t) ceil(AUC_DELAY_MAX_MS * (fill - SOFT_MARK) /
						   (1 - SOFT_MARK));
}

AucDelay
auc_limits_delay(const AucFigure *figures)
{
	AucDelay	delay = {AUC_LIMIT_NONE, 0};
	double		fullest = SOFT_MARK;
	int			i;

	for (i = AUC_LIMIT_NONE + 1; i < AUC_LIMIT_LANE_END; i++)
	{
		double		fill;

		if (figures[i].limit <= 0)
			continue;
		fill = figures[i].is / figures[i].limit;
		if (fill <= fullest)
			continue;
		fullest = fill;
		delay.by = (AucLimit) i;
		delay.ms = delay_ms(fill);
	}
	return delay;
}

const char *
auc_limit_name(AucLimit limit)
{
	switch (limit)
	{
		case AUC_LIMIT_TAIL:
			return "tail";
		case AUC_LIMIT_LOG:
			return "log";
		case AUC_LIMIT_MEMORY:
			return "memory";
		case AUC_LIMIT_BACKLOG:
			return "backlog";
		default:
			return NULL;
	}
}
