/*
 * shard_read.c: what functions need that ask each shard by itself.
 *
 * They go past the view bids, so they have to keep rule 19 themselves: the
 * bids of an auction are history if its state says so, not if they are on a
 * shard.  What a transaction sees of a shard server is as of its first query
 * there, which is later than its own snapshot; so the state has to be read
 * later still, or an auction that has closed in between would not be known for
 * one whose bids are only on their way.  Hence in this order: a query of each
 * server, then _unmarked(), then what is to be known, leaving those out.
 *
 * Why that is enough, whatever the isolation level: bids that such a query
 * finds were sent before it, so their auction was over by then, and is marked
 * by now or among those that _unmarked() finds.  It may be marked by now, but
 * not in the caller's snapshot, if that is an older one: it was sent before
 * the caller's transaction began, for a later mark would wait for that
 * transaction (onlooker.h); so it was over in that snapshot, too.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "relation.h"
#include "shard_map.h"
#include "statement.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(auction__shards_now);
PG_FUNCTION_INFO_V1(auction__unmarked);

/*
 * Over, but not marked, or to be removed (retention.h): their bids may be on a
 * shard.
 */
#define UNMARKED \
	"SELECT auction_id FROM auction._removals UNION ALL " \
	"SELECT auction_id FROM auction._state " \
	"WHERE status IN ('c', 'x') AND consolidated_at IS NULL " \
	"UNION ALL " \
	"SELECT auction_id FROM auction._state " \
	"WHERE status = 'q' AND consolidated_at IS NULL"

static AucStatement unmarked_now = {.text = UNMARKED,.latest = true};
static AucStatement unmarked_before = {.text = UNMARKED};

/*
 * The lock keeps partitions from changing their places until the end of the
 * transaction.  They are read as they are, not as an older snapshot shows the
 * catalogs: that would be other partitions than those which have the names.
 */
Datum
auction__shards_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AucShardMap *map;

	InitMaterializedSRF(fcinfo, 0);
	LockRelationOid(auc_relation_id(AUC_REL_HISTORY, false), AccessShareLock);
	SPI_connect();
	map = auc_shard_map_read();
	for (int i = 0; i < map->n; i++)
	{
		const AucShard *shard = &map->shards[i];
		NameData	server;
		Datum		values[4];
		bool		isnull[4] = {false};

		isnull[3] = !OidIsValid(shard->serverid);
		if (!isnull[3])
			namestrcpy(&server, GetForeignServer(shard->serverid)->servername);
		values[0] = Int32GetDatum(shard->number);
		values[1] = Int32GetDatum(shard->modulus);
		values[2] = ObjectIdGetDatum(shard->relid);
		values[3] = NameGetDatum(&server);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 isnull);
	}
	SPI_finish();
	return (Datum) 0;
}

/* "ids" has room for them behind the first n; returns how many there are. */
static int
add_found(AucStatement *statement, int64 **ids, int n, MemoryContext context)
{
	uint64		rows = auc_statement_run(statement, NULL, SPI_OK_SELECT);
	MemoryContext old = MemoryContextSwitchTo(context);

	*ids = *ids == NULL ? palloc(Max(rows, 1) * sizeof(int64)) :
		repalloc(*ids, Max(n + rows, 1) * sizeof(int64));
	MemoryContextSwitchTo(old);
	for (uint64 i = 0; i < rows; i++)
		(*ids)[n++] = auc_statement_int64(i, 1);
	return n;
}

/* In no order; some of them twice. */
Datum
auction__unmarked(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *ids = NULL;
	int			n;

	SPI_connect();
	n = add_found(&unmarked_now, &ids, 0, context);
	if (IsolationUsesXactSnapshot())
		n = add_found(&unmarked_before, &ids, n, context);
	SPI_finish();
	PG_RETURN_DATUM(auc_statement_ids(n, ids));
}
