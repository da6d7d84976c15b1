/*
 * bid_request.h: looking for a request id (rule 16).
 *
 * A look sees what is committed when it is made, in journal and history.  What
 * a router has decided and the drain has not applied is the router's to know:
 * see router_ids.c.
 */
#ifndef AUC_BID_REQUEST_H
#define AUC_BID_REQUEST_H

#include "postgres.h"

#include "bid_args.h"
#include "store.h"

typedef enum AucLook
{
	AUC_LOOK_NOTHING,			/* no such bid; "row" is filled */
	AUC_LOOK_FOUND,				/* "row" and "bid" are filled */
	AUC_LOOK_UNKNOWN			/* no such auction */
} AucLook;

/*
 * In the journal alone, which is all that a bid of an open auction needs; of
 * one that is over, auc_request_look() finds those in history, too.
 */
extern bool auc_request_in_journal(const AucRequestKey *key);
/* With a fresh snapshot, whatever the isolation level, for both tables. */
extern AucLook auc_request_look(const AucRequestKey *key, AucRow *row,
								AucRequestBid *bid);
/* The same where "row" was just read, under the auction's lock. */
extern bool auc_request_look_in(const AucRow *row, const AucRequestKey *key,
								AucRequestBid *bid);

extern void auc_request_key(const AucBid *bid, AucRequestKey *key);
/* The verdict of the bid that was found. */
extern void auc_request_repeat(const AucRow *row, const AucRequestBid *bid,
							   AucBidResult *result);
/*
 * What a look finds may be committed, but not yet flushed, or not at the
 * standbys that are asked for.  Of route table it is flushed here.  Of route
 * redis the drain's word for all of that is "applied" (rule 17), which is
 * waited for: ERROR (_OUTCOME_UNKNOWN) after auction.overload_timeout; a lane
 * is released only when it has none to wait for.  To be called without the
 * auction's lock.
 */
extern void auc_request_await_flushed(int64 auction_id,
									  const AucRequestBid *bid);

#endif							/* AUC_BID_REQUEST_H */
