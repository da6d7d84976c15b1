/*
 * resp_proxy_pipe.c: one direction of a connection.
 *
 * Bytes wait in order, each until it is due, so that a delay holds back what
 * comes behind it, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "resp_proxy.h"

/* Takes the message's next byte; true: it was its last. */
bool
framing_byte(Framing *framing, char c)
{
	int64_t		number;

	if (framing->elements == 0)
		framing->elements = 1;
	if (framing->bytes > 0)
	{
		if (--framing->bytes == 0)
			framing->elements--;
		return framing->elements == 0;
	}
	if (framing->line_len < (int) sizeof(framing->line) - 1)
		framing->line[framing->line_len++] = c;
	if (c != '\n')
		return false;

	framing->line[framing->line_len] = '\0';
	framing->line_len = 0;
	number = strtoll(framing->line + 1, NULL, 10);
	if (framing->line[0] == '$' && number >= 0)
		framing->bytes = number + 2;	/* and its line end */
	else if (framing->line[0] == '*' && number > 0)
		framing->elements += number - 1;
	else
		framing->elements--;
	return framing->elements == 0;
}

void
pipe_put(Pipe *pipe, const char *data, size_t len, int64_t due)
{
	Batch	   *last;

	if (len == 0 || pipe->ending)
		return;
	if (due < pipe->not_before)
		due = pipe->not_before;
	if (pipe->out_len + len > pipe->out_size)
	{
		pipe->out_size = 2 * (pipe->out_len + len);
		pipe->out = realloc(pipe->out, pipe->out_size);
		if (pipe->out == NULL)
			abort();
	}
	memcpy(pipe->out + pipe->out_len, data, len);
	pipe->out_len += len;

	last = pipe->nbatches > 0 ? &pipe->batches[pipe->nbatches - 1] : NULL;
	if (last == NULL || last->due < due)
	{
		pipe->batches = grown(pipe->batches, pipe->nbatches,
							  &pipe->batches_size, sizeof(Batch));
		last = &pipe->batches[pipe->nbatches++];
		last->due = due;
	}
	last->end = pipe->taken + pipe->out_len;
}

/* Sends what is due and fits; false: the other side is gone. */
bool
pipe_send(Pipe *pipe)
{
	int64_t		now = now_us();

	while (pipe->nbatches > 0 && pipe->batches[0].due <= now)
	{
		ssize_t		n = send(pipe->to, pipe->out,
							 pipe->batches[0].end - pipe->taken, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		pipe->out_len -= n;
		memmove(pipe->out, pipe->out + n, pipe->out_len);
		pipe->taken += n;
		if (pipe->taken == pipe->batches[0].end)
		{
			pipe->nbatches--;
			memmove(pipe->batches, pipe->batches + 1,
					pipe->nbatches * sizeof(Batch));
		}
	}
	return true;
}

/* When there is something to send; -1: there is nothing. */
int64_t
pipe_due(const Pipe *pipe)
{
	return pipe->nbatches > 0 ? pipe->batches[0].due : -1;
}

void
pipe_free(Pipe *pipe)
{
	free(pipe->message);
	free(pipe->out);
	free(pipe->batches);
	memset(pipe, 0, sizeof(*pipe));
}
