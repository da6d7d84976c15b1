/*
 * relation.h: the OIDs of the extension's own tables.
 *
 * They change with DROP EXTENSION and CREATE EXTENSION, so no process may keep
 * one without hearing of that.  This is the one place that does; a relation's
 * OID is looked up once and forgotten when its relcache entry is invalidated.
 */
#ifndef AUC_RELATION_H
#define AUC_RELATION_H

#include "postgres.h"

#include "storage/lockdefs.h"
#include "utils/relcache.h"

typedef enum AucRelation
{
	AUC_REL_AUCTIONS,
	AUC_REL_STATE,
	AUC_REL_JOURNAL,
	AUC_REL_JOURNAL_REQUEST,	/* an index */
	AUC_REL_LANES,
	AUC_REL_BIDS,
	AUC_REL_ROUTE_EPOCH,
	AUC_REL_INCREMENT_TABLES,
	AUC_REL_ROLLOUT,
	AUC_REL_PINS,
	AUC_REL_WAITS,
	AUC_REL_ADOPTIONS,
	AUC_REL_REPAIR_LOG,
	AUC_REL_HISTORY,
	AUC_REL_SHARD_SERVERS,
	AUC_REL_COUNT
} AucRelation;

/* InvalidOid if "missing_ok" and there is none; else ERROR. */
extern Oid	auc_relation_id(AucRelation which, bool missing_ok);
/* Like table_open; survives an extension that is dropped and created anew. */
extern Relation auc_relation_open(AucRelation which, LOCKMODE mode);
/* NULL if it would have to wait, or there is none. */
extern Relation auc_relation_try_open(AucRelation which, LOCKMODE mode);
/*
 * Grows when routes may have changed, or the extension was created anew.  Only
 * a process that has looked up _route_epoch hears of it: a cache does that
 * first, then notes the generation, then reads what it keeps.
 */
extern uint64 auc_relation_generation(void);
/* Tells every backend, at commit, to forget what it knows about routes. */
extern void auc_relation_route_changed(void);

#endif							/* AUC_RELATION_H */
