/*
 * stat.c: lanes as SQL sees them: their figures, waiting for the drain, and
 * holding it.
 *
 * Everything is read from shared memory without a lock, one atomic after the
 * other, while router and drain go on.  The drain's positions are read before
 * the router's, so that what follows another one is never shown before it, and
 * a backlog never as a negative number.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "shm_tail.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "waits.h"

PG_FUNCTION_INFO_V1(auction__stat_lanes);
PG_FUNCTION_INFO_V1(auction_wait_applied);
PG_FUNCTION_INFO_V1(auction_pause_drain);
PG_FUNCTION_INFO_V1(auction_resume_drain);

/* Columns of auction._stat_lanes(). */
#define STAT_COLUMNS	33
/* From here on they are about limits. */
#define LIMIT_COLUMNS	21
/* ... and from here on about the owner. */
#define OWNER_COLUMNS	28
/* wait_applied: how often to look whether a lane is ready. */
#define LOOK_MS			20

/* ---- figures ---- */

static void
put_text(const char *text, Datum *value, bool *isnull)
{
	*isnull = text[0] == '\0';
	if (!*isnull)
		*value = CStringGetTextDatum(text);
}

static void
put_time(TimestampTz at, Datum *value, bool *isnull)
{
	*isnull = at == 0;
	*value = TimestampTzGetDatum(at);
}

static double
seconds_since(TimestampTz at)
{
	TimestampTz now = GetCurrentTimestamp();

	return at == 0 || at > now ? 0 : (double) (now - at) / USECS_PER_SEC;
}

/* The last time that the lane was degraded, or the present one. */
static void
degraded_values(AucLane *lane, Datum *values, bool *isnull)
{
	TimestampTz at = (TimestampTz) pg_atomic_read_u64(&lane->degraded_at);
	uint64		us = pg_atomic_read_u64(&lane->degraded_us);

	put_time(at, &values[0], &isnull[0]);
	isnull[1] = isnull[2] = at == 0;
	if (at == 0)
		return;
	values[1] = Float8GetDatum(us > 0 ? (double) us / USECS_PER_SEC :
							   seconds_since(at));
	isnull[2] = us == 0;
	values[2] = Int64GetDatum(pg_atomic_read_u64(&lane->reappended));
}

static void
lane_values(AucLane *lane, Datum *values, bool *isnull)
{
	uint64		freed_off = pg_atomic_read_u64(&lane->freed_off);
	uint64		applied = pg_atomic_read_u64(&lane->applied);
	uint64		replicated;
	uint64		confirmed;
	uint64		published;
	uint64		published_off;
	uint64		backlog;
	uint64		rate = pg_atomic_read_u64(&lane->tail_rate);
	uint64		used;

	replicated = pg_atomic_read_u64(&lane->replicated);
	pg_read_barrier();
	confirmed = pg_atomic_read_u64(&lane->confirmed);
	published = pg_atomic_read_u64(&lane->published);
	published_off = pg_atomic_read_u64(&lane->published_off);
	backlog = published > applied ? published - applied : 0;
	used = Min(published_off - freed_off, lane->tail_size);

	values[0] = Int32GetDatum(lane->lane_id);
	values[1] =
		CStringGetTextDatum(auc_lane_state_name(auc_lane_get_state(lane)));
	put_time((TimestampTz) pg_atomic_read_u64(&lane->since),
			 &values[2], &isnull[2]);
	values[3] = Int64GetDatum(pg_atomic_read_u64(&lane->term));
	values[4] = Int64GetDatum(published);
	values[5] = Int64GetDatum(confirmed);
	values[6] = Int64GetDatum(applied);
	values[7] = Int64GetDatum(backlog);
	values[8] = Float8GetDatum(seconds_since(auc_tail_oldest_at(lane)));
	values[9] = Int64GetDatum(used);
	values[10] = Int64GetDatum(lane->tail_size);
	isnull[11] = rate == 0;
	if (rate > 0)
		values[11] = Float8GetDatum((double) (lane->tail_size - used) / rate);
	values[12] = Int64GetDatum(pg_atomic_read_u64(&lane->log_length));
	values[13] = Int32GetDatum(pg_atomic_read_u32(&lane->applied_wanted));
	values[14] = BoolGetDatum(pg_atomic_read_u32(&lane->drain_stopped) != 0);
	isnull[19] = replicated == 0;
	values[19] = Int64GetDatum(replicated);
}

static void
server_values(AucServer *server, Datum *values, bool *isnull)
{
	char		error[sizeof(server->error)];
	TimestampTz error_at;
	uint32		replicas = pg_atomic_read_u32(&server->replicas);

	SpinLockAcquire(&server->lock);
	memcpy(error, server->error, sizeof(error));
	error_at = server->error_at;
	SpinLockRelease(&server->lock);
	error[sizeof(error) - 1] = '\0';

	values[15] = BoolGetDatum(pg_atomic_read_u32(&server->drain_paused) != 0);
	values[16] = BoolGetDatum(pg_atomic_read_u32(&server->redis_ready) != 0);
	put_text(error, &values[17], &isnull[17]);
	put_time(error_at, &values[18], &isnull[18]);
	isnull[20] = replicas == AUC_REPLICAS_UNKNOWN;
	values[20] = Int32GetDatum((int32) replicas);
}

/* 0: not known, or there is none. */
static void
put_bytes(double bytes, Datum *value, bool *isnull)
{
	*isnull = bytes <= 0;
	*value = Int64GetDatum((int64) bytes);
}

/* Figures that have a limit, the limits, and which of them delays bids now. */
static void
limit_values(AucLane *lane, Datum *values, bool *isnull)
{
	AucServer  *server = auc_server(lane->server);
	AucDelay	delay = auc_lane_get_delay(lane);
	const char *limit = auc_limit_name(delay.by);
	uint64		memory_max = pg_atomic_read_u64(&server->memory_max);

	isnull[0] = auc_guc_backlog_limit == 0;
	values[0] = Float8GetDatum(auc_guc_backlog_limit);
	isnull[1] = auc_guc_log_limit == 0;
	values[1] = Int64GetDatum(auc_guc_log_limit);
	put_bytes((double) pg_atomic_read_u64(&server->memory_used),
			  &values[2], &isnull[2]);
	put_bytes((double) memory_max, &values[3], &isnull[3]);
	put_bytes((double) memory_max * auc_guc_redis_memory_limit / 100,
			  &values[4], &isnull[4]);
	put_text(limit == NULL ? "" : limit, &values[5], &isnull[5]);
	values[6] = Float8GetDatum(delay.ms == AUC_DELAY_FOREVER ?
								get_float8_infinity() : (double) delay.ms);
}

static void
owner_values(AucLane *lane, Datum *values, bool *isnull)
{
	uint64		owner = pg_atomic_read_u64(&lane->owner);
	char		text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long) owner);
	put_text(owner == 0 ? "" : text, &values[0], &isnull[0]);
	put_time((TimestampTz) pg_atomic_read_u64(&lane->beat_at),
			 &values[1], &isnull[1]);
}

/* One row for each bound lane of this database; none without the library. */
Datum
auction__stat_lanes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!auc_shm_available())
		return (Datum) 0;
	for (int i = 0; i < auc_lane_count(); i++)
	{
		AucLane    *lane = auc_lane(i);
		Datum		values[STAT_COLUMNS] = {0};
		bool		isnull[STAT_COLUMNS] = {false};

		if (!lane->bound || lane->dboid != MyDatabaseId)
			continue;
		lane_values(lane, values, isnull);
		server_values(auc_server(lane->server), values, isnull);
		limit_values(lane, values + LIMIT_COLUMNS, isnull + LIMIT_COLUMNS);
		owner_values(lane, values + OWNER_COLUMNS, isnull + OWNER_COLUMNS);
		degraded_values(lane, &values[STAT_COLUMNS - 3],
						&isnull[STAT_COLUMNS - 3]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, isnull);
	}
	return (Datum) 0;
}

/* ---- wait_applied ---- */

static AucStatement all_lanes = {
	.text = "SELECT id FROM auction.lanes ORDER BY id"
};

static int *
read_lanes(int *n)
{
	MemoryContext context = CurrentMemoryContext;
	int		   *lanes;

	SPI_connect();
	*n = (int) auc_statement_run(&all_lanes, NULL, SPI_OK_SELECT);
	lanes = MemoryContextAlloc(context, Max(*n, 1) * sizeof(int));
	for (int i = 0; i < *n; i++)
		lanes[i] = auc_statement_int32(i, 1);
	SPI_finish();
	return lanes;
}

static long
left_until(TimestampTz until)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
}

/*
 * The lane, once its tail is known to hold all that is not applied: before, a
 * start of PostgreSQL may have left accepted bids that are in the log alone.
 * NULL: not in time.
 */
static AucLane *
await_ready(int lane_id, TimestampTz until)
{
	for (;;)
	{
		int			index = auc_lane_find(MyDatabaseId, lane_id);

		if (index >= 0)
		{
			AucLaneState state = auc_lane_get_state(auc_lane(index));

			if (state != AUC_LANE_UNKNOWN && state != AUC_LANE_RECOVERING)
				return auc_lane(index);
		}
		if (left_until(until) <= 0)
			return NULL;
		auc_nap(LOOK_MS, AUC_WAIT_LANE_START);
	}
}

static TimestampTz
deadline(Datum timeout)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());

	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   now, timeout));
}

/*
 * Without the library nothing can have been accepted by a router since the
 * start; what is then still in a log, nobody here can know.
 */
Datum
auction_wait_applied(PG_FUNCTION_ARGS)
{
	TimestampTz until = deadline(PG_GETARG_DATUM(0));
	AucLane   **lanes;
	uint64	   *targets;
	int		   *ids;
	int			n;

	ids = read_lanes(&n);
	if (n == 0)
		PG_RETURN_BOOL(true);
	auc_shm_require("auction.wait_applied()");
	lanes = palloc(n * sizeof(AucLane *));
	targets = palloc(n * sizeof(uint64));
	for (int i = 0; i < n; i++)
	{
		lanes[i] = await_ready(ids[i], until);
		if (lanes[i] == NULL)
			PG_RETURN_BOOL(false);
		targets[i] = pg_atomic_read_u64(&lanes[i]->published);
	}
	for (int i = 0; i < n; i++)
		if (!auc_lane_wait_applied(lanes[i], targets[i],
								   Max(left_until(until), 0)))
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}

/* ---- pause_drain, resume_drain ---- */

static void
set_paused(uint32 paused)
{
	for (int i = 0; i < auc_server_count(); i++)
	{
		AucServer  *server = auc_server(i);

		if (!server->bound || server->dboid != MyDatabaseId)
			continue;
		pg_atomic_write_u32(&server->drain_paused, paused);
		auc_server_wake_drain(server);
	}
}

Datum
auction_pause_drain(PG_FUNCTION_ARGS)
{
	auc_shm_require("auction.pause_drain()");
	set_paused(1);
	PG_RETURN_VOID();
}

Datum
auction_resume_drain(PG_FUNCTION_ARGS)
{
	auc_shm_require("auction.resume_drain()");
	set_paused(0);
	PG_RETURN_VOID();
}
