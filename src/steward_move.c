/*
 * steward_move.c: moves live auctions where their pins, or else the rollout,
 * want them.
 *
 * It goes over the open auctions by id, a page at a time, so that due auctions
 * never wait for more than a page (steward_close.c).  How those of a page are
 * moved is in steward_move_page.c; what could not be moved is passed over.
 *
 * Passes follow one another until one finds nothing to move and is the last:
 * a transaction that was under way when the rollout changed, or when a pass
 * moved something, may yet commit an auction, or a pin, that was made by what
 * was true before.  Such a transaction takes its id before it reads the
 * rollout (auc_rollout_route_of_new, pin.c).  So the next id to be given is
 * noted then, and a pass can only be the last if it began when all below it
 * had ended.
 *
 * All that is kept here is a place to go on from.  A steward that dies is
 * followed by one that begins with the first auction; a rollout with another
 * number, be it from roll_back() or the guard, has it begin anew with the next
 * page.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "finish.h"
#include "statement.h"
#include "steward_move.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Open auctions that one page looks at. */
#define LOOK_AT			1000
/* Between passes, when some auctions were passed over. */
#define PAUSE_MS		1000

static struct
{
	int64		number;			/* of the rollout; 0: none yet */
	int			pass;
	int64		cursor;			/* the last auction that was looked at */
	bool		found;			/* this pass found something to move ... */
	bool		passed_over;	/* ... and had to leave some of it */
	bool		early;			/* it began before all below xid had ended */
	bool		waiting;		/* only for that: the last pass found nothing */
	TransactionId xid;
	TimestampTz resume_at;
}			mover;

static AucStatement open_page = {
	.text = "SELECT s.auction_id, s.route, s.lane_id, p.route "
	"FROM auction._state s LEFT JOIN auction._pins p "
	" ON p.auction_id = s.auction_id "
	"WHERE s.status = 'o' AND s.auction_id > $1 "
	"ORDER BY s.auction_id LIMIT " CppAsString2(LOOK_AT),
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement forget_progress = {
	.text = "DELETE FROM auction._rollout_progress WHERE number <> $1",
	.nargs = 1,.argtypes = {INT8OID}
};
static AucStatement begin_progress = {
	.text = "INSERT INTO auction._rollout_progress (number, began_at) "
	"VALUES ($1, clock_timestamp()) ON CONFLICT (number) DO NOTHING",
	.nargs = 1,.argtypes = {INT8OID}
};

/* ---- passes ---- */

static void
begin_pass(void)
{
	mover.cursor = PG_INT64_MIN;
	mover.found = false;
	mover.passed_over = false;
}

/* Whoever has an id below, and is not done, may not know what is true now. */
static void
note_xid(void)
{
	mover.xid = ReadNextTransactionId();
	mover.waiting = false;
}

static void
begin_rollout(int64 number)
{
	mover.number = number;
	mover.pass = 0;
	mover.resume_at = 0;
	note_xid();
	begin_pass();
}

static void
pause_mover(void)
{
	mover.resume_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  PAUSE_MS);
}

static void
note(AucMovePage *page, bool done)
{
	auc_worker_xact_begin("noting how far auctions are moved");
	auc_steward_move_note(page, done);
	auc_worker_xact_commit();
}

static void
end_pass(AucMovePage *page)
{
	if (mover.found)
	{
		mover.pass++;
		note_xid();
		if (mover.passed_over)
			pause_mover();
	}
	else if (mover.early)
	{
		mover.waiting = true;
		pause_mover();
	}
	else
		note(page, true);
	begin_pass();
}

/* ---- a page of open auctions ---- */

static void
sort_out(AucMovePage *page, uint64 row)
{
	AucRoute	route = (AucRoute) auc_statement_char(row, 2);
	char		pin = auc_statement_char(row, 4);
	AucRoute	wanted;
	AucMoveItem *item;

	mover.cursor = auc_statement_int64(row, 1);
	wanted = pin != '\0' ? (AucRoute) pin :
		auc_rollout_route(&page->rollout, mover.cursor);
	if (wanted == route)
		return;
	if (wanted == AUC_ROUTE_REDIS)
		item = &page->to_redis[page->nto_redis++];
	else
		item = &page->to_table[page->nto_table++];
	item->auction_id = mover.cursor;
	item->lane_id = auc_statement_int32(row, 3);
}

/* Returns whether it is the last page. */
static bool
read_open(AucMovePage *page)
{
	Datum		values[] = {Int64GetDatum(mover.cursor)};
	int			room = Min(AUC_MOVE_TO_REDIS, auc_finish_max_locks());
	uint64		rows;
	uint64		row = 0;

	SPI_connect();
	rows = auc_statement_run(&open_page, values, SPI_OK_SELECT);
	while (row < rows && page->nto_redis < room &&
		   page->nto_table < AUC_MOVE_TO_TABLE)
		sort_out(page, row++);
	SPI_finish();
	if (page->nto_redis + page->nto_table > 0)
		mover.found = true;
	return row == rows && rows < LOOK_AT;
}

static void
start_progress(void)
{
	Datum		values[] = {Int64GetDatum(mover.number)};

	SPI_connect();
	(void) auc_statement_run(&forget_progress, values, SPI_OK_DELETE);
	(void) auc_statement_run(&begin_progress, values, SPI_OK_INSERT);
	SPI_finish();
}

/* Before the first page of a pass; false: it is too early for it. */
static bool
start_pass(void)
{
	mover.early = TransactionIdPrecedes(GetActiveSnapshot()->xmin, mover.xid);
	if (mover.pass == 0)
		start_progress();
	return !(mover.waiting && mover.early);
}

/*
 * The next page; false: there is nothing to do now.  The rollout is read with
 * each page: one that has changed, or is gone, stops the old one here.
 */
static bool
read_page(AucMovePage *page, bool *last)
{
	bool		ready = false;

	auc_worker_xact_begin("looking for auctions to move");
	if (auc_rollout_read(&page->rollout) &&
		page->rollout.number == mover.number && page->rollout.move_live)
	{
		/* a server that was detached may come back */
		ready = page->rollout.buckets == 0 || auc_rollout_possible();
		if (ready && mover.cursor == PG_INT64_MIN)
			ready = start_pass();
		if (ready)
			*last = read_open(page);
		else
			pause_mover();
	}
	page->pass = mover.pass;
	auc_worker_xact_commit();
	return ready;
}

static void
move_page(MemoryContext context, AucMovePage *page, bool last)
{
	auc_steward_move_to_redis(page);
	auc_steward_move_to_table(context, page);
	mover.passed_over |= page->passed_over;
	if (page->moved > 0 || page->failed > 0)
		note(page, false);
	if (page->nleft > 0)
		mover.cursor = page->to_redis[0].auction_id - 1;
	else if (last)
		end_pass(page);
}

bool
auc_steward_move(MemoryContext context, int64 number, TimestampTz now,
				 TimestampTz *next)
{
	AucMovePage *page;
	bool		last;

	if (number != mover.number)
		begin_rollout(number);
	if (now >= mover.resume_at)
	{
		page = MemoryContextAllocZero(context, sizeof(AucMovePage));
		if (read_page(page, &last))
			move_page(context, page, last);
	}
	*next = Min(*next, Max(now, mover.resume_at));
	return now >= mover.resume_at;
}
