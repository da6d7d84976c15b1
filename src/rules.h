/*
 * rules.h: the rules of an auction.
 *
 * Pure C: no PostgreSQL header, no allocation, no I/O, no clock, no error
 * exit.  Both routes call these functions, the router for route redis and the
 * backend under the auction's lock for route table, so that they cannot
 * disagree.  Unit tests: test/unit/test_rules.c.
 *
 * Amounts are in the currency's minor unit.  Times are microseconds since
 * 2000-01-01 UTC (PostgreSQL's TimestampTz); one clock decides, the primary's,
 * and inside an auction it never runs backwards: a time before state.last_at
 * counts as state.last_at.
 */
#ifndef AUC_RULES_H
#define AUC_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* A sorted set's score is a double: up to here every integer is exact. */
#define AUC_AMOUNT_MAX	((INT64_C(1) << 53) - 1)

/* The values are what the column "_state".kind holds; so for the next three. */
typedef enum AucKind
{
	AUC_KIND_OPEN = 'o'			/* the amount is the price from now on */
} AucKind;

typedef enum AucStatus
{
	AUC_STATUS_OPEN = 'o',		/* takes bids between starts_at and ends_at */
	AUC_STATUS_CLOSED = 'c',	/* over; bids are in the journal */
	AUC_STATUS_CONSOLIDATED = 'h',	/* over; bids are in history */
	AUC_STATUS_QUARANTINED = 'q'	/* refuses bids until a DBA has looked */
} AucStatus;

typedef enum AucRoute
{
	AUC_ROUTE_TABLE = 't',
	AUC_ROUTE_REDIS = 'r'
} AucRoute;

/* What "accepted" promises; ascending, so that a higher level may be given. */
typedef enum AucLevel
{
	AUC_LEVEL_REDIS = 1,		/* confirmed by Redis, and in the tail */
	AUC_LEVEL_JOURNAL = 2		/* committed and flushed by PostgreSQL */
} AucLevel;

typedef enum AucReason
{
	AUC_REASON_NONE = 0,		/* accepted */
	AUC_REASON_UNKNOWN_AUCTION,
	AUC_REASON_NOT_STARTED,
	AUC_REASON_CLOSED,
	AUC_REASON_QUARANTINED,
	AUC_REASON_SELLER,
	AUC_REASON_TOO_LOW
} AucReason;

/* What the seller decides; fixed from the first bid on. */
typedef struct AucAuction
{
	int64_t		id;
	int64_t		seller_id;
	int64_t		starts_at;
	int64_t		start_price;
	int64_t		increment;		/* least step over the price, >= 1 */
	AucKind		kind;
	AucLevel	level;			/* durability of its accepted bids */
} AucAuction;

/* What bids change. Every record carries all of it (rule 4). */
typedef struct AucState
{
	int64_t		ends_at;
	int64_t		last_at;		/* time of the last change, 0 before the first */
	int64_t		price;			/* start_price until the first bid */
	int64_t		leader_id;		/* valid only if bid_count > 0 */
	int64_t		bid_count;		/* = bid_no of the last accepted bid */
	uint64_t	checksum;		/* XOR of auc_bid_checksum() over all bids */
	AucStatus	status;
} AucState;

typedef struct AucVerdict
{
	bool		accepted;
	AucReason	reason;
	int64_t		bid_no;			/* 0 unless accepted */
	int64_t		at;				/* the bid's time as it counts (clamped) */
	int64_t		price;			/* after the bid */
	int64_t		leader_id;		/* after the bid; valid if has_leader */
	bool		has_leader;
	int64_t		ends_at;		/* after the bid */
} AucVerdict;

extern void auc_rules_init(const AucAuction *auction, int64_t ends_at,
						   AucState *state);
extern void auc_rules_bid(const AucAuction *auction, int64_t user_id,
						  int64_t amount, int64_t at,
						  AucState *state, AucVerdict *verdict);
extern bool auc_rules_close(int64_t at, AucState *state);
extern bool auc_rules_due(const AucState *state, int64_t now);
extern int64_t auc_rules_least(const AucAuction *auction,
							   const AucState *state);
extern const char *auc_reason_name(AucReason reason);
extern const char *auc_status_name(AucStatus status);
extern const char *auc_route_name(AucRoute route);
extern const char *auc_level_name(AucLevel level);

#endif							/* AUC_RULES_H */
