/*
 * settings.c: the settings "auction.*", in alphabetical order.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "rules.h"
#include "settings.h"
#include "utils/guc.h"

int			auc_guc_max_databases = 8;
int			auc_guc_max_servers = 8;
int			auc_guc_max_lanes = 16;
int			auc_guc_shadow_queue = 1024;
int			auc_guc_slots = 512;
int			auc_guc_tail_size = 32 * 1024;

int			auc_guc_durability = AUC_LEVEL_REDIS;
int			auc_guc_overload_timeout = 5000;
bool		auc_guc_degraded = true;
int			auc_guc_drain_delay = 5;
int			auc_guc_drain_batch = 4000;
int			auc_guc_drain_rate = 0;
bool		auc_guc_guard = true;
double		auc_guc_guard_error_share = 1;
int			auc_guc_guard_lag = 10;
int			auc_guc_guard_min_bids = 100;
int			auc_guc_guard_p99 = 1000;
int			auc_guc_guard_window = 10;
int			auc_guc_history_retention = 0;
int			auc_guc_lane_lease = 5000;
int			auc_guc_backlog_limit = 0;
int			auc_guc_log_limit = 0;
int			auc_guc_log_retention = 30;
int			auc_guc_redis_memory_limit = 0;
int			auc_guc_consolidate_batch = 100;
int			auc_guc_move_rate = 0;
int			auc_guc_role_slots = 75;
int			auc_guc_sample_waits = 1000;
double		auc_guc_shadow = 0;
int			auc_guc_shard_timeout = 30000;
char	   *auc_guc_stop_at;
bool		auc_guc_track_bids = true;
double		auc_guc_user_rate_limit = 0;

typedef struct AucIntSetting
{
	const char *name;
	const char *what;
	const char *detail;
	int		   *value;
	int			min;
	int			max;
	GucContext	context;
	int			flags;
} AucIntSetting;

static const AucIntSetting int_settings[] = {
	{"auction.backlog_limit",
		"How far the journal may be behind before bids on its lane fail.",
		"From three quarters of it on they slow down. 0 means no limit.",
		&auc_guc_backlog_limit, 0, 86400, PGC_SIGHUP, GUC_UNIT_S},
	{"auction.consolidate_batch",
		"Most auctions that one transaction consolidates.",
		NULL,
		&auc_guc_consolidate_batch, 1, 10000, PGC_SIGHUP, 0},
	{"auction.drain_batch",
		"Most records that the drain applies in one transaction.",
		NULL,
		&auc_guc_drain_batch, 1, 100000, PGC_SIGHUP, 0},
	{"auction.drain_delay",
		"How long the drain collects records while nobody waits for the journal.",
		"More makes larger transactions and an older journal.",
		&auc_guc_drain_delay, 0, 10000, PGC_SIGHUP, GUC_UNIT_MS},
	{"auction.drain_rate",
		"Most records per second that the drain of one server applies.",
		"0 means no limit.",
		&auc_guc_drain_rate, 0, INT_MAX, PGC_SIGHUP, 0},
	{"auction.guard_lag",
		"How far the journal may be behind before the guard rolls back.",
		"0 means no limit.",
		&auc_guc_guard_lag, 0, 86400, PGC_SIGHUP, GUC_UNIT_S},
	{"auction.guard_min_bids",
		"Fewer bids in the guard's window say nothing of errors and latency.",
		NULL,
		&auc_guc_guard_min_bids, 1, INT_MAX, PGC_SIGHUP, 0},
	{"auction.guard_p99",
		"99th percentile of the time a bid on route redis takes, above which the guard rolls back.",
		"Bids that still wait count with the time they have waited. 0 means no limit.",
		&auc_guc_guard_p99, 0, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS},
	{"auction.guard_window",
		"The time back from now whose bids the guard looks at.",
		NULL,
		&auc_guc_guard_window, 1, AUC_GUARD_WINDOW_MAX, PGC_SIGHUP, GUC_UNIT_S},
	{"auction.history_retention",
		"How long bids stay in history after their auction was consolidated.",
		"0 means for ever.",
		&auc_guc_history_retention, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN},
	{"auction.lane_lease",
		"How long the owner of a lane may be silent before another instance of PostgreSQL takes the lane.",
		"The longer of the owner's and the other's holds. The owner renews it four times in that time.",
		&auc_guc_lane_lease, 100, 24 * 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS},
	{"auction.log_limit",
		"Most entries of a lane's log in Redis before bids on the lane fail.",
		"From three quarters of it on they slow down. 0 means no limit.",
		&auc_guc_log_limit, 0, INT_MAX, PGC_SIGHUP, 0},
	{"auction.log_retention",
		"How long applied records stay in the log.",
		NULL,
		&auc_guc_log_retention, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S},
	{"auction.move_rate",
		"Most rows per second that auction.move_shard() and split_shard() copy.",
		"0 means no limit.",
		&auc_guc_move_rate, 0, INT_MAX, PGC_USERSET, 0},
	{"auction.overload_timeout",
		"How long a bid on route redis waits to be taken by the router.",
		"Then it fails with SQLSTATE RB004 and is not recorded.",
		&auc_guc_overload_timeout, 1, INT_MAX / 1000, PGC_USERSET, GUC_UNIT_MS},
	{"auction.redis_memory_limit",
		"Percentage of Redis' maxmemory in use at which bids on its lanes fail.",
		"From three quarters of it on they slow down. 0 means no limit, as does a Redis without maxmemory.",
		&auc_guc_redis_memory_limit, 0, 100, PGC_SIGHUP, 0},
	{"auction.role_slots",
		"Percentage of auction.slots that the sessions of one role in one database may hold at a time.",
		"Bids beyond that wait for one of them. 100 means no limit.",
		&auc_guc_role_slots, 1, 100, PGC_SUSET, 0},
	{"auction.sample_waits",
		"How often the steward looks which sessions wait for a lock.",
		"0 means never. What it finds is shown by auction.write_hotspots().",
		&auc_guc_sample_waits, 0, 3600000, PGC_SIGHUP, GUC_UNIT_MS},
	{"auction.shard_timeout",
		"How long a shard server may be silent before it counts as gone.",
		"Holds for what the engine does there itself, not for queries, which go through postgres_fdw.",
		&auc_guc_shard_timeout, 100, 3600000, PGC_SIGHUP, GUC_UNIT_MS},
};

/* Sizes of shared memory: known only while libraries are being preloaded. */
static const AucIntSetting size_settings[] = {
	{"auction.max_databases",
		"Most databases of the cluster that may use the extension.",
		NULL,
		&auc_guc_max_databases, 1, 1000, PGC_POSTMASTER, 0},
	{"auction.max_lanes",
		"Most lanes of all databases together.",
		NULL,
		&auc_guc_max_lanes, 1, 1024, PGC_POSTMASTER, 0},
	{"auction.max_servers",
		"Most attached Redis servers of all databases together.",
		NULL,
		&auc_guc_max_servers, 1, 255, PGC_POSTMASTER, 0},
	{"auction.shadow_queue",
		"Most mirrored bids that wait for the router of one server.",
		"Rounded down to a power of two. A bid beyond that is not mirrored.",
		&auc_guc_shadow_queue, 1, 65536, PGC_POSTMASTER, 0},
	{"auction.slots",
		"Most bids of all databases that wait for a router at a time.",
		"Bids beyond that wait for a free slot.",
		&auc_guc_slots, 4, 65536, PGC_POSTMASTER, 0},
	{"auction.tail_size",
		"Memory for each lane's records that are not yet applied.",
		"Rounded down to a power of two. A full tail makes the lane's bids wait.",
		&auc_guc_tail_size, 64, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB},
};

static const struct config_enum_entry levels[] = {
	{"redis", AUC_LEVEL_REDIS, false},
	{"replica", AUC_LEVEL_REPLICA, false},
	{"journal", AUC_LEVEL_JOURNAL, false},
	{NULL, 0, false}
};

static void
define_ints(const AucIntSetting *settings, int n)
{
	for (int i = 0; i < n; i++)
		DefineCustomIntVariable(settings[i].name, settings[i].what,
								settings[i].detail, settings[i].value,
								*settings[i].value,
								settings[i].min, settings[i].max,
								settings[i].context, settings[i].flags,
								NULL, NULL, NULL);
}

void
auc_settings_define(void)
{
	define_ints(int_settings, lengthof(int_settings));
	DefineCustomBoolVariable("auction.degraded",
							 "Bids on route redis go on while Redis is away.",
							 "Acknowledged when PostgreSQL has committed them. Off: they fail with SQLSTATE RB006.",
							 &auc_guc_degraded, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("auction.durability",
							 "Least level that bids of the session wait for on route redis.",
							 "An auction that asks for more gets more.",
							 &auc_guc_durability, AUC_LEVEL_REDIS, levels,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("auction.guard",
							 "Rolls the rollout back when route redis breaks a limit.",
							 "See the settings auction.guard_*.",
							 &auc_guc_guard, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomRealVariable("auction.guard_error_share",
							 "Percentage of bids on route redis that end with an error, above which the guard rolls back.",
							 "Errors of the application's own doing do not count. 100 means no limit.",
							 &auc_guc_guard_error_share, 1, 0, 100, PGC_SIGHUP,
							 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("auction.track_bids",
							 "Counts bids and measures how long they take.",
							 "Shown by auction.stat_routes. Needs the library to be preloaded.",
							 &auc_guc_track_bids, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomRealVariable("auction.shadow",
							 "Percentage of the auctions on route table whose bids a router decides once more, without counting.",
							 NULL,
							 &auc_guc_shadow, 0, 0, 100, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("auction.stop_at",
							   "Names a point at which processes stop, for tests.",
							   "See src/stop.h. Empty means none.",
							   &auc_guc_stop_at, "", PGC_SUSET,
							   GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
	DefineCustomRealVariable("auction.user_rate_limit",
							 "Most bids per second of one bidder, on either route.",
							 "As many may come at once. 0 means no limit. Needs the library to be preloaded.",
							 &auc_guc_user_rate_limit, 0, 0, 1000000, PGC_SUSET,
							 0, NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
		define_ints(size_settings, lengthof(size_settings));
	MarkGUCPrefixReserved("auction");
}
