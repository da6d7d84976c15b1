/*
 * statement.c: see statement.h.
 *
 * Plans are kept per process and belong to nobody else; SPI plans them anew
 * when a table changes, also when the extension is dropped and created again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "statement.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* What a statement changes, as its caller has it. */
typedef struct Caller
{
	MemoryContext context;		/* SPI leaves its own */
	int			guc_level;
} Caller;

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * What the planner may not use.  jit: forbidden paths cost so much on paper
 * that it would compile for them.
 */
static Caller
restrict_planner(void)
{
	Caller		caller = {CurrentMemoryContext, NewGUCNestLevel()};

	set_local("enable_seqscan", "off");
	set_local("enable_hashjoin", "off");
	set_local("enable_mergejoin", "off");
	set_local("jit", "off");
	return caller;
}

static void
go_back(Caller caller)
{
	AtEOXact_GUC(true, caller.guc_level);
	MemoryContextSwitchTo(caller.context);
}

static void
prepare(AucStatement *statement)
{
	SPIPlanPtr	plan;

	if (statement->plan != NULL)
		return;
	plan = SPI_prepare(statement->text, statement->nargs,
					   statement->argtypes);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not prepare \"%s\": %s",
								 statement->text,
								 SPI_result_code_string(SPI_result))));
	statement->plan = plan;
}

static void
check_result(const AucStatement *statement, int result, int expected)
{
	if (result != expected)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("\"%s\" ended with %s", statement->text,
								 SPI_result_code_string(result))));
}

uint64
auc_statement_run(AucStatement *statement, Datum *values, int expected)
{
	Caller		caller = restrict_planner();
	int			result;

	prepare(statement);
	if (statement->latest)
		result = SPI_execute_snapshot(statement->plan, values, NULL,
									  GetLatestSnapshot(), InvalidSnapshot,
									  false, true, 0);
	else
		result = SPI_execute_plan(statement->plan, values, NULL, false, 0);
	check_result(statement, result, expected);
	go_back(caller);
	return SPI_processed;
}

uint64
auc_statement_once(const char *text)
{
	Caller		caller = restrict_planner();
	int			result;

	set_local("enable_sort", "off");
	result = SPI_execute(text, false, 0);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg_internal("could not execute \"%s\": %s", text,
								 SPI_result_code_string(result))));
	go_back(caller);
	return SPI_processed;
}

uint64
auc_statement_read(AucStatement *statement, Datum *values, Snapshot snapshot)
{
	Caller		caller = restrict_planner();

	prepare(statement);
	check_result(statement,
				 SPI_execute_snapshot(statement->plan, values, NULL, snapshot,
									  InvalidSnapshot, true, false, 0),
				 SPI_OK_SELECT);
	go_back(caller);
	return SPI_processed;
}

Portal
auc_statement_open(AucStatement *statement, Datum *values)
{
	Caller		caller = restrict_planner();
	Portal		portal;

	prepare(statement);
	portal = SPI_cursor_open(NULL, statement->plan, values, NULL, false);
	go_back(caller);
	return portal;
}

Datum
auc_statement_ids(int n, const int64 *ids)
{
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));
	ArrayType  *array;

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	array = construct_array(elements, n, INT8OID, sizeof(int64),
							FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	return PointerGetDatum(array);
}

Datum
auc_statement_datum(uint64 row, int column, bool *isnull)
{
	Datum		value;

	Assert(row < SPI_processed);
	value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						  column, isnull);
	return *isnull ? (Datum) 0 : value;
}

int64
auc_statement_int64(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

int32
auc_statement_int32(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
auc_statement_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? false : DatumGetBool(value);
}

char
auc_statement_char(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? '\0' : DatumGetChar(value);
}
