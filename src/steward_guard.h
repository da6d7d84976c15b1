/*
 * steward_guard.h: the steward rolls back when route redis breaks a limit.
 */
#ifndef AUC_STEWARD_GUARD_H
#define AUC_STEWARD_GUARD_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Once a second at most; outside a transaction. */
extern void auc_steward_guard_run(TimestampTz now);

#endif							/* AUC_STEWARD_GUARD_H */
