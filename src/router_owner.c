/*
 * router_owner.c: who owns a lane (rules 11 and 12).
 *
 * The owner is a running instance of PostgreSQL.  It says so with each take,
 * and a few times per auction.lane_lease with a beat.  Whoever finds another
 * owner watches the beat over one unbroken connection, by his own clock, and
 * takes the lane when it has not changed for a lease; Redis' clock plays no
 * part.  What is taken at once, take.lua decides:
 *
 *   - a lane that names this very instance, and nobody has claimed;
 *   - one of a dead instance of the same data directory since the same boot of
 *     the machine: we hold its postmaster.pid;
 *   - one that was given back at a clean shutdown;
 *   - one that Redis does not know, if it was just attached, or our own lease
 *     still runs: nobody else can have taken it.
 *
 * Our own lease runs from when a beat was sent that Redis has confirmed, and a
 * little shorter than others wait.  When it has run out unnoticed, because
 * this process was stopped, nothing is decided before Redis has said whose
 * lane it is, or cannot be reached.
 *
 * Times here are microseconds of the machine's clock since boot, which goes on
 * while it is suspended, and never jumps.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "errors.h"
#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "shm.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/pidfile.h"
#include "utils/timestamp.h"
#include "waits.h"

/* A lease is renewed, and a watched one looked at, so often in its time. */
#define BEATS_PER_LEASE		4
/* ... but a watched one at least so often. */
#define LOOK_MS				1000
/* Clocks differ: our own lease ends by this part earlier than for others. */
#define LEASE_MARGIN		10
/* An owner who goes on beating for so many leases is there to stay. */
#define LEASES_TO_FENCE		2
/* How long the end of the process waits for Redis to take the lease back. */
#define RELEASE_MS			500

static AucRouter *exiting_router = NULL;

static int64
own_clock(void)
{
	struct timespec now;

#ifdef CLOCK_BOOTTIME
	clock_gettime(CLOCK_BOOTTIME, &now);
#else
	clock_gettime(CLOCK_MONOTONIC, &now);
#endif
	return now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

static int64
lease_us(int ms)
{
	return (int64) ms * 1000;
}

/* When the next beat is due, or a watched lane to be looked at. */
static int64
next_at(AucRouterLane *rl)
{
	int64		interval = lease_us(auc_guc_lane_lease) / BEATS_PER_LEASE;

	if (rl->phase == AUC_PHASE_WATCHING)
		interval = Min(interval, lease_us(LOOK_MS));
	return rl->sent_at + interval;
}

/* By our own clock. */
static bool
lease_runs(AucRouterLane *rl, int64 now)
{
	return now < (int64) pg_atomic_read_u64(&rl->lane->leased_until);
}

static void
lease_begins(AucRouterLane *rl)
{
	int64		lease = lease_us(rl->sent_lease);

	pg_atomic_write_u64(&rl->lane->leased_until,
						rl->sent_at + lease - lease / LEASE_MARGIN);
	pg_atomic_write_u64(&rl->lane->beat_at, (uint64) GetCurrentTimestamp());
	rl->asking = false;
}

/* ---- taking ---- */

/*
 * How the lane is to be taken (take.lua); "seen" is what may be taken because
 * it has not changed for long enough.
 */
const char *
auc_router_owner_how(AucRouterLane *rl, const char **seen)
{
	int64		now = own_clock();

	*seen = "";
	if (rl->watched_on == auc_redis_generation(rl->router->redis) &&
		rl->watched[0] != '\0' && now - rl->watched_at >= rl->watch_for)
		*seen = rl->watched;
	rl->sent_at = now;
	rl->sent_lease = auc_guc_lane_lease;
	if (rl->insist != AUC_INSIST_NOT)
		return rl->insist == AUC_INSIST_ADOPT ? "adopt" : "discard";
	if (pg_atomic_read_u32(&rl->lane->rival) != 0)
		return "fenced";
	if (lease_runs(rl, now))
		return "held";
	if (rl->term == 0 && rl->stored_term == 0)
		return "first";
	return "";
}

void
auc_router_owner_took(AucRouterLane *rl)
{
	pg_atomic_write_u64(&rl->lane->owner, auc_shm_instance());
	rl->watched[0] = '\0';
	pg_atomic_write_u32(&rl->lane->rival, 0);
	rl->beating = false;
	lease_begins(rl);
}

/*
 * What only we have: names it in the server's log.  "common" is the last
 * position up to ours that the owner's log has; 0: it is trimmed beyond that.
 */
static void
name_the_lost(AucRouterLane *rl, uint64 common)
{
	uint64		applied = pg_atomic_read_u64(&rl->lane->applied);
	uint64		from = Max(common,
						   pg_atomic_read_u64(&rl->lane->confirmed));

	if (rl->writer.last <= from)
		return;
	ereport(LOG,
			(errcode(AUC_ERRCODE_FENCED),
			 errmsg("lane %d of server \"%s\": positions " UINT64_FORMAT " to " UINT64_FORMAT " are in this database alone, not in the log of the lane's owner",
					rl->lane_id, NameStr(rl->router->server->name),
					from + 1, rl->writer.last),
			 applied > from ?
			 errdetail("Applied here: those up to position " UINT64_FORMAT ".",
					   applied) :
			 errdetail("None of them is applied here."),
			 errhint("SELECT * FROM auction.journal WHERE lane_id = %d AND position > " UINT64_FORMAT ".",
					 rl->lane_id, from)));
}

/* Another instance owns the lane, and is alive: it is given up. */
static void
give_way(AucRouterLane *rl, const char *owner, uint64 term, uint64 common)
{
	char		why[200];
	bool		held = pg_atomic_read_u64(&rl->lane->term) != 0;

	snprintf(why, sizeof(why),
			 "instance %s of PostgreSQL owns it, under term " UINT64_FORMAT,
			 owner, term);
	pg_atomic_write_u32(&rl->lane->rival, 1);
	if (held && auc_lane_get_state(rl->lane) != AUC_LANE_FENCED)
		name_the_lost(rl, common);
	auc_router_lane_fence(rl, why,
						  "If that one is not to have it, auction.adopt_lanes() takes the lane away from it.");
}

/* Begins to watch, or goes on; true: it is alive, and that for long. */
static bool
watch(AucRouterLane *rl, const char *token, bool own_claim, int64 need)
{
	int64		now = own_clock();
	uint32		connection = auc_redis_generation(rl->router->redis);
	bool		changed = strcmp(token, rl->watched) != 0;
	bool		anew = rl->watched_on != connection || rl->watched[0] == '\0';

	rl->watch_for = need;
	rl->phase = AUC_PHASE_WATCHING;
	if (anew || (changed && !own_claim))
		rl->watched_at = now;
	if (anew)
		rl->watch_began = now;
	rl->watched_on = connection;
	strlcpy(rl->watched, token, sizeof(rl->watched));
	return changed && !anew && !own_claim &&
		now - rl->watch_began >= LEASES_TO_FENCE * need;
}

/*
 * The lane was not to be had: HELD or CLAIMED, token, instance, term, lease,
 * common.
 */
void
auc_router_owner_held(AucRouterLane *rl, const redisReply *reply)
{
	AucLaneState state = auc_lane_get_state(rl->lane);
	const char *token = reply->element[1]->str;
	const char *owner = reply->element[2]->str;
	char		own[AUC_KEY_MAX];
	bool		nobody = owner[0] == '\0';
	bool		claimed = auc_router_reply_is(reply->element[0], "CLAIMED");
	uint64		term = 0;
	uint64		lease = 0;
	uint64		common = 0;
	int64		need;

	(void) auc_router_position(reply->element[3], &term);
	(void) auc_router_position(reply->element[4], &lease);
	(void) auc_router_position(reply->element[5], &common);
	pg_atomic_write_u64(&rl->lane->owner, strtoull(owner, NULL, 16));

	if (rl->insist == AUC_INSIST_GIVE_UP)
	{
		if (!watch(rl, token, claimed,
				   lease_us(Max((int64) Min(lease, PG_INT32_MAX),
								auc_guc_lane_lease))))
			return;
		auc_router_adopt_done(rl);
		ereport(LOG,
				(errcode(AUC_ERRCODE_FENCED),
				 errmsg("the log of lane %d of server \"%s\" is not given up: its owner, instance %s of PostgreSQL, is alive",
						rl->lane_id, NameStr(rl->router->server->name),
						owner)));
		pg_atomic_write_u32(&rl->lane->rival, 1);
		auc_router_lane_fence(rl, "another instance owns it", NULL);
		return;
	}

	/*
	 * It was ours, and somebody has taken it since; not we, who may have had
	 * no answer.
	 */
	if (strcmp(owner, auc_router_instance(own)) != 0 &&
		state != AUC_LANE_RECOVERING && state != AUC_LANE_UNKNOWN &&
		!nobody && term > Max(rl->term, rl->stored_term))
	{
		give_way(rl, owner, term, common);
		return;
	}
	if (pg_atomic_read_u32(&rl->lane->rival) != 0)
	{
		auc_router_lane_fence(rl, "another instance owns it", NULL);
		return;
	}

	/*
	 * Who has held the lane comes back to an emptied Redis before anybody who
	 * has not.
	 */
	need = lease_us(Max((int64) Min(lease, PG_INT32_MAX), auc_guc_lane_lease));
	if (nobody && pg_atomic_read_u64(&rl->lane->term) == 0)
		need *= 2;
	if (watch(rl, token, claimed, need))
	{
		give_way(rl, owner, term, common);
		return;
	}
	/* nobody has taken it, so far as Redis knows */
	rl->asking = false;
	if (state == AUC_LANE_NORMAL || state == AUC_LANE_RETURNING)
		auc_router_lane_degrade(rl, "the lease has run out, and another owner may come back",
								true);
}

bool
auc_router_owner_look_again(AucRouterLane *rl)
{
	return own_clock() >= next_at(rl);
}

/* ---- beats ---- */

static void
beat_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	if (!rl->beating)
		return;
	rl->beating = false;
	if (reply == NULL)
		return;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 1 &&
		auc_router_reply_is(reply->element[0], "OK"))
	{
		lease_begins(rl);
		return;
	}
	auc_router_owner_doubt(rl);
	auc_router_lane_give_up(rl, "the lease could not be renewed", reply);
}

static void
send_beat(AucRouterLane *rl, int64 now, bool released)
{
	AucRedis   *redis = rl->router->redis;
	char		text[AUC_KEY_MAX];
	int			len;

	auc_redis_begin_script(redis, AUC_SCRIPT_BEAT, 1, 4);
	len = auc_router_term_key(rl, text);
	auc_redis_arg(redis, text, len);
	auc_redis_arg_str(redis, auc_router_instance(text));
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_arg_int64(redis, auc_guc_lane_lease);
	auc_redis_arg_str(redis, released ? "1" : "0");
	auc_redis_end(redis, beat_reply, rl);
	rl->beating = true;
	rl->sent_at = now;
	rl->sent_lease = auc_guc_lane_lease;
}

static bool
is_taken(AucRouterLane *rl)
{
	return rl->phase >= AUC_PHASE_READING &&
		auc_redis_status(rl->router->redis) == AUC_REDIS_READY;
}

void
auc_router_owner_beat(AucRouterLane *rl)
{
	int64		now = rl->router->turned_at;

	if (is_taken(rl) && !rl->beating && (now >= next_at(rl) || rl->asking))
		send_beat(rl, now, false);
}

/* When a beat is due, or a watched lane to be looked at: ms, at most "most". */
long
auc_router_owner_sleep(AucRouter *router, long most)
{
	int64		now = own_clock();

	/* a turn that comes later than a lease is taken for a standstill */
	most = Min(most, auc_guc_lane_lease / 2);
	for (int i = 0; i < router->nlanes; i++)
	{
		AucRouterLane *rl = &router->lanes[i];

		if (rl->phase == AUC_PHASE_WATCHING ||
			(is_taken(rl) && !rl->beating))
			most = Min(most, Max((next_at(rl) - now + 999) / 1000, 0));
	}
	return most;
}

/* ---- a lease that has run out unnoticed ---- */

/* Redis has to be asked who owns the lane before anything is decided. */
void
auc_router_owner_doubt(AucRouterLane *rl)
{
	if (rl->asking)
		return;
	rl->asking = true;
	rl->asking_since = rl->router->attempts;
}

/*
 * The connection is gone.  true: that says nothing yet, a new one has to be
 * tried before the lane may be degraded.
 */
bool
auc_router_owner_asks(AucRouterLane *rl)
{
	rl->beating = false;
	if (rl->asking && rl->router->attempts == rl->asking_since)
		return true;
	rl->asking = false;
	return false;
}

/* At the beginning of a turn, before anything is concluded from a timeout. */
void
auc_router_owner_look(AucRouter *router)
{
	int64		now = own_clock();
	bool		stopped = router->turned_at == 0 ||
		now - router->turned_at > lease_us(auc_guc_lane_lease);

	router->turned_at = now;
	for (int i = 0; i < router->nlanes; i++)
	{
		AucRouterLane *rl = &router->lanes[i];

		switch (auc_lane_get_state(rl->lane))
		{
			case AUC_LANE_NORMAL:
			case AUC_LANE_RETURNING:
				if (!lease_runs(rl, now))
					auc_router_owner_doubt(rl);
				break;
			case AUC_LANE_DEGRADED:
				if (stopped && !lease_runs(rl, now))
					auc_router_owner_doubt(rl);
				break;
			default:
				break;
		}
	}
}

/* ---- begin and end of the process ---- */

/* Is the postmaster shutting down?  A router alone may end and come back. */
static bool
is_shutdown(void)
{
	FILE	   *file = AllocateFile("postmaster.pid", "r");
	char		line[MAXPGPATH + 2];
	bool		stopping = false;

	if (file == NULL)
		return false;
	for (int i = 1; fgets(line, sizeof(line), file) != NULL; i++)
		if (i == LOCK_FILE_LINE_PM_STATUS)
			stopping = strncmp(line, PM_STATUS_STOPPING,
							   strlen(PM_STATUS_STOPPING)) == 0;
	FreeFile(file);
	return stopping;
}

static bool
releasing(AucRouter *router)
{
	for (int i = 0; i < router->nlanes; i++)
		if (router->lanes[i].beating)
			return true;
	return false;
}

/*
 * A clean shutdown gives the lanes back, so that whoever is promoted need not
 * wait.  What was sent before it is ahead of it on the same connection.
 */
static void
release_at_exit(int code, Datum arg)
{
	AucRouter  *router = exiting_router;
	int64		now = own_clock();
	int64		until = now + lease_us(RELEASE_MS);
	bool		any = false;

	exiting_router = NULL;
	if (router == NULL || !is_shutdown() ||
		auc_redis_status(router->redis) != AUC_REDIS_READY)
		return;
	for (int i = 0; i < router->nlanes; i++)
	{
		if (!is_taken(&router->lanes[i]))
			continue;
		send_beat(&router->lanes[i], now, true);
		any = true;
	}
	while (any && releasing(router) && now < until &&
		   auc_redis_status(router->redis) == AUC_REDIS_READY)
	{
		(void) WaitLatchOrSocket(NULL, auc_redis_events(router->redis) |
								 WL_TIMEOUT | WL_POSTMASTER_DEATH,
								 auc_redis_socket(router->redis), 20,
								 auc_wait_event(AUC_WAIT_RELEASE));
		auc_redis_io(router->redis, auc_redis_events(router->redis),
					 GetCurrentTimestamp());
		now = own_clock();
	}
}

/*
 * Where this instance is: the machine since its boot, and the data directory
 * by device and inode.  Whoever else says the same is dead, for we hold the
 * lock on that directory.  "" if the machine does not tell.
 */
static void
find_place(char *place, Size size)
{
	FILE	   *file = AllocateFile("/proc/sys/kernel/random/boot_id", "r");
	char		boot[64] = "";
	struct stat dir;

	if (file != NULL)
	{
		if (fgets(boot, sizeof(boot), file) == NULL)
			boot[0] = '\0';
		FreeFile(file);
	}
	boot[strcspn(boot, "\n")] = '\0';
	if (boot[0] == '\0' || stat(DataDir, &dir) != 0)
		/* equal to nothing, itself included */
		snprintf(place, size, "unknown %016llx",
				 (unsigned long long) auc_shm_instance());
	else
		snprintf(place, size, "%s %llx:%llx", boot,
				 (unsigned long long) dir.st_dev,
				 (unsigned long long) dir.st_ino);
}

/* As it is in Redis: 16 hexadecimal digits. */
const char *
auc_router_instance(char *text)
{
	snprintf(text, AUC_KEY_MAX, "%016llx",
			 (unsigned long long) auc_shm_instance());
	return text;
}

void
auc_router_owner_begin(AucRouter *router)
{
	find_place(router->place, sizeof(router->place));
	exiting_router = router;
	before_shmem_exit(release_at_exit, 0);
}
