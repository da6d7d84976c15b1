/*
 * finish.c: see finish.h.
 *
 * A row may be written while its committed route is redis only by the drain
 * (rule 2).  So before anything else the auction's lock is taken, without
 * waiting for it, and the router is asked to let the auction go; with the lock
 * held it cannot load it again.  Only then the row is read and believed.
 * Nobody but this auction's (late) bidders can have to wait for that lock.
 *
 * An auction that is locked, or whose router does not answer, is left for the
 * next time: it stops no other.
 *
 * The cursor exists for the same reason: those that have to be left stand at
 * the head of the queue for a while.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "finish.h"
#include "lock.h"
#include "miscadmin.h"
#include "settings.h"
#include "shard.h"
#include "statement.h"
#include "steward_ask.h"
#include "storage/lock.h"
#include "store.h"
#include "utils/timestamp.h"
#include "verify.h"

#define PAGE(which) \
	"SELECT auction_id, lane_id, route, verified_at IS NOT NULL, " \
	" bid_count, closed_at FROM auction._state " \
	"WHERE status IN ('c', 'x') AND " which " IS NULL " \
	" AND (closed_at, auction_id) > ($1, $2) " \
	"ORDER BY closed_at, auction_id LIMIT $3"

static AucStatement closed_page = {
	.text = PAGE("consolidated_at"),
	.nargs = 3,.argtypes = {TIMESTAMPTZOID, INT8OID, INT8OID}
};
static AucStatement unverified_page = {
	.text = PAGE("verified_at"),
	.nargs = 3,.argtypes = {TIMESTAMPTZOID, INT8OID, INT8OID}
};
static AucStatement one_auction = {
	.text = "SELECT auction_id, lane_id, route, verified_at IS NOT NULL, "
	" CASE WHEN consolidated_at IS NULL THEN status ELSE 'h' END "
	"FROM auction._state WHERE auction_id = $1",
	.nargs = 1,.argtypes = {INT8OID}
};

void
auc_finish_start(AucFinishCursor *cursor)
{
	cursor->closed_at = DT_NOBEGIN;
	cursor->auction_id = PG_INT64_MIN;
}

/* The first four columns of either statement. */
static void
read_closed(uint64 row, AucClosed *auction)
{
	auction->auction_id = auc_statement_int64(row, 1);
	auction->lane_id = auc_statement_int32(row, 2);
	auction->on_redis = auc_statement_char(row, 3) == AUC_ROUTE_REDIS;
	auction->verified = auc_statement_bool(row, 4);
}

/*
 * Each auction costs an entry of the lock table, which all sessions share.
 */
int
auc_finish_max_locks(void)
{
	return max_locks_per_xact * (MaxBackends + max_prepared_xacts) / 4;
}

int
auc_finish_page(AucFinishCursor *cursor, bool unverified, AucClosed **auctions,
				bool *last)
{
	int			batch = Min(auc_guc_consolidate_batch,
							auc_finish_max_locks());
	AucClosed  *page = palloc(batch * sizeof(AucClosed));
	Datum		values[3];
	uint64		rows;
	int64		bids = 0;
	int			n = 0;

	SPI_connect();
	values[0] = TimestampTzGetDatum(cursor->closed_at);
	values[1] = Int64GetDatum(cursor->auction_id);
	values[2] = Int64GetDatum(batch);
	rows = auc_statement_run(unverified ? &unverified_page : &closed_page, values,
							 SPI_OK_SELECT);
	for (uint64 row = 0; row < rows; row++)
	{
		bids += auc_statement_int64(row, 5);
		if (n > 0 && bids > AUC_FINISH_MAX_BIDS)
			break;
		read_closed(row, &page[n++]);
		cursor->closed_at = auc_statement_int64(row, 6);
		cursor->auction_id = page[n - 1].auction_id;
	}
	*last = rows < (uint64) batch && (uint64) n == rows;
	SPI_finish();
	*auctions = page;
	return n;
}

char
auc_finish_find(int64 auction_id, AucClosed *auction)
{
	Datum		values[1];
	char		status = '\0';

	SPI_connect();
	values[0] = Int64GetDatum(auction_id);
	if (auc_statement_run(&one_auction, values, SPI_OK_SELECT) == 1)
	{
		read_closed(0, auction);
		status = auc_statement_char(0, 5);
	}
	SPI_finish();
	return status;
}

/* Those that could be locked, to the front. */
static int
lock_free_ones(int n, AucClosed *auctions)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (auc_lock_try(auctions[i].auction_id))
			auctions[kept++] = auctions[i];
	return kept;
}

/* released[i]: no router has auction i. */
static void
ask_release(int n, const AucClosed *auctions, bool *released)
{
	AucAsk	   *asks = palloc0(n * sizeof(AucAsk));
	int			nasks = 0;

	for (int i = 0; i < n; i++)
	{
		if (!auctions[i].on_redis)
			continue;
		asks[nasks].kind = AUC_REQUEST_RELEASE;
		asks[nasks].auction_id = auctions[i].auction_id;
		asks[nasks++].lane_id = auctions[i].lane_id;
	}
	auc_steward_ask(nasks, asks);
	nasks = 0;
	for (int i = 0; i < n; i++)
		released[i] = !auctions[i].on_redis ||
			asks[nasks++].answer == AUC_ANSWER_RESTING;
	pfree(asks);
}

int
auc_finish_rest(int n, AucClosed *auctions)
{
	int			locked = lock_free_ones(n, auctions);
	int			kept = 0;
	bool	   *released;
	AucStore   *store;

	if (locked == 0)
		return 0;
	released = palloc(locked * sizeof(bool));
	ask_release(locked, auctions, released);
	store = auc_store_open(false, AccessShareLock);
	for (int i = 0; i < locked; i++)
	{
		AucRow		row;

		if (released[i] &&
			auc_store_find(store, auctions[i].auction_id, NULL, &row) &&
			auc_finish_is_over(row.state.status) && !row.consolidated &&
			(row.route == AUC_ROUTE_REDIS) == auctions[i].on_redis)
		{
			auctions[kept] = auctions[i];
			/* a retraction may have come since it was read */
			auctions[kept++].verified = row.verified_at != 0;
		}
		else
			auc_lock_release(auctions[i].auction_id);
	}
	auc_store_close(store);
	pfree(released);
	return kept;
}

/* ids[]: of those whose "verified" is as asked for. */
static int
pick(int n, const AucClosed *auctions, bool verified, int64 *ids)
{
	int			picked = 0;

	for (int i = 0; i < n; i++)
		if (auctions[i].verified == verified)
			ids[picked++] = auctions[i].auction_id;
	return picked;
}

/* ids[] is a part of the auctions, in their order. */
static bool
is_next(const AucClosed *auction, int nids, const int64 *ids, int *next)
{
	if (*next == nids || ids[*next] != auction->auction_id)
		return false;
	(*next)++;
	return true;
}

int
auc_finish_verify(int n, AucClosed *auctions)
{
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int			nids = pick(n, auctions, false, ids);
	int			next = 0;
	int			kept = 0;

	nids = auc_verify_auctions(nids, ids);
	for (int i = 0; i < n; i++)
	{
		if (is_next(&auctions[i], nids, ids, &next))
			auctions[i].verified = true;
		if (auctions[i].verified)
			auctions[kept++] = auctions[i];
	}
	pfree(ids);
	return kept;
}

int
auc_finish_consolidate(int n, AucClosed *auctions)
{
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int			nids = pick(n, auctions, true, ids);
	int			next = 0;
	int			kept = 0;

	nids = auc_shard_consolidate(nids, ids);
	/* who finds a bid in history asks no more whether it is flushed */
	if (nids > 0)
		ForceSyncCommit();
	for (int i = 0; i < n; i++)
		if (is_next(&auctions[i], nids, ids, &next))
			auctions[kept++] = auctions[i];
	pfree(ids);
	return kept;
}
