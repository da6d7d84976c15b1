/*
 * shm_stat.h: what became of bids and how long they took, by route.
 *
 * auction.max_databases entries, one for each database in which a bid was
 * placed since the start.  An entry has its counters several times (stripes),
 * and a process adds to those of its stripe, by atomics, without a lock; a
 * reader adds the stripes up, counter by counter, while bids go on, so that
 * what it gets is of a moment or two, not of one.
 *
 * Counters only grow until the entry is forgotten.  "Since the reset" and
 * "since the step" are differences to a copy that was taken then; only the
 * longest latency, which has no difference, is kept three times.
 *
 * An entry is bound by the first bid of its database and forgotten with the
 * extension or the database, both under the registry lock, exclusively; so are
 * the copies taken.  A process remembers its entry and looks at its dboid.
 * A count that comes while the entry is being forgotten may be lost or stay.
 */
#ifndef AUC_SHM_STAT_H
#define AUC_SHM_STAT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "latency.h"
#include "rules.h"

typedef enum AucStatRoute
{
	AUC_STAT_TABLE,
	AUC_STAT_REDIS,
	AUC_STAT_SHADOW,			/* mirrored bids, which do not count */
	AUC_STAT_ROUTES				/* how many there are */
} AucStatRoute;

/* Bids that got no verdict; errors.h says what each means. */
typedef enum AucStatError
{
	AUC_STAT_NOT_RECORDED,
	AUC_STAT_UNKNOWN,
	AUC_STAT_OVERLOADED,
	AUC_STAT_RECOVERING,
	AUC_STAT_FENCED,
	AUC_STAT_OTHER,
	AUC_STAT_ERRORS
} AucStatError;

typedef enum AucStatSince
{
	AUC_STAT_START,				/* never goes back, for who takes differences */
	AUC_STAT_RESET,				/* auc_stat_reset(), else the start */
	AUC_STAT_STEP,				/* auc_stat_mark_step(), else the reset */
	AUC_STAT_SINCES
} AucStatSince;

/* Nothing but uint64; max_us stays last (shm_stat.c). */
typedef struct AucRouteStat
{
	uint64		accepted;
	uint64		rejected[AUC_REASONS];
	uint64		rolled_back;	/* accepted, then undone by their transaction */
	uint64		rate_limited;	/* refused before they went any way */
	uint64		errors[AUC_STAT_ERRORS];
	uint64		sum_us;			/* this and the next: accepted and rejected */
	uint64		latency[AUC_LATENCY_BUCKETS];
	uint64		max_us;
} AucRouteStat;

extern Size auc_stat_shmem_size(void);
extern void auc_stat_shmem_init(bool found, void *space);

/* ---- counting; of MyDatabaseId, nothing without shared memory ---- */

/*
 * Finds, or binds, the entry; false: there is none, nothing will be counted.
 * The others need no call before; it spares them the registry lock where that
 * would be out of place.
 */
extern bool auc_stat_ready(void);
extern void auc_stat_verdict(AucStatRoute route, const AucVerdict *verdict,
							 uint64 us);
extern void auc_stat_error(AucStatRoute route, AucStatError error);
extern void auc_stat_rate_limited(AucStatRoute route);
extern void auc_stat_rolled_back(AucStatRoute route, uint64 n);
/* All of it at once. */
extern void auc_stat_add(AucStatRoute route, const AucRouteStat *stat);

/* ---- reading ---- */

/*
 * One route of one database; zeroed if no bid was placed there.  Returns since
 * when.  Some microseconds.
 */
extern TimestampTz auc_stat_read(Oid dboid, AucStatRoute route,
								 AucStatSince since, AucRouteStat *stat);
/*
 * What came since "before", an earlier answer for AUC_STAT_START; max_us stays
 * what it is.
 */
extern void auc_stat_subtract(AucRouteStat *stat, const AucRouteStat *before);
extern uint64 auc_stat_rejected(const AucRouteStat *stat);
extern uint64 auc_stat_errors(const AucRouteStat *stat);

/* ---- since when ---- */

extern void auc_stat_reset(void);
/* The rollout has taken a step, as of now; in a commit, too: never throws. */
extern void auc_stat_mark_step(void);
/* The database, or the extension in it, is gone. */
extern void auc_stat_forget(Oid dboid);

#endif							/* AUC_SHM_STAT_H */
