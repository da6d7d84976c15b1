/*
 * request_ids.h: the request ids of a lane's latest bids, as its router
 * remembers them (rule 16).
 *
 * Pure C like rules.h; memory comes from malloc, because an id that cannot be
 * remembered is an error of the caller's, before the bid is recorded.
 *
 * Ids lie in two tables, those of the older bids in "before".  Once all of
 * these are applied, whoever looks into the journal finds them, and the caller
 * notes that with a number, which looks that begin later have, too.  When
 * "now" is full, "before" is dropped, and only looks with its number or a
 * higher one are good any more; so a look has as much time as bids take to
 * fill a table.  While "before" is not applied, "now" grows: what is not
 * applied is in the lane's tail, which bounds it.
 */
#ifndef AUC_REQUEST_IDS_H
#define AUC_REQUEST_IDS_H

#include <stdbool.h>
#include <stdint.h>

/* A table with so many ids is full. */
#define AUC_REQUEST_IDS_FULL	8192

typedef struct AucRequestId
{
	int64_t		auction_id;
	int64_t		user_id;
	uint8_t		request_id[16];
	uint64_t	position;
	int64_t		bid_no;			/* 0: a free place in a table */
	int64_t		at;				/* the bid's time as it counts */
	bool		lost;			/* could not be applied: not accepted */
} AucRequestId;

typedef struct AucRequestTable
{
	uint32_t	size;			/* a power of two, or 0 */
	uint32_t	used;
	uint64_t	last;			/* the highest position in it */
	uint64_t	seen;			/* looks from this number on find all of it; 0:
								 * it is not applied yet */
	AucRequestId *ids;
} AucRequestTable;

/* Begins zeroed, then auc_request_ids_begin(). */
typedef struct AucRequestIds
{
	uint64_t	seed;			/* any; a client does not know it */
	uint64_t	floor;			/* a look with a lower number is too old */
	AucRequestTable now;
	AucRequestTable before;
} AucRequestIds;

/* Everything so far is applied, and found by looks from "number" (> 0) on. */
extern void auc_request_ids_begin(AucRequestIds *ids, uint64_t number);
/* Of an accepted bid, "lost" aside; false: no memory, nothing has changed. */
extern bool auc_request_ids_add(AucRequestIds *ids, const AucRequestId *id);
/* NULL: it is none of those remembered. */
extern const AucRequestId *auc_request_ids_find(const AucRequestIds *ids,
												int64_t auction_id,
												int64_t user_id,
												const uint8_t *request_id);
/* The auction's bids from a position on could not be applied. */
extern void auc_request_ids_lose(AucRequestIds *ids, int64_t auction_id,
								 uint64_t from);

/* With this much applied: is it time to note a number for "before"? */
static inline bool
auc_request_ids_due(const AucRequestIds *ids, uint64_t applied)
{
	return ids->before.seen == 0 && ids->before.last <= applied;
}

static inline void
auc_request_ids_seen(AucRequestIds *ids, uint64_t number)
{
	ids->before.seen = number;
}

#endif							/* AUC_REQUEST_IDS_H */
