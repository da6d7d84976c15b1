/*
 * attach.c: attach_redis() and detach_redis().
 *
 * Both change auction.lanes in the caller's transaction and nothing else:
 * neither talks to Redis, and the steward hears of it at commit.  Who may call
 * them: whoever has EXECUTE and owns the server.  The tables belong to the
 * extension's owner, as whom the statements run.
 *
 * Against each other, and against DROP SERVER, they are safe by a lock on the
 * server object, held to the end of the transaction.  A lane that is being
 * detached must get no new auction: detaching locks auction.auctions against
 * INSERT, waits for those under way, and only then looks.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "attach.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "hooks.h"
#include "miscadmin.h"
#include "owner.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_worker.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAX_LANES_PER_SERVER	64

/* Runs a statement with the server's name as $1 and a number as $2. */
static uint64
execute(const char *statement, Name server, int number)
{
	Oid			types[2] = {NAMEOID, INT4OID};
	Datum		values[2];
	int			ret;

	values[0] = NameGetDatum(server);
	values[1] = Int32GetDatum(number);
	ret = SPI_execute_with_args(statement, 2, types, values, NULL, false, 0);
	if (ret < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not execute \"%s\": %s", statement,
						SPI_result_code_string(ret))));
	return SPI_processed;
}

/* First column of the first row. */
static int64
fetch_int64(void)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* ---- checks ---- */

void
auc_attach_check_may_write(const char *function)
{
	auc_shm_require(function);
	auc_attach_check_writable(function);
}

void
auc_attach_check_writable(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

Oid
auc_attach_lock_server(const char *name, const char *wrapper)
{
	Oid			serverid = get_foreign_server_oid(name, false);
	const char *found;

	if (!auc_server_owned(serverid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FOREIGN_SERVER, name);
	LockDatabaseObject(ForeignServerRelationId, serverid, 0,
					   ShareUpdateExclusiveLock);
	/* it may have been dropped, and made anew, while we waited */
	if (get_foreign_server_oid(name, false) != serverid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("server \"%s\" was changed concurrently", name),
				 errhint("Try again.")));
	found = GetForeignDataWrapper(GetForeignServer(serverid)->fdwid)->fdwname;
	if (strcmp(found, wrapper) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a server of foreign-data wrapper \"%s\"",
						name, wrapper),
				 errdetail("Its foreign-data wrapper is \"%s\".", found),
				 errhint("Create one with CREATE SERVER ... FOREIGN DATA WRAPPER %s OPTIONS (host ...).",
						 wrapper)));
	return serverid;
}

static void
check_room(const char *name, int lanes)
{
	int			free_servers;
	int			free_lanes;

	auc_worker_unbound(&free_servers, &free_lanes);
	if (free_servers < 1)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("cannot attach server \"%s\": %d servers are attached already",
						name, auc_server_count()),
				 errhint("Increase auction.max_servers and restart the server.")));
	if (free_lanes < lanes)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("cannot attach server \"%s\" with %d lanes: only %d of %d lanes are free",
						name, lanes, free_lanes, auc_lane_count()),
				 errhint("Attach it with fewer lanes, or increase auction.max_lanes and restart the server.")));
}

/* By heap, not by SPI: also called while a server is being dropped. */
bool
auc_attach_listed(AucRelation which, const char *server)
{
	Oid			relid = auc_relation_id(which, true);
	Relation	rel;
	TableScanDesc scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	AttrNumber	attnum;
	bool		found = false;

	if (!OidIsValid(relid))
		return false;
	rel = try_table_open(relid, AccessShareLock);
	if (rel == NULL)
		return false;
	attnum = get_attnum(relid, "server");
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	slot = table_slot_create(rel, NULL);
	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		datum = slot_getattr(slot, attnum, &isnull);

		found = !isnull &&
			strcmp(NameStr(*DatumGetName(datum)), server) == 0;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

bool
auc_attach_has_lanes(const char *server)
{
	return auc_attach_listed(AUC_REL_LANES, server);
}

/* ---- attach ---- */

PG_FUNCTION_INFO_V1(auction_attach_redis);

Datum
auction_attach_redis(PG_FUNCTION_ARGS)
{
	Name		name = PG_GETARG_NAME(0);
	int			lanes = PG_GETARG_INT32(1);
	AucCaller	caller;

	auc_attach_check_may_write("attach_redis()");
	if (lanes < 1 || lanes > MAX_LANES_PER_SERVER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of lanes must be between 1 and %d",
						MAX_LANES_PER_SERVER)));
	(void) auc_attach_lock_server(NameStr(*name), AUC_REDIS_WRAPPER);
	if (auc_attach_has_lanes(NameStr(*name)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("server \"%s\" is already attached", NameStr(*name)),
				 errhint("To change its number of lanes, detach it first with auction.detach_redis().")));
	check_room(NameStr(*name), lanes);

	auc_owner_begin(&caller);
	execute("WITH new AS ("
			"INSERT INTO auction.lanes (server, lane) "
			"SELECT $1, n FROM generate_series(1, $2) AS n RETURNING id) "
			"INSERT INTO auction._lane_terms (lane_id) SELECT id FROM new",
			name, lanes);
	auc_owner_end(&caller);
	auc_hooks_lanes_changed();
	PG_RETURN_VOID();
}

/* ---- detach ---- */

/* From here to the end of the transaction no auction gets a lane. */
static void
lock_lanes(Name name)
{
	if (SPI_execute("LOCK TABLE auction.auctions IN SHARE MODE", false, 0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not lock auction.auctions")));
	if (execute("SELECT id FROM auction.lanes WHERE server = $1 AND $2 = 0 "
				"ORDER BY id FOR UPDATE", name, 0) == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("server \"%s\" is not attached", NameStr(*name)),
				 errhint("Attached servers are in auction.lanes.")));
}

static void
check_applied(Name name)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int			lane_id;
		int			index;
		uint64		published;
		uint64		applied;

		lane_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
											  SPI_tuptable->tupdesc, 1,
											  &isnull));
		index = auc_lane_find(MyDatabaseId, lane_id);
		if (index < 0)
			continue;
		/* in this order: applied never passes what was published before */
		applied = pg_atomic_read_u64(&auc_lane(index)->applied);
		pg_read_barrier();
		published = pg_atomic_read_u64(&auc_lane(index)->published);
		if (applied < published)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot detach server \"%s\": lane %d has records that are not applied",
							NameStr(*name), lane_id),
					 errdetail("Applied up to position " UINT64_FORMAT " of " UINT64_FORMAT ".",
							   applied, published),
					 errhint("Wait for the drain: auction.wait_applied().")));
	}
}

static void
check_unused(Name name)
{
	int64		used;

	execute("SELECT count(*) FROM auction._state s "
			"WHERE route = 'r' AND consolidated_at IS NULL AND $2 = 0 AND lane_id IN "
			"(SELECT id FROM auction.lanes WHERE server = $1)", name, 0);
	used = fetch_int64();
	if (used > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot detach server \"%s\" because auctions use it",
						NameStr(*name)),
				 errdetail_plural("%lld auction with route \"redis\" on its lanes is not consolidated.",
								  "%lld auctions with route \"redis\" on its lanes are not consolidated.",
								  (unsigned long) used, (long long) used),
				 errhint("Move them away with auction.set_route(), or close and consolidate them.")));
}

PG_FUNCTION_INFO_V1(auction_detach_redis);

/*
 * Keys of consolidated auctions that Redis still holds stay there: after this
 * nobody would remove them, so nobody is to try.
 */
Datum
auction_detach_redis(PG_FUNCTION_ARGS)
{
	Name		name = PG_GETARG_NAME(0);
	Oid			serverid;
	AucCaller	caller;

	auc_attach_check_may_write("detach_redis()");
	/* an old snapshot would not show the auctions of a moment ago */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("detach_redis() cannot run in a transaction of this isolation level"),
				 errhint("Use READ COMMITTED.")));
	/* a server that was dropped while nobody watched must be detachable */
	serverid = get_foreign_server_oid(NameStr(*name), true);
	if (OidIsValid(serverid))
		(void) auc_attach_lock_server(NameStr(*name), AUC_REDIS_WRAPPER);
	else if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("server \"%s\" does not exist", NameStr(*name)),
				 errhint("Only a superuser can detach a server that does not exist any more.")));

	auc_owner_begin(&caller);
	lock_lanes(name);
	check_applied(name);
	check_unused(name);
	execute("UPDATE auction._state SET keys_left = false "
			"WHERE consolidated_at IS NOT NULL AND keys_left AND $2 = 0 AND lane_id IN "
			"(SELECT id FROM auction.lanes WHERE server = $1)", name, 0);
	execute("WITH gone AS (DELETE FROM auction.lanes "
			" WHERE server = $1 AND $2 = 0 RETURNING id) "
			"DELETE FROM auction._lane_terms WHERE lane_id IN "
			"(SELECT id FROM gone)", name, 0);
	auc_owner_end(&caller);
	auc_hooks_lanes_changed();
	PG_RETURN_VOID();
}
