/*
 * rules.c: the rules of an auction.
 *
 * Every function here computes from its arguments alone: the auction as the
 * seller set it up, its state, one event and the event's time.  Nobody else
 * changes price, leader, maxima, bid count, end, last time or status of an
 * open auction.
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
 * Price and leader are counted in two ways that must agree: bid by bid
 * (take_lead, take_second), which is what a live auction does, and from all
 * standing bids at once (auc_tally_*), which is what a retraction does and
 * what every closed auction is verified with.  test_property.c holds them
 * against each other.
 *
 * What the caller guarantees (trigger on auctions, checks of the SQL
 * functions): amounts are 0..AUC_AMOUNT_MAX, increments at least 1, an
 * increment table begins at 0 and rises, start_price <= reserve_price <=
 * buy_now_price, 0 < extend_window <= extend_by, which is no more than a year
 * or so, ends_at <= extend_limit.
 *
 * If you change a rule, change the table in README.md, and the recomputation
 * in the replay test, which repeats the rules in SQL on purpose.
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

/* For sums with an increment, which may be as large as a bigint. */
static int64_t
plus(int64_t amount, int64_t increment)
{
	return increment > INT64_MAX - amount ? INT64_MAX : amount + increment;
}

static int64_t
at_least(int64_t value, int64_t least)
{
	return value < least ? least : value;
}

static int64_t
at_most(int64_t value, int64_t most)
{
	return value > most ? most : value;
}


/*
 * Price.
 */

/*
 * The step over an amount: of the increment table's last row that begins at or
 * below it, else the auction's own.
 */
int64_t
auc_rules_increment(const AucAuction *auction, int64_t amount)
{
	const AucIncrements *increments = auction->increments;
	int			i;

	if (increments == NULL)
		return auction->increment;
	for (i = increments->n - 1; i > 0; i--)
		if (increments->step[i].from_price <= amount)
			break;
	return increments->step[i].increment;
}

/* An open auction's buy-now price ends it; "amount" reaches it. */
static bool
reaches_buy_now(const AucAuction *auction, int64_t amount)
{
	return auction->kind == AUC_KIND_OPEN &&
		auction->buy_now_price != AUC_NO_AMOUNT &&
		amount >= auction->buy_now_price;
}

/*
 * The visible price, from leader and maxima.  bought: the leader's amount is a
 * buy-now, which is a price and no maximum.
 *
 * Kind open: the leader's amount; at most the buy-now price, which nobody has
 * to pay more than.
 *
 * Kind proxy: one increment above the best of the others, as measured at that
 * amount; never more than the leader's own maximum, so a leader who is short
 * of a full increment shows his maximum, and a tie shows the tied amount; the
 * start price as long as there is one bidder.  A maximum that reaches the
 * reserve lifts the price to it, for it is the least that sells.
 */
static int64_t
price_of(const AucAuction *auction, const AucState *state, bool bought)
{
	int64_t		price = auction->start_price;

	if (!state->has_leader)
		return price;
	if (auction->kind == AUC_KIND_OPEN || bought)
		return reaches_buy_now(auction, state->leader_max) ?
			auction->buy_now_price : state->leader_max;

	if (state->second_max != AUC_NO_AMOUNT)
		price = at_least(at_most(state->leader_max,
								 plus(state->second_max,
									  auc_rules_increment(auction,
														  state->second_max))),
						 price);
	if (auction->reserve_price != AUC_NO_AMOUNT &&
		state->leader_max >= auction->reserve_price)
		price = at_least(price, auction->reserve_price);
	return price;
}

/*
 * Met once the visible price has reached it: an open bid that high, a maximum
 * that high (see price_of), a buy-now.  Not met at the close: nobody wins.
 */
AucReserve
auc_rules_reserve(const AucAuction *auction, const AucState *state)
{
	if (auction->reserve_price == AUC_NO_AMOUNT)
		return AUC_RESERVE_NONE;
	return state->has_leader && state->price >= auction->reserve_price ?
		AUC_RESERVE_MET : AUC_RESERVE_NOT_MET;
}

/*
 * The least amount that is acceptable from anybody but a proxy auction's
 * leader: the start price for the first bid, then a full step over the price,
 * measured at the visible price, so that nobody learns of a maximum by it.  In
 * an open auction the buy-now price is always enough, even if it is less than
 * a step away: it is all that can be paid.
 *
 * An increment may be as large as a bigint.  The sum then ends at INT64_MAX,
 * which is above every amount: the auction takes no second bid.
 */
int64_t
auc_rules_least(const AucAuction *auction, const AucState *state)
{
	int64_t		least = auction->start_price;

	if (state->has_leader)
		least = plus(state->price, auc_rules_increment(auction, state->price));
	if (reaches_buy_now(auction, least))
		least = auction->buy_now_price;
	return least;
}

/*
 * Buy now: until the first bid, or, where there is a reserve, until it is met.
 * Bids that were retracted do not count.
 */
bool
auc_rules_buy_available(const AucAuction *auction, const AucState *state)
{
	if (auction->buy_now_price == AUC_NO_AMOUNT ||
		state->status != AUC_STATUS_OPEN)
		return false;
	return !state->has_leader ||
		auc_rules_reserve(auction, state) == AUC_RESERVE_NOT_MET;
}


/*
 * Bids.
 */

/*
 * The first rule that refuses any bid or buy-now, or AUC_REASON_NONE.  The
 * order is part of the rules: it decides which of several reasons a bidder is
 * told.  "at" is clamped already.
 */
static AucReason
refusal(const AucAuction *auction, int64_t user_id, int64_t at,
		const AucState *state)
{
	/*
	 * Quarantined comes first: the state below is in doubt, so no other answer
	 * could be trusted.
	 */
	if (state->status == AUC_STATUS_QUARANTINED)
		return AUC_REASON_QUARANTINED;
	if (state->status == AUC_STATUS_CANCELLED)
		return AUC_REASON_CANCELLED;

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
	return AUC_REASON_NONE;
}

/*
 * Is the amount high enough?  The leader of a proxy auction may raise his
 * maximum by any amount, for that takes nothing from anybody; not lower it,
 * and naming it again is no bid.  The leader of an open auction raises his own
 * bid like anybody else.
 *
 * An amount above the range is refused by the callers with an error of its own
 * and does not come here.  Should one come all the same, it must not become a
 * price: the book could not hold it exactly, and its record could not be read
 * back.
 */
static AucReason
amount_refusal(const AucAuction *auction, int64_t user_id, int64_t amount,
			   const AucState *state)
{
	if (amount > AUC_AMOUNT_MAX)
		return AUC_REASON_TOO_LOW;
	if (auction->kind == AUC_KIND_PROXY && state->has_leader &&
		user_id == state->leader_id)
		return amount > state->leader_max ?
			AUC_REASON_NONE : AUC_REASON_ALREADY_LEADING;
	return amount < auc_rules_least(auction, state) ?
		AUC_REASON_TOO_LOW : AUC_REASON_NONE;
}

/* The best of the others is the old leader's, whatever was second before. */
static void
take_lead(AucState *state, int64_t user_id, int64_t amount)
{
	if (state->has_leader && state->leader_id != user_id)
		state->second_max = state->leader_max;
	state->has_leader = true;
	state->leader_id = user_id;
	state->leader_max = amount;
}

/*
 * A tie keeps the earlier bidder: only a higher amount takes the lead.  Kind
 * open has no second: amounts only rise there, and nothing depends on it.
 */
static void
count_bid(const AucAuction *auction, int64_t user_id, int64_t amount,
		  AucState *state)
{
	if (!state->has_leader || amount > state->leader_max)
		take_lead(state, user_id, amount);
	else if (user_id != state->leader_id)
		state->second_max = at_least(state->second_max, amount);
	if (auction->kind == AUC_KIND_OPEN)
		state->second_max = AUC_NO_AMOUNT;
}

/*
 * Soft close: an accepted bid in the last extend_window moves the end to
 * extend_by behind it, measured from the bid's time; never beyond
 * extend_limit, never to an earlier moment.  As extend_by is not less than the
 * window, after any bid in the window the auction has extend_by to run, until
 * the limit is reached.
 */
static void
extend(const AucAuction *auction, int64_t at, AucState *state)
{
	if (auction->extend_window > 0 &&
		state->ends_at - at <= auction->extend_window)
		state->ends_at = at_least(at_most(at + auction->extend_by,
										  auction->extend_limit),
								  state->ends_at);
}

/* bid_no is 1..n, no gap. */
static void
accept(AucState *state, AucVerdict *verdict)
{
	state->bid_count++;
	state->last_at = verdict->at;
	verdict->accepted = true;
	verdict->bid_no = state->bid_count;
}

static void
tell(const AucAuction *auction, const AucState *state, AucVerdict *verdict)
{
	verdict->price = state->price;
	verdict->has_leader = state->has_leader;
	if (verdict->has_leader)
		verdict->leader_id = state->leader_id;
	verdict->reserve = auc_rules_reserve(auction, state);
	verdict->ends_at = state->ends_at;
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
	state->leader_max = AUC_NO_AMOUNT;
	state->second_max = AUC_NO_AMOUNT;
	state->status = AUC_STATUS_OPEN;
}

/*
 * Decides one bid and, if it is accepted, makes it part of the state.  The
 * verdict tells price, leader, reserve and end after the bid, also to whom is
 * refused.  A bid of an open auction that reaches the buy-now price ends it.
 */
void
auc_rules_bid(const AucAuction *auction, int64_t user_id, int64_t amount,
			  int64_t at, AucState *state, AucVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->at = clamp_time(at, state);
	verdict->reason = refusal(auction, user_id, verdict->at, state);
	if (verdict->reason == AUC_REASON_NONE)
		verdict->reason = amount_refusal(auction, user_id, amount, state);

	if (verdict->reason == AUC_REASON_NONE)
	{
		count_bid(auction, user_id, amount, state);
		state->price = price_of(auction, state, false);
		accept(state, verdict);
		if (reaches_buy_now(auction, amount))
			state->status = AUC_STATUS_CLOSED;
		else
			extend(auction, verdict->at, state);
	}
	tell(auction, state, verdict);
}

/*
 * Decides one buy-now: the buyer leads at the buy-now price, and the auction
 * is over.  Whatever was bid before did not reach the reserve, which the
 * buy-now price does; so the buyer's amount is the best one, too.
 */
void
auc_rules_buy(const AucAuction *auction, int64_t user_id, int64_t at,
			  AucState *state, AucVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->at = clamp_time(at, state);
	verdict->reason = refusal(auction, user_id, verdict->at, state);
	if (verdict->reason == AUC_REASON_NONE &&
		!auc_rules_buy_available(auction, state))
		verdict->reason = AUC_REASON_NOT_AVAILABLE;

	if (verdict->reason == AUC_REASON_NONE)
	{
		count_bid(auction, user_id, auction->buy_now_price, state);
		state->price = price_of(auction, state, true);
		accept(state, verdict);
		state->status = AUC_STATUS_CLOSED;
	}
	tell(auction, state, verdict);
}

void
auc_rules_place(const AucAuction *auction, bool buy_now, int64_t user_id,
				int64_t amount, int64_t at, AucState *state,
				AucVerdict *verdict)
{
	if (buy_now)
		auc_rules_buy(auction, user_id, at, state, verdict);
	else
		auc_rules_bid(auction, user_id, amount, at, state, verdict);
}

/*
 * The verdict of a bid that was accepted before, told again: number and time
 * are those of then, what it tells of the auction is as in "state".
 */
void
auc_rules_repeat(const AucAuction *auction, const AucState *state,
				 int64_t bid_no, int64_t at, AucVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->accepted = true;
	verdict->bid_no = bid_no;
	verdict->at = at;
	tell(auction, state, verdict);
}


/*
 * Ending an auction.
 */

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
 * Cancels the auction: it has no winner, and takes no bids.  Price and leader
 * stay as they were.  false, and nothing changed, if it is neither open nor
 * closed; once it is consolidated it is too late.
 */
bool
auc_rules_cancel(int64_t at, AucState *state)
{
	if (state->status != AUC_STATUS_OPEN && state->status != AUC_STATUS_CLOSED)
		return false;

	state->status = AUC_STATUS_CANCELLED;
	state->last_at = clamp_time(at, state);
	return true;
}


/*
 * Retraction.
 */

/* As long as the result can still matter, and the bids are in the journal. */
bool
auc_rules_retractable(const AucState *state)
{
	return state->status == AUC_STATUS_OPEN ||
		state->status == AUC_STATUS_CLOSED;
}

/*
 * One bid is retracted; "left" are those that stand.  Price and leader become
 * what they would be had it never been placed; so this is the one event that
 * may lower the price (and where an increment table falls, with fewer amounts
 * to step over, may raise it).  An auction that is closed stays closed, also if
 * it was a buy-now that is retracted, and an end that was extended stays
 * extended.
 */
void
auc_rules_retract(const AucAuction *auction, const AucTally *left, int64_t at,
				  AucState *state)
{
	state->retracted++;
	state->last_at = clamp_time(at, state);
	auc_tally_settle(auction, left, state);
}

void
auc_tally_init(AucTally *tally)
{
	memset(tally, 0, sizeof(*tally));
	tally->best[0].max = AUC_NO_AMOUNT;
	tally->best[1].max = AUC_NO_AMOUNT;
}

/* Higher; of equals the earlier. */
static bool
is_better(const AucTallied *a, const AucTallied *b)
{
	return a->max > b->max || (a->max == b->max && a->bid_no < b->bid_no);
}

/*
 * Each bidder counts with his best bid.  Two bidders are enough to remember: a
 * bidder who is dropped comes back only with an amount that beats one of them,
 * and then that amount is his best.
 */
void
auc_tally_add(AucTally *tally, int64_t user_id, int64_t amount,
			  int64_t bid_no, bool buy_now)
{
	AucTallied	one = {user_id, amount, bid_no, buy_now};
	AucTallied *first = &tally->best[0];
	AucTallied *second = &tally->best[1];

	if (first->max == AUC_NO_AMOUNT || user_id == first->user_id)
	{
		if (is_better(&one, first))
			*first = one;
	}
	else if (is_better(&one, first))
	{
		*second = *first;
		*first = one;
	}
	else if (is_better(&one, second))
		*second = one;
}

void
auc_tally_settle(const AucAuction *auction, const AucTally *tally,
				 AucState *state)
{
	const AucTallied *leader = &tally->best[0];

	state->has_leader = leader->max != AUC_NO_AMOUNT;
	state->leader_id = state->has_leader ? leader->user_id : 0;
	state->leader_max = leader->max;
	state->second_max = auction->kind == AUC_KIND_OPEN ?
		AUC_NO_AMOUNT : tally->best[1].max;
	state->price = price_of(auction, state, leader->buy_now);
}
