/*
 * bidders.h: what bidders.c hands to bidders_report.c.
 */
#ifndef BIDDERS_H
#define BIDDERS_H

#include <stdint.h>
#include <stdio.h>

typedef enum Outcome
{
	OUTCOME_ACCEPTED,
	OUTCOME_REJECTED,			/* by the rules */
	OUTCOME_NOT_RECORDED,		/* an error that says so */
	OUTCOME_UNKNOWN,			/* an error that does not, or no answer */
	OUTCOME_COUNT
} Outcome;

/* Of durability, ascending. */
typedef enum Level
{
	LEVEL_NONE,					/* none asked for; or none told */
	LEVEL_REDIS,
	LEVEL_REPLICA,
	LEVEL_JOURNAL,
	LEVEL_COUNT
} Level;

extern const char *const level_names[LEVEL_COUNT];
extern Level level_of_name(const char *name);

/* One bid as it was sent, and what was answered. */
typedef struct Answer
{
	int64_t		auction_id;
	int64_t		user_id;
	int64_t		amount;
	char		request_id[37];
	Outcome		outcome;
	int64_t		bid_no;			/* 0 unless accepted */
	Level		asked;
	Level		level;			/* told with the verdict */
	const char *why;			/* reason or SQLSTATE, "" if accepted */
	int64_t		sent;			/* microseconds, monotonic */
	int64_t		answered;
} Answer;

extern void report_open(const char *answers_path, int progress);
extern void report_answer(const Answer *answer);
extern void report_tick(int64_t now);	/* prints progress when it is time */
extern void report_close(void);

#endif							/* BIDDERS_H */
