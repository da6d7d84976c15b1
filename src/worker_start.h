/*
 * worker_start.h: what parents of workers share, besides worker.h.
 */
#ifndef AUC_WORKER_START_H
#define AUC_WORKER_START_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "worker.h"

/*
 * Starts a worker if it is wanted, does not run and its back-off is over; else
 * lowers "next" to the time from which it may.
 */
extern void auc_worker_start(AucWorkerKind kind, Oid dboid, int server,
							 TimestampTz now, TimestampTz *next);
/* Has it been a minute since a limit was last reported?  Notes the time. */
extern bool auc_worker_log_limit(TimestampTz now);
/* After siglongjmp: reports the error, aborts, resets "context". */
extern void auc_worker_recover(MemoryContext context);

#endif							/* AUC_WORKER_START_H */
