/*
 * router_replica.c: what the replicas of Redis have confirmed (rule 14).
 *
 * WAIT holds up the connection it is sent on, so the router has a second one,
 * made when a bid first asks for level replica, and given up with the first
 * one.  A round on it:
 *
 *   mark.lua   for each lane in which somebody waits: a write behind the lane's
 *              records, refused unless Redis has them up to the position of
 *              this round, under our term
 *   WAIT       for this write, hence for what is before it: option "replicas"
 *              of the server, at most for "replica_timeout"
 *   WAITAOF    with "replica_fsync", when WAIT is answered: asked right behind
 *              the write, a replica answers before it syncs, and says that it
 *              has done so with its next word, up to a second later
 *
 * One round is on its way at a time; what Redis confirms meanwhile is the next
 * one's.  A lane in which nobody waits has no part in it.
 *
 * What a round has confirmed is true of the connection and the term it was
 * asked under, and forgotten with them: the replicas of a Redis that has taken
 * over need not have what those of the one before had.  That the second
 * connection is to the same Redis is told by its run id; mark.lua would refuse
 * another one, too.
 *
 * As long as replicas are not there (away, too few, too slow, no connection),
 * a bid does not wait for them at all: the drain is told that somebody waits
 * for it, and the bid is answered at level journal.  Rounds go on meanwhile, at
 * a distance, if somebody asks for that level.  The first round that finds
 * enough of them only ends this state.  Where Redis never had a replica, its
 * replication offset is 0, and WAIT counts one that has just come and is still
 * loading.
 */
#include "postgres.h"

#include "router.h"
#include "utils/timestamp.h"

#define FIRST_BACKOFF_MS	50
#define LAST_BACKOFF_MS		1000
/* The next round after one that did not find enough replicas. */
#define AGAIN_MS			100

struct AucRouterReplicas
{
	AucRedis   *redis;
	AucRedisStatus seen;
	TimestampTz connect_at;		/* not before */
	int			backoff;		/* ms */
	bool		wanted;			/* somebody waits for a round ... */
	bool		asked;			/* ... or did, since the last one that succeeded */
	bool		there;			/* the last round found enough of them */
	bool		said;			/* ... that it did not, to the server log */
	bool		in_flight;		/* a round is on its way ... */
	TimestampTz sent_at;		/* ... since */
	TimestampTz again_at;		/* the next one not before */
};

void
auc_router_replicas_begin(AucRouter *router)
{
	AucRouterReplicas *replicas =
	MemoryContextAllocZero(router->context, sizeof(AucRouterReplicas));

	replicas->redis = auc_redis_create(router->context);
	replicas->seen = AUC_REDIS_CLOSED;
	replicas->backoff = FIRST_BACKOFF_MS;
	router->replicas = replicas;
	pg_atomic_write_u32(&router->server->replicas, AUC_REPLICAS_UNKNOWN);
}

AucRedis *
auc_router_replicas_redis(AucRouter *router)
{
	return router->replicas->redis;
}

bool
auc_router_replicas_there(AucRouter *router)
{
	return router->replicas->there;
}

void
auc_router_replicas_forget(AucRouterLane *rl)
{
	rl->marking = 0;
	rl->replicated = 0;
	pg_atomic_write_u64(&rl->lane->replicated, 0);
}

/* Bids do not wait for replicas until a round finds them again. */
static void
away(AucRouter *router, const char *why)
{
	AucRouterReplicas *replicas = router->replicas;

	replicas->there = false;
	if (replicas->said || !replicas->asked)
		return;
	replicas->said = true;
	ereport(LOG,
			(errmsg("server \"%s\": bids of durability \"replica\" are acknowledged when PostgreSQL has committed them",
					NameStr(router->server->name)),
			 errdetail("Replicas of Redis: %s.", why)));
}

/* ---- the second connection ---- */

/* With the first one, or the options that it was made under. */
void
auc_router_replicas_close(AucRouter *router, const char *why)
{
	AucRouterReplicas *replicas = router->replicas;

	if (auc_redis_status(replicas->redis) != AUC_REDIS_CLOSED)
		auc_redis_close(replicas->redis, why);
	replicas->seen = AUC_REDIS_CLOSED;
	replicas->there = false;
	replicas->connect_at = 0;
	replicas->again_at = 0;
	replicas->backoff = FIRST_BACKOFF_MS;
	pg_atomic_write_u32(&router->server->replicas, AUC_REPLICAS_UNKNOWN);
	for (int i = 0; i < router->nlanes; i++)
		auc_router_replicas_forget(&router->lanes[i]);
}

static void
lost(AucRouter *router, TimestampTz now)
{
	AucRouterReplicas *replicas = router->replicas;

	pg_atomic_write_u32(&router->server->replicas, AUC_REPLICAS_UNKNOWN);
	away(router, auc_redis_error(replicas->redis));
	replicas->connect_at = TimestampTzPlusMilliseconds(now, replicas->backoff);
	replicas->backoff = Min(replicas->backoff * 2, LAST_BACKOFF_MS);
}

static TimestampTz
round_ends_at(AucRouter *router)
{
	return TimestampTzPlusMilliseconds(router->replicas->sent_at,
									   router->options.replica.timeout);
}

/* Before anybody is answered: what has become of connection and round. */
void
auc_router_replicas_tend(AucRouter *router, TimestampTz now)
{
	AucRouterReplicas *replicas = router->replicas;
	AucRedisStatus status = auc_redis_status(replicas->redis);

	if (status == AUC_REDIS_READY && replicas->seen != status &&
		strcmp(auc_redis_run_id(replicas->redis),
			   auc_redis_run_id(router->redis)) != 0)
	{
		auc_redis_close(replicas->redis,
						"another Redis answers than the one that has the log");
		status = AUC_REDIS_CLOSED;
	}
	if (status == AUC_REDIS_CLOSED && replicas->seen != AUC_REDIS_CLOSED)
		lost(router, now);
	replicas->seen = status;
	/* Redis ends a WAIT by itself; this is for a Redis that does not answer */
	if (replicas->in_flight && replicas->there && now >= round_ends_at(router))
		away(router, "no answer within \"replica_timeout\"");
}

static void
tend_closed(AucRouter *router, TimestampTz now)
{
	AucRouterReplicas *replicas = router->replicas;
	AucRedisTarget target = router->target;

	if (auc_redis_status(router->redis) != AUC_REDIS_READY ||
		now < replicas->connect_at)
		return;
	target.command_timeout += router->options.replica.timeout;
	auc_redis_connect(replicas->redis, &target);
	replicas->seen = auc_redis_status(replicas->redis);
	if (replicas->seen == AUC_REDIS_CLOSED)
		lost(router, now);
}

/* When to turn at the latest; DT_NOEND: nothing is due. */
TimestampTz
auc_router_replicas_deadline(AucRouter *router)
{
	AucRouterReplicas *replicas = router->replicas;
	TimestampTz deadline = auc_redis_deadline(replicas->redis);

	if (replicas->in_flight)
	{
		if (replicas->there)
			deadline = Min(deadline, round_ends_at(router));
	}
	else if (replicas->wanted)
	{
		if (replicas->seen == AUC_REDIS_READY)
			deadline = Min(deadline, replicas->again_at);
		else if (replicas->seen == AUC_REDIS_CLOSED &&
				 auc_redis_status(router->redis) == AUC_REDIS_READY)
			deadline = Min(deadline, replicas->connect_at);
	}
	return deadline;
}

/* ---- a round ---- */

/* A waiter of that level, at a position that Redis has and no replica yet. */
static bool
wants_round(AucRouterLane *rl)
{
	return rl->replica_need > rl->replicated &&
		rl->replica_need <= rl->log_last &&
		rl->phase == AUC_PHASE_APPENDING &&
		auc_lane_get_state(rl->lane) == AUC_LANE_NORMAL;
}

static void
mark_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	if (reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
		reply->elements == 1 && auc_router_reply_is(reply->element[0], "OK"))
		return;
	rl->marking = 0;
	if (reply == NULL)
		return;
	if (reply->type == REDIS_REPLY_ARRAY)
		/* the log is not what it was: the first connection has to look */
		auc_router_lane_give_up(rl, "mark was refused", reply);
	else
		auc_redis_close_refused(rl->router->replicas->redis, "mark", reply);
}

static void
mark(AucRouterLane *rl)
{
	AucRedis   *redis = rl->router->replicas->redis;
	char		key[AUC_KEY_MAX];
	int			len = auc_router_term_key(rl, key);

	auc_redis_begin_script(redis, AUC_SCRIPT_MARK, 1, 2);
	auc_redis_arg(redis, key, len);
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_arg_int64(redis, rl->log_last);
	auc_redis_end(redis, mark_reply, rl);
	rl->marking = rl->log_last;
}

/* How many replicas WAIT or WAITAOF has counted; -1: it did not work. */
static long long
counted(const redisReply *reply, bool synced)
{
	if (synced)
	{
		if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
			return -1;
		reply = reply->element[1];
	}
	return reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 ?
		Min(reply->integer, AUC_REPLICAS_MAX) : -1;
}

/* Enough replicas have what was marked. */
static void
confirm(AucRouter *router)
{
	AucRouterReplicas *replicas = router->replicas;
	bool		counts = replicas->there;

	replicas->backoff = FIRST_BACKOFF_MS;
	replicas->there = true;
	if (replicas->said)
		ereport(LOG,
				(errmsg("server \"%s\": replicas confirm bids again",
						NameStr(router->server->name))));
	replicas->said = false;
	replicas->asked = false;
	for (int i = 0; i < router->nlanes && counts; i++)
	{
		AucRouterLane *rl = &router->lanes[i];

		if (rl->marking <= rl->replicated)
			continue;
		rl->replicated = rl->marking;
		pg_atomic_write_u64(&rl->lane->replicated, rl->replicated);
	}
}

/* "n" replicas have it; -1: that was not to be learned. */
static void
end_round(AucRouter *router, long long n)
{
	AucRouterReplicas *replicas = router->replicas;
	bool		marked = false;

	replicas->in_flight = false;
	for (int i = 0; i < router->nlanes; i++)
		marked |= router->lanes[i].marking > 0;
	if (n >= 0)
		pg_atomic_write_u32(&router->server->replicas, (uint32) n);
	if (marked && n >= router->options.replica.count)
		confirm(router);
	else
		replicas->again_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														 AGAIN_MS);
	if (n >= 0 && n < router->options.replica.count)
	{
		char		why[80];

		snprintf(why, sizeof(why), "%lld of %d have confirmed within %d ms",
				 n, router->options.replica.count,
				 router->options.replica.timeout);
		away(router, why);
	}
	for (int i = 0; i < router->nlanes; i++)
		router->lanes[i].marking = 0;
}

static void
waitaof_reply(void *arg, const redisReply *reply)
{
	AucRouter  *router = arg;
	long long	n = -1;

	if (reply != NULL && (n = counted(reply, true)) < 0)
		auc_redis_close_refused(router->replicas->redis, "WAITAOF", reply);
	end_round(router, n);
}

/* For as long as the round has time. */
static void
send_waitaof(AucRouter *router)
{
	AucRedis   *redis = router->replicas->redis;
	long		left;

	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   round_ends_at(router));
	auc_redis_begin(redis, 4);
	auc_redis_arg_str(redis, "WAITAOF");
	auc_redis_arg_int64(redis, 0);
	auc_redis_arg_int64(redis, router->options.replica.count);
	auc_redis_arg_int64(redis, Max(left, 1));	/* 0: for ever */
	auc_redis_end(redis, waitaof_reply, router);
}

static void
wait_reply(void *arg, const redisReply *reply)
{
	AucRouter  *router = arg;
	const AucReplicaOptions *options = &router->options.replica;
	long long	n = -1;

	if (reply != NULL && (n = counted(reply, false)) < 0)
		auc_redis_close_refused(router->replicas->redis, "WAIT", reply);
	if (n >= options->count && options->fsync)
		send_waitaof(router);
	else
		end_round(router, n);
}

static void
send_wait(AucRouter *router)
{
	AucRedis   *redis = router->replicas->redis;
	const AucReplicaOptions *options = &router->options.replica;

	auc_redis_begin(redis, 3);
	auc_redis_arg_str(redis, "WAIT");
	auc_redis_arg_int64(redis, options->count);
	auc_redis_arg_int64(redis, options->timeout);
	auc_redis_end(redis, wait_reply, router);
}

/* At the end of a turn: the next round, if somebody waits for one. */
void
auc_router_replicas_send(AucRouter *router, TimestampTz now)
{
	AucRouterReplicas *replicas = router->replicas;

	replicas->wanted = false;
	for (int i = 0; i < router->nlanes; i++)
		replicas->wanted |= wants_round(&router->lanes[i]);
	if (!replicas->wanted)
		return;
	replicas->asked = true;
	if (auc_redis_status(replicas->redis) == AUC_REDIS_CLOSED)
		tend_closed(router, now);
	if (auc_redis_status(replicas->redis) != AUC_REDIS_READY ||
		replicas->seen != AUC_REDIS_READY || replicas->in_flight ||
		now < replicas->again_at)
		return;
	if (router->options.replica.fsync && !auc_redis_waitaof(replicas->redis))
	{
		replicas->again_at = TimestampTzPlusMilliseconds(now, AGAIN_MS);
		away(router, "this version of Redis has no WAITAOF that can be relied on, as \"replica_fsync\" needs it");
		return;
	}
	for (int i = 0; i < router->nlanes; i++)
		if (wants_round(&router->lanes[i]))
			mark(&router->lanes[i]);
	send_wait(router);
	replicas->in_flight = true;
	replicas->sent_at = now;
	auc_redis_flush(replicas->redis, now);
}
