/*
 * sale.h: one auction under test, and the bids that it accepted.
 *
 * A test sets it up with fresh() or proxy(), or with one of them, changes to
 * "sale" and restart(); then bids come in by bid(), refused() and so on.  What
 * was accepted is kept in "placed", for the bids that a retraction leaves.
 */
#ifndef AUC_TEST_SALE_H
#define AUC_TEST_SALE_H

#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define SELLER		INT64_C(1)
#define STARTS_AT	INT64_C(1000)
#define ENDS_AT		INT64_C(2000)
#define NOW			INT64_C(1500)
#define PLACED_MAX	100

/* Bidders, where it helps the reader to have names. */
#define ANN			INT64_C(7)
#define BOB			INT64_C(8)
#define CYD			INT64_C(9)

typedef struct Placed
{
	int64_t		user_id;
	int64_t		amount;
	bool		buy_now;
	bool		stands;			/* not retracted */
} Placed;

static const AucAuction plain_sale = {
	.id = 42,
	.seller_id = SELLER,
	.starts_at = STARTS_AT,
	.start_price = 100,
	.increment = 10,
	.reserve_price = AUC_NO_AMOUNT,
	.buy_now_price = AUC_NO_AMOUNT,
	.extend_limit = INT64_MAX,
	.kind = AUC_KIND_OPEN,
	.level = AUC_LEVEL_REDIS
};

/* eBay's in the United States, in cents. */
static const AucIncrements ebay_us = {
	.n = 10,
	.step = {
		{0, 5}, {100, 25}, {500, 50}, {2500, 100}, {10000, 250},
		{25000, 500}, {50000, 1000}, {100000, 2500}, {250000, 5000},
		{500000, 10000}
	}
};

static AucAuction sale;
static AucState state;
static AucVerdict verdict;		/* of the last bid or buy-now */
static Placed placed[PLACED_MAX + 1];	/* by bid_no */

/* The sale as it is set up now, without bids. */
static inline void
restart(void)
{
	auc_rules_init(&sale, ENDS_AT, &state);
}

static inline void
fresh(void)
{
	sale = plain_sale;
	restart();
}

static inline void
proxy_with(int64_t reserve_price, int64_t buy_now_price)
{
	fresh();
	sale.kind = AUC_KIND_PROXY;
	sale.reserve_price = reserve_price;
	sale.buy_now_price = buy_now_price;
	restart();
}

static inline void
proxy(void)
{
	proxy_with(AUC_NO_AMOUNT, AUC_NO_AMOUNT);
}

/* What a bidder is told is what the auction is. */
static inline bool
verdict_agrees(void)
{
	return verdict.price == state.price &&
		verdict.has_leader == state.has_leader &&
		verdict.leader_id == state.leader_id &&
		verdict.ends_at == state.ends_at &&
		verdict.reserve == auc_rules_reserve(&sale, &state) &&
		verdict.accepted == (verdict.reason == AUC_REASON_NONE) &&
		verdict.bid_no == (verdict.accepted ? state.bid_count : 0);
}

static inline bool
note(int64_t user_id, int64_t amount, bool buy_now)
{
	Placed		one = {user_id, amount, buy_now, true};

	if (!verdict.accepted)
		return false;
	if (state.bid_count < 1 || state.bid_count > PLACED_MAX)
		abort();
	placed[state.bid_count] = one;
	return true;
}

/* A bid on the sale; true if it is accepted. */
static inline bool
bid(int64_t user_id, int64_t amount, int64_t at)
{
	auc_rules_bid(&sale, user_id, amount, at, &state, &verdict);
	return note(user_id, amount, false) && verdict_agrees();
}

/* The same for a buy-now. */
static inline bool
buy(int64_t user_id, int64_t at)
{
	auc_rules_buy(&sale, user_id, at, &state, &verdict);
	return note(user_id, sale.buy_now_price, true) && verdict_agrees();
}

/* A bid on the sale is refused for this reason and changes no byte. */
static inline bool
refused(AucReason reason, int64_t user_id, int64_t amount, int64_t at)
{
	AucState	before;

	memcpy(&before, &state, sizeof(before));
	return !bid(user_id, amount, at) && verdict.reason == reason &&
		verdict_agrees() && memcmp(&before, &state, sizeof(before)) == 0;
}

static inline bool
buy_refused(AucReason reason, int64_t user_id, int64_t at)
{
	AucState	before;

	memcpy(&before, &state, sizeof(before));
	return !buy(user_id, at) && verdict.reason == reason &&
		verdict_agrees() && memcmp(&before, &state, sizeof(before)) == 0;
}

/* This bid is retracted; the others are counted anew. */
static inline void
retract(int64_t bid_no, int64_t at)
{
	AucTally	left;
	int64_t		i;

	placed[bid_no].stands = false;
	auc_tally_init(&left);
	for (i = 1; i <= state.bid_count; i++)
	{
		if (placed[i].stands)
			auc_tally_add(&left, placed[i].user_id, placed[i].amount, i,
						  placed[i].buy_now);
	}
	auc_rules_retract(&sale, &left, at, &state);
}

static inline bool
shows(int64_t price, int64_t leader_id)
{
	return state.has_leader && state.price == price &&
		state.leader_id == leader_id;
}

/* What no bidder sees: the two best maxima. */
static inline bool
hides(int64_t leader_max, int64_t second_max)
{
	return state.leader_max == leader_max && state.second_max == second_max;
}

static inline bool
shows_nobody(int64_t price)
{
	return !state.has_leader && state.price == price &&
		state.leader_id == 0 && hides(AUC_NO_AMOUNT, AUC_NO_AMOUNT);
}

#endif							/* AUC_TEST_SALE_H */
