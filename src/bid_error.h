/*
 * bid_error.h: answers of a router that are errors to the client.
 */
#ifndef AUC_BID_ERROR_H
#define AUC_BID_ERROR_H

#include "postgres.h"

#include "bid_slot.h"

/*
 * ERROR for a bid that got something else than a verdict, in a call of "nbids"
 * bids of which "accepted" are known to be accepted and stay so.
 * AUC_ERRCODE_OUTCOME_UNKNOWN, _RECOVERING, _FENCED, _OVERLOADED, else
 * _NOT_RECORDED.
 */
extern void auc_bid_raise(const AucHandOver *bid, AucAnswerKind answer,
						  bool cancelled, int accepted, int nbids);
/* In PG_CATCH: was it a cancel or a timeout, also lock_timeout? */
extern bool auc_bid_given_up(void);
/*
 * In PG_CATCH of a wait during which no router had the bid: if that was given
 * up, ERROR as above; else returns, and the caller throws on what it has
 * caught.  "context" is the one outside of PG_TRY.
 */
extern void auc_bid_cancelled(MemoryContext context, const AucHandOver *bid,
							  AucAnswerKind answer, int accepted, int nbids);
/*
 * ERROR for another request; "what" was to be done with the auction: "closed",
 * "moved".  AUC_ERRCODE_OUTCOME_UNKNOWN, _RECOVERING, _FENCED, else
 * _OVERLOADED.
 */
extern void auc_bid_not_done(int64 auction_id, const char *what,
							 AucAnswerKind answer);
/*
 * ERROR where it cannot be told what became of a bid.
 * AUC_ERRCODE_RECOVERING, _FENCED, else _OUTCOME_UNKNOWN.
 */
extern void auc_bid_not_told(int64 auction_id, AucAnswerKind answer);

#endif							/* AUC_BID_ERROR_H */
