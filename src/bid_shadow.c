/*
 * bid_shadow.c: mirroring bids of route table, in the backend.
 *
 * What bid_table.c has decided is noted here, in memory that is there from the
 * start; when the transaction has committed, the notes are put into the queue
 * of a router (shm_shadow.h).  That happens while the auctions' locks are
 * still held, so the accepted bids of an auction are mirrored in their order;
 * a refused bid has given the lock back before, and may be overtaken.  The
 * router is woken behind the locks.  Nothing of it waits, throws or allocates;
 * what finds no room is dropped and counted.
 *
 * What is rolled back is not mirrored, neither a savepoint's bids nor a
 * transaction's, and so no bid that ended in an error; nor is a transaction
 * that is prepared.
 *
 * A refused bid on an auction without any accepted one is not mirrored,
 * either: until the first bid its seller may change what decides, so the
 * router could not know by what it was refused.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "bid_shadow.h"
#include "bucket.h"
#include "lane_pick.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_shadow.h"

#define SALT	"shadow"
/* Notes of one transaction: some 150 bids without attributes. */
#define NOTES_BYTES		(64 * 1024)

/* Followed by no more of the entry than AUC_SHADOW_SIZE. */
typedef struct Note
{
	SubTransactionId subid;		/* in which it was noted */
	int			server;
	AucShadowEntry entry;
} Note;

#define NOTE_SIZE(note) \
	MAXALIGN(offsetof(Note, entry) + AUC_SHADOW_SIZE(&(note)->entry))

static union
{
	char		bytes[NOTES_BYTES];
	int64		align;
}			notes;
static Size used = 0;
static int	wake = -1;			/* server whose router is to be woken */

static inline Note *
note_at(Size off)
{
	return (Note *) (notes.bytes + off);
}

/* ---- the end of transactions ---- */

static void
wake_router(void)
{
	if (wake >= 0)
		auc_shadow_wake(wake);
	wake = -1;
}

static void
push_notes(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Size		off = 0;

	while (off < used)
	{
		Note	   *note = note_at(off);

		off += NOTE_SIZE(note);
		note->entry.committed = now;
		if (!auc_shadow_push(note->server, &note->entry))
			continue;
		if (wake != note->server)
			wake_router();
		wake = note->server;
	}
	used = 0;
}

static void
drop_notes(void)
{
	for (Size off = 0; off < used; off += NOTE_SIZE(note_at(off)))
		auc_shadow_dropped(note_at(off)->server, 1);
	used = 0;
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (used > 0)
				push_notes();
			break;
		case XACT_EVENT_PREPARE:
			drop_notes();
			break;
		case XACT_EVENT_ABORT:
			used = 0;
			break;
		default:
			break;
	}
}

/*
 * Subtransactions are numbered as they start, and whatever starts before one
 * ends is within it.  So what was noted since it started, and only that, has
 * its number or a higher one, and lies at the end.
 */
static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent, void *arg)
{
	Size		off = 0;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (off < used && note_at(off)->subid < subid)
		off += NOTE_SIZE(note_at(off));
	used = off;
}

static void
release_resources(ResourceReleasePhase phase, bool is_commit,
				  bool is_top_level, void *arg)
{
	if (wake >= 0 && is_top_level && phase == RESOURCE_RELEASE_AFTER_LOCKS)
		wake_router();
}

/* Once a backend, before the first bid is noted. */
static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
	RegisterResourceReleaseCallback(release_resources, NULL);
	registered = true;
}

/* ---- lanes ---- */

/*
 * The lane the auction has, or would get; -1: there is none.  This database's
 * lanes are listed once, and again when any lane is bound or released.
 */
static int
find_lane(int64 auction_id, int lane_id)
{
	static int *lanes = NULL;
	static int	nlanes = 0;
	static uint32 bindings;

	if (lanes == NULL || bindings != auc_lane_bindings())
	{
		if (lanes == NULL)
			lanes = MemoryContextAlloc(TopMemoryContext,
									   auc_lane_count() * sizeof(int));
		bindings = auc_lane_bindings();
		nlanes = auc_lane_list(MyDatabaseId, lanes);
	}
	if (nlanes == 0)
		return -1;
	if (lane_id == 0)
		return lanes[auc_lane_choose(auction_id, nlanes)];
	for (int i = 0; i < nlanes; i++)
		if (auc_lane(lanes[i])->lane_id == lane_id)
			return lanes[i];
	return -1;
}

/* ---- a bid ---- */

TimestampTz
auc_shadow_bid_begins(int64 auction_id)
{
	if (auc_guc_shadow <= 0 || !auc_shm_available() ||
		auc_bucket(SALT, strlen(SALT), auction_id) >=
		auc_guc_shadow * AUC_BUCKETS / 100)
		return 0;
	return GetCurrentTimestamp();
}

static void
fill_entry(AucShadowEntry *entry, const AucBid *bid, const AucRow *row,
		   const AucState *before, const AucVerdict *verdict)
{
	entry->database = MyDatabaseId;
	entry->auction_id = bid->auction_id;
	entry->user_id = bid->user_id;
	entry->amount = bid->amount;
	entry->before = *before;
	entry->after = row->state;
	entry->verdict = *verdict;
	entry->buy_now = bid->buy_now;
	entry->has_request_id = bid->has_request_id;
	memcpy(entry->request_id, bid->request_id, sizeof(entry->request_id));
	entry->attributes_len = bid->attributes_len;
	if (bid->attributes_len > 0)
		memcpy(entry->attributes, bid->attributes, bid->attributes_len);
}

void
auc_shadow_bid_decided(const AucBid *bid, const AucRow *row,
					   const AucState *before, const AucVerdict *verdict,
					   TimestampTz at, TimestampTz began)
{
	int			lane;
	Note	   *note = note_at(used);

	if (began == 0 || (!verdict->accepted && before->bid_count == 0))
		return;
	lane = find_lane(bid->auction_id, row->lane_id);
	if (lane < 0)
		return;
	if (NOTES_BYTES - used < MAXALIGN(sizeof(Note)))
	{
		auc_shadow_dropped(auc_lane(lane)->server, 1);
		return;
	}
	register_callbacks();
	note->subid = GetCurrentSubTransactionId();
	note->server = auc_lane(lane)->server;
	note->entry.lane = lane;
	note->entry.at = at;
	note->entry.began = began;
	fill_entry(&note->entry, bid, row, before, verdict);
	used += NOTE_SIZE(note);
}
