/*
 * harness.h: a connection to Redis outside PostgreSQL.
 *
 * Memory and file descriptors are counted as PostgreSQL would see them; the
 * time is the real one plus "clock_skew", so that a test need not wait for a
 * timeout.
 */
#ifndef AUC_TEST_HARNESS_H
#define AUC_TEST_HARNESS_H

#include "postgres.h"

#include <sys/types.h>

#include "redis_conn.h"
#include "redis_script.h"

#define SECOND	INT64CONST(1000000)
#define HOUR	(3600 * SECOND)

/* What reply functions have seen; reply n of a test is seen[n]. */
#define MAX_SEEN	20000
typedef struct Seen
{
	long		tag;			/* the argument of the function */
	int			type;			/* 0: lost */
	long long	integer;
	char		text[80];
} Seen;

extern Seen seen[MAX_SEEN];
extern int	nseen;

extern TimestampTz clock_skew;
extern size_t live_bytes;		/* allocated and not freed */
extern int	external_fds;

extern char test_dir[64];

extern void harness_start(void);
extern void harness_child(void);
extern TimestampTz clock_now(void);

/* A Redis of our own; it ends with the program. */
extern pid_t server;
extern int	server_port;
extern char server_path[80];
extern void start_server(void);
extern void stop_server(void);
extern int	free_port(void);

/* One round of an owner's loop: waits a little, then auc_redis_io(). */
extern void step(AucRedis *conn);
extern bool run_until(AucRedis *conn, AucRedisStatus status);
extern bool run_until_seen(AucRedis *conn, int n);
extern void note_reply(void *arg, const redisReply *reply);

/* A command of words; its reply is noted under "tag". */
extern void command(AucRedis *conn, long tag, int n,...);
extern void target_path(AucRedisTarget *target, const char *path);

#endif							/* AUC_TEST_HARNESS_H */
