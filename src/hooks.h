/*
 * hooks.h: what the extension must hear of statements that are not its own.
 *
 * Nothing here takes effect before the transaction commits, but for the
 * suspension of workers, which ends with the transaction.
 */
#ifndef AUC_HOOKS_H
#define AUC_HOOKS_H

#include "postgres.h"

/* From _PG_init, while libraries are being preloaded. */
extern void auc_hooks_install(void);
/* At commit: look whether this database has the extension now. */
extern void auc_hooks_extension_changed(void);
/* At commit: wakes the steward of this database; its tables have work. */
extern void auc_hooks_steward_wanted(void);
/* At commit: the same, and statistics begin a step (shm_stat.h). */
extern void auc_hooks_rollout_changed(void);
/* At commit: the steward reads auction.lanes again. */
extern void auc_hooks_lanes_changed(void);

#endif							/* AUC_HOOKS_H */
