/*
 * auction_row.h: a row of auction.auctions, checked, as the engine takes it.
 */
#ifndef AUC_AUCTION_ROW_H
#define AUC_AUCTION_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "store.h"
#include "utils/relcache.h"

/* Columns of auction.auctions; see the install script. */
enum
{
	AUC_AUCTION_ID = 1,
	AUC_AUCTION_SELLER_ID,
	AUC_AUCTION_TITLE,
	AUC_AUCTION_KIND,
	AUC_AUCTION_STARTS_AT,
	AUC_AUCTION_ENDS_AT,
	AUC_AUCTION_START_PRICE,
	AUC_AUCTION_INCREMENT,
	AUC_AUCTION_INCREMENT_TABLE,
	AUC_AUCTION_RESERVE_PRICE,
	AUC_AUCTION_BUY_NOW_PRICE,
	AUC_AUCTION_EXTEND_WINDOW,
	AUC_AUCTION_EXTEND_BY,
	AUC_AUCTION_EXTEND_LIMIT,
	AUC_AUCTION_DURABILITY,
	AUC_AUCTION_ROUTE
};

/* A column that must not be null; ERROR (not_null_violation) if it is. */
extern Datum auc_auction_column(Relation rel, HeapTuple tuple, int attnum);
/*
 * What the seller decided; the state is that of no bid.  ERROR, naming the
 * column, if the row is none that can be sold by.  known: it has been here
 * before (a dump, the old row of an UPDATE), so its increment table need not
 * be there any more, or yet.
 */
extern void auc_auction_row(Relation rel, HeapTuple tuple, bool known,
							AucRow *row);

#endif							/* AUC_AUCTION_ROW_H */
