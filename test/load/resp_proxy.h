/*
 * resp_proxy.h: what the files of the proxy share.
 *
 * resp_proxy.c        arguments, the loop, the commands on standard input
 * resp_proxy_pipe.c   one direction of a connection: bytes that wait
 * resp_proxy_fault.c  where a fault strikes, and what it does to the bytes
 *
 * One process, one thread; only the loop waits.
 */
#ifndef RESP_PROXY_H
#define RESP_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum Direction
{
	COMMANDS,					/* from the client to Redis */
	REPLIES						/* from Redis to the client */
} Direction;

/*
 * Where messages end.  Commands and replies are alike: a line, which may
 * announce bytes or further elements.  Depth does not matter for the end.
 */
typedef struct Framing
{
	int64_t		elements;		/* that are still to come; 0: at a beginning */
	int64_t		bytes;			/* of a string that are still to come */
	char		line[32];		/* its beginning */
	int			line_len;
} Framing;

/* Bytes up to "end" (counted since the connection began) go at "due". */
typedef struct Batch
{
	uint64_t	end;
	int64_t		due;			/* us */
} Batch;

typedef struct Pipe
{
	int			to;				/* file descriptor */
	Framing		framing;
	uint64_t	nbytes;			/* that have come */
	uint64_t	nmessages;		/* that have begun */
	char	   *message;		/* the one that is coming */
	size_t		message_len;
	size_t		message_size;

	char	   *out;			/* waits to be sent */
	size_t		out_len;
	size_t		out_size;
	uint64_t	taken;			/* bytes sent since the connection began */
	Batch	   *batches;
	int			nbatches;
	int			batches_size;

	int64_t		not_before;		/* us; a delay */
	size_t		skip;			/* bytes that are replaced: do not go on */
	bool		skip_message;
	bool		again;			/* the message is said twice */
	bool		halted;			/* nothing goes on any more */
	bool		flooding;
	bool		ending;			/* the connection ends when all is sent */
} Pipe;

typedef struct Conn
{
	bool		used;
	int			client;
	int			redis;
	uint64_t	number;			/* 1 is the proxy's first connection */
	Pipe		pipes[2];		/* by Direction */
	bool	   *matches;		/* of each command not yet answered */
	int			nmatches;
	int			matches_size;
} Conn;

/* resp_proxy.c */
extern int64_t now_us(void);
extern void *grown(void *array, int have, int *size, size_t element);

/* resp_proxy_pipe.c */
extern bool framing_byte(Framing *framing, char c);
extern void pipe_put(Pipe *pipe, const char *data, size_t len, int64_t due);
extern bool pipe_send(Pipe *pipe);
extern int64_t pipe_due(const Pipe *pipe);
extern void pipe_free(Pipe *pipe);

/* resp_proxy_fault.c */
extern uint64_t faults_fired;
extern int	faults_waiting(void);
extern const char *fault_add(char *words);
extern void faults_clear(void);
extern void fault_connected(Conn *conn);
extern void fault_disconnected(Conn *conn);
extern void fault_feed(Conn *conn, Direction direction, const char *data,
					   size_t len, int slow_ms);

#endif							/* RESP_PROXY_H */
