/*
 * remote_connect.c: connects to a shard server; see remote.h.
 *
 * Of several hosts in the server's options each has a time of its own, after
 * which the next one is tried.  libpq, given all of them, goes on only when a
 * host refuses; from one that is silent it would never get away, as what ends
 * that is in the calls of libpq that wait by themselves.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "remote_private.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#define OLDEST_VERSION	150000

/*
 * One statement sets all of this.  Names are qualified, as the search_path is
 * anybody's until then.  client_connection_check_interval can be set on Linux
 * only.  synchronous_commit is raised to where a commit is flushed, on a
 * standby too if there are synchronous ones, as in our workers.  What protects
 * those who administer the other side is left as it is:
 * default_transaction_read_only, session_replication_role.
 */
static const char *const pin_session =
"SELECT pg_catalog.set_config(s.name, s.value, false) FROM (VALUES "
"('search_path', 'pg_catalog'), "
"('client_min_messages', 'error'), "
"('default_transaction_isolation', 'read committed'), "
"('row_security', 'off'), "
"('DateStyle', 'ISO'), "
"('IntervalStyle', 'postgres'), "
"('TimeZone', 'GMT'), "
"('extra_float_digits', '3'), "
"('statement_timeout', '0'), "
"('lock_timeout', '5s'), "
"('idle_in_transaction_session_timeout', '60s'), "
"('tcp_keepalives_idle', '30'), "
"('tcp_keepalives_interval', '10'), "
"('tcp_keepalives_count', '3'), "
"('jit', 'off')) AS s (name, value) "
"UNION ALL SELECT pg_catalog.set_config('synchronous_commit', 'on', false) "
"WHERE pg_catalog.current_setting('synchronous_commit') "
"OPERATOR(pg_catalog.=) ANY (ARRAY['off', 'local', 'remote_write']) "
"UNION ALL SELECT "
"pg_catalog.set_config('client_connection_check_interval', '2s', false) "
"WHERE pg_catalog.strpos(pg_catalog.version(), 'linux') "
"OPERATOR(pg_catalog.>) 0";

/* ---- checks ---- */

static void
check_password_used(AucRemote *remote, const AucRemoteTarget *target)
{
	if (!target->password_required || PQconnectionUsedPassword(remote->conn))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password is required for server \"%s\"", remote->name),
			 errdetail("The owner of the server or of the extension is no superuser, and the server did not ask for the password."),
			 errhint("Change how that server authenticates (pg_hba.conf); a superuser can set password_required 'false' in the user mapping.")));
}

static void
check_version(AucRemote *remote)
{
	int			version = PQserverVersion(remote->conn);

	if (version < OLDEST_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("shard server \"%s\" runs PostgreSQL %d, which is too old",
						remote->name, version / 10000),
				 errdetail("It must be PostgreSQL %d or later.",
						   OLDEST_VERSION / 10000)));
}

/* ---- one host ---- */

static void
ignore_notice(void *arg, const PGresult *result)
{
}

/* What the setting allows, or less if the server's options say so. */
static int
connect_patience(const AucRemoteTarget *target)
{
	if (target->connect_timeout == 0)
		return auc_guc_shard_timeout;
	return Min(auc_guc_shard_timeout, target->connect_timeout);
}

static void
start(AucRemote *remote, const AucRemoteTarget *target, int host)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to shard server \"%s\"",
						remote->name),
				 errdetail("There are too many open files on the local server."),
				 errhint("Raise the server's max_files_per_process and/or \"ulimit -n\" limits.")));
	remote->conn = PQconnectStartParams(target->names,
										auc_remote_target_values(target, host),
										0);
	if (remote->conn == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	PQsetNoticeReceiver(remote->conn, ignore_notice, NULL);
}

/* false: it is closed again, and why has become a line of "failures". */
static bool
connect_host(AucRemote *remote, const AucRemoteTarget *target, int host,
			 StringInfo failures)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	bool		late = false;

	start(remote, target, host);
	auc_remote_be_patient(remote, connect_patience(target));
	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED &&
		   PQstatus(remote->conn) != CONNECTION_BAD && !late)
	{
		late = auc_remote_wait(remote, status == PGRES_POLLING_READING ?
							   WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE) == 0;
		if (!late)
			status = PQconnectPoll(remote->conn);
	}
	if (status == PGRES_POLLING_OK && PQsetnonblocking(remote->conn, 1) == 0)
		return true;
	if (failures->len > 0)
		appendStringInfoChar(failures, '\n');
	if (!late)
		appendStringInfoString(failures, auc_remote_give_up(remote));
	else
	{
		appendStringInfo(failures, "There was no answer from \"%s\" within %d ms.",
						 PQhost(remote->conn), remote->patience);
		auc_remote_close(remote);
	}
	return false;
}

/* ---- all of it ---- */

static void
close_at_reset(void *arg)
{
	auc_remote_close(arg);
}

static void
connect_some_host(AucRemote *remote, const AucRemoteTarget *target)
{
	StringInfoData failures;

	initStringInfo(&failures);
	for (int host = 0; host < target->hosts; host++)
		if (connect_host(remote, target, host, &failures))
			return;
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to shard server \"%s\"", remote->name),
			 errdetail_internal("%s", failures.data)));
}

AucRemote *
auc_remote_open(Oid serverid, Oid userid)
{
	AucRemote  *remote = palloc0(sizeof(AucRemote));
	AucRemoteTarget target;

	auc_remote_target(&target, serverid, userid);
	strlcpy(remote->name, target.name, sizeof(remote->name));
	remote->at_reset.func = close_at_reset;
	remote->at_reset.arg = remote;
	MemoryContextRegisterResetCallback(CurrentMemoryContext,
									   &remote->at_reset);
	connect_some_host(remote, &target);
	check_password_used(remote, &target);
	check_version(remote);
	(void) auc_remote_run(remote, pin_session, 0, NULL, 0);
	return remote;
}
