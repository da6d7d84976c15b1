/*
 * shard_map.c: see shard_map.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/spi.h"
#include "shard_map.h"
#include "statement.h"

static AucStatement read_shards = {
	.text = "SELECT h.shard, h.modulus, h.relation::oid, "
	" (SELECT f.ftserver FROM pg_foreign_table f "
	"  WHERE f.ftrelid = h.relation), "
	" EXISTS (SELECT FROM auction._shard_moves m "
	"  WHERE (m.shard = h.shard OR "
	"   (m.splits AND m.shard + m.modulus = h.shard)) "
	"  AND m.phase IN ('c', 'v', 's', 'd')) "
	"FROM auction.shards h ORDER BY h.shard",
	.latest = true
};

static Oid
oid_of(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/* Each remainder of the greatest modulus belongs to one shard. */
static void
fill_remainders(AucShardMap *map)
{
	map->of_remainder = palloc(Max(map->modulus, 1) * sizeof(int16));
	for (int i = 0; i < map->modulus; i++)
		map->of_remainder[i] = -1;
	for (int i = 0; i < map->n; i++)
		for (int r = map->shards[i].number; r < map->modulus;
			 r += map->shards[i].modulus)
			map->of_remainder[r] = (int16) i;
	for (int i = 0; i < map->modulus; i++)
		if (map->of_remainder[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"auction.history\" has no partition for remainder %d of modulus %d",
							i, map->modulus),
					 errhint("Attach the partition that is missing.")));
}

AucShardMap *
auc_shard_map_read(void)
{
	AucShardMap *map = palloc0(sizeof(AucShardMap));

	map->n = (int) auc_statement_run(&read_shards, NULL, SPI_OK_SELECT);
	/* with nothing in between the fields, for the fingerprint */
	map->shards = palloc0(Max(map->n, 1) * sizeof(AucShard));
	map->all_local = true;
	for (int i = 0; i < map->n; i++)
	{
		AucShard   *shard = &map->shards[i];

		shard->number = auc_statement_int32(i, 1);
		shard->modulus = auc_statement_int32(i, 2);
		shard->relid = oid_of(i, 3);
		shard->serverid = oid_of(i, 4);
		shard->moving = auc_statement_bool(i, 5);
		map->fingerprint = hash_combine64(map->fingerprint,
										  hash_bytes_extended((unsigned char *) shard,
															  sizeof(AucShard),
															  0));
		map->modulus = Max(map->modulus, shard->modulus);
		if (OidIsValid(shard->serverid) || shard->moving)
			map->all_local = false;
	}
	fill_remainders(map);
	return map;
}
