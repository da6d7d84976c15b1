/*
 * procedure.c: see procedure.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "bid_args.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "procedure.h"
#include "utils/timestamp.h"
#include "waits.h"

#define ONLOOKER_MS		20
/* Then the caller hears for whom it waits. */
#define PATIENCE_MS		10000

void
auc_procedure_enter(FunctionCallInfo fcinfo, const char *procedure)
{
	CallContext *call = (CallContext *) fcinfo->context;

	auc_bid_prevent(procedure);
	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", procedure)));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs isolation level READ COMMITTED", procedure),
				 errhint("Set default_transaction_isolation.")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
}

void
auc_procedure_begin(AucCaller *caller)
{
	CHECK_FOR_INTERRUPTS();
	auc_owner_begin(caller);
}

void
auc_procedure_commit(AucCaller *caller)
{
	auc_owner_end(caller);
	SPI_commit();
}

TimestampTz
auc_procedure_tell_at(void)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
}

void
auc_procedure_tell(TimestampTz *tell_at, const char *what,
				   const AucOnlookers *onlookers, const char *detail)
{
	int			pid;

	if (GetCurrentTimestamp() < *tell_at)
		return;
	pid = auc_onlookers_pid(onlookers);
	if (pid == 0)
		return;
	ereport(NOTICE,
			(errmsg("%s waits for the transaction of process %d to end", what,
					pid),
			 errdetail_internal("%s", detail)));
	*tell_at = DT_NOEND;
}

void
auc_procedure_await(AucOnlookers *onlookers, const char *what)
{
	TimestampTz tell_at = auc_procedure_tell_at();

	while (!auc_onlookers_gone(onlookers))
	{
		auc_nap(ONLOOKER_MS, AUC_WAIT_PROCEDURE);
		auc_procedure_tell(&tell_at, what, onlookers,
						   "It is older than this change, of which it might see only a part.");
		SPI_commit();
	}
}
