/*
 * shm_worker.c: the registry of workers.
 *
 * Protocol and states: shm_worker.h.  The worker entries lie in a fixed order,
 * so that a worker's entry follows from what it is: the launcher, the stewards
 * in the order of the database entries, the consolidators likewise, then router
 * and drain of each server entry.
 *
 * Back-off: a worker that ends by itself may start again at once; if it had
 * not lived for QUICK_DEATH_MS, the third time only after 1 s, doubling to
 * MAX_DELAY_MS.  A worker that was asked to end (exit code 0) has none.
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_worker.h"
#include "shm_worker_private.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

/* A worker that ends within this time has died quickly. */
#define QUICK_DEATH_MS		10000
#define MAX_DELAY_MS		30000
/* Registered, but never seen: the postmaster could not start it. */
#define START_TIMEOUT_MS	10000
/* A worker that does not look at its stop word for so long gets SIGTERM. */
#define STOP_PATIENCE_MS	5000

AucRegistry *auc_registry;
AucDatabase *auc_databases;
AucWorker  *auc_workers;

/* This process's entry, and what it is. */
static AucWorker *my_entry = NULL;
static AucWorkerKind my_kind;
static int	my_server;

static Size
databases_size(void)
{
	return MAXALIGN(mul_size(auc_registry_databases(), sizeof(AucDatabase)));
}

Size
auc_worker_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(AucRegistry));

	size = add_size(size, databases_size());
	return add_size(size, mul_size(auc_registry_workers(), sizeof(AucWorker)));
}

void
auc_worker_shmem_init(bool found, void *space)
{
	char	   *next = space;

	auc_registry = (AucRegistry *) next;
	next += MAXALIGN(sizeof(AucRegistry));
	auc_databases = (AucDatabase *) next;
	next += databases_size();
	auc_workers = (AucWorker *) next;
	if (found)
		return;
	pg_atomic_init_u32(&auc_registry->overflows, 0);
	for (int i = 0; i < auc_registry_databases(); i++)
		pg_atomic_init_u32(&auc_databases[i].lanes_generation, 0);
	for (int i = 0; i < auc_registry_workers(); i++)
	{
		pg_atomic_init_u32(&auc_workers[i].stop, 0);
		auc_workers[i].last_exit = -1;
	}
}

/* ---- entries; the caller holds the registry lock ---- */

AucWorker *
auc_registry_find_worker(AucWorkerKind kind, Oid dboid, int server)
{
	AucWorker  *stewards = &auc_workers[1];
	AucWorker  *consolidators = stewards + auc_registry_databases();
	AucWorker  *pairs = consolidators + auc_registry_databases();
	AucDatabase *database;

	switch (kind)
	{
		case AUC_WORKER_LAUNCHER:
			return &auc_workers[0];
		case AUC_WORKER_STEWARD:
		case AUC_WORKER_CONSOLIDATOR:
			database = auc_registry_find_database(dboid);
			if (database == NULL)
				return NULL;
			return (kind == AUC_WORKER_STEWARD ? stewards : consolidators) +
				(database - auc_databases);
		case AUC_WORKER_ROUTER:
			return &pairs[2 * server];
		case AUC_WORKER_DRAIN:
			return &pairs[2 * server + 1];
	}
	return NULL;
}

/* A latch outlives its process, so a late wake-up hurts nobody. */
void
auc_registry_wake(AucWorker *worker)
{
	if (worker != NULL && worker->pid != 0)
		SetLatch(auc_proc_latch(worker->proc));
}

void
auc_registry_stop(AucWorker *worker)
{
	if (worker->pid == 0)
		return;
	if (worker->stop_since == 0)
		worker->stop_since = GetCurrentTimestamp();
	pg_atomic_write_u32(&worker->stop, 1);
	auc_registry_wake(worker);
}

void
auc_registry_forget(AucWorker *worker)
{
	worker->state = AUC_WORKER_NONE;
	worker->dboid = InvalidOid;
	worker->starts = 0;
	worker->quick_deaths = 0;
	worker->last_exit = -1;
	worker->next_start = 0;
}

/* ---- workers: by the process itself ---- */

/* Others find router and drain through their server's entry (shm_lane.h). */
static void
publish_process(AucWorkerKind kind, int server, uint32 proc, uint32 pid)
{
	AucServer  *entry;

	if (kind != AUC_WORKER_ROUTER && kind != AUC_WORKER_DRAIN)
		return;
	entry = auc_server(server);
	if (kind == AUC_WORKER_ROUTER)
	{
		pg_atomic_write_u32(&entry->router_proc, proc);
		pg_atomic_write_u32(&entry->router_pid, pid);
	}
	else
	{
		pg_atomic_write_u32(&entry->drain_proc, proc);
		pg_atomic_write_u32(&entry->drain_pid, pid);
	}
}

/*
 * Exit callback.  Runs after the process has left the database (it was
 * registered before it connected), so that "no process" is true for whoever
 * waits to drop the database.
 */
static void
worker_exit(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();
	AucWorker  *worker = my_entry;
	AucWorker  *parent;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	publish_process(my_kind, my_server, AUC_NO_PROC, 0);
	worker->state = AUC_WORKER_ENDED;
	worker->pid = 0;
	worker->last_exit = code;
	worker->stop_since = 0;
	if (code == 0 ||
		TimestampDifferenceExceeds(worker->started_at, now, QUICK_DEATH_MS))
		worker->quick_deaths = 0;
	else
		worker->quick_deaths++;
	worker->next_start = now;
	if (worker->quick_deaths > 2)
		worker->next_start =
			TimestampTzPlusMilliseconds(now,
										Min(1000 << Min(worker->quick_deaths - 3, 5),
											MAX_DELAY_MS));
	/* who starts it again, and who waits to free the database's entry */
	if (my_kind > AUC_WORKER_STEWARD)
	{
		parent = auc_registry_find_worker(AUC_WORKER_STEWARD, worker->dboid, -1);
		auc_registry_wake(parent);
	}
	auc_registry_wake(&auc_workers[0]);
	LWLockRelease(auc_registry_lock());
	my_entry = NULL;
}

static bool
wanted(AucWorkerKind kind, Oid dboid, int server)
{
	AucDatabase *database;

	if (kind == AUC_WORKER_LAUNCHER)
		return true;
	database = auc_registry_find_database(dboid);
	if (database == NULL || database->suspended > 0)
		return false;
	if (kind == AUC_WORKER_STEWARD)
		return database->state == AUC_DATABASE_PROBE ||
			database->state == AUC_DATABASE_PRESENT;
	if (kind == AUC_WORKER_CONSOLIDATOR)
		return database->state == AUC_DATABASE_PRESENT;
	return database->state == AUC_DATABASE_PRESENT &&
		auc_server(server)->bound && auc_server(server)->dboid == dboid;
}

bool
auc_worker_claim(AucWorkerKind kind, Oid dboid, int server)
{
	AucWorker  *worker;
	bool		claimed = false;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	worker = auc_registry_find_worker(kind, dboid, server);
	/* a parent that was restarted may have registered a second one */
	if (wanted(kind, dboid, server) && worker->pid == 0)
	{
		worker->state = AUC_WORKER_RUNNING;
		worker->dboid = dboid;
		worker->pid = MyProcPid;
		worker->proc = auc_my_procno();
		worker->starts++;
		worker->started_at = GetCurrentTimestamp();
		worker->stop_since = 0;
		pg_atomic_write_u32(&worker->stop, 0);
		publish_process(kind, server, worker->proc, MyProcPid);
		my_entry = worker;
		my_kind = kind;
		my_server = server;
		claimed = true;
	}
	LWLockRelease(auc_registry_lock());
	if (claimed)
		on_shmem_exit(worker_exit, (Datum) 0);
	return claimed;
}

bool
auc_worker_stopping(void)
{
	return my_entry != NULL && pg_atomic_read_u32(&my_entry->stop) != 0;
}

/* ---- workers: by the parent, or by whoever looks ---- */

bool
auc_worker_due(AucWorkerKind kind, Oid dboid, int server,
			   TimestampTz now, TimestampTz *next)
{
	AucWorker  *worker;
	TimestampTz at = now;
	bool		due = false;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	worker = auc_registry_find_worker(kind, dboid, server);
	if (worker != NULL && worker->pid == 0 && wanted(kind, dboid, server))
	{
		if (worker->dboid != dboid)
			auc_registry_forget(worker);
		if (worker->state == AUC_WORKER_STARTING)
			at = TimestampTzPlusMilliseconds(worker->started_at,
											 START_TIMEOUT_MS);
		else if (worker->state == AUC_WORKER_ENDED)
			at = worker->next_start;
		due = at <= now;
		if (due)
		{
			worker->state = AUC_WORKER_STARTING;
			worker->dboid = dboid;
			worker->started_at = now;
		}
		else if (at < *next)
			*next = at;
	}
	LWLockRelease(auc_registry_lock());
	return due;
}

void
auc_worker_not_started(AucWorkerKind kind, Oid dboid, int server,
					   TimestampTz next)
{
	AucWorker  *worker;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	worker = auc_registry_find_worker(kind, dboid, server);
	if (worker != NULL && worker->state == AUC_WORKER_STARTING)
	{
		worker->state = AUC_WORKER_ENDED;
		worker->next_start = next;
	}
	LWLockRelease(auc_registry_lock());
}

bool
auc_worker_stop_server(int server, TimestampTz now)
{
	AucWorker  *pair = auc_registry_find_worker(AUC_WORKER_ROUTER, InvalidOid, server);
	bool		ended = true;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < 2; i++)
	{
		if (pair[i].pid == 0)
			continue;
		ended = false;
		auc_registry_stop(&pair[i]);
		if (TimestampDifferenceExceeds(pair[i].stop_since, now,
									   STOP_PATIENCE_MS))
			kill(pair[i].pid, SIGTERM);
	}
	LWLockRelease(auc_registry_lock());
	return ended;
}

void
auc_worker_forget_server(int server)
{
	AucWorker  *pair = auc_registry_find_worker(AUC_WORKER_ROUTER, InvalidOid, server);

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < 2; i++)
		if (pair[i].pid == 0)
			auc_registry_forget(&pair[i]);
	LWLockRelease(auc_registry_lock());
}

static void
describe_worker(int index, AucWorkerInfo *info)
{
	AucWorker  *worker = &auc_workers[index];
	int			databases = auc_registry_databases();
	int			pair = index - 1 - 2 * databases;

	info->state = worker->state;
	info->dboid = worker->dboid;
	info->pid = worker->pid;
	info->starts = worker->starts;
	info->last_exit = worker->last_exit;
	info->started_at = worker->started_at;
	info->next_start = worker->next_start;
	memset(&info->server, 0, sizeof(NameData));
	if (index == 0)
		info->kind = AUC_WORKER_LAUNCHER;
	else if (pair < 0)
		info->kind = index <= databases ? AUC_WORKER_STEWARD :
			AUC_WORKER_CONSOLIDATOR;
	else
	{
		info->kind = pair % 2 == 0 ? AUC_WORKER_ROUTER : AUC_WORKER_DRAIN;
		info->server = auc_server(pair / 2)->name;
	}
}

/* Those that were ever started for what their entry stands for now. */
AucWorkerInfo *
auc_worker_snapshot(int *n)
{
	AucWorkerInfo *infos = palloc(auc_registry_workers() * sizeof(AucWorkerInfo));

	*n = 0;
	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	for (int i = 0; i < auc_registry_workers(); i++)
		if (auc_workers[i].state != AUC_WORKER_NONE)
			describe_worker(i, &infos[(*n)++]);
	LWLockRelease(auc_registry_lock());
	return infos;
}

void
auc_worker_unbound(int *nservers, int *nlanes)
{
	*nservers = 0;
	*nlanes = 0;
	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	for (int i = 0; i < auc_server_count(); i++)
		if (!auc_server(i)->bound)
			(*nservers)++;
	for (int i = 0; i < auc_lane_count(); i++)
		if (!auc_lane(i)->bound)
			(*nlanes)++;
	LWLockRelease(auc_registry_lock());
}
