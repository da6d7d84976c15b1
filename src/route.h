/*
 * route.h: the route of an auction, changed by hand.
 */
#ifndef AUC_ROUTE_H
#define AUC_ROUTE_H

#include "postgres.h"

#include "move.h"

/*
 * Moves an open auction; false: it is there already.  To redis in this
 * transaction, to table by itself.  Errors as COMMENT ON set_route has them.
 */
extern bool auc_route_set(int64 auction_id, AucRoute route, AucMoveWhy why);

/* 'table' or 'redis'; ERROR (22023) for anything else. */
extern AucRoute auc_route_of_text(text *name);

#endif							/* AUC_ROUTE_H */
