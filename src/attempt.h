/*
 * attempt.h: what may fail without taking the transaction with it.
 */
#ifndef AUC_ATTEMPT_H
#define AUC_ATTEMPT_H

#include "postgres.h"

/*
 * Calls it in a subtransaction, which is rolled back by an ERROR; returns that,
 * allocated in the current memory context, for the caller to look at, and to
 * ReThrowError() what it does not know.  NULL: it is done.
 */
extern ErrorData *auc_attempt(void (*step) (void *arg), void *arg);

#endif							/* AUC_ATTEMPT_H */
