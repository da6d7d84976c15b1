/*
 * shm.h: the extension's shared memory as a whole.
 *
 * One request hook and one startup hook (shm.c) ask every shm_* module for its
 * size and have it initialise its part.  Only shm_*.c touches shared memory;
 * everybody else goes through their functions.
 */
#ifndef AUC_SHM_H
#define AUC_SHM_H

#include "storage/lwlock.h"

/* Installs the hooks; from _PG_init while libraries are being preloaded. */
extern void auc_shm_install(void);
/* false: the library was not preloaded, nothing here may be used. */
extern bool auc_shm_available(void);
/* ERROR (AUC_ERRCODE_NOT_PRELOADED) unless available; "what" needs it. */
extern void auc_shm_require(const char *what);

/*
 * The registry lock: who is bound to which entry of databases, servers, lanes
 * and workers, and copies of the counters.  Never held across I/O, waits or
 * catalog access; of bids, only a database's first one takes it exclusively
 * (shm_stat.h).
 */
extern LWLock *auc_registry_lock(void);

/* A random number drawn by the postmaster at start (rule 11, the instance). */
extern uint64 auc_shm_instance(void);

#endif							/* AUC_SHM_H */
