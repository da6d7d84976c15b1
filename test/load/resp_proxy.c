/*
 * resp_proxy.c: stands between a client and Redis, and breaks what it is told.
 *
 *   resp_proxy LISTEN TARGET      two paths of unix sockets
 *
 * It passes everything on until it reads commands from standard input, a line
 * each, which it answers by a line: "ok ...", or "error: ..." It ends when
 * standard input does.  From Perl: AuctionTest::Proxy.
 *
 *   fault ACTION WORD...   the next fault, behind those that wait
 *   clear                  no fault is left; connections stay as they are
 *   slow MS                every reply comes so much later; 0: as it comes
 *   down, up               ends all connections, and refuses new ones; takes
 *                          them again
 *   cut                    ends all connections
 *   target PATH            for connections from here on
 *   stats                  ok NAME NUMBER...
 *
 * Actions:
 *
 *   cut       the connection ends; what came before goes out first
 *   halt      nothing more comes in this direction, the connection stays
 *   delay     what follows waits ms= milliseconds
 *   again     the len= bytes before are said twice, if they are of the same
 *             message; with message=, the whole of it
 *   replace   len= bytes (1), with message= the whole of it, by with=
 *   insert    with= comes in between
 *   flood     with=, and then x without end
 *
 * Words, NAME=VALUE without spaces:
 *
 *   byte=N        strikes when N bytes have passed (0)
 *   message=N     strikes at the beginning of the Nth message
 *   since=connect counted from the next connection on; else from now on
 *   match=TEXT    counted from the reply to the next command with this text
 *   of=commands   about what goes to Redis; else about replies
 *   times=N       so many times (1); ms=N, len=N, with=HEX: see above
 *
 * A command counts as forwarded when its reply comes: a cut of the reply at
 * byte 0 is an answer that never arrives to something that was done.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "resp_proxy.h"

#define MAX_CONNS	64
/* A side is read on only if less than this waits for the other one. */
#define MAX_WAITING	((size_t) 4 * 1024 * 1024)
#define FLOOD_SIZE	((size_t) 64 * 1024)

static Conn conns[MAX_CONNS];
static uint64_t nconnections = 0;
static uint64_t last_bytes = 0; /* replies on the connection made last */
static int	listener;
static char target[108];
static int	slow_ms = 0;
static bool down = false;

int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The array with room for one more element. */
void *
grown(void *array, int have, int *size, size_t element)
{
	if (have < *size)
		return array;
	*size = *size * 2 + 16;
	array = realloc(array, *size * element);
	if (array == NULL)
		abort();
	return array;
}

/* ---- connections ---- */

static bool
make_address(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return false;
	strcpy(address->sun_path, path);
	return true;
}

static int
connect_target(void)
{
	struct sockaddr_un address;
	int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

	make_address(&address, target);
	if (fd >= 0 &&
		connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
	{
		close(fd);
		return -1;
	}
	return fd;
}

static void
end_conn(Conn *conn)
{
	fault_disconnected(conn);
	close(conn->client);
	close(conn->redis);
	pipe_free(&conn->pipes[COMMANDS]);
	pipe_free(&conn->pipes[REPLIES]);
	free(conn->matches);
	memset(conn, 0, sizeof(*conn));
}

static void
end_all(void)
{
	for (int i = 0; i < MAX_CONNS; i++)
		if (conns[i].used)
			end_conn(&conns[i]);
}

static void
accept_client(void)
{
	int			fd = accept(listener, NULL, NULL);
	int			redis;
	int			i = 0;

	if (fd < 0)
		return;
	while (i < MAX_CONNS && conns[i].used)
		i++;
	if (down || i == MAX_CONNS || (redis = connect_target()) < 0)
	{
		close(fd);
		return;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(redis, F_SETFL, O_NONBLOCK);
	conns[i].used = true;
	conns[i].client = fd;
	conns[i].redis = redis;
	conns[i].number = ++nconnections;
	conns[i].pipes[COMMANDS].to = redis;
	conns[i].pipes[REPLIES].to = fd;
	last_bytes = 0;
	fault_connected(&conns[i]);
}

/* Bytes of one side; false: the connection has ended. */
static bool
read_side(Conn *conn, Direction direction)
{
	char		data[16384];
	int			from = direction == COMMANDS ? conn->client : conn->redis;
	ssize_t		n = read(from, data, sizeof(data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
	{
		/* what Redis said before it left is still delivered */
		if (direction == COMMANDS)
			return false;
		conn->pipes[REPLIES].ending = true;
		return true;
	}
	fault_feed(conn, direction, data, (size_t) n, slow_ms);
	if (direction == REPLIES && conn->number == nconnections)
		last_bytes = conn->pipes[REPLIES].nbytes;
	return true;
}

/* After each round: what is due goes out. */
static void
tend(Conn *conn)
{
	for (int d = COMMANDS; d <= REPLIES; d++)
	{
		Pipe	   *pipe = &conn->pipes[d];

		if (!pipe_send(pipe) || (pipe->ending && pipe->out_len == 0))
		{
			end_conn(conn);
			return;
		}
		/* something always waits, so that poll() says when it can go */
		if (pipe->flooding && pipe->out_len < FLOOD_SIZE)
		{
			static char text[FLOOD_SIZE];

			memset(text, 'x', sizeof(text));
			pipe_put(pipe, text, sizeof(text), 0);
		}
	}
}

/* ---- standard input ---- */

static void
answer_stats(void)
{
	int			open = 0;
	uint64_t	commands = 0;

	for (int i = 0; i < MAX_CONNS; i++)
		if (conns[i].used)
		{
			open++;
			commands += conns[i].pipes[COMMANDS].nmessages;
		}
	printf("ok connections %llu open %d commands %llu fired %llu waiting %d "
		   "last_bytes %llu\n", (unsigned long long) nconnections, open,
		   (unsigned long long) commands, (unsigned long long) faults_fired,
		   faults_waiting(), (unsigned long long) last_bytes);
}

static void
obey(char *line)
{
	const char *problem = NULL;

	if (strncmp(line, "fault ", 6) == 0)
		problem = fault_add(line + 6);
	else if (strcmp(line, "clear") == 0)
		faults_clear();
	else if (strncmp(line, "slow ", 5) == 0)
		slow_ms = atoi(line + 5);
	else if (strcmp(line, "down") == 0 || strcmp(line, "cut") == 0)
	{
		down = line[0] == 'd';
		end_all();
	}
	else if (strcmp(line, "up") == 0)
		down = false;
	else if (strncmp(line, "target ", 7) == 0 &&
			 strlen(line + 7) < sizeof(target))
		strcpy(target, line + 7);
	else if (strcmp(line, "stats") == 0)
	{
		answer_stats();
		return;
	}
	else
		problem = "unknown command";
	if (problem != NULL)
		printf("error: %s\n", problem);
	else
		printf("ok\n");
}

/* false: standard input has ended. */
static bool
read_commands(void)
{
	static char text[16384];
	static size_t len = 0;
	ssize_t		n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
	char	   *end;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	len += n;
	text[len] = '\0';
	while ((end = strchr(text, '\n')) != NULL)
	{
		*end = '\0';
		obey(text);
		len -= end + 1 - text;
		memmove(text, end + 1, len + 1);
	}
	fflush(stdout);
	return len < sizeof(text) - 1;
}

/* ---- the loop ---- */

/* How long until something that waits is due; ms, -1: nothing waits. */
static int
add_conn(struct pollfd *fds, Conn *conn, int timeout)
{
	fds[0] = (struct pollfd) {.fd = conn->client};
	fds[1] = (struct pollfd) {.fd = conn->redis};
	for (int d = COMMANDS; d <= REPLIES; d++)
	{
		const Pipe *pipe = &conn->pipes[d];
		int64_t		due = pipe_due(pipe);
		int64_t		wait = (due - now_us() + 999) / 1000;

		/* side 0 is where commands come from and replies go to */
		if (pipe->out_len < MAX_WAITING && !pipe->ending)
			fds[d].events |= POLLIN;
		else if (pipe->ending && fds[d].events == 0)
			fds[d].fd = -1;		/* it may have hung up, which poll() repeats */
		if (due < 0)
			continue;
		if (wait <= 0)
			fds[1 - d].events |= POLLOUT;
		else if (timeout < 0 || wait < timeout)
			timeout = (int) wait;
	}
	return timeout;
}

static void
turn(bool *go_on)
{
	struct pollfd fds[2 + 2 * MAX_CONNS];
	Conn	   *of[MAX_CONNS];
	int			n = 0;
	int			timeout = -1;

	fds[0] = (struct pollfd) {.fd = STDIN_FILENO,.events = POLLIN};
	fds[1] = (struct pollfd) {.fd = listener,.events = POLLIN};
	for (int i = 0; i < MAX_CONNS; i++)
		if (conns[i].used)
		{
			timeout = add_conn(&fds[2 + 2 * n], &conns[i], timeout);
			of[n++] = &conns[i];
		}
	if (poll(fds, 2 + 2 * n, timeout) < 0 && errno != EINTR)
		abort();

	for (int i = 0; i < n; i++)
	{
		bool		alive = true;

		for (int d = COMMANDS; d <= REPLIES && alive; d++)
			if (fds[2 + 2 * i + d].revents & (POLLIN | POLLHUP | POLLERR))
				alive = read_side(of[i], d);
		if (alive)
			tend(of[i]);
		else
			end_conn(of[i]);
	}
	if (fds[1].revents != 0)
		accept_client();
	/* last: a command is about connections as they are then */
	if (fds[0].revents != 0)
		*go_on = read_commands();
}

int
main(int argc, char **argv)
{
	struct sockaddr_un address;
	bool		go_on = true;

	if (argc != 3 || strlen(argv[2]) >= sizeof(target) ||
		!make_address(&address, argv[1]))
	{
		fprintf(stderr, "usage: resp_proxy LISTEN TARGET\n");
		return 2;
	}
	strcpy(target, argv[2]);
	signal(SIGPIPE, SIG_IGN);
	unlink(argv[1]);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (listener < 0 ||
		bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
		listen(listener, 16) < 0)
	{
		perror("resp_proxy");
		return 1;
	}
	printf("ok\n");
	fflush(stdout);
	while (go_on)
		turn(&go_on);
	unlink(argv[1]);
	return 0;
}
