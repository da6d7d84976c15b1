/*
 * steward_ask.h: requests to routers by somebody who can come back later.
 */
#ifndef AUC_STEWARD_ASK_H
#define AUC_STEWARD_ASK_H

#include "postgres.h"

#include "bid_slot.h"

/*
 * Asks for all of them, in small waves so that bids find slots, each with a
 * short timeout.  A lane that has not answered is left alone for a second:
 * what is meant for it is answered AUC_ANSWER_RESUBMIT here, so that one lane
 * without a router does not keep the others waiting.  Without shared memory
 * all of them are answered so.
 */
extern void auc_steward_ask(int n, AucAsk *asks);

#endif							/* AUC_STEWARD_ASK_H */
