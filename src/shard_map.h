/*
 * shard_map.h: the shards of history: the partitions of auction.history.
 *
 * The catalogs are the truth; nothing is kept beside them.  A shard's number
 * is its remainder, which no other shard has, whatever their moduli: two
 * partitions with the same remainder would overlap.
 *
 * Changes of the map (a move begins, two partitions change places) hold its
 * lock exclusively, to the end of their transaction; who writes to shards by
 * the map holds it shared.  Readers need none: they go through auction.history.
 */
#ifndef AUC_SHARD_MAP_H
#define AUC_SHARD_MAP_H

#include "postgres.h"

#include "shard_hash.h"

typedef struct AucShard
{
	int			number;
	int			modulus;
	Oid			relid;			/* the partition */
	Oid			serverid;		/* InvalidOid: local */
	bool		moving;			/* nobody but the move may write to it */
} AucShard;

typedef struct AucShardMap
{
	int			n;				/* 0: history has no partitions yet */
	AucShard   *shards;			/* by number */
	int			modulus;		/* the greatest */
	int16	   *of_remainder;	/* of that modulus: index in shards[] */
	bool		all_local;		/* and none is moving */
	uint64		fingerprint;	/* another one: where rows belong has changed */
} AucShardMap;

/*
 * As of the statement, palloc'd; inside SPI.  Whoever is going to write by it
 * has the lock before.
 */
extern AucShardMap *auc_shard_map_read(void);
/* Index of a user's shard in shards[]. */
static inline int
auc_shard_map_find(const AucShardMap *map, int64 user_id)
{
	return map->of_remainder[auc_shard_remainder(auc_shard_hash(user_id),
												 map->modulus)];
}

#endif							/* AUC_SHARD_MAP_H */
