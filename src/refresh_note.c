/*
 * refresh_note.c: see refresh_note.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "hooks.h"
#include "refresh_note.h"
#include "shm.h"
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

void
auc_refresh_wanted(const AucRow *row)
{
	if (row->route != AUC_ROUTE_REDIS)
		return;
	auc_refresh_note(row->auction.id);
	if (auc_shm_available())
		auc_hooks_steward_wanted();
}
