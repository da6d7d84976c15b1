/*
 * shard_place.c: see shard_place.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "shard_place.h"
#include "shard_server.h"
#include "statement.h"

void
auc_place_open(AucPlace *place, Oid serverid)
{
	place->serverid = serverid;
	place->remote = NULL;
	if (!OidIsValid(serverid))
		return;
	place->remote = auc_remote_open(serverid, auc_shard_server_user());
	/* a table that was never analyzed is not to be read whole for a piece */
	(void) auc_place_run(place, "SELECT set_config(s, 'off', false) FROM"
						 " unnest('{enable_seqscan, enable_sort}'::text[]) s");
	auc_place_begin(place);
	auc_place_commit(place);
}

void
auc_place_close(AucPlace *place)
{
	if (place->remote != NULL)
		auc_remote_close(place->remote);
	place->remote = NULL;
}

const char *
auc_place_name(const AucPlace *place)
{
	return place->remote == NULL ? "here" :
		psprintf("shard server \"%s\"", auc_remote_name(place->remote));
}

uint64
auc_place_run(const AucPlace *place, const char *format,...)
{
	StringInfoData sql;
	uint64		rows;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&sql, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	rows = place->remote == NULL ? auc_statement_once(sql.data) :
		auc_remote_run(place->remote, sql.data, 0, NULL, 0);
	pfree(sql.data);
	return rows;
}

int64
auc_place_int64(const AucPlace *place, uint64 row, int column, bool *isnull)
{
	if (place->remote != NULL)
	{
		*isnull = auc_remote_value(place->remote, row, column - 1) == NULL;
		return *isnull ? 0 : auc_remote_int64(place->remote, row, column - 1);
	}
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row],
									   SPI_tuptable->tupdesc, column, isnull));
}

void
auc_place_begin(const AucPlace *place)
{
	if (place->remote == NULL)
		return;
	(void) auc_place_run(place, "BEGIN");
	auc_shard_server_claim(place->remote);
}

void
auc_place_commit(const AucPlace *place)
{
	if (place->remote != NULL)
		(void) auc_place_run(place, "COMMIT");
}

void
auc_place_rollback(const AucPlace *place)
{
	if (place->remote != NULL)
		(void) auc_place_run(place, "ROLLBACK");
}
