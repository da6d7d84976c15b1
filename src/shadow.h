/*
 * shadow.h: a bid of route table, decided once more.
 *
 * Pure C like rules.h.  An entry is a bid as the table decided it, with the
 * auction's state before and after; auc_shadow_decide() does what a router
 * would do with that bid in that state, and says what is different.  Each
 * entry is a comparison in itself, whatever became of the one before.
 *
 * In words a difference names fields, never a hidden amount.
 */
#ifndef AUC_SHADOW_H
#define AUC_SHADOW_H

#include "record.h"

typedef struct AucShadowEntry
{
	uint32_t	database;		/* OID: lanes are bound anew now and then */
	int			lane;			/* index of the AucLane */
	int64_t		auction_id;
	int64_t		user_id;
	int64_t		amount;			/* buy: not used */
	int64_t		at;				/* as given to the rules */
	int64_t		began;			/* when the bid came */
	int64_t		committed;		/* when its transaction had committed */
	AucState	before;			/* as read from the row */
	AucState	after;			/* = before, if refused */
	AucVerdict	verdict;
	bool		buy_now;
	bool		has_request_id;
	uint8_t		request_id[16];
	uint32_t	attributes_len;
	char		attributes[AUC_ATTRIBUTES_MAX]; /* only so many bytes count */
} AucShadowEntry;

/* Bytes of an entry that mean something. */
#define AUC_SHADOW_SIZE(entry) \
	(offsetof(AucShadowEntry, attributes) + (entry)->attributes_len)

/* What may be different; bits. */
typedef enum AucShadowDiffers
{
	AUC_DIFFERS_ACCEPTED = 1 << 0,
	AUC_DIFFERS_REASON = 1 << 1,
	AUC_DIFFERS_BID_NO = 1 << 2,
	AUC_DIFFERS_PRICE = 1 << 3,
	AUC_DIFFERS_LEADER = 1 << 4,
	AUC_DIFFERS_MAXIMA = 1 << 5,
	AUC_DIFFERS_RESERVE = 1 << 6,
	AUC_DIFFERS_ENDS_AT = 1 << 7,
	AUC_DIFFERS_STATUS = 1 << 8,
	AUC_DIFFERS_TIME = 1 << 9,
	AUC_DIFFERS_COUNT = 1 << 10,
	AUC_DIFFERS_CHECKSUM = 1 << 11
} AucShadowDiffers;

/*
 * Decides the entry's bid by "auction" from the state before.  record: what an
 * accepted bid would append, without a position, its state the one that came
 * out; refused: only its state is set.  Returns AucShadowDiffers.
 */
extern unsigned auc_shadow_decide(const AucAuction *auction,
								  const AucShadowEntry *entry,
								  AucVerdict *verdict, AucRecord *record);
extern bool auc_shadow_same_state(const AucState *a, const AucState *b);
/* "price, leader"; at most "size" bytes with the NUL; returns the length. */
extern size_t auc_shadow_words(unsigned differs, char *text, size_t size);

#endif							/* AUC_SHADOW_H */
