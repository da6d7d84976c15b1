/*
 * bid_args.h: a bid as a client gave it, and the answer as a client gets it.
 *
 * Every way in (place_bid, place_bids, INSERT INTO bids) checks its values
 * here, so that they refuse the same things.  "where" names the way in for
 * error messages: an argument, a column, or the element of an array.
 */
#ifndef AUC_BID_ARGS_H
#define AUC_BID_ARGS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "rules.h"

typedef struct AucBid
{
	int64		auction_id;
	int64		user_id;
	int64		amount;			/* buy now: 0, the auction knows */
	bool		buy_now;
	bool		has_request_id;
	uint8		request_id[16];
	const char *attributes;		/* JSON text, attributes_len bytes, or NULL */
	uint32		attributes_len;
} AucBid;

typedef struct AucBidResult
{
	AucVerdict	verdict;
	AucRoute	route;			/* this and the next: not of an unknown auction */
	AucLevel	level;
	bool		repeated;		/* the verdict of an earlier bid, told again */
} AucBidResult;

/* The values of a bid, in the order of place_bid's arguments. */
enum
{
	AUC_BID_VALUE_AUCTION_ID,
	AUC_BID_VALUE_USER_ID,
	AUC_BID_VALUE_AMOUNT,
	AUC_BID_VALUE_REQUEST_ID,
	AUC_BID_VALUE_ATTRIBUTES,
	AUC_BID_VALUES
};
/* Columns of auction.bid_result. */
#define AUC_RESULT_COLUMNS	9

typedef enum AucBidSource
{
	AUC_SOURCE_ARGUMENT,		/* place_bid, buy_now */
	AUC_SOURCE_ELEMENT,			/* place_bids; "element" counts from 1 */
	AUC_SOURCE_COLUMN			/* INSERT INTO bids */
} AucBidSource;

/* ERROR unless a bid may be placed in this transaction at all. */
extern void auc_bid_prevent(const char *command);
/* Checks and takes over; attributes are allocated in the current context. */
extern void auc_bid_from_values(AucBidSource source, int element,
								const Datum *values, const bool *isnull,
								AucBid *bid);
/* values and isnull have AUC_RESULT_COLUMNS elements. */
extern void auc_bid_result_values(const AucBidResult *result, Datum *values,
								  bool *isnull);

#endif							/* AUC_BID_ARGS_H */
