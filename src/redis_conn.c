/*
 * redis_conn.c: life of a connection to Redis.
 *
 * One process owns a connection and calls everything here; nothing waits.
 *
 * CLOSED -> CONNECTING    auc_redis_connect(): socket() and connect()
 * CONNECTING -> GREETING  the socket is writable and has no SO_ERROR; a unix
 *                         socket gets here within auc_redis_connect()
 * GREETING -> READY       redis_greeting.c has its last reply
 * any -> CLOSED           auc_redis_close(), by the owner or by ourselves
 *
 * Reply functions are called from within auc_redis_io(), auc_redis_close() and
 * auc_redis_connect() only: an owner that sends does not find its state
 * changed under its hands.  What goes wrong elsewhere (a send that fails, a
 * command outside READY) is noted, makes auc_redis_deadline() say "at once",
 * and is dealt with by the next auc_redis_io().  A reply function may close,
 * connect and send; if it closes, the remaining commands are answered after it
 * has returned, so that reply functions never nest.
 *
 * The time is what the owner passes in.  auc_redis_connect() knows none, hence
 * the first auc_redis_io() after it starts the clock of the connect timeout.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "storage/fd.h"
#include "storage/latch.h"

#include "redis_private.h"

typedef union AucRedisAddress
{
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
} AucRedisAddress;

AucRedis *
auc_redis_create(MemoryContext context)
{
	AucRedis   *conn = MemoryContextAllocZero(context, sizeof(AucRedis));

	conn->context = context;
	conn->status = AUC_REDIS_CLOSED;
	conn->socket = PGINVALID_SOCKET;
	return conn;
}

/* false: neither a path nor a numeric address. */
static bool
make_address(const AucRedisTarget *target, AucRedisAddress *address,
			 socklen_t *len)
{
	memset(address, 0, sizeof(*address));
	if (target->address[0] == '/')
	{
		address->un.sun_family = AF_UNIX;
		*len = sizeof(address->un);
		return strlcpy(address->un.sun_path, target->address,
					   sizeof(address->un.sun_path)) <
			sizeof(address->un.sun_path);
	}
	if (inet_pton(AF_INET, target->address, &address->in.sin_addr) == 1)
	{
		address->in.sin_family = AF_INET;
		address->in.sin_port = htons((uint16) target->port);
		*len = sizeof(address->in);
		return true;
	}
	if (inet_pton(AF_INET6, target->address, &address->in6.sin6_addr) == 1)
	{
		address->in6.sin6_family = AF_INET6;
		address->in6.sin6_port = htons((uint16) target->port);
		*len = sizeof(address->in6);
		return true;
	}
	return false;
}

/* The socket is there, ours and non-blocking; else closed with a reason. */
static bool
open_socket(AucRedis *conn, int family)
{
	int			on = 1;

	if (!AcquireExternalFD())
	{
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE,
					   "could not open a socket: no file is free");
		return false;
	}
	conn->socket = socket(family, SOCK_STREAM, 0);
	if (conn->socket == PGINVALID_SOCKET)
	{
		int			save_errno = errno;

		ReleaseExternalFD();
		errno = save_errno;
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE, "could not open a socket: %m");
		return false;
	}
	conn->generation++;

	/* Batches are made above; Nagle's algorithm would only hold them back. */
	if (!pg_set_noblock(conn->socket) ||
		fcntl(conn->socket, F_SETFD, FD_CLOEXEC) < 0 ||
		(family != AF_UNIX &&
		 setsockopt(conn->socket, IPPROTO_TCP, TCP_NODELAY,
					&on, sizeof(on)) < 0))
	{
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE, "could not set up a socket: %m");
		return false;
	}
	return true;
}

static void
start_greeting(AucRedis *conn)
{
	if (!auc_redis_start_reader(conn))
	{
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE, "out of memory");
		return;
	}
	conn->status = AUC_REDIS_GREETING;
	auc_redis_greet(conn);
}

void
auc_redis_connect(AucRedis *conn, const AucRedisTarget *target)
{
	AucRedisAddress address;
	socklen_t	len = 0;

	if (conn->status != AUC_REDIS_CLOSED)
		auc_redis_close(conn, "the connection is made anew");

	conn->target = *target;
	conn->status = AUC_REDIS_CONNECTING;
	conn->ready_by = 0;
	conn->error[0] = '\0';
	conn->fault = AUC_FAULT_NONE;
	conn->run_id[0] = '\0';
	conn->waitaof = false;
	if (!make_address(target, &address, &len))
	{
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE,
					   "the address is no number and no socket path");
		return;
	}
	if (!open_socket(conn, address.any.sa_family))
		return;

	/* An interrupted connect() goes on by itself, like one in progress. */
	if (connect(conn->socket, &address.any, len) == 0)
		start_greeting(conn);
	else if (errno != EINPROGRESS && errno != EINTR)
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE,
					   "could not connect: %m");
}

/* Something happened to the socket that connects. */
static void
finish_connect(AucRedis *conn)
{
	AucRedisAddress peer;
	int			error = 0;
	socklen_t	len = sizeof(error);

	if (getsockopt(conn->socket, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
	{
		errno = error;
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE,
					   "could not connect: %m");
		return;
	}

	/* A wakeup without cause: not connected, and no error either. */
	len = sizeof(peer);
	if (getpeername(conn->socket, &peer.any, &len) < 0)
	{
		if (errno == ENOTCONN)
			return;
		auc_redis_fail(conn, AUC_FAULT_UNREACHABLE,
					   "could not connect: %m");
		return;
	}
	start_greeting(conn);
}

static void
close_for(AucRedis *conn, AucRedisFault fault, const char *reason)
{
	if (conn->status != AUC_REDIS_CLOSED)
	{
		if (conn->socket != PGINVALID_SOCKET)
		{
			closesocket(conn->socket);
			ReleaseExternalFD();
			conn->socket = PGINVALID_SOCKET;
			conn->generation++;
		}
		if (conn->reader != NULL)
		{
			redisReaderFree(conn->reader);
			conn->reader = NULL;
		}
		conn->status = AUC_REDIS_CLOSED;
		auc_redis_forget_output(conn);
		conn->fault = fault;
		strlcpy(conn->error, reason, sizeof(conn->error));
		conn->broken[0] = '\0';
	}
	auc_redis_answer_lost(conn);
}

void
auc_redis_close(AucRedis *conn, const char *reason)
{
	close_for(conn, AUC_FAULT_LEFT, reason);
}

void
auc_redis_fail(AucRedis *conn, AucRedisFault fault, const char *format,...)
{
	char		reason[sizeof(conn->error)];
	va_list		args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	close_for(conn, fault, reason);
}

AucRedisStatus
auc_redis_status(const AucRedis *conn)
{
	return conn->status;
}

const char *
auc_redis_error(const AucRedis *conn)
{
	return conn->error;
}

AucRedisFault
auc_redis_fault(const AucRedis *conn)
{
	return conn->fault;
}

const char *
auc_redis_run_id(const AucRedis *conn)
{
	return conn->status == AUC_REDIS_READY ? conn->run_id : "";
}

bool
auc_redis_waitaof(const AucRedis *conn)
{
	return conn->status == AUC_REDIS_READY && conn->waitaof;
}

pgsocket
auc_redis_socket(const AucRedis *conn)
{
	return conn->socket;
}

uint32
auc_redis_generation(const AucRedis *conn)
{
	return conn->generation;
}

uint32
auc_redis_events(const AucRedis *conn)
{
	switch (conn->status)
	{
		case AUC_REDIS_CLOSED:
			return 0;
		case AUC_REDIS_CONNECTING:
			return WL_SOCKET_WRITEABLE;
		case AUC_REDIS_GREETING:
		case AUC_REDIS_READY:
			break;
	}
	if (conn->out_sent < conn->out_len)
		return WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE;
	return WL_SOCKET_READABLE;
}

/* When the connection has taken too long; DT_NOEND: nothing is waited for. */
static TimestampTz
timeout_at(const AucRedis *conn)
{
	const AucRedisPending *oldest;

	switch (conn->status)
	{
		case AUC_REDIS_CLOSED:
			return DT_NOEND;
		case AUC_REDIS_CONNECTING:
		case AUC_REDIS_GREETING:
			return conn->ready_by;
		case AUC_REDIS_READY:
			break;
	}
	oldest = auc_redis_oldest(conn);
	if (oldest == NULL || conn->target.command_timeout <= 0)
		return DT_NOEND;
	return oldest->sent + conn->target.command_timeout * INT64CONST(1000);
}

TimestampTz
auc_redis_deadline(const AucRedis *conn)
{
	if (conn->nlost > 0 || conn->broken[0] != '\0')
		return 0;
	return timeout_at(conn);
}

static void
check_timeout(AucRedis *conn, TimestampTz now)
{
	if (now < timeout_at(conn))
		return;
	if (conn->status == AUC_REDIS_READY)
		auc_redis_fail(conn, AUC_FAULT_TIMEOUT, "no reply within %d ms",
					   conn->target.command_timeout);
	else
		auc_redis_fail(conn, AUC_FAULT_TIMEOUT, "%s within %d ms",
					   conn->status == AUC_REDIS_CONNECTING ?
					   "could not connect" : "no answer to the greeting",
					   conn->target.connect_timeout);
}

/*
 * Reads before it looks at the clock: an owner that was held up itself must
 * not take a reply that has arrived long ago for a missing one.  Reads before
 * it gives up a socket that refused a send, too, because what Redis said last
 * is the better reason.
 */
void
auc_redis_io(AucRedis *conn, uint32 events, TimestampTz now)
{
	uint32		generation;

	/* A reply function has no business here; its caller goes on anyway. */
	if (conn->calling)
		return;

	auc_redis_answer_lost(conn);
	if (conn->status == AUC_REDIS_CLOSED)
		return;
	generation = conn->generation;

	if (conn->status == AUC_REDIS_CONNECTING ||
		conn->status == AUC_REDIS_GREETING)
	{
		if (conn->ready_by == 0)
			conn->ready_by = conn->target.connect_timeout <= 0 ? DT_NOEND :
				now + conn->target.connect_timeout * INT64CONST(1000);
		if (conn->status == AUC_REDIS_CONNECTING && events != 0)
			finish_connect(conn);
	}
	if ((conn->status == AUC_REDIS_GREETING ||
		 conn->status == AUC_REDIS_READY) &&
		((events & WL_SOCKET_READABLE) != 0 || conn->broken[0] != '\0' ||
		 now >= timeout_at(conn)))
		auc_redis_read(conn);

	/* A reply function may have made another connection: that has time. */
	if (conn->generation == generation && conn->status != AUC_REDIS_CLOSED)
	{
		auc_redis_flush(conn, now);
		if (conn->broken[0] != '\0')
			auc_redis_fail(conn, AUC_FAULT_LOST, "%s", conn->broken);
		else
			check_timeout(conn, now);
	}
	auc_redis_answer_lost(conn);
}
