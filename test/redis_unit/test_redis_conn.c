/*
 * test_redis_conn.c: a connection to a real Redis: greeting, commands, and
 * the ways in which Redis goes away.
 */
#include "postgres.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "storage/latch.h"

#include "harness.h"
#include "redis_version.h"
#include "tap.h"

static AucRedis *conn;
static AucRedisTarget target;

/* Connects, again and again while the server is not there yet. */
static bool
connect_ready(void)
{
	TimestampTz give_up = clock_now() + 20 * SECOND;

	do
	{
		auc_redis_connect(conn, &target);
		if (run_until(conn, AUC_REDIS_READY))
			return true;
		usleep(20000);
	} while (clock_now() < give_up);
	return false;
}

static void
restart(void)
{
	start_server();
	target_path(&target, server_path);
	if (!connect_ready())
		abort();
}

static bool
has(const char *text, const char *part)
{
	if (strstr(text, part) != NULL)
		return true;
	printf("# \"%s\" is not in \"%s\"\n", part, text);
	return false;
}

/* One command by itself; the reply is seen[0]. */
static const Seen *
ask(int n, const char *a, const char *b, const char *c)
{
	nseen = 0;
	command(conn, 1, n, a, b, c);
	run_until_seen(conn, 1);
	return &seen[0];
}

static void
test_greeting(void)
{
	uint32		generation = auc_redis_generation(conn);
	char		text[80];

	ok(strlen(auc_redis_run_id(conn)) == 40, "a run id of 40 digits");
	ok(auc_redis_error(conn)[0] == '\0', "no error");
	ok(auc_redis_deadline(conn) == DT_NOEND, "nothing is due");
	ok(auc_redis_events(conn) == WL_SOCKET_READABLE, "only replies count");
	ok(strcmp(ask(1, "PING", "", "")->text, "PONG") == 0, "PING");
	ok(seen[0].tag == 1, "the function gets its argument");
	ok(ask(1, "GET", "", "")->type == REDIS_REPLY_ERROR &&
	   auc_redis_status(conn) == AUC_REDIS_READY,
	   "an error reply is a reply like any other");

	snprintf(text, sizeof(text), "%s", ask(1, "INFO", "server", "")->text);
	ok(auc_redis_waitaof(conn) == auc_redis_version_waitaof(text),
	   "what it says of WAITAOF is what its version says");

	auc_redis_close(conn, "enough");
	ok(!auc_redis_waitaof(conn), "nothing is known of a Redis that is away");
	ok(auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   auc_redis_socket(conn) == PGINVALID_SOCKET && external_fds == 0,
	   "closed, the socket is given back");
	ok(strcmp(auc_redis_error(conn), "enough") == 0, "for the given reason");
	ok(auc_redis_run_id(conn)[0] == '\0', "no run id any more");
	ok(auc_redis_generation(conn) != generation, "another generation");
	ok(auc_redis_deadline(conn) == DT_NOEND, "nothing is due when closed");

	target.port = server_port;
	strcpy(target.address, "127.0.0.1");
	ok(connect_ready(), "over IPv4");
	strcpy(target.address, "::1");
	auc_redis_connect(conn, &target);
	if (run_until(conn, AUC_REDIS_READY))
		ok(true, "over IPv6");
	else
		ok(true, "over IPv6 # SKIP no ::1 here");

	target_path(&target, server_path);
	target.db = 3;
	connect_ready();
	ask(3, "SET", "db", "three");
	target.db = 0;
	ok(connect_ready() && ask(2, "GET", "db", "")->type == REDIS_REPLY_NIL,
	   "another database is another one");
	target.db = 99;
	auc_redis_connect(conn, &target);
	ok(!run_until(conn, AUC_REDIS_READY) &&
	   has(auc_redis_error(conn), "refused SELECT: ERR"),
	   "a database that is not there");
}

static void
test_no_connection(void)
{
	static const char *const addresses[] = {"localhost", "", "1.2.3", "x/y"};
	int			i;

	target_path(&target, "");
	for (i = 0; i < lengthof(addresses); i++)
	{
		strcpy(target.address, addresses[i]);
		auc_redis_connect(conn, &target);
		expect(auc_redis_status(conn) == AUC_REDIS_CLOSED);
		expect(has(auc_redis_error(conn), "the address is no number"));
	}
	tap_expected("names are not resolved");

	target_path(&target, "/tmp/");
	memset(target.address + 5, 'x', 200);
	auc_redis_connect(conn, &target);
	ok(has(auc_redis_error(conn), "the address is no number"),
	   "a path that is too long");
	target_path(&target, "/nowhere/redis.sock");
	auc_redis_connect(conn, &target);
	ok(auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   has(auc_redis_error(conn), "could not connect: No such file"),
	   "a path that is not there");
	target_path(&target, "127.0.0.1");
	target.port = free_port();
	auc_redis_connect(conn, &target);
	ok(!run_until(conn, AUC_REDIS_READY) &&
	   has(auc_redis_error(conn), "could not connect: Connection refused"),
	   "a port where nobody listens");
	ok(external_fds == 0, "no socket is left open");
}

static void
test_auth(void)
{
	target_path(&target, server_path);
	connect_ready();
	nseen = 0;
	command(conn, 1, 8, "ACL", "SETUSER", "bob", "on", ">s3cret%d", "~*",
			"&*", "+@all");
	command(conn, 2, 5, "ACL", "SETUSER", "eve", "on", ">s3cret");
	run_until_seen(conn, 2);

	strcpy(target.username, "bob");
	strcpy(target.password, "s3cret%d");
	ok(connect_ready() &&
	   strcmp(ask(2, "ACL", "WHOAMI", "")->text, "bob") == 0,
	   "AUTH with a user name");
	strcpy(target.password, "wr0ng");
	auc_redis_connect(conn, &target);
	ok(!run_until(conn, AUC_REDIS_READY) &&
	   has(auc_redis_error(conn), "refused AUTH: WRONGPASS") &&
	   strstr(auc_redis_error(conn), "wr0ng") == NULL,
	   "a wrong password is refused and not repeated");
	strcpy(target.username, "eve");
	strcpy(target.password, "s3cret");
	auc_redis_connect(conn, &target);
	ok(!run_until(conn, AUC_REDIS_READY) &&
	   has(auc_redis_error(conn), "NOPERM"), "a user without privileges");

	target.username[0] = target.password[0] = '\0';
	connect_ready();
	nseen = 0;
	command(conn, 1, 4, "CONFIG", "SET", "requirepass", "0ther");
	run_until_seen(conn, 1);
	auc_redis_connect(conn, &target);
	ok(!run_until(conn, AUC_REDIS_READY) &&
	   has(auc_redis_error(conn), "NOAUTH"), "no password where one is asked");
	strcpy(target.password, "0ther");
	ok(connect_ready(), "AUTH with the password alone");
	nseen = 0;
	command(conn, 1, 4, "CONFIG", "SET", "requirepass", "");
	run_until_seen(conn, 1);
}

static void
send_numbered(int n)
{
	char		number[16];
	int			i;

	for (i = 0; i < n; i++)
	{
		snprintf(number, sizeof(number), "%d", i);
		command(conn, i, 2, "ECHO", number);
	}
}

static void
expect_numbered(int from, int to)
{
	int			i;

	for (i = from; i < to; i++)
		expect(seen[i].tag == i && atoi(seen[i].text) == i &&
			   seen[i].type == REDIS_REPLY_STRING);
}

static void
test_pipeline(void)
{
	static const int64 numbers[] = {0, 1, -1, 9, 10,
		INT64CONST(9007199254740991), PG_INT64_MAX, PG_INT64_MIN
	};
	char		expected[32];
	char	   *big = malloc(10000000);
	size_t		steady = 0;
	int			i;

	target_path(&target, server_path);
	connect_ready();
	nseen = 0;
	send_numbered(10000);
	ok(auc_redis_outstanding(conn) == 10000, "10000 commands outstanding");
	ok(run_until_seen(conn, 10000), "10000 replies");
	expect_numbered(0, 10000);
	tap_expected("each belongs to its command");
	ok(auc_redis_outstanding(conn) == 0, "none is outstanding");

	nseen = 0;
	for (i = 0; i < lengthof(numbers); i++)
	{
		auc_redis_begin(conn, 2);
		auc_redis_arg_str(conn, "ECHO");
		auc_redis_arg_int64(conn, numbers[i]);
		auc_redis_end(conn, note_reply, NULL);
	}
	run_until_seen(conn, lengthof(numbers));
	for (i = 0; i < lengthof(numbers); i++)
	{
		snprintf(expected, sizeof(expected), INT64_FORMAT, numbers[i]);
		expect(strcmp(seen[i].text, expected) == 0);
	}
	tap_expected("numbers arrive exactly");

	nseen = 0;
	memset(big, '\n', 10000000);
	auc_redis_begin(conn, 3);
	auc_redis_arg_str(conn, "SET");
	auc_redis_arg(conn, "b\0g", 3);
	auc_redis_arg(conn, big, 10000000);
	auc_redis_end(conn, note_reply, NULL);
	auc_redis_begin(conn, 2);
	auc_redis_arg_str(conn, "STRLEN");
	auc_redis_arg(conn, "b\0g", 3);
	auc_redis_end(conn, note_reply, NULL);
	run_until_seen(conn, 2);
	ok(seen[1].integer == 10000000, "10 MB in one argument, NUL in another");
	ok(live_bytes < 1024 * 1024, "the large buffer is given back");
	free(big);

	/* A window of commands that is never empty: nothing may creep. */
	nseen = 0;
	send_numbered(500);
	for (i = 0; i < 2000; i++)
	{
		int			before = nseen;

		while (nseen == before)
			step(conn);
		if (nseen > MAX_SEEN - 1000)
			nseen = 0;
		before = 500 - auc_redis_outstanding(conn);
		send_numbered(before);
		auc_redis_flush(conn, clock_now());
		if (i == 100)
			steady = live_bytes;
	}
	ok(live_bytes <= steady, "memory is flat while commands stream");
	while (auc_redis_outstanding(conn) > 0)
		step(conn);
}

static void
call_append(int previous, int n)
{
	char		text[1000];
	int			i;

	memset(text, 'x', sizeof(text));
	auc_redis_begin_script(conn, AUC_SCRIPT_APPEND, 2, 4 + 2 * n + 1);
	auc_redis_arg_str(conn, "{t:1}:log");
	auc_redis_arg_str(conn, "{t:1}:term");
	auc_redis_arg_int64(conn, 1);
	auc_redis_arg_int64(conn, previous);
	auc_redis_arg_int64(conn, previous + n);
	auc_redis_arg_int64(conn, n);
	for (i = 1; i <= n; i++)
	{
		auc_redis_arg_int64(conn, previous + i);
		auc_redis_arg(conn, text, sizeof(text));
	}
	auc_redis_arg_str(conn, "0");
	auc_redis_end(conn, note_reply, NULL);
}

static void
call_take(void)
{
	auc_redis_begin_script(conn, AUC_SCRIPT_TAKE, 2, 8);
	auc_redis_arg_str(conn, "{t:1}:log");
	auc_redis_arg_str(conn, "{t:1}:term");
	auc_redis_arg_str(conn, "uuid");
	auc_redis_arg_str(conn, "instance");
	auc_redis_arg_str(conn, "0");
	auc_redis_arg_str(conn, "place");
	auc_redis_arg_str(conn, "5000");
	auc_redis_arg_str(conn, "first");
	auc_redis_arg_str(conn, "");
	auc_redis_arg_str(conn, "0");
	auc_redis_end(conn, note_reply, NULL);
}

static void
test_scripts(void)
{
	char		key[AUC_KEY_MAX];
	int			len;
	int			i;

	nseen = 0;
	call_take();
	for (i = 0; i < 20; i++)
		call_append(i * AUC_APPEND_MAX_RECORDS, AUC_APPEND_MAX_RECORDS);
	command(conn, 99, 3, "HGET", "{t:1}:term", "last");
	ok(run_until_seen(conn, 22) && strcmp(seen[21].text, "20000") == 0,
	   "appends of 1000 records, twenty in a pipeline");

	len = auc_key_book(key, "auction", 12, PG_INT64_MAX);
	ok(strcmp(key, "{auction:12}:book:9223372036854775807") == 0 &&
	   len == strlen(key), "the key of a book");
	auc_key_auction(key, "auction", 0, 7);
	ok(strcmp(key, "{auction:0}:auction:7") == 0, "the key of an auction");
	auc_channel(key, "p", 7);
	ok(strcmp(key, "p:auction:7") == 0, "the channel of an auction");
	ok(strcmp(auc_script_name(AUC_SCRIPT_REMOVE), "remove") == 0,
	   "the name of a script");

	nseen = 0;
	command(conn, 0, 2, "SCRIPT", "FLUSH");
	call_take();
	command(conn, 2, 1, "PING");
	run_until_seen(conn, 3);
	ok(seen[1].type == REDIS_REPLY_ERROR && has(seen[1].text, "NOSCRIPT"),
	   "a lost script is an error reply");
	ok(seen[2].type == 0 && auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   has(auc_redis_error(conn), "lost the scripts"),
	   "and ends the connection");
	nseen = 0;
	connect_ready();
	call_take();
	ok(run_until_seen(conn, 1) && seen[0].type == REDIS_REPLY_ARRAY,
	   "the next one has loaded it again");
}

static void
expect_lost(int from, int to)
{
	int			i;

	for (i = from; i < to; i++)
		expect(seen[i].tag == i && seen[i].type == 0);
}

static void
test_timeouts(void)
{
	TimestampTz now;
	struct pollfd fd;

	kill(server, SIGSTOP);
	nseen = 0;
	now = clock_now();
	send_numbered(5);
	ok(auc_redis_deadline(conn) == DT_NOEND, "not sent: no deadline");
	auc_redis_flush(conn, now);
	ok(auc_redis_deadline(conn) == now + target.command_timeout * 1000,
	   "sent: the command timeout counts");
	auc_redis_io(conn, 0, now + target.command_timeout * 1000 - 1);
	ok(nseen == 0, "not yet");
	auc_redis_io(conn, 0, now + target.command_timeout * 1000);
	ok(nseen == 5 && auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   has(auc_redis_error(conn), "no reply within 60000 ms"),
	   "Redis hangs: closed at the deadline");
	expect_lost(0, 5);
	tap_expected("every command is answered with NULL, in order");

	auc_redis_connect(conn, &target);
	ok(auc_redis_status(conn) == AUC_REDIS_GREETING &&
	   auc_redis_deadline(conn) < now, "a new connection is to be driven");
	now = clock_now();
	auc_redis_io(conn, WL_SOCKET_WRITEABLE, now);
	ok(auc_redis_deadline(conn) == now + target.connect_timeout * 1000,
	   "the connect timeout counts from there");
	auc_redis_io(conn, 0, now + target.connect_timeout * 1000);
	ok(auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   has(auc_redis_error(conn), "no answer to the greeting within 20000 ms"),
	   "a greeting that nobody answers");
	kill(server, SIGCONT);

	ok(connect_ready(), "connected again");
	nseen = 0;
	send_numbered(1);
	auc_redis_flush(conn, clock_now());
	fd.fd = auc_redis_socket(conn);
	fd.events = POLLIN;
	poll(&fd, 1, 20000);
	auc_redis_io(conn, 0, clock_now() + HOUR);
	ok(nseen == 1 && seen[0].type == REDIS_REPLY_STRING &&
	   auc_redis_status(conn) == AUC_REDIS_READY,
	   "a reply that is there is no timeout, however late the owner looks");
}

static void
test_kill(void)
{
	char		run_id[64];

	strlcpy(run_id, auc_redis_run_id(conn), sizeof(run_id));
	nseen = 0;
	send_numbered(10);
	run_until_seen(conn, 10);
	kill(server, SIGSTOP);
	send_numbered(10);
	auc_redis_flush(conn, clock_now());
	nseen = 0;
	stop_server();
	ok(run_until_seen(conn, 10) &&
	   auc_redis_status(conn) == AUC_REDIS_CLOSED, "Redis killed: closed");
	printf("# %s\n", auc_redis_error(conn));
	expect_lost(0, 10);
	tap_expected("every command is answered with NULL, in order");
	auc_redis_connect(conn, &target);
	ok(auc_redis_status(conn) == AUC_REDIS_CLOSED &&
	   has(auc_redis_error(conn), "Connection refused"), "nobody is there");
	restart();
	ok(strcmp(run_id, auc_redis_run_id(conn)) != 0,
	   "after a restart the run id is another");
	nseen = 0;
	send_numbered(10);
	run_until_seen(conn, 10);
	expect_numbered(0, 10);
	tap_expected("and commands are answered");
}

/* Reply functions that do things. */
static void
close_at_3(void *arg, const redisReply *reply)
{
	note_reply(arg, reply);
	if (nseen == 3)
		auc_redis_close(conn, "closed by a reply function");
	if (nseen == 3)
		seen[2].integer = auc_redis_outstanding(conn);
}

static void
reconnect_at_3(void *arg, const redisReply *reply)
{
	note_reply(arg, reply);
	if (nseen == 3)
		auc_redis_connect(conn, &target);
}

static bool sending;

static void
send_again(void *arg, const redisReply *reply)
{
	/* a busy machine may see any number in one step; nobody looks at so many */
	if (nseen == MAX_SEEN)
		nseen = 100;
	note_reply(arg, reply);
	if (!sending)
		return;
	auc_redis_begin(conn, 1);
	auc_redis_arg_str(conn, "PING");
	auc_redis_end(conn, send_again, arg);
	auc_redis_flush(conn, clock_now());
	auc_redis_io(conn, WL_SOCKET_READABLE, clock_now());
}

static void
send_pings(AucRedisReplyFn fn, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		auc_redis_begin(conn, 1);
		auc_redis_arg_str(conn, "PING");
		auc_redis_end(conn, fn, (void *) (intptr_t) i);
	}
}

static void
test_reply_functions(void)
{
	int			i;

	nseen = 0;
	send_pings(close_at_3, 10);
	run_until_seen(conn, 10);
	for (i = 0; i < 10; i++)
		expect(seen[i].tag == i && (seen[i].type != 0) == (i < 3));
	tap_expected("closed by the third reply function: the rest is lost");
	ok(seen[2].integer == 7, "and answered after that has returned");

	nseen = 0;
	connect_ready();
	send_pings(reconnect_at_3, 10);
	run_until_seen(conn, 10);
	for (i = 0; i < 10; i++)
		expect(seen[i].tag == i && (seen[i].type != 0) == (i < 3));
	tap_expected("connected anew by the third: the rest is lost");
	ok(run_until(conn, AUC_REDIS_READY), "the new connection gets ready");

	nseen = 0;
	sending = true;
	send_pings(send_again, 2);
	while (nseen < 100)
		step(conn);
	ok(auc_redis_outstanding(conn) == 2, "functions that send again");
	nseen = 0;
	auc_redis_close(conn, "closed");
	ok(nseen == 2, "are called once each when the connection closes");
	ok(auc_redis_outstanding(conn) == 2 && auc_redis_deadline(conn) == 0,
	   "what they send then waits for the next round");
	auc_redis_io(conn, 0, clock_now());
	ok(nseen == 4 && seen[3].type == 0, "which answers it with NULL");
	connect_ready();
	nseen = 0;
	while (nseen < 10)
		step(conn);
	ok(seen[9].type == REDIS_REPLY_STATUS, "until there is a connection");
	sending = false;
	auc_redis_close(conn, "closed");

	nseen = 0;
	send_numbered(3);
	ok(nseen == 0 && auc_redis_deadline(conn) == 0,
	   "commands before a connection are taken");
	auc_redis_connect(conn, &target);
	auc_redis_io(conn, 0, clock_now());
	expect_lost(0, 3);
	ok(nseen == 3, "and answered by the first round");
	tap_expected("with NULL");
	ok(run_until(conn, AUC_REDIS_READY), "the connection is not disturbed");
	auc_redis_close(conn, "end");
}

int
main(void)
{
	harness_start();
	conn = auc_redis_create(NULL);
	restart();

	test_greeting();
	test_no_connection();
	test_auth();
	test_pipeline();
	test_scripts();
	test_timeouts();
	test_kill();
	test_reply_functions();
	return tap_done();
}
