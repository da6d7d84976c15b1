/*
 * cases.h: what test_property.c is there for, counted.
 *
 * Each event is looked at for what it was an example of.  A case that hardly
 * occurred makes the test fail: so it cannot go blind when a draw is changed.
 */
#ifndef AUC_TEST_CASES_H
#define AUC_TEST_CASES_H

#include "second.h"
#include "tap.h"

typedef enum Case
{
	CASE_OPEN_BID,
	CASE_FIRST_BID,
	CASE_BELOW_LEADER,
	CASE_OVERTAKES,
	CASE_COMES_BACK,
	CASE_TIE,
	CASE_SHORT,
	CASE_RAISE,
	CASE_RAISE_COMPLETES,
	CASE_LIFTED,
	CASE_NOT_MET,
	CASE_RAISE_MEETS,
	CASE_ABOVE_RESERVE,
	CASE_TABLE_STEPS,
	CASE_FALLING_STEPS,
	CASE_HUGE_STEP,
	CASE_CLAMPED,
	CASE_BOUGHT_FIRST,
	CASE_BOUGHT_OVER_BIDS,
	CASE_BUYER_LED,
	CASE_REACHED,
	CASE_REACHED_BY_MORE,
	CASE_REACHED_BY_LESS_THAN_A_STEP,
	CASE_EXTENDED,
	CASE_WINDOW_EDGE,
	CASE_BEFORE_WINDOW,
	CASE_CUT_BY_LIMIT,
	CASE_AT_LIMIT,
	CASE_RETRACTED_LEADER,
	CASE_RETRACTED_RAISE,
	CASE_RETRACTED_SECOND,
	CASE_RETRACTED_LOSING,
	CASE_RETRACTED_TIE,
	CASE_RETRACTED_LAST,
	CASE_RETRACTED_BUY,
	CASE_RETRACTED_AFTER_CLOSE,
	CASE_BUY_AGAIN,
	CASE_CLOSED,
	CASE_CANCELLED,
	N_CASES
} Case;

static const char *const case_names[N_CASES] = {
	"an open auction's bid", "a proxy auction's first bid",
	"a bid that stays below the leader's maximum", "a new leader",
	"an overtaken leader who leads again", "a tie",
	"a leader who is short of a full step", "a raise that moves no price",
	"a raise that completes a step", "a price lifted to the reserve",
	"a bid that does not meet the reserve", "a raise that meets it",
	"a second maximum above the reserve",
	"different steps at price and second maximum",
	"a step smaller than one below it", "a step beyond every amount",
	"a clamped time", "a buy-now as the first bid",
	"a buy-now over other bids", "a buy-now of the leader",
	"an open bid of the buy-now price", "an open bid of more",
	"an open bid of it that is no full step", "an extension",
	"a bid at the window's first moment", "a bid just before the window",
	"an extension cut by the limit", "a bid in the window at the limit",
	"a leader's bid retracted: another one leads",
	"a leader's bid retracted: he leads with less",
	"the second best retracted", "a losing bid retracted",
	"one of a tie retracted", "the only standing bid retracted",
	"a buy-now retracted", "a bid retracted after the close",
	"buy now available again", "a close", "a cancellation"
};

static long seen[N_CASES];
static long reasons[AUC_REASON_NOT_AVAILABLE + 1];
static AucState before;			/* the event that is looked at */

static inline void
saw(bool so, Case which)
{
	if (so)
		seen[which]++;
}

static inline bool
has_bid_before(int64_t user_id)
{
	int64_t		i;

	for (i = 1; i < state.bid_count; i++)
	{
		if (placed[i].stands && placed[i].user_id == user_id)
			return true;
	}
	return false;
}

static inline void
see_proxy(int64_t user_id, int64_t amount)
{
	bool		led = before.has_leader && before.leader_id == user_id;
	bool		leads = state.leader_id == user_id;
	int64_t		second = state.second_max;
	int64_t		step = second_step(second);

	saw(!before.has_leader, CASE_FIRST_BID);
	saw(!leads && amount < state.leader_max, CASE_BELOW_LEADER);
	saw(!leads && amount == state.leader_max, CASE_TIE);
	saw(before.has_leader && leads && !led, CASE_OVERTAKES);
	saw(before.has_leader && leads && !led && has_bid_before(user_id),
		CASE_COMES_BACK);
	saw(led && state.price == before.price, CASE_RAISE);
	saw(led && state.price > before.price &&
		verdict.reserve != AUC_RESERVE_MET, CASE_RAISE_COMPLETES);
	saw(led && !second_not_met() &&
		before.price < sale.reserve_price, CASE_RAISE_MEETS);
	if (second == AUC_NO_AMOUNT)
		return;
	saw(state.price == state.leader_max && second < state.leader_max &&
		state.leader_max - second < step, CASE_SHORT);
	saw(second > sale.reserve_price && verdict.reserve == AUC_RESERVE_MET,
		CASE_ABOVE_RESERVE);
	saw(step != second_step(state.price), CASE_TABLE_STEPS);
	saw(step > second_step(state.price), CASE_FALLING_STEPS);
	saw(step > AUC_AMOUNT_MAX, CASE_HUGE_STEP);
	saw(state.price == sale.reserve_price &&
		state.leader_max > state.price && step < state.price - second,
		CASE_LIFTED);
}

static inline void
see_open(int64_t amount)
{
	bool		ends = sale.buy_now_price != AUC_NO_AMOUNT &&
	amount >= sale.buy_now_price;

	saw(!ends, CASE_OPEN_BID);
	saw(ends && amount == sale.buy_now_price, CASE_REACHED);
	saw(ends && amount > sale.buy_now_price, CASE_REACHED_BY_MORE);
	saw(ends && before.has_leader &&
		amount - before.price < second_step(before.price),
		CASE_REACHED_BY_LESS_THAN_A_STEP);
}

static inline void
see_buy(int64_t user_id)
{
	saw(before.bid_count == 0, CASE_BOUGHT_FIRST);
	saw(before.has_leader, CASE_BOUGHT_OVER_BIDS);
	saw(before.has_leader && before.leader_id == user_id, CASE_BUYER_LED);
}

static inline void
see_times(int64_t at)
{
	int64_t		left = before.ends_at - verdict.at;
	bool		in_window = sale.extend_window > 0 &&
	left <= sale.extend_window;

	saw(at < before.last_at, CASE_CLAMPED);
	saw(verdict.reserve == AUC_RESERVE_NOT_MET, CASE_NOT_MET);
	if (sale.extend_window == 0 || state.status != AUC_STATUS_OPEN)
		return;
	saw(state.ends_at > before.ends_at, CASE_EXTENDED);
	saw(left == sale.extend_window && state.ends_at > before.ends_at,
		CASE_WINDOW_EDGE);
	saw(left == sale.extend_window + 1, CASE_BEFORE_WINDOW);
	saw(in_window && state.ends_at > before.ends_at &&
		state.ends_at < verdict.at + sale.extend_by, CASE_CUT_BY_LIMIT);
	saw(in_window && before.ends_at == sale.extend_limit &&
		verdict.at + sale.extend_by > sale.extend_limit, CASE_AT_LIMIT);
}

static inline void
see_retraction(const Placed *one)
{
	bool		led = one->user_id == before.leader_id;

	saw(led && state.has_leader && state.leader_id != one->user_id,
		CASE_RETRACTED_LEADER);
	saw(led && state.has_leader && state.leader_id == one->user_id &&
		state.leader_max < before.leader_max, CASE_RETRACTED_RAISE);
	saw(!state.has_leader, CASE_RETRACTED_LAST);
	saw(!led && state.second_max < before.second_max, CASE_RETRACTED_SECOND);
	saw(!led && one->amount < before.second_max, CASE_RETRACTED_LOSING);
	saw(before.leader_max == before.second_max &&
		one->amount == before.leader_max, CASE_RETRACTED_TIE);
	saw(one->buy_now, CASE_RETRACTED_BUY);
	saw(state.status == AUC_STATUS_CLOSED, CASE_RETRACTED_AFTER_CLOSE);
	saw(second_buy_available() && before.has_leader &&
		(sale.reserve_price == AUC_NO_AMOUNT ||
		 before.price >= sale.reserve_price), CASE_BUY_AGAIN);
}

static inline void
check_cases(void)
{
	int			i;

	for (i = 0; i < N_CASES; i++)
	{
		expect(seen[i] >= 100);
		printf("# %7ld %s\n", seen[i], case_names[i]);
	}
	tap_expected("every case occurred");
	for (i = 0; i <= AUC_REASON_NOT_AVAILABLE; i++)
	{
		if (i == AUC_REASON_UNKNOWN_AUCTION)
			expect(reasons[i] == 0);
		else
			expect(reasons[i] >= 1000);
		printf("# %7ld %s\n", reasons[i],
			   i == 0 ? "accepted" : auc_reason_name((AucReason) i));
	}
	tap_expected("every reason was given that the rules give");
}

#endif							/* AUC_TEST_CASES_H */
