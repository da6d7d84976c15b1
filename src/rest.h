/*
 * rest.h: bringing an auction to rest, for what is seldom done to it.
 *
 * Changing a column that decides, deleting, cancelling, retracting a bid: each
 * takes the auction's lock to the end of its transaction and has the router,
 * if there is one, let the auction go; the router cannot load it again before
 * that end.  Then the state row is the truth on either route (rule 1), and the
 * holder of the lock may write it (rule 2).
 */
#ifndef AUC_REST_H
#define AUC_REST_H

#include "postgres.h"

#include "store.h"

/* Reads its row into "row"; false: it has none. */
extern bool auc_rest(AucStore *store, int64 auction_id, AucRow *row);
/*
 * The same for who keeps one snapshot and needs the row: ERROR undefined_object
 * if it has none, serialization_failure if the snapshot cannot see it.
 */
extern void auc_rest_seen(AucStore *store, int64 auction_id, AucRow *row);
/* ERROR undefined_object: "auction 42 does not exist". */
extern void auc_rest_unknown(int64 auction_id) pg_attribute_noreturn();
/* ERROR AUC_ERRCODE_AUCTION_IN_USE: "auction 42 cannot be changed". */
extern void auc_rest_refuse(const AucRow *row, const char *what)
			pg_attribute_noreturn();

#endif							/* AUC_REST_H */
