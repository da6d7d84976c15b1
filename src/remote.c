/*
 * remote.c: see remote.h.
 *
 * A connection is memory of one process: this struct, in the context it was
 * opened in, and what libpq has allocated for it.  A reset callback of that
 * context closes it, which an ERROR causes in time, whoever raised it.  The
 * result of the last statement stays with the connection, so that no ERROR
 * can leave one behind either.
 *
 * Nothing of libpq's that waits by itself is used: not PQexec(), not
 * PQcancel(), whose connection would be a second one to wait for.  Who goes
 * away in the middle of a statement closes the socket, and the other side
 * notices by client_connection_check_interval.  The one exception is the
 * look-up of a host name, for which libpq knows no other way.
 *
 * Settings that protect those who administer the other side are left as they
 * are: default_transaction_read_only, session_replication_role.
 */
#include "postgres.h"

#include "compat.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote_private.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define OLDEST_VERSION	150000
/* Who does less than so many rows a millisecond counts as gone. */
#define SLOWEST_PER_MS	10
/* So much of a COPY waits in memory before it has to be sent. */
#define COPY_PIECE		(64 * 1024)
/* So much of a statement is shown in an error's context. */
#define SHOWN_LENGTH	200

struct AucRemote
{
	PGconn	   *conn;			/* NULL: closed */
	PGresult   *result;			/* of the last statement; NULL: none */
	char	   *piece;			/* of a COPY to us; NULL: none */
	bool		connected;		/* PQconnectPoll() is done with it */
	bool		busy;			/* an answer, or the end of a COPY, is due */
	int			unsent;			/* bytes of a COPY, since the last flush */
	int			patience;		/* ms, of the current statement */
	TimestampTz deadline;		/* moves with every sign of life */
	MemoryContextCallback at_reset;
	char		name[NAMEDATALEN];
	char		statement[SHOWN_LENGTH + 4];
};

/*
 * One statement sets all of this.  Names are qualified, as the search_path is
 * anybody's until then.  client_connection_check_interval can be set on Linux
 * only.  synchronous_commit is raised to where a commit is flushed, on a
 * standby too if there are synchronous ones, as in our workers.
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

/* ---- its end ---- */

static void
forget_piece(AucRemote *remote)
{
	if (remote->piece != NULL)
		PQfreemem(remote->piece);
	remote->piece = NULL;
}

static void
forget_result(AucRemote *remote)
{
	PQclear(remote->result);
	remote->result = NULL;
}

void
auc_remote_close(AucRemote *remote)
{
	forget_piece(remote);
	forget_result(remote);
	if (remote->conn == NULL)
		return;
	PQfinish(remote->conn);
	remote->conn = NULL;
	ReleaseExternalFD();
}

static void
close_at_reset(void *arg)
{
	auc_remote_close(arg);
}

/* In front of the errors below: what libpq said last, palloc'd, and closed. */
static char *
give_up(AucRemote *remote)
{
	char	   *message = pchomp(PQerrorMessage(remote->conn));

	auc_remote_close(remote);
	return message;
}

static void
fail_to_connect(AucRemote *remote, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("could not connect to shard server \"%s\"", remote->name),
			 errdetail_internal("%s", detail)));
}

static void
fail_lost(AucRemote *remote)
{
	char	   *message = give_up(remote);

	if (!remote->connected)
		fail_to_connect(remote, message);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("connection to shard server \"%s\" was lost",
					remote->name),
			 errdetail_internal("%s", message),
			 errcontext("statement on shard server \"%s\": %s", remote->name,
						remote->statement)));
}

static void
fail_late(AucRemote *remote)
{
	(void) give_up(remote);
	if (!remote->connected)
		fail_to_connect(remote, psprintf("There was no answer within %d ms.",
										 remote->patience));
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("shard server \"%s\" did not answer within %d ms",
					remote->name, remote->patience),
			 errhint("How long it may take is set by auction.shard_timeout."),
			 errcontext("statement on shard server \"%s\": %s", remote->name,
						remote->statement)));
}

/* The last result is an error that the other side has reported. */
static void
fail_as_told(AucRemote *remote)
{
	PGresult   *result = remote->result;
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);

	/* a session that was ended there has said why; ours goes on */
	if (state == NULL || strlen(state) != 5 || primary == NULL ||
		PQstatus(remote->conn) != CONNECTION_OK)
		fail_lost(remote);
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3],
								   state[4])),
			 errmsg_internal("%s", primary),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 context ? errcontext("%s", context) : 0,
			 errcontext("statement on shard server \"%s\": %s", remote->name,
						remote->statement)));
}

/* ---- waiting ---- */

static void
be_patient(AucRemote *remote, int patience)
{
	remote->patience = patience > 0 ? patience : auc_guc_shard_timeout;
	remote->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   remote->patience);
}

/*
 * Until the socket is ready for one of the events.  It is looked at before the
 * clock counts: whoever was held up himself must not take an answer that has
 * long arrived for a missing one.
 */
static int
wait_socket(AucRemote *remote, int events)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		rest = TimestampDifferenceMilliseconds(now,
														   remote->deadline);
		int			got;

		if (PQsocket(remote->conn) == PGINVALID_SOCKET)
			fail_lost(remote);
		got = WaitLatchOrSocket(MyLatch, events | WL_LATCH_SET | WL_TIMEOUT |
								WL_EXIT_ON_PM_DEATH, PQsocket(remote->conn),
								rest, auc_wait_event_new("AuctionShard"));
		if (got & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if (got & events)
		{
			be_patient(remote, remote->patience);
			return got & events;
		}
		if (rest <= 0)
			fail_late(remote);
	}
}

/* Sends what libpq still holds, and takes in what keeps it from being sent. */
static void
flush(AucRemote *remote)
{
	int			rest;

	while ((rest = PQflush(remote->conn)) > 0)
		if ((wait_socket(remote, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE) &
			 WL_SOCKET_READABLE) && !PQconsumeInput(remote->conn))
			fail_lost(remote);
	/* what the other side said when it went away is still to be read */
	if (rest < 0 && !PQconsumeInput(remote->conn))
		fail_lost(remote);
	remote->unsent = 0;
}

/*
 * All answers to what was sent; an error counts, else the last one.  It is in
 * remote->result.
 */
static void
receive(AucRemote *remote)
{
	bool		failed = false;

	flush(remote);
	for (;;)
	{
		PGresult   *result;
		ExecStatusType status;

		while (PQisBusy(remote->conn))
		{
			(void) wait_socket(remote, WL_SOCKET_READABLE);
			if (!PQconsumeInput(remote->conn))
				fail_lost(remote);
		}
		result = PQgetResult(remote->conn);
		if (result == NULL)
			break;
		if (failed)
		{
			PQclear(result);
			continue;
		}
		forget_result(remote);
		remote->result = result;
		status = PQresultStatus(result);
		/* with these it would say the same for ever */
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT ||
			status == PGRES_COPY_BOTH)
			return;
		failed = status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
	}
	remote->busy = false;
}

/* ---- connecting ---- */

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
ignore_notice(void *arg, const PGresult *result)
{
}

static void
start(AucRemote *remote, const AucRemoteTarget *target)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to shard server \"%s\"",
						remote->name),
				 errdetail("There are too many open files on the local server."),
				 errhint("Raise the server's max_files_per_process and/or \"ulimit -n\" limits.")));
	remote->conn = PQconnectStartParams(target->names, target->values, 0);
	if (remote->conn == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	if (PQstatus(remote->conn) == CONNECTION_BAD)
		fail_lost(remote);
	PQsetNoticeReceiver(remote->conn, ignore_notice, NULL);
}

static void
finish_connecting(AucRemote *remote)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	be_patient(remote, 0);
	while (status != PGRES_POLLING_OK)
	{
		if (status == PGRES_POLLING_FAILED)
			fail_lost(remote);
		(void) wait_socket(remote, status == PGRES_POLLING_READING ?
						   WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE);
		status = PQconnectPoll(remote->conn);
	}
	if (PQsetnonblocking(remote->conn, 1) != 0)
		fail_lost(remote);
	remote->connected = true;
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
	start(remote, &target);
	finish_connecting(remote);
	check_password_used(remote, &target);
	check_version(remote);
	(void) auc_remote_run(remote, pin_session, 0, NULL, 0);
	return remote;
}

const char *
auc_remote_name(const AucRemote *remote)
{
	return remote->name;
}

int
auc_remote_version(const AucRemote *remote)
{
	return remote->conn == NULL ? 0 : PQserverVersion(remote->conn);
}

bool
auc_remote_usable(const AucRemote *remote)
{
	return remote->conn != NULL && !remote->busy &&
		PQstatus(remote->conn) == CONNECTION_OK;
}

/* ---- statements ---- */

/* For errors: the beginning of it. */
static void
note_statement(AucRemote *remote, const char *sql)
{
	int			len = strlen(sql);
	int			shown = pg_mbcliplen(sql, len, SHOWN_LENGTH);

	memcpy(remote->statement, sql, shown);
	strcpy(remote->statement + shown, shown < len ? "..." : "");
}

static void
check_usable(AucRemote *remote)
{
	if (!auc_remote_usable(remote))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_DOES_NOT_EXIST),
				 errmsg("connection to shard server \"%s\" is not usable any more",
						remote->name)));
}

static void
send_statement(AucRemote *remote, const char *sql, int nparams,
			   const char *const *params, int patience)
{
	check_usable(remote);
	forget_result(remote);
	note_statement(remote, sql);
	be_patient(remote, patience);
	remote->busy = true;
	if (!PQsendQueryParams(remote->conn, sql, nparams, NULL, params, NULL,
						   NULL, 0))
		fail_lost(remote);
	receive(remote);
}

/* How many rows the last statement has returned or changed. */
static uint64
count_rows(AucRemote *remote)
{
	switch (PQresultStatus(remote->result))
	{
		case PGRES_TUPLES_OK:
			return PQntuples(remote->result);
		case PGRES_COMMAND_OK:
			return strtou64(PQcmdTuples(remote->result), NULL, 10);
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
		case PGRES_COPY_BOTH:
			auc_remote_close(remote);
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg_internal("unexpected COPY: %s",
									 remote->statement)));
			break;
		default:
			fail_as_told(remote);
	}
	return 0;
}

uint64
auc_remote_run(AucRemote *remote, const char *sql, int nparams,
			   const char *const *params, int patience)
{
	send_statement(remote, sql, nparams, params, patience);
	return count_rows(remote);
}

int
auc_remote_patience(uint64 rows)
{
	return (int) Min(auc_guc_shard_timeout + rows / SLOWEST_PER_MS,
					 INT_MAX / 2);
}

const char *
auc_remote_value(const AucRemote *remote, uint64 row, int column)
{
	Assert(remote->result != NULL && row < PQntuples(remote->result) &&
		   column < PQnfields(remote->result));
	if (PQgetisnull(remote->result, (int) row, column))
		return NULL;
	return PQgetvalue(remote->result, (int) row, column);
}

int64
auc_remote_int64(const AucRemote *remote, uint64 row, int column)
{
	const char *value = auc_remote_value(remote, row, column);

	return value == NULL ? 0 : pg_strtoint64(value);
}

/* ---- COPY ---- */

static void
begin_copy(AucRemote *remote, const char *sql, ExecStatusType expected)
{
	send_statement(remote, sql, 0, NULL, 0);
	if (PQresultStatus(remote->result) == expected)
		return;
	(void) count_rows(remote);
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg_internal("no COPY: %s", remote->statement)));
}

void
auc_remote_copy_begin(AucRemote *remote, const char *sql)
{
	begin_copy(remote, sql, PGRES_COPY_IN);
}

void
auc_remote_copy_out(AucRemote *remote, const char *sql)
{
	begin_copy(remote, sql, PGRES_COPY_OUT);
}

bool
auc_remote_copy_get(AucRemote *remote, const char **data, int *len)
{
	be_patient(remote, 0);
	for (;;)
	{
		forget_piece(remote);
		*len = PQgetCopyData(remote->conn, &remote->piece, 1);
		*data = remote->piece;
		if (*len > 0)
			return true;
		if (*len < 0)
			break;
		(void) wait_socket(remote, WL_SOCKET_READABLE);
		if (!PQconsumeInput(remote->conn))
			fail_lost(remote);
	}
	if (*len == -2)
		fail_lost(remote);
	receive(remote);
	(void) count_rows(remote);
	return false;
}

void
auc_remote_copy_put(AucRemote *remote, const char *data, int len)
{
	Assert(remote->busy);
	be_patient(remote, 0);
	/* 0 means no memory: what waits to be sent is never much */
	if (PQputCopyData(remote->conn, data, len) <= 0)
		fail_lost(remote);
	remote->unsent += len;
	if (remote->unsent >= COPY_PIECE)
		flush(remote);
}

uint64
auc_remote_copy_end(AucRemote *remote)
{
	Assert(remote->busy);
	be_patient(remote, 0);
	if (PQputCopyEnd(remote->conn, NULL) <= 0)
		fail_lost(remote);
	receive(remote);
	return count_rows(remote);
}
