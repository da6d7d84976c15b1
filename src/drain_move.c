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

#include "drain.h"
#include "miscadmin.h"
#include "move.h"
#include "relation.h"
#include "shm_worker.h"
#include "utils/timestamp.h"

void
auc_drain_move(AucDrainLane *dl, AucDrainRow *entry, const AucRecord *record)
{
	entry->row.route = AUC_ROUTE_TABLE;
	entry->row.keys_left = true;
	entry->row.moved_at = GetCurrentTimestamp();
	entry->moved = true;
	dl->drain->moves[dl->drain->nmoves++] = record->auction_id;
	auc_relation_route_changed();

	auc_move_log(&entry->row, record->at, auc_tail_attributes(record),
				 record->attributes_len);
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
