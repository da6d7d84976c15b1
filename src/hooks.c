/*
 * hooks.c: what the extension must hear of statements that are not its own.
 *
 * object_access_hook
 *   DROP EXTENSION auction     noted; see "at the end of the transaction"
 *   DROP SERVER                refused while the server is attached; noted
 * ProcessUtility_hook
 *   DROP DATABASE, ALTER DATABASE RENAME | SET TABLESPACE, CREATE DATABASE
 *   from it as template        its workers end first: the statement demands
 *                              that nobody is connected
 *   DROP EXTENSION auction     the workers of this database end first: they
 *                              and the statement would lock the extension's
 *                              tables in different orders
 *   ALTER SERVER RENAME        refused while the server is attached, or a
 *                              shard server
 *   DROP SERVER                refused, CASCADE or not, while shards are on it
 *   whatever dropped a server  its row of auction.shard_servers goes, too
 * At the end of the transaction, either way, suspended workers are let in
 * again.  If it commits, and the extension was created or dropped, its
 * database is marked; whether it is there is looked up just before the commit,
 * so that subtransactions need no bookkeeping.  A DROP EXTENSION that is
 * committed as a prepared transaction is noticed by the steward itself.
 *
 * Only who may do the statement can suspend workers by it, and nobody waits
 * longer than SUSPEND_MS: then the statement itself says who is in its way.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "attach.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_server.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "compat.h"
#include "foreign/foreign.h"
#include "hooks.h"
#include "miscadmin.h"
#include "shard_server.h"
#include "shm.h"
#include "shm_stat.h"
#include "shm_worker.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "waits.h"

/* Workers get so long to notice that they are not wanted; then SIGTERM. */
#define PATIENCE_MS		1000
#define SUSPEND_MS		10000

static object_access_hook_type prev_object_access = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* What this transaction is to do at its end. */
static bool extension_changed = false;
static bool extension_exists;
static bool steward_wanted = false;
static bool lanes_changed = false;
static bool rollout_changed = false;
static List *suspended = NIL;	/* OIDs of databases, in TopMemoryContext */

/* DROP EXTENSION auction CASCADE takes its servers along. */
static bool dropping_extension = false;
/* The statement that runs has dropped a server. */
static bool server_dropped = false;

/* ---- at the end of the transaction ---- */

static void
forget_all(void)
{
	ListCell   *cell;

	foreach(cell, suspended)
		auc_database_resume(lfirst_oid(cell));
	list_free(suspended);
	suspended = NIL;
	extension_changed = false;
	steward_wanted = false;
	lanes_changed = false;
	rollout_changed = false;
}

static void
at_commit(void)
{
	if (rollout_changed)
		auc_stat_mark_step();
	if (extension_changed && extension_exists)
		auc_database_created(MyDatabaseId);
	else if (extension_changed)
		auc_database_gone(MyDatabaseId);
	else if (lanes_changed)
		auc_database_lanes_changed(MyDatabaseId);
	else if (steward_wanted)
		auc_database_wake_steward(MyDatabaseId);
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (extension_changed)
				extension_exists =
					OidIsValid(get_extension_oid("auction", true));
			break;
		case XACT_EVENT_COMMIT:
			at_commit();
			forget_all();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_all();
			break;
		default:
			break;
	}
}

/* Once a backend, before the first thing is noted. */
static void
register_callback(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(end_of_transaction, NULL);
	registered = true;
}

void
auc_hooks_extension_changed(void)
{
	register_callback();
	extension_changed = true;
}

void
auc_hooks_lanes_changed(void)
{
	register_callback();
	lanes_changed = true;
}

void
auc_hooks_steward_wanted(void)
{
	register_callback();
	steward_wanted = true;
}

void
auc_hooks_rollout_changed(void)
{
	auc_hooks_steward_wanted();
	rollout_changed = true;
}

/* ---- suspension ---- */

static void
wait_until_gone(Oid dboid)
{
	TimestampTz since = GetCurrentTimestamp();

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		impatient;

		impatient = TimestampDifferenceExceeds(since, now, PATIENCE_MS);
		if (!auc_database_running(dboid, impatient) ||
			TimestampDifferenceExceeds(since, now, SUSPEND_MS))
			return;
		auc_nap(20, AUC_WAIT_SUSPEND);
	}
}

static void
suspend(Oid dboid)
{
	MemoryContext old;

	if (list_member_oid(suspended, dboid))
		return;
	register_callback();
	old = MemoryContextSwitchTo(TopMemoryContext);
	suspended = lappend_oid(suspended, dboid);
	MemoryContextSwitchTo(old);
	auc_database_suspend(dboid);
	wait_until_gone(dboid);
}

static bool
may_copy(Oid dboid, Oid roleid)
{
	HeapTuple	tuple;
	bool		may;

	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(roleid));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = may && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return may;
}

/* "as_template": who may copy a database need not own it. */
static void
suspend_database(const char *datname, bool as_template)
{
	Oid			dboid = get_database_oid(datname, true);

	if (!OidIsValid(dboid) || dboid == MyDatabaseId)
		return;
	if (auc_database_owned(dboid, GetUserId()) ||
		(as_template && may_copy(dboid, GetUserId())))
		suspend(dboid);
}

/* ---- statements ---- */

static DefElem *
find_defelem(List *list, const char *name)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		DefElem    *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0 && def->arg != NULL)
			return def;
	}
	return NULL;
}

static void
before_create_database(CreatedbStmt *stmt)
{
	DefElem    *template = find_defelem(stmt->options, "template");

	suspend_database(template != NULL ? defGetString(template) : "template1",
					 true);
}

static void
before_rename(RenameStmt *stmt)
{
	const char *server;

	if (stmt->renameType == OBJECT_DATABASE)
		suspend_database(stmt->subname, false);
	if (stmt->renameType != OBJECT_FOREIGN_SERVER)
		return;
	server = strVal(stmt->object);
	if (auc_attach_has_lanes(server))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot rename server \"%s\" because it is attached",
						server),
				 errhint("Detach it first with auction.detach_redis().")));
	if (auc_attach_listed(AUC_REL_SHARD_SERVERS, server))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot rename server \"%s\" because it is a shard server",
						server),
				 errdetail("Its database knows it by that name.")));
}

/* With CASCADE the shards would be gone before anybody is asked about it. */
static void
before_drop(DropStmt *stmt)
{
	ListCell   *cell;

	if (stmt->removeType != OBJECT_FOREIGN_SERVER)
		return;
	foreach(cell, stmt->objects)
	{
		const char *name = strVal(lfirst(cell));
		Oid			serverid = get_foreign_server_oid(name, true);

		if (OidIsValid(serverid) && auc_shard_server_has_shards(serverid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("cannot drop server \"%s\" because shards of history are on it",
							name),
					 errhint("They are listed in auction.shards.")));
	}
}

/* Does the statement drop our extension? */
static bool
drops_extension(Node *node)
{
	DropStmt   *stmt = (DropStmt *) node;
	ListCell   *cell;

	if (!IsA(node, DropStmt) || stmt->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, stmt->objects)
		if (strcmp(strVal(lfirst(cell)), "auction") == 0)
			return true;
	return false;
}

static void
before_statement(Node *node)
{
	/* those that refuse to run in a transaction block need no help there */
	bool		alone = !IsTransactionBlock();

	switch (nodeTag(node))
	{
		case T_DropdbStmt:
			if (alone)
				suspend_database(((DropdbStmt *) node)->dbname, false);
			break;
		case T_CreatedbStmt:
			if (alone)
				before_create_database((CreatedbStmt *) node);
			break;
		case T_AlterDatabaseStmt:
			if (alone && find_defelem(((AlterDatabaseStmt *) node)->options,
									  "tablespace") != NULL)
				suspend_database(((AlterDatabaseStmt *) node)->dbname, false);
			break;
		case T_RenameStmt:
			before_rename((RenameStmt *) node);
			break;
		case T_DropStmt:
			before_drop((DropStmt *) node);
			break;
		default:
			break;
	}
}

static void
run_statement(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *environment, DestReceiver *dest,
			  QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params,
							 environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *qc)
{
	Node	   *node = pstmt->utilityStmt;
	Oid			extension;

	if (!auc_shm_available() || RecoveryInProgress() ||
		!IsTransactionState())
	{
		run_statement(pstmt, query, read_only_tree, context, params,
					  environment, dest, qc);
		return;
	}
	before_statement(node);
	if (!drops_extension(node))
	{
		bool		outer = server_dropped;

		server_dropped = false;
		run_statement(pstmt, query, read_only_tree, context, params,
					  environment, dest, qc);
		if (server_dropped)
			auc_shard_server_forget_dropped();
		server_dropped = outer;
		return;
	}

	extension = get_extension_oid("auction", true);
	if (OidIsValid(extension) &&
		auc_extension_owned(extension, GetUserId()))
		suspend(MyDatabaseId);
	dropping_extension = true;
	PG_TRY();
	{
		run_statement(pstmt, query, read_only_tree, context, params,
					  environment, dest, qc);
	}
	PG_FINALLY();
	{
		dropping_extension = false;
	}
	PG_END_TRY();
}

/* ---- objects ---- */

static void
before_drop_server(Oid serverid)
{
	ForeignServer *server;

	if (dropping_extension)
		return;
	server_dropped = true;
	server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	if (server == NULL || !auc_attach_has_lanes(server->servername))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot drop server \"%s\" because it is attached",
					server->servername),
			 errhint("Detach it first with auction.detach_redis().")));
}

static void
object_access(ObjectAccessType access, Oid classid, Oid objectid,
			  int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (access != OAT_DROP || !auc_shm_available())
		return;
	if (classid == ForeignServerRelationId)
		before_drop_server(objectid);
	else if (classid == ExtensionRelationId &&
			 objectid == get_extension_oid("auction", true))
		auc_hooks_extension_changed();
}

void
auc_hooks_install(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
