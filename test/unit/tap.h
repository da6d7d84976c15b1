/*
 * tap.h: what the unit tests share: TAP output and fixed-seed randomness.
 *
 * A test program is one source file with a main() that ends with
 * "return tap_done();".  Each ok() is one line of TAP; the plan follows at the
 * end.  A check inside a loop of many rounds is not an ok() of its own: count
 * what is wrong with expect() and judge the count with tap_expected().
 */
#ifndef AUC_TEST_TAP_H
#define AUC_TEST_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static int	tap_run = 0;
static int	tap_failed = 0;
static long tap_unexpected = 0;

#define ok(good, name)	tap_ok((good), (name), __FILE__, __LINE__)
#define expect(good)	tap_expect((good), #good, __FILE__, __LINE__)

static inline bool
tap_ok(bool good, const char *name, const char *file, int line)
{
	printf("%s %d - %s\n", good ? "ok" : "not ok", ++tap_run, name);
	if (!good)
	{
		tap_failed++;
		printf("# failed at %s:%d\n", file, line);
	}
	return good;
}

/* For loops: the first few that fail are shown, all are counted. */
static inline bool
tap_expect(bool good, const char *what, const char *file, int line)
{
	if (!good && ++tap_unexpected <= 5)
		printf("# %s:%d: not so: %s\n", file, line, what);
	return good;
}

static inline bool
tap_expected(const char *name)
{
	bool		good = tap_unexpected == 0;

	tap_unexpected = 0;
	return tap_ok(good, name, __FILE__, __LINE__);
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed == 0 ? 0 : 1;
}

/*
 * Xorshift64*, so that a seed means the same everywhere; never seed it 0.  For
 * the same reason, one call an expression: C leaves the order open.
 */
static uint64_t tap_seed = 1;

static inline uint64_t
tap_random(void)
{
	tap_seed ^= tap_seed >> 12;
	tap_seed ^= tap_seed << 25;
	tap_seed ^= tap_seed >> 27;
	return tap_seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 .. n - 1 */
static inline uint64_t
tap_below(uint64_t n)
{
	return (tap_random() >> 11) % n;
}

#endif							/* AUC_TEST_TAP_H */
