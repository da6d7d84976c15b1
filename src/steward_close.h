/*
 * steward_close.h: the steward's work on auctions.
 */
#ifndef AUC_STEWARD_CLOSE_H
#define AUC_STEWARD_CLOSE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/palloc.h"

/*
 * Closes what is due at "now"; then one batch each of verifying, consolidating,
 * removing keys from Redis and moving to another route.  Outside a transaction.  *next_due: when to
 * call again at the latest; not after now if there is more to do already.
 */
extern void auc_steward_jobs_run(TimestampTz now, TimestampTz *next_due);

/*
 * steward_refresh.c: one page of auction._refresh; memory in "context".
 * Returns whether to go on with the next.
 */
extern bool auc_steward_refresh(MemoryContext context);

/*
 * steward_keys.c: one page of auctions whose keys are to go from Redis; memory
 * in "context".  Returns whether to go on with the next.
 */
extern bool auc_steward_remove_keys(MemoryContext context);

#endif							/* AUC_STEWARD_CLOSE_H */
