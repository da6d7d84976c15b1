/*
 * trigger_increments.c: the triggers of auction.increment_tables.
 *
 * Each row by itself is checked by the table's own constraints.  That a table
 * begins at 0, and its length, are looked at when the transaction ends (a
 * deferred trigger), so that it can be entered in any order; until then nobody
 * else changes it (auc_lock_increments).  A table that an
 * open auction uses does not change at all, and those that the extension
 * brings never do; they are copied under another name instead.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "errors.h"
#include "increments.h"
#include "lock.h"
#include "owner.h"
#include "statement.h"
#include "trigger.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* The first column of increment_tables. */
#define COL_NAME	1

PG_FUNCTION_INFO_V1(auction__increments_change);
PG_FUNCTION_INFO_V1(auction__increments_check);
PG_FUNCTION_INFO_V1(auction__increments_truncate);

static AucStatement open_auction = {
	.text = "SELECT auction_id FROM auction._state "
	"WHERE increment_table = $1 AND status = 'o' LIMIT 1",
	.nargs = 1,.argtypes = {TEXTOID},.latest = true
};

static char *
name_of(TriggerData *trigger, HeapTuple tuple)
{
	bool		isnull;
	Datum		name = heap_getattr(tuple, COL_NAME,
									RelationGetDescr(trigger->tg_relation),
									&isnull);

	return isnull ? NULL : TextDatumGetCString(name);
}

/* The extension's own have names that nobody else's begin with. */
static void
refuse_shipped(const char *name)
{
	if (creating_extension || strncmp(name, "ebay_", 5) != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("increment table \"%s\" cannot be changed", name),
			 errdetail("Names that begin with \"ebay_\" are those of tables that come with the extension."),
			 errhint("Copy its rows under another name.")));
}

static void
refuse_used(const char *name)
{
	Datum		values[] = {CStringGetTextDatum(name)};
	AucCaller	caller;

	auc_owner_begin(&caller);
	if (auc_statement_run(&open_auction, values, SPI_OK_SELECT) > 0)
		ereport(ERROR,
				(errcode(AUC_ERRCODE_AUCTION_IN_USE),
				 errmsg("increment table \"%s\" cannot be changed", name),
				 errdetail("Auction %lld is open and uses it.",
						   (long long) auc_statement_int64(0, 1)),
				 errhint("Make a table with another name for new auctions.")));
	auc_owner_end(&caller);
}

/* BEFORE INSERT, UPDATE or DELETE of a row. */
Datum
auction__increments_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_INCREMENT_TABLES);
	HeapTuple	tuples[] = {trigger->tg_trigtuple, trigger->tg_newtuple};

	for (int i = 0; i < lengthof(tuples) && !auc_trigger_restoring(); i++)
	{
		char	   *name;

		if (tuples[i] == NULL)
			continue;
		name = name_of(trigger, tuples[i]);
		if (name == NULL)
			continue;			/* the constraint says so */
		refuse_shipped(name);
		auc_lock_increments(name);
		refuse_used(name);
	}
	return PointerGetDatum(trigger->tg_newtuple != NULL ?
						   trigger->tg_newtuple : trigger->tg_trigtuple);
}

/* The tables that come with the extension are among the rows. */
Datum
auction__increments_truncate(PG_FUNCTION_ARGS)
{
	(void) auc_trigger_of(fcinfo, AUC_REL_INCREMENT_TABLES);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate auction.increment_tables"),
			 errdetail("It has tables that come with the extension."),
			 errhint("DELETE the rows of a table by its name.")));
	return PointerGetDatum(NULL);
}

/* At the end of the transaction: is what was changed a table now? */
Datum
auction__increments_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = auc_trigger_of(fcinfo, AUC_REL_INCREMENT_TABLES);
	HeapTuple	tuples[] = {trigger->tg_trigtuple, trigger->tg_newtuple};
	AucStep		steps[AUC_STEPS_MAX];
	AucCaller	caller;

	/* a dump may bring its rows one by one, in any order */
	if (auc_trigger_restoring())
		return PointerGetDatum(NULL);
	auc_owner_begin(&caller);
	for (int i = 0; i < lengthof(tuples); i++)
		if (tuples[i] != NULL)
			(void) auc_increments_read(name_of(trigger, tuples[i]), steps);
	auc_owner_end(&caller);
	return PointerGetDatum(NULL);
}
