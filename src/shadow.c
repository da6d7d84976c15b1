/*
 * shadow.c: see shadow.h.
 */
#include "shadow.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	"accepted", "reason", "bid_no", "price", "leader", "maxima",
	"reserve_met", "ends_at", "status", "time", "bid_count", "checksum"
};

/* ---- comparing ---- */

static bool
same_leader(bool has_a, int64_t a, bool has_b, int64_t b)
{
	return has_a == has_b && (!has_a || a == b);
}

static unsigned
compare_verdicts(const AucVerdict *a, const AucVerdict *b)
{
	unsigned	differs = 0;

	if (a->accepted != b->accepted)
		differs |= AUC_DIFFERS_ACCEPTED;
	if (a->reason != b->reason)
		differs |= AUC_DIFFERS_REASON;
	if (a->bid_no != b->bid_no)
		differs |= AUC_DIFFERS_BID_NO;
	if (a->at != b->at)
		differs |= AUC_DIFFERS_TIME;
	if (a->price != b->price)
		differs |= AUC_DIFFERS_PRICE;
	if (!same_leader(a->has_leader, a->leader_id, b->has_leader, b->leader_id))
		differs |= AUC_DIFFERS_LEADER;
	if (a->reserve != b->reserve)
		differs |= AUC_DIFFERS_RESERVE;
	if (a->ends_at != b->ends_at)
		differs |= AUC_DIFFERS_ENDS_AT;
	return differs;
}

static unsigned
compare_states(const AucState *a, const AucState *b)
{
	unsigned	differs = 0;

	if (a->ends_at != b->ends_at)
		differs |= AUC_DIFFERS_ENDS_AT;
	if (a->last_at != b->last_at)
		differs |= AUC_DIFFERS_TIME;
	if (a->price != b->price)
		differs |= AUC_DIFFERS_PRICE;
	if (!same_leader(a->has_leader, a->leader_id, b->has_leader, b->leader_id))
		differs |= AUC_DIFFERS_LEADER;
	if (a->leader_max != b->leader_max || a->second_max != b->second_max)
		differs |= AUC_DIFFERS_MAXIMA;
	if (a->bid_count != b->bid_count || a->retracted != b->retracted)
		differs |= AUC_DIFFERS_COUNT;
	if (a->checksum != b->checksum)
		differs |= AUC_DIFFERS_CHECKSUM;
	if (a->status != b->status)
		differs |= AUC_DIFFERS_STATUS;
	return differs;
}

bool
auc_shadow_same_state(const AucState *a, const AucState *b)
{
	return compare_states(a, b) == 0;
}

size_t
auc_shadow_words(unsigned differs, char *text, size_t size)
{
	size_t		len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if ((differs & (1u << i)) == 0 || len >= size)
			continue;
		len += snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "",
						names[i]);
	}
	return len < size ? len : size - 1;
}

/* ---- deciding ---- */

/* What a router appends; the position is the lane's, and there is none. */
static void
fill_record(const AucAuction *auction, const AucShadowEntry *entry,
			const AucVerdict *verdict, AucState *state, AucRecord *record)
{
	record->attributes_len = entry->attributes_len;
	record->auction_id = entry->auction_id;
	record->user_id = entry->user_id;
	record->amount = entry->amount;
	record->has_request_id = entry->has_request_id;
	memcpy(record->request_id, entry->request_id, sizeof(record->request_id));
	auc_record_accept(record, auction, verdict, entry->buy_now,
					  entry->attributes, state);
}

unsigned
auc_shadow_decide(const AucAuction *auction, const AucShadowEntry *entry,
				  AucVerdict *verdict, AucRecord *record)
{
	AucState	state = entry->before;

	memset(record, 0, sizeof(*record));
	auc_rules_place(auction, entry->buy_now, entry->user_id, entry->amount,
					entry->at, &state, verdict);
	if (verdict->accepted)
		fill_record(auction, entry, verdict, &state, record);
	else
		record->state = state;
	return compare_verdicts(&entry->verdict, verdict) |
		compare_states(&entry->after, &state);
}
