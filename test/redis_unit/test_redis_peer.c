/*
 * test_redis_peer.c: peers that do not keep to the protocol.
 *
 * A child listens on a unix socket and plays a script: what it says at once,
 * what it says when it has read a PING, and whether it hangs up then.  Every
 * surprise must end in CLOSED, with a reason and with NULL for what was
 * outstanding, whatever the bytes are.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storage/latch.h"

#include "harness.h"
#include "redis_private.h"
#include "tap.h"

typedef struct Peer
{
	const char *first;
	size_t		first_len;
	const char *on_ping;		/* NULL: nothing */
	bool		hang_up;
	bool		echo;			/* says what it hears */
	bool		deaf;			/* never reads */
} Peer;

static AucRedis *conn;
static AucRedisTarget target;
static char path[80];
static int	listener = -1;
static pid_t child;
static char good_greeting[2048];

static void
say(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = write(fd, data, len);

		if (n <= 0)
			_exit(0);
		data += n;
		len -= n;
	}
}

static void
play(const Peer *peer)
{
	char		heard[65536 + 8] = "";
	bool		pinged = false;
	ssize_t		n;
	int			fd = accept(listener, NULL, NULL);

	say(fd, peer->first, peer->first_len);
	while (peer->deaf)
		pause();
	if (peer->hang_up && peer->on_ping == NULL)
		_exit(0);
	while ((n = read(fd, heard, 65536)) > 0)
	{
		heard[n] = '\0';
		if (peer->echo)
			say(fd, heard, n);
		if (!pinged && peer->on_ping != NULL &&
			strstr(heard, "PING") != NULL)
		{
			pinged = true;
			say(fd, peer->on_ping, strlen(peer->on_ping));
			if (peer->hang_up)
				_exit(0);
		}
	}
	_exit(0);
}

static void
end_peer(void)
{
	if (child > 0)
	{
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	child = 0;
}

static void
start_peer(const Peer *peer)
{
	end_peer();
	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		harness_child();
		signal(SIGPIPE, SIG_IGN);
		play(peer);
	}
	nseen = 0;
	auc_redis_connect(conn, &target);
}

static bool
closed_because(const char *reason)
{
	bool		good = auc_redis_status(conn) == AUC_REDIS_CLOSED &&
		strstr(auc_redis_error(conn), reason) != NULL;
	const char *p;

	for (p = auc_redis_error(conn); *p != '\0'; p++)
		good = good && *p >= ' ' && *p <= '~';
	if (!good)
		printf("# status %d, \"%s\" instead of \"%s\"\n",
			   auc_redis_status(conn), auc_redis_error(conn), reason);
	auc_redis_close(conn, "next");
	return good;
}

/* The greeting goes wrong. */
static void
bad_greeting(const char *name, const char *said, size_t len, bool hang_up,
			 const char *reason)
{
	Peer		peer = {said, len, NULL, hang_up, false, false};

	start_peer(&peer);
	run_until(conn, AUC_REDIS_READY);
	/* What follows the greeting may come a moment later. */
	while (auc_redis_status(conn) == AUC_REDIS_READY &&
		   auc_redis_outstanding(conn) == 0 && hang_up)
		step(conn);
	ok(closed_because(reason), name);
}

#define GREETING(name, said, reason) \
	bad_greeting(name, said, sizeof(said) - 1, false, reason)

static void
test_greeting(void)
{
	GREETING("another protocol", "HTTP/1.1 400 Bad Request\r\n\r\n",
			 "does not speak its protocol");
	GREETING("bytes that cannot be printed", "\x01\x80\n\r",
			 "does not speak its protocol");
	GREETING("an array larger than memory", "*2147483647\r\n",
			 "too large or unknown");
	GREETING("an array beyond any number", "*99999999999999999999999\r\n",
			 "does not speak its protocol");
	GREETING("a negative array", "*-2\r\n", "does not speak its protocol");
	bad_greeting("a string larger than a size", "$9223372036854775807\r\n",
				 22, true, "");
	GREETING("a negative string", "$-5\r\n", "does not speak its protocol");
	GREETING("an array of arrays of arrays",
			 "*1048576\r\n*1048576\r\n*1048576\r\n", "too large or unknown");
	GREETING("nested too deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
			 "*1\r\n*1\r\n*1\r\n*1\r\n", "too large or unknown");
	GREETING("a push", ">2\r\n+message\r\n+x\r\n+OK\r\n", "");
	GREETING("a map", "%1\r\n+a\r\n+b\r\n", "");
	GREETING("an integer for OK", ":1\r\n", "unexpected reply to SELECT");
	GREETING("another status", "+QUEUED\r\n", "unexpected reply to SELECT");
	GREETING("nil", "$-1\r\n", "unexpected reply to SELECT");
	GREETING("INFO without a run id", "+OK\r\n$5\r\nhello\r\n",
			 "unexpected reply to INFO");
	GREETING("a run id that is cut off", "+OK\r\n$10\r\nrun_id:abc\r\n",
			 "unexpected reply to INFO");
	GREETING("an array for INFO", "+OK\r\n*0\r\n", "unexpected reply to INFO");
	GREETING("too many clients", "-ERR max number of clients reached\r\n",
			 "refused SELECT: ERR max number of clients");
	GREETING("an error of control characters", "-ERR \x1b[2J\xff\t%s%n\r\n",
			 "refused SELECT: ERR ?[2J??%s%n");
	bad_greeting("nothing at all", "", 0, true, "");
	bad_greeting("half a reply", "+O", 2, true, "");
}

/* Pieces over and over again, for what would fill memory. */
static void
test_without_end(void)
{
	static const char *const begins[] = {"+", "-ERR ", ":", "*", "$", ">", "%"};
	size_t		size = 256 * 1024;
	char	   *text = malloc(size + 1);
	int			i;

	for (i = 0; i < 100; i++)
		memcpy(text + 4 * i, "*1\r\n", 4);
	bad_greeting("nested a hundred deep", text, 400, false,
				 "too large or unknown");
	for (i = 0; i < lengthof(begins); i++)
	{
		memset(text, 'x', size);
		memcpy(text, begins[i], strlen(begins[i]));
		bad_greeting("a line without end", text, size, false, "");
		expect(auc_redis_error(conn)[0] != '\0');
		expect(strstr(auc_redis_error(conn), "within") == NULL);
	}
	tap_expected("none of them lasts until a timeout");
	free(text);
}

static void
test_greeting_late(void)
{
	char		text[4096];
	size_t		len = strlen(good_greeting);

	strcpy(text, good_greeting);
	strcpy(text + len - 47, "$3\r\nabc\r\n");
	bad_greeting("a script's name that is none", text, strlen(text), false,
				 "unexpected reply to SCRIPT LOAD");
	snprintf(text, sizeof(text), "%s+OK\r\n", good_greeting);
	bad_greeting("a reply behind the greeting", text, strlen(text), true,
				 "no command asked for");
	snprintf(text, sizeof(text), "%s+O", good_greeting);
	bad_greeting("the beginning of one", text, strlen(text), true,
				 "no command asked for");
	bad_greeting("hanging up behind the greeting", good_greeting, len, true,
				 "");
}

static void
test_password(void)
{
	static const char unknown[] = "-ERR unknown command 'AUTH', with args "
	"beginning with: 'bob' 's3cret pa'\r\n";
	static const char repeated[] = "-ERR no s3cret password here\r\n";
	Peer		echo = {"", 0, NULL, false, true, false};

	strcpy(target.username, "bob");
	strcpy(target.password, "s3cret password");
	bad_greeting("AUTH is unknown there", unknown, sizeof(unknown) - 1, false,
				 "refused AUTH: ERR unknown command 'AUTH'");
	ok(strstr(auc_redis_error(conn), "s3c") == NULL,
	   "the arguments are not shown");
	bad_greeting("an error that repeats the password", repeated,
				 sizeof(repeated) - 1, false,
				 "refused AUTH: (not shown");
	start_peer(&echo);
	run_until(conn, AUC_REDIS_READY);
	ok(closed_because("unexpected reply to AUTH"), "an echo");
	target.username[0] = target.password[0] = '\0';
}

/* Sends another command from the reply function. */
static void
ping_again(void *arg, const redisReply *reply)
{
	note_reply(arg, reply);
	auc_redis_begin(conn, 1);
	auc_redis_arg_str(conn, "PING");
	auc_redis_end(conn, note_reply, arg);
	auc_redis_flush(conn, clock_now());
}

/* The greeting is right, the answer to three commands is not. */
static void
bad_reply(const char *name, const char *said, bool hang_up, int answered,
		  const char *reason)
{
	Peer		peer = {good_greeting, strlen(good_greeting), said, hang_up,
		false, false
	};
	int			i;

	start_peer(&peer);
	expect(run_until(conn, AUC_REDIS_READY));
	for (i = 0; i < 3; i++)
		command(conn, i, 1, "PING");
	run_until_seen(conn, 3);
	for (i = 0; i < 3; i++)
		expect(seen[i].tag == i && (seen[i].type != 0) == (i < answered));
	ok(closed_because(reason), name);
}

static void
test_replies(void)
{
	Peer		peer = {good_greeting, strlen(good_greeting), "+A\r\n+B\r\n",
		false, false, false
	};

	bad_reply("hanging up", "", true, 0, "");
	bad_reply("hanging up after a reply", "+A\r\n", true, 1, "");
	bad_reply("hanging up within a reply", "+A\r\n$10\r\nabc", true, 1, "");
	bad_reply("hanging up within an array", "*2\r\n+A\r\n*2\r\n:1\r\n", true,
			  0, "");
	bad_reply("junk after a reply", "+A\r\n!", false, 1, "its protocol");
	bad_reply("a huge array", "+A\r\n+B\r\n*2147483647\r\n", false, 2,
			  "too large");
	bad_reply("four replies for three", "+A\r\n+B\r\n+C\r\n+D\r\n", false, 3,
			  "no command asked for");
	bad_reply("three and a bit", "+A\r\n+B\r\n+C\r\n*", false, 3,
			  "no command asked for");
	tap_expected("each command is answered once and in order");

	start_peer(&peer);
	run_until(conn, AUC_REDIS_READY);
	auc_redis_begin(conn, 1);
	auc_redis_arg_str(conn, "PING");
	auc_redis_end(conn, ping_again, NULL);
	run_until_seen(conn, 2);
	ok(seen[0].type != 0 && seen[1].type == 0,
	   "a reply too many does not answer the command sent meanwhile");
	ok(closed_because("no command asked for"), "but ends the connection");
}

/* An error at any place of a pipeline answers its own command only. */
static void
test_errors(void)
{
	static const char *const errors[] = {"NOSCRIPT No matching script.",
		"NOPERM no permissions", "READONLY You can't write",
		"LOADING Redis is loading", "MOVED 3999 127.0.0.1:6381",
		"ASK 3999 127.0.0.1:6381", "TRYAGAIN Multiple keys request",
		"CLUSTERDOWN The cluster is down", "NOREPLICAS Not enough replicas"
	};
	char		said[1024];
	Peer		peer = {good_greeting, strlen(good_greeting), said, false,
		false, false
	};
	int			round;
	int			i;

	for (round = 0; round < 8 * lengthof(errors); round++)
	{
		said[0] = '\0';
		for (i = 0; i < 8; i++)
		{
			if (i == round % 8)
				sprintf(said + strlen(said), "-%s\r\n", errors[round / 8]);
			else
				sprintf(said + strlen(said), "+%d\r\n", i);
		}
		start_peer(&peer);
		expect(run_until(conn, AUC_REDIS_READY));
		for (i = 0; i < 8; i++)
			command(conn, i, 1, "PING");
		run_until_seen(conn, 8);
		for (i = 0; i < 8; i++)
			expect(seen[i].tag == i &&
				   (i == round % 8 ? seen[i].type == REDIS_REPLY_ERROR :
					seen[i].text[0] == '0' + i));
		expect(auc_redis_status(conn) == AUC_REDIS_READY);
		auc_redis_close(conn, "next");
	}
	tap_expected("an error answers its own command, wherever it stands");
}

static void
test_size(void)
{
	size_t		size = 70 * 1024 * 1024;
	char	   *text = malloc(size);
	Peer		deaf = {good_greeting, strlen(good_greeting), NULL, false,
		false, true
	};
	int			i;

	memset(text, 'x', size);
	memcpy(text, "$2000000000\r\n", 13);
	/* that takes a while under sanitizers */
	target.connect_timeout = 120000;
	bad_greeting("a reply of two gigabytes", text, size, false, "too large");
	target_path(&target, path);

	start_peer(&deaf);
	run_until(conn, AUC_REDIS_READY);
	for (i = 0; i < 70; i++)
	{
		auc_redis_begin(conn, 2);
		auc_redis_arg_str(conn, "ECHO");
		auc_redis_arg(conn, text, 1024 * 1024);
		auc_redis_end(conn, note_reply, (void *) (intptr_t) i);
	}
	ok(nseen == 0, "sending calls no reply function");
	auc_redis_io(conn, 0, clock_now());
	for (i = 0; i < 70; i++)
		expect(seen[i].tag == i && seen[i].type == 0);
	ok(nseen == 70, "a peer that does not read: all are lost");
	tap_expected("in order");
	ok(closed_because("does not take what is sent"), "before memory is full");
	ok(live_bytes < 1024 * 1024, "the buffer is given back");

	start_peer(&deaf);
	run_until(conn, AUC_REDIS_READY);
	for (i = 0; i < 10; i++)
	{
		auc_redis_begin(conn, 2);
		auc_redis_arg_str(conn, "ECHO");
		auc_redis_arg(conn, text, 1024 * 1024);
		auc_redis_end(conn, note_reply, NULL);
	}
	auc_redis_flush(conn, clock_now());
	ok(auc_redis_events(conn) != 0 && auc_redis_deadline(conn) != DT_NOEND,
	   "bytes wait for the socket, the timeout runs");
	end_peer();
	auc_redis_flush(conn, clock_now());
	ok(nseen == 0 && auc_redis_deadline(conn) == 0,
	   "the peer dies: a send fails, without a signal, and is noted");
	ok(run_until_seen(conn, 10), "all are lost");
	ok(closed_because(""), "and the connection is closed");
	free(text);
}

/* Some bytes wait at any time: the buffer is used again, not made larger. */
static void
test_stream(void)
{
	size_t		size = 256 * 1024;
	char	   *text = calloc(1, size);
	int			buffer = 65536;
	int			waiting = 0;
	int			fd;
	int			i;

	/* This process is the peer, so that it reads just as much as it likes. */
	end_peer();
	auc_redis_connect(conn, &target);
	fd = accept(listener, NULL, NULL);
	say(fd, good_greeting, strlen(good_greeting));
	run_until(conn, AUC_REDIS_READY);
	setsockopt(auc_redis_socket(conn), SOL_SOCKET, SO_SNDBUF, &buffer,
			   sizeof(buffer));
	for (i = 0; i < 200; i++)
	{
		size_t		unread = i < 4 ? 0 : size;

		auc_redis_begin(conn, 2);
		auc_redis_arg_str(conn, "ECHO");
		auc_redis_arg(conn, text, size);
		auc_redis_end(conn, note_reply, NULL);
		auc_redis_flush(conn, clock_now());
		while (unread > 0)
		{
			unread -= read(fd, text, unread);
			auc_redis_flush(conn, clock_now());
		}
		if (conn->out_len > conn->out_sent)
			waiting++;
	}
	ok(waiting == i, "a peer that is always behind");
	ok(live_bytes < 20 * size, "50 MB pass through a buffer of a few");
	auc_redis_close(conn, "end");
	close(fd);
	free(text);
}

/* Pieces of the protocol, put together at random, now and then damaged. */
static size_t
random_bytes(char *text, size_t size)
{
	static const char *const pieces[] = {"+OK\r\n", "-ERR x\r\n", ":1\r\n",
		"$-1\r\n", "$3\r\nabc\r\n", "*0\r\n", "*2\r\n", "*-1\r\n", "*1000\r\n",
		"$0\r\n\r\n", "\r\n", "\n", "*", "$", "+", ":", "-NOSCRIPT \r\n",
		"_\r\n", "%1\r\n", "~2\r\n", ">2\r\n", "#t\r\n", ",1.5\r\n", "(1\r\n",
		"*2147483647\r\n", "$9223372036854775807\r\n", "*-2\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
		"-LOADING x\r\n", "-MOVED 1 127.0.0.1:1\r\n", "$1000000\r\n"
	};
	/* Most of the time only what comes first: what Redis itself says. */
	int			used = tap_below(4) == 0 ? lengthof(pieces) : 8;
	size_t		len = 0;

	while (len < size - 16 && tap_below(10) != 0)
	{
		const char *piece = pieces[tap_below(used)];

		memcpy(text + len, piece, strlen(piece));
		len += strlen(piece);
		if (tap_below(30) == 0)
			text[tap_below(len)] = (char) tap_below(256);
	}
	return len;
}

static bool
hear_ping(int fd)
{
	char		heard[65536 + 1];
	ssize_t		n;

	while ((n = read(fd, heard, sizeof(heard) - 1)) > 0)
	{
		heard[n] = '\0';
		if (strstr(heard, "PING") != NULL)
			return true;
	}
	return false;
}

/* Half of the peers greet as they should and wait for what they are told. */
static void
play_random_once(int fd)
{
	char		text[8192];
	size_t		len = strlen(good_greeting);
	size_t		more;

	memcpy(text, good_greeting, len);
	if (tap_below(2) == 0)
	{
		if (write(fd, text, len) < 0 || !hear_ping(fd))
			return;
		len = 0;
	}
	else if (tap_below(2) == 0)
		text[tap_below(len)] = (char) tap_below(256);
	else
		len = 0;

	more = random_bytes(text + len, 4096);
	if (write(fd, text, len + more / 2) >= 0 &&
		write(fd, text + len + more / 2, more - more / 2) >= 0)
		shutdown(fd, SHUT_WR);
	while (read(fd, text, sizeof(text)) > 0)
		;
}

static void
play_random(void)
{
	for (;;)
	{
		int			fd = accept(listener, NULL, NULL);

		play_random_once(fd);
		close(fd);
	}
}

static void
test_random(void)
{
	int			ready = 0;
	int			i;
	int			round;
	const char *seed = getenv("AUCTION_TEST_SEED");

	tap_seed = seed != NULL ? strtoull(seed, NULL, 10) | 1 : time(NULL) | 1;
	printf("# AUCTION_TEST_SEED=%llu\n", (unsigned long long) tap_seed);
	end_peer();
	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		harness_child();
		signal(SIGPIPE, SIG_IGN);
		play_random();
	}
	for (round = 0; round < 3000; round++)
	{
		nseen = 0;
		auc_redis_connect(conn, &target);
		if (run_until(conn, AUC_REDIS_READY))
		{
			ready++;
			auc_redis_begin_script(conn, AUC_SCRIPT_BOOK, 1, 0);
			auc_redis_arg_str(conn, "k");
			auc_redis_end(conn, note_reply, (void *) 0);
			for (i = 1; i < 5; i++)
				command(conn, i, 1, "PING");
			expect(run_until_seen(conn, 5));
			for (i = 0; i < 5; i++)
				expect(seen[i].tag == i);
			while (auc_redis_status(conn) != AUC_REDIS_CLOSED)
				step(conn);
		}
		expect(auc_redis_status(conn) == AUC_REDIS_CLOSED);
		expect(auc_redis_error(conn)[0] != '\0');
		expect(auc_redis_outstanding(conn) == 0 && external_fds == 0);
	}
	printf("# %d of %d got through the greeting\n", ready, round);
	tap_expected("random replies: closed, each command answered once");
}

/* A listener whose queue is full does not even say no. */
static void
test_connect_timeout(void)
{
	struct sockaddr_in address;
	socklen_t	len = sizeof(address);
	int			full = socket(AF_INET, SOCK_STREAM, 0);
	static AucRedis *others[8];
	TimestampTz now = clock_now();
	int			i;

	memset(&address, 0, sizeof(address));
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(full, (struct sockaddr *) &address, len) < 0 ||
		getsockname(full, (struct sockaddr *) &address, &len) < 0 ||
		listen(full, 0) < 0)
		abort();
	target_path(&target, "127.0.0.1");
	target.port = ntohs(address.sin_port);
	for (i = 0; i < lengthof(others); i++)
	{
		others[i] = auc_redis_create(NULL);
		auc_redis_connect(others[i], &target);
	}
	auc_redis_connect(conn, &target);
	ok(auc_redis_status(conn) == AUC_REDIS_CONNECTING &&
	   auc_redis_events(conn) == WL_SOCKET_WRITEABLE, "a connect that waits");
	auc_redis_io(conn, WL_SOCKET_WRITEABLE, now);
	ok(auc_redis_status(conn) == AUC_REDIS_CONNECTING,
	   "a wakeup without cause is no connection");
	auc_redis_io(conn, 0, now + target.connect_timeout * 1000);
	ok(closed_because("could not connect within 20000 ms"),
	   "ends with the connect timeout");
	for (i = 0; i < lengthof(others); i++)
	{
		auc_redis_close(others[i], "end");
	}
	close(full);
	target_path(&target, path);
}

static void
make_greeting(void)
{
	char	   *end;
	int			i;

	end = good_greeting +
		sprintf(good_greeting, "+OK\r\n$49\r\nrun_id:%040d\r\n\r\n", 7);
	for (i = 0; i < AUC_SCRIPT_COUNT; i++)
		end += sprintf(end, "$40\r\n%040d\r\n", i);
}

int
main(void)
{
	struct sockaddr_un address;

	harness_start();
	atexit(end_peer);
	snprintf(path, sizeof(path), "%s/peer.sock", test_dir);
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
		listen(listener, 5) < 0)
		abort();
	make_greeting();
	target_path(&target, path);
	conn = auc_redis_create(NULL);

	test_greeting();
	test_without_end();
	test_greeting_late();
	test_password();
	test_replies();
	test_errors();
	test_size();
	test_stream();
	test_random();
	test_connect_timeout();
	ok(external_fds == 0, "no socket is left open");
	return tap_done();
}
