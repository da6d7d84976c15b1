/*
 * shard_move_row.c: the row of a move in auction._shard_moves.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "shard_move.h"
#include "statement.h"
#include "utils/builtins.h"

static AucStatement read_row = {
	.text = "SELECT modulus, splits, coalesce(source, ''), "
	" coalesce(target, ''), phase, last_user, last_auction, last_bid_no "
	"FROM auction._shard_moves WHERE shard = $1",
	.nargs = 1,.argtypes = {INT4OID},
	.latest = true
};
static AucStatement insert_row = {
	.text = "INSERT INTO auction._shard_moves (shard, modulus, splits, source, "
	" target, phase, rows_total) "
	"VALUES ($1, $2, $3, nullif($4, ''), nullif($5, ''), 'c', $6)",
	.nargs = 6,.argtypes = {INT4OID, INT4OID, BOOLOID, NAMEOID, NAMEOID, INT8OID}
};
static AucStatement set_phase = {
	.text = "UPDATE auction._shard_moves SET phase = $2 WHERE shard = $1",
	.nargs = 2,.argtypes = {INT4OID, CHAROID}
};
static AucStatement set_copied = {
	.text = "UPDATE auction._shard_moves SET "
	" last_user = CASE WHEN $8 THEN $2 END, "
	" last_auction = CASE WHEN $8 THEN $3 END, "
	" last_bid_no = CASE WHEN $8 THEN $4 END, "
	" rows_done = rows_done + $5, bytes_done = bytes_done + $6, "
	" copy_time = copy_time + $7 * interval '1 microsecond' "
	"WHERE shard = $1",
	.nargs = 8,.argtypes = {INT4OID, INT8OID, INT8OID, INT8OID, INT8OID,
	INT8OID, INT8OID, BOOLOID}
};
static AucStatement delete_row = {
	.text = "DELETE FROM auction._shard_moves WHERE shard = $1",
	.nargs = 1,.argtypes = {INT4OID}
};

bool
auc_move_row_read(int shard, AucShardMove *move)
{
	Datum		values[1];
	bool		isnull;

	values[0] = Int32GetDatum(shard);
	if (auc_statement_run(&read_row, values, SPI_OK_SELECT) == 0)
		return false;
	memset(move, 0, sizeof(*move));
	move->shard = shard;
	move->modulus = auc_statement_int32(0, 1);
	move->splits = auc_statement_bool(0, 2);
	namestrcpy(&move->source,
			   NameStr(*DatumGetName(auc_statement_datum(0, 3, &isnull))));
	namestrcpy(&move->target,
			   NameStr(*DatumGetName(auc_statement_datum(0, 4, &isnull))));
	move->phase = (AucMovePhase) auc_statement_char(0, 5);
	(void) auc_statement_datum(0, 6, &isnull);
	move->last.valid = !isnull;
	move->last.user_id = auc_statement_int64(0, 6);
	move->last.auction_id = auc_statement_int64(0, 7);
	move->last.bid_no = auc_statement_int64(0, 8);
	return true;
}

/* The row is ours alone, and there. */
static void
change(AucStatement *statement, Datum *values, int expected,
	   const AucShardMove *move)
{
	if (auc_statement_run(statement, values, expected) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the move of shard %d is over", move->shard),
				 errdetail("Somebody else has ended it.")));
}

void
auc_move_row_insert(const AucShardMove *move, int64 rows_total)
{
	Datum		values[6];

	values[0] = Int32GetDatum(move->shard);
	values[1] = Int32GetDatum(move->modulus);
	values[2] = BoolGetDatum(move->splits);
	values[3] = NameGetDatum(&move->source);
	values[4] = NameGetDatum(&move->target);
	values[5] = Int64GetDatum(rows_total);
	change(&insert_row, values, SPI_OK_INSERT, move);
}

void
auc_move_row_phase(AucShardMove *move, AucMovePhase phase)
{
	Datum		values[2];

	values[0] = Int32GetDatum(move->shard);
	values[1] = CharGetDatum((char) phase);
	change(&set_phase, values, SPI_OK_UPDATE, move);
	move->phase = phase;
}

void
auc_move_row_copied(const AucShardMove *move, int64 rows, int64 bytes,
					int64 microseconds)
{
	Datum		values[8];

	values[0] = Int32GetDatum(move->shard);
	values[1] = Int64GetDatum(move->last.user_id);
	values[2] = Int64GetDatum(move->last.auction_id);
	values[3] = Int64GetDatum(move->last.bid_no);
	values[4] = Int64GetDatum(rows);
	values[5] = Int64GetDatum(bytes);
	values[6] = Int64GetDatum(microseconds);
	values[7] = BoolGetDatum(move->last.valid);
	change(&set_copied, values, SPI_OK_UPDATE, move);
}

void
auc_move_row_delete(const AucShardMove *move)
{
	Datum		values[1];

	values[0] = Int32GetDatum(move->shard);
	change(&delete_row, values, SPI_OK_DELETE, move);
}
