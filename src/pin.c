/*
 * pin.c: pin_route and unpin_route.
 *
 * A pin is a row of auction._pins, in the caller's transaction.  It has no
 * foreign key, so that nothing an application can lock stands in its way; the
 * trigger that removes an auction removes its pin.
 *
 * Both write their row before they move the auction, and so have a transaction
 * id before: that is how the mover, which does not see the row before it is
 * committed, knows that it has to look once more (steward_move.c).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "argument.h"
#include "bid_args.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pin.h"
#include "relation.h"
#include "rest.h"
#include "rollout.h"
#include "route.h"
#include "statement.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(auction_pin_route);
PG_FUNCTION_INFO_V1(auction_unpin_route);

static AucStatement write_pin = {
	.text = "INSERT INTO auction._pins AS p "
	" (auction_id, route, pinned_at, pinned_by) "
	"VALUES ($1, $2, clock_timestamp(), $3) "
	"ON CONFLICT (auction_id) DO UPDATE SET route = $2, "
	" pinned_at = excluded.pinned_at, pinned_by = $3",
	.nargs = 3,.argtypes = {INT8OID, CHAROID, TEXTOID}
};
static AucStatement delete_pin = {
	.text = "DELETE FROM auction._pins WHERE auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};

/* ERROR if there is no such auction. */
static void
read_row(int64 auction_id, AucRow *row)
{
	AucStore   *store = auc_store_open(false, AccessShareLock);

	if (!auc_store_find(store, auction_id, NULL, row))
		auc_rest_unknown(auction_id);
	auc_store_close(store);
}

Datum
auction_pin_route(PG_FUNCTION_ARGS)
{
	int64		auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	Datum		name = auc_argument(fcinfo, 1, "route");
	AucRoute	route = auc_route_of_text(DatumGetTextPP(name));
	Datum		values[3];
	AucRow		row;

	auc_bid_prevent("auction.pin_route()");
	read_row(auction_id, &row);
	if (row.state.status != AUC_STATUS_OPEN)
		auc_rest_refuse(&row, "pinned");

	values[0] = Int64GetDatum(auction_id);
	values[1] = CharGetDatum((char) route);
	values[2] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(),
													  false));
	SPI_connect();
	(void) auc_statement_run(&write_pin, values, SPI_OK_INSERT);
	SPI_finish();
	PG_RETURN_BOOL(auc_route_set(auction_id, route, AUC_MOVE_PIN));
}

/* The rollout decides again, and at once, unless it leaves live auctions. */
static void
follow_rollout(int64 auction_id)
{
	AucRollout	rollout;
	AucRoute	route;

	if (!auc_rollout_read(&rollout) || !rollout.move_live)
		return;
	route = auc_rollout_route(&rollout, auction_id);
	if (route == AUC_ROUTE_TABLE || auc_rollout_possible())
		(void) auc_route_set(auction_id, route, AUC_MOVE_PIN);
}

Datum
auction_unpin_route(PG_FUNCTION_ARGS)
{
	int64		auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	Datum		values[] = {Int64GetDatum(auction_id)};
	bool		pinned;
	AucRow		row;

	auc_bid_prevent("auction.unpin_route()");
	read_row(auction_id, &row);
	SPI_connect();
	pinned = auc_statement_run(&delete_pin, values, SPI_OK_DELETE) > 0;
	SPI_finish();
	if (pinned && row.state.status == AUC_STATUS_OPEN)
		follow_rollout(auction_id);
	PG_RETURN_BOOL(pinned);
}

/*
 * Below SQL: who removes an auction has no privileges on pins.  Should the pin
 * be changed at the same time, it is looked for once more.
 */
void
auc_pin_remove(int64 auction_id)
{
	Relation	rel = auc_relation_open(AUC_REL_PINS, RowExclusiveLock);
	Oid			index = RelationGetPrimaryKeyIndex(rel);
	TM_Result	result = TM_Ok;
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(auction_id));
	do
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		SysScanDesc scan = systable_beginscan(rel, index, true, snapshot, 1,
											  &key);
		HeapTuple	tuple = systable_getnext(scan);
		TM_FailureData failure;

		result = tuple == NULL ? TM_Ok :
			table_tuple_delete(rel, &tuple->t_self, GetCurrentCommandId(true),
							   snapshot, InvalidSnapshot, true, &failure,
							   false);
		systable_endscan(scan);
		UnregisterSnapshot(snapshot);
	} while (result == TM_Updated);
	table_close(rel, NoLock);
}
