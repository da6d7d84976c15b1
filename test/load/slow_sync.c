/*
 * slow_sync.c: a disk that takes longer to commit, for test/bench.
 *
 * Preloaded into PostgreSQL (LD_PRELOAD), it lets every fdatasync() last
 * SLOW_SYNC_US microseconds longer, which is how an ordinary cloud disk
 * differs most from this machine's.  PostgreSQL flushes its log with
 * fdatasync() unless wal_sync_method says otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

extern int	fdatasync(int fd);

static long
delay_us(void)
{
	static long us = -1;

	if (us < 0)
	{
		const char *value = getenv("SLOW_SYNC_US");

		us = value == NULL ? 0 : atol(value);
	}
	return us;
}

int
fdatasync(int fd)
{
	static int	(*next) (int) = NULL;
	struct timespec left = {delay_us() / 1000000, delay_us() % 1000000 * 1000};
	int			result;
	int			save_errno;

	if (next == NULL)
		*(void **) &next = dlsym(RTLD_NEXT, "fdatasync");
	result = next(fd);
	save_errno = errno;
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
	errno = save_errno;
	return result;
}
