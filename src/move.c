/*
 * move.c: see move.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "lane_pick.h"
#include "move.h"
#include "relation.h"
#include "shm.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static AucStatement log_move = {
	.text = "INSERT INTO auction.route_log "
	"(at, auction_id, by_role, from_route, to_route, why, took) "
	"VALUES ($2, $1, $5, 'table', 'redis', $4, $2 - $3)",
	.nargs = 5,.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID,
	TEXTOID}
};
static AucStatement note_refresh = {
	.text = "INSERT INTO auction._refresh (auction_id) VALUES ($1)",
	.nargs = 1,.argtypes = {INT8OID}
};

const char *
auc_move_why_name(AucMoveWhy why)
{
	switch (why)
	{
		case AUC_MOVE_MANUAL:
			return "manual";
		case AUC_MOVE_PIN:
			return "pin";
		case AUC_MOVE_ROLLOUT:
			return "rollout";
		case AUC_MOVE_ROLL_BACK:
			return "roll_back";
		case AUC_MOVE_GUARD:
			return "guard";
	}
	return "unknown";
}

static int
find_lane(const AucRow *row)
{
	int			lane_id;

	/* detach_redis() holds a lock against this one while it looks (attach.c) */
	table_close(auc_relation_open(AUC_REL_AUCTIONS, RowExclusiveLock), NoLock);
	lane_id = auc_lane_keep(row->auction.id, row->lane_id);
	if (lane_id == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("auction %lld cannot be moved to route \"redis\"",
						(long long) row->auction.id),
				 errdetail("No Redis server is attached to this database."),
				 errhint("Attach one with auction.attach_redis().")));
	return lane_id;
}

static void
write_log(const AucRow *row, AucMoveWhy why, const char *by,
		  TimestampTz began)
{
	Datum		values[5];

	values[0] = Int64GetDatum(row->auction.id);
	values[1] = TimestampTzGetDatum(row->moved_at);
	values[2] = TimestampTzGetDatum(began);
	values[3] = CStringGetTextDatum(auc_move_why_name(why));
	values[4] = CStringGetTextDatum(by);
	(void) auc_statement_run(&log_move, values, SPI_OK_INSERT);
}

void
auc_move_to_redis(AucStore *store, AucRow *row, AucMoveWhy why,
				  const char *by, TimestampTz began)
{
	bool		stale_keys = row->keys_left;
	Datum		values[] = {Int64GetDatum(row->auction.id)};

	auc_shm_require("route \"redis\"");
	row->lane_id = find_lane(row);
	row->route = AUC_ROUTE_REDIS;
	row->keys_left = true;
	row->moved_at = GetCurrentTimestamp();

	/*
	 * As in rest.c: a router decides from the row once this commits, and its
	 * records must not outlive what they build on.
	 */
	ForceSyncCommit();
	auc_store_write_route(store, row, false);
	auc_relation_route_changed();

	SPI_connect();
	write_log(row, why, by, began);
	/* keys of its last time there show what was true then */
	if (stale_keys)
		(void) auc_statement_run(&note_refresh, values, SPI_OK_INSERT);
	SPI_finish();

	/* what follows in this transaction sees it */
	CommandCounterIncrement();
}

void
auc_move_ask(AucAsk *ask, int64 auction_id, int lane_id, AucMoveWhy why,
			 const char *by)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"why\": \"%s\", \"by\": ",
					 auc_move_why_name(why));
	escape_json(&text, by);
	appendStringInfoChar(&text, '}');

	memset(ask, 0, sizeof(*ask));
	ask->kind = AUC_REQUEST_MOVE;
	ask->auction_id = auction_id;
	ask->lane_id = lane_id;
	ask->attributes = text.data;
	ask->attributes_len = text.len;
}
