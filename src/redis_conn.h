/*
 * redis_conn.h: one non-blocking connection to Redis inside a worker.
 *
 * Knows neither shared memory nor SQL nor lanes.  The owner puts the socket
 * into its own WaitEventSet: it asks auc_redis_socket() and
 * auc_redis_events(), and hands what happened to auc_redis_io(); deadlines are
 * kept by calling auc_redis_io(conn, 0) not later than auc_redis_deadline().
 * Nothing here ever waits: no getaddrinfo, no blocking hiredis call.
 *
 * Reply n belongs to command n.  After any error, timeout or surprise the
 * connection is closed, every command still unanswered is answered with
 * reply == NULL (its outcome is unknown), and nothing of it is used again.
 *
 * Life: CLOSED -> CONNECTING -> GREETING (AUTH, SELECT, INFO server,
 * SCRIPT LOAD) -> READY -> CLOSED.  Commands are taken in READY only.
 */
#ifndef AUC_REDIS_CONN_H
#define AUC_REDIS_CONN_H

#include "postgres.h"

#include <hiredis/hiredis.h>

#include "datatype/timestamp.h"
#include "port.h"
#include "redis_error.h"

typedef enum AucRedisStatus
{
	AUC_REDIS_CLOSED,
	AUC_REDIS_CONNECTING,
	AUC_REDIS_GREETING,
	AUC_REDIS_READY
} AucRedisStatus;

typedef struct AucRedisTarget
{
	char		address[256];	/* numeric IPv4/IPv6, or a socket's path */
	int			port;			/* unused for a path */
	int			db;
	char		username[128];	/* "": AUTH with the password alone */
	char		password[512];	/* "": no AUTH */
	int			connect_timeout;	/* ms, connect and greeting together */
	int			command_timeout;	/* ms, of the oldest unanswered command */
} AucRedisTarget;

typedef struct AucRedis AucRedis;

/*
 * Called once for each command, in order.  "reply" is valid during the call
 * only; NULL: the connection was lost, the outcome is unknown.  A reply of
 * type REDIS_REPLY_ERROR is handed over like any other.  The function must not
 * throw and may send further commands, or close the connection.
 */
typedef void (*AucRedisReplyFn) (void *arg, const redisReply *reply);

/* Lives in "context"; everything hiredis allocates is freed on close. */
extern AucRedis *auc_redis_create(MemoryContext context);
/* Begins to connect; an error shows as CLOSED with auc_redis_error(). */
extern void auc_redis_connect(AucRedis *conn, const AucRedisTarget *target);
/*
 * Also answers what is outstanding, with NULL; called by a reply function,
 * after that has returned.  "reason" is for auc_redis_error(); the fault is
 * AUC_FAULT_LEFT.
 */
extern void auc_redis_close(AucRedis *conn, const char *reason);
/*
 * The same because of a reply that nobody can work with.  The reason is
 * "what: its text"; the fault is that of an error reply, AUC_FAULT_REFUSED for
 * another answer of a script, else AUC_FAULT_PROTOCOL.
 */
extern void auc_redis_close_refused(AucRedis *conn, const char *what,
									const redisReply *reply);

extern AucRedisStatus auc_redis_status(const AucRedis *conn);
/* Why it was closed last; never holds a secret; bounded, valid encoding. */
extern const char *auc_redis_error(const AucRedis *conn);
extern AucRedisFault auc_redis_fault(const AucRedis *conn);
/* The server's run_id (INFO server), "" before READY. */
extern const char *auc_redis_run_id(const AucRedis *conn);
/* Has a WAITAOF that can be relied on (redis_version.h); false before READY. */
extern bool auc_redis_waitaof(const AucRedis *conn);
extern pgsocket auc_redis_socket(const AucRedis *conn);
/* WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE (connecting, output pending) */
extern uint32 auc_redis_events(const AucRedis *conn);
/* Changes with the socket: the owner rebuilds its WaitEventSet then. */
extern uint32 auc_redis_generation(const AucRedis *conn);
/*
 * When to call auc_redis_io() at the latest; DT_NOEND: nothing is due.  A time
 * long past means at once: after auc_redis_connect(), whose timeout counts
 * from the first auc_redis_io(), and when something is to be cleaned up.
 */
extern TimestampTz auc_redis_deadline(const AucRedis *conn);
extern void auc_redis_io(AucRedis *conn, uint32 events, TimestampTz now);
extern int	auc_redis_outstanding(const AucRedis *conn);

/*
 * A command: begin, then exactly nargs arguments (its name is the first), then
 * end.  It is sent by the next auc_redis_io() or auc_redis_flush().  For a
 * script nkeys + nargs arguments follow (EVALSHA sha nkeys ...).  None of
 * these functions calls a reply function: outside READY, or when a send fails,
 * the next auc_redis_io() answers with NULL.
 */
extern void auc_redis_begin(AucRedis *conn, int nargs);
extern void auc_redis_begin_script(AucRedis *conn, int script, int nkeys,
								   int nargs);
extern void auc_redis_arg(AucRedis *conn, const char *data, size_t len);
extern void auc_redis_arg_str(AucRedis *conn, const char *str);
extern void auc_redis_arg_int64(AucRedis *conn, int64 value);
extern void auc_redis_end(AucRedis *conn, AucRedisReplyFn fn, void *arg);
extern void auc_redis_flush(AucRedis *conn, TimestampTz now);

#endif							/* AUC_REDIS_CONN_H */
