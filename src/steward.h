/*
 * steward.h: what the steward does for the servers of its database.
 */
#ifndef AUC_STEWARD_H
#define AUC_STEWARD_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Binds, starts, stops; lowers "next" to when it wants to run again. */
extern void auc_steward_servers_run(TimestampTz now, TimestampTz *next);
/* Resolves the names of hosts that are due. */
extern void auc_steward_resolve_run(TimestampTz now);

#endif							/* AUC_STEWARD_H */
