/*
 * procedure.h: procedures that have transactions of their own.
 *
 *   auc_procedure_enter(fcinfo, "auction.x()");
 *   ... auc_procedure_begin(&caller); SQL; auc_procedure_commit(&caller); ...
 *   SPI_finish();
 * What is allocated in the memory context that is current after the first call
 * lasts to the last one.  An ERROR rolls back what is not committed.
 */
#ifndef AUC_PROCEDURE_H
#define AUC_PROCEDURE_H

#include "postgres.h"

#include "fmgr.h"
#include "onlooker.h"
#include "owner.h"

/*
 * ERROR: 25001 called in a transaction block; 55000 another isolation level
 * than READ COMMITTED; 25006 read-only.  Connects to SPI.
 */
extern void auc_procedure_enter(FunctionCallInfo fcinfo, const char *procedure);
/* Around SQL with the rights of the extension's owner; then it is committed. */
extern void auc_procedure_begin(AucCaller *caller);
extern void auc_procedure_commit(AucCaller *caller);
/* From when on the caller hears for whom it waits. */
extern TimestampTz auc_procedure_tell_at(void);
/*
 * If it is time, once: "what" waits for one of them, if there is any, because
 * of the detail.
 */
extern void auc_procedure_tell(TimestampTz *tell_at, const char *what,
							   const AucOnlookers *onlookers,
							   const char *detail);
/*
 * Waits until those of this moment have ended, in transactions of its own: two
 * procedures would else be each other's onlookers.  The caller hears, after a
 * while, that "what" waits.
 */
extern void auc_procedure_await(AucOnlookers *onlookers, const char *what);

#endif							/* AUC_PROCEDURE_H */
