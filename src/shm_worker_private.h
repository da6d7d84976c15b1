/*
 * shm_worker_private.h: the registry as shm_worker.c and shm_database.c see it.
 *
 * Every function here wants the registry lock to be held by its caller,
 * exclusively if it changes anything.
 */
#ifndef AUC_SHM_WORKER_PRIVATE_H
#define AUC_SHM_WORKER_PRIVATE_H

#include "postgres.h"

#include "port/atomics.h"
#include "settings.h"
#include "shm_worker.h"

/* Entries beyond auction.max_databases: probed, suspended, or going away. */
#define AUC_SPARE_DATABASES		8

typedef struct AucDatabase
{
	AucDatabaseState state;
	Oid			dboid;
	bool		again;			/* created anew while ABSENT */
	int			suspended;		/* by how many backends */
	pg_atomic_uint32 lanes_generation;
} AucDatabase;

typedef struct AucWorker
{
	/* under the registry lock */
	AucWorkerState state;
	Oid			dboid;
	int			pid;			/* the process, while RUNNING */
	uint32		proc;
	int			starts;
	int			quick_deaths;	/* in a row */
	int			last_exit;
	TimestampTz started_at;		/* STARTING: registered at */
	TimestampTz next_start;
	TimestampTz stop_since;		/* 0: not asked to end */
	/* read by the process without the lock */
	pg_atomic_uint32 stop;
} AucWorker;

typedef struct AucRegistry
{
	pg_atomic_uint32 overflows;
} AucRegistry;

extern AucRegistry *auc_registry;
extern AucDatabase *auc_databases;
extern AucWorker *auc_workers;

static inline int
auc_registry_databases(void)
{
	return auc_guc_max_databases + AUC_SPARE_DATABASES;
}

static inline int
auc_registry_workers(void)
{
	return 1 + 2 * auc_registry_databases() + 2 * auc_guc_max_servers;
}

/* NULL if there is none; the second binds a new entry (NULL: none is free). */
extern AucDatabase *auc_registry_find_database(Oid dboid);
extern AucDatabase *auc_registry_bind_database(Oid dboid);
/* NULL: a steward or consolidator whose database has no entry. */
extern AucWorker *auc_registry_find_worker(AucWorkerKind kind, Oid dboid,
										   int server);
extern void auc_registry_wake(AucWorker *worker);
extern void auc_registry_stop(AucWorker *worker);
extern void auc_registry_forget(AucWorker *worker);

#endif							/* AUC_SHM_WORKER_PRIVATE_H */
