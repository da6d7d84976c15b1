/*
 * test_rate.c: an allowance that is kept as one number, by example, and
 * against one that counts its tokens.
 */
#include <stdlib.h>

#include "rate.h"
#include "tap.h"

#define MS	INT64_C(1000000)
#define S	(1000 * MS)

/* How many of n attempts at that moment get a token. */
static int
take(int64_t *full_at, int64_t now, double rate, double burst, int n)
{
	int			taken = 0;

	for (int i = 0; i < n; i++)
		taken += auc_rate_take(full_at, now, rate, burst);
	return taken;
}

static void
test_examples(void)
{
	int64_t		full_at = 0;
	int64_t		before;

	ok(take(&full_at, 100 * S, 10, 10, 20) == 10, "a full allowance has its burst");
	ok(take(&full_at, 100 * S + 99 * MS, 10, 10, 1) == 0,
	   "the next comes after 1/rate, not before");
	ok(take(&full_at, 100 * S + 100 * MS, 10, 10, 5) == 1, "... then one");
	ok(take(&full_at, 100 * S + 1100 * MS, 10, 10, 50) == 10,
	   "a second later ten have come");
	ok(take(&full_at, 200 * S, 10, 10, 50) == 10,
	   "no more than the burst is kept");
	before = full_at;
	ok(take(&full_at, 200 * S, 10, 10, 50) == 0 && full_at == before,
	   "what is refused takes nothing");

	full_at = 0;
	ok(take(&full_at, 100 * S, 0.5, 1, 3) == 1 &&
	   take(&full_at, 101 * S, 0.5, 1, 3) == 0 &&
	   take(&full_at, 102 * S, 0.5, 1, 3) == 1, "one in two seconds");
	full_at = 0;
	ok(take(&full_at, 100 * S, 2.5, 2.5, 9) == 2, "a part of a token is none");
}

static void
test_changed_rate(void)
{
	int64_t		full_at = 0;

	ok(take(&full_at, 100 * S, 0.001, 1, 2) == 1, "one in a thousand seconds");
	ok(take(&full_at, 100 * S, 10, 10, 1) == 0 &&
	   take(&full_at, 100 * S + 100 * MS, 10, 10, 2) == 1,
	   "a faster rate counts from the change on");
	full_at = 0;
	ok(take(&full_at, 100 * S, 1000000, 1000000, 1000001) == 1000000,
	   "the fastest rate");
}

/* The same, as tokens that are counted; exact in milliseconds. */
static void
test_counted(void)
{
	srand(1);
	for (int round = 0; round < 200; round++)
	{
		int			period = 1 + rand() % 200;	/* ms a token */
		int			burst = 1 + rand() % 20;
		int64_t		tokens = (int64_t) burst * period;	/* in ms */
		int64_t		full_at = 0;
		int64_t		now = 1000;

		for (int i = 0; i < 500; i++)
		{
			int			passed = rand() % 3 == 0 ? rand() % (3 * period) : 0;
			bool		wanted;

			now += passed;
			tokens += passed;
			if (tokens > (int64_t) burst * period)
				tokens = (int64_t) burst * period;
			wanted = tokens >= period;
			if (wanted)
				tokens -= period;
			expect(auc_rate_take(&full_at, now * MS, 1000.0 / period, burst) ==
				   wanted);
		}
	}
	tap_expected("100,000 attempts as by counting tokens");
}

int
main(void)
{
	test_examples();
	test_changed_rate();
	test_counted();
	return tap_done();
}
