/*
 * relation.c: the OIDs of the extension's own tables.
 *
 * All of it is memory of one process.  A relcache callback, registered once
 * per process at the first look-up, forgets an OID when that relation is
 * invalidated (dropped, altered) or everything is.  It runs wherever
 * PostgreSQL accepts invalidation messages, so it must not do more than that:
 * no catalog access, no allocation.
 *
 * _route_epoch is a table without rows.  Nobody reads it; an invalidation of
 * its relcache entry is sent with the commit that changes an auction's route,
 * so that route caches learn of the change by the road that PostgreSQL's own
 * caches use.  The row of _state is still the truth: whoever acts on a route
 * reads it again under the auction's lock, or in the router.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "relation.h"

#define AUC_SCHEMA	"auction"

static const char *const relation_names[AUC_REL_COUNT] = {
	[AUC_REL_AUCTIONS] = "auctions",
	[AUC_REL_STATE] = "_state",
	[AUC_REL_JOURNAL] = "journal",
	[AUC_REL_JOURNAL_REQUEST] = "journal_request",
	[AUC_REL_LANES] = "lanes",
	[AUC_REL_BIDS] = "bids",
	[AUC_REL_ROUTE_EPOCH] = "_route_epoch",
	[AUC_REL_INCREMENT_TABLES] = "increment_tables",
	[AUC_REL_ROLLOUT] = "_rollout",
	[AUC_REL_PINS] = "_pins",
	[AUC_REL_WAITS] = "_waits",
	[AUC_REL_ADOPTIONS] = "_adoptions",
	[AUC_REL_REPAIR_LOG] = "repair_log",
	[AUC_REL_HISTORY] = "history",
	[AUC_REL_SHARD_SERVERS] = "shard_servers",
};

static Oid	relation_ids[AUC_REL_COUNT];
static uint64 generation = 1;

static void
forget(Datum arg, Oid relid)
{
	int			i;

	(void) arg;
	for (i = 0; i < AUC_REL_COUNT; i++)
	{
		if (OidIsValid(relid) && relation_ids[i] != relid)
			continue;
		relation_ids[i] = InvalidOid;
		if (i == AUC_REL_ROUTE_EPOCH)
			generation++;
	}
}

Oid
auc_relation_id(AucRelation which, bool missing_ok)
{
	static bool registered = false;
	Oid			schema;
	Oid			relid;

	if (OidIsValid(relation_ids[which]))
		return relation_ids[which];

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}

	schema = get_namespace_oid(AUC_SCHEMA, true);
	relid = OidIsValid(schema) ?
		get_relname_relid(relation_names[which], schema) : InvalidOid;
	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist",
						AUC_SCHEMA, relation_names[which]),
				 errhint("The extension is installed by CREATE EXTENSION auction.")));
	relation_ids[which] = relid;
	return relid;
}

Relation
auc_relation_open(AucRelation which, LOCKMODE mode)
{
	for (;;)
	{
		Oid			relid = auc_relation_id(which, false);
		Relation	rel = try_relation_open(relid, mode);

		if (rel != NULL)
			return rel;

		/* Dropped since it was looked up; taking the lock told us. */
		forget((Datum) 0, relid);
	}
}

Relation
auc_relation_try_open(AucRelation which, LOCKMODE mode)
{
	Oid			relid = auc_relation_id(which, true);

	if (!OidIsValid(relid) || !ConditionalLockRelationOid(relid, mode))
		return NULL;
	return try_relation_open(relid, NoLock);
}

uint64
auc_relation_generation(void)
{
	return generation;
}

void
auc_relation_route_changed(void)
{
	CacheInvalidateRelcacheByRelid(auc_relation_id(AUC_REL_ROUTE_EPOCH,
												   false));
}
