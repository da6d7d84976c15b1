/*
 * shard_place.h: where a shard is: here, or on another server.
 *
 * What is done to a shard's tables is the same SQL in both; a place runs it.
 * Here: through SPI, in the current transaction.  There: on a connection of
 * the move's own (remote.h), each statement for itself unless it is in BEGIN
 * and COMMIT.
 */
#ifndef AUC_SHARD_PLACE_H
#define AUC_SHARD_PLACE_H

#include "postgres.h"

#include "remote.h"

typedef struct AucPlace
{
	Oid			serverid;		/* InvalidOid: here */
	AucRemote  *remote;			/* NULL: here */
} AucPlace;

/*
 * Connects, in the current memory context, if it is another server; ERROR if
 * its home is not here.
 */
extern void auc_place_open(AucPlace *place, Oid serverid);
extern void auc_place_close(AucPlace *place);
/* For messages: 'shard server "s"', or 'here'. */
extern const char *auc_place_name(const AucPlace *place);
/* Returns how many rows came back, or were changed. */
extern uint64 auc_place_run(const AucPlace *place, const char *format,...)
			pg_attribute_printf(2, 3);
/* Of the last statement; column from 1; NULL: *isnull. */
extern int64 auc_place_int64(const AucPlace *place, uint64 row, int column,
							 bool *isnull);
/* Begins and ends a transaction there that writes; nothing here. */
extern void auc_place_begin(const AucPlace *place);
extern void auc_place_commit(const AucPlace *place);
/* After an ERROR of its own; fine if there is no transaction. */
extern void auc_place_rollback(const AucPlace *place);

#endif							/* AUC_SHARD_PLACE_H */
