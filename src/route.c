/*
 * route.c: set_route.
 *
 * To redis it takes the auction's lock, as a bid on route table does, and
 * keeps it to the end of the caller's transaction; the move is part of that.
 * To table it holds no lock while it waits for the router (rule 2), and the
 * move commits by itself.  Whichever way, the row is read again after each
 * step, and the loop ends when the row says the route that was asked for, or
 * has said so, or that the auction can have no other any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "argument.h"
#include "bid_args.h"
#include "bid_error.h"
#include "errors.h"
#include "fmgr.h"
#include "lock.h"
#include "miscadmin.h"
#include "rest.h"
#include "route.h"
#include "shm.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(auction_set_route);

typedef struct Wish
{
	int64		auction_id;
	AucMoveWhy	why;
	const char *by;
	TimestampTz began;
} Wish;

/* Under its lock, if "lock"; else as committed now. */
static void
find_row(AucStore *store, int64 auction_id, bool lock, AucRow *row)
{
	if (lock)
		auc_lock_acquire(auction_id);
	if (!auc_store_find(store, auction_id, NULL, row))
		auc_rest_unknown(auction_id);
}

/* false: under the lock the row is another one; the lock was given back. */
static bool
move_to_redis(AucStore *store, const Wish *wish)
{
	AucRow		row;

	find_row(store, wish->auction_id, true, &row);
	if (row.route != AUC_ROUTE_TABLE || row.state.status != AUC_STATUS_OPEN)
	{
		auc_lock_release(wish->auction_id);
		return false;
	}
	auc_store_check_snapshot(store, &row);
	auc_move_to_redis(store, &row, wish->why, wish->by, wish->began);
	return true;
}

/* For errors and cancels while the router has the request, or the drain. */
static void
may_complete(void *arg)
{
	const Wish *wish = arg;

	errcontext("moving auction %lld to route \"table\", which may still complete",
			   (long long) wish->auction_id);
}

/* Whether it was this request that moved it. */
static bool
wait_for_table(const AucRow *row, const Wish *wish)
{
	ErrorContextCallback context;
	AucAsk		ask;

	auc_move_ask(&ask, wish->auction_id, row->lane_id, wish->why, wish->by);
	ask.force = true;
	context.callback = may_complete;
	context.arg = (void *) wish;
	context.previous = error_context_stack;
	error_context_stack = &context;
	auc_bid_ask_patiently(&ask);
	switch (ask.answer)
	{
		case AUC_ANSWER_VERDICT:
			auc_bid_await_applied(wish->auction_id, row->lane_id,
								  ask.position);
			break;
		case AUC_ANSWER_MOVING:
		case AUC_ANSWER_RESTING:
			auc_bid_await_applied(wish->auction_id, row->lane_id, ask.until);
			break;
		case AUC_ANSWER_MOVED:
			break;
		default:
			/* nothing is under way, or it says itself that it may be */
			error_context_stack = context.previous;
			auc_bid_not_done(wish->auction_id, "moved", ask.answer);
	}
	error_context_stack = context.previous;
	return ask.answer == AUC_ANSWER_VERDICT;
}

static bool
move_to_table(const AucRow *row, const Wish *wish)
{
	auc_shm_require("moving an auction from route \"redis\"");
	if (row->own || auc_lock_held(wish->auction_id))
		ereport(ERROR,
				(errcode(AUC_ERRCODE_WAITS_FOR_ITSELF),
				 errmsg("auction %lld was created or changed in this transaction",
						(long long) wish->auction_id),
				 errdetail("Its router can move it only after this transaction has ended."),
				 errhint("Commit first.")));
	return wait_for_table(row, wish);
}

/* The caller may believe that ROLLBACK undoes it. */
static void
notice_done(int64 auction_id)
{
	if (IsTransactionBlock())
		ereport(NOTICE,
				(errmsg("auction %lld is on route \"table\" now, whatever becomes of this transaction",
						(long long) auction_id)));
}

bool
auc_route_set(int64 auction_id, AucRoute route, AucMoveWhy why)
{
	Wish		wish;
	bool		moved = false;

	wish.auction_id = auction_id;
	wish.why = why;
	wish.by = GetUserNameFromId(GetSessionUserId(), false);
	wish.began = GetCurrentTimestamp();
	for (;;)
	{
		AucStore   *store = auc_store_open(false, RowExclusiveLock);
		AucRow		row;
		bool		done;

		CHECK_FOR_INTERRUPTS();
		find_row(store, auction_id, false, &row);
		/* moved: somebody else may have moved it back by now */
		done = row.route == route ||
			(moved && row.state.status != AUC_STATUS_QUARANTINED);
		if (!done && row.state.status != AUC_STATUS_OPEN)
			auc_rest_refuse(&row, "moved");
		if (!done && route == AUC_ROUTE_REDIS)
			done = moved = move_to_redis(store, &wish);
		auc_store_close(store);
		if (done)
			break;
		if (route == AUC_ROUTE_TABLE)
			moved = move_to_table(&row, &wish);
	}
	if (moved && route == AUC_ROUTE_TABLE)
		notice_done(auction_id);
	return moved;
}

AucRoute
auc_route_of_text(text *name)
{
	char	   *word = text_to_cstring(name);

	if (strcmp(word, auc_route_name(AUC_ROUTE_TABLE)) == 0)
		return AUC_ROUTE_TABLE;
	if (strcmp(word, auc_route_name(AUC_ROUTE_REDIS)) == 0)
		return AUC_ROUTE_REDIS;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid route \"%s\"", word),
			 errhint("A route is \"table\" or \"redis\".")));
}

Datum
auction_set_route(PG_FUNCTION_ARGS)
{
	int64		auction_id;
	Datum		route;

	auc_bid_prevent("auction.set_route()");
	auction_id = DatumGetInt64(auc_argument(fcinfo, 0, "auction_id"));
	route = auc_argument(fcinfo, 1, "route");
	PG_RETURN_BOOL(auc_route_set(auction_id,
								 auc_route_of_text(DatumGetTextPP(route)),
								 AUC_MOVE_MANUAL));
}
