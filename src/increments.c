/*
 * increments.c: see increments.h.
 *
 * Locks: an auction that names a table is inserted under ShareLock on
 * increment_tables, which a change of it (RowExclusiveLock) waits for and the
 * other way round.  So a change sees every auction that uses the old steps,
 * and an auction never gets half of a change.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "increments.h"
#include "owner.h"
#include "relation.h"
#include "statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static AucStatement read_steps = {
	.text = "SELECT from_price, increment FROM auction.increment_tables "
	"WHERE name = $1 ORDER BY from_price "
	"LIMIT " CppAsString2(AUC_STEPS_MAX) " + 1",
	.nargs = 1,.argtypes = {TEXTOID},.latest = true
};

/* ---- each list of steps once in a process ---- */

static List *known = NIL;		/* AucIncrements, in TopMemoryContext */

static AucIncrements *
copy_steps(int n, const AucStep *steps)
{
	AucIncrements *increments = palloc(offsetof(AucIncrements, step) +
									   n * sizeof(AucStep));

	increments->n = n;
	memcpy(increments->step, steps, n * sizeof(AucStep));
	return increments;
}

static const AucIncrements *
intern(int n, const AucStep *steps)
{
	ListCell   *cell;
	MemoryContext old;
	AucIncrements *increments;

	foreach(cell, known)
	{
		increments = lfirst(cell);
		if (increments->n == n &&
			memcmp(increments->step, steps, n * sizeof(AucStep)) == 0)
			return increments;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	increments = copy_steps(n, steps);
	known = lappend(known, increments);
	MemoryContextSwitchTo(old);
	return increments;
}

/* The steps lie in pairs, as the struct has them. */
static const AucStep *
steps_of_array(Datum datum, int *n)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int			numbers = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	StaticAssertStmt(sizeof(AucStep) == 2 * sizeof(int64),
					 "a step is two numbers");
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != INT8OID ||
		numbers < 2 || numbers % 2 != 0 || numbers / 2 > AUC_STEPS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("increments of an auction are not a list of steps")));
	*n = numbers / 2;
	return (const AucStep *) ARR_DATA_PTR(array);
}

const AucIncrements *
auc_increments_of_array(Datum array)
{
	int			n;
	const AucStep *steps = steps_of_array(array, &n);

	return intern(n, steps);
}

AucIncrements *
auc_increments_copy(Datum array)
{
	int			n;
	const AucStep *steps = steps_of_array(array, &n);

	return copy_steps(n, steps);
}

Datum
auc_increments_array(const AucIncrements *increments)
{
	Datum		elements[2 * AUC_STEPS_MAX];

	for (int i = 0; i < increments->n; i++)
	{
		elements[2 * i] = Int64GetDatum(increments->step[i].from_price);
		elements[2 * i + 1] = Int64GetDatum(increments->step[i].increment);
	}
	return PointerGetDatum(construct_array(elements, 2 * increments->n,
										   INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

/* ---- reading a table ---- */

int
auc_increments_read(const char *name, AucStep *steps)
{
	Datum		values[] = {CStringGetTextDatum(name)};
	uint64		n = auc_statement_run(&read_steps, values, SPI_OK_SELECT);

	if (n > AUC_STEPS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("increment table \"%s\" has too many rows", name),
				 errdetail("At most %d are allowed.", AUC_STEPS_MAX)));
	for (uint64 i = 0; i < n; i++)
	{
		steps[i].from_price = auc_statement_int64(i, 1);
		steps[i].increment = auc_statement_int64(i, 2);
	}
	if (n > 0 && steps[0].from_price != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("increment table \"%s\" does not begin at 0", name),
				 errdetail("Its least \"from_price\" is %lld.",
						   (long long) steps[0].from_price),
				 errhint("Every price needs an increment: add a row with from_price 0.")));
	return (int) n;
}

const AucIncrements *
auc_increments_find(const char *name)
{
	Relation	rel = auc_relation_open(AUC_REL_INCREMENT_TABLES, ShareLock);
	AucStep		steps[AUC_STEPS_MAX];
	AucCaller	caller;
	int			n;

	/* whoever may enter an auction may name a table */
	auc_owner_begin(&caller);
	n = auc_increments_read(name, steps);
	auc_owner_end(&caller);
	table_close(rel, NoLock);
	return n > 0 ? intern(n, steps) : NULL;
}
