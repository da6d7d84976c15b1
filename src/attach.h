/*
 * attach.h: attaching Redis servers to the database (SQL functions in
 * attach.c).
 */
#ifndef AUC_ATTACH_H
#define AUC_ATTACH_H

#include "postgres.h"

/* Has auction.lanes rows of this server?  false without the extension. */
extern bool auc_attach_has_lanes(const char *server);

/* For functions of the same kind: the ERRORs of attach_redis(). */
extern void auc_attach_check_may_write(const char *function);
/* Locked until the transaction ends; its owner's alone.  Returns its OID. */
extern Oid	auc_attach_lock_server(const char *name);

#endif							/* AUC_ATTACH_H */
