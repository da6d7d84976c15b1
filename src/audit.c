/*
 * audit.c: see audit.h.
 *
 * Row and bids are compared as for a close (verify.h), every bid is decided
 * once more (audit_replay.c), and two statements look for what neither of
 * those can see: what the row has copied from auctions, what its status says,
 * bids in the wrong table, dead letters, what a lane may have lost.
 */
#include "postgres.h"

#include "audit.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "shm.h"
#include "shm_lane.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What there is of it: ends_at, bids in journal and in history. */
static AucStatement what_there_is = {
	.text = "SELECT (SELECT ends_at FROM auction.auctions WHERE id = $1), "
	" (SELECT count(*) FROM auction.journal WHERE auction_id = $1), "
	" (SELECT count(*) FROM auction.history WHERE auction_id = $1), "
	" (SELECT count(*) FROM auction.dead_letters WHERE auction_id = $1), "
	" (SELECT closed_at FROM auction._state WHERE auction_id = $1), "
	" (SELECT removed_at IS NOT NULL FROM auction._state "
	"  WHERE auction_id = $1)",
	.nargs = 1,.argtypes = {INT8OID}
};

/*
 * Columns that the row has copied.  The hidden one is told without its value.
 * An interval is compared by its length, as the row keeps it.
 */
static AucStatement copied = {
	.text = "SELECT v.item, v.expected, v.found FROM auction.auctions a "
	" JOIN auction._state s ON s.auction_id = a.id, "
	"LATERAL (VALUES ('seller_id', a.seller_id::text, s.seller_id::text), "
	" ('kind', \"left\"(a.kind, 1), s.kind::text), "
	" ('starts_at', a.starts_at::text, s.starts_at::text), "
	" ('start_price', a.start_price::text, s.start_price::text), "
	" ('increment', a.increment::text, s.increment::text), "
	" ('increment_table', a.increment_table, s.increment_table), "
	" ('reserve_price', 'as in auctions', CASE WHEN a.reserve_price "
	"  IS NOT DISTINCT FROM s.reserve_price THEN 'as in auctions' "
	"  ELSE 'another one' END), "
	" ('buy_now_price', a.buy_now_price::text, s.buy_now_price::text), "
	" ('extend_window', extract(epoch FROM a.extend_window)::text, "
	"  (s.extend_window / 1000000.0)::numeric(20,6)::text), "
	" ('extend_by', extract(epoch FROM a.extend_by)::text, "
	"  (s.extend_by / 1000000.0)::numeric(20,6)::text), "
	" ('extend_limit', a.extend_limit::text, s.extend_limit::text), "
	" ('durability', CASE a.durability WHEN 'redis' THEN 'r' "
	"  WHEN 'replica' THEN 'p' WHEN 'journal' THEN 'j' END, "
	"  s.durability::text)) "
	" v (item, expected, found) "
	"WHERE a.id = $1 AND v.expected IS DISTINCT FROM v.found",
	.nargs = 1,.argtypes = {INT8OID}
};

/* What the status demands, and what else stands beside the row. */
static AucStatement beside = {
	.text = "SELECT v.certain, v.place, v.item, v.expected, v.found "
	"FROM (SELECT *, CASE status WHEN 'q' THEN quarantined_from "
	"  ELSE status END AS real FROM auction._state WHERE auction_id = $1) s "
	" LEFT JOIN auction.lanes l ON l.id = s.lane_id "
	" LEFT JOIN auction._lane_terms t ON t.lane_id = s.lane_id, "
	"LATERAL (SELECT max(position) AS last FROM auction.journal "
	"  WHERE auction_id = s.auction_id AND lane_id = s.lane_id) j, "
	"LATERAL (SELECT count(*) AS n, min(position) AS first, "
	"  max(position) AS last FROM auction.dead_letters "
	"  WHERE auction_id = s.auction_id AND settled_at IS NULL) d, "
	"LATERAL (VALUES "
	" (s.closed_at IS NULL AND s.real IN ('c', 'h', 'x'), true, 'state', "
	"  'closed_at', 'a time', NULL), "
	" (s.closed_at IS NOT NULL AND s.real = 'o', true, 'state', "
	"  'closed_at', NULL, s.closed_at::text), "
	" ((s.consolidated_at IS NULL) = (s.real = 'h') AND s.real <> 'x', true, "
	"  'state', 'consolidated_at', CASE s.real WHEN 'h' THEN 'a time' END, "
	"  s.consolidated_at::text), "
	" (s.verified_at IS NULL AND s.consolidated_at IS NOT NULL, true, "
	"  'state', 'verified_at', 'a time', NULL), "
	" (s.route = 'r' AND l.id IS NULL, true, 'state', 'lane_id', "
	"  'a lane in auction.lanes', s.lane_id::text), "
	" (j.last > l.applied, true, 'lanes', 'applied', "
	"  'at least ' || j.last, l.applied::text), "
	" (d.n > 0, true, 'dead_letters', 'records', 'none', "
	"  format('%s, positions %s to %s', d.n, d.first, d.last)), "
	" (t.possible_loss_after IS NOT NULL AND s.consolidated_at IS NULL "
	"  AND (s.closed_at IS NULL OR s.closed_at >= t.possible_loss_at) "
	"  AND s.starts_at <= t.possible_loss_at, false, 'lanes', "
	"  'possible loss', 'none', 'behind position ' || t.possible_loss_after)) "
	" v (differs, certain, place, item, expected, found) WHERE v.differs",
	.nargs = 1,.argtypes = {INT8OID}
};

static char *
copy(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

void
auc_audit_note(AucAudit *audit, bool certain, const char *place,
			   const char *item, const char *expected, const char *found)
{
	MemoryContext old = MemoryContextSwitchTo(audit->context);
	AucDifference *difference = palloc0(sizeof(AucDifference));

	difference->certain = certain;
	difference->place = copy(place);
	difference->item = copy(item);
	difference->expected = copy(expected);
	difference->found = copy(found);
	audit->differences = lappend(audit->differences, difference);
	MemoryContextSwitchTo(old);
}

AucDifference *
auc_audit_first(const AucAudit *audit)
{
	ListCell   *cell;

	foreach(cell, audit->differences)
	{
		AucDifference *difference = lfirst(cell);

		if (difference->certain && !difference->quarantine)
			return difference;
	}
	return NULL;
}

static const char *
text_column(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* ---- the parts ---- */

static bool
find_parts(AucAudit *audit, int64 *in_journal, int64 *in_history)
{
	Datum		values[] = {Int64GetDatum(audit->auction_id)};
	AucStore   *store = auc_store_open(false, AccessShareLock);
	bool		isnull;

	audit->has_row = auc_store_find(store, audit->auction_id,
									audit->snapshot, &audit->row);
	auc_store_close(store);
	(void) auc_statement_read(&what_there_is, values, audit->snapshot);
	audit->ends_at = DatumGetTimestampTz(auc_statement_datum(0, 1, &isnull));
	audit->has_auction = !isnull;
	*in_journal = auc_statement_int64(0, 2);
	*in_history = auc_statement_int64(0, 3);
	audit->closed_at = auc_statement_int64(0, 5);
	audit->removed = auc_statement_bool(0, 6);
	return audit->has_row || audit->has_auction || *in_journal > 0 ||
		*in_history > 0 || auc_statement_int64(0, 4) > 0;
}

/* Nothing can be compared with what is not there. */
static void
note_orphans(AucAudit *audit, int64 in_journal, int64 in_history)
{
	if (!audit->has_auction)
		auc_audit_note(audit, true, "auctions", "row", "one", "none");
	if (!audit->has_row)
		auc_audit_note(audit, true, "state", "row", "one", "none");
	if (!audit->has_row && in_journal > 0)
		auc_audit_note(audit, true, "journal", "bids of no auction", "none",
					   psprintf(INT64_FORMAT, in_journal));
	if (!audit->has_row && in_history > 0)
		auc_audit_note(audit, true, "history", "bids of no auction", "none",
					   psprintf(INT64_FORMAT, in_history));
}

static void
note_copied(AucAudit *audit)
{
	Datum		values[] = {Int64GetDatum(audit->auction_id)};
	uint64		rows = auc_statement_read(&copied, values, audit->snapshot);

	for (uint64 row = 0; row < rows; row++)
		auc_audit_note(audit, true, "state", text_column(row, 1),
					   text_column(row, 2), text_column(row, 3));
}

/*
 * Its bids may be among the positions that its lane has stopped before; not
 * those of one that is over, whose close is behind them and applied.
 */
static void
note_gap(AucAudit *audit)
{
	int			lane;
	uint64		from;
	uint64		to;

	if (audit->row.route != AUC_ROUTE_REDIS || !auc_shm_available())
		return;
	lane = auc_lane_find(MyDatabaseId, audit->row.lane_id);
	if (lane >= 0 && auc_lane_gap(auc_lane(lane), &from, &to))
		auc_audit_note(audit, audit->closed_at == 0, "lanes", "gap", "none",
					   psprintf("positions " UINT64_FORMAT " to " UINT64_FORMAT,
								from, to));
}

static void
note_beside(AucAudit *audit)
{
	Datum		values[] = {Int64GetDatum(audit->auction_id)};
	uint64		rows = auc_statement_read(&beside, values, audit->snapshot);

	for (uint64 row = 0; row < rows; row++)
		auc_audit_note(audit, auc_statement_bool(row, 1),
					   text_column(row, 2), text_column(row, 3),
					   text_column(row, 4), text_column(row, 5));
	note_gap(audit);
	if (audit->row.state.status == AUC_STATUS_QUARANTINED)
	{
		auc_audit_note(audit, true, "state", "status", "not quarantined",
					   "quarantined");
		((AucDifference *) llast(audit->differences))->quarantine = true;
	}
}

/* The bids are what was entered, so the row is what differs. */
static void
note_compared(void *arg, const char *what, const char *in_row,
			  const char *in_bids)
{
	auc_audit_note(arg, true, "state", what,
				   in_bids != NULL ? in_bids : "those of the bids",
				   in_row != NULL ? in_row : "others");
}

bool
auc_audit_tables(AucAudit *audit)
{
	int64		in_journal;
	int64		in_history;
	AucBidsIn	where;

	if (audit->context == NULL)
		audit->context = CurrentMemoryContext;
	if (!find_parts(audit, &in_journal, &in_history))
		return false;
	note_orphans(audit, in_journal, in_history);
	if (!audit->has_row)
		return true;
	where = audit->row.consolidated ? AUC_BIDS_IN_HISTORY :
		AUC_BIDS_IN_JOURNAL;
	/* once it is verified they may have been sent to shard servers */
	if (where == AUC_BIDS_IN_JOURNAL && in_history > 0 &&
		audit->row.verified_at == 0)
		auc_audit_note(audit, true, "history", "bids that belong in journal",
					   "none", psprintf(INT64_FORMAT, in_history));
	if (where == AUC_BIDS_IN_HISTORY && in_journal > 0)
		auc_audit_note(audit, true, "journal", "bids that belong in history",
					   "none", psprintf(INT64_FORMAT, in_journal));
	note_beside(audit);
	note_copied(audit);
	if (audit->removed)
		return true;
	auc_verify_report(audit->auction_id, where, audit->snapshot,
					  note_compared, audit);
	if (audit->has_auction)
		auc_audit_replay(audit, where);
	return true;
}
