/*
 * launcher.c: a steward for each database that has the extension.
 *
 * The launcher reads only the shared catalogs, so it cannot see where the
 * extension is; a steward has to look.  It lets two stewards at a time probe
 * the databases it does not know, and remembers, in memory of its own, which
 * have none, until CREATE EXTENSION binds an entry for the database
 * (auc_database_created).  Databases copied from others have new OIDs and are
 * found by reading pg_database again.
 *
 * Every step is repeated from the state in shared memory, so it does not
 * matter what woke the launcher, and a new one goes on where the last stopped.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "shm_lane.h"
#include "shm_worker.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "waits.h"
#include "worker.h"
#include "worker_start.h"

#define RESCAN_MS			10000
#define FULL_RETRY_MS		60000
#define MAX_PROBES			2

/* A database that needs no steward for now. */
typedef struct Known
{
	Oid			dboid;
	TimestampTz until;			/* look again then */
} Known;

static List *known = NIL;		/* Known, in TopMemoryContext */
static uint32 overflows_seen = 0;

static Known *
find_known(Oid dboid)
{
	ListCell   *cell;

	foreach(cell, known)
	{
		Known	   *entry = lfirst(cell);

		if (entry->dboid == dboid)
			return entry;
	}
	return NULL;
}

static void
remember(Oid dboid, TimestampTz until)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Known	   *entry = find_known(dboid);

	if (entry == NULL)
	{
		entry = palloc(sizeof(Known));
		entry->dboid = dboid;
		known = lappend(known, entry);
	}
	entry->until = until;
	MemoryContextSwitchTo(old);
}

/* Databases that are gone, or whose time is over. */
static void
forget(List *dboids, TimestampTz now)
{
	ListCell   *cell;

	foreach(cell, known)
	{
		Known	   *entry = lfirst(cell);

		if (entry->until > now && list_member_oid(dboids, entry->dboid))
			continue;
		known = foreach_delete_current(known, cell);
		pfree(entry);
	}
}

/* OIDs of the databases that take connections, in the current context. */
static List *
read_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *dboids = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	auc_worker_xact_begin("reading pg_database");
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (!form->datallowconn)
			continue;
		old = MemoryContextSwitchTo(context);
		dboids = lappend_oid(dboids, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	auc_worker_xact_commit();
	return dboids;
}

/* Entries whose database or extension is gone, once nobody uses them. */
static void
clean_up(const AucDatabaseInfo *info, TimestampTz now)
{
	bool		full = info->state == AUC_DATABASE_FULL;

	if (info->running || info->suspended)
		return;
	/* no process can come meanwhile: it would not be wanted */
	auc_database_release(info->dboid);
	if (auc_database_unbind(info->dboid))
		remember(info->dboid, full ?
				 TimestampTzPlusMilliseconds(now, FULL_RETRY_MS) : DT_NOEND);
}

/*
 * Looks after the entries there are; returns how many are still being probed,
 * and the databases of all in "bound".
 */
static int
step_entries(List *dboids, TimestampTz now, TimestampTz *next, List **bound)
{
	AucDatabaseInfo *infos;
	int			n;
	int			probes = 0;

	infos = auc_database_snapshot(&n);
	for (int i = 0; i < n; i++)
	{
		AucDatabaseInfo *info = &infos[i];

		*bound = lappend_oid(*bound, info->dboid);
		switch (info->state)
		{
			case AUC_DATABASE_PROBE:
			case AUC_DATABASE_PRESENT:
				if (!list_member_oid(dboids, info->dboid))
				{
					if (!info->suspended)
						auc_database_gone(info->dboid);
					break;
				}
				if (info->state == AUC_DATABASE_PROBE && !info->suspended)
					probes++;
				auc_worker_start(AUC_WORKER_STEWARD, info->dboid, -1, now,
								 next);
				break;
			case AUC_DATABASE_FULL:
			case AUC_DATABASE_ABSENT:
				clean_up(info, now);
				break;
			case AUC_DATABASE_FREE:
				break;
		}
	}
	return probes;
}

static void
step(TimestampTz now, TimestampTz *next)
{
	List	   *dboids = read_databases();
	List	   *bound = NIL;
	ListCell   *cell;
	int			probes;
	uint32		overflows = auc_database_overflows();

	/* somebody created the extension and found no entry: look everywhere */
	if (overflows != overflows_seen)
		forget(NIL, now);
	overflows_seen = overflows;
	forget(dboids, now);

	probes = step_entries(dboids, now, next, &bound);
	foreach(cell, dboids)
	{
		Oid			dboid = lfirst_oid(cell);

		if (probes >= MAX_PROBES)
			break;
		if (list_member_oid(bound, dboid) || find_known(dboid) != NULL)
			continue;
		if (!auc_database_bind(dboid))
			break;
		probes++;
		auc_worker_start(AUC_WORKER_STEWARD, dboid, -1, now, next);
	}
}

void
auc_launcher_main(Datum arg)
{
	MemoryContext context;

	auc_worker_begin(AUC_WORKER_LAUNCHER, -1);
	context = AllocSetContextCreate(TopMemoryContext, "auction launcher",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		TimestampTz now;
		TimestampTz next;

		/* what happens after this wakes us again */
		ResetLatch(MyLatch);
		auc_worker_loop();
		now = GetCurrentTimestamp();
		next = TimestampTzPlusMilliseconds(now, RESCAN_MS);
		step(now, &next);
		MemoryContextReset(context);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														 next),
						 auc_wait_event(AUC_WAIT_LAUNCHER_MAIN));
	}
}
