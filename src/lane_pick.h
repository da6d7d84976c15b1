/*
 * lane_pick.h: which lane an auction gets.
 */
#ifndef AUC_LANE_PICK_H
#define AUC_LANE_PICK_H

#include "postgres.h"

/* Of n lanes in the order of their ids, which one: 0 .. n - 1. */
extern int	auc_lane_choose(int64 auction_id, int n);
/* The id of a lane for a new auction; 0: no server is attached. */
extern int	auc_lane_pick(int64 auction_id);
/* The lane that it had (0: none), if that is still attached, else a new one. */
extern int	auc_lane_keep(int64 auction_id, int lane_id);

#endif							/* AUC_LANE_PICK_H */
