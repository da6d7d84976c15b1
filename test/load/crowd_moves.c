/*
 * crowd_moves.c: movers and the clerk of the program "crowd".
 *
 * A mover sends auctions to the other route, as far as it knows which that is:
 * alone, in a transaction that commits or rolls back, cancelled, cut off, or
 * with its session killed.  Each mover is a role of its own, so that the route
 * log says whose move it was.
 *
 * The clerk retracts bids, and ends an auction now and then, the ones in the
 * middle of the range, the hot ones not.
 */
#include <string.h>
#include <unistd.h>

#include "crowd.h"

#define MOVERS_AUCTIONS 256

typedef struct Mover
{
	Session		session;
	FILE	   *notes;
	int			number;
	bool		on_redis[MOVERS_AUCTIONS];	/* as far as it knows */
} Mover;

/* The fate of what a transaction has done, and when it was known. */
static const char *
finish(Session *session, End end, bool commit)
{
	if (end == END_LOST || PQstatus(session->conn) != CONNECTION_OK)
		return "lost";
	if (end == END_ERROR || session_failed(session) || !commit)
	{
		session_rollback(session);
		return "rollback";
	}
	return session_run(session, "COMMIT", HURRY_NONE, 0) == END_OK ?
		"commit" : "lost";
}

/* One statement in a transaction or not; its line without the beginning. */
static End
run_and_note(Session *session, FILE *notes, const char *begin,
			 const char *sql, bool block, Hurry hurry, long after)
{
	const char *fate = "alone";
	char		told[32] = "";
	char		sqlstate[6];
	int64_t		sent;
	int64_t		answered;
	bool		commit = random_below(2) == 0;
	End			end = END_OK;

	if (block)
		end = session_run(session, "BEGIN", HURRY_NONE, 0);
	if (end == END_OK)
		end = session_run(session, sql, hurry, after);
	if (end == END_OK)
		snprintf(told, sizeof(told), "%s", session_value(session, 0, 0));
	memcpy(sqlstate, session->sqlstate, sizeof(sqlstate));
	sent = session->sent;
	answered = session->answered;
	if (block)
		fate = finish(session, end, commit);
	fprintf(notes, "%s\t%s\t%lld\t%lld\t%s\t%s\t%s\t%s\t%lld\n", begin,
			hurry_name(hurry), (long long) sent, (long long) answered,
			end_name(end), sqlstate, told, fate, (long long) now_us());
	fflush(notes);
	return end;
}

static void
move_one(Mover *mover)
{
	int64_t		total = crowd->last - crowd->first + 1;
	int64_t		index = random_below(4) == 0 ? random_below(crowd->nhot) :
		random_below(total);
	int64_t		luck = random_below(100);
	bool		to_redis = !mover->on_redis[index % MOVERS_AUCTIONS];
	Hurry		hurry = luck < 8 ? HURRY_CANCEL : luck < 14 ? HURRY_TIMEOUT :
		luck < 18 ? HURRY_KILL : HURRY_NONE;
	char		sql[128];
	char		begin[128];
	End			end;

	snprintf(sql, sizeof(sql), "SELECT auction.set_route(%lld, '%s')",
			 (long long) (crowd->first + index), to_redis ? "redis" : "table");
	snprintf(begin, sizeof(begin), "mover_%d\t%lld\t%s", mover->number,
			 (long long) (crowd->first + index), to_redis ? "redis" : "table");
	end = run_and_note(&mover->session, mover->notes, begin, sql,
					   random_below(3) == 0, hurry,
					   hurry == HURRY_TIMEOUT ? 1 + random_below(10) :
					   random_below(10000));
	/* told or not: the next time it is tried the other way */
	mover->on_redis[index % MOVERS_AUCTIONS] = to_redis;
	/* it may come late, and must not hit the next one */
	if (hurry == HURRY_KILL)
		session_close(&mover->session);
	if (end != END_OK)
		usleep(1000);
}

void
mover_live(int number)
{
	static Mover mover;
	static char conninfo[1024];

	snprintf(conninfo, sizeof(conninfo), "%s user=mover_%d", crowd->conninfo,
			 number);
	mover.number = number;
	mover.session.conninfo = conninfo;
	mover.notes = notes_open("moves", number);
	session_wait(&mover.session);
	for (; !crowd_over(); crowd_pause())
	{
		if (PQstatus(mover.session.conn) != CONNECTION_OK)
			session_wait(&mover.session);
		else
			move_one(&mover);
	}
	session_close(&mover.session);
	fclose(mover.notes);
}

/* ---- the clerk ---- */

static void
act(Session *session, FILE *notes, const char *what, int64_t index,
	int64_t bid_no)
{
	char		sql[160];
	char		begin[128];
	long long	id = crowd->first + index;

	if (strcmp(what, "retract") == 0)
		snprintf(sql, sizeof(sql), "SELECT price FROM "
				 "auction.retract_bid(%lld, %lld, 'by the clerk')",
				 id, (long long) bid_no);
	else if (strcmp(what, "close") == 0)
		snprintf(sql, sizeof(sql), "SELECT auction.close_auction(%lld)", id);
	else
		snprintf(sql, sizeof(sql),
				 "SELECT auction.cancel_auction(%lld, 'by the clerk')", id);
	snprintf(begin, sizeof(begin), "%s\t%lld\t%lld", what, id,
			 (long long) bid_no);
	(void) run_and_note(session, notes, begin, sql,
						bid_no > 0 && random_below(3) == 0, HURRY_NONE, 0);
}

static void
retract_one(Session *session, FILE *notes)
{
	int64_t		index = random_below(crowd->last - crowd->first + 1);
	int64_t		known = crowd->lots[index].bid_count;

	/* the newest ones are most often the best */
	if (known > 0)
		act(session, notes, "retract", index,
			random_below(2) == 0 ? known - random_below(known < 3 ? known : 3) :
			1 + random_below(known));
}

void
clerk_live(int number)
{
	static Session session;
	static const char *const ends[] = {"close", "cancel", "close", "close"};
	FILE	   *notes = notes_open("acts", number);
	int64_t		middle = (crowd->last - crowd->first + 1) / 2;
	int64_t		span = (int64_t) (crowd->ends_within * 1e6);
	int			nended = 0;

	session.conninfo = crowd->conninfo;
	session_wait(&session);
	while (!crowd_over())
	{
		if (PQstatus(session.conn) != CONNECTION_OK)
			session_wait(&session);
		else if (nended < 4 &&
				 now_us() > crowd->begin + span * (nended + 2) / 8)
		{
			act(&session, notes, ends[nended], middle + nended, 0);
			nended++;
		}
		else
			retract_one(&session, notes);
		usleep(50000);
	}
	session_close(&session);
	fclose(notes);
}
