/*
 * test_property.c: a million random bids, and what must hold after each.
 *
 * Auctions of random set-up, with bids, buy-nows, retractions, closes and
 * cancellations near where something happens.  After every event the state
 * must be what a second formulation of the rules says (second.h), what all
 * standing bids give when counted in a random order, and keep the invariants
 * that are written out in check_always() and check_accepted().  That the draws
 * meet what they are there for is checked, too (cases.h).
 */
#include "cases.h"
#include "tap.h"

#define ATTEMPTS	1000000		/* bids and buy-nows, over all seeds */
#define BIDS_MAX	60			/* of an auction: the second way is slow */
#define EVENTS_MAX	250			/* of an auction */

static long attempts;
static AucIncrements *table;	/* of its exact size, for ASan */

static int64_t
below(int64_t n)
{
	return (int64_t) tap_below((uint64_t) n);
}

static bool
one_in(int64_t n)
{
	return below(n) == 0;
}


/*
 * A random auction.
 */

static void
random_table(void)
{
	int64_t		from_price = 0;
	int			n = one_in(10) ? AUC_STEPS_MAX : (int) (1 + below(6));
	int			i;

	free(table);
	table = malloc(sizeof(*table) + (size_t) n * sizeof(table->step[0]));
	if (table == NULL)
		abort();
	table->n = n;
	for (i = 0; i < n; i++)
	{
		table->step[i].from_price = from_price;
		table->step[i].increment = one_in(30) ? INT64_MAX : 1 + below(40);
		from_price += 1 + below(150);
	}
	sale.increments = table;
}

static int64_t
in_range(int64_t amount)
{
	return amount > AUC_AMOUNT_MAX ? AUC_AMOUNT_MAX : amount;
}

static void
random_prices(void)
{
	sale.start_price = below(600);
	if (one_in(40))
		sale.start_price = AUC_AMOUNT_MAX - below(2000);
	sale.increment = one_in(40) ? INT64_MAX - below(2) : 1 + below(30);
	if (one_in(2))
		random_table();
	if (one_in(2))
		sale.reserve_price = in_range(sale.start_price + below(500));
	if (one_in(2))
	{
		sale.buy_now_price = sale.start_price;
		if (sale.reserve_price != AUC_NO_AMOUNT)
			sale.buy_now_price = sale.reserve_price;
		sale.buy_now_price = in_range(sale.buy_now_price + below(800));
	}
}

static void
random_sale(void)
{
	int64_t		ends_at;
	uint64_t	checksum = tap_random();

	sale = plain_sale;
	sale.kind = one_in(3) ? AUC_KIND_OPEN : AUC_KIND_PROXY;
	random_prices();
	ends_at = sale.starts_at + 50 + below(400);
	if (one_in(2))
	{
		sale.extend_window = 1 + below(60);
		sale.extend_by = sale.extend_window + below(60);
		if (one_in(2))
			sale.extend_limit = ends_at + below(200);
	}
	auc_rules_init(&sale, ends_at, &state);
	state.checksum = checksum;
	second_init(ends_at, checksum);
}

/* Where it matters: at the price, a step above it, at the leader's maximum. */
static int64_t
random_amount(void)
{
	int64_t		step = second_step(state.price);
	int64_t		top = state.has_leader ? state.leader_max : state.price;

	if (step > 100)
		step = 100;
	switch (tap_below(16))
	{
		case 0:
			return state.price - below(4);
		case 1:
			return state.price + step - 1;
		case 2:
		case 3:
			return state.price + step;
		case 4:
		case 5:
			return state.price + step + below(3 * step);
		case 6:
		case 7:
			return top;
		case 8:
			return top + 1;
		case 9:
			return top + below(step);
		case 10:
		case 11:
			return top + below(5 * step);
		case 12:
		case 13:
			return top - below(step);
		case 14:
			return state.second_max + below(step);
	}
	if (one_in(3))
		return sale.buy_now_price - 1 + below(3);
	return one_in(10) ? AUC_AMOUNT_MAX + below(2) :
		sale.reserve_price - 1 + below(3);
}

/* 1..USERS, the leader more often than others. */
static int64_t
random_user(void)
{
	int64_t		user_id = 1 + below(USERS);

	return state.has_leader && one_in(6) ? state.leader_id : user_id;
}


/*
 * What must hold.
 */

/* The numbers of the bids that stand; returns how many. */
static int64_t
standing(int64_t *numbers)
{
	int64_t		n = 0;
	int64_t		i;

	for (i = 1; i <= state.bid_count; i++)
	{
		if (placed[i].stands)
			numbers[n++] = i;
	}
	return n;
}

/* The bids counted anew, in a random order. */
static void
check_tally(void)
{
	int64_t		order[PLACED_MAX];
	int64_t		n = standing(order);
	AucTally	tally;
	AucState	settled;

	expect(n == state.bid_count - state.retracted);
	expect(state.has_leader == (n > 0));
	auc_tally_init(&tally);
	for (; n > 0; n--)
	{
		int64_t		pick = below(n);
		int64_t		no = order[pick];

		order[pick] = order[n - 1];
		auc_tally_add(&tally, placed[no].user_id, placed[no].amount, no,
					  placed[no].buy_now);
	}

	memcpy(&settled, &state, sizeof(settled));
	settled.price = settled.leader_id = settled.leader_max = -77;
	settled.second_max = -77;
	settled.has_leader = !settled.has_leader;
	auc_tally_settle(&sale, &tally, &settled);
	expect(memcmp(&settled, &state, sizeof(state)) == 0);
}

/* The questions that only read. */
static void
check_answers(void)
{
	int64_t		least = auc_rules_least(&sale, &state);
	AucReserve	reserve = auc_rules_reserve(&sale, &state);

	/* 0 is no user: the answer is for somebody who does not lead. */
	if (least > AUC_AMOUNT_MAX)
		expect(second_judge_amount(0, AUC_AMOUNT_MAX) == AUC_REASON_TOO_LOW);
	else
	{
		expect(second_judge_amount(0, least) == AUC_REASON_NONE);
		expect(second_judge_amount(0, least - 1) == AUC_REASON_TOO_LOW);
	}
	expect((reserve == AUC_RESERVE_NONE) ==
		   (sale.reserve_price == AUC_NO_AMOUNT));
	expect((reserve == AUC_RESERVE_NOT_MET) == second_not_met());
	expect((reserve == AUC_RESERVE_MET) ==
		   (state.has_leader && sale.reserve_price != AUC_NO_AMOUNT &&
			state.price >= sale.reserve_price));
	expect(auc_rules_buy_available(&sale, &state) == second_buy_available());
}

static void
check_always(void)
{
	int64_t		i;

	expect(memcmp(&state, &wanted, sizeof(state)) == 0);
	expect(state.ends_at >= before.ends_at);
	expect(state.ends_at <= sale.extend_limit);
	expect(state.last_at >= before.last_at);
	expect(state.price >= sale.start_price);
	if (state.has_leader)
		expect(state.price <= state.leader_max);
	for (i = 1; i <= state.bid_count; i++)
	{
		if (placed[i].stands)
			expect(placed[i].amount <= state.leader_max);
	}
	check_tally();
	check_answers();
}

static void
check_accepted(int64_t user_id, int64_t amount, int64_t at)
{
	int64_t		counts = at > before.last_at ? at : before.last_at;
	bool		in_window = state.status == AUC_STATUS_OPEN &&
	before.ends_at - counts <= sale.extend_window && sale.extend_window > 0;

	expect(user_id != SELLER);
	expect(verdict.bid_no == before.bid_count + 1);
	expect(state.bid_count == before.bid_count + 1);
	expect(state.retracted == before.retracted);
	expect(state.price >= before.price);
	expect(counts >= sale.starts_at && counts < before.ends_at);
	if (before.has_leader && before.leader_max >= amount)
		expect(state.leader_id == before.leader_id);
	else
		expect(state.leader_id == user_id && state.leader_max == amount);
	if (in_window)
		expect(state.ends_at == sale.extend_limit ||
			   state.ends_at == counts + sale.extend_by);
	else
		expect(state.ends_at == before.ends_at);
}


/*
 * Events.
 */

static void
event_bid(bool buying, int64_t at)
{
	int64_t		user_id = random_user();
	int64_t		amount = buying ? sale.buy_now_price : random_amount();

	attempts++;
	if (buying)
		buy(user_id, at);
	else
		bid(user_id, amount, at);
	expect(verdict_agrees());
	expect(verdict.reason == second_judge(buying, user_id, amount, at));
	expect(verdict.at == second_time(at));
	reasons[verdict.reason]++;
	if (!verdict.accepted)
	{
		expect(memcmp(&before, &state, sizeof(state)) == 0);
		return;
	}

	second_accept(buying, amount, at);
	check_accepted(user_id, amount, at);
	check_always();
	see_times(at);
	if (buying)
		see_buy(user_id);
	else if (sale.kind == AUC_KIND_OPEN)
		see_open(amount);
	else
		see_proxy(user_id, amount);
}

/*
 * Where steps become smaller, a lower second maximum may make a higher price.
 * Bids cannot lead there, as the least one is measured at the price; but
 * without a bid in between it may be so.
 */
static bool
steps_fall(void)
{
	int			i;

	for (i = 1; sale.increments != NULL && i < table->n; i++)
	{
		if (table->step[i].increment < table->step[i - 1].increment)
			return true;
	}
	return false;
}

static void
event_retract(int64_t at)
{
	int64_t		numbers[PLACED_MAX];
	int64_t		n = standing(numbers);
	int64_t		no;

	expect(auc_rules_retractable(&state) ==
		   (state.status == AUC_STATUS_OPEN ||
			state.status == AUC_STATUS_CLOSED));
	if (!auc_rules_retractable(&state) || n == 0)
		return;

	no = numbers[below(n)];
	retract(no, at);
	second_retract(at);
	expect(state.status == before.status);
	expect(state.ends_at == before.ends_at);
	expect(state.bid_count == before.bid_count);
	expect(state.retracted == before.retracted + 1);
	if (!steps_fall())
		expect(state.price <= before.price);
	check_always();
	see_retraction(&placed[no]);
}

static void
event_close(int64_t at)
{
	bool		closes = before.status == AUC_STATUS_OPEN;

	expect(auc_rules_due(&state, at) == (closes && at >= state.ends_at));
	expect(auc_rules_close(at, &state) == closes);
	saw(closes, CASE_CLOSED);
	if (closes)
		second_end(AUC_STATUS_CLOSED, at);
	check_always();
}

static void
event_cancel(int64_t at)
{
	bool		cancels = before.status == AUC_STATUS_OPEN ||
	before.status == AUC_STATUS_CLOSED;

	expect(auc_rules_cancel(at, &state) == cancels);
	saw(cancels, CASE_CANCELLED);
	if (cancels)
		second_end(AUC_STATUS_CANCELLED, at);
	check_always();
}

static void
random_event(int64_t at)
{
	memcpy(&before, &state, sizeof(before));
	if (at >= state.ends_at && one_in(4))
		event_close(at);
	else if (one_in(state.status == AUC_STATUS_OPEN ? 30 : 5))
		event_retract(at);
	else if (one_in(1000))
		event_cancel(at);
	else if (one_in(3000))
		event_close(at);
	else if (one_in(3000))
		state.status = wanted.status = AUC_STATUS_QUARANTINED;
	else
		event_bid(one_in(30), at);
}

/* One auction: to its end, and a little on. */
static void
random_auction(void)
{
	int64_t		at;
	int			events = 0;
	int			late = 0;

	random_sale();
	at = sale.starts_at - 20;
	while (state.bid_count < BIDS_MAX && events++ < EVENTS_MAX && late < 10)
	{
		/* The clock mostly goes on, and now and then back. */
		at += below(8);
		random_event(one_in(10) ? at - 30 : at);
		if (state.status != AUC_STATUS_OPEN)
			late++;
	}
}

static void
test_seed(uint64_t seed, long until, const char *name)
{
	tap_seed = seed;
	while (attempts < until)
		random_auction();
	tap_expected(name);
}

int
main(void)
{
	test_seed(20260101, ATTEMPTS / 4, "random auctions, first seed");
	test_seed(77004, ATTEMPTS / 2, "random auctions, second seed");
	test_seed(88005, 3 * (ATTEMPTS / 4), "random auctions, third seed");
	test_seed(99006, ATTEMPTS, "random auctions, fourth seed");
	check_cases();
	free(table);
	return tap_done();
}
