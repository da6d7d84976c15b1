/*
 * errors.h: the SQLSTATEs of the extension, class RB.
 *
 * The SQL standard leaves classes that begin with I..Z to implementers, and
 * PostgreSQL uses none that begins with R.  One code for each situation that a
 * client handles differently; the README's table repeats them.
 */
#ifndef AUC_ERRORS_H
#define AUC_ERRORS_H

/* The rules refuse the bid; the detail says why.  Raised by INSERT only. */
#define AUC_ERRCODE_BID_REJECTED		MAKE_SQLSTATE('R','B','0','0','1')
/* The bid is certainly not recorded: sending it again is safe. */
#define AUC_ERRCODE_NOT_RECORDED		MAKE_SQLSTATE('R','B','0','0','2')
/* The bid may have been recorded: look in auction.bids before a retry. */
#define AUC_ERRCODE_OUTCOME_UNKNOWN		MAKE_SQLSTATE('R','B','0','0','3')
/* No slot, or its lane at a limit, for all of auction.overload_timeout. */
#define AUC_ERRCODE_OVERLOADED			MAKE_SQLSTATE('R','B','0','0','4')
/* The library is not in shared_preload_libraries. */
#define AUC_ERRCODE_NOT_PRELOADED		MAKE_SQLSTATE('R','B','0','0','5')
/* The lane waits for Redis: for its log, or by auction.degraded; not recorded. */
#define AUC_ERRCODE_RECOVERING			MAKE_SQLSTATE('R','B','0','0','6')
/* Redis holds this lane for somebody else; not recorded. */
#define AUC_ERRCODE_FENCED				MAKE_SQLSTATE('R','B','0','0','7')
/* A route-redis bid would wait for its own transaction; not recorded. */
#define AUC_ERRCODE_WAITS_FOR_ITSELF	MAKE_SQLSTATE('R','B','0','0','8')
/* The auction has bids, is closed, ...: the change or removal is refused. */
#define AUC_ERRCODE_AUCTION_IN_USE		MAKE_SQLSTATE('R','B','0','0','9')
/* A lane or server that is asked for is not attached. */
#define AUC_ERRCODE_NOT_ATTACHED		MAKE_SQLSTATE('R','B','0','1','0')
/* The bidder bids more often than auction.user_rate_limit; not recorded. */
#define AUC_ERRCODE_RATE_LIMITED		MAKE_SQLSTATE('R','B','0','1','1')

#endif							/* AUC_ERRORS_H */
