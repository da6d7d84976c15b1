/*
 * router_shadow.h: what the two files of the router's mirrored bids share; see
 * router_shadow.c.
 */
#ifndef AUC_ROUTER_SHADOW_H
#define AUC_ROUTER_SHADOW_H

#include "postgres.h"

#include "router.h"
#include "shm_shadow.h"

/* Entries of a round. */
#define AUC_SHADOW_ROUND	32

/* An auction that was mirrored. */
typedef struct AucShadowKnown
{
	int64		auction_id;		/* hash key */
	AucAuction	auction;
	AucRouterLane *confirmed_in;	/* Redis has "confirmed"; NULL: unknown */
	AucState	confirmed;
	TimestampTz confirmed_at;
} AucShadowKnown;

typedef struct AucShadowItem
{
	AucShadowEntry entry;
	AucRouterLane *rl;
	AucVerdict	verdict;
	AucRecord	record;
	unsigned	differs;
	AucKind		kind;
	int64		buy_now_price;
	bool		failed;
	char		in_redis[128];	/* what Redis had instead; "": nothing else */
} AucShadowItem;

/* What a call tells about one auction. */
typedef struct AucShadowSent
{
	int64		auction_id;
	AucShadowItem *first;		/* of its accepted bids in the call */
	AucShadowItem *last;
	int			npairs;
	bool		fresh;			/* does not join on to what was confirmed */
} AucShadowSent;

typedef struct AucShadowCall
{
	AucRouterLane *rl;
	int			nrecords;
	int			nsent;
	AucShadowSent sent[AUC_SHADOW_ROUND];
} AucShadowCall;

struct AucRouterShadow
{
	AucRouter  *router;
	MemoryContext scratch;		/* of a transaction that failed */
	HTAB	   *known;
	TimestampTz began;			/* when the present round was taken */
	TimestampTz next_round;		/* not before */
	TimestampTz paused_until;	/* loading has failed: not before */
	uint64		options_seen;	/* other options: perhaps another Redis */
	int			nitems;			/* of the round; 0: none is under way */
	AucShadowItem items[AUC_SHADOW_ROUND];
	int			outstanding;	/* calls without an answer */
	AucShadowCall calls[AUC_SHADOW_ROUND];
};

/* router_shadow.c */
extern AucShadowKnown *auc_router_shadow_known(AucRouterShadow *shadow,
											   int64 auction_id);
extern void auc_router_shadow_finish(AucRouterShadow *shadow);

/* router_shadow_send.c: the round's accepted bids, a call a lane */
extern void auc_router_shadow_send(AucRouterShadow *shadow);

#endif							/* AUC_ROUTER_SHADOW_H */
