/*
 * onlooker.h: transactions that may still see what was before (rule 19).
 *
 * A query of a shard on another server sees what that server's transaction,
 * opened at the first such query of ours, sees: a transaction here that was
 * running when rows were committed there may never see them, whatever its
 * isolation level.  So what makes readers look there has to wait until every
 * transaction that ran at that moment has ended: those are the onlookers.
 *
 * Rows that were copied to another local table are no different for a
 * transaction with an old snapshot.
 *
 * All of this database, also those that only read, and those without a
 * snapshot at the moment (READ COMMITTED, between two statements): what counts
 * is that the transaction is open.  Not VACUUM and CREATE INDEX CONCURRENTLY,
 * which look at one table here, but for hours.  Prepared transactions cannot
 * have used a foreign table of another server.  Transactions on a standby are
 * not seen: see README, Limits.
 */
#ifndef AUC_ONLOOKER_H
#define AUC_ONLOOKER_H

#include "postgres.h"

typedef struct AucOnlookers AucOnlookers;

/*
 * Those of this moment, without this transaction's own, palloc'd in the
 * current context.
 */
extern AucOnlookers *auc_onlookers_now(void);
/* Those that hold a lock on the table, whatever its mode. */
extern AucOnlookers *auc_onlookers_at(Oid relid);
/* Have all of them ended? Never waits; cheaper each time. */
extern bool auc_onlookers_gone(AucOnlookers *onlookers);
/* One that has not: its process, or 0. */
extern int	auc_onlookers_pid(const AucOnlookers *onlookers);
extern void auc_onlookers_free(AucOnlookers *onlookers);

#endif							/* AUC_ONLOOKER_H */
