/*
 * rules.h: the rules of an auction.
 *
 * Pure C: no PostgreSQL header, no allocation, no I/O, no clock, no error
 * exit.  Both routes call these functions, the router for route redis and the
 * backend under the auction's lock for route table, so that they cannot
 * disagree.  Unit tests: test/unit/test_*.c but for test_record.c and
 * test_checksum.c.
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
/* Where there is no amount: no reserve, no leader, no second bidder. */
#define AUC_NO_AMOUNT	INT64_C(-1)
/* Steps of an increment table. */
#define AUC_STEPS_MAX	64

/* The values are what the column "_state".kind holds; so for the next three. */
typedef enum AucKind
{
	AUC_KIND_OPEN = 'o',		/* the amount is the price from now on */
	AUC_KIND_PROXY = 'p'		/* the amount is the bidder's maximum */
} AucKind;

typedef enum AucStatus
{
	AUC_STATUS_OPEN = 'o',		/* takes bids between starts_at and ends_at */
	AUC_STATUS_CLOSED = 'c',	/* over; bids are in the journal */
	AUC_STATUS_CONSOLIDATED = 'h',	/* over; bids are in history */
	AUC_STATUS_CANCELLED = 'x', /* over without a winner; bids in either */
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
	AUC_LEVEL_REPLICA,			/* the same, and by its replicas */
	AUC_LEVEL_JOURNAL			/* committed and flushed by PostgreSQL */
} AucLevel;

typedef enum AucReason
{
	AUC_REASON_NONE = 0,		/* accepted */
	AUC_REASON_UNKNOWN_AUCTION,
	AUC_REASON_NOT_STARTED,
	AUC_REASON_CLOSED,
	AUC_REASON_CANCELLED,
	AUC_REASON_QUARANTINED,
	AUC_REASON_SELLER,
	AUC_REASON_TOO_LOW,
	AUC_REASON_ALREADY_LEADING, /* proxy: not above the leader's own maximum */
	AUC_REASON_NOT_AVAILABLE	/* buy now: none, or no more */
} AucReason;

#define AUC_REASONS		(AUC_REASON_NOT_AVAILABLE + 1)

/* The increment from a price on, up to the next step's. */
typedef struct AucStep
{
	int64_t		from_price;		/* the first step's is 0; they rise strictly */
	int64_t		increment;		/* >= 1 */
} AucStep;

typedef struct AucIncrements
{
	int			n;				/* 1..AUC_STEPS_MAX */
	AucStep		step[];
} AucIncrements;

/* What the seller decides; fixed from the first bid on. */
typedef struct AucAuction
{
	int64_t		id;
	int64_t		seller_id;
	int64_t		starts_at;
	int64_t		start_price;
	int64_t		increment;		/* least step over the price, >= 1 ... */
	const AucIncrements *increments;	/* ... unless this is not NULL */
	int64_t		reserve_price;	/* hidden; >= start_price; AUC_NO_AMOUNT: none */
	int64_t		buy_now_price;	/* >= start_price, reserve_price; or none */
	int64_t		extend_window;	/* microseconds; 0: no soft close */
	int64_t		extend_by;		/* >= extend_window */
	int64_t		extend_limit;	/* the latest end; INT64_MAX: none */
	AucKind		kind;
	AucLevel	level;			/* least durability of its bids */
} AucAuction;

/* What bids change. Every record carries all of it (rule 4). */
typedef struct AucState
{
	int64_t		ends_at;		/* as extended */
	int64_t		last_at;		/* time of the last change, 0 before the first */
	int64_t		price;			/* visible; start_price until the first bid */
	int64_t		leader_id;		/* valid only if has_leader */
	int64_t		leader_max;		/* the leader's best amount: hidden (proxy) */
	int64_t		second_max;		/* proxy: the best of anybody else */
	int64_t		bid_count;		/* = bid_no of the last accepted bid */
	int64_t		retracted;		/* how many of them are retracted */
	uint64_t	checksum;		/* XOR of auc_bid_checksum() over all bids */
	AucStatus	status;
	bool		has_leader;		/* else both maxima are AUC_NO_AMOUNT */
} AucState;

typedef enum AucReserve
{
	AUC_RESERVE_NONE = 0,		/* the auction has no reserve price */
	AUC_RESERVE_NOT_MET,
	AUC_RESERVE_MET
} AucReserve;

/* Holds nothing that any bidder may not see. */
typedef struct AucVerdict
{
	bool		accepted;
	AucReason	reason;
	int64_t		bid_no;			/* 0 unless accepted */
	int64_t		at;				/* the bid's time as it counts (clamped) */
	int64_t		price;			/* after the bid */
	int64_t		leader_id;		/* after the bid; valid if has_leader */
	bool		has_leader;
	AucReserve	reserve;		/* after the bid */
	int64_t		ends_at;		/* after the bid */
} AucVerdict;

/*
 * The standing bids of an auction, counted anew: the two best bidders.  Bids
 * may be added in any order; a retracted one is not added.  Begin with
 * auc_tally_init().
 */
typedef struct AucTallied
{
	int64_t		user_id;
	int64_t		max;			/* his best amount; AUC_NO_AMOUNT: nobody */
	int64_t		bid_no;			/* the first bid of that amount */
	bool		buy_now;		/* that bid was a buy-now */
} AucTallied;

typedef struct AucTally
{
	AucTallied	best[2];
} AucTally;

extern void auc_rules_init(const AucAuction *auction, int64_t ends_at,
						   AucState *state);
extern void auc_rules_bid(const AucAuction *auction, int64_t user_id,
						  int64_t amount, int64_t at,
						  AucState *state, AucVerdict *verdict);
extern void auc_rules_buy(const AucAuction *auction, int64_t user_id,
						  int64_t at, AucState *state, AucVerdict *verdict);
/* One of the two; the amount of a buy is the auction's. */
extern void auc_rules_place(const AucAuction *auction, bool buy_now,
							int64_t user_id, int64_t amount, int64_t at,
							AucState *state, AucVerdict *verdict);
extern void auc_rules_repeat(const AucAuction *auction, const AucState *state,
							 int64_t bid_no, int64_t at, AucVerdict *verdict);
extern bool auc_rules_close(int64_t at, AucState *state);
extern bool auc_rules_cancel(int64_t at, AucState *state);
extern bool auc_rules_retractable(const AucState *state);
extern void auc_rules_retract(const AucAuction *auction, const AucTally *left,
							  int64_t at, AucState *state);
extern bool auc_rules_due(const AucState *state, int64_t now);
extern int64_t auc_rules_increment(const AucAuction *auction, int64_t amount);
extern int64_t auc_rules_least(const AucAuction *auction,
							   const AucState *state);
extern AucReserve auc_rules_reserve(const AucAuction *auction,
									const AucState *state);
extern bool auc_rules_buy_available(const AucAuction *auction,
									const AucState *state);

extern void auc_tally_init(AucTally *tally);
extern void auc_tally_add(AucTally *tally, int64_t user_id, int64_t amount,
						  int64_t bid_no, bool buy_now);
/* Price, leader and maxima of the state from the tally. */
extern void auc_tally_settle(const AucAuction *auction, const AucTally *tally,
							 AucState *state);

extern const char *auc_reason_name(AucReason reason);
extern const char *auc_status_name(AucStatus status);
extern const char *auc_route_name(AucRoute route);
extern const char *auc_level_name(AucLevel level);
/* The highest one for a name or letter that is none. */
extern AucLevel auc_level_of_name(const char *name);
extern char auc_level_letter(AucLevel level);	/* in a state row */
extern AucLevel auc_level_of_letter(char letter);

#endif							/* AUC_RULES_H */
