/*
 * consolidator_server.c: the shard servers as the consolidator sees them.
 *
 * Connections stay open between batches.  They are opened anew after an error,
 * and when the options of a server or a user mapping have changed.
 *
 * What went wrong with a server is in auction.shard_servers, for people; what
 * the consolidator goes by is here, and a new process simply tries again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "consolidator.h"
#include "foreign/foreign.h"
#include "server.h"
#include "shard_server.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* After a failure; doubled with each, up to the second. */
#define RETRY_MS		1000
#define RETRY_MAX_MS	60000

static List *servers = NIL;		/* AucShardServer, in TopMemoryContext */
static AucShardServer *in_use = NULL;

static AucStatement note_error = {
	.text = "UPDATE auction.shard_servers SET error = $2, "
	" error_since = coalesce(error_since, clock_timestamp()), retry_at = $3 "
	"WHERE server = $1",
	.nargs = 3,.argtypes = {NAMEOID, TEXTOID, TIMESTAMPTZOID}
};
static AucStatement note_success = {
	.text = "UPDATE auction.shard_servers SET error = NULL, "
	" error_since = NULL, retry_at = NULL WHERE server = $1 "
	" AND error IS NOT NULL",
	.nargs = 1,.argtypes = {NAMEOID}
};

AucShardServer *
auc_shard_servers_get(Oid serverid)
{
	MemoryContext old;
	AucShardServer *server;
	ListCell   *cell;

	foreach(cell, servers)
	{
		server = lfirst(cell);
		if (server->serverid == serverid)
			return server;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	server = palloc0(sizeof(AucShardServer));
	server->serverid = serverid;
	namestrcpy(&server->name, GetForeignServer(serverid)->servername);
	servers = lappend(servers, server);
	MemoryContextSwitchTo(old);
	return server;
}

bool
auc_shard_servers_failing(const AucShardServer *server, TimestampTz now)
{
	return server->retry_at > now;
}

void
auc_shard_servers_use(AucShardServer *server)
{
	in_use = server;
}

static void
disconnect(AucShardServer *server)
{
	if (server->context == NULL)
		return;
	MemoryContextDelete(server->context);
	server->context = NULL;
	server->remote = NULL;
}

AucRemote *
auc_shard_servers_connect(AucShardServer *server)
{
	MemoryContext old;
	uint64		generation = auc_server_options_generation();

	if (server->remote != NULL && server->generation == generation &&
		auc_remote_usable(server->remote))
		return server->remote;
	disconnect(server);
	server->context = AllocSetContextCreate(TopMemoryContext,
											"auction shard server",
											ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(server->context);
	server->remote = auc_remote_open(server->serverid,
									 auc_shard_server_user());
	MemoryContextSwitchTo(old);
	server->generation = generation;
	return server->remote;
}

/* In words, and once: as long as it lasts the table says it. */
static void
report(const AucShardServer *server, const ErrorData *error)
{
	if (server->failures > 1)
		return;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("bids could not be consolidated to shard server \"%s\": %s",
					NameStr(server->name), error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("It is tried again, see auction.stat_shards. Auctions that do not need it are consolidated meanwhile.")));
}

/*
 * That rows are there already is no failure: the last attempt got as far as
 * that.
 */
bool
auc_shard_servers_failed(const ErrorData *error, TimestampTz now)
{
	AucShardServer *server = in_use;
	Datum		values[3];
	ListCell   *cell;

	in_use = NULL;
	foreach(cell, servers)
		disconnect(lfirst(cell));
	if (server == NULL)
		return false;
	if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && !server->careful)
	{
		server->careful = true;
		return true;
	}
	server->failures++;
	server->retry_at =
		TimestampTzPlusMilliseconds(now,
									Min(RETRY_MS << Min(server->failures - 1, 6),
										RETRY_MAX_MS));
	report(server, error);
	auc_worker_xact_begin("noting a shard server's failure");
	SPI_connect();
	values[0] = NameGetDatum(&server->name);
	values[1] = CStringGetTextDatum(error->message);
	values[2] = TimestampTzGetDatum(server->retry_at);
	(void) auc_statement_run(&note_error, values, SPI_OK_UPDATE);
	SPI_finish();
	auc_worker_xact_commit();
	return true;
}

void
auc_shard_servers_succeeded(AucShardServer *server)
{
	Datum		values[1];

	server->careful = false;
	if (server->failures == 0 && server->told)
		return;
	server->told = true;
	if (server->failures > 0)
		ereport(LOG,
				(errmsg("bids can be consolidated to shard server \"%s\" again",
						NameStr(server->name))));
	server->failures = 0;
	server->retry_at = 0;
	auc_worker_xact_begin("noting a shard server's success");
	SPI_connect();
	values[0] = NameGetDatum(&server->name);
	(void) auc_statement_run(&note_success, values, SPI_OK_UPDATE);
	SPI_finish();
	auc_worker_xact_commit();
}

TimestampTz
auc_shard_servers_next(TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	ListCell   *cell;

	foreach(cell, servers)
	{
		const AucShardServer *server = lfirst(cell);

		if (server->retry_at > now && server->retry_at < next)
			next = server->retry_at;
	}
	return next;
}
