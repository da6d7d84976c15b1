/*
 * redis_reply.c: replies from Redis, matched to their commands.
 *
 * hiredis' reader parses; it never decides how much memory is taken: an array
 * header allocates at once, a nested one recurses when it is freed, and
 * hiredis 0.14 calls abort() when memory runs out, which would restart the
 * whole cluster.  So a reply has limits in bytes, elements and depth, and what
 * exceeds one ends the connection.  Whoever asks for much (XRANGE) asks in
 * pieces that stay well below them.
 *
 * Reply n belongs to command n.  A reply is matched only to a command that had
 * been flushed before the bytes were read, so that a reply too many is not
 * taken for the answer to a command that its own reply function sends.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "redis_private.h"

#define REPLY_MAX_BYTES		((size_t) 64 * 1024 * 1024)
#define REPLY_MAX_ELEMENTS	((size_t) 1024 * 1024)
#define REPLY_MAX_DEPTH		7
/* A number, a status, an error; hiredis looks for its end from its start. */
#define REPLY_MAX_LINE		((size_t) 64 * 1024)
#define READ_SIZE			(16 * 1024)
/* A call reads so many times at most: the owner has other things to do. */
#define READ_ROUNDS			64

/* hiredis counted elements in an int before its version 1. */
#if HIREDIS_MAJOR >= 1
typedef size_t AucElementCount;
#else
typedef int AucElementCount;
#endif

static redisReplyObjectFunctions reply_functions;
static void *(*create_any_array) (const redisReadTask *, AucElementCount);

static void *
create_array(const redisReadTask *task, AucElementCount elements)
{
	AucRedis   *conn = task->privdata;
	const redisReadTask *parent;
	int			depth = 0;

	for (parent = task->parent; parent != NULL; parent = parent->parent)
		depth++;
	if (task->type != REDIS_REPLY_ARRAY || depth >= REPLY_MAX_DEPTH ||
		(size_t) elements > REPLY_MAX_ELEMENTS - conn->reply_elements)
	{
		conn->reply_refused = true;
		return NULL;
	}
	conn->reply_elements += (size_t) elements;
	return create_any_array(task, elements);
}

/* hiredis' own functions make the replies; only arrays are looked at first. */
bool
auc_redis_start_reader(AucRedis *conn)
{
	conn->reader = redisReaderCreate();
	if (conn->reader == NULL)
		return false;
	if (create_any_array == NULL)
	{
		reply_functions = *conn->reader->fn;
		create_any_array = reply_functions.createArray;
		reply_functions.createArray = create_array;
	}
	conn->reader->fn = &reply_functions;
	conn->reader->privdata = conn;
	conn->reply_bytes = 0;
	conn->reply_elements = 0;
	conn->reply_refused = false;
	return true;
}

static bool
repeats(const char *text, size_t len, const char *secret)
{
	size_t		secret_len = strlen(secret);
	size_t		i;

	if (secret_len == 0)
		return false;
	for (i = 0; i + secret_len <= len; i++)
	{
		if (memcmp(text + i, secret, secret_len) == 0)
			return true;
	}
	return false;
}

/*
 * Text from Redis for a person to read: one line, printable ASCII, bounded.
 * Redis repeats the arguments of a command it does not know, cut off at some
 * length, and those of AUTH are nobody's business.
 */
void
auc_redis_clean_text(const AucRedis *conn, char *buf, size_t size,
					 const char *text, size_t len)
{
	char	   *arguments;
	size_t		i;

	if (repeats(text, len, conn->target.password))
	{
		strlcpy(buf, "(not shown: it repeats the password)", size);
		return;
	}
	if (len > size - 1)
		len = size - 1;
	for (i = 0; i < len; i++)
		buf[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	buf[len] = '\0';

	arguments = strstr(buf, ", with args");
	if (arguments != NULL)
		*arguments = '\0';
}

void
auc_redis_close_refused(AucRedis *conn, const char *what,
						const redisReply *reply)
{
	const redisReply *said = reply;
	AucRedisFault fault = AUC_FAULT_PROTOCOL;
	char		text[200] = "an unexpected answer";

	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0)
		said = reply->element[0];
	if (reply->type == REDIS_REPLY_ERROR)
		fault = auc_redis_fault_of(reply->str, reply->len);
	else if (said != reply && said->type == REDIS_REPLY_STRING)
		fault = AUC_FAULT_REFUSED;
	if (said->type == REDIS_REPLY_ERROR || said->type == REDIS_REPLY_STRING)
		auc_redis_clean_text(conn, text, sizeof(text), said->str, said->len);
	/* callers make sentences of it */
	if (text[0] != '\0' && text[strlen(text) - 1] == '.')
		text[strlen(text) - 1] = '\0';
	auc_redis_fail(conn, fault, "%s: %s", what, text);
}

static bool
is_noscript(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR && reply->len >= 8 &&
		memcmp(reply->str, "NOSCRIPT", 8) == 0;
}

/* false: the connection is not the one that the reply came from any more. */
static bool
deliver(AucRedis *conn, const redisReply *reply, uint32 *answerable)
{
	uint32		generation = conn->generation;
	AucRedisPending command;

	if (reply->type < REDIS_REPLY_STRING || reply->type > REDIS_REPLY_ERROR)
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL,
					   "unexpected reply of type %d from Redis", reply->type);
		return false;
	}
	if (conn->status == AUC_REDIS_GREETING)
	{
		auc_redis_greeting_reply(conn, reply);
		return conn->generation == generation;
	}

	auc_redis_answer_lost(conn);
	if (conn->generation != generation)
		return false;
	if (*answerable == 0 || conn->nlost > 0 ||
		!auc_redis_pop(conn, &command))
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL,
					   "Redis sent a reply that no command asked for");
		return false;
	}
	(*answerable)--;
	conn->calling = true;
	command.fn(command.arg, reply);
	conn->calling = false;
	if (conn->generation != generation)
		return false;

	/* The next connection loads the scripts again. */
	if (command.script && is_noscript(reply))
	{
		auc_redis_fail(conn, AUC_FAULT_NOSCRIPT, "Redis has lost the scripts");
		return false;
	}
	return true;
}

static void
parse_error(AucRedis *conn)
{
	const redisReader *reader = conn->reader;
	char		text[128];

	if (conn->reply_refused)
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL, "Redis sent too large or unknown a reply");
		return;
	}
	auc_redis_clean_text(conn, text, sizeof(text), reader->errstr,
						 strlen(reader->errstr));
	auc_redis_fail(conn, AUC_FAULT_PROTOCOL,
				   "Redis does not speak its protocol: %s", text);
}

/*
 * Does what is left over begin with a line that is too long?  Its limit is its
 * own, because the time to find that it has no end grows with the square of
 * its length.
 */
static bool
line_too_long(const redisReader *reader)
{
	size_t		left = reader->len - reader->pos;

	return left > REPLY_MAX_LINE &&
		memchr(reader->buf + reader->pos, '\n', REPLY_MAX_LINE) == NULL;
}

/* What was read; false: the connection is gone. */
static bool
take(AucRedis *conn, const char *data, size_t len)
{
	uint32		answerable = conn->npending - conn->nlost - conn->nunflushed;
	void	   *reply;
	bool		alive;

	conn->reply_bytes += len;
	if (redisReaderFeed(conn->reader, data, len) != REDIS_OK)
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL, "out of memory for a reply of Redis");
		return false;
	}
	for (;;)
	{
		if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK)
		{
			parse_error(conn);
			return false;
		}
		if (reply == NULL)
			break;
		alive = deliver(conn, reply, &answerable);
		freeReplyObject(reply);
		if (!alive)
			return false;
		conn->reply_bytes = conn->reader->len - conn->reader->pos;
		conn->reply_elements = 0;
	}

	if (conn->reply_bytes > REPLY_MAX_BYTES || line_too_long(conn->reader))
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL, "Redis sent too large a reply");
		return false;
	}
	/* The beginning of a reply that nobody waits for says enough. */
	if (conn->status == AUC_REDIS_READY && answerable == 0 &&
		conn->reply_bytes > 0)
	{
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL,
					   "Redis sent a reply that no command asked for");
		return false;
	}
	return true;
}

void
auc_redis_read(AucRedis *conn)
{
	char		data[READ_SIZE];
	ssize_t		n;
	int			round;

	for (round = 0; round < READ_ROUNDS; round++)
	{
		n = recv(conn->socket, data, sizeof(data), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0)
		{
			auc_redis_fail(conn, AUC_FAULT_LOST,
						   "could not read from Redis: %m");
			return;
		}
		if (n == 0)
		{
			auc_redis_fail(conn, AUC_FAULT_LOST, "Redis closed the connection");
			return;
		}
		if (!take(conn, data, (size_t) n))
			return;
		/* Most likely all there was; more shows with the next wakeup. */
		if ((size_t) n < sizeof(data))
			return;
	}
}
