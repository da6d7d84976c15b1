/*
 * shm_quota.c: see shm_quota.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "settings.h"
#include "shm.h"
#include "shm_quota.h"
#include "storage/ipc.h"

/* A cache line each: roles do not get in each other's way. */
typedef union AucQuotaEntry
{
	struct
	{
		pg_atomic_uint32 slots; /* counted now */
		/* under the registry lock, exclusively */
		int			sessions;
		Oid			dboid;
		Oid			role;
	}			e;
	char		pad[PG_CACHE_LINE_SIZE];
} AucQuotaEntry;

static AucQuotaEntry *entries;
static int	mine = -1;

/*
 * As many as sessions and slots: each entry that is in use has one of them,
 * so one is always found.
 */
static int
entry_count(void)
{
	return MaxBackends + auc_guc_slots;
}

Size
auc_quota_shmem_size(void)
{
	return mul_size(entry_count(), sizeof(AucQuotaEntry));
}

void
auc_quota_shmem_init(bool found, void *space)
{
	entries = space;
	if (found)
		return;
	for (int i = 0; i < entry_count(); i++)
		pg_atomic_init_u32(&entries[i].e.slots, 0);
}

/* The pair's entry, which no session may hold any more, or one that is free. */
static int
find_entry(Oid dboid, Oid role)
{
	int			unused = -1;

	for (int i = 0; i < entry_count(); i++)
	{
		if (entries[i].e.dboid == dboid && entries[i].e.role == role)
			return i;
		if (unused < 0 && entries[i].e.sessions == 0 &&
			pg_atomic_read_u32(&entries[i].e.slots) == 0)
			unused = i;
	}
	return unused;
}

static void
end_session(int code, Datum arg)
{
	if (mine < 0)
		return;
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	entries[mine].e.sessions--;
	LWLockRelease(auc_registry_lock());
	mine = -1;
}

static void
begin_session(void)
{
	Oid			role = GetAuthenticatedUserId();
	int			index;

	before_shmem_exit(end_session, (Datum) 0);
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	index = find_entry(MyDatabaseId, role);
	Assert(index >= 0);
	entries[index].e.dboid = MyDatabaseId;
	entries[index].e.role = role;
	entries[index].e.sessions++;
	LWLockRelease(auc_registry_lock());
	mine = index;
}

int
auc_quota_mine(void)
{
	if (auc_guc_role_slots >= 100 || MyBackendType == B_BG_WORKER)
		return -1;
	if (mine < 0)
		begin_session();
	return mine;
}

/* Its share, rounded down, but never none at all. */
static uint32
share(void)
{
	return Max(1, (int) ((int64) auc_guc_slots * auc_guc_role_slots / 100));
}

bool
auc_quota_add(int entry)
{
	if (pg_atomic_fetch_add_u32(&entries[entry].e.slots, 1) < share())
		return true;
	pg_atomic_fetch_sub_u32(&entries[entry].e.slots, 1);
	return false;
}

bool
auc_quota_has_room(int entry)
{
	return pg_atomic_read_u32(&entries[entry].e.slots) < share();
}

void
auc_quota_give(int entry)
{
	pg_atomic_fetch_sub_u32(&entries[entry].e.slots, 1);
}
