/*
 * lock.c: see lock.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "lock.h"
#include "miscadmin.h"
#include "storage/lock.h"

/*
 * Fourth field of an advisory lock tag.  SQL's pg_advisory_lock() uses 1 and
 * 2 (lockfuncs.c); other extensions use small numbers of their own.
 */
#define AUC_LOCK_CLASS	0xA0C7
#define AUC_LOCK_CLASS_INCREMENTS	0xA0C8
#define AUC_LOCK_CLASS_ROLLOUT	0xA0C9
#define AUC_LOCK_CLASS_SHARDS	0xA0CA
#define AUC_LOCK_CLASS_MOVE	0xA0CB

static void
set_tag(LOCKTAG *tag, int64 auction_id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId,
						 (uint32) ((uint64) auction_id >> 32),
						 (uint32) auction_id, AUC_LOCK_CLASS);
}

void
auc_lock_acquire(int64 auction_id)
{
	LOCKTAG		tag;

	set_tag(&tag, auction_id);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
auc_lock_try(int64 auction_id)
{
	LOCKTAG		tag;

	set_tag(&tag, auction_id);
	return LockAcquire(&tag, ExclusiveLock, false, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

void
auc_lock_release(int64 auction_id)
{
	LOCKTAG		tag;

	set_tag(&tag, auction_id);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

bool
auc_lock_held(int64 auction_id)
{
	LOCKTAG		tag;

	set_tag(&tag, auction_id);
	return auc_lock_held_by_me(&tag, ExclusiveLock);
}

int
auc_lock_waiting(void)
{
	LockData   *data = GetLockStatusData();
	int			n = 0;

	for (int i = 0; i < data->nelements; i++)
	{
		const LockInstanceData *lock = &data->locks[i];

		if (lock->waitLockMode != NoLock &&
			lock->locktag.locktag_type == LOCKTAG_ADVISORY &&
			lock->locktag.locktag_field1 == MyDatabaseId &&
			lock->locktag.locktag_field4 == AUC_LOCK_CLASS)
			n++;
	}
	return n;
}

void
auc_lock_increments(const char *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0,
						 hash_bytes((const unsigned char *) name,
									(int) strlen(name)),
						 AUC_LOCK_CLASS_INCREMENTS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
auc_lock_rollout(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, AUC_LOCK_CLASS_ROLLOUT);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) !=
		LOCKACQUIRE_NOT_AVAIL;
}

bool
auc_lock_shards(bool exclusive, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, AUC_LOCK_CLASS_SHARDS);
	return LockAcquire(&tag, exclusive ? ExclusiveLock : ShareLock, false,
					   !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
auc_unlock_shards(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, AUC_LOCK_CLASS_SHARDS);
	(void) LockRelease(&tag, ShareLock, false);
}

bool
auc_lock_move(int shard)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, shard, AUC_LOCK_CLASS_MOVE);
	return LockAcquire(&tag, ExclusiveLock, true, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

void
auc_unlock_move(int shard)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, shard, AUC_LOCK_CLASS_MOVE);
	(void) LockRelease(&tag, ExclusiveLock, true);
}
