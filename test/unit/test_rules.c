/*
 * test_rules.c: the rules of every auction and of an open one, each by
 * examples at its boundary, then all of them together on random bids against
 * a second formulation.  How an auction ends is in test_ending.c.
 */
#include "sale.h"
#include "tap.h"

static void
test_init(void)
{
	memset(&state, 0xff, sizeof(state));
	fresh();
	ok(state.status == AUC_STATUS_OPEN && state.price == 100 &&
	   state.ends_at == ENDS_AT, "a new auction is open at its start price");
	ok(state.bid_count == 0 && state.last_at == 0 && state.leader_id == 0 &&
	   state.checksum == 0, "a new auction has no bids");
	ok(shows_nobody(100) && state.retracted == 0,
	   "a new auction has no leader, no maxima, nothing retracted");
}

static void
test_first_bids(void)
{
	fresh();
	ok(refused(AUC_REASON_TOO_LOW, 7, 99, 1500),
	   "a first bid below the start price is too low");
	ok(!verdict.has_leader && verdict.price == 100 &&
	   verdict.ends_at == ENDS_AT && verdict.at == 1500,
	   "a refusal before the first bid tells the start price, no leader");
	ok(refused(AUC_REASON_TOO_LOW, 7, 0, 1500), "a bid of 0 is too low");
	ok(refused(AUC_REASON_TOO_LOW, 7, -1, 1500),
	   "a negative bid is too low");

	ok(bid(7, 100, 1500), "the start price itself is accepted");
	ok(verdict.reason == AUC_REASON_NONE && verdict.bid_no == 1 &&
	   verdict.price == 100 && verdict.has_leader &&
	   verdict.leader_id == 7 && verdict.at == 1500 &&
	   verdict.ends_at == ENDS_AT,
	   "the verdict tells number, price, leader, time and end");
	ok(state.price == 100 && state.leader_id == 7 && state.bid_count == 1 &&
	   state.last_at == 1500 && state.ends_at == ENDS_AT &&
	   state.status == AUC_STATUS_OPEN, "the bid is in the state");

	ok(refused(AUC_REASON_TOO_LOW, 8, 100, 1500),
	   "the same price again is too low");
	ok(refused(AUC_REASON_TOO_LOW, 8, 109, 1500),
	   "one below price + increment is too low");
	ok(verdict.price == 100 && verdict.has_leader &&
	   verdict.leader_id == 7, "a refusal tells price and leader");
	ok(bid(8, 110, 1500) && state.leader_id == 8 && verdict.bid_no == 2,
	   "price + increment is accepted");
	ok(bid(8, 5000, 1501) && state.price == 5000 && verdict.bid_no == 3,
	   "the leader may raise, and by more than a step");
}

static void
test_times(void)
{
	fresh();
	ok(refused(AUC_REASON_NOT_STARTED, 7, 100, STARTS_AT - 1),
	   "just before starts_at a bid is refused");
	ok(bid(7, 100, STARTS_AT), "at starts_at a bid is accepted");

	fresh();
	ok(bid(7, 100, ENDS_AT - 1), "just before ends_at a bid is accepted");
	ok(refused(AUC_REASON_CLOSED, 8, 110, ENDS_AT),
	   "at ends_at a bid is refused");

	fresh();
	ok(bid(7, 100, 1500) && bid(8, 110, 1400) && verdict.at == 1500 &&
	   state.last_at == 1500, "an earlier time counts as the last one");
	ok(bid(9, 120, 500) && verdict.at == 1500,
	   "also a time before the start, once bids are there");
	ok(refused(AUC_REASON_TOO_LOW, 9, 120, 1) && verdict.at == 1500,
	   "a refused bid's time is clamped, too");
	ok(refused(AUC_REASON_TOO_LOW, 9, 120, 1900) && state.last_at == 1500,
	   "a refused bid does not move the last time");
	ok(bid(9, 130, 1600) && state.last_at == 1600,
	   "so a bid before a refused one keeps its own time");
}

/* Several rules refuse; the first of the order is told. */
static void
test_order(void)
{
	fresh();
	ok(refused(AUC_REASON_NOT_STARTED, SELLER, 1, 999),
	   "not_started goes before seller and too_low");
	ok(refused(AUC_REASON_CLOSED, SELLER, 1, ENDS_AT),
	   "closed goes before seller and too_low");
	ok(refused(AUC_REASON_SELLER, SELLER, 1, 1500),
	   "seller goes before too_low");
	ok(refused(AUC_REASON_SELLER, SELLER, 1000, 1500),
	   "the seller cannot bid any amount");

	state.status = AUC_STATUS_CLOSED;
	ok(refused(AUC_REASON_CLOSED, 7, 1000, 1500),
	   "a closed auction refuses bids before its end");
	ok(refused(AUC_REASON_CLOSED, 7, 1000, 999),
	   "closed by status goes before not_started");
	state.status = AUC_STATUS_CONSOLIDATED;
	ok(refused(AUC_REASON_CLOSED, 7, 1000, 1500),
	   "a consolidated auction is closed");
	state.status = AUC_STATUS_QUARANTINED;
	ok(refused(AUC_REASON_QUARANTINED, 7, 1000, 1500),
	   "a quarantined auction refuses bids");
	ok(refused(AUC_REASON_QUARANTINED, SELLER, 1, ENDS_AT) &&
	   refused(AUC_REASON_QUARANTINED, SELLER, 1, 999),
	   "quarantined goes before everything");
	state.status = AUC_STATUS_CANCELLED;
	ok(refused(AUC_REASON_CANCELLED, SELLER, 1, ENDS_AT) &&
	   refused(AUC_REASON_CANCELLED, SELLER, 1, 999),
	   "cancelled goes before closed, not_started, seller and too_low");
}

/* The same order for a buy-now, with not_available as its last. */
static void
test_buy_order(void)
{
	fresh();
	ok(buy_refused(AUC_REASON_NOT_STARTED, SELLER, 999),
	   "buy: not_started goes before seller and not_available");
	ok(buy_refused(AUC_REASON_CLOSED, SELLER, ENDS_AT),
	   "buy: closed goes before seller and not_available");
	ok(buy_refused(AUC_REASON_SELLER, SELLER, 1500),
	   "buy: seller goes before not_available");
	ok(buy_refused(AUC_REASON_NOT_AVAILABLE, 7, 1500),
	   "buy: not_available is what is left");

	state.status = AUC_STATUS_CLOSED;
	ok(buy_refused(AUC_REASON_CLOSED, 7, 999),
	   "buy: closed by status goes before not_started");
	state.status = AUC_STATUS_CONSOLIDATED;
	ok(buy_refused(AUC_REASON_CLOSED, 7, 1500),
	   "buy: a consolidated auction is closed");
	state.status = AUC_STATUS_CANCELLED;
	ok(buy_refused(AUC_REASON_CANCELLED, SELLER, ENDS_AT) &&
	   buy_refused(AUC_REASON_CANCELLED, SELLER, 999),
	   "buy: cancelled goes before closed, not_started and seller");
	state.status = AUC_STATUS_QUARANTINED;
	ok(buy_refused(AUC_REASON_QUARANTINED, SELLER, ENDS_AT) &&
	   buy_refused(AUC_REASON_QUARANTINED, SELLER, 999),
	   "buy: quarantined goes before everything");
}

static void
test_least(void)
{
	fresh();
	ok(auc_rules_least(&sale, &state) == 100,
	   "the least first bid is the start price");
	bid(7, 105, 1500);
	ok(auc_rules_least(&sale, &state) == 115,
	   "the least next bid is price + increment");

	fresh();
	ok(bid(7, AUC_AMOUNT_MAX, 1500), "the greatest amount is accepted");
	ok(refused(AUC_REASON_TOO_LOW, 8, AUC_AMOUNT_MAX, 1500),
	   "nothing is accepted above the greatest amount");
	fresh();
	ok(refused(AUC_REASON_TOO_LOW, 8, AUC_AMOUNT_MAX + 1, 1500),
	   "an amount out of range is never a price");

	fresh();
	sale.increment = INT64_MAX;
	restart();
	ok(bid(7, 100, 1500) && auc_rules_least(&sale, &state) == INT64_MAX,
	   "price + increment does not overflow");
	ok(refused(AUC_REASON_TOO_LOW, 8, INT64_MAX, 1500) &&
	   refused(AUC_REASON_TOO_LOW, 8, AUC_AMOUNT_MAX, 1500),
	   "an increment beyond every amount leaves one bid");

	sale.start_price = 0;
	sale.increment = 1;
	restart();
	ok(bid(7, 0, 1500) && verdict.has_leader && verdict.price == 0,
	   "a start price of 0 takes a bid of 0");
	ok(refused(AUC_REASON_TOO_LOW, 8, 0, 1500) && bid(8, 1, 1500),
	   "and the next must be 1");
}

/* The increment of "table" at and just below each of its steps. */
static void
check_steps(const AucIncrements *table)
{
	int			i;

	sale.increments = table;
	for (i = 0; i < table->n; i++)
	{
		const AucStep *step = &table->step[i];

		expect(auc_rules_increment(&sale, step->from_price) ==
			   step->increment);
		if (i > 0)
			expect(auc_rules_increment(&sale, step->from_price - 1) ==
				   step[-1].increment);
	}
	expect(auc_rules_increment(&sale, AUC_AMOUNT_MAX) ==
		   table->step[table->n - 1].increment);
}

static void
test_increments(void)
{
	static const AucIncrements one = {.n = 1, .step = {{0, 3}}};
	static const AucIncrements falling = {
		.n = 3, .step = {{0, 50}, {200, 7}, {201, 1}}
	};

	fresh();
	ok(auc_rules_increment(&sale, 0) == 10 &&
	   auc_rules_increment(&sale, AUC_AMOUNT_MAX) == 10,
	   "without a table the auction's own increment is the step everywhere");
	check_steps(&ebay_us);
	check_steps(&one);
	check_steps(&falling);
	tap_expected("a step begins at its price, and the one before ends there");
	ok(sale.increment == 10 && auc_rules_increment(&sale, 100) == 50,
	   "with a table the auction's own increment does not count");

	/* The price is 99: 99 + 5.  Then 104: 104 + 25; so on at 499 and 500. */
	fresh();
	sale.start_price = 99;
	sale.increments = &ebay_us;
	restart();
	ok(auc_rules_least(&sale, &state) == 99 && bid(7, 99, 1500) &&
	   auc_rules_least(&sale, &state) == 104 &&
	   refused(AUC_REASON_TOO_LOW, 8, 103, 1500) && bid(8, 104, 1500),
	   "the least step is measured at the visible price, not at the bid");
	ok(auc_rules_least(&sale, &state) == 129 &&
	   refused(AUC_REASON_TOO_LOW, 7, 128, 1500) && bid(7, 499, 1500) &&
	   auc_rules_least(&sale, &state) == 524 && bid(8, 524, 1500) &&
	   auc_rules_least(&sale, &state) == 574,
	   "it grows with the price");
}

/* Reserve 300: below it bids are accepted, but do not sell. */
static void
test_reserve(void)
{
	fresh();
	ok(auc_rules_reserve(&sale, &state) == AUC_RESERVE_NONE &&
	   bid(7, 100, 1500) && verdict.reserve == AUC_RESERVE_NONE,
	   "no reserve price: neither met nor not met");

	fresh();
	sale.reserve_price = 300;
	restart();
	ok(auc_rules_reserve(&sale, &state) == AUC_RESERVE_NOT_MET,
	   "a reserve is not met before the first bid");
	ok(bid(7, 100, 1500) && verdict.reserve == AUC_RESERVE_NOT_MET &&
	   bid(8, 299, 1500) && verdict.reserve == AUC_RESERVE_NOT_MET,
	   "open: it is not met by a lower bid, which is accepted");
	ok(shows(299, 8) && auc_rules_least(&sale, &state) == 309,
	   "open: a reserve changes neither price nor least bid");
	ok(refused(AUC_REASON_TOO_LOW, 9, 300, 1500) &&
	   verdict.reserve == AUC_RESERVE_NOT_MET,
	   "a refused bid does not meet it");
	ok(bid(9, 400, 1500) && verdict.reserve == AUC_RESERVE_MET &&
	   shows(400, 9), "open: it is met by a higher bid");

	restart();
	ok(bid(7, 300, 1500) && verdict.reserve == AUC_RESERVE_MET,
	   "it is met by exactly its amount");
	ok(refused(AUC_REASON_TOO_LOW, 8, 300, 1500) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "who is refused is told that it is met");

	sale.reserve_price = sale.start_price;
	restart();
	ok(auc_rules_reserve(&sale, &state) == AUC_RESERVE_NOT_MET,
	   "a reserve at the start price is not met without a bid");
	ok(bid(7, 100, 1500) && verdict.reserve == AUC_RESERVE_MET,
	   "and is met by the first");
}

static bool
is(const char *name, const char *wanted)
{
	return name != NULL && strcmp(name, wanted) == 0;
}

static void
test_names(void)
{
	ok(auc_reason_name(AUC_REASON_NONE) == NULL, "no reason has no name");
	ok(is(auc_reason_name(AUC_REASON_UNKNOWN_AUCTION), "unknown_auction") &&
	   is(auc_reason_name(AUC_REASON_NOT_STARTED), "not_started") &&
	   is(auc_reason_name(AUC_REASON_CLOSED), "closed") &&
	   is(auc_reason_name(AUC_REASON_CANCELLED), "cancelled") &&
	   is(auc_reason_name(AUC_REASON_QUARANTINED), "quarantined") &&
	   is(auc_reason_name(AUC_REASON_SELLER), "seller") &&
	   is(auc_reason_name(AUC_REASON_TOO_LOW), "too_low") &&
	   is(auc_reason_name(AUC_REASON_ALREADY_LEADING), "already_leading") &&
	   is(auc_reason_name(AUC_REASON_NOT_AVAILABLE), "not_available"),
	   "names of reasons");
	ok(is(auc_status_name(AUC_STATUS_OPEN), "open") &&
	   is(auc_status_name(AUC_STATUS_CLOSED), "closed") &&
	   is(auc_status_name(AUC_STATUS_CONSOLIDATED), "consolidated") &&
	   is(auc_status_name(AUC_STATUS_CANCELLED), "cancelled") &&
	   is(auc_status_name(AUC_STATUS_QUARANTINED), "quarantined"),
	   "names of status");
	ok(is(auc_route_name(AUC_ROUTE_TABLE), "table") &&
	   is(auc_route_name(AUC_ROUTE_REDIS), "redis"), "names of routes");
	ok(is(auc_level_name(AUC_LEVEL_REDIS), "redis") &&
	   is(auc_level_name(AUC_LEVEL_REPLICA), "replica") &&
	   is(auc_level_name(AUC_LEVEL_JOURNAL), "journal"), "names of levels");
	ok(auc_level_of_name("redis") == AUC_LEVEL_REDIS &&
	   auc_level_of_name("replica") == AUC_LEVEL_REPLICA &&
	   auc_level_of_name("journal") == AUC_LEVEL_JOURNAL,
	   "levels by their names");
	ok(AUC_LEVEL_REDIS < AUC_LEVEL_REPLICA &&
	   AUC_LEVEL_REPLICA < AUC_LEVEL_JOURNAL, "the order of levels");
	ok(auc_level_of_name("tape") == AUC_LEVEL_JOURNAL &&
	   auc_level_of_letter('?') == AUC_LEVEL_JOURNAL &&
	   auc_level_letter((AucLevel) 0) == 'j',
	   "an unknown level is taken for the highest");
	ok(is(auc_reason_name((AucReason) 99), "unknown") &&
	   is(auc_status_name((AucStatus) '?'), "unknown") &&
	   is(auc_route_name((AucRoute) '?'), "unknown") &&
	   is(auc_level_name((AucLevel) 0), "unknown"),
	   "what a damaged row holds is unknown");

	/* They are stored, in rows and records. */
	ok(AUC_STATUS_OPEN == 'o' && AUC_STATUS_CLOSED == 'c' &&
	   AUC_STATUS_CONSOLIDATED == 'h' && AUC_STATUS_CANCELLED == 'x' &&
	   AUC_STATUS_QUARANTINED == 'q' && AUC_KIND_OPEN == 'o' &&
	   AUC_KIND_PROXY == 'p' && AUC_ROUTE_TABLE == 't' &&
	   AUC_ROUTE_REDIS == 'r' && auc_level_of_letter('r') == AUC_LEVEL_REDIS &&
	   auc_level_of_letter('p') == AUC_LEVEL_REPLICA &&
	   auc_level_of_letter('j') == AUC_LEVEL_JOURNAL &&
	   auc_level_letter(AUC_LEVEL_REDIS) == 'r' &&
	   auc_level_letter(AUC_LEVEL_REPLICA) == 'p' &&
	   auc_level_letter(AUC_LEVEL_JOURNAL) == 'j',
	   "stored values stay what they are");
}

/*
 * The rules once more, by what must be true of a bid rather than by a sequence
 * of tests.  Works on "before", the state as it was.
 */
static AucReason
judge(const AucAuction *auction, int64_t user_id, int64_t amount, int64_t at,
	  const AucState *before)
{
	bool		first = before->bid_count == 0;
	bool		late = at >= before->ends_at ||
		before->last_at >= before->ends_at;
	bool		early = at < auction->starts_at &&
		before->last_at < auction->starts_at;
	bool		high = first ? amount >= before->price :
		amount - before->price >= auction->increment;

	if (before->status == 'q')
		return AUC_REASON_QUARANTINED;
	if (before->status == 'x')
		return AUC_REASON_CANCELLED;
	if (before->status == 'o' && early)
		return AUC_REASON_NOT_STARTED;
	if (before->status != 'o' || late)
		return AUC_REASON_CLOSED;
	if (user_id == auction->seller_id)
		return AUC_REASON_SELLER;
	return high ? AUC_REASON_NONE : AUC_REASON_TOO_LOW;
}

/* What must hold after one random bid. */
static void
check_random_bid(const AucAuction *auction, int64_t user_id, int64_t amount,
				 int64_t at, const AucState *before)
{
	expect(verdict.reason ==
		   judge(auction, user_id, amount, at, before));
	expect(verdict.accepted == (verdict.reason == AUC_REASON_NONE));
	expect(verdict.at == (at > before->last_at ? at : before->last_at));
	expect(verdict.price == state.price);
	expect(verdict.has_leader == (state.bid_count > 0));
	expect(!verdict.has_leader || verdict.leader_id == state.leader_id);
	expect(verdict.ends_at == state.ends_at);
	expect(state.checksum == before->checksum);
	expect(state.status == before->status);
	expect(state.ends_at == before->ends_at);

	if (!verdict.accepted)
	{
		expect(memcmp(before, &state, sizeof(state)) == 0);
		expect(verdict.bid_no == 0);
		return;
	}

	expect(state.price == amount && state.leader_id == user_id);
	expect(state.leader_max == amount);
	expect(state.second_max == AUC_NO_AMOUNT);
	expect(state.price >= auction->start_price);
	expect(before->bid_count == 0 ||
		   state.price >= before->price + auction->increment);
	expect(state.bid_count == before->bid_count + 1);
	expect(verdict.bid_no == state.bid_count);
	expect(state.last_at == verdict.at && state.last_at >= before->last_at);
	expect(state.last_at >= auction->starts_at);
	expect(state.last_at < state.ends_at);
	expect(user_id != auction->seller_id);
}

static void
test_random_bids(void)
{
	long		seen[AUC_REASON_TOO_LOW + 1] = {0};
	int			round;

	tap_seed = 20240601;
	for (round = 0; round < 500; round++)
	{
		AucAuction	auction = plain_sale;
		int64_t		now;
		int			i;

		auction.starts_at = 1000 + (int64_t) tap_below(100);
		auction.start_price = (int64_t) tap_below(1000);
		auction.increment = 1 + (int64_t) tap_below(50);
		auc_rules_init(&auction, auction.starts_at +
					   (int64_t) tap_below(900), &state);
		state.checksum = tap_random();
		now = auction.starts_at - 20;

		for (i = 0; i < 200; i++)
		{
			int64_t		user_id = 1 + (int64_t) tap_below(12);
			int64_t		amount = state.price - 10 +
			(int64_t) tap_below(80);
			int64_t		at;
			AucState	before;

			/* The clock mostly goes on, and now and then back. */
			now += (int64_t) tap_below(8);
			if (tap_below(10) == 0)
				now -= 30;
			at = now;
			if (tap_below(2000) == 0)
				state.status = AUC_STATUS_QUARANTINED;
			if (tap_below(1000) == 0)
				auc_rules_close(at, &state);
			if (tap_below(2000) == 0)
				auc_rules_cancel(at, &state);

			memcpy(&before, &state, sizeof(before));
			auc_rules_bid(&auction, user_id, amount, at, &state, &verdict);
			check_random_bid(&auction, user_id, amount, at, &before);
			seen[verdict.reason]++;
		}
	}
	tap_expected("100000 random bids keep every rule");

	ok(seen[AUC_REASON_NONE] > 1000 && seen[AUC_REASON_NOT_STARTED] > 1000 &&
	   seen[AUC_REASON_CLOSED] > 1000 &&
	   seen[AUC_REASON_CANCELLED] > 1000 &&
	   seen[AUC_REASON_QUARANTINED] > 1000 &&
	   seen[AUC_REASON_SELLER] > 1000 && seen[AUC_REASON_TOO_LOW] > 1000 &&
	   seen[AUC_REASON_UNKNOWN_AUCTION] == 0,
	   "the random bids met every reason that the rules give");
	printf("# accepted %ld, not_started %ld, closed %ld, cancelled %ld, "
		   "quarantined %ld, seller %ld, too_low %ld\n",
		   seen[AUC_REASON_NONE], seen[AUC_REASON_NOT_STARTED],
		   seen[AUC_REASON_CLOSED], seen[AUC_REASON_CANCELLED],
		   seen[AUC_REASON_QUARANTINED], seen[AUC_REASON_SELLER],
		   seen[AUC_REASON_TOO_LOW]);
}

int
main(void)
{
	test_init();
	test_first_bids();
	test_times();
	test_order();
	test_buy_order();
	test_least();
	test_increments();
	test_reserve();
	test_names();
	test_random_bids();
	return tap_done();
}
