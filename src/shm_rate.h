/*
 * shm_rate.h: how often each bidder may bid, in shared memory.
 *
 * A bidder is a user_id of a database.  The table has a fixed size and is cut
 * into sets; a bidder's allowance (rate.h) lies in the set that his hash
 * names, under the set's spinlock.  One that is full says nothing and needs no
 * place.  In a set without such a one the allowance that will be full soonest
 * is given up: its bidder gets back the little that was taken from it.  So
 * with more bidders at once than the table holds, some thousands within a
 * second, a limit becomes laxer, never stricter.
 */
#ifndef AUC_SHM_RATE_H
#define AUC_SHM_RATE_H

#include "postgres.h"

extern Size auc_rate_shmem_size(void);
extern void auc_rate_shmem_init(bool found, void *space);

/*
 * Takes a token of the bidder's, of this database; false: there is none.  True
 * without shared memory, where nobody counts.
 */
extern bool auc_rate_admits(int64 user_id, double rate, double burst);

#endif							/* AUC_SHM_RATE_H */
