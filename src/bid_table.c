/*
 * bid_table.c: route table, a bid in the transaction of its caller.
 *
 * The auction's lock (lock.h) comes first; all bids on the auction queue
 * there, and whoever has it reads the row with a fresh snapshot, so that it
 * sees what the one before committed, asks the rules, and writes row and
 * journal.  An accepted bid keeps the lock until its transaction ends, for
 * its row is not committed before; a refused one changed nothing and gives it
 * back.
 *
 * The row's own lock is never waited for: who else could hold it, the drain,
 * writes the row only while the route is redis, and then nothing is done here.
 *
 * Subtransactions: lock, row and journal row are given back together by
 * ROLLBACK TO.  The lock is counted, so that giving it back here (route
 * changed) leaves what an earlier bid of the transaction holds.
 *
 * A request id is looked for under the lock, which is what keeps two bids with
 * the same one apart; what is found is told again, and changes nothing.
 *
 * REPEATABLE READ and SERIALIZABLE: a bid that depends on a row its
 * transaction can not see would be a lost update; it is a serialization
 * failure, as an UPDATE of the row would be.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "bid_request.h"
#include "bid_shadow.h"
#include "bid_table.h"
#include "lock.h"
#include "record.h"
#include "store.h"

/* The accepted bid becomes part of row and journal. */
static void
write_bid(AucStore *store, AucRow *row, const AucBid *bid,
		  const AucVerdict *verdict)
{
	AucRecord	record;
	const AucRecord *records = &record;

	memset(&record, 0, sizeof(record));
	record.auction_id = bid->auction_id;
	record.user_id = bid->user_id;
	record.amount = bid->amount;
	record.has_request_id = bid->has_request_id;
	memcpy(record.request_id, bid->request_id, sizeof(record.request_id));
	record.attributes_len = bid->attributes_len;
	auc_record_accept(&record, &row->auction, verdict, bid->buy_now,
					  bid->attributes, &row->state);
	auc_store_write(store, row, false);
	auc_store_insert_bids(store, 1, &records, &bid->attributes, 0);

	/* Later bids of this transaction, and its queries, see this one. */
	CommandCounterIncrement();
}

/* Rule 16.  Has given store and lock back if it is a repeat. */
static bool
accepted_before(AucStore *store, const AucRow *row, const AucBid *bid,
				AucBidResult *result)
{
	AucRequestKey key;
	AucRequestBid found;

	auc_request_key(bid, &key);
	if (!auc_request_look_in(row, &key, &found))
		return false;
	auc_request_repeat(row, &found, result);
	auc_store_close(store);
	auc_lock_release(bid->auction_id);
	auc_request_await_flushed(bid->auction_id, &found);
	return true;
}

bool
auc_table_bid(const AucBid *bid, AucBidResult *result)
{
	TimestampTz began = auc_shadow_bid_begins(bid->auction_id);
	TimestampTz at;
	AucState	before;
	AucStore   *store;
	AucRow		row;

	auc_lock_acquire(bid->auction_id);
	store = auc_store_open(true, RowExclusiveLock);

	if (!auc_store_find(store, bid->auction_id, NULL, &row))
	{
		auc_store_close(store);
		auc_lock_release(bid->auction_id);
		memset(result, 0, sizeof(*result));
		result->verdict.reason = AUC_REASON_UNKNOWN_AUCTION;
		return true;
	}
	if (row.route != AUC_ROUTE_TABLE)
	{
		auc_store_close(store);
		auc_lock_release(bid->auction_id);
		return false;
	}

	if (bid->has_request_id && accepted_before(store, &row, bid, result))
		return true;
	auc_store_check_snapshot(store, &row);
	before = row.state;
	at = GetCurrentTimestamp();
	auc_rules_place(&row.auction, bid->buy_now, bid->user_id, bid->amount, at,
					&row.state, &result->verdict);
	result->route = AUC_ROUTE_TABLE;
	result->level = AUC_LEVEL_JOURNAL;
	result->repeated = false;
	if (result->verdict.accepted)
		write_bid(store, &row, bid, &result->verdict);
	auc_shadow_bid_decided(bid, &row, &before, &result->verdict, at, began);
	auc_store_close(store);
	if (!result->verdict.accepted)
		auc_lock_release(bid->auction_id);
	return true;
}

/* For a message about a refused bid, so the price is the verdict's. */
bool
auc_table_least(int64 auction_id, const AucVerdict *verdict, int64 *least)
{
	AucStore   *store = auc_store_open(false, AccessShareLock);
	AucRow		row;
	bool		found = auc_store_find(store, auction_id, NULL, &row);

	auc_store_close(store);
	if (!found)
		return false;
	row.state.price = verdict->price;
	row.state.has_leader = verdict->has_leader;
	*least = auc_rules_least(&row.auction, &row.state);
	return true;
}
