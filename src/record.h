/*
 * record.h: one change in a lane, as it stands in the tail and in the log.
 *
 * Pure C like rules.h.  In the tail a record is this struct with its
 * attributes behind it; in the log (a Redis stream) it is one field, the
 * position, and one line of text:
 *
 *   bid AUCTION BID_NO USER AMOUNT AT STATE REQUEST_ID|- [ATTRIBUTES]
 *   buy AUCTION BID_NO USER AMOUNT AT STATE REQUEST_ID|- [ATTRIBUTES]
 *   close AUCTION AT STATE
 *   move AUCTION AT STATE [ATTRIBUTES]   to route table; from then on the row
 *                     decides.  The attributes say by whom and why
 *   skip FIRST        positions FIRST..position were given up: no records
 *   jump FIRST        positions FIRST..position are applied without the log
 *
 * with STATE = STATUS PRICE LEADER|- MAX|=|- SECOND|- BID_COUNT RETRACTED
 * ENDS_AT LAST_AT CHECKSUM, the auction's whole state after the change (rule
 * 4), STATUS one letter, MAX "=" if it is the price, CHECKSUM 16 hex digits,
 * all other numbers decimal, separated by single blanks.  ATTRIBUTES is JSON
 * text to the end of the line; it may be absent.  A bid that ends its auction
 * (a buy, or one that reaches the buy-now price) has a closed state; no close
 * record follows.
 *
 * If you add a kind: encode, decode, the drain's apply, the unit test.
 */
#ifndef AUC_RECORD_H
#define AUC_RECORD_H

#include <stddef.h>

#include "rules.h"

/* JSON text of a bid's attributes, bytes; more is refused in the backend. */
#define AUC_ATTRIBUTES_MAX	1024
/* Upper bound of an encoded record, terminating NUL included. */
#define AUC_RECORD_TEXT_MAX	(AUC_ATTRIBUTES_MAX + 512)

typedef enum AucRecordKind
{
	AUC_RECORD_BID = 1,
	AUC_RECORD_BUY,				/* a bid that is a buy-now */
	AUC_RECORD_CLOSE,
	AUC_RECORD_MOVE,			/* to route table; the lane's last of its auction,
								 * until that comes back */
	AUC_RECORD_SKIP,			/* in tail and log (rule 5) */
	AUC_RECORD_JUMP				/* in the log only (rule 10) */
} AucRecordKind;

typedef struct AucRecord
{
	AucRecordKind kind;
	uint32_t	attributes_len;	/* 0: none */
	uint64_t	position;
	uint64_t	first;			/* = position, but for skip and jump */
	int64_t		auction_id;
	int64_t		bid_no;			/* bid, buy: the rest up to request_id */
	int64_t		user_id;
	int64_t		amount;
	int64_t		at;				/* bid, buy, close; move: when it was asked for */
	bool		has_request_id;
	bool		loaded;			/* bid: the first since its router loaded the
								 * auction; not in the text */
	uint8_t		request_id[16];
	AucState	state;			/* after the change */
} AucRecord;

/* It is one of an auction's bids: 1..bid_count, in journal and book. */
static inline bool
auc_record_is_bid(const AucRecord *record)
{
	return record->kind == AUC_RECORD_BID || record->kind == AUC_RECORD_BUY;
}

/*
 * Makes the record of an accepted bid, on either route: auction_id, user_id,
 * amount, request id and attributes_len are as the bidder gave them; kind,
 * amount (of a buy), bid_no, at and state are set here.  The bid becomes part
 * of the state's checksum.
 */
extern void auc_record_accept(AucRecord *record, const AucAuction *auction,
							  const AucVerdict *verdict, bool buy_now,
							  const char *attributes, AucState *state);

/*
 * Writes at most AUC_RECORD_TEXT_MAX bytes to "text", no terminating NUL, and
 * returns how many.  The position is not in the text: it is the field's name.
 */
extern size_t auc_record_encode(const AucRecord *record,
								const char *attributes, char *text);

/*
 * The text of a record at "position".  *attributes points into "text" (NULL if
 * none).  false: not a record; nothing else is said about "record" then.
 * "text" comes from Redis and is not trusted: any bytes, any length.
 */
extern bool auc_record_decode(uint64_t position, const char *text, size_t len,
							  AucRecord *record, const char **attributes);

/*
 * Checksum of one bid's immutable columns.  The auction's checksum is the XOR
 * over its bids; SQL computes the same with bit_xor(auction._bid_checksum()).
 */
extern uint64_t auc_bid_checksum(int64_t auction_id, int64_t bid_no,
								 int64_t user_id, int64_t amount, int64_t at,
								 const uint8_t *request_id,
								 const char *attributes,
								 size_t attributes_len);

#endif							/* AUC_RECORD_H */
