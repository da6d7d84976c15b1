/*
 * crowd.h: what the files of the program "crowd" share; crowd.c says what it
 * is for.
 *
 * Each client is a process with a connection and a file of its own.  What they
 * share is one piece of memory, written without locks: the last price and
 * number of bids that anybody was told of, which only make bids sensible.
 */
#ifndef CROWD_H
#define CROWD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <libpq-fe.h>

typedef struct Lot
{
	volatile int64_t price;
	volatile int64_t bid_count;
} Lot;

typedef struct Crowd
{
	const char *conninfo;
	const char *out;			/* directory for the notes */
	int			nclients;
	int			nmovers;
	int			nreaders;
	int			pause;			/* milliseconds between turns, on average */
	bool		repeats;		/* bids are sent again */
	bool		levels;			/* sessions ask for levels of their own */
	double		seconds;
	double		ends_within;	/* seconds from the begin on */
	uint64_t	seed;
	int64_t		first;			/* auctions */
	int64_t		last;
	int			nhot;			/* of them, which get half of the bids */
	Lot		   *lots;			/* shared; of auction first + index */
	int64_t		begin;			/* microseconds since 1970 */
	int64_t		deadline;
} Crowd;

/* How a statement ended. */
typedef enum End
{
	END_OK,
	END_ERROR,
	END_LOST					/* the connection is gone; no answer */
} End;

/* How a statement is disturbed, after "after" microseconds. */
typedef enum Hurry
{
	HURRY_NONE,
	HURRY_CANCEL,				/* a cancel request */
	HURRY_TIMEOUT,				/* statement_timeout; "after" is in ms */
	HURRY_KILL					/* pg_terminate_backend() */
} Hurry;

typedef struct Session
{
	const char *conninfo;
	PGconn	   *conn;
	PGresult   *res;			/* of the last statement, if END_OK */
	char		sqlstate[6];	/* of the last statement, if END_ERROR */
	char		message[128];
	int64_t		sent;			/* microseconds since 1970 */
	int64_t		answered;
} Session;

/* crowd_session.c */
extern int64_t now_us(void);
extern bool session_connect(Session *session);
extern void session_close(Session *session);
extern End	session_run(Session *session, const char *sql, Hurry hurry,
						long after);
extern void session_rollback(Session *session);
/* It is in a transaction that can only be rolled back. */
extern bool session_failed(const Session *session);
extern const char *end_name(End end);
extern const char *hurry_name(Hurry hurry);
/* Of the last statement, which has succeeded; "" if there is no such row. */
extern const char *session_value(const Session *session, int row, int column);

/* crowd.c */
extern const Crowd *crowd;
extern bool crowd_over(void);
extern void crowd_pause(void);
extern uint64_t random64(void);
extern int64_t random_below(int64_t n);
extern FILE *notes_open(const char *kind, int number);
extern void session_wait(Session *session);

/* crowd_bids.c, crowd_moves.c, crowd_reads.c: the life of one process each. */
extern void bidder_live(int number);
extern void mover_live(int number);
extern void clerk_live(int number);
extern void reader_live(int number);

#endif							/* CROWD_H */
