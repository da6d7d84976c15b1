/*
 * audit_redis.c: what Redis shows of an auction at rest, beside its row and
 * its bids.
 *
 * Compared are the fields of the state hash, the size of the book, and its
 * best bidders, as many as an answer holds.  An auction that has come to route
 * redis and had no bid there since is not in Redis yet; what is there all the
 * same has to be right.
 *
 * Redis may be behind without anything being wrong: a change made at rest waits
 * for the steward to show it (refresh_note.h), or the book is not written to
 * its end, and answers nobody.  That is one row, and no error.
 */
#include "postgres.h"

#include "audit.h"
#include "bid_slot.h"
#include "catalog/pg_type.h"
#include "statement.h"
#include "utils/timestamp.h"

/* Is the last bid one that its router has written to Redis? */
static AucStatement last_bid = {
	.text = "SELECT j.lane_id IS NOT NULL AND "
	" (s.moved_at IS NULL OR j.placed_at >= s.moved_at) "
	"FROM auction._state s JOIN auction.journal j "
	" ON j.auction_id = s.auction_id AND j.bid_no = s.bid_count "
	"WHERE s.auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};

/* Is it to be shown again? */
static AucStatement is_noted = {
	.text = "SELECT EXISTS (SELECT FROM auction._refresh "
	"WHERE auction_id = $1)",
	.nargs = 1,.argtypes = {INT8OID}
};

/* As Redis orders members of one score: by their bytes, the last first. */
static AucStatement best_bidders = {
	.text = "SELECT user_id, max(amount), count(*) OVER () "
	"FROM auction.journal WHERE auction_id = $1 AND retracted_at IS NULL "
	"GROUP BY user_id "
	"ORDER BY 2 DESC, user_id::text COLLATE \"C\" DESC LIMIT "
	CppAsString2(64),
	.nargs = 1,.argtypes = {INT8OID}
};

StaticAssertDecl(AUC_BOOK_MAX == 64, "best_bidders reads as many");

static void
note(AucAudit *audit, const char *item, const char *expected,
	 const char *found)
{
	auc_audit_note(audit, true, "redis", item, expected, found);
}

static void
compare_number(AucAudit *audit, const char *item, int64 expected, int64 found)
{
	if (expected != found)
		note(audit, item, psprintf(INT64_FORMAT, expected),
			 psprintf(INT64_FORMAT, found));
}

static const char *
leader_text(const AucState *state)
{
	return state->has_leader ? psprintf(INT64_FORMAT, state->leader_id) : NULL;
}

static void
compare_hash(AucAudit *audit, const AucAsk *ask)
{
	const AucState *row = &audit->row.state;
	const AucState *hash = &ask->state;

	if (!ask->shown.readable)
	{
		note(audit, "state hash", "numbers", "something else");
		return;
	}
	compare_number(audit, "price", row->price, hash->price);
	if (row->has_leader != hash->has_leader ||
		(row->has_leader && row->leader_id != hash->leader_id))
		note(audit, "leader", leader_text(row), leader_text(hash));
	compare_number(audit, "number of bids", row->bid_count, hash->bid_count);
	if (row->ends_at != hash->ends_at)
		note(audit, "ends_at", pstrdup(timestamptz_to_str(row->ends_at)),
			 pstrdup(timestamptz_to_str(hash->ends_at)));
	if (row->status != hash->status)
		note(audit, "status", auc_status_name(row->status),
			 psprintf("%c", (char) hash->status));
}

/* A bidder per row; amounts above the price are nobody's to see. */
static void
compare_bidders(AucAudit *audit, const AucAsk *ask, uint64 rows)
{
	for (uint64 row = 0; row < rows; row++)
	{
		const char *item = psprintf("book, rank %d", (int) row + 1);
		int64		user_id = auc_statement_int64(row, 1);

		if (row >= (uint64) ask->nbook)
			note(audit, item, psprintf("user " INT64_FORMAT, user_id), NULL);
		else if (ask->book[row].user_id != user_id)
			note(audit, item, psprintf("user " INT64_FORMAT, user_id),
				 psprintf("user " INT64_FORMAT, ask->book[row].user_id));
		else if (ask->book[row].amount != auc_statement_int64(row, 2))
			note(audit, item, "amount as in the journal", "another amount");
	}
}

static void
compare_book(AucAudit *audit, const AucAsk *ask)
{
	Datum		values[] = {Int64GetDatum(audit->auction_id)};
	uint64		rows = auc_statement_read(&best_bidders, values,
										  audit->snapshot);
	int64		bidders = rows > 0 ? auc_statement_int64(0, 3) : 0;

	compare_number(audit, "bidders in the book", bidders, ask->shown.members);
	if (ask->shown.members > 0)
		compare_bidders(audit, ask, rows);
}

/* A statement about this auction, of one row or none. */
static bool
asks_yes(AucAudit *audit, AucStatement *statement)
{
	Datum		values[] = {Int64GetDatum(audit->auction_id)};

	return auc_statement_read(statement, values, audit->snapshot) == 1 &&
		auc_statement_bool(0, 1);
}

static void
note_not_shown(AucAudit *audit, const char *why)
{
	auc_audit_note(audit, false, "redis", "not shown yet", NULL, why);
}

/* What book.lua asks, too, before it answers from one. */
static bool
is_written(const AucAudit *audit, const AucAsk *ask)
{
	return ask->shown.whole &&
		ask->state.retracted == audit->row.state.retracted;
}

static void
compare(AucAudit *audit, const AucAsk *ask)
{
	if (ask->shown.there)
		compare_hash(audit, ask);
	else if (asks_yes(audit, &last_bid))
		note(audit, "state hash", "there", NULL);
	else
		return;
	if (audit->row.state.bid_count == 0)
		return;
	if (ask->shown.readable && !is_written(audit, ask))
		note_not_shown(audit, "its book is not complete");
	else
		compare_book(audit, ask);
}

void
auc_audit_redis(AucAudit *audit, const AucAsk *ask)
{
	int			before = list_length(audit->differences);

	compare(audit, ask);
	if (list_length(audit->differences) == before ||
		!asks_yes(audit, &is_noted))
		return;
	audit->differences = list_truncate(audit->differences, before);
	note_not_shown(audit, "a change waits for the steward");
}
