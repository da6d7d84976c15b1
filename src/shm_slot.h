/*
 * shm_slot.h: where a backend hands a request to a router and gets the answer.
 *
 * All slots are alike and belong to nobody while FREE.  A slot's word holds,
 * in one atomic 64-bit number, its state, the server it is meant for and a
 * generation that grows with each claim, so that a compare-and-swap can never
 * take one use of a slot for another.
 *
 *   FREE -> CLAIMED       backend: fills the request
 *   CLAIMED -> PUBLISHED  backend: has taken a ticket; wakes the router
 *   PUBLISHED -> TAKEN    router: decides now.  What it can not decide yet
 *                         (loading, tail full) it leaves PUBLISHED
 *   PUBLISHED -> FREE     backend gives up: not recorded (rule 15)
 *   TAKEN -> ANSWERED     router: the answer is filled; wakes the backend
 *   TAKEN -> ABANDONED    backend gives up: outcome unknown (rule 15)
 *   ABANDONED -> FREE     router: has let go of it
 *   ANSWERED -> FREE      backend: has read the answer
 *
 * The request is written by the backend in CLAIMED, the answer by the router
 * in TAKEN; each is read only by the other side in a later state.  position is
 * written by the router before it publishes the record in the tail, so that
 * its successor can tell recorded from not recorded (rule 13).
 */
#ifndef AUC_SHM_SLOT_H
#define AUC_SHM_SLOT_H

#include "datatype/timestamp.h"
#include "limit.h"
#include "port/atomics.h"
#include "record.h"

typedef enum AucSlotState
{
	AUC_SLOT_FREE = 0,
	AUC_SLOT_CLAIMED,
	AUC_SLOT_PUBLISHED,
	AUC_SLOT_TAKEN,
	AUC_SLOT_ANSWERED,
	AUC_SLOT_ABANDONED
} AucSlotState;

typedef enum AucRequestKind
{
	AUC_REQUEST_BID = 1,
	AUC_REQUEST_BUY,			/* a bid at the buy-now price, ends the auction */
	AUC_REQUEST_STATUS,			/* what became of a request id */
	AUC_REQUEST_CLOSE,			/* append a close record if "force" or due */
	AUC_REQUEST_MOVE,			/* append a move record: to route table */
	AUC_REQUEST_STANDING,		/* state of a live auction */
	AUC_REQUEST_BOOK,			/* best bids from Redis */
	AUC_REQUEST_RELEASE,		/* let the auction go: answered at rest */
	AUC_REQUEST_REFRESH,		/* changed at rest: show it in Redis again */
	AUC_REQUEST_REMOVE,			/* delete a consolidated auction's keys */
	AUC_REQUEST_AUDIT			/* what Redis has of it; loads nothing */
} AucRequestKind;

typedef enum AucAnswerKind
{
	AUC_ANSWER_VERDICT = 1,		/* bid: verdict; close: position; ... */
	AUC_ANSWER_RESTING,			/* not live, or no book: use the tables */
	AUC_ANSWER_RESUBMIT,		/* not recorded; the backend may try again */
	AUC_ANSWER_MOVED,			/* route is not redis: start from the row */
	AUC_ANSWER_MOVING,			/* the same once "until" is applied (rule 14) */
	AUC_ANSWER_BUSY,			/* somebody holds its lock: the steward comes
								 * back, a reader takes the tables */
	AUC_ANSWER_LOOK_AGAIN,		/* the request id's look is too old (rule 16) */
	AUC_ANSWER_UNKNOWN,			/* outcome unknown */
	AUC_ANSWER_RECOVERING,		/* the errors of errors.h, not recorded */
	AUC_ANSWER_FENCED,
	AUC_ANSWER_WAITING,			/* for Redis: auction.degraded is off */
	AUC_ANSWER_OVERLOADED
} AucAnswerKind;

/* Nobody has to look for a request id before this is decided. */
#define AUC_NO_LOOK		PG_UINT64_MAX

typedef struct AucBookEntry
{
	int64		user_id;
	int64		amount;
} AucBookEntry;

/* AUDIT: what else Redis has of an auction, beside hash and best bids. */
typedef struct AucShown
{
	bool		there;			/* it has the hash */
	bool		readable;		/* ... whose fields are numbers */
	bool		whole;			/* the book is marked as complete */
	int64		members;		/* of the book */
} AucShown;

#define AUC_BOOK_MAX	(AUC_ATTRIBUTES_MAX / (int) sizeof(AucBookEntry))

typedef struct AucSlot
{
	/* request */
	uint64		ticket;			/* the order of handing over */
	int			previous;		/* slot with the ticket before it, of the same
								 * hand-over; -1: it is the first */
	AucRequestKind kind;
	int			lane;			/* index of the AucLane, a hint */
	uint32		proc;			/* pgprocno of the backend, to wake it */
	int			quota;			/* entry it is counted in (shm_quota.h), or -1 */
	int64		auction_id;
	int64		user_id;
	int64		amount;
	int64		at;
	bool		force;			/* CLOSE: also before ends_at; MOVE: also if it
								 * has to wait for who holds the lock; REFRESH:
								 * writes the book anew whatever it holds */
	AucLevel	wanted_level;	/* bids: the session's, at least */
	bool		has_request_id;
	uint8		request_id[16];
	uint64		look;			/* bid, buy: the server's "looks" before the
								 * request id was looked for, or AUC_NO_LOOK */
	bool		any_user;		/* STATUS: user_id is not given */
	uint32		attributes_len;
	int			wanted;			/* BOOK, AUDIT: how many, <= AUC_BOOK_MAX */
	/* answer */
	uint64		position;		/* 0: no record (yet) */
	uint64		until;			/* MOVING: the move's position.  Not "position",
								 * which would say that this one is recorded */
	AucAnswerKind answer;
	bool		repeated;		/* bid, buy: the verdict of an earlier one */
	AucLevel	level;			/* reached */
	AucVerdict	verdict;
	AucState	state;			/* STANDING; AUDIT: what the hash says */
	AucShown	shown;			/* AUDIT */
	int			nbook;
	/* request: attributes of a bid or move; answer of BOOK, AUDIT: entries */
	union
	{
		char		attributes[AUC_ATTRIBUTES_MAX];
		AucBookEntry book[AUC_BOOK_MAX];
	}			u;
} AucSlot;

extern Size auc_slot_shmem_size(void);
extern void auc_slot_shmem_init(bool found, void *space);
extern int	auc_slot_count(void);
/*
 * Bids that wait for an answer of that server's router now, and since when
 * (NULL, or room for auc_slot_count()).  A slot may have another use by now: a
 * figure to look at, nothing more.
 */
extern int	auc_slot_waiting(int server, TimestampTz *since);
extern AucSlot *auc_slot(int index);

/* backend */
/* Index; or -1, and why: AUC_LIMIT_SLOTS or AUC_LIMIT_ROLE. */
extern int	auc_slot_claim(int server, AucLimit *why);
extern void auc_slot_publish(const int *slots, int n);	/* consecutive tickets */
extern AucSlotState auc_slot_state(int index);
/* Gives up: FREE (not recorded), ABANDONED (unknown) or ANSWERED (read it). */
extern AucSlotState auc_slot_withdraw(int index);
extern void auc_slot_free(int index);
/*
 * Sleeps until a slot may be claimed, at most timeout ms.  Whatever ends
 * it otherwise, an ERROR too, has to be followed by auc_slot_stop_waiting().
 */
extern void auc_slot_wait_free(long timeout);
extern void auc_slot_stop_waiting(void);

/* router */
typedef struct AucTicket
{
	uint64		ticket;
	uint64		word;
	int			index;
} AucTicket;

/* Published slots of the server in ticket order; room for auc_slot_count(). */
extern int	auc_slot_collect(int server, AucTicket *tickets);
extern bool auc_slot_take(const AucTicket *ticket);	/* false: withdrawn */
/* Taken and abandoned slots of the server: a predecessor's (rule 13). */
extern int	auc_slot_adopt(int server, AucTicket *tickets);
/* The answer is filled: wakes the backend, or frees an abandoned slot. */
extern void auc_slot_answer(int index);

#endif							/* AUC_SHM_SLOT_H */
