/*
 * argument.c: see argument.h.
 */
#include "postgres.h"

#include "argument.h"
#include "compat.h"

Datum
auc_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return PG_GETARG_DATUM(n);
}

text *
auc_argument_reason(FunctionCallInfo fcinfo, int n, const char *hint)
{
	text	   *reason = DatumGetTextPP(auc_argument(fcinfo, n, "reason"));

	if (VARSIZE_ANY_EXHDR(reason) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"reason\" must not be empty"),
				 errhint("%s", hint)));
	return reason;
}
