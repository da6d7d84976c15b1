/*
 * drain_dead.c: records that cannot be applied (rule 8).
 *
 * The record goes to dead_letters as the log has it, its auction becomes
 * quarantined in the same transaction, and the router is told by a notice
 * before "applied" moves, so that it refuses further bids and answers who
 * waits for one of this auction with "outcome unknown".
 */
#include "postgres.h"

#include "access/xact.h"
#include "drain.h"
#include "statement.h"
#include "utils/builtins.h"
#include "worker.h"

static AucStatement bury = {
	"INSERT INTO auction.dead_letters "
	"(lane_id, position, auction_id, record, sqlstate, message) "
	"VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT4OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID}
};

static AucStatement quarantine = {
	"UPDATE auction._state SET status = 'q', reason = $2, "
	" quarantined_from = status "
	"WHERE auction_id = $1 AND status <> 'q'",
	2, {INT8OID, TEXTOID}
};

/*
 * Data exceptions and violated constraints.  What else goes wrong says nothing
 * about the record: another attempt may succeed.
 */
bool
auc_drain_is_own_fault(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
}

void
auc_drain_bury(AucDrainLane *dl, const AucRecord *record, int sqlerrcode,
			   const char *message)
{
	char		text[AUC_RECORD_TEXT_MAX];
	size_t		len = auc_record_encode(record, auc_tail_attributes(record),
										text);
	Datum		values[6];

	values[0] = Int32GetDatum(dl->lane_id);
	values[1] = Int64GetDatum((int64) record->position);
	values[2] = Int64GetDatum(record->auction_id);
	values[3] = PointerGetDatum(cstring_to_text_with_len(text, len));
	values[4] = CStringGetTextDatum(unpack_sql_state(sqlerrcode));
	values[5] = CStringGetTextDatum(message);
	(void) auc_statement_run(&bury, values, SPI_OK_INSERT);
}

static void
notify_router(AucLane *lane, const AucRecord *record)
{
	uint64		n = pg_atomic_read_u64(&lane->notices);

	lane->notice[n % AUC_LANE_NOTICES].auction_id = record->auction_id;
	lane->notice[n % AUC_LANE_NOTICES].from = record->position;
	pg_write_barrier();
	pg_atomic_write_u64(&lane->notices, n + 1);
	pg_write_barrier();
}

void
auc_drain_quarantine(AucDrainLane *dl, int index, const ErrorData *error)
{
	const AucRecord *record = dl->drain->batch.records[index];
	Datum		values[2];

	auc_worker_xact_begin("burying a record");
	SPI_connect();
	auc_drain_bury(dl, record, error->sqlerrcode, error->message);
	values[0] = Int64GetDatum(record->auction_id);
	values[1] = CStringGetTextDatum(psprintf("position " UINT64_FORMAT " could not be applied: %s",
											 record->position,
											 error->message));
	(void) auc_statement_run(&quarantine, values, SPI_OK_UPDATE);
	auc_drain_set_applied(dl, record->position);
	SPI_finish();
	auc_worker_xact_commit();
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("auction %lld is quarantined: position " UINT64_FORMAT " of lane %d could not be applied: %s",
					(long long) record->auction_id, record->position,
					dl->lane_id, error->message),
			 errdetail("The record is in auction.dead_letters, and so will be those of this auction that follow.")));
	notify_router(dl->lane, record);
	auc_drain_publish(dl, record->position, dl->drain->batch.ends[index]);
	auc_server_wake_router(dl->drain->server);
}
