/*
 * shm_database.c: the registry of databases.
 *
 * Protocol and states: shm_worker.h.
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "shm.h"
#include "shm_stat.h"
#include "shm_worker.h"
#include "shm_worker_private.h"

/* ---- entries; the caller holds the registry lock ---- */

AucDatabase *
auc_registry_find_database(Oid dboid)
{
	for (int i = 0; i < auc_registry_databases(); i++)
		if (auc_databases[i].state != AUC_DATABASE_FREE &&
			auc_databases[i].dboid == dboid)
			return &auc_databases[i];
	return NULL;
}

AucDatabase *
auc_registry_bind_database(Oid dboid)
{
	AucDatabase *database = auc_registry_find_database(dboid);

	if (database != NULL)
		return database;
	for (int i = 0; i < auc_registry_databases(); i++)
	{
		database = &auc_databases[i];
		if (database->state != AUC_DATABASE_FREE)
			continue;
		database->state = AUC_DATABASE_PROBE;
		database->dboid = dboid;
		database->again = false;
		database->suspended = 0;
		return database;
	}
	return NULL;
}

static void
ask_database_to_stop(Oid dboid)
{
	for (int i = 1; i < auc_registry_workers(); i++)
		if (auc_workers[i].dboid == dboid)
			auc_registry_stop(&auc_workers[i]);
	auc_registry_wake(&auc_workers[0]);
}

static bool
database_runs(Oid dboid, bool terminate)
{
	bool		running = false;

	for (int i = 1; i < auc_registry_workers(); i++)
	{
		if (auc_workers[i].pid == 0 || auc_workers[i].dboid != dboid)
			continue;
		running = true;
		/* its exit callback needs the lock we hold: the pid is still its */
		if (terminate)
			kill(auc_workers[i].pid, SIGTERM);
	}
	return running;
}

/* ---- databases ---- */

AucDatabaseInfo *
auc_database_snapshot(int *n)
{
	AucDatabaseInfo *infos = palloc(auc_registry_databases() * sizeof(AucDatabaseInfo));

	*n = 0;
	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	for (int i = 0; i < auc_registry_databases(); i++)
	{
		AucDatabase *database = &auc_databases[i];
		AucDatabaseInfo *info = &infos[*n];

		if (database->state == AUC_DATABASE_FREE)
			continue;
		info->dboid = database->dboid;
		info->state = database->state;
		info->suspended = database->suspended > 0;
		info->again = database->again;
		info->running = database_runs(database->dboid, false);
		(*n)++;
	}
	LWLockRelease(auc_registry_lock());
	return infos;
}

bool
auc_database_bind(Oid dboid)
{
	bool		bound;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	bound = auc_registry_bind_database(dboid) != NULL;
	LWLockRelease(auc_registry_lock());
	return bound;
}

/*
 * The launcher has released the servers before, while no process could be
 * using them.  Where the extension was created again, the entry stays.
 */
bool
auc_database_unbind(Oid dboid)
{
	AucDatabase *database;
	bool		unbound = false;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	database = auc_registry_find_database(dboid);
	if (database != NULL && database->suspended == 0 &&
		(database->state == AUC_DATABASE_ABSENT ||
		 database->state == AUC_DATABASE_FULL) &&
		!database_runs(dboid, false))
	{
		for (int i = 1; i < auc_registry_workers(); i++)
			if (auc_workers[i].dboid == dboid)
				auc_registry_forget(&auc_workers[i]);
		database->state = database->again ? AUC_DATABASE_PROBE :
			AUC_DATABASE_FREE;
		database->again = false;
		unbound = database->state == AUC_DATABASE_FREE;
	}
	LWLockRelease(auc_registry_lock());
	return unbound;
}

/*
 * Whatever workers there are belong to an earlier life of the extension, whose
 * tables and lanes are gone: they end, and everything starts from the
 * beginning.  A steward that is just probing may have looked too early.
 */
void
auc_database_created(Oid dboid)
{
	AucDatabase *database;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	database = auc_registry_find_database(dboid);
	if (database == NULL)
		database = auc_registry_bind_database(dboid);
	else
	{
		database->again = true;
		if (database->state != AUC_DATABASE_PROBE)
		{
			database->state = AUC_DATABASE_ABSENT;
			ask_database_to_stop(dboid);
		}
	}
	if (database == NULL)
		pg_atomic_fetch_add_u32(&auc_registry->overflows, 1);
	auc_registry_wake(&auc_workers[0]);
	LWLockRelease(auc_registry_lock());
}

void
auc_database_gone(Oid dboid)
{
	AucDatabase *database;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	database = auc_registry_find_database(dboid);
	if (database != NULL)
	{
		database->state = AUC_DATABASE_ABSENT;
		ask_database_to_stop(dboid);
	}
	LWLockRelease(auc_registry_lock());
	auc_stat_forget(dboid);
}

bool
auc_database_confirm(Oid dboid)
{
	AucDatabase *database;
	bool		confirmed = false;
	int			present = 0;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < auc_registry_databases(); i++)
		if (auc_databases[i].state == AUC_DATABASE_PRESENT &&
			auc_databases[i].dboid != dboid)
			present++;
	database = auc_registry_find_database(dboid);
	if (database != NULL && database->state == AUC_DATABASE_PRESENT)
		confirmed = true;
	else if (database != NULL && database->state == AUC_DATABASE_PROBE)
	{
		confirmed = present < auc_guc_max_databases;
		database->state = confirmed ? AUC_DATABASE_PRESENT :
			AUC_DATABASE_FULL;
		/* nothing of an earlier life can have been bound while probing */
		database->again = false;
	}
	LWLockRelease(auc_registry_lock());
	return confirmed;
}

/*
 * A database that is not known gets an entry, so that the launcher does not
 * begin to probe it meanwhile.  If none is free, the statement itself notices
 * the steward.
 */
void
auc_database_suspend(Oid dboid)
{
	AucDatabase *database;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	database = auc_registry_bind_database(dboid);
	if (database != NULL)
	{
		database->suspended++;
		ask_database_to_stop(dboid);
	}
	LWLockRelease(auc_registry_lock());
}

void
auc_database_resume(Oid dboid)
{
	AucDatabase *database;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	database = auc_registry_find_database(dboid);
	if (database != NULL && database->suspended > 0)
		database->suspended--;
	auc_registry_wake(&auc_workers[0]);
	LWLockRelease(auc_registry_lock());
}

bool
auc_database_running(Oid dboid, bool terminate)
{
	bool		running;

	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	running = database_runs(dboid, terminate);
	LWLockRelease(auc_registry_lock());
	return running;
}

static void
wake(AucWorkerKind kind, Oid dboid, bool lanes_changed)
{
	AucDatabase *database;

	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	database = auc_registry_find_database(dboid);
	if (database != NULL)
	{
		if (lanes_changed)
			pg_atomic_fetch_add_u32(&database->lanes_generation, 1);
		auc_registry_wake(auc_registry_find_worker(kind, dboid, -1));
	}
	LWLockRelease(auc_registry_lock());
}

void
auc_database_wake_steward(Oid dboid)
{
	wake(AUC_WORKER_STEWARD, dboid, false);
}

void
auc_database_wake_consolidator(Oid dboid)
{
	wake(AUC_WORKER_CONSOLIDATOR, dboid, false);
}

void
auc_database_lanes_changed(Oid dboid)
{
	wake(AUC_WORKER_STEWARD, dboid, true);
}

uint32
auc_database_lanes_generation(Oid dboid)
{
	AucDatabase *database;
	uint32		generation = 0;

	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	database = auc_registry_find_database(dboid);
	if (database != NULL)
		generation = pg_atomic_read_u32(&database->lanes_generation);
	LWLockRelease(auc_registry_lock());
	return generation;
}

uint32
auc_database_overflows(void)
{
	return pg_atomic_read_u32(&auc_registry->overflows);
}
