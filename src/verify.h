/*
 * verify.h: does a closed auction's row agree with its bids?
 *
 * The row holds what the last record said (on route redis the close record,
 * written by the drain); the bids are counted, checked for gaps, and their
 * checksum is computed anew from the table.  The same comparison is made
 * twice: with the journal, which makes the auction verified, and with history
 * after its rows were copied there (rule 20).
 *
 * Callers hold the auctions' locks, and the auctions are at rest (rule 2).  So
 * nothing changes between the comparison and what is concluded from it.
 */
#ifndef AUC_VERIFY_H
#define AUC_VERIFY_H

#include "postgres.h"

#include "utils/snapshot.h"

typedef enum AucBidsIn
{
	AUC_BIDS_IN_JOURNAL,
	AUC_BIDS_IN_HISTORY
} AucBidsIn;

/* Inside SPI.  ERROR (data_corrupted) at the first auction that differs. */
extern void auc_verify_compare(int n, const int64 *ids, AucBidsIn where);

/*
 * The same comparison of one auction, in any status, as the snapshot shows it;
 * each difference is told, the texts are NULL where they would show a maximum.
 */
typedef void (*AucVerifyReport) (void *arg, const char *what,
								 const char *in_row, const char *in_bids);
extern void auc_verify_report(int64 auction_id, AucBidsIn where,
							  Snapshot snapshot, AucVerifyReport report,
							  void *arg);

/*
 * Verifies against the journal and sets verified_at; quarantines those that
 * differ.  "ids" keeps the good ones; returns how many.
 */
extern int	auc_verify_auctions(int n, int64 *ids);

/* Status 'q' with the reason, and a WARNING.  Keeps everything else. */
extern void auc_verify_quarantine(int64 auction_id, const char *reason);

/*
 * Runs "work" on all of them in a subtransaction.  Where it fails because of
 * the data (a difference, a failed check, a damaged page) that is undone, and
 * each auction is tried alone; the one that still fails is quarantined.  Any
 * other error is the caller's.  "ids" keeps those that succeeded; returns how
 * many.
 */
typedef void (*AucVerifyWork) (int n, const int64 *ids);
extern int	auc_verify_each(AucVerifyWork work, int n, int64 *ids);

#endif							/* AUC_VERIFY_H */
