/*
 * bid_track.c: see bid_track.h.
 *
 * Accepted bids on route table wait here, in memory of fixed size, for the end
 * of their transaction: committed, they count as accepted; rolled back, also
 * to a savepoint, as "rolled_back", without a latency.  Subtransactions are
 * numbered as they begin, so the one that is rolled back and all within it
 * have its number or a higher one.
 *
 * In a transaction of its own (no BEGIN) the commit is part of what the bidder
 * waits for: the time from the last verdict to it is added to each bid.
 *
 * A transaction with more bids than "pending" holds has its oldest ones folded
 * into one sum, which knows no subtransactions: a savepoint set before some
 * dozens of bids may then count a few as accepted that were rolled back to it.
 *
 * The callbacks run in the middle of a commit or an abort: they neither throw
 * nor allocate.
 */
#include "postgres.h"

#include "access/xact.h"

#include "bid_error.h"
#include "bid_track.h"
#include "settings.h"

#define PENDING_MAX		64

typedef struct AucPendingBid
{
	SubTransactionId subid;
	uint64		us;
} AucPendingBid;

static AucPendingBid pending[PENDING_MAX];	/* the older ones first */
static int	npending = 0;
static AucRouteStat folded;		/* still older ones, as accepted */
static instr_time last_verdict;
static bool in_block;			/* the commit is a statement of its own */

/* ---- at the end of a transaction ---- */

static void
fold(int n, uint64 more_us)
{
	for (int i = 0; i < n; i++)
	{
		uint64		us = pending[i].us + more_us;

		folded.accepted++;
		folded.sum_us += us;
		folded.latency[auc_latency_bucket(us)]++;
		folded.max_us = Max(folded.max_us, us);
	}
	npending -= n;
	memmove(pending, pending + n, npending * sizeof(AucPendingBid));
}

static void
forget_all(void)
{
	npending = 0;
	if (folded.accepted > 0)
		memset(&folded, 0, sizeof(folded));
}

static void
count_committed(uint64 more_us)
{
	static const AucVerdict accepted = {.accepted = true};

	if (folded.accepted > 0)
	{
		fold(npending, more_us);
		auc_stat_add(AUC_STAT_TABLE, &folded);
	}
	for (int i = 0; i < npending; i++)
		auc_stat_verdict(AUC_STAT_TABLE, &accepted, pending[i].us + more_us);
	forget_all();
}

static void
count_rolled_back(uint64 n)
{
	if (n > 0)
		auc_stat_rolled_back(AUC_STAT_TABLE, n);
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	if (npending == 0 && folded.accepted == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			count_committed(in_block ? 0 : auc_track_elapsed(&last_verdict));
			break;
		case XACT_EVENT_PREPARE:
			/* another backend commits it, hardly ever not */
			count_committed(0);
			break;
		case XACT_EVENT_ABORT:
			count_rolled_back(folded.accepted + npending);
			forget_all();
			break;
		default:
			break;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent, void *arg)
{
	int			kept = npending;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (kept > 0 && pending[kept - 1].subid >= mine)
		kept--;
	count_rolled_back(npending - kept);
	npending = kept;
}

static void
keep_pending(uint64 us)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(end_of_transaction, NULL);
		RegisterSubXactCallback(end_of_subtransaction, NULL);
		registered = true;
	}
	if (npending == PENDING_MAX)
		fold(PENDING_MAX / 2, 0);
	pending[npending].subid = GetCurrentSubTransactionId();
	pending[npending].us = us;
	npending++;
}

/* ---- bids ---- */

void
auc_track_begin(instr_time *began)
{
	if (auc_guc_track_bids)
		INSTR_TIME_SET_CURRENT(*began);
	else
		INSTR_TIME_SET_ZERO(*began);
}

static uint64
between(const instr_time *began, const instr_time *ended)
{
	instr_time	took = *ended;

	INSTR_TIME_SUBTRACT(took, *began);
	return (uint64) INSTR_TIME_GET_MICROSEC(took);
}

uint64
auc_track_elapsed(const instr_time *began)
{
	instr_time	now;

	if (INSTR_TIME_IS_ZERO(*began))
		return 0;
	INSTR_TIME_SET_CURRENT(now);
	return between(began, &now);
}

void
auc_track_table(const AucVerdict *verdict, const instr_time *began)
{
	uint64		us;

	/* the entry is found now, so that the callbacks need no lock for it */
	if (INSTR_TIME_IS_ZERO(*began) || !auc_stat_ready())
		return;
	in_block = IsTransactionBlock();
	INSTR_TIME_SET_CURRENT(last_verdict);
	us = between(began, &last_verdict);
	if (verdict->accepted)
		keep_pending(us);
	else
		auc_stat_verdict(AUC_STAT_TABLE, verdict, us);
}

void
auc_track_error(AucStatRoute route, AucStatError error)
{
	if (auc_guc_track_bids)
		auc_stat_error(route, error);
}

void
auc_track_rate_limited(AucStatRoute route)
{
	if (auc_guc_track_bids)
		auc_stat_rate_limited(route);
}

void
auc_track_hand_over(int n, const AucHandOver *bids)
{
	if (!auc_guc_track_bids)
		return;
	for (int i = 0; i < n; i++)
	{
		switch (bids[i].answer)
		{
			case AUC_ANSWER_VERDICT:
				/* nothing was decided */
				if (bids[i].repeated)
					break;
				auc_stat_verdict(AUC_STAT_REDIS, &bids[i].verdict,
								 bids[i].took_us);
				break;
			case AUC_ANSWER_RESUBMIT:
				auc_stat_error(AUC_STAT_REDIS, AUC_STAT_NOT_RECORDED);
				break;
			case AUC_ANSWER_UNKNOWN:
				auc_stat_error(AUC_STAT_REDIS, AUC_STAT_UNKNOWN);
				break;
			case AUC_ANSWER_OVERLOADED:
				auc_stat_error(AUC_STAT_REDIS, AUC_STAT_OVERLOADED);
				break;
			case AUC_ANSWER_RECOVERING:
			case AUC_ANSWER_WAITING:
				auc_stat_error(AUC_STAT_REDIS, AUC_STAT_RECOVERING);
				break;
			case AUC_ANSWER_FENCED:
				auc_stat_error(AUC_STAT_REDIS, AUC_STAT_FENCED);
				break;
			default:
				break;
		}
	}
}

/*
 * Cancelled, or timed out, in the queue for the auction's lock: what is
 * "not recorded" on route redis.
 */
void
auc_track_table_failed(void)
{
	auc_track_error(AUC_STAT_TABLE, auc_bid_given_up() ?
					AUC_STAT_NOT_RECORDED : AUC_STAT_OTHER);
}
