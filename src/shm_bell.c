/*
 * shm_bell.c: see shm_bell.h.
 */
#include "postgres.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

#include "access/twophase.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "shm_bell.h"

#define BELL_FUTEX		1		/* the owner sleeps on the word */
#define BELL_LATCH		2		/* the owner sleeps on its latch */
#define BELL_RING		4		/* one ring */

/* How long an owner sleeps on its word before it turns to its latch. */
#define NAP_MS			20

/* A cache line each: a ring must not disturb the neighbours. */
typedef union AucBell
{
	pg_atomic_uint32 word;
	char		pad[PG_CACHE_LINE_SIZE];
} AucBell;

static AucBell *bells;

/* Every process that has a latch: backends, workers, auxiliary ones. */
static int
bell_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts;
}

Size
auc_bell_shmem_size(void)
{
	return mul_size(bell_count(), sizeof(AucBell));
}

void
auc_bell_shmem_init(bool found, void *space)
{
	bells = space;
	if (found)
		return;
	for (int i = 0; i < bell_count(); i++)
		pg_atomic_init_u32(&bells[i].word, 0);
}

uint32
auc_bell_read(void)
{
	uint32		word = pg_atomic_read_u32(&bells[auc_my_procno()].word);

	/* what the ringer wrote before it rang is seen from here on */
	pg_read_barrier();
	return word;
}

#ifdef __linux__

bool
auc_bell_nap(uint32 seen, uint32 wait_event)
{
	pg_atomic_uint32 *bell = &bells[auc_my_procno()].word;
	struct timespec limit = {.tv_nsec = NAP_MS * 1000000L};

	if (!pg_atomic_compare_exchange_u32(bell, &seen, seen | BELL_FUTEX))
		return true;			/* it has rung */
	pgstat_report_wait_start(wait_event);
	/* any end of it is as good as another: the caller looks again */
	(void) syscall(SYS_futex, bell, FUTEX_WAIT, seen | BELL_FUTEX, &limit,
				   NULL, 0);
	pgstat_report_wait_end();
	return (pg_atomic_fetch_and_u32(bell, ~(uint32) BELL_FUTEX) &
			BELL_FUTEX) == 0;
}

static void
wake(pg_atomic_uint32 *bell)
{
	(void) syscall(SYS_futex, bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#else

bool
auc_bell_nap(uint32 seen, uint32 wait_event)
{
	return false;
}

static void
wake(pg_atomic_uint32 *bell)
{
}

#endif

void
auc_bell_use_latch(void)
{
	pg_atomic_fetch_or_u32(&bells[auc_my_procno()].word, BELL_LATCH);
}

void
auc_bell_done(void)
{
	/* also called to clean up where there is no shared memory of ours */
	if (bells == NULL)
		return;
	pg_atomic_fetch_and_u32(&bells[auc_my_procno()].word, ~(uint32) BELL_LATCH);
}

void
auc_bell_ring(uint32 procno)
{
	pg_atomic_uint32 *bell = &bells[procno].word;
	uint32		word = pg_atomic_read_u32(bell);

	while (!pg_atomic_compare_exchange_u32(bell, &word,
										   (word + BELL_RING) &
										   ~(uint32) BELL_FUTEX))
		;
	if (word & BELL_FUTEX)
		wake(bell);
	if (word & BELL_LATCH)
		SetLatch(auc_proc_latch(procno));
}
