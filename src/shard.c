/*
 * shard.c: moves bids from the journal to history (rules 19 and 20).
 *
 * Copy, compare what arrived with the state, delete from the journal, mark as
 * consolidated: one transaction.  So a crash at any point leaves an auction
 * either wholly in the journal or wholly in history, and the next run starts
 * from there.  A reader takes an auction's bids from history only if its state
 * says consolidated, so that at any moment each bid is seen once.
 *
 * Rows of the auction that were in history before make the comparison fail,
 * and the auction is quarantined rather than counted twice.
 *
 * The comparison reads the partitions themselves, after the copy: what counts
 * is what is there, not what was sent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "shard.h"
#include "statement.h"
#include "verify.h"

static AucStatement copy_bids = {
	.text = "INSERT INTO auction.history (auction_id, bid_no, user_id, amount, "
	" placed_at, position, lane_id, buy_now, request_id, attributes, "
	" retracted_at, retract_reason) "
	"SELECT auction_id, bid_no, user_id, amount, placed_at, position, "
	" lane_id, buy_now, request_id, attributes, retracted_at, "
	" retract_reason "
	"FROM auction.journal WHERE auction_id = ANY ($1)",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement delete_bids = {
	.text = "DELETE FROM auction.journal WHERE auction_id = ANY ($1)",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement mark_consolidated = {
	.text = "UPDATE auction._state SET "
	" status = CASE status WHEN 'c' THEN 'h' ELSE status END, "
	" consolidated_at = clock_timestamp() "
	"WHERE auction_id = ANY ($1) AND status IN ('c', 'x') "
	" AND verified_at IS NOT NULL AND consolidated_at IS NULL",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};

static void
consolidate_work(int n, const int64 *ids)
{
	Datum		values[1];
	uint64		copied;
	uint64		deleted;

	SPI_connect();
	values[0] = auc_statement_ids(n, ids);
	copied = auc_statement_run(&copy_bids, values, SPI_OK_INSERT);
	auc_verify_compare(n, ids, AUC_BIDS_IN_HISTORY);
	deleted = auc_statement_run(&delete_bids, values, SPI_OK_DELETE);
	if (copied != deleted)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%llu bids were copied to auction.history and %llu deleted from auction.journal",
						(unsigned long long) copied,
						(unsigned long long) deleted)));
	if (auc_statement_run(&mark_consolidated, values,
						  SPI_OK_UPDATE) != (uint64) n)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("an auction was changed while it was being consolidated"),
				 errhint("Run the transaction again.")));
	SPI_finish();
}

int
auc_shard_consolidate(int n, int64 *ids)
{
	return auc_verify_each(consolidate_work, n, ids);
}
