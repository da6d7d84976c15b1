/*
 * remote.c: what is said on a connection to a shard server; see remote.h and
 * remote_private.h.
 */
#include "postgres.h"

#include <limits.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote_private.h"
#include "settings.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"

/* Who does less than so many rows a millisecond counts as gone. */
#define SLOWEST_PER_MS	10
/* So much of a COPY waits in memory before it has to be sent. */
#define COPY_PIECE		(64 * 1024)

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

char *
auc_remote_give_up(AucRemote *remote)
{
	char	   *message = pchomp(PQerrorMessage(remote->conn));

	auc_remote_close(remote);
	return message;
}

static void
fail_lost(AucRemote *remote)
{
	char	   *message = auc_remote_give_up(remote);

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
	auc_remote_close(remote);
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

void
auc_remote_be_patient(AucRemote *remote, int patience)
{
	remote->patience = patience > 0 ? patience : auc_guc_shard_timeout;
	remote->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   remote->patience);
}

/*
 * The socket is looked at before the clock counts: whoever was held up himself
 * must not take an answer that has long arrived for a missing one.
 */
int
auc_remote_wait(AucRemote *remote, int events)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		rest = TimestampDifferenceMilliseconds(now,
														   remote->deadline);
		int			got;

		got = WaitLatchOrSocket(MyLatch, events | WL_LATCH_SET | WL_TIMEOUT |
								WL_EXIT_ON_PM_DEATH, PQsocket(remote->conn),
								rest, auc_wait_event(AUC_WAIT_SHARD));
		if (got & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		if (got & events)
		{
			auc_remote_be_patient(remote, remote->patience);
			return got & events;
		}
		if (rest <= 0)
			return 0;
	}
}

/* Of a statement: an ERROR if that is no longer possible, or too late. */
static int
wait_socket(AucRemote *remote, int events)
{
	int			got;

	if (PQsocket(remote->conn) == PGINVALID_SOCKET)
		fail_lost(remote);
	got = auc_remote_wait(remote, events);
	if (got == 0)
		fail_late(remote);
	return got;
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

/* ---- the connection ---- */

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
	int			shown = pg_mbcliplen(sql, len, AUC_REMOTE_SHOWN);

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
	auc_remote_be_patient(remote, patience);
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
	auc_remote_be_patient(remote, 0);
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
	auc_remote_be_patient(remote, 0);
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
	auc_remote_be_patient(remote, 0);
	if (PQputCopyEnd(remote->conn, NULL) <= 0)
		fail_lost(remote);
	receive(remote);
	return count_rows(remote);
}
