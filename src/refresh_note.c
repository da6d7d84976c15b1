/*
 * refresh_note.c: see refresh_note.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "refresh_note.h"
#include "statement.h"

static AucStatement note_refresh = {
	.text = "INSERT INTO auction._refresh (auction_id) VALUES ($1)",
	.nargs = 1,.argtypes = {INT8OID}
};

void
auc_refresh_note(int64 auction_id)
{
	Datum		values[] = {Int64GetDatum(auction_id)};

	(void) auc_statement_run(&note_refresh, values, SPI_OK_INSERT);
}
