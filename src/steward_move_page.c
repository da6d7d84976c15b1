/*
 * steward_move_page.c: moves the auctions of a page.
 *
 *   table -> redis   one transaction a page.  An auction's lock is only tried:
 *                    one that is held is passed over.  From the second pass
 *                    on such an auction is waited for, in a transaction of its
 *                    own and only so long: under a constant burst of bids the
 *                    lock is never free to be tried.
 *   redis -> table   the routers are asked, outside a transaction and without
 *                    locks (rule 21); then the page waits to be applied.  The
 *                    auctions of a lane that is behind are passed over until
 *                    it has come up, so that not more than a page of them has
 *                    bids that wait for it; those of a lane whose drain is held
 *                    until it is not.
 */
#include "postgres.h"

#include <signal.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lock.h"
#include "miscadmin.h"
#include "move.h"
#include "relation.h"
#include "shm_lane.h"
#include "statement.h"
#include "steward_ask.h"
#include "steward_move.h"
#include "store.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

/* A page waits so long to be applied. */
#define APPLY_MS		300
/* For one lock; doubles with each pass. */
#define PATIENCE_MS		100
#define PATIENCE_MAX_MS	800
/* For all locks of a page, but for the first. */
#define PATIENCE_ALL_MS	300

/* How far a lane must be applied before more is moved off it. */
typedef struct Behind
{
	int			lane_id;
	uint64		position;
} Behind;

static Behind *behind = NULL;
static int	nbehind = 0;

static AucStatement note_progress = {
	.text = "UPDATE auction._rollout_progress SET moved = moved + $2, "
	" failed = failed + $3, "
	" last_at = CASE WHEN $2 > 0 THEN clock_timestamp() ELSE last_at END, "
	" done_at = CASE WHEN $4 THEN clock_timestamp() END "
	"WHERE number = $1",
	.nargs = 4,.argtypes = {INT8OID, INT4OID, INT4OID, BOOLOID}
};

void
auc_steward_move_note(AucMovePage *page, bool done)
{
	Datum		values[4];

	if (page->moved == 0 && page->failed == 0 && !done)
		return;
	SPI_connect();
	values[0] = Int64GetDatum(page->rollout.number);
	values[1] = Int32GetDatum(page->moved);
	values[2] = Int32GetDatum(page->failed);
	values[3] = BoolGetDatum(done);
	(void) auc_statement_run(&note_progress, values, SPI_OK_UPDATE);
	SPI_finish();
	page->moved = 0;
	page->failed = 0;
}

static void
pass_over(AucMovePage *page)
{
	page->failed++;
	page->passed_over = true;
}

/* ---- table -> redis ---- */

/* false: somebody holds the lock; true also if there is nothing to move. */
static bool
move_one(AucMovePage *page, AucStore *store, int64 auction_id, bool wait)
{
	TimestampTz began = GetCurrentTimestamp();
	AucRow		row;

	if (wait)
		auc_lock_acquire(auction_id);
	else if (!auc_lock_try(auction_id))
		return false;
	if (auc_store_find(store, auction_id, NULL, &row) &&
		row.route == AUC_ROUTE_TABLE && row.state.status == AUC_STATUS_OPEN)
	{
		auc_move_to_redis(store, &row, page->rollout.why,
						  page->rollout.set_by, began);
		page->moved++;
	}
	else
		auc_lock_release(auction_id);
	return true;
}

/*
 * Returns how many are left because their lock is held; to the front.  A move
 * locks the table auctions, too (move.c); as an application may have done so
 * itself, that is only tried, and then none of them moves.
 */
static int
move_free(AucMovePage *page)
{
	Relation	auctions;
	AucStore   *store;
	int			nheld = 0;

	auc_worker_xact_begin("moving auctions to route redis");
	auctions = auc_relation_try_open(AUC_REL_AUCTIONS, RowExclusiveLock);
	store = auc_store_open(false, RowExclusiveLock);
	for (int i = 0; i < page->nto_redis; i++)
	{
		if (auctions == NULL)
			pass_over(page);
		else if (!move_one(page, store, page->to_redis[i].auction_id, false))
			page->to_redis[nheld++] = page->to_redis[i];
	}
	auc_store_close(store);
	if (auctions != NULL)
		table_close(auctions, NoLock);
	auc_steward_move_note(page, false);
	auc_worker_xact_commit();
	return nheld;
}

static void
wait_and_move(AucMovePage *page, int64 auction_id, int patience)
{
	char		timeout[16];
	AucStore   *store;

	snprintf(timeout, sizeof(timeout), "%d", patience);
	auc_worker_xact_begin("moving an auction to route redis");
	(void) set_config_option("lock_timeout", timeout, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	store = auc_store_open(false, RowExclusiveLock);
	(void) move_one(page, store, auction_id, true);
	auc_store_close(store);
	auc_steward_move_note(page, false);
	auc_worker_xact_commit();
}

/*
 * Waits for the lock, not longer than "patience", in a transaction that has
 * nothing else.  A lock timeout reaches a process as SIGINT, which workers
 * ignore otherwise (rule 17); that this can be cancelled does no harm.
 */
static void
try_waiting(AucMovePage *page, int64 auction_id, int patience)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	pqsignal(SIGINT, StatementCancelHandler);
	PG_TRY();
	{
		wait_and_move(page, auction_id, patience);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
	}
	PG_END_TRY();
	pqsignal(SIGINT, SIG_IGN);
	QueryCancelPending = false;
	if (error == NULL)
		return;
	page->moved = 0;
	pass_over(page);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	FreeErrorData(error);
}

/* Those whose lock is held: as many as the page has time for. */
static void
move_held(AucMovePage *page, int nheld)
{
	int			patience = Min(PATIENCE_MS << Min(page->pass - 1, 10),
							   PATIENCE_MAX_MS);
	int			n = Min(nheld, Max(PATIENCE_ALL_MS / patience, 1));

	for (int i = 0; i < n; i++)
		try_waiting(page, page->to_redis[i].auction_id, patience);
	page->nleft = nheld - n;
	memmove(page->to_redis, page->to_redis + n,
			page->nleft * sizeof(AucMoveItem));
}

void
auc_steward_move_to_redis(AucMovePage *page)
{
	int			nheld;

	if (page->nto_redis == 0)
		return;
	nheld = move_free(page);
	if (page->pass > 0)
		move_held(page, nheld);
	else
		for (int i = 0; i < nheld; i++)
			pass_over(page);
}

/* ---- redis -> table ---- */

/* Is the lane applied up to there, or gone? */
static bool
is_applied(const Behind *lane, long timeout)
{
	int			index = auc_lane_find(MyDatabaseId, lane->lane_id);

	return index < 0 ||
		auc_lane_wait_applied(auc_lane(index), lane->position, timeout);
}

/* Waits for lanes that are behind, for all together so long. */
static void
await_lanes(long timeout)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													timeout);
	int			kept = 0;

	for (int i = 0; i < nbehind; i++)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   until);

		if (!is_applied(&behind[i], left))
			behind[kept++] = behind[i];
	}
	nbehind = kept;
	CHECK_FOR_INTERRUPTS();
}

static Behind *
find_behind(int lane_id)
{
	for (int i = 0; i < nbehind; i++)
		if (behind[i].lane_id == lane_id)
			return &behind[i];
	return NULL;
}

/* Bids would wait for the move as long as the drain is held. */
static bool
is_held(int lane_id)
{
	int			index = auc_lane_find(MyDatabaseId, lane_id);

	return index >= 0 && auc_lane_is_held(auc_lane(index), true);
}

/* The lane has a move at this position. */
static void
note_position(int lane_id, uint64 position)
{
	Behind	   *lane = find_behind(lane_id);

	if (behind == NULL)
		behind = MemoryContextAlloc(TopMemoryContext,
									auc_lane_count() * sizeof(Behind));
	if (lane == NULL)
	{
		if (nbehind == auc_lane_count())
			return;
		lane = &behind[nbehind++];
		lane->lane_id = lane_id;
		lane->position = 0;
	}
	lane->position = Max(lane->position, position);
}

/*
 * One that is over, or moved by somebody else, did not fail; but its row may
 * not say so yet, so there is no use in asking again at once.
 */
static void
take_answers(AucMovePage *page, int n, const AucAsk *asks)
{
	for (int i = 0; i < n; i++)
	{
		if (asks[i].answer == AUC_ANSWER_VERDICT)
		{
			note_position(asks[i].lane_id, asks[i].position);
			page->moved++;
		}
		else if (asks[i].answer == AUC_ANSWER_MOVED ||
				 asks[i].answer == AUC_ANSWER_MOVING ||
				 asks[i].answer == AUC_ANSWER_RESTING)
			page->passed_over = true;
		else
			pass_over(page);
	}
}

void
auc_steward_move_to_table(MemoryContext context, AucMovePage *page)
{
	AucAsk	   *asks;
	int			n = 0;

	if (page->nto_table == 0)
		return;
	asks = MemoryContextAllocZero(context, page->nto_table * sizeof(AucAsk));
	await_lanes(0);
	for (int i = 0; i < page->nto_table; i++)
	{
		const AucMoveItem *item = &page->to_table[i];

		if (is_held(item->lane_id) || find_behind(item->lane_id) != NULL)
			pass_over(page);
		else
			auc_move_ask(&asks[n++], item->auction_id, item->lane_id,
						 page->rollout.why, page->rollout.set_by);
	}
	auc_steward_ask(n, asks);
	take_answers(page, n, asks);
	await_lanes(APPLY_MS);
}
