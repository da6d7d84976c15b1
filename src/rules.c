/*
 * rules.c: the rules of an auction.
 *
 * Every function here computes from its arguments alone: the auction as the
 * seller set it up, its state, one event and the event's time.  Nobody else
 * changes price, leader, bid count, last time or status of an open auction.
 *
 * Who calls, and what makes that safe: the state belongs to the caller.  On
 * route redis it is the router's own memory, on route table a copy of the row
 * that the backend holds locked.  Nothing is shared here, so nothing is
 * locked.
 *
 * A refused event leaves every byte of the state as it was, its last_at too.
 * So a caller needs no copy to go back to, and only accepted events are
 * records.  The checksum is not a rule's business: it covers a bid's request
 * id and attributes, which the rules do not see.  The caller adds the bid to
 * it, with auc_bid_checksum(), when the verdict says accepted.
 *
 * What the caller guarantees: amounts and start_price are 0..AUC_AMOUNT_MAX
 * and increment is at least 1 (checks of the table and of the SQL functions).
 *
 * If you change a rule, change the recomputation in the replay test, too: it
 * repeats the rules in SQL on purpose.
 */
#include <string.h>

#include "rules.h"

/*
 * Inside an auction time never runs backwards.  The clock of the machine may
 * be set back, and a bid may be handed over before another one but decided
 * after it; either way it counts as having come with the last change.
 */
static int64_t
clamp_time(int64_t at, const AucState *state)
{
	return at < state->last_at ? state->last_at : at;
}

/*
 * The first rule that refuses the bid, or AUC_REASON_NONE.  The order is part
 * of the rules: it decides which of several reasons a bidder is told.  "at" is
 * clamped already.
 */
static AucReason
refusal(const AucAuction *auction, int64_t user_id, int64_t amount,
		int64_t at, const AucState *state)
{
	/*
	 * Quarantined comes first: the state below is in doubt, so no other answer
	 * could be trusted.
	 */
	if (state->status == AUC_STATUS_QUARANTINED)
		return AUC_REASON_QUARANTINED;

	/*
	 * After the close nothing is accepted, whatever the clock says: an auction
	 * may be closed before ends_at.
	 */
	if (state->status != AUC_STATUS_OPEN)
		return AUC_REASON_CLOSED;

	/* The first moment that counts is starts_at itself. */
	if (at < auction->starts_at)
		return AUC_REASON_NOT_STARTED;

	/*
	 * ... and ends_at is the first that does not.  The close follows a little
	 * later, when the steward has seen that the auction is due; no bid gains
	 * from that delay.
	 */
	if (at >= state->ends_at)
		return AUC_REASON_CLOSED;

	/* Sellers do not drive the price of their own auctions. */
	if (user_id == auction->seller_id)
		return AUC_REASON_SELLER;

	/*
	 * The leader may raise his own bid, hence no look at leader_id.
	 *
	 * An amount above the range is refused by the callers with an error of its
	 * own and does not come here.  Should one come all the same, it must not
	 * become a price: the book could not hold it exactly, and its record could
	 * not be read back.
	 */
	if (amount < auc_rules_least(auction, state) || amount > AUC_AMOUNT_MAX)
		return AUC_REASON_TOO_LOW;

	return AUC_REASON_NONE;
}

/*
 * The state of an auction without bids.  Padding is zeroed, so that states can
 * be compared as bytes.
 */
void
auc_rules_init(const AucAuction *auction, int64_t ends_at, AucState *state)
{
	memset(state, 0, sizeof(*state));
	state->ends_at = ends_at;
	state->price = auction->start_price;
	state->status = AUC_STATUS_OPEN;
}

/*
 * Decides one bid and, if it is accepted, makes it part of the state.  The
 * verdict tells price, leader and end after the bid, also to whom is refused.
 */
void
auc_rules_bid(const AucAuction *auction, int64_t user_id, int64_t amount,
			  int64_t at, AucState *state, AucVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->at = clamp_time(at, state);
	verdict->reason = refusal(auction, user_id, amount, verdict->at, state);

	if (verdict->reason == AUC_REASON_NONE)
	{
		/* Kind open: the amount is the price. bid_no is 1..n, no gap. */
		state->price = amount;
		state->leader_id = user_id;
		state->bid_count++;
		state->last_at = verdict->at;

		verdict->accepted = true;
		verdict->bid_no = state->bid_count;
	}

	verdict->price = state->price;
	verdict->has_leader = state->bid_count > 0;
	if (verdict->has_leader)
		verdict->leader_id = state->leader_id;
	verdict->ends_at = state->ends_at;
}

/*
 * Closes the auction; false, and nothing changed, if it is not open.  Whether
 * it is time is the caller's question (auc_rules_due): an auction may be
 * closed early.  A quarantined one stays so: a DBA has yet to look at it.
 */
bool
auc_rules_close(int64_t at, AucState *state)
{
	if (state->status != AUC_STATUS_OPEN)
		return false;

	state->status = AUC_STATUS_CLOSED;
	state->last_at = clamp_time(at, state);
	return true;
}

/*
 * Is it time to close?  From the moment on from which bids are refused, so
 * that a due auction accepts nothing more.
 */
bool
auc_rules_due(const AucState *state, int64_t now)
{
	return state->status == AUC_STATUS_OPEN && now >= state->ends_at;
}

/*
 * The least amount that is acceptable: the start price for the first bid, then
 * a full step over the price, for the leader as for everybody else.
 *
 * An increment may be as large as a bigint.  The sum then ends at INT64_MAX,
 * which is above every amount: the auction takes no second bid.
 */
int64_t
auc_rules_least(const AucAuction *auction, const AucState *state)
{
	if (state->bid_count == 0)
		return auction->start_price;
	if (auction->increment > INT64_MAX - state->price)
		return INT64_MAX;
	return state->price + auction->increment;
}

/*
 * Names as SQL shows them.  The switches have no default, so that a compiler
 * names the one that lacks a new value.  A value that is none of its enum's
 * can only come from a damaged row; it is shown as "unknown".
 */

/* NULL for an accepted bid: bid_result.reason is null then. */
const char *
auc_reason_name(AucReason reason)
{
	switch (reason)
	{
		case AUC_REASON_NONE:
			return NULL;
		case AUC_REASON_UNKNOWN_AUCTION:
			return "unknown_auction";
		case AUC_REASON_NOT_STARTED:
			return "not_started";
		case AUC_REASON_CLOSED:
			return "closed";
		case AUC_REASON_QUARANTINED:
			return "quarantined";
		case AUC_REASON_SELLER:
			return "seller";
		case AUC_REASON_TOO_LOW:
			return "too_low";
	}
	return "unknown";
}

const char *
auc_status_name(AucStatus status)
{
	switch (status)
	{
		case AUC_STATUS_OPEN:
			return "open";
		case AUC_STATUS_CLOSED:
			return "closed";
		case AUC_STATUS_CONSOLIDATED:
			return "consolidated";
		case AUC_STATUS_QUARANTINED:
			return "quarantined";
	}
	return "unknown";
}

const char *
auc_route_name(AucRoute route)
{
	switch (route)
	{
		case AUC_ROUTE_TABLE:
			return "table";
		case AUC_ROUTE_REDIS:
			return "redis";
	}
	return "unknown";
}

const char *
auc_level_name(AucLevel level)
{
	switch (level)
	{
		case AUC_LEVEL_REDIS:
			return "redis";
		case AUC_LEVEL_JOURNAL:
			return "journal";
	}
	return "unknown";
}
