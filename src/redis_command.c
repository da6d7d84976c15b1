/*
 * redis_command.c: commands on their way to Redis.
 *
 * A command is written once, in Redis' own format (RESP), straight behind the
 * bytes that wait in the output buffer: no copy, no allocation in the steady
 * state.  out[out_sent .. out_len) has still to be sent.  The buffer is reused
 * from its beginning whenever everything has been sent, and given back then if
 * one burst has made it large; the same goes for the pending ring.
 *
 * Sending never closes the connection: see redis_conn.c.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "redis_private.h"

#define OUT_MIN			((size_t) 64 * 1024)
#define OUT_KEEP		((size_t) 1024 * 1024)
/* Redis takes nothing, yet the owner goes on sending: better no connection. */
#define OUT_MAX			((size_t) 64 * 1024 * 1024)
#define PENDING_MIN		64
#define PENDING_KEEP	16384

/* PostgreSQL ignores SIGPIPE; where send() can, it need not come at all. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL	0
#endif

/* Room for "more" bytes behind out_len. */
static void
make_room(AucRedis *conn, size_t more)
{
	size_t		unsent = conn->out_len - conn->out_sent;
	size_t		size;
	char	   *out;

	if (more <= conn->out_size - conn->out_len)
		return;

	/* Moving is cheap only if it frees more than it moves. */
	if (unsent + more <= conn->out_size && conn->out_sent >= unsent)
		memmove(conn->out, conn->out + conn->out_sent, unsent);
	else
	{
		size = Max(conn->out_size, OUT_MIN);
		while (size < unsent + more || size < conn->out_size * 2)
			size *= 2;
		out = MemoryContextAlloc(conn->context, size);
		if (conn->out != NULL)
		{
			memcpy(out, conn->out + conn->out_sent, unsent);
			pfree(conn->out);
		}
		conn->out = out;
		conn->out_size = size;
	}
	conn->out_len = unsent;
	conn->out_sent = 0;
}

/* Everything is sent: begin again at the front, small. */
static void
reset_output(AucRedis *conn)
{
	conn->out_len = conn->out_sent = 0;
	if (conn->out_size > OUT_KEEP)
	{
		pfree(conn->out);
		conn->out = NULL;
		conn->out_size = 0;
	}
}

/* "value" in decimal before "end"; returns where it begins. */
static char *
decimal(uint64 value, char *end)
{
	do
	{
		*--end = (char) ('0' + value % 10);
		value /= 10;
	} while (value != 0);
	return end;
}

/* TYPE value CR LF; there is room. */
static void
put_number(AucRedis *conn, char type, uint64 value)
{
	char		digits[20];
	char	   *first = decimal(value, digits + sizeof(digits));
	size_t		len = digits + sizeof(digits) - first;
	char	   *out = conn->out + conn->out_len;

	*out++ = type;
	memcpy(out, first, len);
	out += len;
	*out++ = '\r';
	*out++ = '\n';
	conn->out_len = out - conn->out;
}

void
auc_redis_put_header(AucRedis *conn, int nargs)
{
	make_room(conn, 32);
	put_number(conn, '*', (uint64) nargs);
}

void
auc_redis_put(AucRedis *conn, const char *data, size_t len)
{
	char	   *out;

	make_room(conn, len + 32);
	put_number(conn, '$', (uint64) len);
	out = conn->out + conn->out_len;
	memcpy(out, data, len);
	out[len] = '\r';
	out[len + 1] = '\n';
	conn->out_len += len + 2;
}

/* What a closed connection leaves of what was on its way. */
void
auc_redis_forget_output(AucRedis *conn)
{
	reset_output(conn);
	conn->refused = true;
	conn->nlost = conn->npending;
	conn->nunflushed = 0;
}

static void
begin(AucRedis *conn, int nargs, bool script)
{
	Assert(!conn->building && nargs >= 0);
	conn->building = true;
	conn->script = script;
	conn->refused = conn->status != AUC_REDIS_READY ||
		conn->broken[0] != '\0';
	conn->args_left = nargs;
}

/* "nargs" counts the command's name, too. */
void
auc_redis_begin(AucRedis *conn, int nargs)
{
	begin(conn, nargs, false);
	if (!conn->refused)
		auc_redis_put_header(conn, nargs);
}

void
auc_redis_begin_script(AucRedis *conn, int script, int nkeys, int nargs)
{
	char		digits[20];
	char	   *first;

	Assert(script >= 0 && script < AUC_SCRIPT_COUNT && nkeys >= 0);
	begin(conn, nkeys + nargs, true);
	if (conn->refused)
		return;
	first = decimal((uint64) nkeys, digits + sizeof(digits));
	auc_redis_put_header(conn, 3 + nkeys + nargs);
	auc_redis_put(conn, "EVALSHA", 7);
	auc_redis_put(conn, conn->sha[script], AUC_REDIS_SHA_LEN);
	auc_redis_put(conn, first, digits + sizeof(digits) - first);
}

void
auc_redis_arg(AucRedis *conn, const char *data, size_t len)
{
	Assert(conn->building);
	conn->args_left--;
	if (conn->refused)
		return;
	if (len > OUT_MAX || conn->out_len - conn->out_sent > OUT_MAX - len)
	{
		conn->refused = true;
		strlcpy(conn->broken, "Redis does not take what is sent",
				sizeof(conn->broken));
		return;
	}
	auc_redis_put(conn, data, len);
}

void
auc_redis_arg_str(AucRedis *conn, const char *str)
{
	auc_redis_arg(conn, str, strlen(str));
}

void
auc_redis_arg_int64(AucRedis *conn, int64 value)
{
	char		digits[21];
	char	   *end = digits + sizeof(digits);
	char	   *first;

	first = decimal(value < 0 ? -(uint64) value : (uint64) value, end);
	if (value < 0)
		*--first = '-';
	auc_redis_arg(conn, first, end - first);
}

static void
grow_pending(AucRedis *conn)
{
	uint32		size = Max(conn->pending_size * 2, PENDING_MIN);
	AucRedisPending *pending;
	uint32		i;

	pending = MemoryContextAlloc(conn->context, size * sizeof(*pending));
	for (i = 0; i < conn->npending; i++)
		pending[i] = conn->pending[(conn->pending_first + i) &
								   (conn->pending_size - 1)];
	if (conn->pending != NULL)
		pfree(conn->pending);
	conn->pending = pending;
	conn->pending_size = size;
	conn->pending_first = 0;
}

/*
 * A refused command is answered like a lost one: its function is called, with
 * NULL, by the next auc_redis_io().  Behind commands that are still to be
 * closed with their connection ("broken") it becomes lost together with them.
 */
void
auc_redis_end(AucRedis *conn, AucRedisReplyFn fn, void *arg)
{
	AucRedisPending *command;

	Assert(conn->building && conn->args_left == 0);
	conn->building = false;

	/* A wrong count would shift every later reply to the wrong command. */
	if (conn->args_left != 0 && !conn->refused)
		strlcpy(conn->broken, "a command was given a wrong argument count",
				sizeof(conn->broken));

	if (conn->npending == conn->pending_size)
		grow_pending(conn);
	command = &conn->pending[(conn->pending_first + conn->npending) &
							 (conn->pending_size - 1)];
	command->fn = fn;
	command->arg = arg;
	command->sent = DT_NOEND;
	command->script = conn->script;
	conn->npending++;
	if (conn->status == AUC_REDIS_READY)
		conn->nunflushed++;
	else
		conn->nlost++;
}

/* The time counts from here, also for bytes that the socket does not take. */
void
auc_redis_flush(AucRedis *conn, TimestampTz now)
{
	ssize_t		n;

	while (conn->nunflushed > 0)
	{
		uint32		i = conn->pending_first + conn->npending -
			conn->nunflushed;

		conn->pending[i & (conn->pending_size - 1)].sent = now;
		conn->nunflushed--;
	}
	if (conn->socket == PGINVALID_SOCKET || conn->broken[0] != '\0' ||
		conn->out_sent == conn->out_len)
		return;

	while (conn->out_sent < conn->out_len)
	{
		n = send(conn->socket, conn->out + conn->out_sent,
				 conn->out_len - conn->out_sent, MSG_NOSIGNAL);
		if (n >= 0)
			conn->out_sent += n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		else if (errno != EINTR)
		{
			snprintf(conn->broken, sizeof(conn->broken),
					 "could not send to Redis: %m");
			return;
		}
	}
	reset_output(conn);
}

/* The oldest command that a reply may come for, or NULL. */
const AucRedisPending *
auc_redis_oldest(const AucRedis *conn)
{
	if (conn->npending == conn->nlost + conn->nunflushed)
		return NULL;
	return &conn->pending[(conn->pending_first + conn->nlost) &
						  (conn->pending_size - 1)];
}

/* Takes the oldest element of all; false: there is none. */
bool
auc_redis_pop(AucRedis *conn, AucRedisPending *command)
{
	if (conn->npending == 0)
		return false;
	*command = conn->pending[conn->pending_first];
	conn->pending_first = (conn->pending_first + 1) &
		(conn->pending_size - 1);
	conn->npending--;
	if (conn->npending == 0 && conn->pending_size > PENDING_KEEP)
	{
		pfree(conn->pending);
		conn->pending = NULL;
		conn->pending_size = 0;
		conn->pending_first = 0;
	}
	return true;
}

/*
 * Not more than there are now: a function that sends again whatever it loses
 * comes back with the next auc_redis_io(), not in an endless loop.
 */
void
auc_redis_answer_lost(AucRedis *conn)
{
	uint32		n = conn->nlost;
	AucRedisPending command;

	if (conn->calling)
		return;
	conn->calling = true;
	while (n-- > 0 && conn->nlost > 0 && auc_redis_pop(conn, &command))
	{
		conn->nlost--;
		command.fn(command.arg, NULL);
	}
	conn->calling = false;
}

int
auc_redis_outstanding(const AucRedis *conn)
{
	return (int) conn->npending;
}
