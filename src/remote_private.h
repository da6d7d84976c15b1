/*
 * remote_private.h: what remote.c is told by remote_target.c.
 */
#ifndef AUC_REMOTE_PRIVATE_H
#define AUC_REMOTE_PRIVATE_H

#include "postgres.h"

#include "remote.h"

/* Where a connection goes, and who we are there. */
typedef struct AucRemoteTarget
{
	const char *name;			/* of the foreign server */
	const char **names;			/* options of libpq; NULL: the end */
	const char **values;
	bool		password_required;
} AucRemoteTarget;

/* The ERRORs of auc_remote_open() that need no connection. */
extern void auc_remote_target(AucRemoteTarget *target, Oid serverid,
							  Oid userid);

#endif							/* AUC_REMOTE_PRIVATE_H */
