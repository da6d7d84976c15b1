/*
 * audit.h: does everything that is known of an auction agree?
 *
 * The tables' part is here: what auction.audit() says of row, bids and dead
 * letters, and what has to be clean before a quarantine is lifted.  The
 * comparison with Redis is a part of its own, as it needs the auction at rest.
 *
 * Differences are gathered in a list, so that one does not hide another.  No
 * text holds an amount that bidders may not see.
 */
#ifndef AUC_AUDIT_H
#define AUC_AUDIT_H

#include "postgres.h"

#include "bid_slot.h"
#include "nodes/pg_list.h"
#include "store.h"
#include "utils/snapshot.h"
#include "verify.h"

typedef struct AucDifference
{
	bool		certain;		/* false: not compared, or cannot be known */
	bool		quarantine;		/* says no more than that it is quarantined */
	const char *place;			/* where it was found */
	const char *item;
	const char *expected;
	const char *found;
} AucDifference;

/* Begin with auction_id and snapshot, the rest zero. */
typedef struct AucAudit
{
	int64		auction_id;
	Snapshot	snapshot;		/* registered; all of the tables' part sees it */
	MemoryContext context;		/* of the differences */
	List	   *differences;	/* AucDifference */
	AucRow		row;			/* as the snapshot has it, if there is one */
	bool		has_row;
	TimestampTz ends_at;		/* as the seller said */
	TimestampTz closed_at;		/* 0: not closed */
	bool		removed;		/* its bids have left history, or are about to */
	bool		has_auction;	/* a row in auctions */
} AucAudit;

/* Texts are copied; NULL shows as NULL. */
extern void auc_audit_note(AucAudit *audit, bool certain, const char *place,
						   const char *item, const char *expected,
						   const char *found);
/* Inside SPI.  false: no table has anything of such an auction. */
extern bool auc_audit_tables(AucAudit *audit);
/* The first difference that is one; NULL: nothing but the quarantine. */
extern AucDifference *auc_audit_first(const AucAudit *audit);
/* Inside SPI: every bid once more, in order, by the rules (audit_replay.c). */
extern void auc_audit_replay(AucAudit *audit, AucBidsIn where);

/*
 * Inside SPI: what a router has answered to AUC_REQUEST_AUDIT at the moment of
 * the snapshot (audit_redis.c).
 */
extern void auc_audit_redis(AucAudit *audit, const AucAsk *ask);

#endif							/* AUC_AUDIT_H */
