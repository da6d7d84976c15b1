/*
 * steward_sample.h: who waits for which lock, sampled.
 */
#ifndef AUC_STEWARD_SAMPLE_H
#define AUC_STEWARD_SAMPLE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/palloc.h"

/*
 * Takes a sample if one is due (auction.sample_waits).  Outside a transaction;
 * throws no ERROR, and resets "context", which must be the current one, if
 * there was one.  Lowers "next" to when it wants to run again.
 */
extern void auc_steward_sample_run(TimestampTz now, MemoryContext context,
								   TimestampTz *next);

#endif							/* AUC_STEWARD_SAMPLE_H */
