/*
 * other_clock.c: a clock that goes wrong, for tests.
 *
 * Preloaded into Redis (LD_PRELOAD), it adds OTHER_CLOCK_S seconds, which may
 * be negative, to what gettimeofday() and time() say.
 */
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

extern int	gettimeofday(struct timeval *restrict tv, void *restrict tz);
extern time_t time(time_t *result);

static long
offset_s(void)
{
	const char *value = getenv("OTHER_CLOCK_S");

	return value == NULL ? 0 : atol(value);
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + offset_s();
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
