/*
 * router_sql.c: what the router reads and writes in PostgreSQL, beside the
 * state rows it loads.
 *
 * Terms and reserved positions are committed before they are used (rules 5 and
 * 10), in small transactions of their own, in a table that nobody else writes.
 * What a DBA writes is read where no lock is to be waited for.
 */
#include "postgres.h"

#include "access/table.h"
#include "errors.h"
#include "miscadmin.h"
#include "relation.h"
#include "router.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker.h"

static AucStatement read_lanes = {
	"SELECT l.id, l.lane, l.uuid::text, t.term, t.reserved, t.run_id "
	"FROM auction.lanes l JOIN auction._lane_terms t ON t.lane_id = l.id "
	"WHERE l.server = $1 ORDER BY l.lane",
	1, {NAMEOID}
};

static AucStatement store_term = {
	"UPDATE auction._lane_terms SET term = $2, run_id = $3, "
	"taken_at = clock_timestamp(), "
	"possible_loss_after = CASE WHEN $4 THEN $5 ELSE possible_loss_after END, "
	"possible_loss_at = CASE WHEN $4 THEN now() ELSE possible_loss_at END "
	"WHERE lane_id = $1",
	5, {INT4OID, INT8OID, TEXTOID, BOOLOID, INT8OID}
};

static AucStatement skip_decided = {
	"SELECT by_role, coalesce(reason, '') FROM auction.repair_log "
	"WHERE what = 'skip_gap' AND lane_id = $1 AND from_position = $2 "
	" AND to_position = $3 ORDER BY id DESC LIMIT 1",
	3, {INT4OID, INT8OID, INT8OID}
};

static AucStatement note_gap = {
	"UPDATE auction._lane_terms SET possible_loss_after = "
	"least(coalesce(possible_loss_after, $2), $2), possible_loss_at = now() "
	"WHERE lane_id = $1",
	2, {INT4OID, INT8OID}
};

static AucStatement reserve = {
	"UPDATE auction._lane_terms SET reserved = $2 WHERE lane_id = $1",
	2, {INT4OID, INT8OID}
};

static void
update_lane(AucRouterLane *rl, AucStatement *statement, Datum *values)
{
	values[0] = Int32GetDatum(rl->lane_id);
	if (auc_statement_run(statement, values, SPI_OK_UPDATE) != 1)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("lane %d is not in auction._lane_terms any more",
						rl->lane_id)));
}

static void
copy_text(uint64 row, int column, char *to, Size size)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	to[0] = '\0';
	if (!isnull)
		text_to_cstring_buffer(DatumGetTextPP(value), to, size);
}

static void
read_lane(AucRouter *router, AucRouterLane *rl, uint64 row)
{
	int			lane_id = auc_statement_int32(row, 1);
	int			index = auc_lane_find(MyDatabaseId, lane_id);
	char		uuid[40];

	if (index < 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("lane %d is not bound yet", lane_id)));
	rl->router = router;
	rl->index = index;
	rl->lane = auc_lane(index);
	rl->lane_id = lane_id;
	rl->number = auc_statement_int32(row, 2);
	copy_text(row, 3, uuid, sizeof(uuid));
	/* a copy of the database has the same uuid, and must not take the lane */
	snprintf(rl->identity, sizeof(rl->identity), "%s/%u", uuid, MyDatabaseId);
	rl->stored_term = auc_statement_int64(row, 4);
	rl->reserved = auc_statement_int64(row, 5);
	copy_text(row, 6, rl->stored_run_id, sizeof(rl->stored_run_id));
	rl->waiters = MemoryContextAlloc(router->context,
									 auc_slot_count() * sizeof(AucWaiter));
}

void
auc_router_read_lanes(AucRouter *router)
{
	Datum		values[] = {NameGetDatum(&router->server->name)};

	auc_worker_xact_begin("reading lanes");
	SPI_connect();
	router->nlanes = (int) auc_statement_run(&read_lanes, values,
											 SPI_OK_SELECT);
	router->lanes = MemoryContextAllocZero(router->context,
										   Max(router->nlanes, 1) *
										   sizeof(AucRouterLane));
	for (int i = 0; i < router->nlanes; i++)
		read_lane(router, &router->lanes[i], i);
	if (router->nlanes == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("server \"%s\" is not attached any more",
						NameStr(router->server->name))));
	SPI_finish();
	auc_worker_xact_commit();
}

void
auc_router_store_term(AucRouterLane *rl, bool possible_loss,
					  uint64 loss_after)
{
	const char *run_id = auc_redis_run_id(rl->router->redis);
	Datum		values[5];

	auc_worker_xact_begin("storing a term");
	SPI_connect();
	values[1] = Int64GetDatum((int64) rl->term);
	values[2] = CStringGetTextDatum(run_id);
	values[3] = BoolGetDatum(possible_loss);
	values[4] = Int64GetDatum((int64) loss_after);
	update_lane(rl, &store_term, values);
	SPI_finish();
	auc_worker_xact_commit();
	rl->stored_term = rl->term;
	strlcpy(rl->stored_run_id, run_id, sizeof(rl->stored_run_id));
}

/* Rule 5: committed before the first of them is given. */
void
auc_router_reserve(AucRouterLane *rl)
{
	uint64		upto = Max(rl->reserved, rl->writer.last) + AUC_POSITION_BLOCK;
	Datum		values[2];

	auc_worker_xact_begin("reserving positions");
	SPI_connect();
	values[1] = Int64GetDatum((int64) upto);
	update_lane(rl, &reserve, values);
	SPI_finish();
	auc_worker_xact_commit();
	rl->reserved = upto;
}

bool
auc_router_skip_decided(AucRouterLane *rl, uint64 from, uint64 to, char **by,
						char **reason)
{
	Datum		values[3];
	bool		isnull;
	bool		decided;
	Relation	log;

	auc_worker_xact_begin("looking at a gap");
	log = auc_relation_try_open(AUC_REL_REPAIR_LOG, AccessShareLock);
	if (log == NULL)
	{
		auc_worker_xact_commit();
		return false;
	}
	SPI_connect();
	values[0] = Int32GetDatum(rl->lane_id);
	values[1] = Int64GetDatum((int64) from);
	values[2] = Int64GetDatum((int64) to);
	decided = auc_statement_run(&skip_decided, values, SPI_OK_SELECT) == 1;
	if (decided)
	{
		*by = MemoryContextStrdup(rl->router->context,
								  TextDatumGetCString(auc_statement_datum(0, 1, &isnull)));
		*reason = MemoryContextStrdup(rl->router->context,
									  TextDatumGetCString(auc_statement_datum(0, 2, &isnull)));
		values[1] = Int64GetDatum((int64) from - 1);
		update_lane(rl, &note_gap, values);
	}
	SPI_finish();
	table_close(log, NoLock);
	auc_worker_xact_commit();
	return decided;
}
