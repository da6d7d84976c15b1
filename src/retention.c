/*
 * retention.c: see retention.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "finish.h"
#include "lock.h"
#include "retention.h"
#include "settings.h"
#include "shard_map.h"
#include "shard_server.h"
#include "shard_table.h"
#include "statement.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Auctions in one transaction; bids, unless a single auction has more. */
#define MARK_AUCTIONS	1000
#define LIST_AUCTIONS	10000
#define REMOVE_AUCTIONS	1000
#define REMOVE_BIDS		10000
/* How often a worker looks whether something has become too old. */
#define LOOK_MS			5000

static AucStatement old_auctions = {
	.text = "SELECT auction_id FROM auction._state "
	"WHERE consolidated_at < $1 AND removed_at IS NULL "
	"ORDER BY consolidated_at LIMIT $2",
	.nargs = 2,.argtypes = {TIMESTAMPTZOID, INT8OID}
};
static AucStatement mark_removed = {
	.text = "WITH marked AS (UPDATE auction._state "
	" SET removed_at = clock_timestamp() WHERE auction_id = ANY ($1) "
	"  AND consolidated_at IS NOT NULL AND removed_at IS NULL "
	" RETURNING auction_id) "
	"INSERT INTO auction._removals SELECT auction_id FROM marked",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement marked_page = {
	.text = "SELECT r.auction_id, s.bid_count FROM auction._removals r "
	" JOIN auction._state s ON s.auction_id = r.auction_id "
	"ORDER BY r.auction_id LIMIT $1",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement forget_marks = {
	.text = "DELETE FROM auction._removals WHERE auction_id = ANY ($1)",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};

TimestampTz
auc_retention_before(TimestampTz now)
{
	if (auc_guc_history_retention == 0)
		return DT_NOBEGIN;
	return now - (TimestampTz) auc_guc_history_retention * USECS_PER_MINUTE;
}

/* ---- marking ---- */

int
auc_retention_mark(TimestampTz before)
{
	int64	   *ids = palloc(MARK_AUCTIONS * sizeof(int64));
	Datum		values[2];
	uint64		rows;
	int			n = 0;

	values[0] = TimestampTzGetDatum(before);
	values[1] = Int64GetDatum(Min(MARK_AUCTIONS, auc_finish_max_locks()));
	rows = auc_statement_run(&old_auctions, values, SPI_OK_SELECT);
	for (uint64 row = 0; row < rows; row++)
		if (auc_lock_try(auc_statement_int64(row, 1)))
			ids[n++] = auc_statement_int64(row, 1);
	if (n == 0)
		return 0;
	values[0] = auc_statement_ids(n, ids);
	return (int) auc_statement_run(&mark_removed, values, SPI_OK_INSERT);
}

/* ---- removing ---- */

AucRemoval *
auc_retention_list(MemoryContext parent)
{
	MemoryContext old;
	AucRemoval *removal;
	Datum		values[1];
	int			n;

	values[0] = Int64GetDatum(LIST_AUCTIONS);
	n = (int) auc_statement_run(&marked_page, values, SPI_OK_SELECT);
	if (n == 0)
		return NULL;
	old = MemoryContextSwitchTo(AllocSetContextCreate(parent,
													  "auction history to be removed",
													  ALLOCSET_DEFAULT_SIZES));
	removal = palloc0(sizeof(AucRemoval));
	removal->context = CurrentMemoryContext;
	removal->n = n;
	removal->ids = palloc(n * sizeof(int64));
	removal->bids = palloc(n * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		removal->ids[i] = auc_statement_int64(i, 1);
		removal->bids[i] = auc_statement_int64(i, 2);
	}
	removal->onlookers = auc_onlookers_now();
	MemoryContextSwitchTo(old);
	return removal;
}

/* How many from "next" on make one transaction. */
static int
next_step(const AucRemoval *removal)
{
	int64		bids = 0;
	int			n = 0;

	while (removal->next + n < removal->n && n < REMOVE_AUCTIONS)
	{
		bids += removal->bids[removal->next + n];
		if (n > 0 && bids > REMOVE_BIDS)
			break;
		n++;
	}
	return n;
}

static int64
bids_of(const AucRemoval *removal, int n)
{
	int64		bids = 0;

	for (int i = 0; i < n; i++)
		bids += removal->bids[removal->next + i];
	return bids;
}

static bool
any_moving(const AucShardMap *map)
{
	for (int i = 0; i < map->n; i++)
		if (map->shards[i].moving)
			return true;
	return false;
}

/* From all shards of the first one's server: that comes once. */
static void
remove_there(const AucShardMap *map, int first, const char *ids,
			 int patience, AucRetentionConnect connect)
{
	Oid			serverid = map->shards[first].serverid;
	AucRemote  *remote;

	for (int i = 0; i < first; i++)
		if (map->shards[i].serverid == serverid)
			return;
	remote = connect(serverid);
	(void) auc_remote_run(remote, "BEGIN", 0, NULL, 0);
	auc_shard_server_claim(remote);
	for (int i = first; i < map->n; i++)
		if (map->shards[i].serverid == serverid)
			(void) auc_remote_run(remote,
								  psprintf("DELETE FROM %s"
										   " WHERE auction_id = ANY ($1)",
										   auc_shard_remote_name(map->shards[i].modulus,
																 map->shards[i].number)),
								  1, &ids, patience);
	(void) auc_remote_run(remote, "COMMIT", 0, NULL, 0);
}

static void
remove_here(const AucShard *shard, Datum ids)
{
	Oid			types[] = {INT8ARRAYOID};

	if (SPI_execute_with_args(psprintf("DELETE FROM auction.history_%d"
									   " WHERE auction_id = ANY ($1)",
									   shard->number),
							  1, types, &ids, NULL, false, 0) != SPI_OK_DELETE)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not delete from shard %d",
								 shard->number)));
}

int
auc_retention_remove(AucRemoval *removal, AucRetentionConnect connect)
{
	const AucShardMap *map;
	Datum		values[1];
	char	   *text;
	int			patience;
	int			n = next_step(removal);

	if (!auc_lock_shards(false, false))
		return 0;
	map = auc_shard_map_read();
	if (any_moving(map))
		return 0;
	values[0] = auc_statement_ids(n, removal->ids + removal->next);
	text = OidOutputFunctionCall(F_ARRAY_OUT, values[0]);
	patience = auc_remote_patience(bids_of(removal, n));
	for (int i = 0; i < map->n; i++)
		if (OidIsValid(map->shards[i].serverid))
			remove_there(map, i, text, patience, connect);
	(void) connect(InvalidOid);
	for (int i = 0; i < map->n; i++)
		if (!OidIsValid(map->shards[i].serverid))
			remove_here(&map->shards[i], values[0]);
	(void) auc_statement_run(&forget_marks, values, SPI_OK_DELETE);
	removal->next += n;
	return n;
}

/* ---- a worker ---- */

static AucRemoval *current = NULL;

/* Returns whether something was marked. */
static bool
mark_and_list(TimestampTz now)
{
	int			marked;

	auc_worker_xact_begin("marking old history");
	SPI_connect();
	marked = auc_retention_mark(auc_retention_before(now));
	SPI_finish();
	auc_worker_xact_commit();

	auc_worker_xact_begin("listing old history");
	SPI_connect();
	current = auc_retention_list(TopMemoryContext);
	SPI_finish();
	auc_worker_xact_commit();
	return marked > 0;
}

static int
remove_now(AucRetentionConnect connect)
{
	int			n;

	auc_worker_xact_begin("removing old history");
	SPI_connect();
	n = auc_retention_remove(current, connect);
	SPI_finish();
	auc_worker_xact_commit();
	return n;
}

/* Marks of other sessions are among those listed. */
bool
auc_retention_turn(AucRetentionConnect connect)
{
	static TimestampTz next_look = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (current != NULL)
	{
		if (!auc_onlookers_gone(current->onlookers) ||
			remove_now(connect) == 0)
			return false;
		if (current->next < current->n)
			return true;
		MemoryContextDelete(current->context);
		current = NULL;
		return true;
	}
	if (now < next_look)
		return false;
	if (!mark_and_list(now) && current == NULL)
		next_look = TimestampTzPlusMilliseconds(now, LOOK_MS);
	return current != NULL;
}

bool
auc_retention_wanted(void)
{
	return auc_guc_history_retention > 0 || current != NULL;
}
