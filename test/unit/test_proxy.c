/*
 * test_proxy.c: proxy auctions: the bid is the bidder's maximum, the price is
 * what he needs of it to lead.
 *
 * Every example is worked out by hand in the comment above it: the bid, then
 * the price and the leader after it.  Start price 100, increment 10, unless
 * the example says otherwise.  What a retraction does is in test_retract.c.
 */
#include "sale.h"
#include "tap.h"

/*
 * Ann 99	refused, the start price is 100
 * Ann 500	100 Ann
 *
 * Ann 100	100 Ann
 */
static void
test_first_bid(void)
{
	proxy();
	ok(refused(AUC_REASON_TOO_LOW, ANN, 99, NOW),
	   "a first maximum below the start price is too low");
	ok(bid(ANN, 500, NOW) && shows(100, ANN) && hides(500, AUC_NO_AMOUNT) &&
	   verdict.bid_no == 1 && verdict.price == 100,
	   "the first bid shows the start price, whatever its maximum");
	proxy();
	ok(bid(ANN, 100, NOW) && shows(100, ANN),
	   "the start price itself is a maximum");
	proxy();
	ok(bid(ANN, AUC_AMOUNT_MAX, NOW) && shows(100, ANN),
	   "so is the greatest amount");
	proxy();
	ok(refused(AUC_REASON_TOO_LOW, ANN, AUC_AMOUNT_MAX + 1, NOW),
	   "one above the range is not");
	ok(refused(AUC_REASON_SELLER, SELLER, 500, NOW),
	   "the seller has none");
}

/*
 * Ann 500	100 Ann
 * Bob 200	210 Ann		200 + 10
 * Cyd 300	310 Ann		300 + 10
 * Bob 320	330 Ann		320 + 10
 * Cyd 600	510 Cyd		500 + 10
 * Bob 520	530 Cyd		520 + 10
 */
static void
test_second_bidder(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 200, NOW) && shows(210, ANN) &&
	   verdict.bid_no == 2 && verdict.leader_id == ANN,
	   "a lower maximum is accepted and lifts the price a step above it");
	ok(hides(500, 200), "it is the second best");
	ok(bid(CYD, 300, NOW) && shows(310, ANN) && hides(500, 300),
	   "a third bidder's, too");
	ok(bid(BOB, 320, NOW) && shows(330, ANN) && hides(500, 320),
	   "a bidder who does not lead may come again");
	ok(bid(CYD, 600, NOW) && shows(510, CYD) && hides(600, 500),
	   "a higher maximum leads, a step above the best of the others");
	ok(bid(BOB, 520, NOW) && shows(530, CYD) && hides(600, 520),
	   "the best of the others is the last leader's only until it is beaten");
}

/*
 * Ann 500	100 Ann
 * Bob 491	500 Ann		491 + 10 = 501, but Ann goes to 500
 * Bob 510	510 Bob		500 + 10
 *
 * Ann 500	100 Ann
 * Bob 490	500 Ann		490 + 10, and that is all Ann has
 *
 * Ann 500	100 Ann
 * Bob 501	501 Bob		500 + 10 = 510, but Bob goes to 501
 */
static void
test_short_of_a_step(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 491, NOW) && shows(500, ANN),
	   "a leader who is short of a full step shows his own maximum");
	ok(refused(AUC_REASON_TOO_LOW, BOB, 509, NOW) && bid(BOB, 510, NOW) &&
	   shows(510, BOB), "then a full step above that is needed");
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 490, NOW) && shows(500, ANN),
	   "a full step that is just the maximum");
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 501, NOW) && shows(501, BOB) &&
	   hides(501, 500), "who overtakes by less than a step shows all of it");
}

/*
 * Ann 500	100 Ann
 * Bob 500	500 Ann		Ann was first
 * Cyd 509	refused		500 + 10 is the least
 * Cyd 510	510 Cyd		500 + 10
 *
 * Ann 500	100 Ann
 * Bob 600	510 Bob		500 + 10
 * Ann 600	600 Bob		Bob was first at 600, though Ann's first bid is older
 *
 * Ann 100	100 Ann
 * Bob 100	refused		100 + 10 is the least, so there is no tie
 */
static void
test_tie(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 500, NOW) && shows(500, ANN) &&
	   hides(500, 500), "a tie keeps the earlier bidder, at the tied amount");
	ok(refused(AUC_REASON_TOO_LOW, CYD, 509, NOW) &&
	   bid(CYD, 510, NOW) && shows(510, CYD) && hides(510, 500),
	   "both of them are overtaken by a full step");
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 600, NOW) && bid(ANN, 600, NOW) &&
	   shows(600, BOB), "who was first at the tied amount is the earlier");
	proxy();
	ok(bid(ANN, 100, NOW) && refused(AUC_REASON_TOO_LOW, BOB, 100, NOW),
	   "no tie at the visible price: the least bid is a step above it");
}

/*
 * Ann 500	100 Ann
 * Ann 501	100 Ann		less than a step more is enough
 * Bob 200	210 Ann		200 + 10
 * Ann 900	210 Ann
 * Bob 600	610 Ann		600 + 10: the raise counts
 *
 * Ann 500	100 Ann
 * Bob 495	500 Ann		495 + 10 = 505, but Ann goes to 500
 * Ann 503	503 Ann		... to 503
 * Ann 505	505 Ann		the full step
 * Ann 900	505 Ann
 *
 * Ann 500	100 Ann
 * Bob 500	500 Ann		tie
 * Ann 600	510 Ann		500 + 10
 */
static void
test_leader_raises(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(ANN, 501, NOW) && shows(100, ANN) &&
	   hides(501, AUC_NO_AMOUNT) && verdict.bid_no == 2,
	   "the leader alone raises by any amount; the price does not move");
	ok(bid(BOB, 200, NOW) && bid(ANN, 900, NOW) && shows(210, ANN) &&
	   hides(900, 200), "with a second bidder it does not move, either");
	ok(bid(BOB, 600, NOW) && shows(610, ANN),
	   "the maximum as raised is what counts");

	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 495, NOW) && bid(ANN, 503, NOW) &&
	   shows(503, ANN), "a price short of a full step moves with a raise");
	ok(bid(ANN, 505, NOW) && shows(505, ANN) && bid(ANN, 900, NOW) &&
	   shows(505, ANN) && hides(900, 495), "until the step is complete");
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 500, NOW) && bid(ANN, 600, NOW) &&
	   shows(510, ANN) && hides(600, 500), "so does a tie's");
}

/*
 * Ann 500	100 Ann
 * Ann 500, 499, 110, 100, 1	refused
 * Bob 300	310 Ann
 * Ann 500, 499, 311, 310		refused
 * Bob 600	510 Bob
 * Bob 600, 519					refused
 * Ann 519						too low: she does not lead
 */
static void
test_already_leading(void)
{
	const AucReason reason = AUC_REASON_ALREADY_LEADING;

	proxy();
	ok(bid(ANN, 500, NOW) && refused(reason, ANN, 500, NOW) &&
	   refused(reason, ANN, 499, NOW),
	   "the leader's same or a lower maximum is refused");
	ok(refused(reason, ANN, 110, NOW) && refused(reason, ANN, 100, NOW) &&
	   refused(reason, ANN, 1, NOW),
	   "for the same reason at and below the price");
	ok(bid(BOB, 300, NOW) && refused(reason, ANN, 500, NOW) &&
	   refused(reason, ANN, 311, NOW) && refused(reason, ANN, 310, NOW),
	   "also with a second bidder");
	ok(refused(AUC_REASON_TOO_LOW, ANN, AUC_AMOUNT_MAX + 1, NOW),
	   "an amount out of range is no raise");
	ok(bid(BOB, 600, NOW) && refused(reason, BOB, 600, NOW) &&
	   refused(reason, BOB, 519, NOW) &&
	   refused(AUC_REASON_TOO_LOW, ANN, 519, NOW),
	   "who no longer leads is judged like the others");
	ok(refused(AUC_REASON_CLOSED, BOB, 600, ENDS_AT),
	   "closed goes before already_leading");

	fresh();
	ok(bid(ANN, 500, NOW) && refused(AUC_REASON_TOO_LOW, ANN, 500, NOW) &&
	   bid(ANN, 510, NOW) && shows(510, ANN),
	   "an open auction's leader is judged like the others");
}

/*
 * Ann 500	100 Ann		the least is 110
 * Bob 109	refused
 * Bob 110	120 Ann		the least is 130
 * Cyd 129	refused
 * Cyd 130	140 Ann
 */
static void
test_least(void)
{
	proxy();
	ok(auc_rules_least(&sale, &state) == 100 && bid(ANN, 500, NOW) &&
	   auc_rules_least(&sale, &state) == 110 &&
	   refused(AUC_REASON_TOO_LOW, BOB, 109, NOW) && verdict.price == 100,
	   "the least bid is a step above the visible price");
	ok(bid(BOB, 110, NOW) && shows(120, ANN) &&
	   refused(AUC_REASON_TOO_LOW, CYD, 129, NOW) &&
	   bid(CYD, 130, NOW) && shows(140, ANN),
	   "so that it does not tell the leader's maximum");
}

/*
 * eBay's table in cents: from 100 on 25, from 500 on 50, from 2500 on 100,
 * from 10000 on 250.
 *
 * Ann 10000	100 Ann		the least is 100 + 25
 * Bob 124		refused
 * Bob 125		150 Ann		125 + 25
 * Bob 499		524 Ann		499 + 25; the least is 524 + 50
 * Bob 573		refused
 * Bob 574		624 Ann		574 + 50
 * Cyd 2499		2549 Ann	2499 + 50; the least is 2549 + 100
 * Cyd 2648		refused
 * Cyd 2649		2749 Ann	2649 + 100
 * Bob 20000	10250 Bob	10000 + 250
 *
 * Ann 110		100 Ann
 * Bob 140		135 Bob		110 + 25
 *
 * From 0 on 100, from 1000 on 10:
 *
 * Ann 5000		100 Ann
 * Bob 999		1099 Ann	999 + 100; the least is 1099 + 10
 * Bob 1108		refused
 * Bob 1109		1119 Ann	1109 + 10
 */
static void
test_increment_table(void)
{
	static const AucIncrements falling = {
		.n = 2, .step = {{0, 100}, {1000, 10}}
	};

	proxy();
	sale.increments = &ebay_us;
	ok(bid(ANN, 10000, NOW) && shows(100, ANN) &&
	   refused(AUC_REASON_TOO_LOW, BOB, 124, NOW) &&
	   bid(BOB, 125, NOW) && shows(150, ANN),
	   "table: the first step counts from its price on");
	ok(bid(BOB, 499, NOW) && shows(524, ANN),
	   "table: the step is measured at the second maximum");
	ok(refused(AUC_REASON_TOO_LOW, BOB, 573, NOW) &&
	   bid(BOB, 574, NOW) && shows(624, ANN),
	   "table: the least bid is measured at the price");
	ok(bid(CYD, 2499, NOW) && shows(2549, ANN) &&
	   refused(AUC_REASON_TOO_LOW, CYD, 2648, NOW) &&
	   bid(CYD, 2649, NOW) && shows(2749, ANN), "table: two steps more");
	ok(bid(BOB, 20000, NOW) && shows(10250, BOB) && hides(20000, 10000),
	   "table: the step above the old leader is the one at his maximum");
	restart();
	ok(bid(ANN, 110, NOW) && bid(BOB, 140, NOW) && shows(135, BOB),
	   "table: an overtaking bid with something to spare");

	proxy();
	sale.increments = &falling;
	ok(bid(ANN, 5000, NOW) && bid(BOB, 999, NOW) && shows(1099, ANN) &&
	   refused(AUC_REASON_TOO_LOW, BOB, 1108, NOW) &&
	   bid(BOB, 1109, NOW) && shows(1119, ANN),
	   "table: where steps become smaller the price still rises");
}

/* An increment that exceeds every amount: the leader shows his maximum. */
static void
test_no_overflow(void)
{
	proxy();
	sale.increment = INT64_MAX;
	ok(bid(ANN, 500, NOW) && auc_rules_least(&sale, &state) == INT64_MAX &&
	   refused(AUC_REASON_TOO_LOW, BOB, AUC_AMOUNT_MAX, NOW) &&
	   bid(ANN, 501, NOW) && shows(100, ANN),
	   "an increment beyond every amount leaves one bidder");
	sale.increment = 10;
	ok(bid(BOB, 400, NOW), "a second maximum, with a smaller increment");
	sale.increment = INT64_MAX;
	ok(bid(ANN, 502, NOW) && shows(502, ANN),
	   "second maximum + increment does not overflow");
}

/*
 * Reserve 1000:
 *
 * Ann 500	100 Ann		not met
 * Bob 700	510 Bob		500 + 10, not met
 * Bob 999	510 Bob		not met
 * Cyd 1000	1009 would be 999 + 10, Cyd goes to 1000: 1000 Cyd, met
 *
 * Ann 500	100 Ann		not met
 * Bob 1000	1000 Bob	500 + 10, lifted: met
 *
 * Ann 999	100 Ann		not met
 * Bob 999	999 Ann		tie, not met
 * Ann 1000	1000 Ann	999 + 10, Ann goes to 1000: met
 *
 * Ann 999	100 Ann		not met
 * Ann 1200	1000 Ann	met by a raise, nobody else is there
 */
static void
test_reserve_reached(void)
{
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 500, NOW) && shows(100, ANN) &&
	   verdict.reserve == AUC_RESERVE_NOT_MET,
	   "reserve: a maximum below it shows the start price, not met");
	ok(bid(BOB, 700, NOW) && shows(510, BOB) &&
	   verdict.reserve == AUC_RESERVE_NOT_MET && bid(BOB, 999, NOW) &&
	   shows(510, BOB) && verdict.reserve == AUC_RESERVE_NOT_MET,
	   "reserve: not before a maximum reaches it, by however little");
	ok(bid(CYD, 1000, NOW) && shows(1000, CYD) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "reserve: a maximum of exactly that meets it");

	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 500, NOW) && bid(BOB, 1000, NOW) && shows(1000, BOB) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "reserve: a maximum that reaches it lifts the price to it");
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 999, NOW) && bid(BOB, 999, NOW) && shows(999, ANN) &&
	   verdict.reserve == AUC_RESERVE_NOT_MET && bid(ANN, 1000, NOW) &&
	   shows(1000, ANN) && verdict.reserve == AUC_RESERVE_MET,
	   "reserve: two maxima just below it do not meet it");
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 999, NOW) && shows(100, ANN) && bid(ANN, 1200, NOW) &&
	   shows(1000, ANN) && verdict.reserve == AUC_RESERVE_MET,
	   "reserve: the leader's raise lifts the price to it");
	ok(bid(ANN, 1300, NOW) && shows(1000, ANN),
	   "reserve: and the next raise moves nothing");
}

/*
 * Reserve 1000:
 *
 * Ann 2000	1000 Ann	met at once; the least is 1010
 * Bob 1009	refused
 * Bob 1010	1020 Ann
 * Bob 1500	1510 Ann	the reserve no longer matters
 *
 * Ann 995	100 Ann		not met
 * Bob 1200	1005 Bob	995 + 10 is above it
 *
 * Ann 2000	1000 Ann
 * Bob 3000	2010 Bob	2000 + 10
 */
static void
test_reserve_exceeded(void)
{
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 2000, NOW) && shows(1000, ANN) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "reserve: the first maximum above it shows it");
	ok(refused(AUC_REASON_TOO_LOW, BOB, 1009, NOW) &&
	   verdict.reserve == AUC_RESERVE_MET && bid(BOB, 1010, NOW) &&
	   shows(1020, ANN), "reserve: the least bid is a step above it");
	ok(bid(BOB, 1500, NOW) && shows(1510, ANN) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "reserve: a second maximum above it sets the price");
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 995, NOW) && verdict.reserve == AUC_RESERVE_NOT_MET &&
	   bid(BOB, 1200, NOW) && shows(1005, BOB) &&
	   verdict.reserve == AUC_RESERVE_MET,
	   "reserve: a step that leads past it is not cut back to it");
	proxy_with(1000, AUC_NO_AMOUNT);
	ok(bid(ANN, 2000, NOW) && bid(BOB, 3000, NOW) && shows(2010, BOB),
	   "reserve: two maxima above it");
}

/*
 * Reserve 1000, buy now 5000:
 *
 * Ann 500	100 Ann
 * Bob 700	510 Bob
 * Cyd buys	5000 Cyd, closed; second 700
 *
 * Ann 500	100 Ann
 * Ann buys	5000 Ann, closed; nobody else
 *
 * Ann 700, Bob 500		510 Ann
 * Bob buys	5000 Bob; the best of the others is Ann's 700
 */
static void
test_buy(void)
{
	proxy_with(1000, 5000);
	ok(bid(ANN, 500, NOW) && bid(BOB, 700, NOW) &&
	   auc_rules_buy_available(&sale, &state) && buy(CYD, NOW) &&
	   shows(5000, CYD) && hides(5000, 700) && verdict.bid_no == 3,
	   "buy now over bids that do not meet the reserve");
	ok(state.status == AUC_STATUS_CLOSED &&
	   verdict.reserve == AUC_RESERVE_MET && state.ends_at == ENDS_AT,
	   "it is over, and the reserve is met");
	ok(buy_refused(AUC_REASON_CLOSED, BOB, NOW) &&
	   refused(AUC_REASON_CLOSED, CYD, 6000, NOW), "nothing comes after it");

	proxy_with(1000, 5000);
	ok(bid(ANN, 500, NOW) && buy(ANN, NOW) && shows(5000, ANN) &&
	   hides(5000, AUC_NO_AMOUNT), "the leader may buy");
	proxy_with(1000, 5000);
	ok(bid(ANN, 700, NOW) && bid(BOB, 500, NOW) && buy(BOB, NOW) &&
	   shows(5000, BOB) && hides(5000, 700), "so may who is second");
	proxy_with(AUC_NO_AMOUNT, 5000);
	ok(buy(ANN, NOW) && shows(5000, ANN) && hides(5000, AUC_NO_AMOUNT) &&
	   verdict.bid_no == 1, "the buyer alone pays the buy-now price, too");
	proxy_with(5000, 5000);
	ok(bid(ANN, 4999, NOW) && shows(100, ANN) && buy(BOB, NOW) &&
	   shows(5000, BOB) && hides(5000, 4999),
	   "a reserve of the buy-now price");
}

/*
 * Reserve 1000, buy now 5000:
 *
 * Ann 999	100 Ann		available
 * Ann 1000	1000 Ann	no more
 *
 * No reserve, buy now 5000:
 *
 * Ann 9000	100 Ann		goes on, though the maximum is above 5000
 * Bob 8000	8010 Ann
 */
static void
test_buy_not_available(void)
{
	proxy_with(1000, 5000);
	ok(bid(ANN, 999, NOW) && auc_rules_buy_available(&sale, &state) &&
	   bid(ANN, 1000, NOW) && !auc_rules_buy_available(&sale, &state) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, BOB, NOW) &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, ANN, NOW),
	   "buy now ends when the reserve is met");
	proxy_with(AUC_NO_AMOUNT, 5000);
	ok(bid(ANN, 9000, NOW) && shows(100, ANN) &&
	   state.status == AUC_STATUS_OPEN &&
	   buy_refused(AUC_REASON_NOT_AVAILABLE, BOB, NOW),
	   "without a reserve it ends with the first bid, of any amount");
	ok(bid(BOB, 8000, NOW) && shows(8010, ANN) &&
	   state.status == AUC_STATUS_OPEN,
	   "the buy-now price is no limit to a proxy auction's price");

	/* 4995 + 10 = 5005: a proxy auction's least bid is not cut. */
	proxy_with(AUC_NO_AMOUNT, 5000);
	ok(bid(ANN, 4995, NOW) && bid(BOB, 4995, NOW) && shows(4995, ANN) &&
	   auc_rules_least(&sale, &state) == 5005 &&
	   refused(AUC_REASON_TOO_LOW, CYD, 5000, NOW),
	   "nor to its least bid");
}

/*
 * Ann 500	100 Ann
 * Bob 600	510 Bob		500 + 10
 * Ann 550	560 Bob		550 + 10: better than her 500, not enough
 * Ann 700	610 Ann		600 + 10
 * Ann 800	610 Ann		now she raises as the leader
 * Bob 750	760 Ann		750 + 10
 * Cyd 900	810 Cyd		800 + 10
 * Bob 850	860 Cyd		850 + 10
 * Ann 1000	910 Ann		900 + 10: Cyd's, not Bob's
 */
static void
test_comes_back(void)
{
	proxy();
	ok(bid(ANN, 500, NOW) && bid(BOB, 600, NOW) && bid(ANN, 550, NOW) &&
	   shows(560, BOB) && hides(600, 550),
	   "an overtaken leader who comes back, but not high enough");
	ok(bid(ANN, 700, NOW) && shows(610, ANN) && hides(700, 600),
	   "an overtaken leader who leads again: her old bid is not the second");
	ok(bid(ANN, 800, NOW) && shows(610, ANN) &&
	   bid(BOB, 750, NOW) && shows(760, ANN), "and raises again");
	ok(bid(CYD, 900, NOW) && shows(810, CYD) && bid(BOB, 850, NOW) &&
	   shows(860, CYD) && bid(ANN, 1000, NOW) && shows(910, ANN) &&
	   hides(1000, 900) && verdict.bid_no == 9, "with three of them");
}

int
main(void)
{
	test_first_bid();
	test_second_bidder();
	test_short_of_a_step();
	test_tie();
	test_leader_raises();
	test_already_leading();
	test_least();
	test_increment_table();
	test_no_overflow();
	test_reserve_reached();
	test_reserve_exceeded();
	test_buy();
	test_buy_not_available();
	test_comes_back();
	return tap_done();
}
