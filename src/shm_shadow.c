/*
 * shm_shadow.c: see shm_shadow.h.
 */
#include "postgres.h"

#include "port/atomics.h"
#include "settings.h"
#include "shm_lane.h"
#include "shm_shadow.h"
#include "storage/spin.h"

typedef struct Time
{
	pg_atomic_uint64 count;
	pg_atomic_uint64 sum_us;
	pg_atomic_uint64 max_us;
} Time;

typedef struct ShadowServer
{
	pg_atomic_uint64 head;		/* the next entry's number; backends */
	pg_atomic_uint64 entries;
	pg_atomic_uint64 dropped;
	pg_atomic_uint32 idle;		/* router: 1, wake me; who does so clears it */
	char		pad[PG_CACHE_LINE_SIZE];

	pg_atomic_uint64 tail;		/* the oldest entry's number; router */
	pg_atomic_uint64 outcomes[3];	/* by AucShadowOutcome */
	Time		table;
	Time		redis;
	pg_atomic_uint32 generation;	/* of the AucServer it counts for */

	slock_t		lock;			/* the rest; one difference is copied */
	uint64		ndifferences;	/* ever */
	AucShadowDifference differences[AUC_SHADOW_DIFFERENCES];
} ShadowServer;

static ShadowServer *servers;
static pg_atomic_uint64 *turns;
static AucShadowEntry *cells;

/* The largest power of two within the setting, so that % becomes a mask. */
static uint64
queue_length(void)
{
	uint64		length = 1;

	while (length * 2 <= auc_guc_shadow_queue)
		length *= 2;
	return length;
}

static Size
cells_count(void)
{
	return mul_size(auc_guc_max_servers, queue_length());
}

static Size
turns_offset(void)
{
	return CACHELINEALIGN(mul_size(auc_guc_max_servers,
								   sizeof(ShadowServer)));
}

static Size
cells_offset(void)
{
	return add_size(turns_offset(),
					CACHELINEALIGN(mul_size(cells_count(),
											sizeof(pg_atomic_uint64))));
}

Size
auc_shadow_shmem_size(void)
{
	return add_size(cells_offset(),
					mul_size(cells_count(), sizeof(AucShadowEntry)));
}

static void
init_time(Time *time)
{
	pg_atomic_init_u64(&time->count, 0);
	pg_atomic_init_u64(&time->sum_us, 0);
	pg_atomic_init_u64(&time->max_us, 0);
}

void
auc_shadow_shmem_init(bool found, void *space)
{
	servers = space;
	turns = (pg_atomic_uint64 *) ((char *) space + turns_offset());
	cells = (AucShadowEntry *) ((char *) space + cells_offset());
	if (found)
		return;
	/* not the cells: pages that nobody uses stay untouched */
	memset(space, 0, turns_offset());
	for (int i = 0; i < auc_guc_max_servers; i++)
	{
		ShadowServer *server = &servers[i];

		pg_atomic_init_u64(&server->head, 0);
		pg_atomic_init_u64(&server->entries, 0);
		pg_atomic_init_u64(&server->dropped, 0);
		pg_atomic_init_u32(&server->idle, 0);
		pg_atomic_init_u64(&server->tail, 0);
		for (int j = 0; j < lengthof(server->outcomes); j++)
			pg_atomic_init_u64(&server->outcomes[j], 0);
		init_time(&server->table);
		init_time(&server->redis);
		pg_atomic_init_u32(&server->generation, 0);
		SpinLockInit(&server->lock);
	}
	for (Size i = 0; i < cells_count(); i++)
		pg_atomic_init_u64(&turns[i], 0);
}

/* ---- the queue ---- */

static inline Size
cell_of(int server, uint64 number)
{
	return (Size) server * queue_length() + (number & (queue_length() - 1));
}

/* The turn of a cell in which the entry may be written; + 1: read. */
static inline uint64
turn_of(uint64 number)
{
	return 2 * (number / queue_length());
}

void
auc_shadow_dropped(int server, int n)
{
	pg_atomic_fetch_add_u64(&servers[server].dropped, n);
}

bool
auc_shadow_push(int server, const AucShadowEntry *entry)
{
	ShadowServer *shadow = &servers[server];
	uint64		number = pg_atomic_read_u64(&shadow->head);
	Size		cell;

	for (;;)
	{
		uint64		turn;

		cell = cell_of(server, number);
		turn = pg_atomic_read_u64(&turns[cell]);
		if (turn < turn_of(number))
		{
			auc_shadow_dropped(server, 1);
			return false;
		}
		/* else somebody was faster; a failed exchange tells the new head */
		if (turn > turn_of(number))
			number = pg_atomic_read_u64(&shadow->head);
		else if (pg_atomic_compare_exchange_u64(&shadow->head, &number,
												number + 1))
			break;
	}
	memcpy(&cells[cell], entry, AUC_SHADOW_SIZE(entry));
	pg_atomic_fetch_add_u64(&shadow->entries, 1);
	pg_write_barrier();
	pg_atomic_write_u64(&turns[cell], turn_of(number) + 1);
	return true;
}

void
auc_shadow_wake(int server)
{
	/* the entry is there before "idle" is looked at; the router vice versa */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&servers[server].idle) != 0 &&
		pg_atomic_exchange_u32(&servers[server].idle, 0) != 0)
		auc_server_wake_router(auc_server(server));
}

static bool
is_waiting(int server)
{
	uint64		number = pg_atomic_read_u64(&servers[server].tail);

	return pg_atomic_read_u64(&turns[cell_of(server, number)]) ==
		turn_of(number) + 1;
}

bool
auc_shadow_waiting(int server)
{
	if (is_waiting(server))
		return true;
	if (pg_atomic_read_u32(&servers[server].idle) != 0)
		return false;
	pg_atomic_write_u32(&servers[server].idle, 1);
	pg_memory_barrier();
	return is_waiting(server);
}

bool
auc_shadow_pop(int server, AucShadowEntry *entry)
{
	uint64		number = pg_atomic_read_u64(&servers[server].tail);
	Size		cell = cell_of(server, number);

	if (!is_waiting(server))
		return false;
	pg_read_barrier();
	memcpy(entry, &cells[cell], AUC_SHADOW_SIZE(&cells[cell]));
	pg_atomic_write_u64(&servers[server].tail, number + 1);
	pg_memory_barrier();
	pg_atomic_write_u64(&turns[cell], turn_of(number) + 2);
	return true;
}

/* ---- figures ---- */

static uint64
outcome_sum(ShadowServer *shadow)
{
	uint64		sum = 0;

	for (int i = 0; i < lengthof(shadow->outcomes); i++)
		sum += pg_atomic_read_u64(&shadow->outcomes[i]);
	return sum;
}

static void
forget_time(Time *time)
{
	pg_atomic_fetch_sub_u64(&time->count, pg_atomic_read_u64(&time->count));
	pg_atomic_fetch_sub_u64(&time->sum_us, pg_atomic_read_u64(&time->sum_us));
	pg_atomic_write_u64(&time->max_us, 0);
}

void
auc_shadow_reset(int server)
{
	ShadowServer *shadow = &servers[server];

	for (int i = 0; i < lengthof(shadow->outcomes); i++)
	{
		uint64		seen = pg_atomic_read_u64(&shadow->outcomes[i]);

		pg_atomic_fetch_sub_u64(&shadow->outcomes[i], seen);
		pg_atomic_fetch_sub_u64(&shadow->entries, seen);
	}
	pg_atomic_fetch_sub_u64(&shadow->dropped,
							pg_atomic_read_u64(&shadow->dropped));
	forget_time(&shadow->table);
	forget_time(&shadow->redis);
	SpinLockAcquire(&shadow->lock);
	shadow->ndifferences = 0;
	SpinLockRelease(&shadow->lock);
}

void
auc_shadow_begin(int server, uint32 generation)
{
	ShadowServer *shadow = &servers[server];
	uint64		waiting = pg_atomic_read_u64(&shadow->head) -
		pg_atomic_read_u64(&shadow->tail);
	uint64		entries = pg_atomic_read_u64(&shadow->entries);
	uint64		known = outcome_sum(shadow) + waiting;

	if (entries > known)
		pg_atomic_fetch_add_u64(&shadow->outcomes[AUC_SHADOW_FAILED],
								entries - known);
	if (pg_atomic_read_u32(&shadow->generation) == generation)
		return;
	auc_shadow_reset(server);
	pg_atomic_write_u32(&shadow->generation, generation);
}

void
auc_shadow_count(int server, AucShadowOutcome outcome)
{
	pg_atomic_fetch_add_u64(&servers[server].outcomes[outcome], 1);
}

/* One writer, so that the largest needs no compare-and-swap. */
static void
note_time(Time *time, int64 us)
{
	uint64		took = us > 0 ? us : 0;

	pg_atomic_fetch_add_u64(&time->count, 1);
	pg_atomic_fetch_add_u64(&time->sum_us, took);
	if (took > pg_atomic_read_u64(&time->max_us))
		pg_atomic_write_u64(&time->max_us, took);
}

void
auc_shadow_took(int server, int64 table_us, int64 redis_us)
{
	note_time(&servers[server].table, table_us);
	note_time(&servers[server].redis, redis_us);
}

void
auc_shadow_differs(int server, const AucShadowDifference *difference)
{
	ShadowServer *shadow = &servers[server];

	SpinLockAcquire(&shadow->lock);
	shadow->differences[shadow->ndifferences++ % AUC_SHADOW_DIFFERENCES] =
		*difference;
	SpinLockRelease(&shadow->lock);
}

static void
read_time(Time *time, AucShadowTime *to)
{
	to->count = pg_atomic_read_u64(&time->count);
	to->sum_us = pg_atomic_read_u64(&time->sum_us);
	to->max_us = pg_atomic_read_u64(&time->max_us);
}

void
auc_shadow_stat(int server, uint32 generation, AucShadowStat *stat)
{
	ShadowServer *shadow = &servers[server];

	memset(stat, 0, sizeof(*stat));
	if (pg_atomic_read_u32(&shadow->generation) != generation)
		return;
	/* outcomes first: none of an entry that is not yet counted */
	stat->same = pg_atomic_read_u64(&shadow->outcomes[AUC_SHADOW_SAME]);
	stat->different =
		pg_atomic_read_u64(&shadow->outcomes[AUC_SHADOW_DIFFERENT]);
	stat->failed = pg_atomic_read_u64(&shadow->outcomes[AUC_SHADOW_FAILED]);
	read_time(&shadow->table, &stat->table);
	read_time(&shadow->redis, &stat->redis);
	stat->dropped = pg_atomic_read_u64(&shadow->dropped);
	pg_read_barrier();
	stat->entries = pg_atomic_read_u64(&shadow->entries);
}

bool
auc_shadow_difference(int server, uint32 generation, int i,
					  AucShadowDifference *difference)
{
	ShadowServer *shadow = &servers[server];
	bool		found;

	if (pg_atomic_read_u32(&shadow->generation) != generation)
		return false;
	SpinLockAcquire(&shadow->lock);
	found = i < AUC_SHADOW_DIFFERENCES && i < shadow->ndifferences;
	if (found)
		*difference = shadow->differences[(shadow->ndifferences - 1 - i) %
										  AUC_SHADOW_DIFFERENCES];
	SpinLockRelease(&shadow->lock);
	return found;
}
