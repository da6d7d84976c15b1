/*
 * shm_tail.h: the ring of a lane's records.
 *
 * Think of an endless array of bytes: records lie one behind the other, each
 * at an offset that only grows.  Of it the bytes freed_off .. published_off
 * exist; the ring keeps offset o at tail[o % tail_size], so
 * freed_off <= applied_off <= published_off <= freed_off + tail_size.
 * No entry is split: one that would run over the ring's end lies at its
 * beginning, behind a filler that readers skip.
 *
 * The router alone appends and frees.  It writes entries behind
 * published_off, then makes all of them visible by one store of
 * published_off (rule 6); what a router that died had not published is
 * overwritten by the next.  Readers (router: what is unsent; drain: what is
 * unapplied) walk with a cursor of their own, which must not lie before
 * freed_off: the drain's begins at applied_off, which only the drain moves, and
 * the router frees nothing above it.
 */
#ifndef AUC_SHM_TAIL_H
#define AUC_SHM_TAIL_H

#include "record.h"
#include "shm_lane.h"

typedef struct AucTailWriter
{
	AucLane    *lane;
	uint64		end;			/* behind the last entry written */
	uint64		last;			/* position of that entry */
} AucTailWriter;

typedef struct AucTailCursor
{
	AucLane    *lane;
	uint64		off;			/* the next entry begins here */
} AucTailCursor;

/* Continues behind what is published; walks it to find the last position. */
extern void auc_tail_open(AucTailWriter *writer, AucLane *lane);
/* Begins anew at "position", for an empty tail (after recovery began). */
extern void auc_tail_reset(AucTailWriter *writer, AucLane *lane,
						   uint64 position);
/* Copies a record in, not visible yet; false: no room. */
extern bool auc_tail_append(AucTailWriter *writer, const AucRecord *record,
							const char *attributes);
extern void auc_tail_publish(AucTailWriter *writer);
/* Bytes that could be appended now. */
extern uint64 auc_tail_room(const AucTailWriter *writer);
extern void auc_tail_free(AucLane *lane, uint64 off);

/* Next record, NULL at the end; attributes lie behind the struct. */
extern const AucRecord *auc_tail_next(AucTailCursor *cursor);
/*
 * For a reader that is neither router nor drain: when the oldest unapplied
 * record was handed over; 0 if there is none.
 */
extern int64 auc_tail_oldest_at(AucLane *lane);
extern const char *auc_tail_attributes(const AucRecord *record);

#endif							/* AUC_SHM_TAIL_H */
