/*
 * crowd_session.c: one connection of the program "crowd", and one statement at
 * a time on it, with the times it was sent and answered.
 *
 * What was answered is told as it is: a row that came before the connection
 * was lost counts, an error with its SQLSTATE, else the connection was lost.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "crowd.h"

int64_t
now_us(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (int64_t) tv.tv_sec * 1000000 + tv.tv_usec;
}

const char *
end_name(End end)
{
	return end == END_OK ? "ok" : end == END_ERROR ? "error" : "lost";
}

const char *
hurry_name(Hurry hurry)
{
	static const char *const names[] = {"", "cancel", "timeout", "kill"};

	return names[hurry];
}

/* Notices are the product's business, and many. */
static void
drop_notice(void *arg, const PGresult *res)
{
}

void
session_close(Session *session)
{
	PQclear(session->res);
	session->res = NULL;
	PQfinish(session->conn);
	session->conn = NULL;
}

bool
session_connect(Session *session)
{
	session_close(session);
	session->conn = PQconnectdb(session->conninfo);
	if (PQstatus(session->conn) != CONNECTION_OK)
		return false;
	PQsetNoticeReceiver(session->conn, drop_notice, NULL);
	return true;
}

const char *
session_value(const Session *session, int row, int column)
{
	return row < PQntuples(session->res) ?
		PQgetvalue(session->res, row, column) : "";
}

static void
send_cancel(Session *session)
{
	PGcancel   *cancel = PQgetCancel(session->conn);
	char		error[256];

	if (cancel != NULL)
	{
		(void) PQcancel(cancel, error, sizeof(error));
		PQfreeCancel(cancel);
	}
}

/* From a connection of its own, as a DBA would. */
static void
send_kill(Session *session)
{
	char		sql[64];
	PGconn	   *other = PQconnectdb(session->conninfo);

	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)",
			 PQbackendPID(session->conn));
	PQclear(PQexec(other, sql));
	PQfinish(other);
}

/* The first row or error counts; what follows it is the connection's end. */
static void
take_result(Session *session, PGresult *res, bool *done, End *end)
{
	ExecStatusType status = PQresultStatus(res);
	const char *sqlstate;
	const char *message;

	if (*done)
	{
		PQclear(res);
		return;
	}
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
	{
		session->res = res;
		*end = END_OK;
		*done = true;
		return;
	}
	sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	if (sqlstate != NULL)
	{
		message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		strncpy(session->sqlstate, sqlstate, 5);
		strncpy(session->message, message != NULL ? message : "",
				sizeof(session->message) - 1);
		*end = END_ERROR;
		*done = true;
	}
	PQclear(res);
}

/* Until there is something to read; disturbs the statement when it is time. */
static void
await_input(Session *session, Hurry *hurry, int64_t disturb_at)
{
	struct pollfd fd = {.fd = PQsocket(session->conn),.events = POLLIN};
	int64_t		left = disturb_at - now_us();
	bool		timed = *hurry == HURRY_CANCEL || *hurry == HURRY_KILL;

	if (timed && left <= 0)
	{
		if (*hurry == HURRY_CANCEL)
			send_cancel(session);
		else
			send_kill(session);
		*hurry = HURRY_NONE;
		timed = false;
	}
	(void) poll(&fd, 1, timed ? (int) (left / 1000 + 1) : 1000);
}

static End
read_answer(Session *session, Hurry hurry, int64_t disturb_at)
{
	End			end = END_LOST;
	bool		done = false;

	for (;;)
	{
		PGresult   *res;

		while (PQisBusy(session->conn))
		{
			await_input(session, &hurry, disturb_at);
			if (!PQconsumeInput(session->conn))
				break;
		}
		res = PQgetResult(session->conn);
		if (res == NULL)
			return end;
		take_result(session, res, &done, &end);
	}
}

/*
 * The timeout of a few milliseconds holds for this statement as well, and on a
 * busy machine cancels it: then again, lest it hits a statement that was not
 * to be disturbed.  It may even strike when the statement has succeeded:
 * PostgreSQL then raises it at the next one, which had no timeout
 * (ProcessInterrupts() in postgres.c ignores a cancel of an idle session, but
 * not a statement timeout).  So two have to succeed in a row.  In a transaction
 * that has failed, perhaps by this, its ROLLBACK does it.
 */
static void
reset_timeout(Session *session)
{
	int			done = 0;

	while (done < 2 && PQstatus(session->conn) == CONNECTION_OK &&
		   !session_failed(session))
	{
		PGresult   *res = PQexec(session->conn, "RESET statement_timeout");

		done = PQresultStatus(res) == PGRES_COMMAND_OK ? done + 1 : 0;
		PQclear(res);
	}
}

/*
 * A result that PQgetResult() makes up when the connection breaks has no
 * SQLSTATE, so it is END_LOST, and so is what could not be sent.
 */
End
session_run(Session *session, const char *sql, Hurry hurry, long after)
{
	char		limit[64];
	End			end;

	PQclear(session->res);
	session->res = NULL;
	memset(session->sqlstate, 0, sizeof(session->sqlstate));
	memset(session->message, 0, sizeof(session->message));
	if (hurry == HURRY_TIMEOUT)
	{
		snprintf(limit, sizeof(limit), "SET statement_timeout = %ld", after);
		PQclear(PQexec(session->conn, limit));
	}
	session->sent = now_us();
	end = END_LOST;
	if (PQsendQuery(session->conn, sql))
		end = read_answer(session, hurry, session->sent + after);
	session->answered = now_us();
	if (hurry == HURRY_TIMEOUT)
		reset_timeout(session);
	return end;
}

/* Again if a statement timeout that is left has cancelled it. */
void
session_rollback(Session *session)
{
	while (PQstatus(session->conn) == CONNECTION_OK &&
		   PQtransactionStatus(session->conn) != PQTRANS_IDLE)
		PQclear(PQexec(session->conn, "ROLLBACK"));
}

bool
session_failed(const Session *session)
{
	return PQtransactionStatus(session->conn) == PQTRANS_INERROR;
}
