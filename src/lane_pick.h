/*
 * lane_pick.h: which lane an auction gets that has none yet.
 */
#ifndef AUC_LANE_PICK_H
#define AUC_LANE_PICK_H

#include "postgres.h"

/* Of n lanes in the order of their ids, which one: 0 .. n - 1. */
extern int	auc_lane_choose(int64 auction_id, int n);
/* The id of the lane by the table auction.lanes; 0: the database has none. */
extern int	auc_lane_pick(int64 auction_id);

#endif							/* AUC_LANE_PICK_H */
