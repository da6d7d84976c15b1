/*
 * shard_table.h: the tables that hold shards, here and on other servers.
 *
 * Their columns are said once, in shard_table.c; auction.history has the same.
 *
 *   auction.history_N              the partition, here: a table, or a foreign
 *                                  table
 *   auction_shard.history          on another server: a table partitioned as
 *                                  ours, of which it has the partitions that
 *                                  are there
 *   auction_shard.history_M_N      on another server: such a partition; M is
 *                                  the modulus
 *
 * So a shard server refuses rows of shards that it does not have, whoever
 * sends them, and what goes to several of its shards is one COPY.  There the
 * unique key (user_id, auction_id, bid_no) and the indexes are the parent's;
 * here, where partitions may be foreign, each partition has its own.
 */
#ifndef AUC_SHARD_TABLE_H
#define AUC_SHARD_TABLE_H

#include "postgres.h"

#include "remote.h"

/* The schema on shard servers, and the table in it. */
#define AUC_SHARD_SCHEMA	"auction_shard"
#define AUC_SHARD_PARENT	AUC_SHARD_SCHEMA ".history"

/* The columns of a bid in history, as in a select list or a COPY. */
#define AUC_SHARD_COLUMNS \
	"auction_id, bid_no, user_id, amount, placed_at, position, lane_id, " \
	"buy_now, request_id, attributes, retracted_at, retract_reason"
#define AUC_SHARD_NCOLUMNS	12

/* A row's hash; see shard_sum.c. */
#define AUC_SHARD_ROW_HASH \
	"hash_record_extended(ROW(" AUC_SHARD_COLUMNS "), 0)"

/* The table auction_shard.history there, unless it exists. */
extern void auc_shard_remote_prepare(AucRemote *remote);
/* palloc'd: the name of a partition there, with schema. */
extern char *auc_shard_remote_name(int modulus, int number);
/* Creates that partition there; it may exist, empty or not. */
extern void auc_shard_remote_create(AucRemote *remote, int modulus,
									int number);
/* The indexes of a shard here, besides its unique key. */
extern void auc_shard_create_indexes(const char *table);
/*
 * Makes the first shards, local ones, which belong to the extension's owner.
 * There are none yet; the map is locked exclusively.
 */
extern void auc_shard_create_first(int modulus);

#endif							/* AUC_SHARD_TABLE_H */
