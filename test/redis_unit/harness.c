/*
 * harness.c: what the tests need of PostgreSQL, and an owner's loop.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "harness.h"

Seen		seen[MAX_SEEN];
int			nseen;
TimestampTz clock_skew;
size_t		live_bytes;
int			external_fds;
char		test_dir[64];
MemoryContext CurrentMemoryContext;

pid_t		server;
int			server_port;
char		server_path[80];

static pid_t harness_pid;

/* Keeps the alignment that malloc() gives. */
typedef union Header
{
	size_t		size;
	long double align;
} Header;

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	Header	   *header = malloc(sizeof(Header) + size);

	if (header == NULL || size > MaxAllocSize)
		abort();
	header->size = size;
	live_bytes += size;
	return header + 1;
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return memset(MemoryContextAlloc(context, size), 0, size);
}

void
pfree(void *pointer)
{
	Header	   *header = (Header *) pointer - 1;

	live_bytes -= header->size;
	free(header);
}

bool
AcquireExternalFD(void)
{
	external_fds++;
	return true;
}

void
ReleaseExternalFD(void)
{
	external_fds--;
}

void
#if PG_VERSION_NUM >= 160000
ExceptionalCondition(const char *conditionName, const char *fileName,
					 int lineNumber)
#else
ExceptionalCondition(const char *conditionName, const char *errorType,
					 const char *fileName, int lineNumber)
#endif
{
	fprintf(stderr, "failed assertion: %s at %s:%d\n", conditionName,
			fileName, lineNumber);
	abort();
}

static void
remove_dir(void)
{
	char		line[128];

	if (getpid() != harness_pid)
		return;
	snprintf(line, sizeof(line), "rm -rf '%s'", test_dir);
	if (system(line) != 0)
		fprintf(stderr, "could not remove \"%s\"\n", test_dir);
}

/* Lets atexit() functions stop what was started. */
static void
give_up(int signo)
{
	fprintf(stderr, "ended by signal %d\n", signo);
	exit(1);
}

/* A child ends by itself, should its parent not be able to end it. */
void
harness_child(void)
{
	signal(SIGALRM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	alarm(300);
}

void
harness_start(void)
{
	const char *tmp = getenv("TMPDIR");

	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(test_dir, sizeof(test_dir), "%s/auction.XXXXXX",
			 tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	if (mkdtemp(test_dir) == NULL)
		abort();
	harness_pid = getpid();
	atexit(remove_dir);
	atexit(stop_server);
	signal(SIGALRM, give_up);
	signal(SIGINT, give_up);
	signal(SIGTERM, give_up);
	alarm(240);
}

TimestampTz
clock_now(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return (tv.tv_sec - INT64CONST(946684800)) * SECOND + tv.tv_usec +
		clock_skew;
}

void
step(AucRedis *conn)
{
	struct pollfd fd = {auc_redis_socket(conn), 0, 0};
	uint32		wanted = auc_redis_events(conn);
	uint32		events = 0;
	TimestampTz now = clock_now();
	TimestampTz deadline = auc_redis_deadline(conn);
	int			timeout = 20;

	if (deadline <= now)
		timeout = 0;
	else if (deadline - now < timeout * INT64CONST(1000))
		timeout = (int) ((deadline - now) / 1000) + 1;

	if (wanted & WL_SOCKET_READABLE)
		fd.events |= POLLIN;
	if (wanted & WL_SOCKET_WRITEABLE)
		fd.events |= POLLOUT;
	/* poll() tells of errors unasked; like a WaitEventSet, report both. */
	if (poll(&fd, 1, timeout) > 0)
	{
		if (fd.revents & (POLLIN | POLLHUP | POLLERR))
			events |= WL_SOCKET_READABLE & wanted;
		if (fd.revents & (POLLOUT | POLLHUP | POLLERR))
			events |= WL_SOCKET_WRITEABLE & wanted;
	}
	auc_redis_io(conn, events, clock_now());
}

/* true: the status is reached; false: it is CLOSED or takes too long. */
bool
run_until(AucRedis *conn, AucRedisStatus status)
{
	TimestampTz give_up = clock_now() + 150 * SECOND;

	while (auc_redis_status(conn) != status && clock_now() < give_up &&
		   auc_redis_status(conn) != AUC_REDIS_CLOSED)
		step(conn);
	return auc_redis_status(conn) == status;
}

bool
run_until_seen(AucRedis *conn, int n)
{
	TimestampTz give_up = clock_now() + 60 * SECOND;

	while (nseen < n && clock_now() < give_up)
		step(conn);
	return nseen == n;
}

void
note_reply(void *arg, const redisReply *reply)
{
	Seen	   *s = &seen[nseen];

	if (nseen == MAX_SEEN)
		abort();
	nseen++;
	memset(s, 0, sizeof(*s));
	s->tag = (long) (intptr_t) arg;
	if (reply == NULL)
		return;
	s->type = reply->type;
	s->integer = reply->integer;
	if (reply->str != NULL)
		strlcpy(s->text, reply->str, sizeof(s->text));
}

void
command(AucRedis *conn, long tag, int n,...)
{
	va_list		words;

	auc_redis_begin(conn, n);
	va_start(words, n);
	while (n-- > 0)
		auc_redis_arg_str(conn, va_arg(words, const char *));
	va_end(words);
	auc_redis_end(conn, note_reply, (void *) (intptr_t) tag);
}

void
target_path(AucRedisTarget *target, const char *path)
{
	memset(target, 0, sizeof(*target));
	strlcpy(target->address, path, sizeof(target->address));
	target->connect_timeout = 20000;
	target->command_timeout = 60000;
}

void
stop_server(void)
{
	if (server <= 0)
		return;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

int
free_port(void)
{
	struct sockaddr_in address;
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(&address, 0, sizeof(address));
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *) &address, len) < 0 ||
		getsockname(fd, (struct sockaddr *) &address, &len) < 0)
		abort();
	close(fd);
	return ntohs(address.sin_port);
}

/* A Redis of our own; it may take a moment until it can be connected to. */
void
start_server(void)
{
	char		port[16];

	server_port = free_port();
	snprintf(port, sizeof(port), "%d", server_port);
	snprintf(server_path, sizeof(server_path), "%s/redis.sock", test_dir);
	unlink(server_path);
	server = fork();
	if (server == 0)
	{
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(1);
		execlp("redis-server", "redis-server", "--port", port, "--bind",
			   "127.0.0.1", "-::1", "--unixsocket", server_path, "--dir",
			   test_dir, "--save", "", "--appendonly", "no", (char *) NULL);
		_exit(1);
	}
}
