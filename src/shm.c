/*
 * shm.c: one request hook and one startup hook for all of shared memory.
 *
 * The segment is AucShared followed by the parts of the shm_* modules, in the
 * order of "parts".  After a crash of any backend the postmaster makes it
 * anew: everything is zero again while Redis still holds what was sent, which
 * is why lanes then start in RECOVERING.
 */
#include "postgres.h"

#include "errors.h"
#include "miscadmin.h"
#include "shm.h"
#include "shm_bell.h"
#include "shm_lane.h"
#include "shm_quota.h"
#include "shm_rate.h"
#include "shm_shadow.h"
#include "shm_slot.h"
#include "shm_stat.h"
#include "shm_worker.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

typedef struct AucShared
{
	uint64		instance;		/* immutable; see below */
} AucShared;

typedef struct AucShmPart
{
	Size		(*size) (void);
	void		(*init) (bool found, void *space);
	bool		clears;			/* init sets to zero what has to be */
} AucShmPart;

static const AucShmPart parts[] = {
	{auc_worker_shmem_size, auc_worker_shmem_init, false},
	{auc_bell_shmem_size, auc_bell_shmem_init, false},
	{auc_slot_shmem_size, auc_slot_shmem_init, false},
	{auc_quota_shmem_size, auc_quota_shmem_init, false},
	{auc_rate_shmem_size, auc_rate_shmem_init, false},
	{auc_stat_shmem_size, auc_stat_shmem_init, false},
	{auc_lane_shmem_size, auc_lane_shmem_init, true},
	{auc_shadow_shmem_size, auc_shadow_shmem_init, true},
};

static shmem_request_hook_type prev_request_hook = NULL;
static shmem_startup_hook_type prev_startup_hook = NULL;
static AucShared *shared = NULL;
static LWLock *registry_lock = NULL;

/*
 * Drawn once by the postmaster, inherited by every process it forks: the same
 * before and after a crash restart, another after a real one (rule 11).
 */
static uint64 instance = 0;

static Size
total_size(void)
{
	Size		size = MAXALIGN(sizeof(AucShared));

	for (int i = 0; i < lengthof(parts); i++)
		size = add_size(size, CACHELINEALIGN(parts[i].size()));
	/* the parts begin at a cache line, wherever the segment begins */
	return add_size(size, PG_CACHE_LINE_SIZE);
}

static void
request_hook(void)
{
	if (prev_request_hook)
		prev_request_hook();
	RequestAddinShmemSpace(total_size());
	RequestNamedLWLockTranche("auction", 1);
}

static void
startup_hook(void)
{
	bool		found;
	char	   *next;

	if (prev_startup_hook)
		prev_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("auction", total_size(), &found);
	registry_lock = &GetNamedLWLockTranche("auction")->lock;
	if (!found)
		shared->instance = instance;
	next = (char *) CACHELINEALIGN((char *) shared + sizeof(AucShared));
	for (int i = 0; i < lengthof(parts); i++)
	{
		Size		size = CACHELINEALIGN(parts[i].size());

		if (!found && !parts[i].clears)
			memset(next, 0, size);
		parts[i].init(found, next);
		next += size;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
auc_shm_install(void)
{
	if (!pg_strong_random(&instance, sizeof(instance)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random number for the instance")));
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request_hook;
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_hook;
}

bool
auc_shm_available(void)
{
	return shared != NULL;
}

void
auc_shm_require(const char *what)
{
	if (shared != NULL)
		return;
	ereport(ERROR,
			(errcode(AUC_ERRCODE_NOT_PRELOADED),
			 errmsg("%s requires \"auction\" in shared_preload_libraries",
					what),
			 errhint("Add auction to shared_preload_libraries and restart the server. Route \"table\" works without it.")));
}

LWLock *
auc_registry_lock(void)
{
	return registry_lock;
}

uint64
auc_shm_instance(void)
{
	return shared->instance;
}
