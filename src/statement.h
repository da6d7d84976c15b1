/*
 * statement.h: SQL statements of the engine's own, with cached plans.
 *
 * For what is done seldom and for many rows at once: closing, verifying,
 * consolidating, reads from the tables.  What a single bid needs goes through
 * store.h instead.
 *
 * The texts qualify every name that is not in pg_catalog.  While a statement
 * runs, the planner is told to use indexes: the tables grow from empty to huge
 * between two runs of ANALYZE, and a plan that reads the whole journal is
 * never the right one here.
 *
 * What a caller makes of a result stands in the memory context it was in, which
 * is that of SPI_connect(), and gone with SPI_finish(), unless it changed that.
 */
#ifndef AUC_STATEMENT_H
#define AUC_STATEMENT_H

#include "postgres.h"

#include "executor/spi.h"

#define AUC_STATEMENT_MAX_ARGS	8

typedef struct AucStatement
{
	const char *text;
	int			nargs;
	Oid			argtypes[AUC_STATEMENT_MAX_ARGS];
	bool		latest;			/* reads what is committed now, whatever the
								 * isolation level; under a lock that makes
								 * that mean something */
	SPIPlanPtr	plan;			/* kept for the life of the process; NULL */
} AucStatement;

/*
 * Runs it inside SPI_connect .. SPI_finish, with a new snapshot where the
 * isolation level allows one; returns the number of rows.  "expected" is the
 * SPI_OK_ code it must end with.  No argument is NULL.
 */
extern uint64 auc_statement_run(AucStatement *statement, Datum *values,
								int expected);
/*
 * Runs a text once, by a plan that is not kept; DDL, too.  Order comes from an
 * index, as it is asked for in pieces.
 */
extern uint64 auc_statement_once(const char *text);
/*
 * A SELECT that sees what the snapshot does, whatever the transaction's own:
 * for several statements that have to see the same.
 */
extern uint64 auc_statement_read(AucStatement *statement, Datum *values,
								 Snapshot snapshot);
/* A cursor over a SELECT, with a new snapshot, for SPI_cursor_fetch(). */
extern Portal auc_statement_open(AucStatement *statement, Datum *values);
/* A bigint[] as an argument. */
extern Datum auc_statement_ids(int n, const int64 *ids);
/* Column "column" (from 1) of row "row" (from 0) of the last result. */
extern Datum auc_statement_datum(uint64 row, int column, bool *isnull);
extern int64 auc_statement_int64(uint64 row, int column);	/* NULL: 0 */
extern int32 auc_statement_int32(uint64 row, int column);	/* NULL: 0 */
extern bool auc_statement_bool(uint64 row, int column); /* NULL: false */
extern char auc_statement_char(uint64 row, int column); /* NULL: '\0' */

#endif							/* AUC_STATEMENT_H */
