/*
 * limit.h: how long a lane near a limit leaves bids waiting.  Pure C.
 *
 * A lane has some figures, each with a limit.  Up to three quarters of every
 * limit bids are taken at once.  From there on each is left published for a
 * moment, the longer the nearer the lane is to the limit it is nearest to; at
 * the limit none is taken.  With a delay for each bid, so many clients place
 * only so many bids a second: the lane comes to rest at the fill where what
 * comes in is what its limit lets go out, whatever the number of clients, and
 * nothing has to be known of either speed.
 */
#ifndef AUC_LIMIT_H
#define AUC_LIMIT_H

#include <stdint.h>

/* What makes a bid on route redis wait to be taken, and fail with RB004. */
typedef enum AucLimit
{
	AUC_LIMIT_NONE = 0,			/* no limit: a busy router, a locked auction */
	/* of a lane */
	AUC_LIMIT_TAIL,				/* bytes in the tail */
	AUC_LIMIT_LOG,				/* entries of the log */
	AUC_LIMIT_MEMORY,			/* bytes that Redis uses */
	AUC_LIMIT_BACKLOG,			/* seconds that the journal is behind */
	AUC_LIMIT_LANE_END,
	/* of slots */
	AUC_LIMIT_SLOTS = AUC_LIMIT_LANE_END,	/* none is free */
	AUC_LIMIT_ROLE				/* the role has its share of them */
} AucLimit;

/* A figure and its limit, in the same unit; limit <= 0: there is none. */
typedef struct AucFigure
{
	double		is;
	double		limit;
} AucFigure;

/* The longest delay short of the limit itself. */
#define AUC_DELAY_MAX_MS		1000
/* At the limit: none is taken. */
#define AUC_DELAY_FOREVER		UINT32_MAX

typedef struct AucDelay
{
	AucLimit	by;				/* the limit that is nearest; NONE: no delay */
	uint32_t	ms;
} AucDelay;

/* figures has AUC_LIMIT_LANE_END elements, the first is not looked at. */
extern AucDelay auc_limits_delay(const AucFigure *figures);
/* For views: "tail", "log", "memory", "backlog", or NULL. */
extern const char *auc_limit_name(AucLimit limit);

#endif							/* AUC_LIMIT_H */
