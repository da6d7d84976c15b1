/*
 * rollout.c: see rollout.h.
 *
 * The row is read with the table access method, because who inserts an
 * auction has no privileges on it, and because a statement for each row of a
 * bulk load would cost more than the row.  It is written by a statement: that
 * is done seldom.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "bucket.h"
#include "hooks.h"
#include "lane_pick.h"
#include "lock.h"
#include "relation.h"
#include "rollout.h"
#include "shm.h"
#include "statement.h"

/* Columns of auction._rollout; see the install script. */
enum
{
	COL_ONE = 1,
	COL_NUMBER,
	COL_BUCKETS,
	COL_MOVE_LIVE,
	COL_WHY,
	COL_SALT,
	COL_SET_BY = 8
};

/*
 * The guard's mark is set by the guard, outlives roll_back(), and is cleared
 * by set_rollout().
 */
static AucStatement change_row = {
	.text = "INSERT INTO auction._rollout AS r (number, buckets, move_live, "
	" why, salt, set_at, set_by, guard_fired_at, guard_reason) "
	"VALUES (1, $1, $2, $3, $4, clock_timestamp(), $5, "
	" CASE $3 WHEN 'guard' THEN clock_timestamp() END, "
	" CASE $3 WHEN 'guard' THEN $6 END) "
	"ON CONFLICT (one) DO UPDATE SET number = r.number + 1, "
	" buckets = $1, move_live = $2, why = $3, salt = $4, "
	" set_at = excluded.set_at, set_by = $5, "
	" guard_fired_at = CASE $3 WHEN 'roll_back' THEN r.guard_fired_at "
	"  ELSE excluded.guard_fired_at END, "
	" guard_reason = CASE $3 WHEN 'roll_back' THEN r.guard_reason "
	"  ELSE excluded.guard_reason END",
	.nargs = 6,
	.argtypes = {INT4OID, BOOLOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
};
static AucStatement log_change = {
	.text = "INSERT INTO auction.route_log (by_role, why, detail) "
	"VALUES ($1, $2, $3)",
	.nargs = 3,.argtypes = {TEXTOID, TEXTOID, TEXTOID}
};

/* ---- reading ---- */

static Datum
column(TupleTableSlot *slot, int attnum)
{
	bool		isnull;

	return slot_getattr(slot, attnum, &isnull);
}

static AucMoveWhy
why_of(const char *name)
{
	if (strcmp(name, auc_move_why_name(AUC_MOVE_GUARD)) == 0)
		return AUC_MOVE_GUARD;
	if (strcmp(name, auc_move_why_name(AUC_MOVE_ROLL_BACK)) == 0)
		return AUC_MOVE_ROLL_BACK;
	return AUC_MOVE_ROLLOUT;
}

static void
parse(TupleTableSlot *slot, AucRollout *rollout)
{
	rollout->number = DatumGetInt64(column(slot, COL_NUMBER));
	rollout->buckets = DatumGetInt32(column(slot, COL_BUCKETS));
	rollout->move_live = DatumGetBool(column(slot, COL_MOVE_LIVE));
	rollout->why = why_of(TextDatumGetCString(column(slot, COL_WHY)));
	text_to_cstring_buffer(DatumGetTextPP(column(slot, COL_SET_BY)),
						   rollout->set_by, sizeof(rollout->set_by));
	text_to_cstring_buffer(DatumGetTextPP(column(slot, COL_SALT)),
						   rollout->salt, sizeof(rollout->salt));
}

bool
auc_rollout_read(AucRollout *rollout)
{
	Relation	rel = auc_relation_open(AUC_REL_ROLLOUT, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection,
											   slot);

	if (found)
		parse(slot, rollout);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

bool
auc_rollout_possible(void)
{
	return auc_shm_available() && auc_lane_pick(0) != 0;
}

AucRoute
auc_rollout_route(const AucRollout *rollout, int64 auction_id)
{
	return auc_bucket(rollout->salt, strlen(rollout->salt), auction_id) <
		rollout->buckets ? AUC_ROUTE_REDIS : AUC_ROUTE_TABLE;
}

AucRoute
auc_rollout_route_of_new(int64 auction_id)
{
	AucRollout	rollout;

	/* before the rollout is read: see steward_move.c */
	(void) GetCurrentTransactionId();
	if (auc_rollout_read(&rollout) &&
		auc_rollout_route(&rollout, auction_id) == AUC_ROUTE_REDIS &&
		auc_rollout_possible())
		return AUC_ROUTE_REDIS;
	return AUC_ROUTE_TABLE;
}

/* ---- changing ---- */

/* "20 %", "0.25 %" */
static const char *
percent(int buckets)
{
	if (buckets % 100 == 0)
		return psprintf("%d %%", buckets / 100);
	return psprintf("%d.%02d %%", buckets / 100, buckets % 100);
}

/* "rollout 5 % -> 20 %", and what else is to be known. */
static const char *
detail(const AucRollout *before, int buckets, bool move_live,
	   const char *salt, const char *reason)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "rollout %s -> %s",
					 percent(before == NULL ? 0 : before->buckets),
					 percent(buckets));
	if (strcmp(salt, before == NULL ? AUC_ROLLOUT_SALT : before->salt) != 0)
		appendStringInfo(&text, ", salt \"%s\"", salt);
	if (!move_live)
		appendStringInfoString(&text, ", live auctions stay");
	if (reason != NULL)
		appendStringInfo(&text, ": %s", reason);
	return text.data;
}

void
auc_rollout_change(int buckets, bool move_live, const char *salt,
				   AucMoveWhy why, const char *reason)
{
	AucRollout	before;
	bool		had = auc_rollout_read(&before);
	Datum		by;
	Datum		values[6];

	if (salt == NULL)
		salt = had ? before.salt : AUC_ROLLOUT_SALT;
	/* who called us, not whose rights we run with */
	by = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	SPI_connect();
	values[0] = Int32GetDatum(buckets);
	values[1] = BoolGetDatum(move_live);
	values[2] = CStringGetTextDatum(auc_move_why_name(why));
	values[3] = CStringGetTextDatum(salt);
	values[4] = by;
	values[5] = CStringGetTextDatum(reason == NULL ? "" : reason);
	(void) auc_statement_run(&change_row, values, SPI_OK_INSERT);
	values[0] = by;
	values[1] = CStringGetTextDatum(auc_move_why_name(why));
	values[2] = CStringGetTextDatum(detail(had ? &before : NULL, buckets,
										   move_live, salt, reason));
	(void) auc_statement_run(&log_change, values, SPI_OK_INSERT);
	SPI_finish();
	if (auc_shm_available())
		auc_hooks_rollout_changed();
}

bool
auc_rollout_roll_back(AucMoveWhy why, const char *reason)
{
	if (!auc_lock_rollout(why != AUC_MOVE_GUARD))
		return false;
	auc_rollout_change(0, true, NULL, why, reason);
	return true;
}
