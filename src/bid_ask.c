/*
 * bid_ask.c: requests to a router that are no bids.
 *
 * What is waited for, and how long, is said in bid_slot.h.
 */
#include "postgres.h"

#include "bid_error.h"
#include "bid_slot.h"
#include "bid_wave.h"
#include "errors.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm_lane.h"
#include "utils/timestamp.h"

/* An interrupt is looked for at least so often. */
#define LOOK_MS	1000

/* ---- any request ---- */

static void
fill_ask(AucSlot *slot, const AucAsk *ask)
{
	slot->kind = ask->kind;
	slot->lane = auc_wave_find_lane(ask->lane_id);
	slot->auction_id = ask->auction_id;
	slot->at = GetCurrentTimestamp();
	slot->force = ask->force;
	slot->wanted = ask->wanted;
	slot->has_request_id = ask->request != NULL;
	slot->look = AUC_NO_LOOK;
	if (ask->request != NULL)
	{
		slot->any_user = ask->request->any_user;
		slot->user_id = ask->request->user_id;
		memcpy(slot->request_id, ask->request->request_id,
			   sizeof(slot->request_id));
	}
	slot->attributes_len = ask->attributes_len;
	if (ask->attributes_len > 0)
		memcpy(slot->u.attributes, ask->attributes, ask->attributes_len);
}

static void
read_ask(const AucSlot *slot, AucAsk *ask)
{
	ask->answer = slot->answer;
	ask->level = slot->level;
	ask->position = slot->position;
	ask->until = slot->until;
	ask->state = slot->state;
	ask->verdict = slot->verdict;
	ask->shown = slot->shown;
	ask->nbook = 0;
	if ((slot->kind == AUC_REQUEST_BOOK || slot->kind == AUC_REQUEST_AUDIT) &&
		slot->answer == AUC_ANSWER_VERDICT)
	{
		ask->nbook = slot->nbook;
		memcpy(ask->book, slot->u.book, slot->nbook * sizeof(AucBookEntry));
	}
}

/* Those from "first" on that go to the same server; returns how many. */
static int
ask_wave(AucAsk **asks, int first, int n, TimestampTz until)
{
	int			lane = auc_wave_await_lane(asks[first]->lane_id, until);
	int			server;
	int			same = 1;
	int			claimed;
	AucLimit	limit;

	if (lane < 0)
		return 1;
	server = auc_lane(lane)->server;
	while (same < n && same < AUC_WAVE_MAX)
	{
		lane = auc_wave_find_lane(asks[first + same]->lane_id);
		if (lane < 0 || auc_lane(lane)->server != server)
			break;
		same++;
	}
	claimed = auc_wave_claim(server, same, until, &limit);
	if (claimed == 0)
		return same;
	for (int i = 0; i < claimed; i++)
		fill_ask(auc_wave_slot(i), asks[first + i]);
	auc_wave_publish(server);
	(void) auc_wave_await(until, true);
	for (int i = 0; i < claimed; i++)
	{
		if (auc_wave_state(i) == AUC_SLOT_ANSWERED)
			read_ask(auc_wave_slot(i), asks[first + i]);
		else if (auc_wave_state(i) == AUC_SLOT_ABANDONED)
			asks[first + i]->answer = AUC_ANSWER_UNKNOWN;
	}
	auc_wave_drop();
	CHECK_FOR_INTERRUPTS();
	return claimed;
}

void
auc_bid_ask(int n, AucAsk **asks, long timeout_ms)
{
	TimestampTz until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	int			done = 0;

	for (int i = 0; i < n; i++)
		asks[i]->answer = AUC_ANSWER_RESUBMIT;
	PG_TRY();
	{
		while (done < n)
			done += ask_wave(asks, done, n - done, until);
	}
	PG_CATCH();
	{
		auc_wave_drop();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* ---- one, until it is done ---- */

/* Until it has another answer than that its router died, or the timeout. */
void
auc_bid_ask_patiently(AucAsk *ask)
{
	TimestampTz until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									auc_guc_overload_timeout);

	do
		auc_bid_ask(1, &ask,
					TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													until));
	while (ask->answer == AUC_ANSWER_RESUBMIT && GetCurrentTimestamp() < until);
}

void
auc_bid_release(int64 auction_id, int lane_id)
{
	AucAsk		ask = {0};

	ask.kind = AUC_REQUEST_RELEASE;
	ask.auction_id = auction_id;
	ask.lane_id = lane_id;
	auc_bid_ask_patiently(&ask);
	if (ask.answer != AUC_ANSWER_RESTING)
		auc_bid_not_done(auction_id, "changed", ask.answer);
}

void
auc_bid_await_applied(int64 auction_id, int lane_id, uint64 position)
{
	int			index;

	while ((index = auc_lane_find(MyDatabaseId, lane_id)) >= 0)
	{
		if (auc_lane_wait_applied(auc_lane(index), position, LOOK_MS))
			return;
		CHECK_FOR_INTERRUPTS();
	}
	ereport(ERROR,
			(errcode(AUC_ERRCODE_NOT_ATTACHED),
			 errmsg("lane %d of auction %lld is no longer served",
					lane_id, (long long) auction_id),
			 errdetail("Position %llu is recorded, but not applied yet.",
					   (unsigned long long) position)));
}
