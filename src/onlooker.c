/*
 * onlooker.c: see onlooker.h.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "onlooker.h"

struct AucOnlookers
{
	int			n;				/* that had not ended at the last look */
	VirtualTransactionId *vxids;
};

AucOnlookers *
auc_onlookers_now(void)
{
	AucOnlookers *onlookers = palloc(sizeof(AucOnlookers));

	onlookers->vxids = GetCurrentVirtualXIDs(InvalidTransactionId, false, false,
											 PROC_IS_AUTOVACUUM |
											 PROC_IN_VACUUM |
											 PROC_IN_SAFE_IC,
											 &onlookers->n);
	return onlookers;
}

AucOnlookers *
auc_onlookers_at(Oid relid)
{
	AucOnlookers *onlookers = palloc(sizeof(AucOnlookers));
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	onlookers->vxids = GetLockConflicts(&tag, AccessExclusiveLock,
										&onlookers->n);
	return onlookers;
}

/* From the end, so that those that are left stay where they are. */
bool
auc_onlookers_gone(AucOnlookers *onlookers)
{
	while (onlookers->n > 0 &&
		   VirtualXactLock(onlookers->vxids[onlookers->n - 1], false))
		onlookers->n--;
	return onlookers->n == 0;
}

int
auc_onlookers_pid(const AucOnlookers *onlookers)
{
	PGPROC	   *proc;

	if (onlookers->n == 0)
		return 0;
	proc = auc_vxid_proc(onlookers->vxids[onlookers->n - 1]);
	return proc == NULL ? 0 : proc->pid;
}

void
auc_onlookers_free(AucOnlookers *onlookers)
{
	pfree(onlookers->vxids);
	pfree(onlookers);
}
