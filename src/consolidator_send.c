/*
 * consolidator_send.c: sends a batch's bids to the shard servers and has them
 * say what they have; see consolidator.h.
 *
 * While it speaks to a server that server is "in use", so that an ERROR can be
 * laid at its door.  Whatever ends the attempt, the other servers' transactions
 * are rolled back with their connections, and the page is read again, then
 * without the auctions that need the server that failed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "consolidator.h"
#include "lock.h"
#include "rules.h"
#include "settings.h"
#include "shard_copy.h"
#include "shard_server.h"
#include "shard_table.h"
#include "statement.h"
#include "stop.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Rows read from the journal at a time. */
#define FETCH_ROWS	2000
/* Where rows go that may be there already; emptied by each commit. */
#define INCOMING	"pg_temp.auction_incoming"

static AucStatement verified_page = {
	.text = "SELECT auction_id, lane_id, route, verified_at, bid_count, "
	" closed_at FROM auction._state "
	"WHERE status IN ('c', 'x') AND consolidated_at IS NULL "
	" AND verified_at IS NOT NULL AND (closed_at, auction_id) > ($1, $2) "
	"ORDER BY closed_at, auction_id LIMIT $3",
	.nargs = 3,.argtypes = {TIMESTAMPTZOID, INT8OID, INT8OID}
};
/* $2: remainders, of the modulus $3 */
static AucStatement in_shards = {
	.text = "SELECT DISTINCT auction_id FROM auction.journal "
	"WHERE auction_id = ANY ($1) "
	" AND (auction._shard_hash(user_id) & ($3 - 1)) = ANY ($2) ORDER BY 1",
	.nargs = 3,.argtypes = {INT8ARRAYOID, INT8ARRAYOID, INT8OID}
};
static AucStatement read_journal = {
	.text = "SELECT " AUC_SHARD_COLUMNS ", " AUC_SHARD_ROW_HASH
	" FROM auction.journal WHERE auction_id = ANY ($1) ORDER BY auction_id",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};

/* What goes to one server. */
typedef struct Target
{
	AucShardServer *server;
	AucShardCopy *copy;			/* NULL: nothing yet */
	uint64		rows;
	AucShardSum *sums;			/* of each item */
} Target;

typedef struct Sending
{
	AucBatch   *batch;
	AucShardMap *map;
	int			ntargets;
	Target	   *targets;
	int16	   *of_shard;		/* of a shard: index in targets[], -1: local */
} Sending;

/* ---- which auctions ---- */

static bool
is_pending(List *batches, int64 auction_id)
{
	ListCell   *cell;

	foreach(cell, batches)
	{
		const AucBatch *batch = lfirst(cell);
		int			low = 0;
		int			high = batch->n;

		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (batch->items[middle].auction.auction_id < auction_id)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < batch->n &&
			batch->items[low].auction.auction_id == auction_id)
			return true;
	}
	return false;
}

static int
compare_items(const void *a, const void *b)
{
	int64		left = ((const AucBatchItem *) a)->auction.auction_id;
	int64		right = ((const AucBatchItem *) b)->auction.auction_id;

	return left < right ? -1 : left > right;
}

/* Inside SPI.  Returns whether more follow. */
static bool
read_page(AucFinishCursor *cursor, List *batches, AucBatch *batch)
{
	int			limit = Min(auc_guc_consolidate_batch,
							auc_finish_max_locks());
	Datum		values[3];
	int64		bids = 0;
	uint64		rows;
	uint64		row;

	values[0] = TimestampTzGetDatum(cursor->closed_at);
	values[1] = Int64GetDatum(cursor->auction_id);
	values[2] = Int64GetDatum(limit);
	rows = auc_statement_run(&verified_page, values, SPI_OK_SELECT);
	batch->items = MemoryContextAllocZero(batch->context,
										  Max(rows, 1) * sizeof(AucBatchItem));
	for (row = 0; row < rows; row++)
	{
		AucBatchItem *item = &batch->items[batch->n];
		int64		auction_id = auc_statement_int64(row, 1);
		bool		pending = is_pending(batches, auction_id);

		if (!pending)
			bids += auc_statement_int64(row, 5);
		if (batch->n > 0 && bids > AUC_FINISH_MAX_BIDS)
			break;
		cursor->closed_at = auc_statement_int64(row, 6);
		cursor->auction_id = auction_id;
		if (pending)
			continue;
		item->auction.auction_id = auction_id;
		item->auction.lane_id = auc_statement_int32(row, 2);
		item->auction.on_redis = auc_statement_char(row, 3) == AUC_ROUTE_REDIS;
		item->auction.verified = true;
		item->verified_at = auc_statement_int64(row, 4);
		batch->n++;
	}
	qsort(batch->items, batch->n, sizeof(AucBatchItem), compare_items);
	return row < rows || rows == (uint64) limit;
}

static Datum
ids_of(const AucBatch *batch)
{
	int64	   *ids = palloc(Max(batch->n, 1) * sizeof(int64));

	for (int i = 0; i < batch->n; i++)
		ids[i] = batch->items[i].auction.auction_id;
	return auc_statement_ids(batch->n, ids);
}

/* Nothing may be written to it now. */
static bool
is_closed(const AucShard *shard, TimestampTz now)
{
	return shard->moving ||
		(OidIsValid(shard->serverid) &&
		 auc_shard_servers_failing(auc_shard_servers_get(shard->serverid),
								   now));
}

/* Leaves those out that have a bid in a shard that is closed. */
static void
leave_out_closed(Sending *sending, TimestampTz now)
{
	const AucShardMap *map = sending->map;
	AucBatch   *batch = sending->batch;
	int64	   *remainders = palloc(map->modulus * sizeof(int64));
	Datum		values[3];
	int			n = 0;
	int			kept = 0;
	uint64		rows;
	uint64		row = 0;

	for (int r = 0; r < map->modulus; r++)
		if (is_closed(&map->shards[map->of_remainder[r]], now))
			remainders[n++] = r;
	if (n == 0)
		return;
	values[0] = ids_of(batch);
	values[1] = auc_statement_ids(n, remainders);
	values[2] = Int64GetDatum(map->modulus);
	rows = auc_statement_run(&in_shards, values, SPI_OK_SELECT);
	for (int i = 0; i < batch->n; i++)
	{
		if (row < rows && auc_statement_int64(row, 1) ==
			batch->items[i].auction.auction_id)
			row++;
		else
			batch->items[kept++] = batch->items[i];
	}
	batch->n = kept;
}

/* ---- sending ---- */

static void
choose_targets(Sending *sending, TimestampTz now)
{
	const AucShardMap *map = sending->map;

	sending->targets = palloc0(map->n * sizeof(Target));
	sending->of_shard = palloc(map->n * sizeof(int16));
	for (int i = 0; i < map->n; i++)
	{
		AucShardServer *server;
		int			t;

		sending->of_shard[i] = -1;
		if (!OidIsValid(map->shards[i].serverid) ||
			is_closed(&map->shards[i], now))
			continue;
		server = auc_shard_servers_get(map->shards[i].serverid);
		for (t = 0; t < sending->ntargets; t++)
			if (sending->targets[t].server == server)
				break;
		if (t == sending->ntargets)
		{
			sending->targets[t].server = server;
			sending->targets[t].sums = palloc0(sending->batch->n *
											   sizeof(AucShardSum));
			sending->ntargets++;
		}
		sending->of_shard[i] = (int16) t;
	}
}

static void
begin_copy(Target *target, TupleDesc desc)
{
	AucShardServer *server = target->server;
	AucRemote  *remote;

	remote = auc_shard_servers_connect(server);
	(void) auc_remote_run(remote, "BEGIN", 0, NULL, 0);
	auc_shard_server_claim(remote);
	if (server->careful)
		(void) auc_remote_run(remote,
							  "CREATE TEMPORARY TABLE IF NOT EXISTS auction_incoming"
							  " (LIKE " AUC_SHARD_PARENT ") ON COMMIT DELETE ROWS",
							  0, NULL, 0);
	target->copy = auc_shard_copy_begin(remote, server->careful ? INCOMING :
										AUC_SHARD_PARENT, desc);
}

/* The rows of one fetch; they are ordered by auction. */
static void
send_rows(Sending *sending, SPITupleTable *rows, uint64 nrows, int *at)
{
	TupleDesc	desc = rows->tupdesc;
	AucBatch   *batch = sending->batch;
	Datum		values[AUC_SHARD_NCOLUMNS + 1];
	bool		isnull[AUC_SHARD_NCOLUMNS + 1];

	for (uint64 row = 0; row < nrows; row++)
	{
		Target	   *target;
		int			t;

		heap_deform_tuple(rows->vals[row], desc, values, isnull);
		while (batch->items[*at].auction.auction_id < DatumGetInt64(values[0]))
			(*at)++;
		t = sending->of_shard[auc_shard_map_find(sending->map,
												 DatumGetInt64(values[2]))];
		if (t < 0)
			continue;
		target = &sending->targets[t];
		auc_shard_servers_use(target->server);
		if (target->copy == NULL)
			begin_copy(target, desc);
		auc_shard_copy_row(target->copy, values, isnull);
		auc_shard_servers_use(NULL);
		target->rows++;
		batch->items[*at].sent++;
		auc_shard_sum_add(&target->sums[*at],
						  DatumGetInt64(values[AUC_SHARD_NCOLUMNS]));
	}
}

static void
send_all(Sending *sending)
{
	Datum		values[1];
	Portal		portal;
	int			at = 0;

	values[0] = ids_of(sending->batch);
	portal = auc_statement_open(&read_journal, values);
	for (;;)
	{
		SPITupleTable *rows;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		/* what it does meanwhile may use SPI, too */
		rows = SPI_tuptable;
		send_rows(sending, rows, SPI_processed, &at);
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
}

/* What is there already may lack a retraction of later. */
static void
add_missing(AucRemote *remote, uint64 rows)
{
	(void) auc_remote_run(remote,
						  "INSERT INTO " AUC_SHARD_PARENT " AS h"
						  " (" AUC_SHARD_COLUMNS ")"
						  " SELECT " AUC_SHARD_COLUMNS " FROM " INCOMING
						  " ON CONFLICT (user_id, auction_id, bid_no) DO UPDATE"
						  " SET retracted_at = excluded.retracted_at,"
						  "  retract_reason = excluded.retract_reason"
						  " WHERE (h.retracted_at, h.retract_reason) IS DISTINCT FROM"
						  "  (excluded.retracted_at, excluded.retract_reason)",
						  0, NULL, auc_remote_patience(rows));
}

/* Ends the copies first: the servers then work side by side. */
static void
commit_all(Sending *sending)
{
	for (int t = 0; t < sending->ntargets; t++)
	{
		Target	   *target = &sending->targets[t];
		uint64		arrived;

		if (target->copy == NULL)
			continue;
		auc_shard_servers_use(target->server);
		arrived = auc_shard_copy_end(target->copy, NULL);
		if (arrived != target->rows)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("of %llu bids sent to shard server \"%s\" %llu arrived",
							(unsigned long long) target->rows,
							NameStr(target->server->name),
							(unsigned long long) arrived)));
		if (target->server->careful)
			add_missing(target->server->remote, target->rows);
	}
	for (int t = 0; t < sending->ntargets; t++)
	{
		AucShardServer *server = sending->targets[t].server;

		if (sending->targets[t].rows == 0)
			continue;
		auc_shard_servers_use(server);
		(void) auc_remote_run(server->remote, "COMMIT", 0, NULL, 0);
		auc_stop_at("consolidate: committed");
	}
	auc_shard_servers_use(NULL);
	auc_stop_at("consolidate: all committed");
}

/* ---- checking ---- */

static char *
sums_statement(const Sending *sending, int t)
{
	const AucShardMap *map = sending->map;
	char	  **tables = palloc(map->n * sizeof(char *));
	int			n = 0;
	StringInfoData sql;

	for (int i = 0; i < map->n; i++)
		if (sending->of_shard[i] == t)
			tables[n++] = auc_shard_remote_name(map->shards[i].modulus,
												map->shards[i].number);
	initStringInfo(&sql);
	auc_shard_sum_by_auction(&sql, n, tables);
	appendStringInfoString(&sql, " ORDER BY auction_id");
	return sql.data;
}

static void
compare_sum(Sending *sending, const Target *target, int i,
			const AucShardSum *there)
{
	AucBatch   *batch = sending->batch;
	AucBatchItem *item = &batch->items[i];
	const AucShardSum *sent = &target->sums[i];
	MemoryContext old;

	if (auc_shard_sum_equal(sent, there) || item->wrong != NULL)
		return;
	old = MemoryContextSwitchTo(batch->context);
	if (sent->rows != there->rows)
		item->wrong = psprintf("number of bids of auction %lld on shard server %s is %lld, and %lld were sent",
							   (long long) item->auction.auction_id,
							   NameStr(target->server->name),
							   (long long) there->rows,
							   (long long) sent->rows);
	else
		item->wrong = psprintf("bids of auction %lld on shard server %s are not those that were sent",
							   (long long) item->auction.auction_id,
							   NameStr(target->server->name));
	MemoryContextSwitchTo(old);
}

/*
 * Every server that has shards is asked about every auction: bids where none
 * belong are as wrong as missing ones.
 */
static void
check_target(Sending *sending, int t)
{
	static const AucShardSum nothing = {0};
	Target	   *target = &sending->targets[t];
	AucBatch   *batch = sending->batch;
	const char *params[1];
	AucRemote  *remote;
	uint64		rows;
	uint64		row = 0;

	auc_shard_servers_use(target->server);
	remote = auc_shard_servers_connect(target->server);
	params[0] = OidOutputFunctionCall(F_ARRAY_OUT, ids_of(batch));
	rows = auc_remote_run(remote, sums_statement(sending, t), 1, params,
						  auc_remote_patience(target->rows));
	for (int i = 0; i < batch->n; i++)
	{
		AucShardSum there;

		if (row < rows && auc_remote_int64(remote, row, 0) ==
			batch->items[i].auction.auction_id)
		{
			there.rows = auc_remote_int64(remote, row, 1);
			there.hash = auc_remote_int64(remote, row, 2);
			row++;
		}
		else
			there = nothing;
		compare_sum(sending, target, i, &there);
	}
	auc_shard_servers_use(NULL);
}

/* ---- the whole ---- */

/* The one that is being made; an ERROR leaves it for the next call. */
static AucBatch *unfinished = NULL;

static AucBatch *
make_batch(void)
{
	MemoryContext context;

	if (unfinished != NULL)
		MemoryContextDelete(unfinished->context);
	unfinished = NULL;
	context = AllocSetContextCreate(TopMemoryContext,
									"auction batch for shards",
									ALLOCSET_SMALL_SIZES);
	unfinished = MemoryContextAllocZero(context, sizeof(AucBatch));
	unfinished->context = context;
	return unfinished;
}

/* After the last commit. */
static void
note_onlookers(Sending *sending)
{
	AucBatch   *batch = sending->batch;
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	for (int t = 0; t < sending->ntargets; t++)
	{
		if (sending->targets[t].rows > 0 && batch->onlookers == NULL)
			batch->onlookers = auc_onlookers_now();
		batch->servers = lappend(batch->servers, sending->targets[t].server);
	}
	MemoryContextSwitchTo(old);
}

static void
send_batch(Sending *sending)
{
	send_all(sending);
	auc_stop_at("consolidate: sent");
	commit_all(sending);
	note_onlookers(sending);
	for (int t = 0; t < sending->ntargets; t++)
		check_target(sending, t);
	auc_stop_at("consolidate: checked");
}

AucBatch *
auc_consolidator_send(AucFinishCursor *cursor, List *batches, bool *last,
					  bool *local)
{
	TimestampTz now = GetCurrentTimestamp();
	Sending		sending = {0};
	AucBatch   *batch;
	ListCell   *cell;

	auc_worker_xact_begin("sending bids to shard servers");
	SPI_connect();
	(void) auc_lock_shards(false, true);
	sending.map = auc_shard_map_read();
	*local = sending.map->all_local;
	*last = true;
	batch = sending.batch = make_batch();
	batch->map = sending.map->fingerprint;
	if (!*local)
		*last = !read_page(cursor, batches, batch);
	if (batch->n > 0)
		leave_out_closed(&sending, now);
	if (batch->n > 0)
	{
		choose_targets(&sending, now);
		send_batch(&sending);
	}
	SPI_finish();
	auc_worker_xact_commit();
	foreach(cell, batch->servers)
		auc_shard_servers_succeeded(lfirst(cell));
	unfinished = NULL;
	if (batch->n > 0)
		return batch;
	MemoryContextDelete(batch->context);
	return NULL;
}
