/*
 * test_retract.c: a bid is retracted: price and leader are as if it had never
 * been placed.
 *
 * As in test_proxy.c every example is worked out by hand: the bid with its
 * number, then the price and the leader after it.  Start price 100, increment
 * 10.
 */
#include "sale.h"
#include "tap.h"

/*
 * 1 Ann 500	100 Ann
 * 2 Bob 300	310 Ann
 * 3 Cyd 700	510 Cyd
 * 3 retracted	310 Ann		as after 2
 * 4 Cyd 400	410 Ann
 */
static void
test_leader(void)
{
	AucState	before;

	proxy();
	bid(ANN, 500, NOW);
	bid(BOB, 300, NOW);
	memcpy(&before, &state, sizeof(before));
	ok(bid(CYD, 700, NOW) && shows(510, CYD), "three bids");

	state.checksum = before.checksum = 77;
	retract(3, 1600);
	ok(shows(310, ANN) && hides(500, 300),
	   "the leader's bid: the next best leads, at his old price");
	ok(state.bid_count == 3 && state.retracted == 1 &&
	   state.last_at == 1600, "the bid still counts, as a retracted one");
	before.bid_count = 3;
	before.retracted = 1;
	before.last_at = 1600;
	ok(memcmp(&before, &state, sizeof(before)) == 0,
	   "all else is as before the bid, and its checksum stays");
	ok(bid(CYD, 400, 1600) && verdict.bid_no == 4 && shows(410, ANN) &&
	   state.retracted == 1, "the next bid gets the next number");
}

/*
 * 1 Ann 500	100 Ann
 * 2 Bob 300	310 Ann
 * 3 Cyd 400	410 Ann
 * 2 retracted	410 Ann		it was not the second best
 * 3 retracted	100 Ann		nobody else
 */
static void
test_others(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 300, NOW) && bid(CYD, 400, NOW) &&
	   shows(410, ANN), "a leader, a second, and a losing one");
	retract(2, NOW);
	ok(shows(410, ANN) && hides(500, 400) && state.retracted == 1,
	   "a losing bid: nothing is seen of it");
	retract(3, NOW);
	ok(shows(100, ANN) && hides(500, AUC_NO_AMOUNT) && state.retracted == 2,
	   "the only second bid: the leader is alone at the start price");

	proxy();
	bid(ANN, 500, NOW);
	bid(BOB, 300, NOW);
	bid(CYD, 400, NOW);
	retract(3, NOW);
	ok(shows(310, ANN) && hides(500, 300),
	   "the second best bid: the third best sets the price");

	/* 2 Bob 300, 3 Bob 400: without 3 his 300 counts again. */
	proxy();
	bid(ANN, 500, NOW);
	bid(BOB, 300, NOW);
	bid(BOB, 400, NOW);
	retract(3, NOW);
	ok(shows(310, ANN) && hides(500, 300),
	   "a bidder's better bid: his earlier one counts again");
	retract(2, NOW);
	ok(shows(100, ANN) && auc_rules_least(&sale, &state) == 110,
	   "the least bid follows the price");
}

/*
 * 1 Ann 500	100 Ann
 * 2 Bob 300	310 Ann
 * 3 Ann 800	310 Ann		a raise
 * 4 Bob 600	610 Ann
 * 3 retracted	510 Bob		600 leads against Ann's 500
 *
 * 1 Ann 500	100 Ann
 * 2 Bob 495	500 Ann		505, but Ann goes to 500
 * 3 Ann 600	505 Ann
 * 3 retracted	500 Ann
 *
 * 1 Ann 500	100 Ann
 * 2 Ann 800	100 Ann
 * 3 Bob 500	510 Ann
 * 2 retracted	500 Ann		a tie, and her 500 is the earlier
 * 2 and 1 the other way round: 1 retracted	510 Ann
 *
 * 1 Ann 500	100 Ann
 * 2 Ann 800	100 Ann
 * 3 Bob 300	310 Ann
 * 3 retracted	100 Ann		her own 500 is nobody else's
 */
static void
test_raise(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 300, NOW) && bid(ANN, 800, NOW) &&
	   bid(BOB, 600, NOW) && shows(610, ANN), "a raise that kept the lead");
	retract(3, NOW);
	ok(shows(510, BOB) && hides(600, 500),
	   "a leader's raise: the other one leads against the first maximum");

	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 495, NOW) && bid(ANN, 600, NOW) &&
	   shows(505, ANN), "a raise that completed a step");
	retract(3, NOW);
	ok(shows(500, ANN) && hides(500, 495),
	   "a leader's raise: short of the step again");

	proxy();
	ok(bid(ANN, 500, NOW) && bid(ANN, 800, NOW) && bid(BOB, 500, NOW) &&
	   shows(510, ANN), "a raise, then another bidder's first amount");
	retract(2, NOW);
	ok(shows(500, ANN) && hides(500, 500),
	   "a leader's raise: the first maximum is the earlier in a tie");
	proxy();
	bid(ANN, 500, NOW);
	bid(ANN, 800, NOW);
	bid(BOB, 500, NOW);
	retract(1, NOW);
	ok(shows(510, ANN) && hides(800, 500),
	   "the bid before a raise: nothing is seen of it");
	proxy();
	bid(ANN, 500, NOW);
	bid(ANN, 800, NOW);
	bid(BOB, 300, NOW);
	retract(3, NOW);
	ok(shows(100, ANN) && hides(800, AUC_NO_AMOUNT),
	   "what the leader raised is not the second best");
}

/*
 * From 0 on 100, from 1000 on 10:
 *
 * 1 Ann 950	100 Ann
 * 2 Bob 1000	1000 Bob	950 + 100 = 1050, but Bob goes to 1000
 * 3 Cyd 5000	1010 Cyd	1000 + 10
 * 2 retracted	1050 Cyd	950 + 100
 */
static void
test_falling_steps(void)
{
	static const AucIncrements falling = {
		.n = 2, .step = {{0, 100}, {1000, 10}}
	};

	proxy();
	sale.increments = &falling;
	ok(bid(ANN, 950, NOW) && bid(BOB, 1000, NOW) && shows(1000, BOB) &&
	   bid(CYD, 5000, NOW) && shows(1010, CYD), "steps that become smaller");
	retract(2, NOW);
	ok(shows(1050, CYD) && hides(5000, 950),
	   "there a lower second may make a higher price");
}

/*
 * 1 Ann 500	100 Ann
 * 2 Bob 500	500 Ann
 * 1 retracted	100 Bob		alone
 *
 * 1 Ann 500, 2 Bob 500, and 3 Cyd 700	510 Cyd
 * 3 retracted	500 Ann
 *
 * 1 Ann 500	100 Ann
 * 2 Bob 800	510 Bob
 * 3 Ann 600	610 Bob
 * 4 Cyd 800	800 Bob
 * 5 Ann 900	810 Ann
 * 2 retracted	810 Ann		Cyd's 800
 * 5 retracted	610 Cyd		Ann's 600
 */
static void
test_tie(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 500, NOW) && shows(500, ANN), "a tie");
	retract(1, NOW);
	ok(shows(100, BOB) && hides(500, AUC_NO_AMOUNT),
	   "a tie's earlier bid: the later one leads");
	proxy();
	bid(ANN, 500, NOW);
	bid(BOB, 500, NOW);
	retract(2, NOW);
	ok(shows(100, ANN) && hides(500, AUC_NO_AMOUNT),
	   "a tie's later bid: the earlier one is alone");
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 500, NOW) && bid(CYD, 700, NOW) &&
	   shows(510, CYD), "a tie that is overtaken");
	retract(3, NOW);
	ok(shows(500, ANN) && hides(500, 500),
	   "who overtook a tie: the earlier of it leads again");

	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 800, NOW) && bid(ANN, 600, NOW) &&
	   shows(610, BOB) && bid(CYD, 800, NOW) && shows(800, BOB) &&
	   bid(ANN, 900, NOW) && shows(810, ANN), "five bids of three");
	retract(2, NOW);
	ok(shows(810, ANN) && hides(900, 800),
	   "one of two equal seconds: the other one sets the same price");
	retract(5, NOW);
	ok(shows(610, CYD) && hides(800, 600) && state.bid_count == 5 &&
	   state.retracted == 2, "two retractions after one another");
}

/*
 * 1 Ann 500, 2 Bob 300: both retracted
 * 3 Cyd 100	100 Cyd
 */
static void
test_all(void)
{
	proxy();
	bid(ANN, 500, NOW);
	bid(BOB, 300, NOW);
	retract(1, NOW);
	ok(shows(100, BOB), "one of two");
	retract(2, NOW);
	ok(shows_nobody(100) && state.bid_count == 2 && state.retracted == 2 &&
	   state.status == AUC_STATUS_OPEN,
	   "all bids: the start price, and nobody leads");
	ok(auc_rules_least(&sale, &state) == 100 &&
	   refused(AUC_REASON_TOO_LOW, CYD, 99, NOW) && bid(CYD, 100, NOW) &&
	   shows(100, CYD) && verdict.bid_no == 3 && state.retracted == 2,
	   "then the start price is enough, and the numbers go on");
	proxy();
	bid(ANN, 500, NOW);
	retract(1, NOW);
	ok(bid(ANN, 200, NOW) && shows(100, ANN) && hides(200, AUC_NO_AMOUNT),
	   "who retracted may bid again, and less");
}

/*
 * Reserve 1000, buy now 5000:
 *
 * 1 Ann 500	100 Ann
 * 2 Bob 700	510 Bob
 * 3 Cyd buys	5000 Cyd, closed
 * 3 retracted	510 Bob, closed
 *
 * 2 retracted instead	5000 Cyd, closed
 */
static void
test_buy_now(void)
{
	proxy_with(1000, 5000);
	ok(bid(ANN, 500, NOW) && bid(BOB, 700, NOW) && buy(CYD, NOW) &&
	   shows(5000, CYD) && auc_rules_retractable(&state),
	   "two bids and a buy-now");
	retract(3, 1600);
	ok(shows(510, BOB) && hides(700, 500) &&
	   state.status == AUC_STATUS_CLOSED &&
	   auc_rules_reserve(&sale, &state) == AUC_RESERVE_NOT_MET,
	   "a buy-now: the best bid leads, but it stays closed");
	ok(buy_refused(AUC_REASON_CLOSED, CYD, 1600) &&
	   refused(AUC_REASON_CLOSED, CYD, 900, 1600) &&
	   !auc_rules_buy_available(&sale, &state), "nobody buys or bids again");

	proxy_with(1000, 5000);
	bid(ANN, 500, NOW);
	bid(BOB, 700, NOW);
	buy(CYD, NOW);
	retract(2, NOW);
	ok(shows(5000, CYD) && hides(5000, 500) &&
	   state.status == AUC_STATUS_CLOSED,
	   "another bid: the buyer leads at the buy-now price");
	proxy_with(1000, 5000);
	bid(ANN, 500, NOW);
	buy(ANN, NOW);
	retract(2, NOW);
	ok(shows(100, ANN) && hides(500, AUC_NO_AMOUNT),
	   "a buyer's own bid before is a maximum again");
	proxy_with(AUC_NO_AMOUNT, 5000);
	buy(ANN, NOW);
	retract(1, NOW);
	ok(shows_nobody(100) && state.status == AUC_STATUS_CLOSED &&
	   state.bid_count == 1 && state.retracted == 1,
	   "the only bid was a buy-now: closed, and nobody leads");
}

/*
 * No reserve, buy now 5000: the first bid ends it, its retraction brings it
 * back.  Reserve 1000: 2 Bob 1200 meets it, Ann's 500 does not.
 */
static void
test_available_again(void)
{
	proxy_with(AUC_NO_AMOUNT, 5000);
	bid(ANN, 500, NOW);
	bid(BOB, 600, NOW);
	retract(1, NOW);
	ok(buy_refused(AUC_REASON_NOT_AVAILABLE, CYD, NOW),
	   "buy now is not available while one bid stands");
	retract(2, NOW);
	ok(auc_rules_buy_available(&sale, &state) && buy(CYD, NOW) &&
	   shows(5000, CYD) && verdict.bid_no == 3,
	   "it is when none does any more");

	proxy_with(1000, 5000);
	ok(bid(ANN, 500, NOW) && bid(BOB, 1200, NOW) && shows(1000, BOB) &&
	   !auc_rules_buy_available(&sale, &state), "a bid met the reserve");
	retract(2, NOW);
	ok(shows(100, ANN) &&
	   auc_rules_reserve(&sale, &state) == AUC_RESERVE_NOT_MET &&
	   auc_rules_buy_available(&sale, &state) && buy(CYD, NOW),
	   "without it the reserve is not met, and buy now available");
	proxy_with(1000, 5000);
	bid(ANN, 1100, NOW);
	bid(BOB, 2000, NOW);
	retract(2, NOW);
	ok(shows(1000, ANN) &&
	   auc_rules_reserve(&sale, &state) == AUC_RESERVE_MET &&
	   !auc_rules_buy_available(&sale, &state),
	   "the next best met it, too: the price falls no lower than that");
}

/* Window 100, 150 from the bid on: 1950 makes the end 2100. */
static void
test_end_and_time(void)
{
	proxy();
	sale.extend_window = 100;
	sale.extend_by = 150;
	ok(bid(ANN, 500, NOW) && bid(BOB, 300, 1950) && state.ends_at == 2100,
	   "a bid in the window");
	retract(2, 1960);
	ok(state.ends_at == 2100 && shows(100, ANN) && state.last_at == 1960,
	   "an end that was extended stays extended");
	retract(1, 1700);
	ok(state.last_at == 1960 && state.ends_at == 2100,
	   "a retraction's earlier time counts as the last one");
}

/*
 * 1 Ann 100	100 Ann
 * 2 Bob 150	150 Bob
 * 3 Cyd 200	200 Cyd
 * 2 retracted	200 Cyd
 * 3 retracted	100 Ann
 * 4 Bob 110	110 Bob
 *
 * Buy now 500: 1 Ann 100, 2 Bob 700 ends it at 500.
 */
static void
test_open(void)
{
	fresh();
	bid(ANN, 100, NOW);
	bid(BOB, 150, NOW);
	bid(CYD, 200, NOW);
	retract(2, NOW);
	ok(shows(200, CYD) && hides(200, AUC_NO_AMOUNT),
	   "open: a bid that does not lead: nothing is seen of it");
	retract(3, NOW);
	ok(shows(100, ANN) && hides(100, AUC_NO_AMOUNT),
	   "open: the leader's: the best that stands is the price");
	ok(refused(AUC_REASON_TOO_LOW, BOB, 109, NOW) && bid(BOB, 110, NOW) &&
	   shows(110, BOB) && verdict.bid_no == 4,
	   "open: the next bid is measured at that");
	retract(1, NOW);
	retract(4, NOW);
	ok(shows_nobody(100) && state.bid_count == 4 && state.retracted == 4,
	   "open: all bids");

	fresh();
	sale.buy_now_price = 500;
	ok(bid(ANN, 100, NOW) && bid(BOB, 700, NOW) && shows(500, BOB),
	   "open: a bid above the buy-now price");
	retract(1, NOW);
	ok(shows(500, BOB) && hides(700, AUC_NO_AMOUNT),
	   "open: it pays the buy-now price also when counted anew");
	retract(2, NOW);
	ok(shows_nobody(100) && state.status == AUC_STATUS_CLOSED,
	   "open: without it the auction stays closed");
}

static void
test_retractable(void)
{
	fresh();
	ok(auc_rules_retractable(&state), "bids of an open auction");
	state.status = AUC_STATUS_CLOSED;
	ok(auc_rules_retractable(&state), "of a closed one");
	state.status = AUC_STATUS_CONSOLIDATED;
	ok(!auc_rules_retractable(&state), "not of a consolidated one");
	state.status = AUC_STATUS_CANCELLED;
	ok(!auc_rules_retractable(&state), "not of a cancelled one");
	state.status = AUC_STATUS_QUARANTINED;
	ok(!auc_rules_retractable(&state), "not of a quarantined one");
}

/*
 * 1 Ann 500, 2 Bob 700, 3 Ann 700, 4 Cyd 600, 5 Bob 650, in every order: Bob
 * leads, for his 700 is before Ann's; the price is 700, the tied amount.
 */
static void
test_tally_order(void)
{
	static const int64_t user[5] = {ANN, BOB, ANN, CYD, BOB};
	static const int64_t amount[5] = {500, 700, 700, 600, 650};
	int			orders = 0;
	int			code;

	proxy();
	for (code = 0; code < 3125; code++)
	{
		AucTally	tally;
		unsigned	added = 0;
		int			rest = code;
		int			i;

		auc_tally_init(&tally);
		for (i = 0; i < 5; i++, rest /= 5)
		{
			int			no = rest % 5;

			added |= 1u << no;
			auc_tally_add(&tally, user[no], amount[no], no + 1, false);
		}
		if (added != 31)
			continue;			/* not an order: one twice */
		orders++;
		auc_tally_settle(&sale, &tally, &state);
		expect(shows(700, BOB) && hides(700, 700));
		expect(tally.best[0].bid_no == 2 && tally.best[1].bid_no == 3);
	}
	expect(orders == 120);
	tap_expected("the order in which bids are counted does not matter");

	fresh();
	bid(ANN, 100, NOW);
	auc_tally_settle(&sale, &(AucTally) {{{0, AUC_NO_AMOUNT, 0, false},
		{0, AUC_NO_AMOUNT, 0, false}}}, &state);
	ok(shows_nobody(100), "no bids, no leader");
}

int
main(void)
{
	test_leader();
	test_others();
	test_raise();
	test_falling_steps();
	test_tie();
	test_all();
	test_buy_now();
	test_available_again();
	test_end_and_time();
	test_open();
	test_retractable();
	test_tally_order();
	return tap_done();
}
