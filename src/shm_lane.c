/*
 * shm_lane.c: binding servers and lanes, waking their processes.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "settings.h"
#include "shm.h"
#include "shm_lane.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "waits.h"

static pg_atomic_uint32 *bindings;	/* how often lanes were bound, released */
static AucServer *servers;
static AucLane *lanes;

static Size
lanes_offset(void)
{
	return add_size(PG_CACHE_LINE_SIZE,
					CACHELINEALIGN(mul_size(auc_guc_max_servers,
											sizeof(AucServer))));
}

static Size
tails_offset(void)
{
	return add_size(lanes_offset(),
					CACHELINEALIGN(mul_size(auc_guc_max_lanes,
											sizeof(AucLane))));
}

/* The largest power of two within the setting, so that % becomes a mask. */
static Size
tail_bytes(void)
{
	Size		wanted = mul_size(auc_guc_tail_size, 1024);
	Size		size = 64 * 1024;

	while (size * 2 <= wanted)
		size *= 2;
	return size;
}

Size
auc_lane_shmem_size(void)
{
	return add_size(tails_offset(),
					mul_size(auc_guc_max_lanes, tail_bytes()));
}

static void
init_server(AucServer *server)
{
	pg_atomic_init_u64(&server->looks, 0);
	pg_atomic_init_u32(&server->router_proc, AUC_NO_PROC);
	pg_atomic_init_u32(&server->drain_proc, AUC_NO_PROC);
	pg_atomic_init_u32(&server->router_pid, 0);
	pg_atomic_init_u32(&server->drain_pid, 0);
	pg_atomic_init_u32(&server->drain_paused, 0);
	pg_atomic_init_u32(&server->drain_idle, 0);
	pg_atomic_init_u32(&server->redis_ready, 0);
	pg_atomic_init_u32(&server->replicas, AUC_REPLICAS_UNKNOWN);
	pg_atomic_init_u64(&server->memory_used, 0);
	pg_atomic_init_u64(&server->memory_max, 0);
	SpinLockInit(&server->lock);
}

static void
init_lane(AucLane *lane)
{
	pg_atomic_init_u32(&lane->state, AUC_LANE_UNKNOWN);
	pg_atomic_init_u32(&lane->fenced_recovering, 0);
	pg_atomic_init_u32(&lane->rival, 0);
	pg_atomic_init_u64(&lane->gap_from, 0);
	pg_atomic_init_u64(&lane->gap_to, 0);
	pg_atomic_init_u64(&lane->since, 0);
	pg_atomic_init_u64(&lane->term, 0);
	pg_atomic_init_u64(&lane->published, 0);
	pg_atomic_init_u64(&lane->published_off, 0);
	pg_atomic_init_u64(&lane->confirmed, 0);
	pg_atomic_init_u64(&lane->replicated, 0);
	pg_atomic_init_u64(&lane->apply_limit, 0);
	pg_atomic_init_u64(&lane->freed_off, 0);
	pg_atomic_init_u64(&lane->log_length, 0);
	pg_atomic_init_u64(&lane->delay, 0);
	pg_atomic_init_u64(&lane->degraded_at, 0);
	pg_atomic_init_u64(&lane->degraded_us, 0);
	pg_atomic_init_u64(&lane->reappended, 0);
	pg_atomic_init_u64(&lane->tail_rate, 0);
	pg_atomic_init_u64(&lane->owner, 0);
	pg_atomic_init_u64(&lane->beat_at, 0);
	pg_atomic_init_u64(&lane->leased_until, 0);
	pg_atomic_init_u64(&lane->applied_off, 0);
	pg_atomic_init_u64(&lane->applied, 0);
	pg_atomic_init_u64(&lane->applied_at, 0);
	pg_atomic_init_u32(&lane->drain_stopped, 0);
	pg_atomic_init_u32(&lane->applied_wanted, 0);
	pg_atomic_init_u64(&lane->notices, 0);
}

void
auc_lane_shmem_init(bool found, void *space)
{
	char	   *tails = (char *) space + tails_offset();

	bindings = space;
	servers = (AucServer *) ((char *) space + PG_CACHE_LINE_SIZE);
	lanes = (AucLane *) ((char *) space + lanes_offset());
	if (found)
		return;
	/* not the tails: pages that no lane uses stay untouched */
	memset(space, 0, tails_offset());
	pg_atomic_init_u32(bindings, 0);
	for (int i = 0; i < auc_guc_max_servers; i++)
		init_server(&servers[i]);
	for (int i = 0; i < auc_guc_max_lanes; i++)
	{
		init_lane(&lanes[i]);
		ConditionVariableInit(&lanes[i].applied_cv);
		lanes[i].tail_size = tail_bytes();
		lanes[i].tail = tails + (Size) i * tail_bytes();
	}
}

const char *
auc_lane_state_name(AucLaneState state)
{
	switch (state)
	{
		case AUC_LANE_UNKNOWN:
			return "starting";
		case AUC_LANE_RECOVERING:
			return "recovering";
		case AUC_LANE_NORMAL:
			return "normal";
		case AUC_LANE_DEGRADED:
			return "degraded";
		case AUC_LANE_RETURNING:
			return "returning";
		case AUC_LANE_FENCED:
			return "fenced";
		case AUC_LANE_WAITING:
			return "waiting";
	}
	return "?";
}

int
auc_server_count(void)
{
	return auc_guc_max_servers;
}

AucServer *
auc_server(int index)
{
	Assert(index >= 0 && index < auc_guc_max_servers);
	return &servers[index];
}

int
auc_lane_count(void)
{
	return auc_guc_max_lanes;
}

AucLane *
auc_lane(int index)
{
	Assert(index >= 0 && index < auc_guc_max_lanes);
	return &lanes[index];
}

int
auc_lane_find(Oid dboid, int lane_id)
{
	int			found = -1;

	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	for (int i = 0; i < auc_guc_max_lanes && found < 0; i++)
		if (lanes[i].bound && lanes[i].dboid == dboid &&
			lanes[i].lane_id == lane_id)
			found = i;
	LWLockRelease(auc_registry_lock());
	return found;
}

uint32
auc_lane_bindings(void)
{
	return pg_atomic_read_u32(bindings);
}

static int
compare_lane_ids(const void *a, const void *b)
{
	int			first = lanes[*(const int *) a].lane_id;
	int			second = lanes[*(const int *) b].lane_id;

	return first < second ? -1 : first > second;
}

int
auc_lane_list(Oid dboid, int *indexes)
{
	int			n = 0;

	LWLockAcquire(auc_registry_lock(), LW_SHARED);
	for (int i = 0; i < auc_guc_max_lanes; i++)
		if (lanes[i].bound && lanes[i].dboid == dboid)
			indexes[n++] = i;
	qsort(indexes, n, sizeof(int), compare_lane_ids);
	LWLockRelease(auc_registry_lock());
	return n;
}

int
auc_server_bind(Oid dboid, Oid serverid, const char *name)
{
	int			free_entry = -1;
	int			index = -1;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < auc_guc_max_servers; i++)
	{
		if (!servers[i].bound)
		{
			if (free_entry < 0)
				free_entry = i;
		}
		else if (servers[i].dboid == dboid && servers[i].serverid == serverid)
			index = i;
	}
	if (index < 0 && free_entry >= 0)
	{
		AucServer  *server = &servers[free_entry];
		uint32		generation = server->generation;

		memset(server, 0, sizeof(AucServer));
		init_server(server);
		server->generation = generation + 1;
		pg_atomic_write_u64(&server->looks, (uint64) (generation + 1) << 32);
		server->dboid = dboid;
		server->serverid = serverid;
		namestrcpy(&server->name, name);
		server->bound = true;
		index = free_entry;
	}
	else if (index >= 0)
		namestrcpy(&servers[index].name, name);
	LWLockRelease(auc_registry_lock());
	return index;
}

int
auc_lane_bind(Oid dboid, int lane_id, int server)
{
	int			free_entry = -1;
	int			index = -1;

	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < auc_guc_max_lanes; i++)
	{
		if (!lanes[i].bound)
		{
			if (free_entry < 0)
				free_entry = i;
		}
		else if (lanes[i].dboid == dboid && lanes[i].lane_id == lane_id)
			index = i;
	}
	if (index < 0 && free_entry >= 0)
	{
		AucLane    *lane = &lanes[free_entry];

		init_lane(lane);
		lane->generation++;
		lane->dboid = dboid;
		lane->lane_id = lane_id;
		lane->server = server;
		lane->bound = true;
		pg_atomic_fetch_add_u32(bindings, 1);
		index = free_entry;
	}
	LWLockRelease(auc_registry_lock());
	return index;
}

static void
release_server(AucServer *server)
{
	int			index = server - servers;

	for (int i = 0; i < auc_guc_max_lanes; i++)
	{
		if (lanes[i].bound && lanes[i].server == index)
		{
			lanes[i].bound = false;
			pg_atomic_fetch_add_u32(bindings, 1);
			ConditionVariableBroadcast(&lanes[i].applied_cv);
		}
	}
	server->bound = false;
}

void
auc_server_release(int server)
{
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	if (servers[server].bound)
		release_server(&servers[server]);
	LWLockRelease(auc_registry_lock());
}

void
auc_database_release(Oid dboid)
{
	LWLockAcquire(auc_registry_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < auc_guc_max_servers; i++)
		if (servers[i].bound && servers[i].dboid == dboid)
			release_server(&servers[i]);
	LWLockRelease(auc_registry_lock());
}

void
auc_server_set_facts(AucServer *server, const AucRedisFacts *facts)
{
	SpinLockAcquire(&server->lock);
	server->facts = *facts;
	SpinLockRelease(&server->lock);
}

void
auc_server_get_facts(AucServer *server, AucRedisFacts *facts)
{
	SpinLockAcquire(&server->lock);
	*facts = server->facts;
	SpinLockRelease(&server->lock);
}

/* A latch outlives its process, so a late wake-up hurts nobody. */
static void
wake(pg_atomic_uint32 *proc)
{
	uint32		procno = pg_atomic_read_u32(proc);

	if (procno != AUC_NO_PROC)
		SetLatch(auc_proc_latch(procno));
}

void
auc_server_wake_router(AucServer *server)
{
	wake(&server->router_proc);
}

void
auc_server_wake_drain(AucServer *server)
{
	wake(&server->drain_proc);
}

void
auc_lane_set_state(AucLane *lane, AucLaneState state)
{
	pg_atomic_write_u64(&lane->since, (uint64) GetCurrentTimestamp());
	pg_write_barrier();
	pg_atomic_write_u32(&lane->state, state);
}

AucLaneState
auc_lane_get_state(AucLane *lane)
{
	return (AucLaneState) pg_atomic_read_u32(&lane->state);
}

void
auc_lane_set_delay(AucLane *lane, AucDelay delay)
{
	pg_atomic_write_u64(&lane->delay, ((uint64) delay.by << 32) | delay.ms);
}

AucDelay
auc_lane_get_delay(AucLane *lane)
{
	uint64		word = pg_atomic_read_u64(&lane->delay);
	AucDelay	delay;

	delay.by = (AucLimit) (word >> 32);
	delay.ms = (uint32) word;
	return delay;
}

bool
auc_lane_is_held(AucLane *lane, bool stopped)
{
	return pg_atomic_read_u32(&auc_server(lane->server)->drain_paused) != 0 ||
		(stopped && pg_atomic_read_u32(&lane->drain_stopped) != 0);
}

bool
auc_lane_wait_applied(AucLane *lane, uint64 position, long timeout)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													timeout);
	uint32		generation = lane->generation;
	bool		reached = false;

	ConditionVariablePrepareToSleep(&lane->applied_cv);
	while (lane->bound && lane->generation == generation)
	{
		long		left;

		if (pg_atomic_read_u64(&lane->applied) >= position)
		{
			reached = true;
			break;
		}
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&lane->applied_cv, left,
										   auc_wait_event(AUC_WAIT_APPLIED));
	}
	ConditionVariableCancelSleep();
	return reached;
}

bool
auc_lane_gap(AucLane *lane, uint64 *from, uint64 *to)
{
	*to = pg_atomic_read_u64(&lane->gap_to);
	pg_read_barrier();
	*from = pg_atomic_read_u64(&lane->gap_from);
	/* it is a gap of the log that a recovering lane reads */
	return *to != 0 && *from != 0 &&
		auc_lane_get_state(lane) == AUC_LANE_RECOVERING;
}
