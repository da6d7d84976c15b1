/*
 * bid_route.h: which route an auction takes, as far as this backend knows.
 */
#ifndef AUC_BID_ROUTE_H
#define AUC_BID_ROUTE_H

#include "postgres.h"

#include "rules.h"

typedef struct AucRouteHint
{
	AucRoute	route;
	int			lane_id;		/* route redis */
	bool		own;			/* the auction was made by this transaction */
} AucRouteHint;

/* From the cache or the row. false: no such auction, now. */
extern bool auc_route_find(int64 auction_id, AucRouteHint *hint);
/* The hint proved wrong: the next auc_route_find reads the row. */
extern void auc_route_forget(int64 auction_id);

#endif							/* AUC_BID_ROUTE_H */
