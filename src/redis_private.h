/*
 * redis_private.h: what the files of one connection share.
 *
 * redis_conn.c     life of a connection: socket, states, deadlines
 * redis_command.c  commands into the output buffer, the buffer to the socket
 * redis_reply.c    the socket into replies, replies to their commands
 * redis_greeting.c the first commands of every connection
 *
 * Include it from these files only.
 *
 * The pending ring holds one element for each command whose function has not
 * been called, oldest first, in three stretches:
 *
 *   lost       the first "nlost": their connection is gone; to be answered
 *              with NULL.  While the status is not READY there are no others.
 *   flushed    handed to the socket; a reply may come
 *   unflushed  the last "nunflushed": nothing of them may have been answered
 */
#ifndef AUC_REDIS_PRIVATE_H
#define AUC_REDIS_PRIVATE_H

#include "redis_conn.h"
#include "redis_script.h"

#define AUC_REDIS_SHA_LEN	40

typedef struct AucRedisPending
{
	AucRedisReplyFn fn;
	void	   *arg;
	TimestampTz sent;			/* when it was flushed */
	bool		script;			/* EVALSHA: NOSCRIPT ends the connection */
} AucRedisPending;

struct AucRedis
{
	MemoryContext context;

	/* redis_conn.c */
	AucRedisStatus status;
	pgsocket	socket;
	uint32		generation;		/* changes with the socket */
	AucRedisTarget target;
	TimestampTz ready_by;		/* 0: auc_redis_io() has not told the time */
	bool		calling;		/* inside a reply function */
	AucRedisFault fault;
	char		error[512];
	char		broken[256];	/* not "": the next auc_redis_io() closes */

	/* redis_command.c */
	char	   *out;			/* NULL or out_size bytes */
	size_t		out_size;
	size_t		out_len;		/* filled up to here */
	size_t		out_sent;		/* taken by the kernel up to here */
	bool		building;		/* between begin and end */
	bool		refused;		/* the command begun does not count */
	bool		script;
	int			args_left;
	AucRedisPending *pending;	/* NULL or pending_size elements */
	uint32		pending_size;	/* a power of two */
	uint32		pending_first;	/* index of the oldest */
	uint32		npending;
	uint32		nlost;
	uint32		nunflushed;

	/* redis_reply.c */
	redisReader *reader;
	size_t		reply_bytes;	/* of the reply being read */
	size_t		reply_elements;
	bool		reply_refused;	/* too large, or of a type RESP2 has not */

	/* redis_greeting.c */
	int			greeting_step;
	char		run_id[AUC_REDIS_SHA_LEN + 1];
	bool		waitaof;
	char		sha[AUC_SCRIPT_COUNT][AUC_REDIS_SHA_LEN + 1];
};

/* redis_command.c */
extern void auc_redis_put_header(AucRedis *conn, int nargs);
extern void auc_redis_put(AucRedis *conn, const char *data, size_t len);
extern void auc_redis_answer_lost(AucRedis *conn);
extern bool auc_redis_pop(AucRedis *conn, AucRedisPending *command);
extern const AucRedisPending *auc_redis_oldest(const AucRedis *conn);
extern void auc_redis_forget_output(AucRedis *conn);

/* redis_reply.c */
extern bool auc_redis_start_reader(AucRedis *conn);
extern void auc_redis_read(AucRedis *conn);
extern void auc_redis_clean_text(const AucRedis *conn, char *buf, size_t size,
								 const char *text, size_t len);

/* redis_greeting.c */
extern void auc_redis_greet(AucRedis *conn);
extern void auc_redis_greeting_reply(AucRedis *conn, const redisReply *reply);

/* redis_conn.c */
extern void auc_redis_fail(AucRedis *conn, AucRedisFault fault,
						   const char *format,...)
			pg_attribute_printf(3, 4);

#endif							/* AUC_REDIS_PRIVATE_H */
