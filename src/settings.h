/*
 * settings.h: the settings "auction.*"; meaning, units and ranges are in
 * settings.c where they are defined, and in the README's table.
 */
#ifndef AUC_SETTINGS_H
#define AUC_SETTINGS_H

#include "postgres.h"

/* sizes of shared memory; only with shared_preload_libraries, at start */
extern int	auc_guc_max_databases;
extern int	auc_guc_max_servers;
extern int	auc_guc_max_lanes;
extern int	auc_guc_shadow_queue;	/* entries a server */
extern int	auc_guc_slots;
extern int	auc_guc_tail_size;	/* kB a lane */

extern int	auc_guc_default_route;	/* AucRoute */
extern int	auc_guc_overload_timeout;	/* ms */
extern int	auc_guc_drain_delay;	/* ms */
extern int	auc_guc_drain_batch;	/* records a transaction */
extern int	auc_guc_drain_rate; /* rows/s, 0: no limit */
extern int	auc_guc_log_retention;	/* s */
extern int	auc_guc_consolidate_batch;	/* auctions a transaction */
extern double auc_guc_shadow;	/* percent of the auctions on route table */

extern void auc_settings_define(void);

#endif							/* AUC_SETTINGS_H */
