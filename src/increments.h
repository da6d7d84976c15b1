/*
 * increments.h: increment tables, from rows to what rules.h takes.
 *
 * A table is entered row by row in auction.increment_tables.  An auction that
 * names one gets a copy of its steps in its state row, an array of
 * from_price, increment, from_price, increment ...; so the engine reads one
 * row, and what an auction was begun with cannot change under it.
 *
 * In a process each distinct list of steps exists once and stays: whoever
 * holds a pointer to one may keep it.  They are as many as tables a DBA has
 * made.
 */
#ifndef AUC_INCREMENTS_H
#define AUC_INCREMENTS_H

#include "postgres.h"

#include "rules.h"

/*
 * From the bigint[] of a state row; ERROR if it is not one of increment steps.
 * The copy is the caller's, in the current memory context.
 */
extern const AucIncrements *auc_increments_of_array(Datum array);
extern AucIncrements *auc_increments_copy(Datum array);
/* In the current memory context. */
extern Datum auc_increments_array(const AucIncrements *increments);
/*
 * The steps of a table by name into steps[AUC_STEPS_MAX], as they stand;
 * returns how many, 0 if there is none of that name.  ERROR if it does not
 * begin at 0 or is too long.  Inside SPI.
 */
extern int	auc_increments_read(const char *name, AucStep *steps);
/*
 * The steps of a table by name, NULL if there is none of that name.  ERROR if
 * it does not begin at 0 or is too long.  Holds off changes of any increment
 * table until the transaction ends, so that what was copied is what it is
 * then.
 */
extern const AucIncrements *auc_increments_find(const char *name);

#endif							/* AUC_INCREMENTS_H */
