/*
 * steward_keys.c: removes the keys of auctions that Redis shows no more.
 *
 * Those are the consolidated ones, and those that were moved to route table
 * (their keys would show an old price for ever).  The router deletes the keys;
 * then keys_left is cleared, under the auction's lock.  An auction that has
 * come back to Redis meanwhile keeps the mark: the router does not delete what
 * is live, and whether it came back and went again is seen by moved_at.
 *
 * What cannot be done now, because of a lock or a lane, is passed over by the
 * cursor and found again after it has come round.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lock.h"
#include "statement.h"
#include "steward_ask.h"
#include "steward_close.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "worker.h"

#define PAGE	64

typedef struct Left
{
	int64		auction_id;
	int			lane_id;		/* 0: attached no longer, so beyond our reach */
	TimestampTz moved_at;
} Left;

/* A place in the index _state_keys_left. */
static TimestampTz cursor_at = DT_NOBEGIN;
static int64 cursor_id = PG_INT64_MIN;

static AucStatement next_page = {
	.text = "SELECT s.auction_id, coalesce(s.consolidated_at, s.moved_at), "
	" l.id, coalesce(s.moved_at, '-infinity') "
	"FROM auction._state s LEFT JOIN auction.lanes l ON l.id = s.lane_id "
	"WHERE s.keys_left AND (s.consolidated_at IS NOT NULL OR s.route = 't') "
	" AND (coalesce(s.consolidated_at, s.moved_at), s.auction_id) > ($1, $2) "
	"ORDER BY coalesce(s.consolidated_at, s.moved_at), s.auction_id "
	"LIMIT " CppAsString2(PAGE),
	.nargs = 2,.argtypes = {TIMESTAMPTZOID, INT8OID}
};
static AucStatement clear = {
	.text = "UPDATE auction._state s SET keys_left = false "
	"FROM ROWS FROM (unnest($1), unnest($2)) AS gone (auction_id, moved_at) "
	"WHERE s.auction_id = gone.auction_id "
	" AND (s.consolidated_at IS NOT NULL OR s.route = 't') "
	" AND coalesce(s.moved_at, '-infinity') = gone.moved_at",
	.nargs = 2,.argtypes = {INT8ARRAYOID, TIMESTAMPTZARRAYOID}
};

static int
read_page(Left *left)
{
	Datum		values[2];
	uint64		rows;

	auc_worker_xact_begin("removing keys from Redis");
	SPI_connect();
	values[0] = TimestampTzGetDatum(cursor_at);
	values[1] = Int64GetDatum(cursor_id);
	rows = auc_statement_run(&next_page, values, SPI_OK_SELECT);
	for (uint64 row = 0; row < rows; row++)
	{
		left[row].auction_id = auc_statement_int64(row, 1);
		left[row].lane_id = auc_statement_int32(row, 3);
		left[row].moved_at = auc_statement_int64(row, 4);
		cursor_id = left[row].auction_id;
		cursor_at = auc_statement_int64(row, 2);
	}
	SPI_finish();
	auc_worker_xact_commit();
	return (int) rows;
}

static void
come_round(void)
{
	cursor_at = DT_NOBEGIN;
	cursor_id = PG_INT64_MIN;
}

static void
note_removed(int n, const Left *removed)
{
	int64		ids[PAGE];
	Datum		times[PAGE];
	Datum		values[2];
	int			nlocked = 0;

	auc_worker_xact_begin("removing keys from Redis");
	for (int i = 0; i < n; i++)
	{
		if (!auc_lock_try(removed[i].auction_id))
			continue;
		ids[nlocked] = removed[i].auction_id;
		times[nlocked++] = TimestampTzGetDatum(removed[i].moved_at);
	}
	SPI_connect();
	values[0] = auc_statement_ids(nlocked, ids);
	values[1] = PointerGetDatum(construct_array(times, nlocked,
												TIMESTAMPTZOID,
												sizeof(TimestampTz),
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	(void) auc_statement_run(&clear, values, SPI_OK_UPDATE);
	SPI_finish();
	auc_worker_xact_commit();
}

bool
auc_steward_remove_keys(MemoryContext context)
{
	Left		left[PAGE];
	int			n = read_page(left);
	int			nremoved = 0;
	int			nasks = 0;
	AucAsk	   *asks = MemoryContextAllocZero(context, PAGE * sizeof(AucAsk));

	for (int i = 0; i < n; i++)
	{
		if (left[i].lane_id == 0)
			continue;
		asks[nasks].kind = AUC_REQUEST_REMOVE;
		asks[nasks].auction_id = left[i].auction_id;
		asks[nasks++].lane_id = left[i].lane_id;
	}
	auc_steward_ask(nasks, asks);
	nasks = 0;
	for (int i = 0; i < n; i++)
		if (left[i].lane_id == 0 ||
			asks[nasks++].answer == AUC_ANSWER_VERDICT)
			left[nremoved++] = left[i];
	if (nremoved > 0)
		note_removed(nremoved, left);
	if (n < PAGE)
		come_round();
	return n == PAGE && nremoved > 0;
}
