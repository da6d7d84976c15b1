/*
 * test_ending.c: how an auction ends: by a close, by being cancelled, later
 * than planned (soft close), or by a buy-now.
 *
 * What is said of open auctions only stands here, too; a buy-now in a proxy
 * auction is in test_proxy.c.
 */
#include "sale.h"
#include "tap.h"

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

/* The sale is cancelled at 2100, and that changes nothing else. */
static bool
cancels(void)
{
	AucState	after;

	memcpy(&after, &state, sizeof(after));
	after.status = AUC_STATUS_CANCELLED;
	after.last_at = 2100;
	return auc_rules_cancel(2100, &state) &&
		memcmp(&after, &state, sizeof(after)) == 0;
}

static bool
does_not_cancel(AucStatus status)
{
	AucState	before;

	state.status = status;
	memcpy(&before, &state, sizeof(before));
	return !auc_rules_cancel(2100, &state) &&
		memcmp(&before, &state, sizeof(before)) == 0;
}

static void
test_cancel(void)
{
	fresh();
	bid(7, 100, 1500);
	state.checksum = 77;
	ok(cancels() && shows(100, 7) && state.bid_count == 1,
	   "an open auction is cancelled; price and leader stay");
	ok(refused(AUC_REASON_CANCELLED, 8, 200, 1600),
	   "a cancelled auction refuses bids");
	ok(!auc_rules_due(&state, INT64_MAX) && !auc_rules_close(2200, &state) &&
	   state.status == AUC_STATUS_CANCELLED,
	   "it is never due and never closed");
	sale.buy_now_price = 500;
	sale.reserve_price = 300;
	ok(buy_refused(AUC_REASON_CANCELLED, 8, 1600) &&
	   !auc_rules_buy_available(&sale, &state),
	   "it refuses a buy-now, too");

	fresh();
	bid(7, 100, 1500);
	auc_rules_close(2000, &state);
	ok(cancels() && shows(100, 7), "a closed auction is cancelled");

	fresh();
	ok(cancels() && shows_nobody(100), "one without bids, too");
	fresh();
	ok(does_not_cancel(AUC_STATUS_CONSOLIDATED),
	   "not a consolidated one: it is too late");
	ok(does_not_cancel(AUC_STATUS_QUARANTINED), "not a quarantined one");
	ok(does_not_cancel(AUC_STATUS_CANCELLED), "and none twice");

	fresh();
	bid(7, 100, 1500);
	ok(auc_rules_cancel(1200, &state) && state.last_at == 1500,
	   "an earlier time counts as the last one");
}

/*
 * Window 100 before the end at 2000, 150 from the bid on.  Each bid is as much
 * as it must be, so that only its time decides.
 */
static void
soft(int64_t by, int64_t limit)
{
	fresh();
	sale.extend_window = 100;
	sale.extend_by = by;
	sale.extend_limit = limit;
	restart();
}

/* The least acceptable bid at this time makes this the end. */
static bool
ends(int64_t at, int64_t ends_at)
{
	return bid(7, auc_rules_least(&sale, &state), at) &&
		state.ends_at == ends_at && verdict.ends_at == ends_at;
}

static void
test_window(void)
{
	soft(150, INT64_MAX);
	ok(ends(1899, 2000), "one before the window does not move the end");
	ok(ends(1900, 2050), "the window's first moment does");

	soft(150, INT64_MAX);
	ok(ends(1950, 2100), "the new end is measured from the bid's time");
	soft(150, INT64_MAX);
	ok(ends(1999, 2149), "also just before the end");
	soft(150, INT64_MAX);
	ok(refused(AUC_REASON_CLOSED, 7, 100, 2000),
	   "at the end itself it is too late");

	/* 1950 + 150 = 2100; the window is then 2000 .. 2099. */
	soft(150, INT64_MAX);
	ok(ends(1950, 2100) && ends(1999, 2100) && ends(2000, 2150),
	   "the window moves along with the end");
	ok(ends(2149, 2299) && refused(AUC_REASON_CLOSED, 7, 5000, 2299),
	   "every bid in it moves the end, past the planned one");
	ok(!auc_rules_due(&state, 2298) && auc_rules_due(&state, 2299),
	   "due is the end as extended");

	soft(150, INT64_MAX);
	ok(ends(1500, 2000) && refused(AUC_REASON_TOO_LOW, 8, 105, 1990) &&
	   refused(AUC_REASON_SELLER, SELLER, 500, 1990) &&
	   verdict.ends_at == 2000, "a refused bid does not move the end");

	/* By as much as the window: at its first moment it is where it was. */
	soft(100, INT64_MAX);
	ok(ends(1900, 2000) && ends(1901, 2001) && ends(1902, 2002),
	   "an extension by the window's length");

	fresh();
	ok(ends(1999, 2000), "without a window the end stays");

	/* A raise is a bid, though nothing is seen of it but the end. */
	soft(150, INT64_MAX);
	sale.kind = AUC_KIND_PROXY;
	ok(bid(7, 500, 1500) && bid(7, 600, 1960) && shows(100, 7) &&
	   state.ends_at == 2110, "a proxy leader's raise moves the end");
	ok(refused(AUC_REASON_ALREADY_LEADING, 7, 600, 2100),
	   "naming the same maximum again does not");
	ok(bid(8, 300, 2100) && shows(310, 7) && state.ends_at == 2250,
	   "a bid that does not take the lead does");
}

static void
test_limit(void)
{
	soft(150, 2100);
	ok(ends(1949, 2099), "an extension to just before the limit");
	ok(ends(1999, 2100), "an extension ends at the limit");
	ok(ends(2050, 2100) && ends(2099, 2100), "and nothing moves it further");
	ok(refused(AUC_REASON_CLOSED, 7, 5000, 2100), "at the limit it is over");

	soft(150, 2100);
	ok(ends(1950, 2100), "an extension to the limit exactly");
	soft(150, ENDS_AT);
	ok(ends(1999, ENDS_AT), "a limit at the planned end: no extension");
	soft(150, 1950);
	ok(ends(1999, ENDS_AT), "the end never moves to an earlier moment");
	soft(150, INT64_MAX);
	state.ends_at = INT64_MAX;
	ok(ends(1999, INT64_MAX), "an end at infinity stays there");
}

/*
 * Only a retraction can be the last change inside the window without having
 * moved the end; so it shows that the time as it counts is what is compared.
 */
static void
test_clamped_extension(void)
{
	soft(150, INT64_MAX);
	ok(ends(1500, 2000), "a bid at 1500");
	retract(1, 1950);
	ok(state.ends_at == 2000 && state.last_at == 1950,
	   "a retraction in the window does not move the end");
	ok(ends(1600, 2100) && verdict.at == 1950,
	   "a clamped bid moves the end from the time that counts");

	soft(150, INT64_MAX);
	ok(ends(1950, 2100) && ends(1400, 2100) && verdict.at == 1950,
	   "a clamped bid outside the window does not");
}

/* Start 100, increment 10, buy-now 500. */
static void
sell_at_500(int64_t reserve_price)
{
	fresh();
	sale.buy_now_price = 500;
	sale.reserve_price = reserve_price;
	restart();
}

static void
test_buy(void)
{
	sell_at_500(AUC_NO_AMOUNT);
	state.checksum = 77;
	ok(auc_rules_buy_available(&sale, &state), "buy now before any bid");
	ok(buy(7, 1500) && shows(500, 7) && state.leader_max == 500 &&
	   state.second_max == AUC_NO_AMOUNT,
	   "the buyer leads at the buy-now price");
	ok(verdict.reason == AUC_REASON_NONE && verdict.bid_no == 1 &&
	   verdict.at == 1500 && verdict.price == 500 &&
	   verdict.leader_id == 7 && verdict.reserve == AUC_RESERVE_NONE,
	   "the verdict is that of a bid");
	ok(state.status == AUC_STATUS_CLOSED && state.bid_count == 1 &&
	   state.last_at == 1500 && state.ends_at == ENDS_AT &&
	   state.retracted == 0 && state.checksum == 77, "and it is over");
	ok(buy_refused(AUC_REASON_CLOSED, 8, 1501) &&
	   buy_refused(AUC_REASON_CLOSED, 7, 1501) &&
	   !auc_rules_buy_available(&sale, &state), "there is one buyer");
	ok(refused(AUC_REASON_CLOSED, 8, 1000, 1501), "and no bid after him");
	ok(!auc_rules_due(&state, INT64_MAX) && !auc_rules_close(2100, &state),
	   "no close follows");

	sell_at_500(AUC_NO_AMOUNT);
	ok(buy_refused(AUC_REASON_SELLER, SELLER, 1500),
	   "the seller does not buy");
	ok(buy_refused(AUC_REASON_NOT_STARTED, 7, STARTS_AT - 1) &&
	   buy_refused(AUC_REASON_CLOSED, 7, ENDS_AT),
	   "nobody buys before the start or from the end on");
	ok(buy(7, STARTS_AT) && verdict.at == STARTS_AT,
	   "but at starts_at itself");
	restart();
	ok(buy(7, ENDS_AT - 1), "and just before the end");

	sell_at_500(AUC_NO_AMOUNT);
	sale.extend_window = 100;
	sale.extend_by = 150;
	ok(buy(7, 1950) && state.ends_at == ENDS_AT,
	   "a buy-now does not move the end");
}

static void
test_buy_available(void)
{
	fresh();
	ok(!auc_rules_buy_available(&sale, &state) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, 7, 1500),
	   "no buy-now price: not available");

	sell_at_500(AUC_NO_AMOUNT);
	ok(bid(8, 100, 1500) && !auc_rules_buy_available(&sale, &state) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, 7, 1500) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, 8, 1500),
	   "without a reserve the first bid ends buy now");

	sell_at_500(300);
	ok(bid(8, 100, 1500) && auc_rules_buy_available(&sale, &state) &&
	   bid(9, 299, 1500) && auc_rules_buy_available(&sale, &state),
	   "with a reserve it is there until that is met");
	ok(buy(7, 1400) && shows(500, 7) && verdict.bid_no == 3 &&
	   verdict.at == 1500 && state.last_at == 1500 &&
	   verdict.reserve == AUC_RESERVE_MET &&
	   state.second_max == AUC_NO_AMOUNT && state.leader_max == 500,
	   "the buyer overtakes the bids, and the reserve is met");

	sell_at_500(300);
	ok(bid(8, 299, 1500) && buy(8, 1500) && shows(500, 8),
	   "the leader may buy");
	sell_at_500(300);
	ok(bid(8, 300, 1500) && !auc_rules_buy_available(&sale, &state) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, 7, 1500) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, 8, 1500),
	   "once the reserve is met it is not available");

	sell_at_500(500);
	ok(bid(8, 499, 1500) && buy(7, 1500) && shows(500, 7) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "a reserve may be as much as the buy-now price");
	fresh();
	sale.start_price = 0;
	sale.buy_now_price = 0;
	restart();
	ok(buy(7, 1500) && shows(0, 7), "0 is a buy-now price, not none");
}

/* A bid of an open auction that is as much as the buy-now price. */
static void
test_bid_reaches_buy_now(void)
{
	sell_at_500(AUC_NO_AMOUNT);
	ok(bid(7, 100, 1500) && bid(8, 490, 1500) && shows(490, 8) &&
	   state.status == AUC_STATUS_OPEN,
	   "open: a bid below the buy-now price is a bid");
	ok(bid(9, 500, 1500) && shows(500, 9) && verdict.bid_no == 3 &&
	   state.status == AUC_STATUS_CLOSED, "open: one that reaches it ends");
	ok(refused(AUC_REASON_CLOSED, 7, 900, 1500), "there is none after it");

	sell_at_500(AUC_NO_AMOUNT);
	ok(bid(7, 9000, 1500) && shows(500, 7) && verdict.price == 500 &&
	   state.leader_max == 9000 && state.status == AUC_STATUS_CLOSED,
	   "open: who bids more pays the buy-now price");
	sell_at_500(300);
	ok(bid(7, 400, 1500) && !auc_rules_buy_available(&sale, &state) &&
	   bid(8, 501, 1500) && shows(500, 8) &&
	   state.status == AUC_STATUS_CLOSED &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "open: that stays so when buy now is not available");

	/* A full increment over 495 is 505; nobody has to pay that. */
	sell_at_500(AUC_NO_AMOUNT);
	ok(bid(7, 495, 1500) && auc_rules_least(&sale, &state) == 500 &&
	   refused(AUC_REASON_TOO_LOW, 8, 499, 1500),
	   "open: the buy-now price is the most that must be bid");
	ok(bid(8, 500, 1500) && shows(500, 8) &&
	   state.status == AUC_STATUS_CLOSED,
	   "open: it is enough though a full increment would be more");
	sell_at_500(AUC_NO_AMOUNT);
	sale.increment = INT64_MAX;
	ok(bid(7, 100, 1500) && auc_rules_least(&sale, &state) == 500 &&
	   refused(AUC_REASON_TOO_LOW, 8, 499, 1500) && bid(8, 503, 1500) &&
	   shows(500, 8), "open: also with an increment beyond every amount");

	sell_at_500(AUC_NO_AMOUNT);
	ok(refused(AUC_REASON_TOO_LOW, 7, AUC_AMOUNT_MAX + 1, 1500),
	   "open: an amount out of range buys nothing");
	ok(refused(AUC_REASON_SELLER, SELLER, 500, 1500),
	   "open: nor does the seller's");
	sale.extend_window = 100;
	sale.extend_by = 150;
	ok(bid(7, 500, 1950) && state.ends_at == ENDS_AT,
	   "open: the bid that ends an auction does not move its end");
}

int
main(void)
{
	test_close();
	test_cancel();
	test_window();
	test_limit();
	test_clamped_extension();
	test_buy();
	test_buy_available();
	test_bid_reaches_buy_now();
	return tap_done();
}
