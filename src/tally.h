/*
 * tally.h: the standing bids of an auction in a table, counted anew.
 *
 * SQL's aggregate auction._tally(user_id, amount, bid_no, buy_now) gathers
 * what rules.h calls a tally.  A retraction and the verification of closed
 * auctions count in the same way, and let rules.c say what follows from it.
 */
#ifndef AUC_TALLY_H
#define AUC_TALLY_H

#include "postgres.h"

#include "rules.h"

/* The aggregate over the rows of "b" that are standing bids. */
#define AUC_TALLY_SQL(b) \
	" auction._tally(" b ".user_id, " b ".amount, " b ".bid_no, " \
	b ".buy_now) FILTER (WHERE " b ".bid_no IS NOT NULL AND " \
	b ".retracted_at IS NULL) "

/* Its result. */
extern void auc_tally_of_array(Datum array, bool isnull, AucTally *tally);

#endif							/* AUC_TALLY_H */
