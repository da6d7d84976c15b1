/*
 * shard_move_table.c: the tables of a move, and their change of places.
 *
 *   here   auction.history_N       the partition
 *          auction._history_N      a part that is being written, until the swap
 *          auction._history_N_old  what was the partition, after the swap
 *   there  auction_shard.history_M_N
 *
 * The target of a plain move is a partition of auction_shard.history at once.
 * Those of a split there are not, as the source still has their place.
 *
 * A part that is to be attached has a CHECK that says what its bound will, so
 * that attaching it does not read it; then the CHECK goes.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "relation.h"
#include "shard_move.h"
#include "shard_table.h"
#include "utils/builtins.h"

/* parent, modulus, number: what the bound of the partition will say */
#define OF_SHARD \
	"CONSTRAINT of_shard CHECK " \
	"(satisfies_hash_partition(%u::oid, %d, %d, user_id))"

static const AucPlace here = {0};

/* ---- names ---- */

char *
auc_move_part_table(const AucShardMove *move, int part)
{
	int			number = auc_move_part_number(move, part);

	if (move->to.remote != NULL)
		return auc_shard_remote_name(auc_move_part_modulus(move), number);
	return psprintf("auction._history_%d", number);
}

char *
auc_move_source_table(const AucShardMove *move)
{
	if (move->from.remote != NULL)
		return auc_shard_remote_name(move->modulus, move->shard);
	return psprintf("auction.history_%d", move->shard);
}

static const char *
source_kind(const AucShardMove *move)
{
	return NameStr(move->source)[0] == '\0' ? "TABLE" : "FOREIGN TABLE";
}

/* ---- parts ---- */

static void
create_part_here(const AucShardMove *move, int part)
{
	char	   *table = auc_move_part_table(move, part);

	(void) auc_place_run(&here, "CREATE TABLE IF NOT EXISTS %s"
						 " (LIKE auction.history INCLUDING DEFAULTS,"
						 " UNIQUE (user_id, auction_id, bid_no), "
						 OF_SHARD ")",
						 table, auc_relation_id(AUC_REL_HISTORY, false),
						 auc_move_part_modulus(move),
						 auc_move_part_number(move, part));
	auc_shard_create_indexes(table);
}

static void
create_part_there(const AucShardMove *move, int part)
{
	char	   *table = auc_move_part_table(move, part);
	Oid			parent;
	bool		isnull;

	if (!move->splits)
	{
		auc_shard_remote_create(move->to.remote, move->modulus, move->shard);
		return;
	}
	(void) auc_place_run(&move->to, "SELECT '" AUC_SHARD_PARENT
						 "'::regclass::oid");
	parent = (Oid) auc_place_int64(&move->to, 0, 1, &isnull);
	(void) auc_place_run(&move->to, "CREATE TABLE IF NOT EXISTS %s"
						 " (LIKE " AUC_SHARD_PARENT " INCLUDING ALL, "
						 OF_SHARD ")",
						 table, parent, auc_move_part_modulus(move),
						 auc_move_part_number(move, part));
}

void
auc_move_create_parts(AucShardMove *move)
{
	for (int part = 0; part < auc_move_parts(move); part++)
		if (move->to.remote == NULL)
			create_part_here(move, part);
		else
			create_part_there(move, part);
}

/*
 * A table with rows that no row of a move accounts for is somebody's: of a home
 * as it was at another time, perhaps.
 */
void
auc_move_check_empty(const AucShardMove *move)
{
	for (int part = 0; part < auc_move_parts(move); part++)
	{
		char	   *table = auc_move_part_table(move, part);

		if (auc_place_run(&move->to, "SELECT 1 FROM %s LIMIT 1", table) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("table \"%s\" exists with rows in it, %s", table,
							auc_place_name(&move->to)),
					 errhint("Drop it there if nobody needs it.")));
	}
}

void
auc_move_drop_parts(AucShardMove *move)
{
	auc_place_begin(&move->to);
	for (int part = 0; part < auc_move_parts(move); part++)
		(void) auc_place_run(&move->to, "DROP TABLE IF EXISTS %s",
							 auc_move_part_table(move, part));
	auc_place_commit(&move->to);
}

/* ---- the swap ---- */

static void
attach_here(const AucShardMove *move, int part)
{
	int			number = auc_move_part_number(move, part);

	(void) auc_place_run(&here, "ALTER TABLE auction._history_%d"
						 " RENAME TO history_%d", number, number);
	(void) auc_place_run(&here, "ALTER TABLE auction.history"
						 " ATTACH PARTITION auction.history_%d"
						 " FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
						 number, auc_move_part_modulus(move), number);
	(void) auc_place_run(&here, "ALTER TABLE auction.history_%d"
						 " DROP CONSTRAINT of_shard", number);
}

static void
attach_foreign(const AucShardMove *move, int part)
{
	int			number = auc_move_part_number(move, part);

	(void) auc_place_run(&here, "CREATE FOREIGN TABLE auction.history_%d"
						 " PARTITION OF auction.history"
						 " FOR VALUES WITH (MODULUS %d, REMAINDER %d)"
						 " SERVER %s OPTIONS (schema_name '" AUC_SHARD_SCHEMA
						 "', table_name 'history_%d_%d')",
						 number, auc_move_part_modulus(move), number,
						 quote_identifier(NameStr(move->target)),
						 auc_move_part_modulus(move), number);
}

/*
 * The map is held.  Locks in the order of who reads: the table, then its
 * partition; with these two there is nothing left to wait for.
 */
void
auc_move_swap(AucShardMove *move)
{
	(void) auc_place_run(&here, "LOCK TABLE auction.history"
						 " IN ACCESS EXCLUSIVE MODE");
	(void) auc_place_run(&here, "ALTER TABLE auction.history"
						 " DETACH PARTITION auction.history_%d", move->shard);
	(void) auc_place_run(&here, "ALTER %s auction.history_%d"
						 " RENAME TO _history_%d_old",
						 source_kind(move), move->shard, move->shard);
	for (int part = 0; part < auc_move_parts(move); part++)
		if (move->to.remote == NULL)
			attach_here(move, part);
		else
			attach_foreign(move, part);
}

/* ---- afterwards ---- */

void
auc_move_attach_parts(AucShardMove *move)
{
	auc_place_begin(&move->to);
	(void) auc_place_run(&move->to, "DROP TABLE IF EXISTS %s",
						 auc_move_source_table(move));
	for (int part = 0; part < auc_move_parts(move); part++)
	{
		char	   *table = auc_move_part_table(move, part);

		if (auc_place_run(&move->to, "SELECT FROM pg_inherits"
						  " WHERE inhrelid = '%s'::regclass", table) > 0)
			continue;
		(void) auc_place_run(&move->to, "ALTER TABLE " AUC_SHARD_PARENT
							 " ATTACH PARTITION %s"
							 " FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
							 table, auc_move_part_modulus(move),
							 auc_move_part_number(move, part));
		(void) auc_place_run(&move->to, "ALTER TABLE %s"
							 " DROP CONSTRAINT of_shard", table);
	}
	auc_place_commit(&move->to);
}

void
auc_move_drop_source_here(AucShardMove *move)
{
	(void) auc_place_run(&here, "DROP %s IF EXISTS auction._history_%d_old",
						 source_kind(move), move->shard);
}

void
auc_move_drop_source(AucShardMove *move)
{
	if (move->from.remote != NULL)
	{
		auc_place_begin(&move->from);
		(void) auc_place_run(&move->from, "DROP TABLE IF EXISTS %s",
							 auc_move_source_table(move));
		auc_place_commit(&move->from);
	}
	auc_move_drop_source_here(move);
}
