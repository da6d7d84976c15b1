/*
 * shm_shadow.h: bids of route table on their way to a router that decides them
 * once more, and what came of it.
 *
 * One entry per AucServer entry (shm_lane.h).  Its queue is an endless array
 * of entries of which auction.shadow_queue exist; a cell's turn says who may
 * use it, so that no lock is needed and nobody ever waits:
 *   turn = 2n      free for the n-th entry that lies in this cell
 *   turn = 2n + 1  that entry is complete
 * Backends take a place by compare-and-swap of "head", write the entry, then
 * set its turn; a full queue is an entry that is dropped and counted.  The
 * router alone reads, in order, and gives the cell back.
 *
 * Who writes what
 *   backends  head, cells, entries, dropped
 *   both      idle: the router sets it before it sleeps without an entry, who
 *             wakes it clears it, so that few bids have to
 *   router    tail, cells given back, same, different, failed, times,
 *             differences (under the spinlock, one copied at a time),
 *             generation (at its start)
 *   reset     subtracts from the counters what it has read of them, so
 *             entries = same + different + failed + those under way, always
 */
#ifndef AUC_SHM_SHADOW_H
#define AUC_SHM_SHADOW_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "shadow.h"

/* So many of the last differences of a server are kept. */
#define AUC_SHADOW_DIFFERENCES	128

typedef struct AucShadowDifference
{
	TimestampTz at;				/* when the bid was decided */
	int64		auction_id;
	int64		user_id;
	int64		amount;			/* of a proxy auction not above the price */
	AucVerdict	table;
	AucVerdict	shadow;
	char		what[200];
} AucShadowDifference;

typedef struct AucShadowTime
{
	uint64		count;
	uint64		sum_us;
	uint64		max_us;
} AucShadowTime;

typedef struct AucShadowStat
{
	uint64		entries;
	uint64		dropped;
	uint64		same;
	uint64		different;
	uint64		failed;
	AucShadowTime table;		/* from the bid to its commit */
	AucShadowTime redis;		/* from the router's taking it to Redis'
								 * confirmation */
} AucShadowStat;

typedef enum AucShadowOutcome
{
	AUC_SHADOW_SAME,
	AUC_SHADOW_DIFFERENT,
	AUC_SHADOW_FAILED			/* not compared: Redis did not confirm it */
} AucShadowOutcome;

extern Size auc_shadow_shmem_size(void);
extern void auc_shadow_shmem_init(bool found, void *space);

/* ---- backends; never wait, never throw ---- */

/* false: dropped, and counted. */
extern bool auc_shadow_push(int server, const AucShadowEntry *entry);
extern void auc_shadow_dropped(int server, int n);
/* Behind a push: wakes the router if it sleeps for want of entries. */
extern void auc_shadow_wake(int server);

/* ---- router ---- */

/* At its start: counts what its predecessor left unfinished as failed. */
extern void auc_shadow_begin(int server, uint32 generation);
/* false: none, and the next one wakes the router. */
extern bool auc_shadow_waiting(int server);
/* The oldest entry; false: there is none. */
extern bool auc_shadow_pop(int server, AucShadowEntry *entry);
extern void auc_shadow_count(int server, AucShadowOutcome outcome);
extern void auc_shadow_took(int server, int64 table_us, int64 redis_us);
extern void auc_shadow_differs(int server,
							   const AucShadowDifference *difference);

/* ---- readers; "generation" is that of the AucServer ---- */

extern void auc_shadow_stat(int server, uint32 generation,
							AucShadowStat *stat);
/* The i-th newest, from 0. */
extern bool auc_shadow_difference(int server, uint32 generation, int i,
								  AucShadowDifference *difference);
extern void auc_shadow_reset(int server);

#endif							/* AUC_SHM_SHADOW_H */
