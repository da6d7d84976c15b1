/*
 * shard_server.c: see shard_server.h.  Who made a server one is in
 * shard_server_add.c.
 *
 * Everybody who writes a shard has the identity's row there locked, shared, to
 * the end of his transaction on that server, so that a change of home has to
 * wait for him.
 *
 * The identity also has the server's name here: a server object that is made
 * to point at another shard server's database is refused as well, and so is
 * one database under two names, where a move between the two would remove what
 * it has just copied.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/partition.h"
#include "catalog/pg_foreign_table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "owner.h"
#include "relation.h"
#include "shard_server.h"
#include "shard_table.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static AucStatement read_history = {
	.text = "SELECT uuid FROM auction._history ORDER BY made_at, uuid LIMIT 1",
};
static AucStatement forget_dropped = {
	.text = "DELETE FROM auction.shard_servers s WHERE NOT EXISTS "
	"(SELECT FROM pg_foreign_server f WHERE f.srvname = s.server)",
};

/* ---- who we are ---- */

Oid
auc_shard_server_user(void)
{
	return auc_owner_id();
}

void
auc_shard_identity_get(AucShardIdentity *identity, const char *server)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		uuid;
	bool		isnull;

	SPI_connect();
	if (auc_statement_run(&read_history, NULL, SPI_OK_SELECT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("auction._history has no row"),
				 errhint("Put back the row that a backup of this database has.")));
	uuid = auc_statement_datum(0, 1, &isnull);
	MemoryContextSwitchTo(context);
	identity->history =
		DatumGetCString(DirectFunctionCall1(uuid_out, uuid));
	SPI_finish();
	identity->home = psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(),
							  MyDatabaseId);
	identity->server = server;
}

void
auc_shard_identity_refuse(const AucShardIdentity *there,
						  const AucShardIdentity *ours)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the database of server \"%s\" belongs to another history",
					ours->server),
			 errdetail("It holds shards of history %s, whose home is %s; this is history %s.",
					   there->history, there->home, ours->history),
			 errhint("Use a database of its own for each history. If that one is not needed any more, drop schema %s there.",
					 AUC_SHARD_SCHEMA)));
}

void
auc_shard_identity_read(const AucRemote *remote, AucShardIdentity *there)
{
	there->history = pstrdup(auc_remote_value(remote, 0, 0));
	there->home = pstrdup(auc_remote_value(remote, 0, 1));
	there->server = pstrdup(auc_remote_value(remote, 0, 2));
}

void
auc_shard_server_claim(AucRemote *remote)
{
	AucShardIdentity ours;
	AucShardIdentity there;

	auc_shard_identity_get(&ours, auc_remote_name(remote));
	if (auc_remote_run(remote, "SELECT history, home, server "
					   "FROM auction_shard.identity FOR SHARE",
					   0, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database of server \"%s\" belongs to no history",
						ours.server),
				 errhint("Call auction.add_shard_server().")));
	auc_shard_identity_read(remote, &there);
	if (strcmp(there.history, ours.history) != 0)
		auc_shard_identity_refuse(&there, &ours);
	if (strcmp(there.home, ours.home) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not the home of shard server \"%s\"",
						ours.server),
				 errdetail("Its home is %s; this is %s.", there.home,
						   ours.home),
				 errhint("If this database is to replace that one, call auction.add_shard_server(). A copy for tests needs shard servers of its own.")));
	if (strcmp(there.server, ours.server) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" points at the database of shard server \"%s\"",
						ours.server, there.server),
				 errhint("See the options of both servers; a changed one is taken over by auction.add_shard_server().")));
}

/* ---- for hooks.c ---- */

bool
auc_shard_server_has_shards(Oid serverid)
{
	Oid			history = auc_relation_id(AUC_REL_HISTORY, true);
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	if (!OidIsValid(history))
		return false;
	rel = table_open(ForeignTableRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_table table = (Form_pg_foreign_table) GETSTRUCT(tuple);

		found = table->ftserver == serverid &&
			get_rel_relispartition(table->ftrelid) &&
			get_partition_parent(table->ftrelid, true) == history;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

void
auc_shard_server_forget_dropped(void)
{
	AucCaller	caller;

	if (!OidIsValid(auc_relation_id(AUC_REL_SHARD_SERVERS, true)))
		return;
	auc_owner_begin(&caller);
	(void) auc_statement_run(&forget_dropped, NULL, SPI_OK_DELETE);
	auc_owner_end(&caller);
}
