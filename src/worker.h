/*
 * worker.h: what the background workers have in common.
 *
 *   launcher  static background worker, one for the cluster
 *   steward   dynamic, one per database that has the extension; by launcher
 *   router    dynamic, one per attached server; started by the steward
 *   drain     the same
 *   consolidator  dynamic, one per database whose history has a shard on
 *             another server, or being moved; started by the steward
 * Dynamic workers are registered with BGW_NEVER_RESTART; their parent starts
 * them again, with a back-off kept in shared memory, so that a crash loop
 * neither floods the log nor survives DROP EXTENSION or DROP DATABASE.
 * Exit code 0: not wanted any more; 1: start again.
 */
#ifndef AUC_WORKER_H
#define AUC_WORKER_H

#include "postgres.h"

typedef enum AucWorkerKind
{
	AUC_WORKER_LAUNCHER,
	AUC_WORKER_STEWARD,
	AUC_WORKER_CONSOLIDATOR,
	AUC_WORKER_ROUTER,
	AUC_WORKER_DRAIN
} AucWorkerKind;

/*
 * First call of a main function: signals (SIGTERM die, SIGHUP reload, SIGINT
 * ignored: rule 17), database connection, session settings pinned (search_path
 * pg_catalog, synchronous_commit on, READ COMMITTED, read-write, timeouts 0,
 * session_replication_role), application_name, registry entry and exit
 * callback.  Ends the process (code 0) if it is not wanted.  "server" is the
 * AucServer's index for router and drain, else -1.  The database comes from
 * MyBgworkerEntry->bgw_extra.
 */
extern void auc_worker_begin(AucWorkerKind kind, int server);
/*
 * Top of every loop: CHECK_FOR_INTERRUPTS, configuration reload, invalidation
 * messages; proc_exit(0) if the extension, the database or the server is being
 * dropped.
 */
extern void auc_worker_loop(void);
/* A short transaction with a snapshot; ERROR inside ends the process (1). */
extern void auc_worker_xact_begin(const char *activity);
extern void auc_worker_xact_commit(void);

extern PGDLLEXPORT void auc_launcher_main(Datum arg);
extern PGDLLEXPORT void auc_steward_main(Datum arg);
extern PGDLLEXPORT void auc_consolidator_main(Datum arg);
extern PGDLLEXPORT void auc_router_main(Datum arg); /* AucServer's index */
extern PGDLLEXPORT void auc_drain_main(Datum arg);

#endif							/* AUC_WORKER_H */
