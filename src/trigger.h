/*
 * trigger.h: what the triggers of the extension's own tables share.
 */
#ifndef AUC_TRIGGER_H
#define AUC_TRIGGER_H

#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "relation.h"

/* Nobody may hang these functions on another table: they know the columns. */
extern TriggerData *auc_trigger_of(FunctionCallInfo fcinfo,
								   AucRelation which);
/* A dump is being loaded: the rows were checked when they were entered. */
extern bool auc_trigger_restoring(void);

#endif							/* AUC_TRIGGER_H */
