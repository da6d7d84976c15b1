/*
 * consolidator_mark.c: makes a batch history; see consolidator.h.
 *
 * What is marked is what was sent: an auction that was verified anew since, or
 * a map that has changed, makes it fall out; it is found again by the cursor.
 * Local shards get their rows in the same transaction, so that these need no
 * onlookers; ones that a move has brought there already are left as they are,
 * but for retractions of since, and compared like the others.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "consolidator.h"
#include "executor/spi.h"
#include "lock.h"
#include "shard.h"
#include "shard_table.h"
#include "statement.h"
#include "stop.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "verify.h"
#include "worker.h"

/* Of the journal's rows those that belong in a shard that is here. */
#define OF_LOCAL_SHARDS \
	"auction_id = ANY ($1) " \
	"AND (auction._shard_hash(user_id) & ($3 - 1)) = ANY ($2)"

/* $2: remainders, of the modulus $3 */
static AucStatement copy_local = {
	.text = "INSERT INTO auction.history (" AUC_SHARD_COLUMNS ") "
	"SELECT " AUC_SHARD_COLUMNS " FROM auction.journal "
	"WHERE " OF_LOCAL_SHARDS " ON CONFLICT DO NOTHING",
	.nargs = 3,.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8OID}
};
/* What the work of auc_verify_each() goes by. */
static const AucBatch *batch_in_work;
static const AucShardMap *map_in_work;

static int64
sent_of(int64 auction_id)
{
	for (int i = 0; i < batch_in_work->n; i++)
		if (batch_in_work->items[i].auction.auction_id == auction_id)
			return batch_in_work->items[i].sent;
	return 0;
}

/*
 * $1: auctions, $2 and $3: as above; an auction whose sums differ, NULL if
 * none do, and how many bids of the journal were compared.
 */
static char *
compare_local_statement(void)
{
	char	  **tables = palloc(map_in_work->n * sizeof(char *));
	int			n = 0;
	StringInfoData sql;

	for (int i = 0; i < map_in_work->n; i++)
		if (!OidIsValid(map_in_work->shards[i].serverid))
			tables[n++] = quote_qualified_identifier("auction",
													 get_rel_name(map_in_work->shards[i].relid));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT max(auction_id)"
						   " FILTER (WHERE (h.n, h.hash)"
						   " IS DISTINCT FROM (j.n, j.hash)),"
						   " coalesce(sum(j.n), 0)::bigint FROM (");
	auc_shard_sum_by_auction(&sql, n, tables);
	appendStringInfoString(&sql,
						   ") h (auction_id, n, hash) FULL JOIN ("
						   "SELECT auction_id, count(*),"
						   " bit_xor(" AUC_SHARD_ROW_HASH ")"
						   " FROM auction.journal WHERE " OF_LOCAL_SHARDS
						   " GROUP BY auction_id) j (auction_id, n, hash)"
						   " USING (auction_id)");
	return sql.data;
}

/* An auction alone is looked at more closely.  Returns how many bids. */
static int64
consolidate_local(int nids, const int64 *ids, int n, const int64 *remainders)
{
	Oid			types[] = {INT8ARRAYOID, INT8ARRAYOID, INT8OID};
	Datum		values[3];
	bool		all_equal;

	values[0] = auc_statement_ids(nids, ids);
	values[1] = auc_statement_ids(n, remainders);
	values[2] = Int64GetDatum(map_in_work->modulus);
	(void) auc_statement_run(&copy_local, values, SPI_OK_INSERT);
	if (nids == 1)
		auc_shard_correct(map_in_work, ids[0]);
	if (SPI_execute_with_args(compare_local_statement(), 3, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not compare bids with auction.history")));
	(void) auc_statement_datum(0, 1, &all_equal);
	if (!all_equal)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("bids of auction %lld in auction.history are not those of auction.journal",
						(long long) auc_statement_int64(0, 1))));
	return auc_statement_int64(0, 2);
}

/* What leaves the journal are just the bids that were compared (rule 20). */
static void
mark_work(int n, const int64 *ids)
{
	int64	   *remainders = palloc(map_in_work->modulus * sizeof(int64));
	int			nremainders = 0;
	int64		compared = 0;

	SPI_connect();
	for (int r = 0; r < map_in_work->modulus; r++)
		if (!OidIsValid(map_in_work->shards[map_in_work->of_remainder[r]].serverid))
			remainders[nremainders++] = r;
	if (nremainders > 0)
		compared = consolidate_local(n, ids, nremainders, remainders);
	for (int i = 0; i < n; i++)
		compared += sent_of(ids[i]);
	auc_shard_mark(n, ids, (uint64) compared);
	SPI_finish();
}

/* Of the auctions at rest those that are as they were sent, quarantining. */
static int
keep_unchanged(const AucBatch *batch, int n, const AucClosed *auctions,
			   int64 *ids)
{
	AucStore   *store = auc_store_open(false, AccessShareLock);
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		const AucBatchItem *item = batch->items;
		AucRow		row;

		while (item->auction.auction_id != auctions[i].auction_id)
			item++;
		if (!auctions[i].verified ||
			!auc_store_find(store, auctions[i].auction_id, NULL, &row) ||
			row.verified_at != item->verified_at)
			continue;
		if (item->wrong != NULL)
			auc_verify_quarantine(auctions[i].auction_id, item->wrong);
		else
			ids[kept++] = auctions[i].auction_id;
	}
	auc_store_close(store);
	return kept;
}

static bool
map_is_as_it_was(const AucBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;

	SPI_connect();
	(void) auc_lock_shards(false, true);
	old = MemoryContextSwitchTo(caller);
	map_in_work = auc_shard_map_read();
	MemoryContextSwitchTo(old);
	SPI_finish();
	return map_in_work->fingerprint == batch->map;
}

/* An ERROR leaves it for the next call. */
static MemoryContext left_over = NULL;

void
auc_consolidator_mark(AucBatch *batch)
{
	AucClosed  *auctions = MemoryContextAlloc(batch->context,
											  batch->n * sizeof(AucClosed));
	int64	   *ids = MemoryContextAlloc(batch->context,
										 batch->n * sizeof(int64));
	int			n;

	for (int i = 0; i < batch->n; i++)
		auctions[i] = batch->items[i].auction;
	if (left_over != NULL)
		MemoryContextDelete(left_over);
	left_over = batch->context;
	auc_worker_xact_begin("consolidating auctions to shard servers");
	batch_in_work = batch;
	if (map_is_as_it_was(batch))
	{
		n = auc_finish_rest(batch->n, auctions);
		n = keep_unchanged(batch, n, auctions, ids);
		n = auc_verify_each(mark_work, n, ids);
		/* who finds a bid in history asks no more whether it is flushed */
		if (n > 0)
			ForceSyncCommit();
		auc_stop_at("consolidate: marked");
	}
	auc_worker_xact_commit();
	MemoryContextDelete(batch->context);
	left_over = NULL;
}
