/*
 * adopt.c: adopt_lanes(), a DBA's word on whose lanes these are.
 *
 * It writes down what is asked, in the caller's transaction, in a table that
 * it only adds to: the router, which reads it while one of its lanes is not
 * normal (router_adopt.c), never waits for a caller that does not commit.
 * A request is for the instance of PostgreSQL it was made on, so that a copy
 * of the database that has the row, too, makes no use of it; and it is of no
 * use any more once the lane was taken, or became normal, after it.
 */
#include "postgres.h"

#include "attach.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "owner.h"
#include "shm.h"
#include "shm_lane.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction_adopt_lanes);

static void
request(int lane_id, bool give_up_log, const char *role, TimestampTz at)
{
	static const char *const statement =
	"INSERT INTO auction._adoptions (lane_id, give_up_log, by_role, instance, at) "
	"VALUES ($1, $2, $3, $4, $5)";
	Oid			types[] = {INT4OID, BOOLOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	char		instance[17];
	Datum		values[5];

	snprintf(instance, sizeof(instance), "%016llx",
			 (unsigned long long) auc_shm_instance());
	values[0] = Int32GetDatum(lane_id);
	values[1] = BoolGetDatum(give_up_log);
	values[2] = CStringGetTextDatum(role);
	values[3] = CStringGetTextDatum(instance);
	values[4] = TimestampTzGetDatum(at);
	if (SPI_execute_with_args(statement, lengthof(types), types, values, NULL,
							  false, 0) != SPI_OK_INSERT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not write auction._adoptions")));
}

/* Returns how many of the server's lanes it was asked for. */
Datum
auction_adopt_lanes(PG_FUNCTION_ARGS)
{
	Name		name = PG_GETARG_NAME(0);
	bool		give_up_log = PG_GETARG_BOOL(1);
	const char *role = GetUserNameFromId(GetSessionUserId(), false);
	AucCaller	caller;
	TimestampTz at;
	Oid			serverid;
	int			lanes = 0;
	int			asked = 0;

	auc_attach_check_may_write("adopt_lanes()");
	serverid = auc_attach_lock_server(NameStr(*name), AUC_REDIS_WRAPPER);
	auc_owner_begin(&caller);
	/* before the states are looked at: what a router makes of them is later */
	at = GetCurrentTimestamp();
	for (int i = 0; i < auc_lane_count(); i++)
	{
		AucLane    *lane = auc_lane(i);

		if (!lane->bound || lane->dboid != MyDatabaseId ||
			auc_server(lane->server)->serverid != serverid)
			continue;
		lanes++;
		if (auc_lane_get_state(lane) == AUC_LANE_NORMAL ||
			auc_lane_get_state(lane) == AUC_LANE_RETURNING)
			continue;
		request(lane->lane_id, give_up_log, role, at);
		asked++;
	}
	auc_owner_end(&caller);
	if (lanes == 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_NOT_ATTACHED),
				 errmsg("server \"%s\" is not attached, or its workers have not started",
						NameStr(*name)),
				 errhint("Attached servers are in auction.lanes, workers in auction.stat_workers.")));
	PG_RETURN_INT32(asked);
}
