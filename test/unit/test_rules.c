/*
 * test_rules.c: the rules of an auction, each by examples at its boundary,
 * then all of them together on random bids against a second formulation.
 */
#include <string.h>

#include "rules.h"
#include "tap.h"

#define SELLER		INT64_C(1)
#define STARTS_AT	INT64_C(1000)
#define ENDS_AT		INT64_C(2000)

static const AucAuction sale = {
	.id = 42,
	.seller_id = SELLER,
	.starts_at = STARTS_AT,
	.start_price = 100,
	.increment = 10,
	.kind = AUC_KIND_OPEN,
	.level = AUC_LEVEL_REDIS
};

static AucState state;
static AucVerdict verdict;

static void
fresh(void)
{
	auc_rules_init(&sale, ENDS_AT, &state);
}

/* A bid on the sale; true if it is accepted. */
static bool
bid(int64_t user_id, int64_t amount, int64_t at)
{
	auc_rules_bid(&sale, user_id, amount, at, &state, &verdict);
	return verdict.accepted;
}

/* A bid on the sale is refused for this reason and changes no byte. */
static bool
refused(AucReason reason, int64_t user_id, int64_t amount, int64_t at)
{
	AucState	before;

	memcpy(&before, &state, sizeof(before));
	return !bid(user_id, amount, at) && verdict.reason == reason &&
		verdict.bid_no == 0 && memcmp(&before, &state, sizeof(before)) == 0;
}

static void
test_init(void)
{
	memset(&state, 0xff, sizeof(state));
	fresh();
	ok(state.status == AUC_STATUS_OPEN && state.price == 100 &&
	   state.ends_at == ENDS_AT, "a new auction is open at its start price");
	ok(state.bid_count == 0 && state.last_at == 0 && state.leader_id == 0 &&
	   state.checksum == 0, "a new auction has no bids");
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
	ok(refused(AUC_REASON_QUARANTINED, SELLER, 1, ENDS_AT),
	   "quarantined goes before everything");
}

static void
test_least(void)
{
	AucAuction	steep = sale;

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

	steep.increment = INT64_MAX;
	auc_rules_init(&steep, ENDS_AT, &state);
	auc_rules_bid(&steep, 7, 100, 1500, &state, &verdict);
	ok(verdict.accepted && auc_rules_least(&steep, &state) == INT64_MAX,
	   "price + increment does not overflow");
	auc_rules_bid(&steep, 8, INT64_MAX, 1500, &state, &verdict);
	ok(!verdict.accepted && verdict.reason == AUC_REASON_TOO_LOW,
	   "an increment beyond every amount leaves one bid");

	steep.start_price = 0;
	steep.increment = 1;
	auc_rules_init(&steep, ENDS_AT, &state);
	auc_rules_bid(&steep, 7, 0, 1500, &state, &verdict);
	ok(verdict.accepted && verdict.has_leader && verdict.price == 0,
	   "a start price of 0 takes a bid of 0");
	auc_rules_bid(&steep, 8, 0, 1500, &state, &verdict);
	ok(!verdict.accepted, "and the next must be 1");
}

static void
test_close(void)
{
	AucState	before;

	fresh();
	ok(!auc_rules_due(&state, ENDS_AT - 1), "not due before ends_at");
	ok(auc_rules_due(&state, ENDS_AT), "due at ends_at");

	bid(7, 100, 1500);
	state.checksum = 77;
	memcpy(&before, &state, sizeof(before));
	ok(auc_rules_close(2100, &state) && state.status == AUC_STATUS_CLOSED &&
	   state.last_at == 2100, "a close closes and is the last change");
	before.status = AUC_STATUS_CLOSED;
	before.last_at = 2100;
	ok(memcmp(&before, &state, sizeof(before)) == 0,
	   "a close changes nothing else");
	ok(!auc_rules_due(&state, INT64_MAX), "a closed auction is not due");
	ok(!auc_rules_close(2200, &state) &&
	   memcmp(&before, &state, sizeof(before)) == 0,
	   "a second close changes nothing");
	ok(refused(AUC_REASON_CLOSED, 8, 200, 1500), "no bid after the close");

	fresh();
	bid(7, 100, 1500);
	ok(auc_rules_close(1200, &state) && state.last_at == 1500,
	   "an early close is possible, its time is clamped");

	fresh();
	state.status = AUC_STATUS_QUARANTINED;
	memcpy(&before, &state, sizeof(before));
	ok(!auc_rules_due(&state, INT64_MAX) && !auc_rules_close(2100, &state) &&
	   memcmp(&before, &state, sizeof(before)) == 0,
	   "a quarantined auction is not closed");
}

static void
test_names(void)
{
	ok(auc_reason_name(AUC_REASON_NONE) == NULL, "no reason has no name");
	ok(strcmp(auc_reason_name(AUC_REASON_UNKNOWN_AUCTION),
			  "unknown_auction") == 0 &&
	   strcmp(auc_reason_name(AUC_REASON_NOT_STARTED), "not_started") == 0 &&
	   strcmp(auc_reason_name(AUC_REASON_CLOSED), "closed") == 0 &&
	   strcmp(auc_reason_name(AUC_REASON_QUARANTINED), "quarantined") == 0 &&
	   strcmp(auc_reason_name(AUC_REASON_SELLER), "seller") == 0 &&
	   strcmp(auc_reason_name(AUC_REASON_TOO_LOW), "too_low") == 0,
	   "names of reasons");
	ok(strcmp(auc_status_name(AUC_STATUS_OPEN), "open") == 0 &&
	   strcmp(auc_status_name(AUC_STATUS_CLOSED), "closed") == 0 &&
	   strcmp(auc_status_name(AUC_STATUS_CONSOLIDATED),
			  "consolidated") == 0 &&
	   strcmp(auc_status_name(AUC_STATUS_QUARANTINED), "quarantined") == 0,
	   "names of status");
	ok(strcmp(auc_route_name(AUC_ROUTE_TABLE), "table") == 0 &&
	   strcmp(auc_route_name(AUC_ROUTE_REDIS), "redis") == 0,
	   "names of routes");
	ok(strcmp(auc_level_name(AUC_LEVEL_REDIS), "redis") == 0 &&
	   strcmp(auc_level_name(AUC_LEVEL_JOURNAL), "journal") == 0,
	   "names of levels");
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
		AucAuction	auction = sale;
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

			memcpy(&before, &state, sizeof(before));
			auc_rules_bid(&auction, user_id, amount, at, &state, &verdict);
			check_random_bid(&auction, user_id, amount, at, &before);
			seen[verdict.reason]++;
		}
	}
	tap_expected("100000 random bids keep every rule");

	ok(seen[AUC_REASON_NONE] > 1000 && seen[AUC_REASON_NOT_STARTED] > 1000 &&
	   seen[AUC_REASON_CLOSED] > 1000 &&
	   seen[AUC_REASON_QUARANTINED] > 1000 &&
	   seen[AUC_REASON_SELLER] > 1000 && seen[AUC_REASON_TOO_LOW] > 1000 &&
	   seen[AUC_REASON_UNKNOWN_AUCTION] == 0,
	   "the random bids met every reason that the rules give");
	printf("# accepted %ld, not_started %ld, closed %ld, quarantined %ld, "
		   "seller %ld, too_low %ld\n", seen[AUC_REASON_NONE],
		   seen[AUC_REASON_NOT_STARTED], seen[AUC_REASON_CLOSED],
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
	test_least();
	test_close();
	test_names();
	test_random_bids();
	return tap_done();
}
