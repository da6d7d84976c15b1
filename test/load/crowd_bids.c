/*
 * crowd_bids.c: a bidder of the program "crowd".
 *
 * Each turn is one statement by itself, or a transaction of one to three that
 * ends in COMMIT or, on purpose, in ROLLBACK.  A statement has one bid, or up
 * to four.  The auctions of a turn go up, so that transactions on route table
 * cannot wait for each other in a circle.
 *
 * A bid's line is written when its transaction's fate is known, for on route
 * table it is the bid's fate.
 *
 * With --repeats a statement by itself that was not answered, or said not to be
 * recorded, is sent again with the same request ids until it is; before, it may
 * be asked what became of each.  Now and then one is sent again without need.
 */
#include <string.h>
#include <unistd.h>

#include "crowd.h"

#define BIDS_MAX	4			/* of one statement */
#define LINES_MAX	(3 * BIDS_MAX)	/* of one turn */
#define RESULT_COLUMNS	9
#define NUSERS		60
#define REPEATS_MAX	20

typedef enum Way
{
	WAY_PLACE_BID,
	WAY_PLACE_BIDS,
	WAY_INSERT,
	WAY_BUY_NOW,
	WAY_STATUS					/* asks, and bids not */
} Way;

typedef struct Bid
{
	int64_t		auction_id;
	int64_t		user_id;
	int64_t		amount;
	char		request_id[37];
} Bid;

typedef struct Bidder
{
	Session		session;
	FILE	   *notes;
	int			number;
	const char *level;			/* that its session asks for, or "" */
	long		transaction;	/* number of the one under way; 0: none */
	long		transactions;
	char		lines[LINES_MAX][640];
	int			nlines;
} Bidder;

static const char *const way_names[] = {
	"place_bid", "place_bids", "insert", "buy_now", "status"
};

static const char *const levels[] = {"redis", "replica", "journal"};

/* The columns of a verdict, in the order of the notes. */
#define VERDICT \
	"accepted, reason, bid_no, price, leader_id, " \
	"(extract(epoch FROM ends_at) * 1000000)::bigint, route, durability, " \
	"reserve_met"

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

/* Near the last price that anybody was told; user 0 is the seller. */
static void
draw_bid(Bid *bid, int64_t auction_id)
{
	Lot		   *lot = &crowd->lots[auction_id - crowd->first];
	int64_t		luck = random_below(100);

	bid->auction_id = auction_id;
	bid->user_id = luck == 0 ? 0 : 1 + random_below(NUSERS);
	if (luck < 8)
		bid->amount = lot->price;
	else if (luck < 20)
		bid->amount = lot->price + 1000 + random_below(1000);
	else
		bid->amount = lot->price + 1 + random_below(300);
	draw_request_id(bid->request_id);
}

/* n different auctions, upwards. */
static void
draw_auctions(int64_t *auctions, int n)
{
	int64_t		total = crowd->last - crowd->first + 1;

	for (int i = 0; i < n; i++)
	{
		int64_t		id = crowd->first + (random_below(2) == 0 ?
										 random_below(crowd->nhot) :
										 random_below(total));
		int			at = i;

		while (at > 0 && auctions[at - 1] > id)
		{
			auctions[at] = auctions[at - 1];
			at--;
		}
		auctions[at] = id;
	}
}

static Hurry
draw_hurry(long *after)
{
	int64_t		luck = random_below(100);

	*after = 0;
	if (luck < 2)
	{
		*after = random_below(12000);
		return HURRY_CANCEL;
	}
	if (luck < 4)
	{
		*after = 1 + random_below(12);
		return HURRY_TIMEOUT;
	}
	return HURRY_NONE;
}

/* ---- statements ---- */

static void
write_statement(char *sql, size_t size, Way way, const Bid *bids, int n)
{
	size_t		len;

	if (way == WAY_STATUS)
	{
		snprintf(sql, size, "SELECT " VERDICT
				 " FROM auction.bid_status(%lld, '%s', %lld)",
				 (long long) bids->auction_id, bids->request_id,
				 (long long) bids->user_id);
		return;
	}
	if (way == WAY_BUY_NOW)
	{
		snprintf(sql, size, "SELECT " VERDICT
				 " FROM auction.buy_now(%lld, %lld, '%s')",
				 (long long) bids->auction_id, (long long) bids->user_id,
				 bids->request_id);
		return;
	}
	if (way == WAY_PLACE_BID)
	{
		snprintf(sql, size, "SELECT " VERDICT
				 " FROM auction.place_bid(%lld, %lld, %lld, '%s')",
				 (long long) bids->auction_id, (long long) bids->user_id,
				 (long long) bids->amount, bids->request_id);
		return;
	}
	len = snprintf(sql, size, way == WAY_INSERT ?
				   "INSERT INTO auction.bids "
				   "(auction_id, user_id, amount, request_id) VALUES" :
				   "SELECT " VERDICT " FROM auction.place_bids(ARRAY[");
	for (int i = 0; i < n; i++)
		len += snprintf(sql + len, size - len, "%s%s(%lld, %lld, %lld, '%s'%s)",
						i > 0 ? ", " : " ", way == WAY_INSERT ? "" : "ROW",
						(long long) bids[i].auction_id,
						(long long) bids[i].user_id,
						(long long) bids[i].amount, bids[i].request_id,
						way == WAY_INSERT ? "" : ", NULL");
	snprintf(sql + len, size - len, way == WAY_INSERT ?
			 " RETURNING true, NULL, bid_no, NULL, NULL, NULL, route, NULL,"
			 " NULL" :
			 "]::auction.bid_request[])");
}

/* What the others may build on. */
static void
learn(const Bidder *bidder, const Bid *bid, int row)
{
	Lot		   *lot = &crowd->lots[bid->auction_id - crowd->first];
	const char *price = session_value(&bidder->session, row, 3);
	const char *bid_no = session_value(&bidder->session, row, 2);
	long long	value;

	if (sscanf(price, "%lld", &value) == 1)
		lot->price = value;
	else if (session_value(&bidder->session, row, 0)[0] == 't')
		lot->price = bid->amount;
	if (sscanf(bid_no, "%lld", &value) == 1 && value > lot->bid_count)
		lot->bid_count = value;
}

/* The part of an INSERT's error that says why. */
static const char *
reason_in(const char *message)
{
	const char *found = strstr(message, "rejected: ");

	return found != NULL ? found + strlen("rejected: ") : "";
}

static void
note(Bidder *bidder, Way way, Hurry hurry, int n, const Bid *bid, int row,
	 End end)
{
	const Session *session = &bidder->session;
	char	   *line = bidder->lines[bidder->nlines++];
	size_t		size = sizeof(bidder->lines[0]);
	size_t		len;

	len = snprintf(line, size,
				   "%d\t%ld\t%s\t%d\t%s\t%s\t%lld\t%lld\t%lld\t%s"
				   "\t%lld\t%lld\t%s\t%s\t%s\t%s",
				   bidder->number, bidder->transaction, way_names[way], n,
				   hurry_name(hurry), bidder->level,
				   (long long) bid->auction_id,
				   (long long) bid->user_id, (long long) bid->amount,
				   bid->request_id, (long long) session->sent,
				   (long long) session->answered, end_name(end),
				   session->sqlstate, session->message,
				   reason_in(session->message));
	for (int i = 0; i < RESULT_COLUMNS; i++)
		len += snprintf(line + len, size - len, "\t%s",
						end == END_OK ? session_value(session, row, i) : "");
}

/* The fate of the lines so far. */
static void
write_lines(Bidder *bidder, const char *fate)
{
	int64_t		now = now_us();

	for (int i = 0; i < bidder->nlines; i++)
		fprintf(bidder->notes, "%s\t%s\t%lld\n", bidder->lines[i], fate,
				(long long) now);
	fflush(bidder->notes);
	bidder->nlines = 0;
}

/* Until it is connected, or the time is over; sessions begin with no level. */
static void
bidder_connect(Bidder *bidder)
{
	bidder->level = "";
	session_wait(&bidder->session);
}

/* For what follows in its session. */
static void
draw_level(Bidder *bidder)
{
	const char *level = levels[random_below(3)];
	char		sql[64];

	snprintf(sql, sizeof(sql), "SET auction.durability = %s", level);
	if (session_run(&bidder->session, sql, HURRY_NONE, 0) == END_OK)
		bidder->level = level;
}

static Way
draw_way(int n)
{
	int64_t		luck = random_below(1000);

	if (n > 1)
		return luck < 700 ? WAY_PLACE_BIDS : WAY_INSERT;
	return luck < 650 ? WAY_PLACE_BID : luck < 750 ? WAY_PLACE_BIDS :
		luck < 996 ? WAY_INSERT : WAY_BUY_NOW;
}

static End
send_bids(Bidder *bidder, Way way, const Bid *bids, int n)
{
	long		after;
	Hurry		hurry = draw_hurry(&after);
	char		sql[2048];
	End			end;

	write_statement(sql, sizeof(sql), way, bids, n);
	end = session_run(&bidder->session, sql, hurry, after);
	for (int i = 0; i < n; i++)
	{
		note(bidder, way, hurry, n, &bids[i], i, end);
		if (end == END_OK)
			learn(bidder, &bids[i], i);
	}
	return end;
}

static void
draw_bids(Bid *bids, const int64_t *auctions, int n)
{
	for (int i = 0; i < n; i++)
		draw_bid(&bids[i], auctions[i]);
}

/* It is not known what became of it, or that it is not recorded. */
static bool
is_open(const Bidder *bidder, End end)
{
	const char *code = bidder->session.sqlstate;

	return end == END_LOST || (end == END_ERROR && strcmp(code, "RB001") != 0 &&
							   strcmp(code, "RB008") != 0);
}

static void
ask_status(Bidder *bidder, const Bid *bids, int n)
{
	for (int i = 0; i < n; i++)
	{
		(void) send_bids(bidder, WAY_STATUS, &bids[i], 1);
		write_lines(bidder, "alone");
		if (PQstatus(bidder->session.conn) != CONNECTION_OK)
			return;
	}
}

/* Until it is answered; what is gone for good would not be. */
static void
repeat(Bidder *bidder, Way way, const Bid *bids, int n, End end)
{
	for (int i = 0; i < REPEATS_MAX && !crowd_over() &&
		 (is_open(bidder, end) || (i == 0 && random_below(20) == 0)); i++)
	{
		if (PQstatus(bidder->session.conn) != CONNECTION_OK)
			bidder_connect(bidder);
		if (crowd_over())
			return;
		if (random_below(3) == 0)
			ask_status(bidder, bids, n);
		end = send_bids(bidder, way, bids, n);
		write_lines(bidder, "alone");
		usleep(1000);
	}
}

/* ---- turns ---- */

static void
bid_alone(Bidder *bidder)
{
	int64_t		auctions[BIDS_MAX];
	Bid			bids[BIDS_MAX];
	int			n = random_below(8) == 0 ? 2 + (int) random_below(3) : 1;
	Way			way = draw_way(n);
	End			end;

	draw_auctions(auctions, n);
	draw_bids(bids, auctions, n);
	end = send_bids(bidder, way, bids, n);
	write_lines(bidder, "alone");
	if (crowd->repeats)
		repeat(bidder, way, bids, n, end);
}

static const char *
end_transaction(Bidder *bidder, End end)
{
	bool		commit = random_below(3) > 0;

	if (end == END_LOST)
		return "lost";
	if (end == END_ERROR || session_failed(&bidder->session) || !commit)
	{
		session_rollback(&bidder->session);
		return "rollback";
	}
	end = session_run(&bidder->session, "COMMIT", HURRY_NONE, 0);
	return end == END_OK ? "commit" : "lost";
}

static void
bid_in_transaction(Bidder *bidder)
{
	static const char *const begins[] = {
		"BEGIN", "BEGIN", "BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ"
	};
	int			nstatements = 1 + (int) random_below(3);
	int64_t		auctions[3 * 2];
	Bid			bids[2];
	End			end;

	draw_auctions(auctions, nstatements * 2);
	end = session_run(&bidder->session, begins[random_below(4)], HURRY_NONE, 0);
	bidder->transaction = ++bidder->transactions;
	for (int i = 0; i < nstatements && end == END_OK &&
		 !session_failed(&bidder->session); i++)
	{
		int			n = 1 + (int) random_below(2);

		draw_bids(bids, &auctions[2 * i], n);
		end = send_bids(bidder, draw_way(n), bids, n);
	}
	write_lines(bidder, end_transaction(bidder, end));
	bidder->transaction = 0;
}

void
bidder_live(int number)
{
	static Bidder bidder;

	bidder.number = number;
	bidder.session.conninfo = crowd->conninfo;
	bidder.notes = notes_open("bids", number);
	bidder_connect(&bidder);
	for (; !crowd_over(); crowd_pause())
	{
		if (PQstatus(bidder.session.conn) != CONNECTION_OK)
			bidder_connect(&bidder);
		else if (crowd->levels && random_below(20) == 0)
			draw_level(&bidder);
		else if (random_below(12) == 0)
			bid_in_transaction(&bidder);
		else
			bid_alone(&bidder);
	}
	session_close(&bidder.session);
	fclose(bidder.notes);
}
