/*
 * resp_proxy_fault.c: faults, one after the other.
 *
 * The oldest fault that has not struck as often as it is to is the current
 * one; the next is looked at when that one is done.  A fault counts bytes and
 * messages of its direction on one connection, from its beginning on: the next
 * byte, the next connection, or the answer to a command that holds a text.  If
 * that connection ends before the fault has struck, it begins anew.
 */
#include <stdlib.h>
#include <string.h>

#include "resp_proxy.h"

#define MAX_FAULTS	256
#define MAX_BYTES	4096		/* of with= */

typedef enum Action
{
	CUT, HALT, DELAY, AGAIN, REPLACE, INSERT, FLOOD
} Action;

static const char *const action_names[] = {
	"cut", "halt", "delay", "again", "replace", "insert", "flood"
};

typedef struct Fault
{
	Action		action;
	Direction	direction;
	bool		by_message;		/* else by byte */
	uint64_t	at;
	bool		since_connect;
	char		match[128];		/* "": any command */
	uint64_t	times;
	int64_t		ms;
	size_t		len;
	char		with[MAX_BYTES];
	size_t		with_len;

	/* while it is the current one */
	Conn	   *conn;			/* NULL: it has not begun */
	uint64_t	number;			/* of that connection */
	bool		pending;		/* the matching command is not answered yet */
	uint64_t	from_byte;
	uint64_t	from_message;
} Fault;

uint64_t	faults_fired = 0;
static Fault faults[MAX_FAULTS];
static int	nfaults = 0;

int
faults_waiting(void)
{
	return nfaults;
}

void
faults_clear(void)
{
	nfaults = 0;
}

/* ---- a fault in words ---- */

static const char *
parse_hex(Fault *fault, const char *text)
{
	size_t		n = strlen(text) / 2;

	if (strlen(text) % 2 != 0 || n > MAX_BYTES ||
		strspn(text, "0123456789abcdefABCDEF") != strlen(text))
		return "with= takes hexadecimal digits, two a byte";
	for (size_t i = 0; i < n; i++)
	{
		char		two[3] = {text[2 * i], text[2 * i + 1], '\0'};

		fault->with[i] = (char) strtol(two, NULL, 16);
	}
	fault->with_len = n;
	return NULL;
}

static const char *
parse_word(Fault *fault, const char *name, const char *value)
{
	char	   *end;
	uint64_t	number = strtoull(value, &end, 10);
	bool		is_number = *value != '\0' && *end == '\0';

	if (strcmp(name, "with") == 0)
		return parse_hex(fault, value);
	if (strcmp(name, "match") == 0)
	{
		if (strlen(value) >= sizeof(fault->match))
			return "match= is too long";
		strcpy(fault->match, value);
		return NULL;
	}
	if (strcmp(name, "since") == 0 && strcmp(value, "connect") == 0)
		fault->since_connect = true;
	else if (strcmp(name, "of") == 0 && strcmp(value, "commands") == 0)
		fault->direction = COMMANDS;
	else if (!is_number)
		return "unknown word, or no number";
	else if (strcmp(name, "byte") == 0)
		fault->at = number;
	else if (strcmp(name, "message") == 0 && number > 0)
	{
		fault->by_message = true;
		fault->at = number;
	}
	else if (strcmp(name, "times") == 0)
		fault->times = number;
	else if (strcmp(name, "ms") == 0)
		fault->ms = number;
	else if (strcmp(name, "len") == 0)
		fault->len = number;
	else
		return "unknown word";
	return NULL;
}

/* Adds the fault behind the others; NULL, or what is wrong. */
const char *
fault_add(char *words)
{
	Fault	   *fault = &faults[nfaults];
	char	   *word = strtok(words, " ");
	const char *problem;
	int			action = 0;

	if (nfaults == MAX_FAULTS)
		return "too many faults";
	memset(fault, 0, sizeof(*fault));
	fault->direction = REPLIES;
	fault->times = 1;
	fault->len = 1;
	while (action <= FLOOD && (word == NULL ||
							   strcmp(word, action_names[action]) != 0))
		action++;
	if (action > FLOOD)
		return "unknown action";
	fault->action = action;
	while ((word = strtok(NULL, " ")) != NULL)
	{
		char	   *value = strchr(word, '=');

		if (value == NULL)
			return "a word is NAME=VALUE";
		*value++ = '\0';
		problem = parse_word(fault, word, value);
		if (problem != NULL)
			return problem;
	}
	if (fault->direction == COMMANDS && fault->match[0] != '\0')
		return "match= is for replies";
	nfaults++;
	return NULL;
}

/* ---- where it strikes ---- */

static void
begin_at(Fault *fault, Conn *conn)
{
	const Pipe *pipe = &conn->pipes[fault->direction];

	fault->conn = conn;
	fault->number = conn->number;
	fault->pending = false;
	fault->from_byte = pipe->nbytes;
	fault->from_message = pipe->nmessages;
}

void
fault_connected(Conn *conn)
{
	if (nfaults > 0 && faults[0].conn == NULL && faults[0].since_connect &&
		faults[0].match[0] == '\0')
		begin_at(&faults[0], conn);
}

void
fault_disconnected(Conn *conn)
{
	if (nfaults > 0 && faults[0].conn == conn)
		faults[0].conn = NULL;
}

/* A command has come as a whole: is a fault about its answer? */
static void
note_command(Conn *conn)
{
	const Pipe *pipe = &conn->pipes[COMMANDS];
	Fault	   *fault = &faults[0];
	bool		match = false;

	if (nfaults > 0 && fault->conn == NULL && fault->match[0] != '\0' &&
		memmem(pipe->message, pipe->message_len, fault->match,
			   strlen(fault->match)) != NULL)
	{
		match = true;
		fault->conn = conn;
		fault->number = conn->number;
		fault->pending = true;
	}
	conn->matches = grown(conn->matches, conn->nmatches, &conn->matches_size,
						  sizeof(bool));
	conn->matches[conn->nmatches++] = match;
}

/* A reply begins: it is the answer to the oldest command. */
static void
note_reply(Conn *conn)
{
	bool		match = false;

	if (conn->nmatches > 0)
	{
		match = conn->matches[0];
		conn->nmatches--;
		memmove(conn->matches, conn->matches + 1,
				conn->nmatches * sizeof(bool));
	}
	if (match && nfaults > 0 && faults[0].conn == conn && faults[0].pending)
		begin_at(&faults[0], conn);
}

/* Does it strike before the byte that comes now? */
static bool
strikes(Fault *fault, Conn *conn, Direction direction, bool first)
{
	const Pipe *pipe = &conn->pipes[direction];

	if (fault->direction != direction)
		return false;
	if (fault->conn == NULL && !fault->since_connect &&
		fault->match[0] == '\0' && (!fault->by_message || first))
		begin_at(fault, conn);
	if (fault->conn != conn || fault->pending)
		return false;
	if (fault->by_message)
		return first && pipe->nmessages - fault->from_message + 1 == fault->at;
	return pipe->nbytes - fault->from_byte == fault->at;
}

static void
strike(Fault *fault, Pipe *pipe, int64_t due)
{
	switch (fault->action)
	{
		case CUT:
			pipe->ending = true;
			break;
		case HALT:
			pipe->halted = true;
			break;
		case DELAY:
			pipe->not_before = now_us() + fault->ms * 1000;
			break;
		case AGAIN:
			if (fault->by_message)
				pipe->again = true;
			else if (fault->len < pipe->message_len)
				pipe_put(pipe, pipe->message + pipe->message_len - fault->len,
						 fault->len, due);
			else
				pipe_put(pipe, pipe->message, pipe->message_len, due);
			break;
		case REPLACE:
			pipe_put(pipe, fault->with, fault->with_len, due);
			pipe->skip_message = fault->by_message;
			pipe->skip = fault->by_message ? 0 : fault->len;
			break;
		case INSERT:
			pipe_put(pipe, fault->with, fault->with_len, due);
			break;
		case FLOOD:
			pipe_put(pipe, fault->with, fault->with_len, due);
			pipe->flooding = true;
			pipe->halted = true;
			break;
	}
}

/* The current fault has struck. */
static void
fired(void)
{
	Fault	   *fault = &faults[0];

	faults_fired++;
	fault->conn = NULL;
	if (--fault->times > 0)
		return;
	nfaults--;
	memmove(&faults[0], &faults[1], nfaults * sizeof(Fault));
}

/* ---- the bytes ---- */

static void
keep_byte(Pipe *pipe, char c)
{
	if (pipe->message_len == pipe->message_size)
	{
		pipe->message_size = pipe->message_size * 2 + 1024;
		pipe->message = realloc(pipe->message, pipe->message_size);
		if (pipe->message == NULL)
			abort();
	}
	pipe->message[pipe->message_len++] = c;
}

static void
end_message(Conn *conn, Direction direction, int64_t due)
{
	Pipe	   *pipe = &conn->pipes[direction];

	pipe->skip_message = false;
	if (pipe->again)
		pipe_put(pipe, pipe->message, pipe->message_len, due);
	pipe->again = false;
	if (direction == COMMANDS)
		note_command(conn);
}

/* Bytes have come; they go on, but for what a fault does to them. */
void
fault_feed(Conn *conn, Direction direction, const char *data, size_t len,
		   int slow_ms)
{
	Pipe	   *pipe = &conn->pipes[direction];
	int64_t		due = direction == REPLIES ? now_us() + slow_ms * 1000 : 0;

	for (size_t i = 0; i < len && !pipe->ending; i++)
	{
		bool		first = pipe->framing.elements == 0;

		if (first)
		{
			if (direction == REPLIES)
				note_reply(conn);
			/* what "again" repeats may lie before the message's beginning */
			if (nfaults > 0 && strikes(&faults[0], conn, direction, true))
			{
				strike(&faults[0], pipe, due);
				fired();
			}
			pipe->message_len = 0;
			pipe->nmessages++;
		}
		else if (nfaults > 0 && strikes(&faults[0], conn, direction, false))
		{
			strike(&faults[0], pipe, due);
			fired();
		}
		pipe->nbytes++;
		keep_byte(pipe, data[i]);
		if (pipe->skip > 0)
			pipe->skip--;
		else if (!pipe->skip_message && !pipe->halted)
			pipe_put(pipe, data + i, 1, due);
		if (framing_byte(&pipe->framing, data[i]))
			end_message(conn, direction, due);
	}
}
