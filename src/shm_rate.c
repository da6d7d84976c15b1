/*
 * shm_rate.c: see shm_rate.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "rate.h"
#include "shm_rate.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#define SETS	1024
#define WAYS	8

typedef struct AucAllowance
{
	int64		user_id;
	int64		full_at;		/* 0: nobody's yet */
	Oid			dboid;
} AucAllowance;

typedef struct AucRateSet
{
	slock_t		lock;			/* protects the allowances */
	AucAllowance allowances[WAYS];
} AucRateSet;

static AucRateSet *sets = NULL;

Size
auc_rate_shmem_size(void)
{
	return mul_size(SETS, sizeof(AucRateSet));
}

void
auc_rate_shmem_init(bool found, void *space)
{
	sets = space;
	if (found)
		return;
	for (int i = 0; i < SETS; i++)
		SpinLockInit(&sets[i].lock);
}

/* Of the clock that all processes share and nobody sets. */
static int64
nanoseconds(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now) * 1000;
}

/* The bidder's, else the one that will be full soonest, as a new one of his. */
static AucAllowance *
find_allowance(AucRateSet *set, int64 user_id)
{
	AucAllowance *oldest = &set->allowances[0];

	for (int i = 0; i < WAYS; i++)
	{
		AucAllowance *allowance = &set->allowances[i];

		if (allowance->user_id == user_id && allowance->dboid == MyDatabaseId)
			return allowance;
		if (allowance->full_at < oldest->full_at)
			oldest = allowance;
	}
	oldest->user_id = user_id;
	oldest->dboid = MyDatabaseId;
	oldest->full_at = 0;
	return oldest;
}

bool
auc_rate_admits(int64 user_id, double rate, double burst)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) &user_id,
										   sizeof(user_id), MyDatabaseId);
	AucRateSet *set;
	int64		now = nanoseconds();
	bool		admitted;

	if (sets == NULL)
		return true;
	set = &sets[hash % SETS];
	SpinLockAcquire(&set->lock);
	admitted = auc_rate_take(&find_allowance(set, user_id)->full_at, now, rate,
							 burst);
	SpinLockRelease(&set->lock);
	return admitted;
}
