/*
 * attach.h: attaching Redis servers to the database (SQL functions in
 * attach.c).
 */
#ifndef AUC_ATTACH_H
#define AUC_ATTACH_H

#include "postgres.h"

#include "relation.h"

#define AUC_REDIS_WRAPPER	"auction_redis"

/* Has auction.lanes rows of this server?  false without the extension. */
extern bool auc_attach_has_lanes(const char *server);
/* Has a table with a column "server" rows of it?  false without the table. */
extern bool auc_attach_listed(AucRelation which, const char *server);

/* For functions of the same kind: the ERRORs of attach_redis(). */
extern void auc_attach_check_may_write(const char *function);
/* Those of them that hold without shared memory. */
extern void auc_attach_check_writable(const char *function);
/*
 * Locked until the transaction ends; its owner's alone.  Returns its OID.
 * ERROR, too, if it is not a server of that foreign-data wrapper.
 */
extern Oid	auc_attach_lock_server(const char *name, const char *wrapper);

#endif							/* AUC_ATTACH_H */
