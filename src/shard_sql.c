/*
 * shard_sql.c: create_shards, the hash of shards, and their sizes.
 */
#include "postgres.h"

#include "argument.h"
#include "bid_args.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lock.h"
#include "owner.h"
#include "shard_map.h"
#include "shard_place.h"
#include "shard_table.h"

PG_FUNCTION_INFO_V1(auction_create_shards);
PG_FUNCTION_INFO_V1(auction__shard_hash);
PG_FUNCTION_INFO_V1(auction__shard_sizes);

Datum
auction_create_shards(PG_FUNCTION_ARGS)
{
	int			shards = DatumGetInt32(auc_argument(fcinfo, 0, "shards"));

	if (!auc_shard_modulus_valid(shards))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"shards\" must be a power of two between 1 and %d, not %d",
						AUC_SHARD_MAX, shards)));
	auc_bid_prevent("auction.create_shards()");
	SPI_connect();
	(void) auc_lock_shards(true, true);
	if (auc_shard_map_read()->n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("history has shards already"),
				 errhint("Double their number one by one with auction.split_shard().")));
	auc_shard_create_first(shards);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
auction__shard_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) auc_shard_hash(PG_GETARG_INT64(0)));
}

/* ---- sizes ---- */

/* The place of an earlier shard, or a new one. */
static AucPlace *
place_of(List **places, Oid serverid)
{
	AucPlace   *place;
	ListCell   *cell;

	foreach(cell, *places)
	{
		place = lfirst(cell);
		if (place->serverid == serverid)
			return place;
	}
	place = palloc(sizeof(AucPlace));
	auc_place_open(place, serverid);
	*places = lappend(*places, place);
	return place;
}

/* shard, bids, bytes */
static void
put_size(ReturnSetInfo *rsinfo, const AucShard *shard, const AucPlace *place)
{
	char	   *table = place->remote == NULL ?
		psprintf("auction.history_%d", shard->number) :
		auc_shard_remote_name(shard->modulus, shard->number);
	Datum		values[3];
	bool		nulls[3] = {false};

	(void) auc_place_run(place, "SELECT greatest(reltuples, 0)::bigint,"
						 " pg_total_relation_size(oid) FROM pg_class"
						 " WHERE oid = '%s'::regclass", table);
	values[0] = Int32GetDatum(shard->number);
	values[1] = Int64GetDatum(auc_place_int64(place, 0, 1, &nulls[1]));
	values[2] = Int64GetDatum(auc_place_int64(place, 0, 2, &nulls[2]));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
auction__shard_sizes(PG_FUNCTION_ARGS)
{
	AucCaller	caller;
	AucShardMap *map;
	List	   *places = NIL;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	auc_owner_begin(&caller);
	map = auc_shard_map_read();
	for (int i = 0; i < map->n; i++)
		put_size((ReturnSetInfo *) fcinfo->resultinfo, &map->shards[i],
				 place_of(&places, map->shards[i].serverid));
	foreach(cell, places)
		auc_place_close(lfirst(cell));
	auc_owner_end(&caller);
	return (Datum) 0;
}
