/*
 * test_limit.c: how long bids wait on a lane that is near a limit.
 */
#include <stddef.h>
#include <string.h>

#include "limit.h"
#include "tap.h"

static AucFigure figures[AUC_LIMIT_LANE_END];

static void
begin(void)
{
	memset(figures, 0, sizeof(figures));
}

static void
figure(AucLimit which, double is, double limit)
{
	figures[which].is = is;
	figures[which].limit = limit;
}

static int
is_delay(AucLimit by, uint32_t ms)
{
	AucDelay	delay = auc_limits_delay(figures);

	return delay.by == by && delay.ms == ms;
}

static void
test_one(void)
{
	begin();
	ok(is_delay(AUC_LIMIT_NONE, 0), "no limits: no delay");
	figure(AUC_LIMIT_TAIL, 75, 100);
	ok(is_delay(AUC_LIMIT_NONE, 0), "three quarters: no delay");
	figure(AUC_LIMIT_TAIL, 75.0001, 100);
	ok(is_delay(AUC_LIMIT_TAIL, 1), "a little above: a millisecond");
	figure(AUC_LIMIT_TAIL, 87.5, 100);
	ok(is_delay(AUC_LIMIT_TAIL, AUC_DELAY_MAX_MS / 2),
	   "half way to the limit: half of the longest delay");
	figure(AUC_LIMIT_TAIL, 99.9999, 100);
	ok(is_delay(AUC_LIMIT_TAIL, AUC_DELAY_MAX_MS), "just below: the longest");
	figure(AUC_LIMIT_TAIL, 100, 100);
	ok(is_delay(AUC_LIMIT_TAIL, AUC_DELAY_FOREVER),
	   "at the limit: none is taken");
	figure(AUC_LIMIT_TAIL, 1e18, 100);
	ok(is_delay(AUC_LIMIT_TAIL, AUC_DELAY_FOREVER), "nor far above it");
}

static void
test_several(void)
{
	begin();
	figure(AUC_LIMIT_LOG, 1e12, 0);
	figure(AUC_LIMIT_BACKLOG, 10, -1);
	ok(is_delay(AUC_LIMIT_NONE, 0), "without a limit no figure is too high");
	figure(AUC_LIMIT_TAIL, 80, 100);
	figure(AUC_LIMIT_MEMORY, 15, 16);
	figure(AUC_LIMIT_LOG, 85e6, 100e6);
	ok(is_delay(AUC_LIMIT_MEMORY, 750), "the limit that is nearest delays");
	figure(AUC_LIMIT_BACKLOG, 70, 60);
	figure(AUC_LIMIT_MEMORY, 100, 99);
	ok(is_delay(AUC_LIMIT_BACKLOG, AUC_DELAY_FOREVER),
	   "of those that are passed, the one that is passed by most");
}

static void
test_steady(void)
{
	uint32_t	before = 0;

	begin();
	for (int i = 0; i <= 20000; i++)
	{
		AucDelay	delay;

		figure(AUC_LIMIT_TAIL, i, 10000);
		delay = auc_limits_delay(figures);
		expect(delay.ms >= before);
		expect((delay.ms == 0) == (delay.by == AUC_LIMIT_NONE));
		before = delay.ms;
	}
	tap_expected("a fuller lane never delays less");
}

static void
test_names(void)
{
	ok(auc_limit_name(AUC_LIMIT_NONE) == NULL, "no limit has no name");
	for (int i = AUC_LIMIT_NONE + 1; i < AUC_LIMIT_LANE_END; i++)
		expect(auc_limit_name((AucLimit) i) != NULL);
	tap_expected("every limit of a lane has a name");
}

int
main(void)
{
	test_one();
	test_several();
	test_steady();
	test_names();
	return tap_done();
}
