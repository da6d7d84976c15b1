/*
 * shm_worker.h: which databases have workers, and the workers themselves.
 *
 * AucDatabase entries (auction.max_databases, and a few spare ones in which
 * databases are probed) and one AucWorker entry for every process there may
 * be: the launcher, a steward and a consolidator per database entry, a router
 * and a drain per AucServer entry.  All of it is under the registry lock, exclusively to
 * change; only the stop word of a worker is an atomic, because its process
 * looks at it in every loop.
 *
 * A database:
 *   FREE -> PROBE       launcher: not known yet; a steward shall look
 *                       any backend, CREATE EXTENSION commits; or a suspension
 *   PROBE -> PRESENT    steward: it has found the extension
 *   PROBE -> FULL       steward: found, but auction.max_databases others have
 *                       it already; the launcher asks again later
 *   any -> ABSENT       steward: found none; a backend: DROP EXTENSION commits;
 *                       launcher: the database is gone
 *   ABSENT, FULL -> FREE    launcher, when no worker is left; it remembers
 *   ABSENT -> PROBE     launcher, when no worker is left, if the extension was
 *                       created (again) meanwhile ("again")
 * Besides, "suspended" counts the backends that want no worker in it for now.
 *
 * A worker: its parent marks it STARTING and registers it with the postmaster;
 * the process itself claims its entry (RUNNING) or, if it is not wanted, ends;
 * its exit callback says how it ended (ENDED).  Claims and every change that
 * makes a worker unwanted exclude each other by the registry lock: whoever has
 * made it so, and then sees no process, can rely on none coming.
 */
#ifndef AUC_SHM_WORKER_H
#define AUC_SHM_WORKER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "worker.h"

typedef enum AucDatabaseState
{
	AUC_DATABASE_FREE = 0,
	AUC_DATABASE_PROBE,
	AUC_DATABASE_PRESENT,
	AUC_DATABASE_FULL,
	AUC_DATABASE_ABSENT
} AucDatabaseState;

typedef enum AucWorkerState
{
	AUC_WORKER_NONE = 0,		/* never started */
	AUC_WORKER_STARTING,		/* registered with the postmaster */
	AUC_WORKER_RUNNING,
	AUC_WORKER_ENDED
} AucWorkerState;

/* Copies, for whoever looks. */
typedef struct AucDatabaseInfo
{
	Oid			dboid;
	AucDatabaseState state;
	bool		suspended;
	bool		again;
	bool		running;		/* any worker of it */
} AucDatabaseInfo;

typedef struct AucWorkerInfo
{
	AucWorkerKind kind;
	AucWorkerState state;
	Oid			dboid;			/* InvalidOid: the launcher */
	NameData	server;			/* "" unless router or drain */
	int			pid;			/* 0 unless RUNNING */
	int			starts;
	int			last_exit;		/* exit code; -1: none yet */
	TimestampTz started_at;
	TimestampTz next_start;		/* ENDED: not before this */
} AucWorkerInfo;

extern Size auc_worker_shmem_size(void);
extern void auc_worker_shmem_init(bool found, void *space);

/* ---- databases ---- */

/* Entries in use, palloc'd. */
extern AucDatabaseInfo *auc_database_snapshot(int *n);
/* A new entry in PROBE; true also if there is one. false: none is free. */
extern bool auc_database_bind(Oid dboid);
/* Frees ABSENT and FULL entries without workers; true if it did. */
extern bool auc_database_unbind(Oid dboid);
/* The extension was created here, as of now. */
extern void auc_database_created(Oid dboid);
/* The extension or the database is gone: its workers end. */
extern void auc_database_gone(Oid dboid);
/* By the steward: the extension is here.  false: too many databases (FULL). */
extern bool auc_database_confirm(Oid dboid);
/* No workers from now on, until resumed as often. */
extern void auc_database_suspend(Oid dboid);
extern void auc_database_resume(Oid dboid);
/* Any process left?  "terminate": those get SIGTERM, too. */
extern bool auc_database_running(Oid dboid, bool terminate);
/* There is work for the steward in its tables: wakes it. */
extern void auc_database_wake_steward(Oid dboid);
/* There is work for the consolidator; none may be running. */
extern void auc_database_wake_consolidator(Oid dboid);
/* auction.lanes has changed: the steward reads it again. */
extern void auc_database_lanes_changed(Oid dboid);
extern uint32 auc_database_lanes_generation(Oid dboid);
/* Counts creations that found no free entry: the launcher looks everywhere. */
extern uint32 auc_database_overflows(void);

/* ---- workers: by the process itself ---- */

/* false: not wanted.  Also sets the exit callback. */
extern bool auc_worker_claim(AucWorkerKind kind, Oid dboid, int server);
/* Not wanted any more? Cheap. */
extern bool auc_worker_stopping(void);

/* ---- workers: by the parent, or by whoever looks ---- */

/*
 * true: it is not running and may start now; it is STARTING then.  Else "next"
 * is lowered to the time from which it may.
 */
extern bool auc_worker_due(AucWorkerKind kind, Oid dboid, int server,
						   TimestampTz now, TimestampTz *next);
/* The postmaster took no registration: try again at "next". */
extern void auc_worker_not_started(AucWorkerKind kind, Oid dboid, int server,
								   TimestampTz next);
/* Asks router and drain of a server to end; true when both have. */
extern bool auc_worker_stop_server(int server, TimestampTz now);
/* The server's entry is about to be bound to another one. */
extern void auc_worker_forget_server(int server);
extern AucWorkerInfo *auc_worker_snapshot(int *n);
/* Entries not bound, of those that shm_lane.h keeps. */
extern void auc_worker_unbound(int *servers, int *lanes);

/* ---- from _PG_init ---- */

extern void auc_launcher_register(void);

#endif							/* AUC_SHM_WORKER_H */
