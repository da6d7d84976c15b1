/*
 * bid_wave.h: what one backend has handed over and not yet read.
 *
 * A wave is some slots of one server, published together: claimed, filled by
 * the caller, published, awaited, read by the caller, dropped.  There is one
 * at a time.  Whatever throws in between has to be followed by
 * auc_wave_drop(); the end of the process is seen to.
 */
#ifndef AUC_BID_WAVE_H
#define AUC_BID_WAVE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "limit.h"
#include "shm_slot.h"

/* At most so many slots. */
#define AUC_WAVE_MAX	64

typedef enum AucGiveUp
{
	AUC_GIVE_UP_NOT,
	AUC_GIVE_UP_CANCEL,			/* or terminate; it is still pending */
	AUC_GIVE_UP_TIMEOUT
} AucGiveUp;

/*
 * The lane's index in shared memory; -1 while no steward has bound it.  The
 * second one waits for that until then: some moments after a start.
 */
extern int	auc_wave_find_lane(int lane_id);
extern int	auc_wave_await_lane(int lane_id, TimestampTz until);

/*
 * Claims as many slots as are free and wanted, and waits for one until then.
 * Returns how many; 0: none in time, and why.
 */
extern int	auc_wave_claim(int server, int wanted, TimestampTz until,
						   AucLimit *why);
extern AucSlot *auc_wave_slot(int i);
/* Of the slots in their order, which is that of their tickets. */
extern void auc_wave_publish(int server);
/*
 * Waits until every slot is answered.  After "until" it gives up what the
 * router has not taken; what it has taken too only if "hard".
 */
extern AucGiveUp auc_wave_await(TimestampTz until, bool hard);
/* Then: ANSWERED (to be read), ABANDONED (unknown) or FREE (not recorded). */
extern AucSlotState auc_wave_state(int i);
/* Gives back what is left of it; also when there is none. */
extern void auc_wave_drop(void);

#endif							/* AUC_BID_WAVE_H */
