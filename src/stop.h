/*
 * stop.h: for tests: a process stops at a named point, to be killed there, or
 * to see what others do meanwhile.
 */
#ifndef AUC_STOP_H
#define AUC_STOP_H

#include "postgres.h"

/*
 * Waits as long as auction.stop_at has this name, which a test sees in the
 * log.  Can be cancelled; a changed configuration is taken up.  Points:
 *   consolidate: sent, committed (each server), all committed, checked,
 *     marked (before the commit)
 *   move: created (before its row is), begun, piece (before it is noted),
 *     between (two pieces), copied, verified, waiting (for onlookers),
 *     swapping (before the commit), swapped, attached (a split elsewhere, there
 *     only), removed (before the commit)
 *   move: aborting, dropped (before the commit)
 */
extern void auc_stop_at(const char *point);

#endif							/* AUC_STOP_H */
