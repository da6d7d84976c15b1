/*
 * drain_move.c: a move record is applied.
 *
 * The auction's row says route table from this transaction's commit on, and
 * from then on it is not the drain's any more (rule 2): whoever holds the
 * auction's lock writes it.  So the drain's copy of the row goes, and a record
 * that came behind the move would be a dead letter.  The route log is written
 * here, and not by who asked for the move: the move does not depend on what
 * becomes of him.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "drain.h"
#include "miscadmin.h"
#include "move.h"
#include "relation.h"
#include "shm_worker.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Who and why are JSON text, which came through the log. */
static AucStatement log_move = {
	.text = "INSERT INTO auction.route_log "
	"(at, auction_id, by_role, from_route, to_route, why, took) "
	"SELECT $2, $1, who ->> 'by', 'redis', 'table', who ->> 'why', $2 - $3 "
	"FROM CAST($4 AS jsonb) AS who",
	.nargs = 4,.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}
};

void
auc_drain_move(AucDrainLane *dl, AucDrainRow *entry, const AucRecord *record)
{
	Datum		values[4];
	TimestampTz now = GetCurrentTimestamp();

	entry->row.route = AUC_ROUTE_TABLE;
	entry->row.keys_left = true;
	entry->row.moved_at = now;
	entry->moved = true;
	dl->drain->moves[dl->drain->nmoves++] = record->auction_id;
	auc_relation_route_changed();

	values[0] = Int64GetDatum(record->auction_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(record->at);
	values[3] = PointerGetDatum(cstring_to_text_with_len(auc_tail_attributes(record),
														 record->attributes_len));
	(void) auc_statement_run(&log_move, values, SPI_OK_INSERT);
}

void
auc_drain_moved(AucDrainLane *dl)
{
	AucDrain   *drain = dl->drain;

	if (drain->nmoves == 0)
		return;
	for (int i = 0; i < drain->nmoves; i++)
		(void) hash_search(dl->rows, &drain->moves[i], HASH_REMOVE, NULL);
	drain->nmoves = 0;
	/* its keys in Redis are to go */
	auc_database_wake_steward(MyDatabaseId);
}
