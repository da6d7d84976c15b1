/*
 * health.c: what auction.health() needs from shared memory.
 */
#include "postgres.h"

#include "fmgr.h"
#include "shm.h"

PG_FUNCTION_INFO_V1(auction__preloaded);

Datum
auction__preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(auc_shm_available());
}
