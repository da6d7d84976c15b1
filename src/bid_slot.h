/*
 * bid_slot.h: how a backend hands requests to a router and waits for answers.
 */
#ifndef AUC_BID_SLOT_H
#define AUC_BID_SLOT_H

#include "postgres.h"

#include "portability/instr_time.h"
#include "limit.h"
#include "shm_slot.h"
#include "store.h"

/* One bid on route redis. */
typedef struct AucHandOver
{
	int64		auction_id;
	int64		user_id;
	int64		amount;
	bool		buy_now;
	int64		at;				/* set here: when it was handed over */
	int			lane_id;
	bool		has_request_id;
	uint8		request_id[16];
	uint64		look;			/* auc_bid_looks() before the request id was
								 * looked for, or AUC_NO_LOOK; if it is too old,
								 * the answer is AUC_ANSWER_LOOK_AGAIN */
	const char *attributes;		/* JSON text, attributes_len bytes, or NULL */
	uint32		attributes_len;
	instr_time	began;			/* for bid_track.h; zero: with its wave */
	/* answer */
	AucAnswerKind answer;		/* AUC_ANSWER_VERDICT, _MOVED or _MOVING; 0: not
								 * handed over yet */
	AucLimit	limit;			/* _OVERLOADED: what made it wait */
	uint64		until;			/* _MOVING: start again when it is applied */
	AucVerdict	verdict;
	bool		repeated;		/* the verdict of an earlier bid, told again */
	AucLevel	level;
	uint64		took_us;		/* from "began" to the answer */
} AucHandOver;

/*
 * Hands the bids over in order and waits for all answers: in waves of as many
 * slots as are free, at most AUC_WAVE_MAX, each wave with consecutive tickets.
 * A wave goes to one server; all bids must be on lanes of the same server.
 *
 * Errors: AUC_ERRCODE_NOT_RECORDED, _OUTCOME_UNKNOWN, _OVERLOADED,
 * _RECOVERING, _FENCED, _NOT_ATTACHED, _NOT_PRELOADED.  Bids of the call that
 * were accepted before stay accepted; the detail says how many.
 * A cancel that comes with the last answer is left to the caller.
 *
 * Counts what becomes of them (bid_track.h), but those that start again and
 * repeats.  The caller sets all but the answer, which is zeroed.
 */
extern void auc_bid_hand_over(int nbids, AucHandOver *bids);
/* Index of the server that has the lane; ERROR if none has. */
extern int	auc_bid_server_of(int lane_id);
/* The number of looks that begin now (shm_lane.h); 0, too old, if none has. */
extern uint64 auc_bid_looks(int lane_id);

/* Any other request to a router. */
typedef struct AucAsk
{
	AucRequestKind kind;
	int64		auction_id;
	int			lane_id;
	bool		force;			/* CLOSE: also before ends_at; MOVE: patient;
								 * REFRESH: the book, too */
	int			wanted;			/* BOOK, AUDIT */
	const char *attributes;		/* MOVE: JSON text, attributes_len bytes */
	uint32		attributes_len;
	const AucRequestKey *request;	/* STATUS, else NULL */
	/* answer */
	AucAnswerKind answer;
	uint64		position;
	AucLevel	level;			/* reached */
	uint64		until;			/* AUC_ANSWER_MOVING; STATUS, not accepted: once
								 * it is applied, the journal knows */
	AucState	state;
	AucVerdict	verdict;
	AucShown	shown;			/* AUDIT */
	int			nbook;
	AucBookEntry book[AUC_BOOK_MAX];
} AucAsk;

/*
 * Hands the requests over and waits until each is answered, or the timeout:
 * then answer is AUC_ANSWER_RESUBMIT (not done) or AUC_ANSWER_UNKNOWN (may yet
 * be done).  A lane without a running router: AUC_ANSWER_RESUBMIT at the
 * timeout.  Throws only for cancel and terminate.
 */
extern void auc_bid_ask(int n, AucAsk **asks, long timeout_ms);

/*
 * One request, again and again while its router dies or is not there, at most
 * auction.overload_timeout.
 */
extern void auc_bid_ask_patiently(AucAsk *ask);
/*
 * Until the record at the position is applied; for that there is no time limit.
 * ERROR (_NOT_ATTACHED) if the lane is released meanwhile.
 */
extern void auc_bid_await_applied(int64 auction_id, int lane_id,
								  uint64 position);
/*
 * Asks the router to let an auction go and waits until it rests; the caller
 * holds the auction's lock, so that nobody loads it again before the caller's
 * transaction ends.  ERROR after auction.overload_timeout (_OVERLOADED), or if
 * its lane is fenced or recovers.
 */
extern void auc_bid_release(int64 auction_id, int lane_id);

#endif							/* AUC_BID_SLOT_H */
