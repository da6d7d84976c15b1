/*
 * argument.h: arguments of SQL functions that are not STRICT.
 */
#ifndef AUC_ARGUMENT_H
#define AUC_ARGUMENT_H

#include "postgres.h"

#include "fmgr.h"

/* The n-th (from 0); ERROR (22004) that names it if it is NULL. */
extern Datum auc_argument(FunctionCallInfo fcinfo, int n, const char *name);

#endif							/* AUC_ARGUMENT_H */
