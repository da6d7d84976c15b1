/*
 * store_row.h: what the two halves of the store share; see store.h.
 */
#ifndef AUC_STORE_ROW_H
#define AUC_STORE_ROW_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "store.h"
#include "utils/relcache.h"

/* One open table, and what writing it needs; that is made when first used. */
typedef struct AucStoreTable
{
	Relation	rel;
	ResultRelInfo *info;		/* indexes open; NULL until a write */
} AucStoreTable;

struct AucStore
{
	MemoryContext context;		/* of everything here */
	MemoryContext scratch;		/* reset by each insert of bids */
	AucStoreTable state;
	AucStoreTable journal;		/* rel is NULL if not asked for */
	EState	   *estate;			/* NULL until a write */
	Oid			state_index;	/* primary key */
	TupleTableSlot *found;		/* a row as it was read */
	TupleTableSlot *formed;		/* a row to be written */
	TupleTableSlot **bids;		/* room for AUC_STORE_BIDS journal rows */
	int			nbids;			/* how many of them exist */
};

/* Journal rows in one heap_multi_insert; COPY takes as many. */
#define AUC_STORE_BIDS	1000

extern void auc_store_prepare_write(AucStore *store, AucStoreTable *table);
extern void auc_store_check_and_index(AucStore *store, AucStoreTable *table,
									  TupleTableSlot *slot, bool check,
									  bool index);

#endif							/* AUC_STORE_ROW_H */
