/*
 * audit_replay.c: an auction's bids are decided once more, in their order.
 *
 * From the state before the first bid on, each bid and each retraction is put
 * to the rules (rules.h) with its own time; every bid has to be accepted again.
 * That finds a bid that the rules refuse (too low, the seller's, before the
 * start, behind the end or a buy-now), times and positions that go back, and
 * an end or a close that the bids do not explain.  It stops at the first bid
 * that differs: what comes after builds on it.
 *
 * A retraction counts from its time on: before a later bid that has the same.
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "statement.h"
#include "tally.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PAGE	1000

typedef struct Retraction
{
	TimestampTz at;
	int64		bid_no;
} Retraction;

typedef struct Bid
{
	int64		bid_no;
	int64		user_id;
	int64		amount;
	TimestampTz placed_at;
	bool		buy_now;
	int			lane_id;		/* 0: decided on route table */
	int64		position;
} Bid;

typedef struct Replay
{
	AucAudit   *audit;
	AucBidsIn	where;
	AucState	state;
	int			nretractions;
	int			next;			/* the first that is not counted yet */
	Retraction *retractions;
	int			lane_id;		/* of the last bid that has a position */
	int64		position;
	TimestampTz last_bid_at;
} Replay;

#define RETRACTIONS(table) \
	"SELECT retracted_at, bid_no FROM " table " " \
	"WHERE auction_id = $1 AND retracted_at IS NOT NULL ORDER BY 1, 2"
#define BIDS(table) \
	"SELECT bid_no, user_id, amount, placed_at, buy_now, lane_id, position " \
	"FROM " table " WHERE auction_id = $1 AND bid_no > $2 " \
	"ORDER BY bid_no LIMIT " CppAsString2(PAGE)
/* The bids that stood when bid $4 was retracted at $3, but for that one. */
#define STOOD(table) \
	"SELECT auction._tally(b.user_id, b.amount, b.bid_no, b.buy_now) " \
	"FROM " table " b WHERE b.auction_id = $1 AND b.bid_no < $2 " \
	" AND (b.retracted_at IS NULL OR (b.retracted_at, b.bid_no) > ($3, $4))"

/* By AucBidsIn. */
static AucStatement all_retractions[] = {
	{.text = RETRACTIONS("auction.journal"),.nargs = 1,.argtypes = {INT8OID}},
	{.text = RETRACTIONS("auction.history"),.nargs = 1,.argtypes = {INT8OID}}
};
static AucStatement next_bids[] = {
	{.text = BIDS("auction.journal"),.nargs = 2,.argtypes = {INT8OID, INT8OID}},
	{.text = BIDS("auction.history"),.nargs = 2,.argtypes = {INT8OID, INT8OID}}
};
static AucStatement stood[] = {
	{.text = STOOD("auction.journal"),.nargs = 4,
	.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID}},
	{.text = STOOD("auction.history"),.nargs = 4,
	.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID}}
};

static const char *
bids_table(const Replay *replay)
{
	return replay->where == AUC_BIDS_IN_JOURNAL ? "journal" : "history";
}

static const char *
time_text(TimestampTz at)
{
	return at == 0 ? NULL : pstrdup(timestamptz_to_str(at));
}

static void
read_retractions(Replay *replay)
{
	Datum		values[] = {Int64GetDatum(replay->audit->auction_id)};
	uint64		rows = auc_statement_read(&all_retractions[replay->where],
										  values, replay->audit->snapshot);

	replay->nretractions = (int) rows;
	replay->retractions = palloc(Max(rows, 1) * sizeof(Retraction));
	for (uint64 row = 0; row < rows; row++)
	{
		replay->retractions[row].at = auc_statement_int64(row, 1);
		replay->retractions[row].bid_no = auc_statement_int64(row, 2);
	}
}

/* Those up to "at" of bids before "bid_no". */
static void
count_retractions(Replay *replay, int64 bid_no, TimestampTz at)
{
	while (replay->next < replay->nretractions)
	{
		Retraction *retraction = &replay->retractions[replay->next];
		Datum		values[] = {Int64GetDatum(replay->audit->auction_id),
			Int64GetDatum(bid_no), TimestampTzGetDatum(retraction->at),
		Int64GetDatum(retraction->bid_no)};
		AucTally	tally;
		Datum		value;
		bool		isnull;

		if (retraction->at > at || retraction->bid_no >= bid_no)
			return;
		replay->next++;
		(void) auc_statement_read(&stood[replay->where], values,
								  replay->audit->snapshot);
		value = auc_statement_datum(0, 1, &isnull);
		auc_tally_of_array(value, isnull, &tally);
		auc_rules_retract(&replay->audit->row.auction, &tally, retraction->at,
						  &replay->state);
		SPI_freetuptable(SPI_tuptable);
	}
}

static bool
differs(Replay *replay, int64 bid_no, const char *what, const char *expected,
		const char *found)
{
	auc_audit_note(replay->audit, true, bids_table(replay),
				   psprintf("%sbid " INT64_FORMAT, what, bid_no),
				   expected, found);
	return false;
}

/* Positions rise within a lane. */
static bool
check_position(Replay *replay, const Bid *bid)
{
	if (bid->lane_id == 0)
		return true;
	if (bid->lane_id == replay->lane_id && bid->position <= replay->position)
		return differs(replay, bid->bid_no, "position of ",
					   psprintf("behind " INT64_FORMAT, replay->position),
					   psprintf(INT64_FORMAT, bid->position));
	replay->lane_id = bid->lane_id;
	replay->position = bid->position;
	return true;
}

/* false: it differs, or ends what can be decided. */
static bool
replay_bid(Replay *replay, const Bid *bid)
{
	const AucRow *row = &replay->audit->row;
	AucVerdict	verdict;

	/* a number that is missing is told by the comparison of counts */
	if (bid->bid_no != replay->state.bid_count + 1)
		return false;
	count_retractions(replay, bid->bid_no, bid->placed_at);
	auc_rules_place(&row->auction, bid->buy_now, bid->user_id, bid->amount,
					bid->placed_at, &replay->state, &verdict);
	if (!verdict.accepted)
		return differs(replay, bid->bid_no, "", "acceptable",
					   auc_reason_name(verdict.reason));
	if (verdict.at != bid->placed_at)
		return differs(replay, bid->bid_no, "placed_at of ",
					   time_text(verdict.at), time_text(bid->placed_at));
	if (bid->buy_now && bid->amount != row->auction.buy_now_price)
		return differs(replay, bid->bid_no, "amount of ",
					   "the buy-now price", "another");
	replay->last_bid_at = bid->placed_at;
	return check_position(replay, bid);
}

static bool
replay_bids(Replay *replay)
{
	static Bid	bids[PAGE];
	int64		last = 0;
	uint64		rows;

	do
	{
		Datum		values[] = {Int64GetDatum(replay->audit->auction_id),
		Int64GetDatum(last)};

		CHECK_FOR_INTERRUPTS();
		rows = auc_statement_read(&next_bids[replay->where], values,
								  replay->audit->snapshot);
		for (uint64 row = 0; row < rows; row++)
		{
			bids[row].bid_no = last = auc_statement_int64(row, 1);
			bids[row].user_id = auc_statement_int64(row, 2);
			bids[row].amount = auc_statement_int64(row, 3);
			bids[row].placed_at = auc_statement_int64(row, 4);
			bids[row].buy_now = auc_statement_bool(row, 5);
			bids[row].lane_id = auc_statement_int32(row, 6);
			bids[row].position = auc_statement_int64(row, 7);
		}
		SPI_freetuptable(SPI_tuptable);
		for (uint64 row = 0; row < rows; row++)
			if (!replay_bid(replay, &bids[row]))
				return false;
	} while (rows == PAGE);
	return true;
}

/* What is left to be explained when all bids were accepted again. */
static void
compare_end(Replay *replay)
{
	AucAudit   *audit = replay->audit;
	const AucState *row = &audit->row.state;

	if (row->ends_at != replay->state.ends_at)
		auc_audit_note(audit, true, "state", "ends_at",
					   time_text(replay->state.ends_at),
					   time_text(row->ends_at));
	if (row->status == AUC_STATUS_OPEN &&
		replay->state.status != AUC_STATUS_OPEN)
		auc_audit_note(audit, true, "state", "status", "closed", "open");
	if (row->last_at < replay->state.last_at ||
		(row->status == AUC_STATUS_OPEN &&
		 row->last_at != replay->state.last_at))
		auc_audit_note(audit, true, "state", "last_at",
					   time_text(replay->state.last_at),
					   time_text(row->last_at));
	if (audit->closed_at != 0 && replay->last_bid_at > audit->closed_at)
		auc_audit_note(audit, true, bids_table(replay), "last bid",
					   psprintf("not after %s", time_text(audit->closed_at)),
					   time_text(replay->last_bid_at));
}

void
auc_audit_replay(AucAudit *audit, AucBidsIn where)
{
	Replay		replay = {.audit = audit,.where = where};

	auc_rules_init(&audit->row.auction, audit->ends_at, &replay.state);
	read_retractions(&replay);
	if (!replay_bids(&replay))
		return;
	count_retractions(&replay, replay.state.bid_count + 1, PG_INT64_MAX);
	compare_end(&replay);
}
