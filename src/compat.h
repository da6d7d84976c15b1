/*
 * compat.h: every difference between PostgreSQL majors, in the newest
 * spelling.
 */
#ifndef AUC_COMPAT_H
#define AUC_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_server.h"
#include "executor/executor.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

/* 16: the macros of varlena values moved out of postgres.h (d952373a987b). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * 17: CreateWaitEventSet takes a resource owner instead of a memory context
 * (50c67c2019ab); both spellings here mean "as long as the process lives".
 */
static inline WaitEventSet *
auc_create_wait_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* 17: custom wait events (c9af054653077). Below they all show as Extension. */
static inline uint32
auc_wait_event_new(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* 17: pgprocno became the macro GetNumberFromPGProc (28f3915b73f7). */
static inline uint32
auc_my_procno(void)
{
#if PG_VERSION_NUM >= 170000
	return (uint32) GetNumberFromPGProc(MyProc);
#else
	return (uint32) MyProc->pgprocno;
#endif
}

static inline Latch *
auc_proc_latch(uint32 procno)
{
	return &ProcGlobal->allProcs[procno].procLatch;
}

/* 17: backends are numbered like their PGPROC (024c52111757). NULL: it ended. */
static inline PGPROC *
auc_vxid_proc(VirtualTransactionId vxid)
{
#if PG_VERSION_NUM >= 170000
	return ProcNumberGetProc(vxid.procNumber);
#else
	return BackendIdGetProc(vxid.backendId);
#endif
}

/* 17: LockHeldByMe tells whether a stronger mode counts, too. */
static inline bool
auc_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

/* 18: index_beginscan reports to an instrumentation argument. */
static inline IndexScanDesc
auc_index_beginscan(Relation rel, Relation index, Snapshot snapshot,
					int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(rel, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(rel, index, snapshot, nkeys, 0);
#endif
}

/* 16: which indexes an update must write is an enum (19d8e2308bc5). */
static inline TM_Result
auc_table_tuple_update(Relation rel, ItemPointer tid, TupleTableSlot *slot,
					   TM_FailureData *failure, bool *index)
{
	LockTupleMode mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes which = TU_None;
#else
	bool		which = false;
#endif

	result = table_tuple_update(rel, tid, slot, GetCurrentCommandId(true),
								SnapshotSelf, InvalidSnapshot, true, failure,
								&mode, &which);
#if PG_VERSION_NUM >= 160000
	*index = which != TU_None;
#else
	*index = which;
#endif
	return result;
}

/* 16: the same commit adds onlySummarizing. A duplicate key is an ERROR. */
static inline void
auc_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot,
						EState *estate)
{
#if PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false);
#else
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL);
#endif
}

/* 16: one function for the owner of any object (afbfc02983f8). */
static inline bool
auc_server_owned(Oid serverid, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ForeignServerRelationId, serverid, roleid);
#else
	return pg_foreign_server_ownercheck(serverid, roleid);
#endif
}

static inline bool
auc_database_owned(Oid dboid, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, dboid, roleid);
#else
	return pg_database_ownercheck(dboid, roleid);
#endif
}

static inline bool
auc_extension_owned(Oid extension, Oid roleid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ExtensionRelationId, extension, roleid);
#else
	return pg_extension_ownercheck(extension, roleid);
#endif
}

#endif							/* AUC_COMPAT_H */
