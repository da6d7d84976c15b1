/*
 * test_shadow.c: a bid decided once more: the same where all is the same, and
 * what is different where something was changed.
 */
#include "record.h"
#include "sale.h"
#include "shadow.h"
#include "tap.h"

static AucShadowEntry entry;
static AucVerdict shadowed;
static AucRecord record;

/* A bid on "sale" as route table decides it; buy: amount 0. */
static void
decide(int64_t user_id, int64_t amount)
{
	memset(&entry, 0, sizeof(entry));
	entry.auction_id = sale.id;
	entry.user_id = user_id;
	entry.amount = amount;
	entry.buy_now = amount == 0;
	entry.at = NOW;
	entry.before = state;
	entry.attributes_len = 2;
	memcpy(entry.attributes, "{}", 2);
	if (entry.buy_now)
		auc_rules_buy(&sale, user_id, NOW, &state, &entry.verdict);
	else
		auc_rules_bid(&sale, user_id, amount, NOW, &state, &entry.verdict);
	if (entry.verdict.accepted)
		state.checksum ^=
			auc_bid_checksum(sale.id, entry.verdict.bid_no, user_id,
							 entry.buy_now ? sale.buy_now_price : amount,
							 entry.verdict.at, NULL, "{}", 2);
	entry.after = state;
}

static unsigned
again(void)
{
	return auc_shadow_decide(&sale, &entry, &shadowed, &record);
}

static unsigned
decide_twice(int64_t user_id, int64_t amount)
{
	decide(user_id, amount);
	return again();
}

static void
test_same(void)
{
	fresh();
	sale.buy_now_price = 500;
	sale.extend_window = ENDS_AT - STARTS_AT;
	sale.extend_by = sale.extend_window;
	restart();
	ok(decide_twice(ANN, 99) == 0, "too low: the same");
	ok(record.kind == 0, "... and there is no record");
	ok(decide_twice(ANN, 100) == 0, "accepted: the same");
	ok(record.kind == AUC_RECORD_BID && record.bid_no == 1 &&
	   record.amount == 100 && record.user_id == ANN &&
	   record.state.checksum == state.checksum, "... with its record");
	ok(entry.after.ends_at > entry.before.ends_at, "(it moved the end)");
	ok(decide_twice(BOB, 600) == 0, "bought by a bid: the same");
	ok(decide_twice(CYD, 700) == 0, "closed: the same");

	fresh();
	sale.buy_now_price = 500;
	restart();
	ok(decide_twice(ANN, 0) == 0, "bought: the same");
	ok(record.kind == AUC_RECORD_BUY && record.amount == 500,
	   "... with its record");
}

static void
test_different(void)
{
	char		words[100];
	char		few[8];
	unsigned	differs;

	fresh();
	decide(ANN, 100);
	decide(BOB, 110);
	sale.increment = 50;
	differs = again();
	ok(entry.verdict.accepted && !shadowed.accepted &&
	   shadowed.reason == AUC_REASON_TOO_LOW, "another increment");
	ok((differs & AUC_DIFFERS_ACCEPTED) && (differs & AUC_DIFFERS_PRICE) &&
	   (differs & AUC_DIFFERS_LEADER) && (differs & AUC_DIFFERS_COUNT),
	   "... and what comes of it");
	ok(auc_shadow_words(differs, words, sizeof(words)) == strlen(words) &&
	   strcmp(words, "accepted, reason, bid_no, price, leader, maxima, "
			  "bid_count, checksum") == 0, "... in words");
	ok(auc_shadow_words(differs, few, sizeof(few)) == 7 &&
	   strcmp(few, "accepte") == 0, "no more of them than there is room");
	ok(auc_shadow_words(0, words, sizeof(words)) == 0 && words[0] == '\0',
	   "nothing differs");

	fresh();
	sale.kind = AUC_KIND_PROXY;
	restart();
	decide(ANN, 300);
	entry.after.leader_max++;
	ok(again() == AUC_DIFFERS_MAXIMA, "a maximum that nobody sees");
	entry.after = state;
	entry.after.checksum++;
	ok(again() == AUC_DIFFERS_CHECKSUM, "a checksum");
	entry.after = state;
	entry.after.status = AUC_STATUS_CLOSED;
	ok(again() == AUC_DIFFERS_STATUS, "a status");
	entry.after = state;
	entry.after.retracted = 1;
	ok(again() == AUC_DIFFERS_COUNT, "a retraction");
	entry.after = state;
	entry.verdict.reserve = AUC_RESERVE_MET;
	ok(again() == AUC_DIFFERS_RESERVE, "a reserve");
	ok(!auc_shadow_same_state(&entry.before, &entry.after) &&
	   auc_shadow_same_state(&state, &entry.after), "same_state");
}

int
main(void)
{
	test_same();
	test_different();
	return tap_done();
}
