/*
 * auction.c: loading the library.
 *
 * Preloaded, it defines all settings, asks for shared memory, installs hooks
 * and registers the launcher.  Loaded later, into one backend, it offers what
 * route table needs and nothing else (shm.h: auc_shm_require).
 */
#include "postgres.h"

#include "fmgr.h"
#include "hooks.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm.h"
#include "shm_worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	auc_settings_define();
	if (!process_shared_preload_libraries_in_progress)
		return;
	auc_shm_install();
	auc_hooks_install();
	if (!IsBinaryUpgrade)
		auc_launcher_register();
}
