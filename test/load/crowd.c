/*
 * crowd.c: bidders that do everything, on auctions that are moved meanwhile,
 * each writing down what it asked for and what it was told.
 *
 *   crowd [OPTION VALUE]... FIRST_AUCTION LAST_AUCTION
 *
 * Four kinds of processes, each with a connection of its own:
 *   bidders  place_bid, place_bids, INSERT, buy_now; alone and in transactions
 *            that commit or roll back; cancelled, cut off (crowd_bids.c)
 *   movers   set_route, the same ways, and killed (crowd_moves.c)
 *   a clerk  retracts bids, closes and cancels some auctions (crowd_moves.c)
 *   readers  look at auctions and their bids (crowd_reads.c)
 *
 * Half of the bids go to the first --hot auctions.  Nobody pauses, unless with
 * --pause: then each bidder and mover between two turns; a process whose
 * connection is lost makes another one until the time is over.  Notes go
 * to files bids.N, moves.N, acts.N and reads.N in the directory --out: a line an
 * attempt, tab separated, times in microseconds since 1970.  What the columns
 * are is said in test/lib/AuctionTest/Notes.pm, which reads them.
 *
 * SIGTERM ends it early.  It ends with 0 if every process did.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crowd.h"

static Crowd options = {
	.conninfo = "", .out = ".", .nclients = 32, .nmovers = 4, .seconds = 10,
	.seed = 1, .nhot = 4
};

const Crowd *crowd = &options;
static uint64_t random_state;
static volatile sig_atomic_t stopped = 0;


bool
crowd_over(void)
{
	return stopped || now_us() >= crowd->deadline;
}

/* Xorshift64* */
uint64_t
random64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

int64_t
random_below(int64_t n)
{
	return (int64_t) ((random64() >> 11) % (uint64_t) n);
}

FILE *
notes_open(const char *kind, int number)
{
	char		path[1024];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s.%d", crowd->out, kind, number);
	file = fopen(path, "a");
	if (file == NULL)
	{
		perror(path);
		_exit(2);
	}
	return file;
}

/* Between two turns: not all at once. */
void
crowd_pause(void)
{
	if (crowd->pause > 0)
		usleep((useconds_t) random_below(2000 * (int64_t) crowd->pause));
}

/* Until it is connected again, or the time is over. */
void
session_wait(Session *session)
{
	while (!crowd_over() && !session_connect(session))
		usleep(50000);
}

static void
stop(int signum)
{
	stopped = 1;
}

static pid_t
start(void (*live) (int), int number, int salt)
{
	pid_t		pid = fork();

	if (pid < 0)
	{
		perror("crowd: fork");
		exit(2);
	}
	if (pid > 0)
		return pid;
	random_state = crowd->seed * UINT64_C(2654435761) +
		(uint64_t) (salt + number) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (int i = 0; i < 8; i++)
		(void) random64();
	live(number);
	_exit(0);
}

static void
usage(void)
{
	fprintf(stderr,
			"usage: crowd [OPTION VALUE]... FIRST_AUCTION LAST_AUCTION\n"
			"  --connect CONNINFO   where PostgreSQL is\n"
			"  --out DIR            for the notes (.)\n"
			"  --clients N          bidders (32)\n"
			"  --movers N           movers, roles mover_0 .. (4)\n"
			"  --hot N              auctions that get half of the bids (4)\n"
			"  --readers N          readers (0)\n"
			"  --repeats 1          bids are sent again: unanswered ones, and some others\n"
			"  --levels 1           sessions ask for levels of their own\n"
			"  --pause N            milliseconds between turns, on average (0)\n"
			"  --seconds S          how long (10)\n"
			"  --ends-within S      the clerk closes and cancels within (--seconds)\n"
			"  --seed N             of the random numbers (1)\n");
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
			options.conninfo = value;
		else if (strcmp(name, "out") == 0)
			options.out = value;
		else if (strcmp(name, "clients") == 0)
			options.nclients = atoi(value);
		else if (strcmp(name, "movers") == 0)
			options.nmovers = atoi(value);
		else if (strcmp(name, "hot") == 0)
			options.nhot = atoi(value);
		else if (strcmp(name, "readers") == 0)
			options.nreaders = atoi(value);
		else if (strcmp(name, "repeats") == 0)
			options.repeats = atoi(value) != 0;
		else if (strcmp(name, "levels") == 0)
			options.levels = atoi(value) != 0;
		else if (strcmp(name, "pause") == 0)
			options.pause = atoi(value);
		else if (strcmp(name, "seconds") == 0)
			options.seconds = atof(value);
		else if (strcmp(name, "ends-within") == 0)
			options.ends_within = atof(value);
		else if (strcmp(name, "seed") == 0)
			options.seed = strtoull(value, NULL, 10);
		else
			usage();
	}
	if (argc - i != 2)
		usage();
	options.first = atoll(argv[i]);
	options.last = atoll(argv[i + 1]);
	if (options.last - options.first < options.nhot || options.nhot < 1 ||
		options.nclients < 1 || options.nmovers < 0 || options.nreaders < 0 ||
		options.pause < 0)
		usage();
}

/* Passes SIGTERM on; returns the exit status. */
static int
await_all(const pid_t *pids, int n)
{
	bool		passed = false;
	int			bad = 0;
	int			left = n;

	while (left > 0)
	{
		int			status;

		if (stopped && !passed)
		{
			for (int i = 0; i < n; i++)
				kill(pids[i], SIGTERM);
			passed = true;
		}
		if (wait(&status) < 0)
		{
			if (errno == EINTR)
				continue;
			perror("crowd: wait");
			return 2;
		}
		left--;
		if (status != 0)
			bad = 1;
	}
	return bad;
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stop};
	pid_t	   *pids;
	int			n = 0;

	read_options(argc, argv);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	options.lots = mmap(NULL, sizeof(Lot) * (options.last - options.first + 1),
						PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
						-1, 0);
	pids = calloc(options.nclients + options.nmovers + options.nreaders + 1,
				  sizeof(pid_t));
	if (options.lots == MAP_FAILED || pids == NULL)
	{
		perror("crowd: memory");
		return 2;
	}
	options.begin = now_us();
	options.deadline = options.begin + (int64_t) (options.seconds * 1e6);
	if (options.ends_within <= 0)
		options.ends_within = options.seconds;
	for (int i = 0; i < options.nclients; i++)
		pids[n++] = start(bidder_live, i, 0);
	for (int i = 0; i < options.nmovers; i++)
		pids[n++] = start(mover_live, i, 1000);
	for (int i = 0; i < options.nreaders; i++)
		pids[n++] = start(reader_live, i, 3000);
	pids[n++] = start(clerk_live, 0, 2000);
	return await_all(pids, n);
}
