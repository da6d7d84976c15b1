/*
 * worker.c: what the background workers have in common.
 *
 * A worker's beginning, in this order:
 *   1. signal handlers, then signals are let in;
 *   2. it claims its registry entry, or ends: before it connects, so that a
 *      database whose workers are suspended does not even see it come;
 *   3. it connects, and pins the settings on which its work depends: what an
 *      administrator sets for the cluster, the database or the role must not
 *      change what a commit of ours means;
 *   4. it looks whether the extension is there.
 * Its end: exit code 0 if it is not wanted, 1 (any ERROR or SIGTERM) if it is
 * to be started again.  The registry's exit callback tells the parent.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shm_lane.h"
#include "shm_worker.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_start.h"

/* What the postmaster and pg_stat_activity are told. */
typedef struct WorkerKind
{
	const char *type;
	const char *function;
} WorkerKind;

static const WorkerKind kinds[] = {
	[AUC_WORKER_LAUNCHER] = {"auction launcher", "auc_launcher_main"},
	[AUC_WORKER_STEWARD] = {"auction steward", "auc_steward_main"},
	[AUC_WORKER_CONSOLIDATOR] = {"auction consolidator",
	"auc_consolidator_main"},
	[AUC_WORKER_ROUTER] = {"auction router", "auc_router_main"},
	[AUC_WORKER_DRAIN] = {"auction drain", "auc_drain_main"},
};

/* Settings that no configuration may change for a worker. */
static const char *const pinned_settings[][2] = {
	{"search_path", "pg_catalog"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"zero_damaged_pages", "off"},
	{"row_security", "off"},
	{"jit", "off"},
};

/* A full registry of workers is reported at most so often. */
#define LIMIT_LOG_INTERVAL_MS	60000

static MemoryContext caller_context;

/* ---- by the parent ---- */

static void
fill_registration(BackgroundWorker *worker, AucWorkerKind kind, Oid dboid,
				  int server)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_main_arg = Int32GetDatum(server);
	strlcpy(worker->bgw_library_name, "auction",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, kinds[kind].function,
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, kinds[kind].type, sizeof(worker->bgw_type));
	if (kind == AUC_WORKER_LAUNCHER)
		snprintf(worker->bgw_name, sizeof(worker->bgw_name), "%s",
				 kinds[kind].type);
	else
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "%s for database %u", kinds[kind].type, dboid);
	memcpy(worker->bgw_extra, &dboid, sizeof(dboid));
}

/*
 * The launcher never ends with code 0; anything else brings it back.
 */
void
auc_launcher_register(void)
{
	BackgroundWorker worker;

	fill_registration(&worker, AUC_WORKER_LAUNCHER, InvalidOid, -1);
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

bool
auc_worker_log_limit(TimestampTz now)
{
	static TimestampTz last = 0;

	if (last != 0 &&
		!TimestampDifferenceExceeds(last, now, LIMIT_LOG_INTERVAL_MS))
		return false;
	last = now;
	return true;
}

/*
 * Starts the worker if it is wanted, does not run, and its back-off is over.
 * Lowers "next" to when it is worth to ask again.
 */
void
auc_worker_start(AucWorkerKind kind, Oid dboid, int server, TimestampTz now,
				 TimestampTz *next)
{
	BackgroundWorker worker;
	TimestampTz retry;

	if (!auc_worker_due(kind, dboid, server, now, next))
		return;
	fill_registration(&worker, kind, dboid, server);
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, NULL))
		return;

	retry = TimestampTzPlusMilliseconds(now, 1000);
	auc_worker_not_started(kind, dboid, server, retry);
	if (retry < *next)
		*next = retry;
	if (auc_worker_log_limit(now))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start \"%s\": too many background workers",
						worker.bgw_name),
				 errdetail("It is tried again every second."),
				 errhint("You might need to increase max_worker_processes.")));
}

/* ---- by the process itself ---- */

/*
 * auction.journal-level verdicts stand on a commit that is flushed.  A higher
 * level that the administrator wants is kept.
 */
static void
pin_synchronous_commit(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		SetConfigOption("synchronous_commit", "on", PGC_SUSET,
						PGC_S_OVERRIDE);
}

static void
pin_settings(void)
{
	for (int i = 0; i < lengthof(pinned_settings); i++)
		SetConfigOption(pinned_settings[i][0], pinned_settings[i][1],
						PGC_SUSET, PGC_S_OVERRIDE);
	pin_synchronous_commit();
}

static void
report_context(void *arg)
{
	errcontext("%s", (const char *) arg);
}

/* Names the process in pg_stat_activity, and its server in its messages. */
static void
name_process(AucWorkerKind kind, int server)
{
	static ErrorContextCallback callback;
	static char name[2 * NAMEDATALEN];

	if (server >= 0)
		snprintf(name, sizeof(name), "%s of server \"%s\"", kinds[kind].type,
				 NameStr(auc_server(server)->name));
	else
		strlcpy(name, kinds[kind].type, sizeof(name));
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_OVERRIDE);
	callback.callback = report_context;
	callback.arg = name;
	callback.previous = NULL;
	if (server >= 0)
		error_context_stack = &callback;
}

static void
connect_to_database(AucWorkerKind kind, Oid dboid)
{
	if (kind == AUC_WORKER_LAUNCHER)
	{
		/* the shared catalogs only */
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);
		return;
	}
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	/* rule 17: nobody cancels a statement of a worker */
	pqsignal(SIGINT, SIG_IGN);
}

/* Ends the process if the extension is not there, or in too many databases. */
static void
check_extension(AucWorkerKind kind, Oid dboid)
{
	bool		exists;
	char	   *datname;

	auc_worker_xact_begin("looking for the extension");
	exists = OidIsValid(get_extension_oid("auction", true));
	datname = MemoryContextStrdup(TopMemoryContext,
								  get_database_name(dboid));
	auc_worker_xact_commit();
	if (!exists)
	{
		auc_database_gone(dboid);
		proc_exit(0);
	}
	if (kind != AUC_WORKER_STEWARD || auc_database_confirm(dboid))
		return;
	if (!auc_worker_stopping())
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("auctions of database \"%s\" have no workers: too many databases have the extension",
						datname),
				 errdetail("It is looked at again after a minute."),
				 errhint("Increase auction.max_databases and restart the server.")));
	proc_exit(0);
}

void
auc_worker_begin(AucWorkerKind kind, int server)
{
	Oid			dboid;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();

	memcpy(&dboid, MyBgworkerEntry->bgw_extra, sizeof(dboid));
	if (!auc_worker_claim(kind, dboid, server))
		proc_exit(kind == AUC_WORKER_LAUNCHER ? 1 : 0);
	connect_to_database(kind, dboid);
	pin_settings();
	name_process(kind, server);
	if (kind != AUC_WORKER_LAUNCHER)
		check_extension(kind, dboid);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
auc_worker_loop(void)
{
	CHECK_FOR_INTERRUPTS();
	if (auc_worker_stopping())
		proc_exit(0);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		pin_synchronous_commit();
	}
	/* an idle worker must not hold up the queue, and hears of new options */
	AcceptInvalidationMessages();
}

void
auc_worker_xact_begin(const char *activity)
{
	caller_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* Back in the caller's memory context; its numbers are visible at once. */
void
auc_worker_xact_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller_context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * What a loop that survives an ERROR does in its sigsetjmp block, in the order
 * of autovacuum.c.  The caller waits a second before it goes on.
 */
void
auc_worker_recover(MemoryContext context)
{
	error_context_stack = NULL;
	HOLD_INTERRUPTS();
	EmitErrorReport();
	/* also one that was left in a subtransaction */
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	MemoryContextReset(context);
	RESUME_INTERRUPTS();
	pgstat_report_activity(STATE_IDLE, NULL);
}
