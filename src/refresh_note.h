/*
 * refresh_note.h: a note that Redis shows an auction as it is no more.
 *
 * Who changes one outside its lane leaves the note in auction._refresh, in the
 * same transaction; the steward has the router show the auction again
 * (steward_refresh.c).
 */
#ifndef AUC_REFRESH_NOTE_H
#define AUC_REFRESH_NOTE_H

#include "postgres.h"

#include "store.h"

/* Inside SPI.  Wakes nobody: the steward looks by itself, too. */
extern void auc_refresh_note(int64 auction_id);
/*
 * Inside SPI.  The same if the auction is on route redis, and wakes the steward
 * at commit.
 */
extern void auc_refresh_wanted(const AucRow *row);

#endif							/* AUC_REFRESH_NOTE_H */
