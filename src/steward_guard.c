/*
 * steward_guard.c: watches route redis, and rolls back by itself.
 *
 * Once a second the steward notes what was counted of route redis so far; the
 * difference to its note of auction.guard_window ago is what guard.c judges,
 * together with the bids that wait now and the lag of the lanes.  The notes are
 * this process's own; a new steward begins a new window.
 *
 * Armed while a rollout has auctions on route redis.  Firing is roll_back() in
 * one transaction with its reason: the rollout's row and route_log, NOTIFY
 * auction_guard, the server log.  It stays fired, for the rollout is at 0 % then,
 * until set_rollout() is called again; a window begins with each change of the
 * rollout, so that what was before it is not held against it.
 */
#include "postgres.h"

#include "commands/async.h"
#include "guard.h"
#include "miscadmin.h"
#include "rollout.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_slot.h"
#include "shm_stat.h"
#include "shm_tail.h"
#include "steward_guard.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"

#define CHANNEL		"auction_guard"
#define LOOK_MS		1000
/* The notes of the longest window; see auction.guard_window. */
#define NOTES		(AUC_GUARD_WINDOW_MAX + 1)

typedef struct Note
{
	TimestampTz at;
	AucRouteStat stat;			/* of route redis, since the start */
} Note;

static Note *notes = NULL;		/* a ring: the last of nnotes is at "newest" */
static int	newest;
static int	nnotes = 0;
static int64 rollout_number = -1;	/* of the rollout that they belong to */
static TimestampTz look_at = 0; /* not before */

/* ---- the window ---- */

static void
begin_window(int64 number)
{
	if (notes == NULL)
		notes = MemoryContextAlloc(TopMemoryContext, NOTES * sizeof(Note));
	nnotes = 0;
	newest = -1;
	rollout_number = number;
}

static void
take_note(TimestampTz now)
{
	newest = (newest + 1) % NOTES;
	nnotes = Min(nnotes + 1, NOTES);
	notes[newest].at = now;
	(void) auc_stat_read(MyDatabaseId, AUC_STAT_REDIS, AUC_STAT_START,
						 &notes[newest].stat);
}

/* The latest note that is at least as old as the window, else the oldest. */
static const Note *
note_before(TimestampTz now)
{
	const Note *note = &notes[newest];

	for (int i = 1; i < nnotes; i++)
	{
		note = &notes[(newest - i + NOTES) % NOTES];
		if (TimestampDifferenceExceeds(note->at, now,
									   auc_guc_guard_window * 1000))
			break;
	}
	return note;
}

static void
add_waiting(AucGuardWindow *window, TimestampTz now)
{
	int			room = auc_slot_count();
	TimestampTz *since = palloc(room * sizeof(TimestampTz));

	for (int i = 0; i < auc_server_count(); i++)
	{
		AucServer  *server = auc_server(i);
		int			n;

		if (!server->bound || server->dboid != MyDatabaseId)
			continue;
		n = auc_slot_waiting(i, since);
		for (int bid = 0; bid < n; bid++)
			auc_guard_add_waiting(window, Max(now - since[bid], 0));
	}
	pfree(since);
}

static double
longest_lag(TimestampTz now)
{
	double		lag = 0;

	for (int i = 0; i < auc_lane_count(); i++)
	{
		AucLane    *lane = auc_lane(i);
		TimestampTz oldest;

		/* a drain that is paused is behind because somebody wants it so */
		if (!lane->bound || lane->dboid != MyDatabaseId ||
			auc_lane_is_held(lane, false))
			continue;
		oldest = auc_tail_oldest_at(lane);
		if (oldest != 0 && oldest < now)
			lag = Max(lag, (double) (now - oldest) / USECS_PER_SEC);
	}
	return lag;
}

static void
fill_window(AucGuardWindow *window, TimestampTz now)
{
	static AucRouteStat stat;

	stat = notes[newest].stat;
	auc_stat_subtract(&stat, &note_before(now)->stat);
	memset(window, 0, sizeof(*window));
	window->errors = auc_stat_errors(&stat);
	memcpy(window->latency, stat.latency, sizeof(window->latency));
	add_waiting(window, now);
	window->lag_s = longest_lag(now);
}

/* ---- firing ---- */

static bool
is_broken(TimestampTz now, char *why, Size size)
{
	AucGuardLimits limits;
	AucGuardWindow *window = palloc(sizeof(AucGuardWindow));
	bool		broken;

	limits.error_share = auc_guc_guard_error_share;
	limits.p99_us = (uint64) auc_guc_guard_p99 * 1000;
	limits.lag_s = auc_guc_guard_lag;
	limits.min_bids = auc_guc_guard_min_bids;
	fill_window(window, now);
	broken = auc_guard_broken(&limits, window, why, size);
	pfree(window);
	return broken;
}

/* In a transaction.  false: somebody is changing the rollout now. */
static bool
fire(const char *why)
{
	if (!auc_rollout_roll_back(AUC_MOVE_GUARD, why))
		return false;
	Async_Notify(CHANNEL, why);
	return true;
}

void
auc_steward_guard_run(TimestampTz now)
{
	AucRollout	rollout;
	char		why[200];
	bool		fired = false;

	if (!auc_guc_guard || !auc_shm_available() || now < look_at)
		return;
	look_at = TimestampTzPlusMilliseconds(now, LOOK_MS);

	auc_worker_xact_begin("guarding the rollout");
	if (auc_rollout_read(&rollout) && rollout.buckets > 0)
	{
		if (rollout.number != rollout_number)
			begin_window(rollout.number);
		take_note(now);
		fired = is_broken(now, why, sizeof(why)) && fire(why);
	}
	auc_worker_xact_commit();
	if (fired)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the guard has rolled back the rollout: %s", why),
				 errdetail("Auctions that are not pinned to route \"redis\" are moved to route \"table\", and new ones begin there."),
				 errhint("See auction.stat_routes, auction.stat_lanes and auction.route_log. CALL auction.set_rollout() begins again.")));
}
