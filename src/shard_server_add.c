/*
 * shard_server_add.c: add_shard_server().
 *
 * On the other side it writes schema auction_shard and the one row of
 * auction_shard.identity, in one transaction there, which commits first.  Here
 * it writes options of the server object that are not set yet, and its row of
 * auction.shard_servers, in the caller's transaction.  Any end between the two
 * commits is harmless, and so is a commit there whose answer got lost: the
 * history's uuid has been committed since CREATE EXTENSION, so that what is
 * there is ours, and the next call finds it.  The other order would leave a
 * server here that refuses whatever is to be written.
 *
 * Who may call it: whoever has EXECUTE and owns the server.  A lock on the
 * server object is held to the end of the caller's transaction; the identity's
 * row is locked to the end of the one on the other side.
 */
#include "postgres.h"

#include "attach.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "hooks.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "owner.h"
#include "shard_server.h"
#include "shard_table.h"
#include "shm.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define WRAPPER		"postgres_fdw"

/* What a server gets unless it has it: for bulk, and against silence. */
static const char *const presets[][2] = {
	{"batch_size", "1000"},
	{"fetch_size", "10000"},
	{"async_capable", "true"},
	{"connect_timeout", "10"},
	{"keepalives", "1"},
	{"keepalives_idle", "30"},
	{"keepalives_interval", "10"},
	{"keepalives_count", "3"},
	{"tcp_user_timeout", "30000"},
};

static AucStatement add_row = {
	.text = "INSERT INTO auction.shard_servers (server) VALUES ($1) "
	"ON CONFLICT (server) DO UPDATE SET added_at = now(), error = NULL, "
	" error_since = NULL, retry_at = NULL",
	.nargs = 1,.argtypes = {NAMEOID}
};

/* ---- looking ---- */

/* Is it fit for shards at all, and another one than this? */
static void
check_database(AucRemote *remote)
{
	const char *name = auc_remote_name(remote);
	const char *here = GetDatabaseEncodingName();
	const char *params[2];
	const char *encoding;

	/* a postmaster's start, to the microsecond, tells instances apart */
	params[0] = psprintf(INT64_FORMAT, PgStartTime);
	params[1] = psprintf("%u", MyDatabaseId);
	(void) auc_remote_run(remote,
						  "SELECT pg_is_in_recovery()::int, "
						  "(current_setting('transaction_read_only') = 'on')::int, "
						  "(d.oid = $2::oid AND $1::int8 = 1000000 * extract(epoch FROM "
						  " pg_postmaster_start_time() - '2000-01-01 00:00:00+00'))::int, "
						  "pg_encoding_to_char(d.encoding) "
						  "FROM pg_database d WHERE d.datname = current_database()",
						  2, params, 0);
	if (auc_remote_int64(remote, 0, 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" is a standby", name),
				 errhint("Its options have to name the primary, or several hosts and target_session_attrs 'read-write'.")));
	if (auc_remote_int64(remote, 0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" is read-only", name),
				 errhint("Somebody has set default_transaction_read_only there.")));
	if (auc_remote_int64(remote, 0, 2))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" is this very database", name),
				 errhint("Shards that are to stay here need no server.")));
	encoding = auc_remote_value(remote, 0, 3);
	if (strcmp(encoding, here) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the database of server \"%s\" has encoding \"%s\", this one has \"%s\"",
						name, encoding, here),
				 errhint("Create one with CREATE DATABASE ... TEMPLATE template0 ENCODING '%s'.",
						 here)));
}

static void
refuse_right(const char *server, const char *right, const char *user)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied on server \"%s\": %s", server, right),
			 errdetail("The user mapping makes us \"%s\" there.", user),
			 errhint("Grant it there, or name another user in the user mapping.")));
}

/*
 * Looks for the schema and what is in it; returns whether it is there.
 * *with_identity: so is the table, and we may write it.
 *
 * Whoever owns a schema can put something else in place of what is in it, so
 * it has to be ours, or a superuser's.
 */
static bool
check_schema(AucRemote *remote, bool *with_identity)
{
	const char *name = auc_remote_name(remote);
	const char *user;

	(void) auc_remote_run(remote,
						  "SELECT current_user, "
						  "has_database_privilege(current_database(), 'CREATE')::int, "
						  "n.nspname, has_schema_privilege(n.oid, 'CREATE')::int, "
						  "(pg_has_role(n.nspowner, 'USAGE') OR o.rolsuper)::int, "
						  "(i.oid IS NOT NULL)::int, "
						  "(i.relkind = 'r' AND pg_has_role(i.relowner, 'USAGE'))::int, "
						  "EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid)::int, "
						  "has_database_privilege(current_database(), 'TEMPORARY')::int "
						  "FROM (VALUES ('auction_shard')) s (name) "
						  "LEFT JOIN pg_namespace n ON n.nspname = s.name "
						  "LEFT JOIN pg_roles o ON o.oid = n.nspowner "
						  "LEFT JOIN pg_class i ON i.relnamespace = n.oid "
						  " AND i.relname = 'identity'",
						  0, NULL, 0);
	user = auc_remote_value(remote, 0, 0);
	*with_identity = false;
	/* what has to be sent a second time goes through a temporary table */
	if (!auc_remote_int64(remote, 0, 8))
		refuse_right(name, "TEMPORARY on the database", user);
	if (auc_remote_value(remote, 0, 2) == NULL)
	{
		if (!auc_remote_int64(remote, 0, 1))
			refuse_right(name, "CREATE on the database", user);
		return false;
	}
	if (!auc_remote_int64(remote, 0, 4))
		refuse_right(name, "schema auction_shard there belongs to another role",
					 user);
	if (!auc_remote_int64(remote, 0, 3))
		refuse_right(name, "CREATE on schema auction_shard", user);
	*with_identity = auc_remote_int64(remote, 0, 5);
	if (*with_identity && !auc_remote_int64(remote, 0, 6))
		refuse_right(name, "auction_shard.identity there is not ours", user);
	if (!*with_identity && auc_remote_int64(remote, 0, 7))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema auction_shard of server \"%s\" was not made by auction.add_shard_server()",
						name),
				 errdetail("It has tables, but no table \"identity\"."),
				 errhint("Drop or rename it there if nobody needs it.")));
	return true;
}

/* Does the identity that is there let us in? */
static void
check_identity(AucRemote *remote, const AucShardIdentity *ours)
{
	AucShardIdentity there;

	if (auc_remote_run(remote, "SELECT history, home, server "
					   "FROM auction_shard.identity FOR UPDATE",
					   0, NULL, 0) == 0)
		return;
	auc_shard_identity_read(remote, &there);
	if (strcmp(there.history, ours->history) != 0)
		auc_shard_identity_refuse(&there, ours);
	if (strcmp(there.server, ours->server) != 0 &&
		auc_attach_listed(AUC_REL_SHARD_SERVERS, there.server))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the database of server \"%s\" is shard server \"%s\" already",
						ours->server, there.server),
				 errhint("Each database is added once, under one name.")));
	if (strcmp(there.home, ours->home) != 0)
		ereport(NOTICE,
				(errmsg("shard server \"%s\" had another home", ours->server),
				 errdetail("It was %s, which may not write there any more; now it is %s.",
						   there.home, ours->home)));
}

/* ---- writing ---- */

static void
create_identity(AucRemote *remote, bool with_schema)
{
	if (!with_schema)
	{
		(void) auc_remote_run(remote, "CREATE SCHEMA auction_shard",
							  0, NULL, 0);
		/* default privileges may have granted some */
		(void) auc_remote_run(remote,
							  "REVOKE ALL ON SCHEMA auction_shard FROM PUBLIC",
							  0, NULL, 0);
	}
	(void) auc_remote_run(remote,
						  "CREATE TABLE auction_shard.identity ("
						  "one bool PRIMARY KEY DEFAULT true CHECK (one), "
						  "history uuid NOT NULL, "
						  "home text NOT NULL, "
						  "server text NOT NULL, "
						  "claimed_at timestamptz NOT NULL DEFAULT clock_timestamp())",
						  0, NULL, 0);
	(void) auc_remote_run(remote,
						  "REVOKE ALL ON auction_shard.identity FROM PUBLIC",
						  0, NULL, 0);
}

static void
write_identity(AucRemote *remote, const AucShardIdentity *ours)
{
	const char *params[3];

	params[0] = ours->history;
	params[1] = ours->home;
	params[2] = ours->server;
	(void) auc_remote_run(remote,
						  "INSERT INTO auction_shard.identity (history, home, server) "
						  "VALUES ($1::uuid, $2, $3) ON CONFLICT (one) DO UPDATE SET "
						  "home = excluded.home, server = excluded.server, "
						  "claimed_at = excluded.claimed_at",
						  3, params, 0);
}

static void
look_and_claim(Oid serverid, const char *server)
{
	AucRemote  *remote = auc_remote_open(serverid, auc_shard_server_user());
	AucShardIdentity ours;
	bool		with_schema;
	bool		with_identity;

	auc_shard_identity_get(&ours, server);
	(void) auc_remote_run(remote, "BEGIN", 0, NULL, 0);
	check_database(remote);
	with_schema = check_schema(remote, &with_identity);
	if (with_identity)
		check_identity(remote, &ours);
	else
		create_identity(remote, with_schema);
	write_identity(remote, &ours);
	auc_shard_remote_prepare(remote);
	(void) auc_remote_run(remote, "COMMIT", 0, NULL, 0);
	auc_remote_close(remote);
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(((DefElem *) lfirst(cell))->defname, name) == 0)
			return true;
	return false;
}

/* As the caller, who owns the server. */
static void
set_options(Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);
	StringInfoData list;
	char	   *command;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(presets); i++)
		if (!has_option(server->options, presets[i][0]))
			appendStringInfo(&list, "%s%s '%s'", list.len > 0 ? ", " : "",
							 presets[i][0], presets[i][1]);
	if (list.len == 0)
		return;
	command = psprintf("ALTER SERVER %s OPTIONS (%s)",
					   quote_identifier(server->servername), list.data);
	SPI_connect();
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not execute \"%s\"", command)));
	SPI_finish();
	ereport(NOTICE,
			(errmsg("options of server \"%s\" that were not set are set now",
					server->servername),
			 errdetail_internal("%s", list.data)));
}

PG_FUNCTION_INFO_V1(auction_add_shard_server);

Datum
auction_add_shard_server(PG_FUNCTION_ARGS)
{
	Name		name = PG_GETARG_NAME(0);
	Oid			serverid;
	AucCaller	caller;
	Datum		values[1];

	auc_attach_check_writable("add_shard_server()");
	serverid = auc_attach_lock_server(NameStr(*name), WRAPPER);
	auc_owner_begin(&caller);
	look_and_claim(serverid, NameStr(*name));
	auc_owner_end(&caller);
	set_options(serverid);
	auc_shard_server_forget_dropped();
	auc_owner_begin(&caller);
	values[0] = NameGetDatum(name);
	(void) auc_statement_run(&add_row, values, SPI_OK_INSERT);
	auc_owner_end(&caller);
	if (auc_shm_available())
		auc_hooks_steward_wanted();
	PG_RETURN_VOID();
}
