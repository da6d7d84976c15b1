/*
 * waits.h: what a process of ours waits for, as pg_stat_activity names it from
 * PostgreSQL 17 on; before, each of these shows as wait event Extension.
 */
#ifndef AUC_WAITS_H
#define AUC_WAITS_H

#include "postgres.h"

/* Names in waits.c, in this order. */
typedef enum AucWaitEvent
{
	AUC_WAIT_APPLIED,			/* the journal has what was accepted */
	AUC_WAIT_AUDIT,				/* audit(): the auction's lock */
	AUC_WAIT_BID_OUTCOME,		/* a session: its bid's outcome */
	AUC_WAIT_BID_STATUS,		/* bid_status(): the lane has recovered */
	AUC_WAIT_CONSOLIDATOR_MAIN,
	AUC_WAIT_DRAIN_MAIN,
	AUC_WAIT_LANE_START,		/* a session: the lane has been taken */
	AUC_WAIT_LAUNCHER_MAIN,
	AUC_WAIT_PROCEDURE,			/* between two steps of a CALL */
	AUC_WAIT_REBUILD,			/* rebuild_redis(): books are written */
	AUC_WAIT_RELEASE,			/* a router that ends: its leases */
	AUC_WAIT_ROUTER_MAIN,
	AUC_WAIT_SHARD,				/* a shard server */
	AUC_WAIT_SLOT_FREE,			/* a session: a free slot */
	AUC_WAIT_STEWARD_MAIN,
	AUC_WAIT_STOP,				/* auction.stop_at */
	AUC_WAIT_SUSPEND			/* DROP DATABASE: workers have ended */
} AucWaitEvent;

/* For WaitLatch() and its kind; asks for no lock but at the first time. */
extern uint32 auc_wait_event(AucWaitEvent event);
/* For some time, or until the latch is set; minds interrupts. */
extern void auc_nap(long ms, AucWaitEvent event);

#endif							/* AUC_WAITS_H */
