/*
 * repair.c: see repair.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "repair.h"
#include "statement.h"
#include "utils/builtins.h"

static AucStatement log_with_reason = {
	.text = "INSERT INTO auction.repair_log (by_role, what, auction_id, "
	" lane_id, from_position, to_position, reason) VALUES ($1, $2, "
	" nullif($3, 0), nullif($4, 0), nullif($5, 0), nullif($6, 0), "
	" nullif($7, ''))",
	.nargs = 7,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, INT4OID, INT8OID, INT8OID, TEXTOID}
};

void
auc_repair_log(const char *what, int64 auction_id, int lane_id, int64 from,
			   int64 to, text *reason)
{
	Datum		values[7];

	values[0] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(),
													  false));
	values[1] = CStringGetTextDatum(what);
	values[2] = Int64GetDatum(auction_id);
	values[3] = Int32GetDatum(lane_id);
	values[4] = Int64GetDatum(from);
	values[5] = Int64GetDatum(to);
	values[6] = reason != NULL ? PointerGetDatum(reason) :
		CStringGetTextDatum("");
	(void) auc_statement_run(&log_with_reason, values, SPI_OK_INSERT);
}
