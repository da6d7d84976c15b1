/*
 * retract.c: retract_bid and cancel_auction, what a DBA does to bids that are
 * accepted.
 *
 * Both run at rest (rest.h), in the caller's transaction: under the auction's
 * lock, with no router having it, so they write row and journal themselves on
 * either route, and ROLLBACK undoes them.  Until the transaction ends the
 * auction's bids wait; no other auction does.
 *
 * A retracted bid stays where it is, marked: bid_no is never given again, and
 * count and checksum of the auction still cover it.  Price and leader are
 * counted anew from the bids that are left, by the rules (rules.c).
 *
 * What Redis shows to its readers is behind then.  The transaction leaves a
 * note (refresh_note.h), so that the auction is shown again.  Should that fail,
 * the router finds out by the number of retracted bids when it next loads the
 * auction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "argument.h"
#include "bid_args.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "refresh_note.h"
#include "rest.h"
#include "statement.h"
#include "tally.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction_retract_bid);
PG_FUNCTION_INFO_V1(auction_cancel_auction);

static AucStatement mark_bid = {
	.text = "UPDATE auction.journal SET retracted_at = $3, "
	" retract_reason = $4 "
	"WHERE auction_id = $1 AND bid_no = $2 AND retracted_at IS NULL",
	.nargs = 4,.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
};
static AucStatement count_anew = {
	.text = "SELECT" AUC_TALLY_SQL("b") "FROM auction.journal b "
	"WHERE b.auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement verify_again = {
	.text = "UPDATE auction._state SET verified_at = NULL "
	"WHERE auction_id = $1 AND verified_at IS NOT NULL",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement note_reason = {
	.text = "UPDATE auction._state SET reason = $2 WHERE auction_id = $1",
	.nargs = 2,.argtypes = {INT8OID, TEXTOID}
};

/* ---- what both do ---- */

/* Writes the new state; what follows in this transaction sees it. */
static void
write_state(AucStore *store, AucRow *row)
{
	auc_store_write(store, row, false);
	CommandCounterIncrement();
}

/* ---- retract_bid ---- */

static void
retract(AucRow *row, int64 bid_no, text *reason)
{
	/* as the rules count it: never before the bids that are there */
	TimestampTz now = Max(GetCurrentTimestamp(), row->state.last_at);
	Datum		values[] = {Int64GetDatum(row->auction.id),
		Int64GetDatum(bid_no), TimestampTzGetDatum(now),
	PointerGetDatum(reason)};
	AucTally	left;
	bool		isnull;
	Datum		tally;

	if (auc_statement_run(&mark_bid, values, SPI_OK_UPDATE) == 0)
	{
		bool		known = bid_no >= 1 && bid_no <= row->state.bid_count;

		ereport(ERROR,
				(errcode(known ? AUC_ERRCODE_AUCTION_IN_USE :
						 ERRCODE_UNDEFINED_OBJECT),
				 known ?
				 errmsg("bid %lld of auction %lld is retracted already",
						(long long) bid_no, (long long) row->auction.id) :
				 errmsg("bid %lld of auction %lld does not exist",
						(long long) bid_no, (long long) row->auction.id)));
	}
	(void) auc_statement_run(&count_anew, values, SPI_OK_SELECT);
	tally = auc_statement_datum(0, 1, &isnull);
	auc_tally_of_array(tally, isnull, &left);
	auc_rules_retract(&row->auction, &left, now, &row->state);
}

/* (price, leader_id, reserve_met) as they are now. */
static Datum
result(FunctionCallInfo fcinfo, const AucRow *row)
{
	AucReserve	reserve = auc_rules_reserve(&row->auction, &row->state);
	TupleDesc	desc;
	Datum		values[3];
	bool		isnull[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("return type must be a row type")));
	values[0] = Int64GetDatum(row->state.price);
	values[1] = Int64GetDatum(row->state.leader_id);
	isnull[1] = !row->state.has_leader;
	values[2] = BoolGetDatum(reserve == AUC_RESERVE_MET);
	isnull[2] = reserve == AUC_RESERVE_NONE;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 isnull));
}

Datum
auction_retract_bid(PG_FUNCTION_ARGS)
{
	int64		auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	int64		bid_no = DatumGetInt64(auc_argument(fcinfo, 1, "bid_no"));
	text	   *reason = auc_argument_reason(fcinfo, 2, "It is kept with the bids.");
	Datum		values[] = {Int64GetDatum(auction_id)};
	AucStore   *store;
	AucRow		row;

	auc_bid_prevent("auction.retract_bid()");
	store = auc_store_open(false, RowExclusiveLock);
	auc_rest_seen(store, auction_id, &row);
	if (!auc_rules_retractable(&row.state))
		auc_rest_refuse(&row, "changed");
	SPI_connect();
	retract(&row, bid_no, reason);
	write_state(store, &row);
	(void) auc_statement_run(&verify_again, values, SPI_OK_UPDATE);
	auc_refresh_wanted(&row);
	SPI_finish();
	auc_store_close(store);
	PG_RETURN_DATUM(result(fcinfo, &row));
}

/* ---- cancel_auction ---- */

Datum
auction_cancel_auction(PG_FUNCTION_ARGS)
{
	int64		auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	text	   *reason = auc_argument_reason(fcinfo, 1, "It is kept with the bids.");
	Datum		values[] = {Int64GetDatum(auction_id), PointerGetDatum(reason)};
	AucStore   *store;
	AucRow		row;

	auc_bid_prevent("auction.cancel_auction()");
	store = auc_store_open(false, RowExclusiveLock);
	auc_rest_seen(store, auction_id, &row);
	if (row.state.status == AUC_STATUS_CANCELLED)
	{
		auc_store_close(store);
		PG_RETURN_BOOL(false);
	}
	if (!auc_rules_cancel(GetCurrentTimestamp(), &row.state))
		auc_rest_refuse(&row, "cancelled");
	write_state(store, &row);
	SPI_connect();
	(void) auc_statement_run(&note_reason, values, SPI_OK_UPDATE);
	auc_refresh_wanted(&row);
	SPI_finish();
	auc_store_close(store);
	PG_RETURN_BOOL(true);
}
