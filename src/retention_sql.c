/*
 * retention_sql.c: remove_history().
 *
 * In transactions of its own: marks are committed before what they say is
 * done, and while it waits for onlookers it is none itself.
 */
#include "postgres.h"

#include "argument.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "procedure.h"
#include "retention.h"
#include "shard_server.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"

/* A shard is being moved, or the map is being changed. */
#define BUSY_MS		200
/* So many pauses, then the caller hears why. */
#define TELL_AFTER	50

PG_FUNCTION_INFO_V1(auction_remove_history);

/* Closed at the end of the transaction's SPI. */
static AucRemote *
connect_now(Oid serverid)
{
	return OidIsValid(serverid) ?
		auc_remote_open(serverid, auc_shard_server_user()) : NULL;
}

static int
mark_some(TimestampTz before)
{
	AucCaller	caller;
	int			n;

	auc_procedure_begin(&caller);
	n = auc_retention_mark(before);
	auc_procedure_commit(&caller);
	return n;
}

static AucRemoval *
list_marked(MemoryContext context)
{
	AucCaller	caller;
	AucRemoval *removal;

	auc_procedure_begin(&caller);
	removal = auc_retention_list(context);
	auc_procedure_commit(&caller);
	return removal;
}

static int
remove_some(AucRemoval *removal)
{
	AucCaller	caller;
	int			n;

	auc_procedure_begin(&caller);
	n = auc_retention_remove(removal, connect_now);
	auc_procedure_commit(&caller);
	return n;
}

static void
wait_for_moves(int *waited)
{
	auc_nap(BUSY_MS, AUC_WAIT_PROCEDURE);
	if (++*waited == TELL_AFTER)
		ereport(NOTICE,
				(errmsg("removing history waits for the move of a shard"),
				 errhint("See auction.stat_shards; finish a move that was interrupted, or undo it.")));
}

Datum
auction_remove_history(PG_FUNCTION_ARGS)
{
	TimestampTz before = DatumGetTimestampTz(auc_argument(fcinfo, 0, "before"));
	MemoryContext context;
	AucRemoval *removal;
	int			waited = 0;

	auc_procedure_enter(fcinfo, "auction.remove_history()");
	context = CurrentMemoryContext;
	while (mark_some(before) > 0)
		;
	while ((removal = list_marked(context)) != NULL)
	{
		auc_procedure_await(removal->onlookers, "removing history");
		while (removal->next < removal->n)
			if (remove_some(removal) == 0)
				wait_for_moves(&waited);
		MemoryContextDelete(removal->context);
	}
	SPI_finish();
	PG_RETURN_VOID();
}
