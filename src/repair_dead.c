/*
 * repair_dead.c: what becomes of dead letters and quarantined auctions (rule 8)
 * by a DBA's decision: retry_dead_letter, discard_dead_letter,
 * lift_quarantine.
 *
 * All run at rest (rest.h), in the caller's transaction, under the auction's
 * lock, and write row and journal themselves, as retract.c does; ROLLBACK
 * undoes them.
 *
 * The dead letters of an auction are a chain: each record holds the state that
 * the one before it has led to.  So they are retried from the first on, and to
 * discard one discards those behind it; bid_no stays 1..n either way.
 *
 * A quarantine ends only when the tables agree (audit.h), with the status that
 * the auction has without it (_state.quarantined_from).
 */
#include "postgres.h"

#include "access/xact.h"
#include "argument.h"
#include "audit.h"
#include "bid_args.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "refresh_note.h"
#include "repair.h"
#include "rest.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(auction_retry_dead_letter);
PG_FUNCTION_INFO_V1(auction_discard_dead_letter);
PG_FUNCTION_INFO_V1(auction_lift_quarantine);

/* As committed now: under the auction's lock nobody else settles any. */
static AucStatement find_letter = {
	.text = "SELECT d.auction_id, d.lane_id, d.position, d.record, "
	" d.settled, (SELECT min(f.id) FROM auction.dead_letters f "
	"  WHERE f.auction_id = d.auction_id AND f.settled_at IS NULL) "
	"FROM auction.dead_letters d WHERE d.id = $1",
	.nargs = 1,.argtypes = {INT8OID},.latest = true
};
static AucStatement settle_applied = {
	.text = "UPDATE auction.dead_letters SET settled = 'applied', "
	" settled_at = clock_timestamp() WHERE id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement settle_discarded = {
	.text = "WITH gone AS (UPDATE auction.dead_letters "
	" SET settled = 'discarded', settled_at = clock_timestamp() "
	" WHERE auction_id = $1 AND id >= $2 AND settled_at IS NULL "
	" RETURNING position) SELECT count(*), max(position) FROM gone",
	.nargs = 2,.argtypes = {INT8OID, INT8OID}
};
static AucStatement count_waiting = {
	.text = "SELECT count(*) FROM auction.dead_letters "
	"WHERE auction_id = $1 AND settled_at IS NULL",
	.nargs = 1,.argtypes = {INT8OID},.latest = true
};
static AucStatement status_without = {
	.text = "SELECT coalesce(quarantined_from, "
	" CASE WHEN closed_at IS NULL THEN 'o'::\"char\" ELSE 'c' END) "
	"FROM auction._state WHERE auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID},.latest = true
};
/* The row has the status that it has without the quarantine. */
static AucStatement quarantine_again = {
	.text = "UPDATE auction._state SET quarantined_from = status, "
	" status = 'q', reason = CASE WHEN $2 = '' THEN reason ELSE $2 END "
	"WHERE auction_id = $1",
	.nargs = 2,.argtypes = {INT8OID, TEXTOID}
};
/* A cancelled one's own reason was overwritten. */
static AucStatement end_quarantine = {
	.text = "UPDATE auction._state SET status = $2, quarantined_from = NULL, "
	" verified_at = NULL, reason = CASE WHEN $2 = 'x' THEN reason END "
	"WHERE auction_id = $1",
	.nargs = 2,.argtypes = {INT8OID, CHAROID}
};

typedef struct Letter
{
	int64		id;
	int64		auction_id;
	int			lane_id;
	int64		position;
	char	   *record;
	bool		settled;
	int64		earliest;		/* id of its auction's first that waits */
} Letter;

/* ---- what they share ---- */

/* Inside SPI.  ERROR if there is none. */
static void
read_letter(int64 id, Letter *letter)
{
	Datum		values[] = {Int64GetDatum(id)};
	bool		isnull;

	if (auc_statement_run(&find_letter, values, SPI_OK_SELECT) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dead letter %lld does not exist", (long long) id),
				 errhint("They are in auction.dead_letters.")));
	letter->id = id;
	letter->auction_id = auc_statement_int64(0, 1);
	letter->lane_id = auc_statement_int32(0, 2);
	letter->position = auc_statement_int64(0, 3);
	letter->record = TextDatumGetCString(auc_statement_datum(0, 4, &isnull));
	(void) auc_statement_datum(0, 5, &isnull);
	letter->settled = !isnull;
	letter->earliest = auc_statement_int64(0, 6);
}

/*
 * Its auction's lock is held and the auction rests from here on.  false: there
 * is no such auction, as after a restore to a time before it was created.
 */
static bool
lock_letter(AucStore *store, int64 id, Letter *letter, AucRow *row)
{
	bool		found;

	read_letter(id, letter);
	found = auc_rest(store, letter->auction_id, row);
	if (found)
		auc_store_check_snapshot(store, row);
	read_letter(id, letter);
	if (letter->settled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("dead letter %lld is settled already",
						(long long) id)));
	return found;
}

static int64
waiting(int64 auction_id)
{
	Datum		values[] = {Int64GetDatum(auction_id)};

	(void) auc_statement_run(&count_waiting, values, SPI_OK_SELECT);
	return auc_statement_int64(0, 1);
}

/* Is there a difference in the tables, as this transaction has them? */
static AucDifference *
first_difference(int64 auction_id)
{
	AucAudit	audit = {.auction_id = auction_id};

	CommandCounterIncrement();
	audit.snapshot = RegisterSnapshot(GetLatestSnapshot());
	(void) auc_audit_tables(&audit);
	UnregisterSnapshot(audit.snapshot);
	return auc_audit_first(&audit);
}

static const char *
difference_text(const AucDifference *difference)
{
	return psprintf("%s, %s: expected %s, found %s", difference->place,
					difference->item,
					difference->expected ? difference->expected : "nothing",
					difference->found ? difference->found : "nothing");
}

static void
write_status(AucStatement *statement, int64 auction_id, Datum second)
{
	Datum		values[] = {Int64GetDatum(auction_id), second};

	CommandCounterIncrement();
	(void) auc_statement_run(statement, values, SPI_OK_UPDATE);
}

static AucStatus
status_without_quarantine(int64 auction_id)
{
	Datum		values[] = {Int64GetDatum(auction_id)};

	(void) auc_statement_run(&status_without, values, SPI_OK_SELECT);
	return (AucStatus) auc_statement_char(0, 1);
}

/* ---- retry_dead_letter ---- */

static void
raise_unfit(const Letter *letter, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("dead letter %lld of auction %lld cannot be applied",
					(long long) letter->id, (long long) letter->auction_id),
			 errdetail_internal("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* ERROR unless the record is what follows the auction's state. */
static void
check_follows(const Letter *letter, const AucRow *row,
			  const AucRecord *record)
{
	const AucState *state = &row->state;
	bool		bid = auc_record_is_bid(record);

	if (record->kind == AUC_RECORD_MOVE)
		raise_unfit(letter, "It is a move to route table.",
					"Discard it, and call auction.set_route() when the quarantine is lifted.");
	if (!bid && record->kind != AUC_RECORD_CLOSE)
		raise_unfit(letter, "It is neither a bid nor a close.", NULL);
	if (record->auction_id != letter->auction_id)
		raise_unfit(letter, "Its record is of another auction.", NULL);
	if (row->route != AUC_ROUTE_REDIS)
		raise_unfit(letter, "The auction is not on route redis any more.", NULL);
	if (status_without_quarantine(letter->auction_id) != AUC_STATUS_OPEN)
		raise_unfit(letter, "The auction is over.", NULL);
	if ((bid && record->bid_no != state->bid_count + 1) ||
		record->state.bid_count != state->bid_count + (bid ? 1 : 0) ||
		record->state.retracted != state->retracted)
		raise_unfit(letter,
					psprintf("It builds on " INT64_FORMAT " bids, and the auction has " INT64_FORMAT ".",
							 record->state.bid_count - (bid ? 1 : 0),
							 state->bid_count), NULL);
}

/* Journal and row; the row has the record's status then. */
static void
apply_letter(AucStore *store, const Letter *letter, AucRow *row)
{
	AucRecord	record;
	const AucRecord *records[] = {&record};
	const char *attributes[1];

	if (!auc_record_decode((uint64) letter->position, letter->record,
						   strlen(letter->record), &record, &attributes[0]))
		raise_unfit(letter, "Its record cannot be read.", NULL);
	check_follows(letter, row, &record);
	if (auc_record_is_bid(&record))
		auc_store_insert_bids(store, 1, records, attributes, letter->lane_id);
	row->state = record.state;
	auc_store_write(store, row, false);
}

/* true: it is lifted.  The row has the status without it, as written. */
static bool
settle_quarantine(const Letter *letter, AucStatus status)
{
	AucDifference *difference = NULL;
	const char *reason = "";

	if (waiting(letter->auction_id) == 0)
	{
		difference = first_difference(letter->auction_id);
		if (difference == NULL)
		{
			write_status(&end_quarantine, letter->auction_id,
						 CharGetDatum((char) status));
			return true;
		}
		reason = difference_text(difference);
	}
	write_status(&quarantine_again, letter->auction_id,
				 CStringGetTextDatum(reason));
	return false;
}

Datum
auction_retry_dead_letter(PG_FUNCTION_ARGS)
{
	int64		id = DatumGetInt64(auc_argument(fcinfo, 0, "id"));
	Datum		values[] = {Int64GetDatum(id)};
	AucStore   *store;
	Letter		letter;
	AucRow		row;
	bool		lifted;

	auc_bid_prevent("auction.retry_dead_letter()");
	SPI_connect();
	store = auc_store_open(true, RowExclusiveLock);
	if (!lock_letter(store, id, &letter, &row))
		auc_rest_unknown(letter.auction_id);
	if (letter.earliest != id)
		raise_unfit(&letter,
					psprintf("Dead letter " INT64_FORMAT " of the auction is earlier and waits, too.",
							 letter.earliest),
					"Begin with that one.");
	if (row.state.status != AUC_STATUS_QUARANTINED)
		raise_unfit(&letter, "The auction is not quarantined.", NULL);
	apply_letter(store, &letter, &row);
	(void) auc_statement_run(&settle_applied, values, SPI_OK_UPDATE);
	auc_repair_log("retry_dead_letter", letter.auction_id, letter.lane_id,
				   letter.position, letter.position, NULL);
	lifted = settle_quarantine(&letter, row.state.status);
	if (lifted)
		auc_refresh_wanted(&row);
	auc_store_close(store);
	SPI_finish();
	PG_RETURN_BOOL(lifted);
}

/* ---- discard_dead_letter ---- */

Datum
auction_discard_dead_letter(PG_FUNCTION_ARGS)
{
	int64		id = DatumGetInt64(auc_argument(fcinfo, 0, "id"));
	text	   *reason = auc_argument_reason(fcinfo, 1,
											 "It is kept in auction.repair_log.");
	Datum		values[2];
	AucStore   *store;
	Letter		letter;
	AucRow		row;
	int64		discarded;

	auc_bid_prevent("auction.discard_dead_letter()");
	SPI_connect();
	store = auc_store_open(false, RowExclusiveLock);
	(void) lock_letter(store, id, &letter, &row);
	values[0] = Int64GetDatum(letter.auction_id);
	values[1] = Int64GetDatum(id);
	(void) auc_statement_run(&settle_discarded, values, SPI_OK_SELECT);
	discarded = auc_statement_int64(0, 1);
	auc_repair_log("discard_dead_letter", letter.auction_id, letter.lane_id,
				   letter.position, auc_statement_int64(0, 2), reason);
	auc_store_close(store);
	SPI_finish();
	PG_RETURN_INT64(discarded);
}

/* ---- lift_quarantine ---- */

static void
raise_not_lifted(int64 auction_id, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("quarantine of auction %lld cannot be lifted",
					(long long) auction_id),
			 errdetail_internal("%s", detail),
			 errhint("auction.audit() tells all that differs, auction.dead_letters what waits.")));
}

Datum
auction_lift_quarantine(PG_FUNCTION_ARGS)
{
	int64		auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	text	   *reason = auc_argument_reason(fcinfo, 1,
											 "It is kept in auction.repair_log.");
	AucStore   *store;
	AucDifference *difference;
	AucRow		row;

	auc_bid_prevent("auction.lift_quarantine()");
	SPI_connect();
	store = auc_store_open(false, RowExclusiveLock);
	auc_rest_seen(store, auction_id, &row);
	if (row.state.status != AUC_STATUS_QUARANTINED)
	{
		auc_store_close(store);
		SPI_finish();
		PG_RETURN_BOOL(false);
	}
	if (waiting(auction_id) > 0)
		raise_not_lifted(auction_id, "Dead letters of it wait for a decision.");
	difference = first_difference(auction_id);
	if (difference != NULL)
		raise_not_lifted(auction_id, difference_text(difference));
	write_status(&end_quarantine, auction_id,
				 CharGetDatum((char) status_without_quarantine(auction_id)));
	auc_repair_log("lift_quarantine", auction_id, row.lane_id, 0, 0, reason);
	auc_refresh_wanted(&row);
	auc_store_close(store);
	SPI_finish();
	PG_RETURN_BOOL(true);
}
