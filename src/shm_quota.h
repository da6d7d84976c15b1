/*
 * shm_quota.h: how many slots each role holds in each database.
 *
 * One entry for each pair of role and database that has a session which has
 * handed something over.  A session finds its entry once, under the registry
 * lock, exclusively, and holds it until it ends; from then on it counts with
 * one atomic, without a lock.  The role is the one that has logged in: SET
 * ROLE changes nothing.
 *
 * A slot names the entry it is counted in, so whoever frees it, be it the
 * router after its session has gone, gives the count back.  An entry is free
 * for another pair when no session holds it and nothing is counted in it.
 *
 * Background workers are not counted: the steward's requests must not wait for
 * a crowd of its own role.
 */
#ifndef AUC_SHM_QUOTA_H
#define AUC_SHM_QUOTA_H

#include "postgres.h"

extern Size auc_quota_shmem_size(void);
extern void auc_quota_shmem_init(bool found, void *space);

/* This session's entry; -1: it is not counted (auction.role_slots is 100). */
extern int	auc_quota_mine(void);
/* Counts one slot more; false: the role has its share. */
extern bool auc_quota_add(int entry);
/* Could auc_quota_add() succeed now? */
extern bool auc_quota_has_room(int entry);
extern void auc_quota_give(int entry);

#endif							/* AUC_SHM_QUOTA_H */
