/*
 * steward_servers.c: routers and drains of the attached servers.
 *
 * auction.lanes says what is attached.  It is read in one short transaction
 * when something may have changed: attach_redis or detach_redis committed, a
 * server or user mapping was altered, or RELOAD_MS have passed.  What was read
 * is kept and compared with the bound entries of shared memory in every round:
 *   attached, not bound    bind the server and its lanes
 *   bound, not attached    ask router and drain to end, then release
 *   both                   start router and drain unless they run
 * Only the steward binds and releases entries of its database (after it is
 * gone for good, the launcher releases), so what it sees stays true.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "server.h"
#include "shm_lane.h"
#include "shm_worker.h"
#include "steward.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker_start.h"

#define RELOAD_MS		5000

typedef struct Attached
{
	NameData	name;
	Oid			serverid;		/* InvalidOid: there is no such server */
	int			lane_id;
	int			server;			/* AucServer's index, -1: not bound yet */
} Attached;

/* One element a lane, ordered by server; in a context of its own. */
static MemoryContext attached_context = NULL;
static Attached *attached = NULL;
static int	nattached = 0;
static TimestampTz read_at = 0;
static uint32 read_lanes_generation;
static uint64 read_options_generation;

static bool
may_have_changed(TimestampTz now)
{
	return read_at == 0 ||
		read_lanes_generation != auc_database_lanes_generation(MyDatabaseId) ||
		read_options_generation != auc_server_options_generation() ||
		TimestampDifferenceExceeds(read_at, now, RELOAD_MS);
}

static void
copy_lanes(void)
{
	for (int i = 0; i < nattached; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Attached   *lane = &attached[i];
		bool		isnull;

		lane->name = *DatumGetName(SPI_getbinval(tuple, desc, 1, &isnull));
		lane->lane_id = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
		lane->serverid = get_foreign_server_oid(NameStr(lane->name), true);
		lane->server = -1;
	}
}

/* Ends the process if the extension is gone and nobody has told us. */
static void
read_lanes(TimestampTz now)
{
	uint32		lanes_generation = auc_database_lanes_generation(MyDatabaseId);
	uint64		options_generation = auc_server_options_generation();

	auc_worker_xact_begin("reading auction.lanes");
	if (!OidIsValid(get_extension_oid("auction", true)))
	{
		auc_worker_xact_commit();
		auc_database_gone(MyDatabaseId);
		proc_exit(0);
	}
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT server, id FROM auction.lanes ORDER BY server, id",
					true, 0) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not read auction.lanes")));
	if (attached_context == NULL)
		attached_context = AllocSetContextCreate(TopMemoryContext,
												 "attached lanes",
												 ALLOCSET_SMALL_SIZES);
	nattached = 0;
	MemoryContextReset(attached_context);
	attached = MemoryContextAlloc(attached_context,
								  (SPI_processed + 1) * sizeof(Attached));
	nattached = (int) SPI_processed;
	copy_lanes();
	SPI_finish();
	auc_worker_xact_commit();
	read_lanes_generation = lanes_generation;
	read_options_generation = options_generation;
	read_at = now;
}

static bool
is_attached(Oid serverid)
{
	for (int i = 0; i < nattached; i++)
		if (attached[i].serverid == serverid)
			return true;
	return false;
}

/* false: not yet, its processes still run. */
static bool
release_server(int server, TimestampTz now, TimestampTz *next)
{
	TimestampTz again = TimestampTzPlusMilliseconds(now, 100);

	if (auc_worker_stop_server(server, now))
	{
		auc_server_release(server);
		auc_worker_forget_server(server);
		return true;
	}
	if (again < *next)
		*next = again;
	return false;
}

/*
 * Before anything is bound: a server that was dropped and made again under
 * the same name has another OID but the same lanes, which are bound to the old
 * entry until that is released.
 */
static bool
release_detached(TimestampTz now, TimestampTz *next)
{
	bool		released = true;

	for (int i = 0; i < auc_server_count(); i++)
	{
		AucServer  *server = auc_server(i);

		if (server->bound && server->dboid == MyDatabaseId &&
			!is_attached(server->serverid) &&
			!release_server(i, now, next))
			released = false;
	}
	return released;
}

static void
log_missing(const char *name, TimestampTz now)
{
	if (auc_worker_log_limit(now))
		ereport(LOG,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" is attached but does not exist", name),
				 errhint("Create it again, or detach it with auction.detach_redis().")));
}

static void
log_full(const char *what, const char *setting, const char *name,
		 TimestampTz now)
{
	if (auc_worker_log_limit(now))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no room in shared memory for %s of server \"%s\"",
						what, name),
				 errdetail("It is tried again every second."),
				 errhint("Increase %s and restart the server.", setting)));
}

static void
bind_lane(Attached *lane, TimestampTz now)
{
	const char *name = NameStr(lane->name);

	if (!OidIsValid(lane->serverid))
	{
		log_missing(name, now);
		return;
	}
	if (lane->server < 0)
	{
		lane->server = auc_server_bind(MyDatabaseId, lane->serverid, name);
		if (lane->server < 0)
		{
			log_full("the entry", "auction.max_servers", name, now);
			return;
		}
	}
	if (auc_lane_bind(MyDatabaseId, lane->lane_id, lane->server) < 0)
		log_full("a lane", "auction.max_lanes", name, now);
}

void
auc_steward_servers_run(TimestampTz now, TimestampTz *next)
{
	if (may_have_changed(now))
		read_lanes(now);
	if (release_detached(now, next))
		for (int i = 0; i < nattached; i++)
			bind_lane(&attached[i], now);
	for (int i = 0; i < nattached; i++)
	{
		/* one element a lane, but one router a server */
		if (attached[i].server < 0 ||
			(i > 0 && attached[i - 1].server == attached[i].server))
			continue;
		auc_worker_start(AUC_WORKER_ROUTER, MyDatabaseId, attached[i].server,
						 now, next);
		auc_worker_start(AUC_WORKER_DRAIN, MyDatabaseId, attached[i].server,
						 now, next);
	}
}
