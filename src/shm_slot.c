/*
 * shm_slot.c: claiming, publishing, taking and answering slots.
 *
 * The words lie densely in an array of their own, so that the router finds
 * what is published by reading a few cache lines instead of every slot.
 *
 * Word: generation << 16 | server << 8 | state.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm_bell.h"
#include "shm_lane.h"
#include "shm_quota.h"
#include "shm_slot.h"
#include "storage/condition_variable.h"
#include "waits.h"

typedef struct AucSlotShared
{
	pg_atomic_uint64 ticket;	/* the last one given */
	ConditionVariable freed;	/* signalled when a slot becomes free ... */
	pg_atomic_uint32 free_waiters;	/* ... and somebody waits for one */
} AucSlotShared;

static AucSlotShared *shared;
static pg_atomic_uint64 *words;
static AucSlot *slots;

#define WORD(gen, server, state) \
	(((uint64) (gen) << 16) | ((uint64) (server) << 8) | (uint64) (state))
#define WORD_GENERATION(word)	((word) >> 16)
#define WORD_SERVER(word)		((int) (((word) >> 8) & 0xFF))
#define WORD_STATE(word)		((AucSlotState) ((word) & 0xFF))

static Size
words_offset(void)
{
	return CACHELINEALIGN(sizeof(AucSlotShared));
}

static Size
slots_offset(void)
{
	return words_offset() +
		CACHELINEALIGN(mul_size(auc_guc_slots, sizeof(pg_atomic_uint64)));
}

Size
auc_slot_shmem_size(void)
{
	return add_size(slots_offset(),
					mul_size(auc_guc_slots, CACHELINEALIGN(sizeof(AucSlot))));
}

void
auc_slot_shmem_init(bool found, void *space)
{
	shared = space;
	words = (pg_atomic_uint64 *) ((char *) space + words_offset());
	slots = (AucSlot *) ((char *) space + slots_offset());
	if (found)
		return;
	pg_atomic_init_u64(&shared->ticket, 0);
	pg_atomic_init_u32(&shared->free_waiters, 0);
	ConditionVariableInit(&shared->freed);
	for (int i = 0; i < auc_guc_slots; i++)
		pg_atomic_init_u64(&words[i], WORD(1, 0, AUC_SLOT_FREE));
}

int
auc_slot_count(void)
{
	return auc_guc_slots;
}

int
auc_slot_waiting(int server, TimestampTz *since)
{
	int			n = 0;

	for (int i = 0; i < auc_guc_slots; i++)
	{
		uint64		word = pg_atomic_read_u64(&words[i]);
		AucSlotState state = WORD_STATE(word);

		if ((state == AUC_SLOT_PUBLISHED || state == AUC_SLOT_TAKEN) &&
			WORD_SERVER(word) == server &&
			(auc_slot(i)->kind == AUC_REQUEST_BID ||
			 auc_slot(i)->kind == AUC_REQUEST_BUY))
		{
			if (since != NULL)
				since[n] = auc_slot(i)->at;
			n++;
		}
	}
	return n;
}

AucSlot *
auc_slot(int index)
{
	return (AucSlot *) ((char *) slots +
						(Size) index * CACHELINEALIGN(sizeof(AucSlot)));
}

AucSlotState
auc_slot_state(int index)
{
	AucSlotState state = WORD_STATE(pg_atomic_read_u64(&words[index]));

	/* what the other side wrote before it changed the state is seen now */
	pg_read_barrier();
	return state;
}

/* Changes the state if the word still is "word"; a full barrier. */
static bool
change(int index, uint64 word, AucSlotState state)
{
	return pg_atomic_compare_exchange_u64(&words[index], &word,
										  (word & ~UINT64CONST(0xFF)) | state);
}

/* ---- backend ---- */

static int
claim_any(int server, int quota)
{
	/* where this process found one last: most often free again */
	static int	hint = -1;

	if (hint < 0)
		hint = auc_my_procno() % auc_guc_slots;
	for (int i = 0; i < auc_guc_slots; i++)
	{
		int			index = hint + i;
		uint64		word;

		if (index >= auc_guc_slots)
			index -= auc_guc_slots;
		word = pg_atomic_read_u64(&words[index]);
		if (WORD_STATE(word) == AUC_SLOT_FREE)
		{
			uint64		claimed = WORD(WORD_GENERATION(word) + 1, server,
									   AUC_SLOT_CLAIMED);

			if (pg_atomic_compare_exchange_u64(&words[index], &word, claimed))
			{
				AucSlot    *slot = auc_slot(index);

				slot->position = 0;
				slot->proc = auc_my_procno();
				slot->quota = quota;
				hint = index;
				return index;
			}
		}
	}
	return -1;
}

int
auc_slot_claim(int server, AucLimit *why)
{
	int			quota = auc_quota_mine();
	int			index;

	if (quota >= 0 && !auc_quota_add(quota))
	{
		*why = AUC_LIMIT_ROLE;
		return -1;
	}
	index = claim_any(server, quota);
	if (index < 0)
	{
		*why = AUC_LIMIT_SLOTS;
		if (quota >= 0)
			auc_quota_give(quota);
	}
	return index;
}

void
auc_slot_publish(const int *indexes, int n)
{
	uint64		ticket = pg_atomic_fetch_add_u64(&shared->ticket, n);

	for (int i = 0; i < n; i++)
	{
		uint64		word = pg_atomic_read_u64(&words[indexes[i]]);

		auc_slot(indexes[i])->ticket = ++ticket;
		auc_slot(indexes[i])->previous = i > 0 ? indexes[i - 1] : -1;
		/* nobody else changes a claimed slot; the request is visible first */
		if (!change(indexes[i], word, AUC_SLOT_PUBLISHED))
			Assert(false);
	}
}

void
auc_slot_free(int index)
{
	uint64		word = pg_atomic_read_u64(&words[index]);
	/* read before the slot can be somebody else's */
	int			quota = auc_slot(index)->quota;

	if (!change(index, word, AUC_SLOT_FREE))
		Assert(false);
	if (quota >= 0)
		auc_quota_give(quota);
	if (pg_atomic_read_u32(&shared->free_waiters) > 0)
		ConditionVariableBroadcast(&shared->freed);
}

AucSlotState
auc_slot_withdraw(int index)
{
	for (;;)
	{
		uint64		word = pg_atomic_read_u64(&words[index]);

		switch (WORD_STATE(word))
		{
			case AUC_SLOT_PUBLISHED:
			case AUC_SLOT_CLAIMED:
				if (change(index, word, AUC_SLOT_CLAIMED))
				{
					auc_slot_free(index);
					return AUC_SLOT_FREE;
				}
				break;
			case AUC_SLOT_TAKEN:
				if (change(index, word, AUC_SLOT_ABANDONED))
					return AUC_SLOT_ABANDONED;
				break;
			default:
				pg_read_barrier();
				return WORD_STATE(word);
		}
	}
}

/* This process is counted in free_waiters. */
static bool waiting_for_free = false;

void
auc_slot_stop_waiting(void)
{
	if (waiting_for_free)
		pg_atomic_fetch_sub_u32(&shared->free_waiters, 1);
	waiting_for_free = false;
}

static bool
may_claim(void)
{
	int			quota = auc_quota_mine();

	if (quota >= 0 && !auc_quota_has_room(quota))
		return false;
	for (int i = 0; i < auc_guc_slots; i++)
		if (auc_slot_state(i) == AUC_SLOT_FREE)
			return true;
	return false;
}

void
auc_slot_wait_free(long timeout)
{
	pg_atomic_fetch_add_u32(&shared->free_waiters, 1);
	waiting_for_free = true;
	ConditionVariablePrepareToSleep(&shared->freed);
	/* one may have been freed before we were seen waiting */
	if (!may_claim())
		(void) ConditionVariableTimedSleep(&shared->freed, timeout,
										   auc_wait_event(AUC_WAIT_SLOT_FREE));
	ConditionVariableCancelSleep();
	auc_slot_stop_waiting();
}

/* ---- router ---- */

static int
compare_tickets(const void *a, const void *b)
{
	uint64		ta = ((const AucTicket *) a)->ticket;
	uint64		tb = ((const AucTicket *) b)->ticket;

	return (ta > tb) - (ta < tb);
}

/* Whose place is behind all bids that were handed over before it. */
static bool
stands_behind(const AucSlot *slot)
{
	return slot->kind == AUC_REQUEST_STATUS || slot->kind == AUC_REQUEST_CLOSE;
}

/*
 * The scan may have passed a slot just before a bid was published there, and
 * then find a request that came after that bid and has to stand behind it.  So
 * such a request is left for the next scan unless it had its ticket when this
 * one began; its publisher has yet to wake the router.
 */
static int
collect(int server, AucTicket *tickets, AucSlotState one, AucSlotState other)
{
	uint64		given = pg_atomic_read_u64(&shared->ticket);
	int			n = 0;
	bool		sorted = true;

	pg_read_barrier();
	for (int i = 0; i < auc_guc_slots; i++)
	{
		uint64		word = pg_atomic_read_u64(&words[i]);
		AucSlotState state = WORD_STATE(word);

		if ((state != one && state != other) || WORD_SERVER(word) != server)
			continue;
		pg_read_barrier();
		if (auc_slot(i)->ticket > given && stands_behind(auc_slot(i)))
			continue;
		tickets[n].ticket = auc_slot(i)->ticket;
		tickets[n].word = word;
		tickets[n].index = i;
		if (n > 0 && tickets[n - 1].ticket > tickets[n].ticket)
			sorted = false;
		n++;
	}
	if (!sorted)
		qsort(tickets, n, sizeof(AucTicket), compare_tickets);
	return n;
}

/*
 * The scan may have passed a slot just before it was published, and found
 * those published after it by the same backend, which rely on their order.
 * Such a slot is published by now, for they are published one by one; so it is
 * enough to follow each hand-over back to what the scan has found of it.
 */
static int
add_predecessors(int server, AucTicket *tickets, int found)
{
	int			n = found;

	for (int i = 0; i < found; i++)
	{
		uint64		ticket = tickets[i].ticket;
		int			index = auc_slot(tickets[i].index)->previous;

		while (index >= 0 &&
			   (i == 0 || tickets[i - 1].ticket != ticket - 1))
		{
			uint64		word = pg_atomic_read_u64(&words[index]);

			pg_read_barrier();
			if (WORD_STATE(word) != AUC_SLOT_PUBLISHED ||
				WORD_SERVER(word) != server ||
				auc_slot(index)->ticket != ticket - 1 ||
				n == auc_guc_slots)
				break;
			tickets[n].ticket = --ticket;
			tickets[n].word = word;
			tickets[n++].index = index;
			index = auc_slot(index)->previous;
		}
	}
	if (n > found)
		qsort(tickets, n, sizeof(AucTicket), compare_tickets);
	return n;
}

int
auc_slot_collect(int server, AucTicket *tickets)
{
	int			n = collect(server, tickets, AUC_SLOT_PUBLISHED,
							AUC_SLOT_PUBLISHED);

	return add_predecessors(server, tickets, n);
}

int
auc_slot_adopt(int server, AucTicket *tickets)
{
	return collect(server, tickets, AUC_SLOT_TAKEN, AUC_SLOT_ABANDONED);
}

bool
auc_slot_take(const AucTicket *ticket)
{
	return change(ticket->index, ticket->word, AUC_SLOT_TAKEN);
}

void
auc_slot_answer(int index)
{
	uint64		word = pg_atomic_read_u64(&words[index]);

	if (WORD_STATE(word) == AUC_SLOT_TAKEN)
	{
		/* read before the slot can be somebody else's */
		uint32		proc = auc_slot(index)->proc;

		if (change(index, word, AUC_SLOT_ANSWERED))
		{
			auc_bell_ring(proc);
			return;
		}
	}
	/* the backend has given up meanwhile; only the router frees it now */
	Assert(WORD_STATE(pg_atomic_read_u64(&words[index])) == AUC_SLOT_ABANDONED);
	auc_slot_free(index);
}
