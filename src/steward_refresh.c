/*
 * steward_refresh.c: auctions that were changed at rest are shown in Redis
 * again.
 *
 * Who changes one leaves a row in auction._refresh, in the same transaction
 * (refresh_note.c).  A row goes when the router has shown the auction as it was
 * after that row was read; so a change that comes meanwhile, with a row of its
 * own, is not lost.  A lane that does not answer keeps its rows and holds up
 * nobody else's: the cursor passes them, and comes round.
 *
 * Only the steward asks for keys to be shown again, or removed, one after the
 * other: what is consolidated, and so perhaps removed, is not shown again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "statement.h"
#include "steward_ask.h"
#include "steward_close.h"
#include "worker.h"

#define PAGE	64

typedef struct Note
{
	int64		id;				/* the last of the auction's */
	int64		auction_id;
	int			lane_id;		/* 0: nothing to be shown */
} Note;

static int64 cursor = 0;

static AucStatement next_notes = {
	.text = "SELECT max(r.id), r.auction_id, s.lane_id FROM ("
	" SELECT id, auction_id FROM auction._refresh "
	" WHERE id > $1 ORDER BY id LIMIT " CppAsString2(PAGE) ") r "
	"LEFT JOIN auction._state s ON s.auction_id = r.auction_id "
	" AND s.route = 'r' AND s.consolidated_at IS NULL "
	"GROUP BY r.auction_id, s.lane_id ORDER BY 1",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement remove_notes = {
	.text = "DELETE FROM auction._refresh "
	"WHERE auction_id = ANY ($1) AND id <= $2",
	.nargs = 2,.argtypes = {INT8ARRAYOID, INT8OID}
};

static int
read_notes(Note *notes)
{
	Datum		values[] = {Int64GetDatum(cursor)};
	uint64		rows;

	auc_worker_xact_begin("showing changed auctions");
	SPI_connect();
	rows = auc_statement_run(&next_notes, values, SPI_OK_SELECT);
	for (uint64 row = 0; row < rows; row++)
	{
		notes[row].id = auc_statement_int64(row, 1);
		notes[row].auction_id = auc_statement_int64(row, 2);
		notes[row].lane_id = auc_statement_int32(row, 3);
		cursor = notes[row].id;
	}
	SPI_finish();
	auc_worker_xact_commit();
	return (int) rows;
}

/* MOVED: not on route redis any more, so nobody looks there. */
static bool
is_done(AucAnswerKind answer)
{
	return answer == AUC_ANSWER_VERDICT || answer == AUC_ANSWER_MOVED;
}

/* Notes up to "last" of these auctions; later ones are of later changes. */
static void
remove_done(int n, const int64 *auctions, int64 last)
{
	Datum		values[2];

	if (n == 0)
		return;
	auc_worker_xact_begin("showing changed auctions");
	SPI_connect();
	values[0] = auc_statement_ids(n, auctions);
	values[1] = Int64GetDatum(last);
	(void) auc_statement_run(&remove_notes, values, SPI_OK_DELETE);
	SPI_finish();
	auc_worker_xact_commit();
}

bool
auc_steward_refresh(MemoryContext context)
{
	Note		notes[PAGE];
	int64		done[PAGE];
	AucAsk	   *asks = MemoryContextAllocZero(context, PAGE * sizeof(AucAsk));
	int			n = read_notes(notes);
	int			nasks = 0;
	int			ndone = 0;

	for (int i = 0; i < n; i++)
	{
		if (notes[i].lane_id == 0)
			continue;
		asks[nasks].kind = AUC_REQUEST_REFRESH;
		asks[nasks].auction_id = notes[i].auction_id;
		asks[nasks++].lane_id = notes[i].lane_id;
	}
	auc_steward_ask(nasks, asks);
	nasks = 0;
	for (int i = 0; i < n; i++)
		if (notes[i].lane_id == 0 || is_done(asks[nasks++].answer))
			done[ndone++] = notes[i].auction_id;
	remove_done(ndone, done, cursor);
	if (n == 0)
		cursor = 0;
	return ndone > 0;
}
