/*
 * store.h: state rows and journal rows, read and written below SQL.
 *
 * Both routes, the router's loading, the drain and the steward go through
 * here.  Rows are read and written with the table and index access methods,
 * as logical replication applies changes: no planner, no triggers, no
 * privileges (nobody but the engine has any), but constraints are checked.
 *
 * Who may write: route table: whoever holds the auction's lock (lock.h); route
 * redis: the drain alone (rule 2).  So an update never meets a concurrent one;
 * if it does, that is an error.
 */
#ifndef AUC_STORE_H
#define AUC_STORE_H

#include "postgres.h"

#include "record.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

typedef struct AucRow
{
	AucAuction	auction;
	AucState	state;
	AucRoute	route;
	int64		moved_at;		/* last change of route; 0: none */
	int			lane_id;		/* 0: none yet */
	bool		keys_left;		/* Redis may still hold its keys */
	int64		verified_at;	/* its bids were found to agree with its state;
								 * 0: not yet */
	bool		consolidated;	/* its bids are in history */
	const char *increment_table;	/* create and replace: its name, or NULL */
	bool		own;			/* this transaction wrote the version found */
	ItemPointerData tid;		/* of the version that was read or written */
} AucRow;

typedef struct AucStore AucStore;

/*
 * Opens _state (and, if "journal", the journal) for the current transaction.
 * Allocated in CurrentMemoryContext.  auc_store_try_open never waits for a
 * lock: NULL if it would have to.
 */
extern AucStore *auc_store_open(bool journal, LOCKMODE mode);
extern AucStore *auc_store_try_open(bool journal, LOCKMODE mode);
extern void auc_store_close(AucStore *store);	/* keeps locks */

/*
 * By primary key under "snapshot" (NULL: a fresh one). false: no such row.
 * What is written through a store is visible to later finds only behind
 * CommandCounterIncrement(), which is the caller's to call.
 */
extern bool auc_store_find(AucStore *store, int64 auction_id,
						   Snapshot snapshot, AucRow *row);
/*
 * For a caller's transaction that keeps one snapshot: ERROR
 * (serialization_failure) if it cannot see the version that was read.
 */
extern void auc_store_check_snapshot(AucStore *store, AucRow *row);
/*
 * Writes row->state over the version at row->tid and sets tid to the new one.
 * closed_at is set to state.last_at when the status is first not open.  If
 * that version is no longer the newest, "chase" looks the row up by key and
 * goes on from there; else it is an ERROR (serialization_failure).
 */
extern void auc_store_write(AucStore *store, AucRow *row, bool chase);
/* The same, and route, lane_id, keys_left and moved_at. */
extern void auc_store_write_route(AucStore *store, AucRow *row, bool chase);
/*
 * For the triggers on auctions, under the auction's lock and at rest: a new
 * row (all of "row" but tid, which is set); all of "row" over the version at
 * row->tid; the end of it.
 */
extern void auc_store_create(AucStore *store, AucRow *row);
extern void auc_store_replace(AucStore *store, AucRow *row);
extern void auc_store_remove(AucStore *store, AucRow *row);
/*
 * Accepted bids, in one heap_multi_insert, constraints checked.  lane_id 0:
 * lane and position are NULL (route table).
 */
extern void auc_store_insert_bids(AucStore *store, int nrecords,
								  const AucRecord *const *records,
								  const char *const *attributes, int lane_id);

/* Which bid a request id is of. */
typedef struct AucRequestKey
{
	int64		auction_id;
	bool		any_user;		/* user_id is not given */
	int64		user_id;
	uint8		request_id[16];
} AucRequestKey;

typedef struct AucRequestBid
{
	int64		bid_no;
	int64		at;
	int			lane_id;		/* 0: it was decided on route table */
	uint64		position;
	TransactionId xid;			/* wrote the row; invalid: long ago */
} AucRequestBid;

/*
 * The accepted bid with the request id in the journal under "snapshot", which
 * is registered or SnapshotSelf (NULL: a fresh one), the first one if several
 * users gave the same; false: there is none.  Needs no store: a bid on route
 * redis reads nothing else.
 */
extern bool auc_store_find_request(const AucRequestKey *key, Snapshot snapshot,
								   AucRequestBid *bid);

/* A bid as it stands in the journal. */
typedef struct AucJournalBid
{
	int64		bid_no;
	int64		user_id;
	int64		amount;
	bool		retracted;
} AucJournalBid;

/*
 * The auction's next bids behind bid_no "after", in that order, at most
 * "room"; returns how many.  Only as many rows are read.
 */
extern int	auc_store_read_bids(AucStore *store, int64 auction_id,
								int64 after, int room, AucJournalBid *bids);

#endif							/* AUC_STORE_H */
