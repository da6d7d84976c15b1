/*
 * second.h: the rules once more, for test_property.c.
 *
 * Written from what the rules promise, not from rules.c, and as plainly as
 * possible: from all bids that stand, each time anew.  Nothing here calls
 * rules.c.  "wanted" is the state as it must be; it is never copied from the
 * state that rules.c keeps.
 */
#ifndef AUC_TEST_SECOND_H
#define AUC_TEST_SECOND_H

#include "sale.h"

#define USERS	10				/* 1..USERS, SELLER is one of them */

static AucState wanted;

/* An auction without bids. */
static inline void
second_init(int64_t ends_at, uint64_t checksum)
{
	memset(&wanted, 0, sizeof(wanted));
	wanted.ends_at = ends_at;
	wanted.price = sale.start_price;
	wanted.leader_max = AUC_NO_AMOUNT;
	wanted.second_max = AUC_NO_AMOUNT;
	wanted.checksum = checksum;
	wanted.status = AUC_STATUS_OPEN;
}

/* The last step of the table that begins at or below the amount. */
static inline int64_t
second_step(int64_t amount)
{
	int64_t		step = sale.increment;
	int			i;

	if (sale.increments == NULL)
		return step;
	for (i = 0; i < sale.increments->n; i++)
	{
		if (sale.increments->step[i].from_price <= amount)
			step = sale.increments->step[i].increment;
	}
	return step;
}

/* No sum with an increment, so that none can overflow. */
static inline int64_t
second_proxy_price(int64_t leader_max, int64_t second_max)
{
	int64_t		price = sale.start_price;

	if (second_max != AUC_NO_AMOUNT)
	{
		int64_t		step = second_step(second_max);

		price = step >= leader_max - second_max ? leader_max :
			second_max + step;
		if (price < sale.start_price)
			price = sale.start_price;
	}
	if (sale.reserve_price != AUC_NO_AMOUNT && price < sale.reserve_price &&
		leader_max >= sale.reserve_price)
		price = sale.reserve_price;
	return price;
}

/* Bids are looked at in their order; so of equals the first one stays. */
static inline void
second_count(void)
{
	int64_t		best[USERS + 1];
	int64_t		best_no[USERS + 1];
	int64_t		leader = 0;
	int64_t		second = AUC_NO_AMOUNT;
	int64_t		i;

	memset(best, 0xff, sizeof(best));
	for (i = 1; i <= wanted.bid_count; i++)
	{
		const Placed *one = &placed[i];

		if (!one->stands || one->amount <= best[one->user_id])
			continue;
		best[one->user_id] = one->amount;
		best_no[one->user_id] = i;
	}
	for (i = 1; i <= USERS; i++)
	{
		if (best[i] == AUC_NO_AMOUNT)
			continue;
		if (leader == 0 || best[i] > best[leader] ||
			(best[i] == best[leader] && best_no[i] < best_no[leader]))
			leader = i;
	}
	for (i = 1; i <= USERS; i++)
	{
		if (i != leader && best[i] > second)
			second = best[i];
	}

	wanted.has_leader = leader != 0;
	wanted.leader_id = leader;
	wanted.leader_max = leader != 0 ? best[leader] : AUC_NO_AMOUNT;
	wanted.second_max = sale.kind == AUC_KIND_PROXY ? second : AUC_NO_AMOUNT;
	if (leader == 0)
		wanted.price = sale.start_price;
	else if (placed[best_no[leader]].buy_now)
		wanted.price = sale.buy_now_price;
	else if (sale.kind == AUC_KIND_PROXY)
		wanted.price = second_proxy_price(best[leader], second);
	else if (sale.buy_now_price != AUC_NO_AMOUNT &&
			 best[leader] > sale.buy_now_price)
		wanted.price = sale.buy_now_price;
	else
		wanted.price = best[leader];
}

static inline int64_t
second_time(int64_t at)
{
	return at > wanted.last_at ? at : wanted.last_at;
}

static inline bool
second_not_met(void)
{
	return sale.reserve_price != AUC_NO_AMOUNT &&
		(!wanted.has_leader || wanted.price < sale.reserve_price);
}

static inline bool
second_buy_available(void)
{
	return wanted.status == AUC_STATUS_OPEN &&
		sale.buy_now_price != AUC_NO_AMOUNT &&
		(!wanted.has_leader || second_not_met());
}

/* What refuses everybody, whatever he wants. */
static inline AucReason
second_judge_moment(int64_t at)
{
	int64_t		counts = second_time(at);

	switch (wanted.status)
	{
		case AUC_STATUS_QUARANTINED:
			return AUC_REASON_QUARANTINED;
		case AUC_STATUS_CANCELLED:
			return AUC_REASON_CANCELLED;
		case AUC_STATUS_CLOSED:
		case AUC_STATUS_CONSOLIDATED:
			return AUC_REASON_CLOSED;
		case AUC_STATUS_OPEN:
			break;
	}
	if (counts < sale.starts_at)
		return AUC_REASON_NOT_STARTED;
	return counts < wanted.ends_at ? AUC_REASON_NONE : AUC_REASON_CLOSED;
}

static inline AucReason
second_judge_amount(int64_t user_id, int64_t amount)
{
	bool		high;

	if (sale.kind == AUC_KIND_PROXY && wanted.has_leader &&
		wanted.leader_id == user_id && amount <= wanted.leader_max)
		return AUC_REASON_ALREADY_LEADING;
	if (!wanted.has_leader)
		high = amount >= sale.start_price;
	else if (sale.kind == AUC_KIND_PROXY && wanted.leader_id == user_id)
		high = true;
	else
		high = amount - wanted.price >= second_step(wanted.price) ||
			(sale.kind == AUC_KIND_OPEN &&
			 sale.buy_now_price != AUC_NO_AMOUNT &&
			 amount >= sale.buy_now_price);
	return high && amount <= AUC_AMOUNT_MAX ?
		AUC_REASON_NONE : AUC_REASON_TOO_LOW;
}

static inline AucReason
second_judge(bool buying, int64_t user_id, int64_t amount, int64_t at)
{
	AucReason	reason = second_judge_moment(at);

	if (reason != AUC_REASON_NONE)
		return reason;
	if (user_id == sale.seller_id)
		return AUC_REASON_SELLER;
	if (!buying)
		return second_judge_amount(user_id, amount);
	return second_buy_available() ?
		AUC_REASON_NONE : AUC_REASON_NOT_AVAILABLE;
}

/* A bid or buy-now was accepted; it is the last one in "placed". */
static inline void
second_accept(bool buying, int64_t amount, int64_t at)
{
	int64_t		end;

	wanted.last_at = second_time(at);
	wanted.bid_count++;
	second_count();
	if (buying || (sale.kind == AUC_KIND_OPEN &&
				   sale.buy_now_price != AUC_NO_AMOUNT &&
				   amount >= sale.buy_now_price))
	{
		wanted.status = AUC_STATUS_CLOSED;
		return;
	}
	if (sale.extend_window == 0 ||
		wanted.last_at < wanted.ends_at - sale.extend_window)
		return;
	end = wanted.last_at + sale.extend_by;
	if (end > sale.extend_limit)
		end = sale.extend_limit;
	if (end > wanted.ends_at)
		wanted.ends_at = end;
}

/* A bid was retracted; it no longer stands in "placed". */
static inline void
second_retract(int64_t at)
{
	wanted.last_at = second_time(at);
	wanted.retracted++;
	second_count();
}

/* Closed or cancelled. */
static inline void
second_end(AucStatus status, int64_t at)
{
	wanted.last_at = second_time(at);
	wanted.status = status;
}

#endif							/* AUC_TEST_SECOND_H */
