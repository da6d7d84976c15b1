/*
 * steward_sample.c: who waits for which lock, sampled for write_hotspots().
 *
 * Every auction.sample_waits the processes of this database are looked at,
 * without any lock; only if one of them waits for a heavyweight lock does a
 * transaction begin, which adds what the view auction._waiting shows to
 * auction._waits.  So an idle system writes nothing.  A row of _waits counts
 * the sessions seen, and the time that they stand for: each the interval.
 *
 * Only the steward and write_hotspots_reset() write _waits, both under a
 * SHARE ROW EXCLUSIVE lock of it: the steward takes that without waiting, or
 * leaves the sample out, and never waits for a row after it.
 *
 * An ERROR is logged, and the next sample is taken a minute later: the other
 * work of the round does not hear of it.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "relation.h"
#include "settings.h"
#include "statement.h"
#include "steward_sample.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker.h"
#include "worker_start.h"

/* Rows of _waits. */
#define WAITS_MAX		1000
#define ERROR_PAUSE_MS	60000
#define WAIT_CLASS_MASK	0xFF000000

static TimestampTz last = 0;	/* when the last sample was due */
static bool failed = false;		/* with an ERROR */

static AucStatement add_waits = {
	.text = "INSERT INTO auction._waits AS w (relid, row_key, query_id, "
	" statement, relation, waits, waited_ms, last_seen) "
	"SELECT relid, row_key, query_id, statement, relid::regclass::text, "
	" count(*), count(*) * $1, $2 "
	"FROM auction._waiting GROUP BY relid, row_key, query_id, statement "
	"ON CONFLICT (relid, row_key, query_id, statement) DO UPDATE "
	"SET relation = EXCLUDED.relation, waits = w.waits + EXCLUDED.waits, "
	" waited_ms = w.waited_ms + EXCLUDED.waited_ms, "
	" last_seen = EXCLUDED.last_seen",
	.nargs = 2,.argtypes = {INT8OID, TIMESTAMPTZOID}
};
static AucStatement forget_waits = {
	.text = "DELETE FROM auction._waits "
	"WHERE last_seen < $1 - interval '1 day' "
	" OR (relid, row_key, query_id, statement) IN ("
	"  SELECT relid, row_key, query_id, statement FROM auction._waits "
	"  ORDER BY waits DESC, last_seen DESC OFFSET "
	CppAsString2(WAITS_MAX) ")",
	.nargs = 1,.argtypes = {TIMESTAMPTZOID}
};

/* A glance, as pg_stat_activity's: wait events are read without a lock. */
static bool
somebody_waits(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		volatile PGPROC *proc = &ProcGlobal->allProcs[i];

		if (proc->databaseId == MyDatabaseId &&
			(proc->wait_event_info & WAIT_CLASS_MASK) == PG_WAIT_LOCK)
			return true;
	}
	return false;
}

static void
take_sample(TimestampTz now)
{
	Relation	waits;
	Datum		values[2];

	auc_worker_xact_begin("sampling lock waits");
	waits = auc_relation_try_open(AUC_REL_WAITS, ShareRowExclusiveLock);
	if (waits != NULL)
	{
		SPI_connect();
		values[0] = Int64GetDatum(auc_guc_sample_waits);
		values[1] = TimestampTzGetDatum(now);
		(void) auc_statement_run(&add_waits, values, SPI_OK_INSERT);
		values[0] = TimestampTzGetDatum(now);
		(void) auc_statement_run(&forget_waits, values, SPI_OK_DELETE);
		SPI_finish();
		table_close(waits, NoLock);
	}
	auc_worker_xact_commit();
}

/* A clock that was set back, or another interval, puts nothing off. */
static TimestampTz
next_sample(TimestampTz now)
{
	if (last > now)
		return now;
	return TimestampTzPlusMilliseconds(last, failed ? ERROR_PAUSE_MS :
									   auc_guc_sample_waits);
}

void
auc_steward_sample_run(TimestampTz now, MemoryContext context,
					   TimestampTz *next)
{
	if (auc_guc_sample_waits == 0)
		return;
	if (next_sample(now) <= now)
	{
		last = now;
		failed = true;
		PG_TRY();
		{
			if (somebody_waits())
				take_sample(now);
			failed = false;
		}
		PG_CATCH();
		{
			auc_worker_recover(context);
		}
		PG_END_TRY();
	}
	*next = Min(*next, next_sample(now));
}
