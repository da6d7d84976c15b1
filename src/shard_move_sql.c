/*
 * shard_move_sql.c: move_shard, split_shard, abort_move and rebalance.
 *
 * They run in the caller's session, in transactions of their own: called with
 * none open, and by nobody else at the same time (a session lock on the
 * shard's move).
 */
#include "postgres.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lock.h"
#include "procedure.h"
#include "shard_move.h"
#include "statement.h"
#include "utils/datum.h"

PG_FUNCTION_INFO_V1(auction_move_shard);
PG_FUNCTION_INFO_V1(auction_split_shard);
PG_FUNCTION_INFO_V1(auction_abort_move);
PG_FUNCTION_INFO_V1(auction_rebalance);

/* Alone with the shard's move, whatever transactions come and go. */
static void
run_alone(AucShardMove *move, bool aborts, bool force)
{
	if (!auc_lock_move(move->shard))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("shard %d is being moved by another session",
						move->shard)));
	PG_TRY();
	{
		if (aborts)
			auc_move_abort(move, force);
		else
			auc_move_run(move);
	}
	PG_FINALLY();
	{
		auc_unlock_move(move->shard);
	}
	PG_END_TRY();
	auc_place_close(&move->from);
	auc_place_close(&move->to);
}

Datum
auction_move_shard(PG_FUNCTION_ARGS)
{
	AucShardMove move = {0};

	move.shard = DatumGetInt32(auc_argument(fcinfo, 0, "shard"));
	if (!PG_ARGISNULL(1))
		move.target = *PG_GETARG_NAME(1);
	auc_procedure_enter(fcinfo, "auction.move_shard()");
	run_alone(&move, false, false);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
auction_split_shard(PG_FUNCTION_ARGS)
{
	AucShardMove move = {0};

	move.shard = DatumGetInt32(auc_argument(fcinfo, 0, "shard"));
	move.splits = true;
	auc_procedure_enter(fcinfo, "auction.split_shard()");
	run_alone(&move, false, false);
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
auction_abort_move(PG_FUNCTION_ARGS)
{
	AucShardMove move = {0};
	bool		force;

	move.shard = DatumGetInt32(auc_argument(fcinfo, 0, "shard"));
	force = DatumGetBool(auc_argument(fcinfo, 1, "force"));
	auc_procedure_enter(fcinfo, "auction.abort_move()");
	run_alone(&move, true, force);
	SPI_finish();
	PG_RETURN_VOID();
}

/* The first move of the plan, as it is now; false: there is none. */
static bool
next_of_plan(Datum servers, bool all, AucShardMove *move)
{
	Oid			types[] = {NAMEARRAYOID};
	char		nulls[] = {all ? 'n' : ' '};
	AucCaller	caller;
	bool		found;

	auc_procedure_begin(&caller);
	if (SPI_execute_with_args("SELECT shard, target"
							  " FROM auction.rebalance_plan($1)"
							  " ORDER BY step LIMIT 1",
							  1, types, &servers, nulls, false, 0) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not make a plan")));
	found = SPI_processed > 0;
	if (found)
	{
		bool		isnull;
		Datum		target;

		memset(move, 0, sizeof(*move));
		move->shard = auc_statement_int32(0, 1);
		target = auc_statement_datum(0, 2, &isnull);
		if (!isnull)
			move->target = *DatumGetName(target);
	}
	auc_procedure_commit(&caller);
	return found;
}

/*
 * The plan is made anew after each move: sizes are not what they were, and a
 * plan that is followed always comes to its end.
 */
Datum
auction_rebalance(PG_FUNCTION_ARGS)
{
	bool		all = PG_ARGISNULL(0);
	AucShardMove move;
	Datum		servers = (Datum) 0;

	auc_procedure_enter(fcinfo, "auction.rebalance()");
	if (!all)
		servers = datumCopy(PG_GETARG_DATUM(0), false, -1);
	while (next_of_plan(servers, all, &move))
	{
		ereport(NOTICE,
				(errmsg("shard %d is being moved, to be %s", move.shard,
						auc_move_place(NameStr(move.target)))));
		run_alone(&move, false, false);
	}
	SPI_finish();
	PG_RETURN_VOID();
}
