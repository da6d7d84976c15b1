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
#include "refresh_note.h"
#include "relation.h"
#include "shm.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* Who and why are JSON text, for they may have come through the log. */
static AucStatement log_move = {
	.text = "INSERT INTO auction.route_log "
	"(at, auction_id, by_role, from_route, to_route, why, took) "
	"SELECT $2, $1, who ->> 'by', $5, $6, who ->> 'why', $2 - $3 "
	"FROM CAST($4 AS jsonb) AS who",
	.nargs = 6,.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID,
	TEXTOID, TEXTOID}
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
write_who(StringInfo text, AucMoveWhy why, const char *by)
{
	initStringInfo(text);
	appendStringInfo(text, "{\"why\": \"%s\", \"by\": ",
					 auc_move_why_name(why));
	escape_json(text, by);
	appendStringInfoChar(text, '}');
}

void
auc_move_log(const AucRow *row, TimestampTz began, const char *who,
			 size_t who_len)
{
	AucRoute	from = row->route == AUC_ROUTE_REDIS ?
	AUC_ROUTE_TABLE : AUC_ROUTE_REDIS;
	Datum		values[6];

	values[0] = Int64GetDatum(row->auction.id);
	values[1] = TimestampTzGetDatum(row->moved_at);
	values[2] = TimestampTzGetDatum(began);
	values[3] = PointerGetDatum(cstring_to_text_with_len(who, who_len));
	values[4] = CStringGetTextDatum(auc_route_name(from));
	values[5] = CStringGetTextDatum(auc_route_name(row->route));
	(void) auc_statement_run(&log_move, values, SPI_OK_INSERT);
}

void
auc_move_to_redis(AucStore *store, AucRow *row, AucMoveWhy why,
				  const char *by, TimestampTz began)
{
	bool		stale_keys = row->keys_left;
	StringInfoData who;

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
	write_who(&who, why, by);
	auc_move_log(row, began, who.data, who.len);
	/* keys of its last time there show what was true then */
	if (stale_keys)
		auc_refresh_note(row->auction.id);
	SPI_finish();

	/* what follows in this transaction sees it */
	CommandCounterIncrement();
}

void
auc_move_ask(AucAsk *ask, int64 auction_id, int lane_id, AucMoveWhy why,
			 const char *by)
{
	StringInfoData who;

	write_who(&who, why, by);
	memset(ask, 0, sizeof(*ask));
	ask->kind = AUC_REQUEST_MOVE;
	ask->auction_id = auction_id;
	ask->lane_id = lane_id;
	ask->attributes = who.data;
	ask->attributes_len = who.len;
}
