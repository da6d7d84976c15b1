/*
 * shard.c: moves bids from the journal to history (rules 19 and 20), while all
 * shards are here.
 *
 * Copy, compare what arrived with the state, delete from the journal, mark as
 * consolidated: one transaction.  So a crash at any point leaves an auction
 * either wholly in the journal or wholly in history, and the next run starts
 * from there.  A reader takes an auction's bids from history only if its state
 * says consolidated, so that at any moment each bid is seen once.
 *
 * Rows may be there before: they were sent to another server, and a move has
 * brought them here before the auction was marked.  An auction for itself
 * leaves them as they are, but for retractions of since.  Any other ones make
 * the comparison fail, and the auction is quarantined rather than counted
 * twice.
 *
 * The comparison reads the partitions themselves, after the copy: what counts
 * is what is there, not what was sent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lock.h"
#include "shard.h"
#include "shard_map.h"
#include "shard_table.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "verify.h"

static AucStatement copy_bids = {
	.text = "INSERT INTO auction.history (" AUC_SHARD_COLUMNS ") "
	"SELECT " AUC_SHARD_COLUMNS " "
	"FROM auction.journal WHERE auction_id = ANY ($1)",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement copy_missing = {
	.text = "INSERT INTO auction.history (" AUC_SHARD_COLUMNS ") "
	"SELECT " AUC_SHARD_COLUMNS " "
	"FROM auction.journal WHERE auction_id = ANY ($1) ON CONFLICT DO NOTHING",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement count_bids = {
	.text = "SELECT count(*) FROM auction.journal WHERE auction_id = ANY ($1)",
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

/* Nobody else may make them at the same time, and we give up what we share. */
static AucShardMap *
make_first_shards(bool wait)
{
	AucShardMap *map = NULL;

	auc_unlock_shards();
	if (!auc_lock_shards(true, wait))
		return NULL;
	map = auc_shard_map_read();
	if (map->n > 0)
		return map;
	auc_shard_create_first(AUC_SHARD_FIRST);
	return auc_shard_map_read();
}

bool
auc_shard_here(bool wait)
{
	AucShardMap *map = NULL;
	bool		here;

	SPI_connect();
	if (auc_lock_shards(false, wait))
		map = auc_shard_map_read();
	if (map != NULL && map->n == 0)
		map = make_first_shards(wait);
	here = map != NULL && map->all_local;
	SPI_finish();
	return here;
}

void
auc_shard_correct(const AucShardMap *map, int64 auction_id)
{
	Oid			types[] = {INT8OID};
	Datum		values[1];

	values[0] = Int64GetDatum(auction_id);
	for (int i = 0; i < map->n; i++)
	{
		const AucShard *shard = &map->shards[i];

		if (OidIsValid(shard->serverid))
			continue;
		if (SPI_execute_with_args(psprintf("UPDATE auction.%s h"
										   " SET retracted_at = j.retracted_at,"
										   "  retract_reason = j.retract_reason"
										   " FROM auction.journal j"
										   " WHERE j.auction_id = $1 AND h.auction_id = $1"
										   "  AND h.bid_no = j.bid_no AND h.user_id = j.user_id"
										   "  AND (h.retracted_at, h.retract_reason)"
										   "   IS DISTINCT FROM (j.retracted_at, j.retract_reason)",
										   quote_identifier(get_rel_name(shard->relid))),
								  1, types, values, NULL, false,
								  0) != SPI_OK_UPDATE)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg_internal("could not update shard %d",
									 shard->number)));
	}
}

/* Returns how many rows of the journal are in history then. */
static uint64
copy_alone(const int64 *id, Datum *values)
{
	uint64		copied = auc_statement_run(&copy_missing, values,
										   SPI_OK_INSERT);
	uint64		wanted;

	(void) auc_statement_run(&count_bids, values, SPI_OK_SELECT);
	wanted = (uint64) auc_statement_int64(0, 1);
	if (copied < wanted)
		auc_shard_correct(auc_shard_map_read(), *id);
	return wanted;
}

void
auc_shard_mark(int n, const int64 *ids, uint64 copied)
{
	Datum		values[1];
	uint64		deleted;

	values[0] = auc_statement_ids(n, ids);
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
}

static void
consolidate_work(int n, const int64 *ids)
{
	Datum		values[1];
	uint64		copied;

	SPI_connect();
	values[0] = auc_statement_ids(n, ids);
	copied = n == 1 ? copy_alone(ids, values) :
		auc_statement_run(&copy_bids, values, SPI_OK_INSERT);
	auc_verify_compare(n, ids, AUC_BIDS_IN_HISTORY);
	auc_shard_mark(n, ids, copied);
	SPI_finish();
}

int
auc_shard_consolidate(int n, int64 *ids)
{
	return auc_verify_each(consolidate_work, n, ids);
}
