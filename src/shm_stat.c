/*
 * shm_stat.c: see shm_stat.h.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "settings.h"
#include "shm.h"
#include "shm_stat.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

/* Processes whose numbers are neighbours count in different stripes. */
#define STRIPES		8

/* AucRouteStat as an array of counters, all but max_us. */
#define COUNTERS	((int) (offsetof(AucRouteStat, max_us) / sizeof(uint64)))
#define COUNTER(field)	((int) (offsetof(AucRouteStat, field) / sizeof(uint64)))

typedef struct AucStatCounts
{
	pg_atomic_uint64 max_us[AUC_STAT_SINCES];
	pg_atomic_uint64 counter[COUNTERS];
} AucStatCounts;

/* Neighbours do not share a cache line. */
typedef union AucStatCell
{
	AucStatCounts counts;
	char		pad[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(AucStatCounts))];
} AucStatCell;

typedef struct AucStatEntry
{
	pg_atomic_uint32 dboid;		/* InvalidOid: free */
	/* copies, under the registry lock; those of AUC_STAT_START stay zero */
	TimestampTz since[AUC_STAT_SINCES];	/* 0: no copy was taken */
	AucRouteStat copy[AUC_STAT_SINCES][AUC_STAT_ROUTES];
} AucStatEntry;

typedef struct AucStatShared
{
	TimestampTz started_at;		/* of this shared memory */
	pg_atomic_uint32 forgotten; /* counts: an entry may be free again */
} AucStatShared;

static AucStatShared *shared = NULL;
static AucStatEntry *entries;
static AucStatCell *cells;		/* by entry, stripe, route */

/* ---- the segment ---- */

static Size
entries_offset(void)
{
	return CACHELINEALIGN(sizeof(AucStatShared));
}

static Size
cells_offset(void)
{
	return entries_offset() +
		CACHELINEALIGN(mul_size(auc_guc_max_databases, sizeof(AucStatEntry)));
}

static int
cell_count(void)
{
	return auc_guc_max_databases * STRIPES * AUC_STAT_ROUTES;
}

Size
auc_stat_shmem_size(void)
{
	return add_size(cells_offset(),
					mul_size(cell_count(), sizeof(AucStatCell)));
}

static void
clear_counts(AucStatCounts *counts)
{
	for (int i = 0; i < AUC_STAT_SINCES; i++)
		pg_atomic_init_u64(&counts->max_us[i], 0);
	for (int i = 0; i < COUNTERS; i++)
		pg_atomic_init_u64(&counts->counter[i], 0);
}

void
auc_stat_shmem_init(bool found, void *space)
{
	shared = space;
	entries = (AucStatEntry *) ((char *) space + entries_offset());
	cells = (AucStatCell *) ((char *) space + cells_offset());
	if (found)
		return;
	shared->started_at = GetCurrentTimestamp();
	pg_atomic_init_u32(&shared->forgotten, 0);
	for (int i = 0; i < auc_guc_max_databases; i++)
		pg_atomic_init_u32(&entries[i].dboid, InvalidOid);
	for (int i = 0; i < cell_count(); i++)
		clear_counts(&cells[i].counts);
}

static AucStatCounts *
counts_of(int entry, int stripe, AucStatRoute route)
{
	return &cells[(entry * STRIPES + stripe) * AUC_STAT_ROUTES + route].counts;
}

/* ---- entries; the caller holds the registry lock ---- */

static int
find_entry(Oid dboid)
{
	for (int i = 0; i < auc_guc_max_databases; i++)
		if (pg_atomic_read_u32(&entries[i].dboid) == dboid)
			return i;
	return -1;
}

/* Exclusively. */
static int
bind_entry(Oid dboid)
{
	int			index = find_entry(dboid);

	if (index >= 0)
		return index;
	index = find_entry(InvalidOid);
	if (index < 0)
		return -1;
	memset(entries[index].since, 0, sizeof(entries[index].since));
	memset(entries[index].copy, 0, sizeof(entries[index].copy));
	pg_atomic_write_u32(&entries[index].dboid, dboid);
	return index;
}

/* ---- counting ---- */

/*
 * This process' entry, or -1.  While all are taken it does not ask again
 * before one was forgotten.
 */
static int
my_entry(void)
{
	static int	cached = -1;
	static bool none = false;
	static uint32 none_at;

	if (shared == NULL)
		return -1;
	if (cached >= 0 &&
		pg_atomic_read_u32(&entries[cached].dboid) == MyDatabaseId)
		return cached;
	if (none && none_at == pg_atomic_read_u32(&shared->forgotten))
		return -1;
	none_at = pg_atomic_read_u32(&shared->forgotten);
	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	cached = find_entry(MyDatabaseId);
	LWLockRelease(auc_registry_lock());
	if (cached < 0)
	{
		LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
		cached = bind_entry(MyDatabaseId);
		LWLockRelease(auc_registry_lock());
	}
	none = cached < 0;
	return cached;
}

bool
auc_stat_ready(void)
{
	return my_entry() >= 0;
}

static AucStatCounts *
my_counts(AucStatRoute route)
{
	int			entry = my_entry();

	if (entry < 0)
		return NULL;
	return counts_of(entry, auc_my_procno() % STRIPES, route);
}

static void
raise_max(AucStatCounts *counts, uint64 us)
{
	for (int i = 0; i < AUC_STAT_SINCES; i++)
	{
		uint64		max = pg_atomic_read_u64(&counts->max_us[i]);

		while (us > max &&
			   !pg_atomic_compare_exchange_u64(&counts->max_us[i], &max, us))
			;
	}
}

void
auc_stat_verdict(AucStatRoute route, const AucVerdict *verdict, uint64 us)
{
	AucStatCounts *counts = my_counts(route);
	int			what = verdict->accepted ? COUNTER(accepted) :
		COUNTER(rejected) + (int) verdict->reason;

	if (counts == NULL)
		return;
	pg_atomic_fetch_add_u64(&counts->counter[what], 1);
	pg_atomic_fetch_add_u64(&counts->counter[COUNTER(sum_us)], us);
	pg_atomic_fetch_add_u64(&counts->counter[COUNTER(latency) +
											 auc_latency_bucket(us)], 1);
	raise_max(counts, us);
}

void
auc_stat_error(AucStatRoute route, AucStatError error)
{
	AucStatCounts *counts = my_counts(route);

	if (counts != NULL)
		pg_atomic_fetch_add_u64(&counts->counter[COUNTER(errors) +
												 (int) error], 1);
}

void
auc_stat_rate_limited(AucStatRoute route)
{
	AucStatCounts *counts = my_counts(route);

	if (counts != NULL)
		pg_atomic_fetch_add_u64(&counts->counter[COUNTER(rate_limited)], 1);
}

void
auc_stat_rolled_back(AucStatRoute route, uint64 n)
{
	AucStatCounts *counts = my_counts(route);

	if (counts != NULL)
		pg_atomic_fetch_add_u64(&counts->counter[COUNTER(rolled_back)], n);
}

void
auc_stat_add(AucStatRoute route, const AucRouteStat *stat)
{
	AucStatCounts *counts = my_counts(route);
	const uint64 *given = (const uint64 *) stat;

	if (counts == NULL)
		return;
	for (int i = 0; i < COUNTERS; i++)
		if (given[i] != 0)
			pg_atomic_fetch_add_u64(&counts->counter[i], given[i]);
	raise_max(counts, stat->max_us);
}

/* ---- reading ---- */

static void
sum_stripes(int entry, AucStatRoute route, AucStatSince since,
			AucRouteStat *stat)
{
	uint64	   *sum = (uint64 *) stat;

	memset(stat, 0, sizeof(*stat));
	for (int stripe = 0; stripe < STRIPES; stripe++)
	{
		AucStatCounts *counts = counts_of(entry, stripe, route);

		for (int i = 0; i < COUNTERS; i++)
			sum[i] += pg_atomic_read_u64(&counts->counter[i]);
		stat->max_us = Max(stat->max_us,
						   pg_atomic_read_u64(&counts->max_us[since]));
	}
}

TimestampTz
auc_stat_read(Oid dboid, AucStatRoute route, AucStatSince since,
			  AucRouteStat *stat)
{
	TimestampTz at = 0;
	int			entry;

	memset(stat, 0, sizeof(*stat));
	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	entry = find_entry(dboid);
	if (entry >= 0)
	{
		if (since == AUC_STAT_STEP && entries[entry].since[since] == 0)
			since = AUC_STAT_RESET;
		sum_stripes(entry, route, since, stat);
		auc_stat_subtract(stat, &entries[entry].copy[since][route]);
		at = entries[entry].since[since];
	}
	LWLockRelease(auc_registry_lock());
	return at != 0 ? at : shared->started_at;
}

/* All begin at 0 again when the entry was forgotten meanwhile. */
void
auc_stat_subtract(AucRouteStat *stat, const AucRouteStat *before)
{
	uint64	   *now = (uint64 *) stat;
	const uint64 *then = (const uint64 *) before;

	for (int i = 0; i < COUNTERS; i++)
		now[i] -= Min(now[i], then[i]);
}

uint64
auc_stat_rejected(const AucRouteStat *stat)
{
	uint64		n = 0;

	for (int i = 0; i < AUC_REASONS; i++)
		n += stat->rejected[i];
	return n;
}

uint64
auc_stat_errors(const AucRouteStat *stat)
{
	uint64		n = 0;

	for (int i = 0; i < AUC_STAT_ERRORS; i++)
		n += stat->errors[i];
	return n;
}

/* ---- since when ---- */

/*
 * A latency that is noted between copy and clearing may be missing from the
 * maximum, and only from there.
 */
static void
take_copy(AucStatSince since)
{
	int			entry;

	if (shared == NULL)
		return;
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	entry = bind_entry(MyDatabaseId);
	if (entry >= 0)
	{
		for (int route = 0; route < AUC_STAT_ROUTES; route++)
		{
			sum_stripes(entry, route, since,
						&entries[entry].copy[since][route]);
			for (int stripe = 0; stripe < STRIPES; stripe++)
				pg_atomic_write_u64(&counts_of(entry, stripe,
											   route)->max_us[since], 0);
		}
		entries[entry].since[since] = GetCurrentTimestamp();
	}
	LWLockRelease(auc_registry_lock());
}

void
auc_stat_reset(void)
{
	take_copy(AUC_STAT_RESET);
}

void
auc_stat_mark_step(void)
{
	take_copy(AUC_STAT_STEP);
}

void
auc_stat_forget(Oid dboid)
{
	int			entry;

	if (shared == NULL)
		return;
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	entry = find_entry(dboid);
	if (entry >= 0)
	{
		pg_atomic_write_u32(&entries[entry].dboid, InvalidOid);
		for (int stripe = 0; stripe < STRIPES; stripe++)
			for (int route = 0; route < AUC_STAT_ROUTES; route++)
				clear_counts(counts_of(entry, stripe, route));
		pg_atomic_fetch_add_u32(&shared->forgotten, 1);
	}
	LWLockRelease(auc_registry_lock());
}
