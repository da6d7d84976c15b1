/*
 * bidders.c: many concurrent bidders in one process, over libpq.
 *
 *   bidders [OPTION VALUE]... FIRST_AUCTION LAST_AUCTION
 *
 * Each client has a connection and one bid under way at a time, with a request
 * id of its own.  What is bid on follows NEXMark: half of the bids go to the
 * hot auction (the first of each hundred, of the last hundred), the other half
 * to any of them; three quarters of the bids on the hot one come from hot
 * bidders (one in a hundred users).  The amount is the last price that any
 * client was told of plus one to --raise increments, as people bid who look at
 * a screen: some are too late and are rejected.
 *
 * A lost connection is made again until the time is over; the bid that was
 * under way counts as unknown.  Random numbers come from --seed alone, but
 * which client is answered first does not, so two runs are alike, not equal.
 *
 * SIGTERM ends the sending; the bids under way are still waited for.
 *
 * With --durability each verdict's level is held against what was asked for.
 *
 * The program ends with 0 if every bid got some outcome; counts and latencies
 * go to standard output, answers to a file (bidders_report.c).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "bidders.h"

#define HUNDRED 100

typedef struct Client
{
	PGconn	   *conn;
	bool		busy;			/* a bid is under way */
	bool		broken;			/* its connection is to be made again */
	bool		failed;			/* its last one failed: go slowly */
	int64_t		not_before;		/* of the next attempt or bid */
	Level		level;			/* asked for; LEVEL_NONE: none in particular */
	Answer		bid;
	bool		have_outcome;	/* of the bid under way */
} Client;

static const char *conninfo = "";
static const char *answers_path = NULL;
static const char *via = "place_bid";
static const char *durability = NULL;	/* NULL: the session's default */
static int	nclients = 8;
static double seconds = 5;
static long nbids = 0;			/* 0: until the time is over */
static double grace = 60;
static double think = 0;		/* ms */
static uint64_t seed = 1;
static int64_t nusers = 1000;
static int64_t first_user = 1;
static int64_t increment = 1;
static int	max_raise = 3;
static int	progress = 0;
static int	ready = 0;
static int64_t first_auction;
static int64_t last_auction;

static Client *clients;
static int64_t *prices;			/* last known, by auction */
static long sent_bids = 0;
static int64_t deadline;
static volatile sig_atomic_t stopped = 0;


static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Xorshift64* */
static uint64_t
random64(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static int64_t
random_below(int64_t n)
{
	return (int64_t) ((random64() >> 11) % (uint64_t) n);
}

static void
draw_request_id(char *text)
{
	uint64_t	a = random64();
	uint64_t	b = random64();

	snprintf(text, 37, "%08x-%04x-4%03x-%04x-%012llx",
			 (unsigned) (a >> 32), (unsigned) (a >> 16) & 0xffff,
			 (unsigned) a & 0xfff, (unsigned) (b >> 48 & 0x3fff) | 0x8000,
			 (unsigned long long) b & 0xffffffffffffULL);
}

/* The skew described at the head. */
static void
draw_bid(Answer *bid)
{
	int64_t		n = last_auction - first_auction + 1;
	int64_t		hot = first_auction + (n - 1) / HUNDRED * HUNDRED;

	bid->user_id = first_user + random_below(nusers);
	if (random_below(2) == 0)
	{
		bid->auction_id = hot;
		if (random_below(4) < 3)
			bid->user_id = first_user +
				random_below((nusers + HUNDRED - 1) / HUNDRED) * HUNDRED;
	}
	else
		bid->auction_id = first_auction + random_below(n);
	bid->amount = prices[bid->auction_id - first_auction] +
		increment * (1 + random_below(max_raise));
	draw_request_id(bid->request_id);
}

static const char *
bid_statement(void)
{
	if (strcmp(via, "insert") == 0)
		return "INSERT INTO auction.bids"
			" (auction_id, user_id, amount, request_id)"
			" VALUES ($1, $2, $3, $4)"
			" RETURNING true, NULL::text, bid_no, amount, NULL::text";
	return "SELECT accepted, reason, bid_no, price, durability"
		" FROM auction.place_bid($1, $2, $3, $4)";
}

static bool
client_connect(Client *client)
{
	static const Oid types[] = {20, 20, 20, 2950};	/* bigint, uuid */
	PGresult   *res;
	bool		good;

	if (client->conn != NULL)
		PQfinish(client->conn);
	client->conn = PQconnectdb(conninfo);
	if (PQstatus(client->conn) != CONNECTION_OK)
		return false;
	res = PQprepare(client->conn, "bid", bid_statement(), 4, types);
	good = PQresultStatus(res) == PGRES_COMMAND_OK;
	if (good && client->level != LEVEL_NONE)
	{
		char		command[80];

		snprintf(command, sizeof(command), "SET auction.durability = %s",
				 level_names[client->level]);
		PQclear(res);
		res = PQexec(client->conn, command);
		good = PQresultStatus(res) == PGRES_COMMAND_OK;
	}
	if (!good)
		fprintf(stderr, "bidders: %s", PQerrorMessage(client->conn));
	PQclear(res);
	if (good)
		PQsetnonblocking(client->conn, 1);
	return good;
}

/* The bid under way is over. */
static void
client_answer(Client *client, int64_t now)
{
	if (!client->have_outcome)
	{
		client->bid.outcome = OUTCOME_UNKNOWN;
		client->bid.why = "08006";
	}
	client->bid.answered = now;
	report_answer(&client->bid);
	client->busy = false;
}

static void
client_lost(Client *client, int64_t now)
{
	if (client->busy)
		client_answer(client, now);
	client->broken = true;
	client->not_before = now + 100000;
}

static void
client_send(Client *client, int64_t now)
{
	char		auction[24];
	char		user[24];
	char		amount[24];
	const char *values[4];

	draw_bid(&client->bid);
	snprintf(auction, sizeof(auction), "%lld",
			 (long long) client->bid.auction_id);
	snprintf(user, sizeof(user), "%lld", (long long) client->bid.user_id);
	snprintf(amount, sizeof(amount), "%lld", (long long) client->bid.amount);
	values[0] = auction;
	values[1] = user;
	values[2] = amount;
	values[3] = client->bid.request_id;
	client->bid.sent = now;
	client->bid.bid_no = 0;
	client->bid.asked = client->level;
	client->bid.level = LEVEL_NONE;
	client->have_outcome = false;
	client->busy = true;
	sent_bids++;
	if (!PQsendQueryPrepared(client->conn, "bid", 4, values, NULL, NULL, 0))
		client_lost(client, now);
}

/* What the README's table of SQLSTATEs says about a retry. */
static Outcome
outcome_of_error(const char *sqlstate)
{
	static const char *const not_recorded[] = {
		"RB002", "RB004", "RB005", "RB006", "RB007", "RB008", "RB010", "RB011",
		"57P03"					/* the server is starting up */
	};
	size_t		i;

	if (strcmp(sqlstate, "RB001") == 0)
		return OUTCOME_REJECTED;
	for (i = 0; i < sizeof(not_recorded) / sizeof(not_recorded[0]); i++)
		if (strcmp(sqlstate, not_recorded[i]) == 0)
			return OUTCOME_NOT_RECORDED;
	return OUTCOME_UNKNOWN;
}

/* SQLSTATEs and reasons are few: kept for the life of the program. */
static const char *
keep(const char *text)
{
	static char *kept[64];
	int			i;

	for (i = 0; i < 63 && kept[i] != NULL; i++)
		if (strcmp(kept[i], text) == 0)
			return kept[i];
	if (kept[i] == NULL)
		kept[i] = strdup(text);
	return kept[i];
}

static void
client_result(Client *client, PGresult *res)
{
	int64_t    *price = &prices[client->bid.auction_id - first_auction];

	client->have_outcome = true;
	client->failed = false;
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
	{
		bool		accepted = PQgetvalue(res, 0, 0)[0] == 't';

		client->bid.outcome = accepted ? OUTCOME_ACCEPTED : OUTCOME_REJECTED;
		client->bid.why = accepted ? "" : keep(PQgetvalue(res, 0, 1));
		if (accepted)
			client->bid.bid_no = strtoll(PQgetvalue(res, 0, 2), NULL, 10);
		client->bid.level = level_of_name(PQgetvalue(res, 0, 4));
		if (!PQgetisnull(res, 0, 3))
		{
			int64_t		told = strtoll(PQgetvalue(res, 0, 3), NULL, 10);

			if (told > *price)
				*price = told;
		}
	}
	else
	{
		const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

		client->bid.why = keep(sqlstate != NULL ? sqlstate : "08006");
		client->bid.outcome = outcome_of_error(client->bid.why);
		/* An INSERT that is rejected does not tell the price. */
		if (client->bid.outcome == OUTCOME_REJECTED)
			*price += increment;
		else
			client->failed = true;
	}
}

static void
client_read(Client *client)
{
	PGresult   *res;

	if (!PQconsumeInput(client->conn))
	{
		/* what came before the end may still hold the answer */
		while (!PQisBusy(client->conn) &&
			   (res = PQgetResult(client->conn)) != NULL)
		{
			client_result(client, res);
			PQclear(res);
		}
		client_lost(client, now_us());
		return;
	}
	while (client->busy && !PQisBusy(client->conn))
	{
		res = PQgetResult(client->conn);
		if (res == NULL)
		{
			int64_t		now = now_us();

			client_answer(client, now);
			client->not_before = now +
				(client->failed ? 100000 : (int64_t) (think * 1000));
		}
		else
		{
			client_result(client, res);
			PQclear(res);
		}
	}
	if (PQstatus(client->conn) == CONNECTION_BAD)
		client_lost(client, now_us());
}

/* Starts what can be started. Returns how many bids are under way. */
static int
start_bids(int64_t now)
{
	int			busy = 0;
	int			i;

	for (i = 0; i < nclients; i++)
	{
		Client	   *client = &clients[i];

		if (!client->busy && !stopped &&
			now < deadline && now >= client->not_before &&
			(nbids == 0 || sent_bids < nbids))
		{
			if (client->broken)
			{
				client->broken = !client_connect(client);
				client->not_before = client->broken ? now + 100000 : 0;
			}
			if (!client->broken)
				client_send(client, now_us());
		}
		busy += client->busy;
	}
	return busy;
}

static void
wait_for_answers(struct pollfd *fds)
{
	int			i;

	for (i = 0; i < nclients; i++)
	{
		Client	   *client = &clients[i];

		fds[i].fd = client->busy ? PQsocket(client->conn) : -1;
		fds[i].events = POLLIN;
		fds[i].revents = 0;
		if (client->busy && PQflush(client->conn) == 1)
			fds[i].events |= POLLOUT;
	}
	if (poll(fds, nclients, think > 0 ? 1 : 50) < 0 && errno != EINTR)
	{
		perror("bidders: poll");
		exit(2);
	}
	for (i = 0; i < nclients; i++)
		if (clients[i].busy && fds[i].revents != 0)
			client_read(&clients[i]);
}

static void
run(void)
{
	struct pollfd *fds = calloc(nclients, sizeof(struct pollfd));
	int64_t		give_up;
	int			busy;
	int			i;

	deadline = now_us() + (int64_t) (seconds * 1e6);
	give_up = deadline + (int64_t) (grace * 1e6);
	for (;;)
	{
		int64_t		now = now_us();
		bool		over = stopped || now >= deadline ||
			(nbids > 0 && sent_bids >= nbids);

		busy = start_bids(now);
		if ((over && busy == 0) || now >= give_up)
			break;
		wait_for_answers(fds);
		report_tick(now_us());
	}
	for (i = 0; i < nclients; i++)
	{
		if (clients[i].busy)
			client_lost(&clients[i], now_us());
		PQfinish(clients[i].conn);
	}
	free(fds);
}

static void
await_start(void)
{
	char		c;

	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

static void
stop(int signum)
{
	stopped = 1;
}

static void
usage(void)
{
	fprintf(stderr,
			"usage: bidders [OPTION VALUE]... FIRST_AUCTION LAST_AUCTION\n"
			"  --connect CONNINFO   where PostgreSQL is\n"
			"  --clients N          connections (8)\n"
			"  --seconds S          how long (5)\n"
			"  --bids N             at most so many bids in all (no limit)\n"
			"  --think MS           pause of a client between its bids (0)\n"
			"  --grace S            longest wait for the last answers (60)\n"
			"  --seed N             of the random numbers (1)\n"
			"  --users N            bidders (1000), from\n"
			"  --first-user N       this number on (1)\n"
			"  --increment N        of the auctions (1)\n"
			"  --raise N            a bid raises by 1..N increments (3)\n"
			"  --via place_bid|insert\n"
			"  --durability redis|replica|journal   asked for, or mixed: a third\n"
			"                       of the clients each (the session's default)\n"
			"  --answers FILE       a line for each bid\n"
			"  --progress 0|1       a line for each second\n"
			"  --ready 0|1          says \"ready\" when all are connected, and begins\n"
			"                       when standard input has ended\n");
	exit(2);
}

static void
read_options(int argc, char **argv)
{
	int			i;

	for (i = 1; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
	{
		const char *name = argv[i] + 2;
		const char *value = argv[i + 1];

		if (strcmp(name, "connect") == 0)
			conninfo = value;
		else if (strcmp(name, "answers") == 0)
			answers_path = value;
		else if (strcmp(name, "via") == 0)
			via = value;
		else if (strcmp(name, "durability") == 0)
			durability = value;
		else if (strcmp(name, "clients") == 0)
			nclients = atoi(value);
		else if (strcmp(name, "seconds") == 0)
			seconds = atof(value);
		else if (strcmp(name, "bids") == 0)
			nbids = atol(value);
		else if (strcmp(name, "think") == 0)
			think = atof(value);
		else if (strcmp(name, "grace") == 0)
			grace = atof(value);
		else if (strcmp(name, "seed") == 0)
			seed = strtoull(value, NULL, 10) * 2654435761u + 1;
		else if (strcmp(name, "users") == 0)
			nusers = atoll(value);
		else if (strcmp(name, "first-user") == 0)
			first_user = atoll(value);
		else if (strcmp(name, "increment") == 0)
			increment = atoll(value);
		else if (strcmp(name, "raise") == 0)
			max_raise = atoi(value);
		else if (strcmp(name, "progress") == 0)
			progress = atoi(value);
		else if (strcmp(name, "ready") == 0)
			ready = atoi(value);
		else
			usage();
	}
	if (argc - i != 2)
		usage();
	first_auction = atoll(argv[i]);
	last_auction = atoll(argv[i + 1]);
	if (last_auction < first_auction || nclients < 1 || nusers < 1 ||
		max_raise < 1)
		usage();
	if (durability != NULL && strcmp(durability, "mixed") != 0 &&
		level_of_name(durability) == LEVEL_NONE)
		usage();
}

int
main(int argc, char **argv)
{
	int			i;

	read_options(argc, argv);
	signal(SIGTERM, stop);
	clients = calloc(nclients, sizeof(Client));
	prices = calloc(last_auction - first_auction + 1, sizeof(int64_t));
	report_open(answers_path, progress);
	for (i = 0; i < nclients && durability != NULL; i++)
		clients[i].level = strcmp(durability, "mixed") != 0 ?
			level_of_name(durability) : (Level) (LEVEL_REDIS + i % 3);
	for (i = 0; i < nclients; i++)
		if (!client_connect(&clients[i]))
		{
			fprintf(stderr, "bidders: %s", PQerrorMessage(clients[i].conn));
			return 2;
		}
	if (ready)
		await_start();
	run();
	report_close();
	return 0;
}
