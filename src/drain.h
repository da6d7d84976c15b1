/*
 * drain.h: the parts of the drain; included by drain*.c only.
 *
 * drain.c        process, main loop: which lane, how much, when
 * drain_apply.c  records into journal and state rows, in one transaction
 * drain_move.c   what a move record does beside changing the row
 * drain_dead.c   dead letters and quarantine
 */
#ifndef AUC_DRAIN_H
#define AUC_DRAIN_H

#include "postgres.h"

#include "shm_tail.h"
#include "store.h"
#include "utils/hsearch.h"

typedef struct AucDrainLane
{
	struct AucDrain *drain;
	AucLane    *lane;
	int			lane_id;
	AucTailCursor cursor;		/* behind the last record applied */
	uint64		applied;		/* its position */
	TimestampTz retry_at;		/* after an error; 0: none */
	HTAB	   *rows;			/* state rows as last written: AucDrainRow */
} AucDrainLane;

typedef struct AucDrainRow
{
	int64		auction_id;		/* hash key */
	AucRow		row;
	bool		dirty;			/* in this transaction, not written yet */
	bool		moved;			/* in this transaction: to route table */
} AucDrainRow;

/* What one transaction may take, and where each record ends in the tail. */
typedef struct AucDrainBatch
{
	int			size;			/* room */
	int			n;
	const AucRecord **records;
	uint64	   *ends;
} AucDrainBatch;

typedef struct AucDrain
{
	AucServer  *server;
	MemoryContext context;		/* as long as the process */
	MemoryContext batch_context;	/* reset after each batch */
	int			nlanes;
	AucDrainLane *lanes;
	int			first;			/* lane that is served first in this turn */
	AucDrainBatch batch;
	AucDrainRow **dirty;		/* rows of the present transaction */
	int			ndirty;
	int			nmoves;			/* move records of the present transaction */
	int64	   *moves;			/* ... their auctions; room for a batch */
	ErrorData  *fault;			/* of the record that is being buried */
	double		tokens;			/* rows that may be applied now */
	TimestampTz tokens_at;
} AucDrain;

/* Reads "applied", commits something small first (rule 17). */
extern void auc_drain_lane_begin(AucDrainLane *dl);
/* Applies the batch; an error that is not a record's own: retry_at is set. */
extern void auc_drain_apply(AucDrainLane *dl);
extern void auc_drain_forget_rows(AucDrainLane *dl);
/* applied := position, in the present transaction. */
extern void auc_drain_set_applied(AucDrainLane *dl, uint64 position);
/* After the commit: shared memory, and whoever waits. */
extern void auc_drain_publish(AucDrainLane *dl, uint64 position, uint64 off);
/* In the present transaction. */
extern void auc_drain_move(AucDrainLane *dl, AucDrainRow *entry,
						   const AucRecord *record);
/* After its commit: whoever has the row now is not the drain any more. */
extern void auc_drain_moved(AucDrainLane *dl);
/* Errors that are the record's own fault (rule 8). */
extern bool auc_drain_is_own_fault(const ErrorData *error);
/* In the present transaction. */
extern void auc_drain_bury(AucDrainLane *dl, const AucRecord *record,
						   int sqlerrcode, const char *message);
/* In a transaction of its own: bury and quarantine, then publish. */
extern void auc_drain_quarantine(AucDrainLane *dl, int index,
								 const ErrorData *error);

#endif							/* AUC_DRAIN_H */
