/*
 * argument.h: arguments of SQL functions that are not STRICT.
 */
#ifndef AUC_ARGUMENT_H
#define AUC_ARGUMENT_H

#include "postgres.h"

#include "fmgr.h"

/* The n-th (from 0); ERROR (22004) that names it if it is NULL. */
extern Datum auc_argument(FunctionCallInfo fcinfo, int n, const char *name);
/*
 * The same for "reason", which must not be empty either (22023); "hint": what
 * is done with it.
 */
extern text *auc_argument_reason(FunctionCallInfo fcinfo, int n,
								 const char *hint);

#endif							/* AUC_ARGUMENT_H */
