/*
 * shard_move_copy.c: copies a shard's rows, and compares them, in pieces.
 *
 * A piece is what lies between two keys; where the next one ends is asked of
 * the source.  So a piece needs neither memory nor a snapshot for longer than
 * its own time, progress is one key, and both sides can be asked about the
 * same piece.
 *
 *   to another server  rows are sent by COPY, or passed on from one COPY to
 *                      the other; committed there before the key is, here
 *   to here            COPY, in one transaction with the key
 *   a split            its rows stay where they are: INSERT there, or here
 *
 * Not through postgres_fdw: nothing would end its wait for a server that has
 * the connection and does nothing, least of all that of our COMMIT for its.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/copy.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "portability/instr_time.h"
#include "shard_copy.h"
#include "shard_move.h"
#include "shard_sum.h"
#include "shard_table.h"
#include "stop.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define FETCH_ROWS	2000

/* ---- pieces ---- */

static void
compare(StringInfo sql, const char *operator, const AucShardKey *key)
{
	if (key->valid)
		appendStringInfo(sql, " AND (user_id, auction_id, bid_no) %s ("
						 INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT ")",
						 operator, key->user_id, key->auction_id, key->bid_no);
}

/* From behind one key to the other; one that is not valid is no limit. */
static char *
between(const AucShardKey *from, const AucShardKey *to)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "true");
	compare(&sql, ">", from);
	compare(&sql, "<=", to);
	return sql.data;
}

/* The key of the "limit"-th row from here on; not valid: there are fewer. */
static void
find_end(AucShardMove *move, int limit, AucShardKey *end)
{
	bool		isnull;

	end->valid = auc_place_run(&move->from,
							   "SELECT user_id, auction_id, bid_no FROM %s"
							   " WHERE %s ORDER BY user_id, auction_id, bid_no"
							   " OFFSET %d LIMIT 1",
							   auc_move_source_table(move),
							   between(&move->last, end), limit - 1) > 0;
	if (!end->valid)
		return;
	end->user_id = auc_place_int64(&move->from, 0, 1, &isnull);
	end->auction_id = auc_place_int64(&move->from, 0, 2, &isnull);
	end->bid_no = auc_place_int64(&move->from, 0, 3, &isnull);
}

/* ---- copying ---- */

/* From here to there. */
static int64
send_piece(AucShardMove *move, const char *range, uint64 *bytes)
{
	Datum		values[AUC_SHARD_NCOLUMNS];
	bool		isnull[AUC_SHARD_NCOLUMNS];
	AucShardCopy *copy;
	SPIPlanPtr	plan;
	Portal		portal;
	int64		sent = 0;

	plan = SPI_prepare(psprintf("SELECT " AUC_SHARD_COLUMNS
								" FROM auction.history_%d WHERE %s",
								move->shard, range), 0, NULL);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	auc_place_begin(&move->to);
	copy = auc_shard_copy_begin(move->to.remote, auc_move_part_table(move, 0),
								portal->tupDesc);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 row = 0; row < SPI_processed; row++, sent++)
		{
			heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
							  values, isnull);
			auc_shard_copy_row(copy, values, isnull);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_freeplan(plan);
	(void) auc_shard_copy_end(copy, bytes);
	auc_place_commit(&move->to);
	return sent;
}

static void
ask_for_piece(AucShardMove *move, const char *range)
{
	auc_remote_copy_out(move->from.remote,
						psprintf("COPY (SELECT " AUC_SHARD_COLUMNS " FROM %s"
								 " WHERE %s) TO STDOUT (FORMAT binary)",
								 auc_move_source_table(move), range));
}

/* From there to elsewhere: nobody here reads what passes through. */
static int64
pass_piece(AucShardMove *move, const char *range, uint64 *bytes)
{
	const char *data;
	int			len;
	int64		rows;

	auc_place_begin(&move->to);
	auc_remote_copy_begin(move->to.remote,
						  psprintf("COPY %s (" AUC_SHARD_COLUMNS
								   ") FROM STDIN (FORMAT binary)",
								   auc_move_part_table(move, 0)));
	ask_for_piece(move, range);
	while (auc_remote_copy_get(move->from.remote, &data, &len))
	{
		auc_remote_copy_put(move->to.remote, data, len);
		*bytes += len;
	}
	rows = (int64) auc_remote_copy_end(move->to.remote);
	auc_place_commit(&move->to);
	return rows;
}

/* What read_piece() reads. */
static AucRemote *piece_source;
static const char *piece_data;
static int	piece_left;			/* of these; -1: the end was reached */

/* For COPY: at least "least" bytes, unless that is the end. */
static int
read_piece(void *buffer, int least, int most)
{
	int			got = 0;

	while (got < least && piece_left >= 0)
	{
		int			n;

		if (piece_left == 0 &&
			!auc_remote_copy_get(piece_source, &piece_data, &piece_left))
		{
			piece_left = -1;
			break;
		}
		n = Min(piece_left, most - got);
		memcpy((char *) buffer + got, piece_data, n);
		piece_data += n;
		piece_left -= n;
		got += n;
	}
	return got;
}

/* From there to here.  The table has the columns in the order of history. */
static int64
fetch_piece(AucShardMove *move, const char *range)
{
	Oid			relid = RangeVarGetRelid(makeRangeVar("auction",
													  psprintf("_history_%d", move->shard), -1),
										 RowExclusiveLock, false);
	Relation	rel = table_open(relid, NoLock);
	ParseState *pstate = make_parsestate(NULL);
	CopyFromState copy;
	uint64		rows;

	(void) addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL,
										 false, false);
	ask_for_piece(move, range);
	piece_source = move->from.remote;
	piece_left = 0;
	PushActiveSnapshot(GetTransactionSnapshot());
	copy = BeginCopyFrom(pstate, rel, NULL, NULL, false, read_piece, NIL,
						 list_make1(makeDefElem("format",
												(Node *) makeString("binary"),
												-1)));
	rows = CopyFrom(copy);
	EndCopyFrom(copy);
	PopActiveSnapshot();
	free_parsestate(pstate);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return (int64) rows;
}

static int64
split_piece(AucShardMove *move, const char *range)
{
	int			mask = auc_move_part_modulus(move) - 1;
	int64		rows = 0;

	auc_place_begin(&move->to);
	for (int part = 0; part < auc_move_parts(move); part++)
		rows += (int64) auc_place_run(&move->to,
									  "INSERT INTO %s (" AUC_SHARD_COLUMNS
									  ") SELECT " AUC_SHARD_COLUMNS
									  " FROM %s WHERE %s AND"
									  " (hashint8extended(user_id, " UINT64_FORMAT
									  ") + %d) & %d = %d",
									  auc_move_part_table(move, part),
									  auc_move_source_table(move), range,
									  AUC_SHARD_SEED,
									  (int) (AUC_SHARD_PLUS & mask), mask,
									  auc_move_part_number(move, part));
	auc_place_commit(&move->to);
	return rows;
}

/*
 * Behind the key is the last piece, which has none, or what was committed there
 * when we died before it was noted here.  Tables there may not be made yet.
 */
void
auc_move_copy_resume(AucShardMove *move)
{
	static const AucShardKey none = {0};

	auc_place_begin(&move->to);
	if (move->to.remote != NULL)
		auc_move_create_parts(move);
	for (int part = 0; part < auc_move_parts(move); part++)
		(void) auc_place_run(&move->to, "DELETE FROM %s WHERE %s",
							 auc_move_part_table(move, part),
							 between(&move->last, &none));
	auc_place_commit(&move->to);
	auc_stop_at("move: created");
}

bool
auc_move_copy_piece(AucShardMove *move, int limit, int64 *rows)
{
	AucShardKey end = {0};
	instr_time	began;
	instr_time	took;
	uint64		bytes = 0;
	char	   *range;

	INSTR_TIME_SET_CURRENT(began);
	find_end(move, limit, &end);
	range = between(&move->last, &end);
	if (move->splits)
		*rows = split_piece(move, range);
	else if (move->from.remote == NULL)
		*rows = send_piece(move, range, &bytes);
	else if (move->to.remote != NULL)
		*rows = pass_piece(move, range, &bytes);
	else
		*rows = fetch_piece(move, range);
	auc_stop_at("move: piece");
	if (end.valid)
		move->last = end;
	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, began);
	auc_move_row_copied(move, *rows, (int64) bytes,
						(int64) INSTR_TIME_GET_MICROSEC(took));
	return end.valid;
}

/* ---- comparing ---- */

static void
add_sum(const AucPlace *place, const char *table, const char *range,
		AucShardSum *sum)
{
	StringInfoData sql;
	bool		isnull;

	initStringInfo(&sql);
	auc_shard_sum_of_table(&sql, table);
	(void) auc_place_run(place, "%s WHERE %s", sql.data, range);
	sum->rows += auc_place_int64(place, 0, 1, &isnull);
	sum->hash ^= auc_place_int64(place, 0, 2, &isnull);
}

bool
auc_move_verify_piece(AucShardMove *move, int limit)
{
	AucShardKey end = {0};
	AucShardSum from = {0};
	AucShardSum to = {0};
	char	   *range;

	find_end(move, limit, &end);
	range = between(&move->last, &end);
	add_sum(&move->from, auc_move_source_table(move), range, &from);
	for (int part = 0; part < auc_move_parts(move); part++)
		add_sum(&move->to, auc_move_part_table(move, part), range, &to);
	if (!auc_shard_sum_equal(&from, &to))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the copy of shard %d is not like the shard",
						move->shard),
				 errdetail("In one piece of it the source has %lld bids and the copy %lld.",
						   (long long) from.rows, (long long) to.rows),
				 errhint("Undo the move with auction.abort_move() and look at both.")));
	move->last = end;
	return end.valid;
}
