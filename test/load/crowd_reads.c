/*
 * crowd_reads.c: a reader of the program "crowd".
 *
 * It counts an auction's bids, as a report would, and looks at it as a web page
 * would.  How many bids it saw, how many different ones, and the last one's
 * number are noted: at any moment they are the same, and no bid that was
 * committed before is missing.
 */
#include <string.h>
#include <unistd.h>

#include "crowd.h"

static void
count_bids(Session *session, FILE *notes, long long id)
{
	char		sql[256];
	End			end;

	snprintf(sql, sizeof(sql),
			 "SELECT count(*), count(DISTINCT bid_no), coalesce(max(bid_no), 0)"
			 " FROM auction.bids WHERE auction_id = %lld", id);
	end = session_run(session, sql, HURRY_NONE, 0);
	fprintf(notes, "%lld\t%lld\t%lld\t%s\t%s", id, (long long) session->sent,
			(long long) session->answered, end_name(end), session->sqlstate);
	for (int i = 0; i < 3; i++)
		fprintf(notes, "\t%s", end == END_OK ? session_value(session, 0, i) : "");
	fprintf(notes, "\n");
	fflush(notes);
}

static void
look(Session *session, long long id)
{
	static const char *const views[] = {
		"SELECT * FROM auction.standing(%lld)",
		"SELECT * FROM auction.top_bids(%lld)",
		"SELECT * FROM auction.standings WHERE id = %lld"
	};
	char		sql[128];

	snprintf(sql, sizeof(sql), views[random_below(3)], id);
	(void) session_run(session, sql, HURRY_NONE, 0);
}

void
reader_live(int number)
{
	static Session session;
	FILE	   *notes = notes_open("reads", number);

	session.conninfo = crowd->conninfo;
	session_wait(&session);
	for (; !crowd_over(); usleep(20000))
	{
		long long	id = crowd->first +
			random_below(crowd->last - crowd->first + 1);

		if (PQstatus(session.conn) != CONNECTION_OK)
			session_wait(&session);
		else if (random_below(3) == 0)
			look(&session, id);
		else
			count_bids(&session, notes, id);
	}
	session_close(&session);
	fclose(notes);
}
