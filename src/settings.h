/*
 * settings.h: the settings "auction.*"; meaning, units and ranges are in
 * settings.c where they are defined, and in the README's table.
 */
#ifndef AUC_SETTINGS_H
#define AUC_SETTINGS_H

#include "postgres.h"

#define AUC_GUARD_WINDOW_MAX	300

/* sizes of shared memory; only with shared_preload_libraries, at start */
extern int	auc_guc_max_databases;
extern int	auc_guc_max_servers;
extern int	auc_guc_max_lanes;
extern int	auc_guc_shadow_queue;	/* entries a server */
extern int	auc_guc_slots;
extern int	auc_guc_tail_size;	/* kB a lane */

extern int	auc_guc_durability; /* AucLevel */
extern int	auc_guc_overload_timeout;	/* ms */
extern bool auc_guc_degraded;	/* bids go on without Redis */
extern int	auc_guc_drain_delay;	/* ms */
extern int	auc_guc_drain_batch;	/* records a transaction */
extern int	auc_guc_drain_rate; /* rows/s, 0: no limit */
extern bool auc_guc_guard;
extern double auc_guc_guard_error_share;	/* percent, 100: no limit */
extern int	auc_guc_guard_lag;	/* s, 0: no limit */
extern int	auc_guc_guard_min_bids;
extern int	auc_guc_guard_p99;	/* ms, 0: no limit */
extern int	auc_guc_guard_window;	/* s, at most AUC_GUARD_WINDOW_MAX */
extern int	auc_guc_history_retention;	/* min, 0: for ever */
extern int	auc_guc_lane_lease;	/* ms */
extern int	auc_guc_backlog_limit;	/* s, 0: no limit */
extern int	auc_guc_log_limit;	/* entries a lane, 0: no limit */
extern int	auc_guc_log_retention;	/* s */
extern int	auc_guc_redis_memory_limit; /* percent of maxmemory, 0: no limit */
extern int	auc_guc_consolidate_batch;	/* auctions a transaction */
extern int	auc_guc_move_rate;	/* rows/s, 0: no limit */
extern int	auc_guc_role_slots; /* percent of auc_guc_slots, 100: no limit */
extern int	auc_guc_sample_waits;	/* ms, 0: never */
extern double auc_guc_shadow;	/* percent of the auctions on route table */
extern int	auc_guc_shard_timeout;	/* ms */
extern char *auc_guc_stop_at;	/* name of a point, "": none */
extern bool auc_guc_track_bids;
extern double auc_guc_user_rate_limit;	/* bids/s, 0: no limit */

extern void auc_settings_define(void);

#endif							/* AUC_SETTINGS_H */
