/*
 * bidders_report.c: counts answers, keeps latencies, writes the answers file.
 *
 * The answers file has a line a bid, tab separated as COPY reads it:
 *   auction_id user_id amount request_id outcome bid_no why
 * with bid_no \N unless accepted.  Standard output ends with one "name value"
 * a line; with --progress each second adds "tick SECOND BIDS ACCEPTED" before.
 */
#include <stdlib.h>
#include <string.h>

#include "bidders.h"

static const char *const outcome_names[OUTCOME_COUNT] = {
	"accepted", "rejected", "not_recorded", "unknown"
};

static FILE *answers = NULL;
static int	show_progress = 0;

const char *const level_names[LEVEL_COUNT] = {
	"none", "redis", "replica", "journal"
};

static long counts[OUTCOME_COUNT];
static long levels[LEVEL_COUNT];	/* of verdicts */
static long below = 0;			/* ... with less than was asked for */
static uint32_t *latencies = NULL;	/* of bids with a verdict, in us */
static size_t nlatencies = 0;
static size_t maxlatencies = 0;

static int64_t first_sent = 0;
static int64_t last_answered = 0;
static int64_t longest_gap = 0; /* between verdicts: how long nobody could */
static int64_t last_verdict = 0;

static int64_t next_tick = 0;
static int	tick = 0;
static long tick_bids = 0;
static long tick_accepted = 0;


Level
level_of_name(const char *name)
{
	int			level;

	for (level = LEVEL_COUNT - 1; level > LEVEL_NONE; level--)
		if (strcmp(level_names[level], name) == 0)
			break;
	return (Level) level;
}

void
report_open(const char *answers_path, int progress)
{
	show_progress = progress;
	if (answers_path != NULL)
	{
		answers = fopen(answers_path, "w");
		if (answers == NULL)
		{
			perror(answers_path);
			exit(2);
		}
	}
}

static void
remember_latency(int64_t us)
{
	if (nlatencies == maxlatencies)
	{
		maxlatencies = maxlatencies == 0 ? 65536 : maxlatencies * 2;
		latencies = realloc(latencies, maxlatencies * sizeof(uint32_t));
		if (latencies == NULL)
		{
			fprintf(stderr, "bidders: out of memory\n");
			exit(2);
		}
	}
	latencies[nlatencies++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t) us;
}

void
report_answer(const Answer *answer)
{
	counts[answer->outcome]++;
	if (first_sent == 0)
		first_sent = answer->sent;
	last_answered = answer->answered;
	if (answer->outcome == OUTCOME_ACCEPTED ||
		answer->outcome == OUTCOME_REJECTED)
	{
		remember_latency(answer->answered - answer->sent);
		levels[answer->level]++;
		if (answer->level != LEVEL_NONE && answer->level < answer->asked)
			below++;
		if (last_verdict != 0 &&
			answer->answered - last_verdict > longest_gap)
			longest_gap = answer->answered - last_verdict;
		last_verdict = answer->answered;
	}
	if (answers == NULL)
		return;
	fprintf(answers, "%lld\t%lld\t%lld\t%s\t%s\t",
			(long long) answer->auction_id, (long long) answer->user_id,
			(long long) answer->amount, answer->request_id,
			outcome_names[answer->outcome]);
	if (answer->outcome == OUTCOME_ACCEPTED)
		fprintf(answers, "%lld\t\n", (long long) answer->bid_no);
	else
		fprintf(answers, "\\N\t%s\n", answer->why);
}

void
report_tick(int64_t now)
{
	long		bids = 0;
	int			i;

	if (!show_progress)
		return;
	if (next_tick == 0)
		next_tick = now + 1000000;
	if (now < next_tick)
		return;
	next_tick += 1000000;
	for (i = 0; i < OUTCOME_COUNT; i++)
		bids += counts[i];
	printf("tick %d %ld %ld\n", ++tick, bids - tick_bids,
		   counts[OUTCOME_ACCEPTED] - tick_accepted);
	fflush(stdout);
	tick_bids = bids;
	tick_accepted = counts[OUTCOME_ACCEPTED];
}

static int
compare_latency(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

static unsigned
percentile(double share)
{
	if (nlatencies == 0)
		return 0;
	return latencies[(size_t) (share * (double) (nlatencies - 1))];
}

void
report_close(void)
{
	double		seconds = (double) (last_answered - first_sent) / 1e6;
	int			i;

	if (answers != NULL && (fflush(answers) != 0 || fclose(answers) != 0))
	{
		perror("bidders: answers");
		exit(2);
	}
	qsort(latencies, nlatencies, sizeof(uint32_t), compare_latency);
	for (i = 0; i < OUTCOME_COUNT; i++)
		printf("%s %ld\n", outcome_names[i], counts[i]);
	for (i = LEVEL_REDIS; i < LEVEL_COUNT; i++)
		printf("level_%s %ld\n", level_names[i], levels[i]);
	printf("below_level %ld\n", below);
	printf("seconds %.3f\n", seconds);
	printf("bids_per_second %.0f\n",
		   seconds > 0 ? (double) nlatencies / seconds : 0);
	printf("p50_us %u\n", percentile(0.50));
	printf("p99_us %u\n", percentile(0.99));
	printf("max_us %u\n", percentile(1.0));
	printf("longest_gap_us %lld\n", (long long) longest_gap);
}
