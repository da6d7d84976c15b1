/*
 * router.c: the process that decides bids on route redis.
 *
 * One per attached server and database.  It is the only writer of the lanes'
 * tails and the only process that talks to Redis.  A turn:
 *
 *   1. Redis: what arrived is read, answers move the lanes on
 *   2. the drain's progress: notices, room in the tail, who waits for it
 *   3. requests, in ticket order: the rules decide, records go into the tails
 *   4. the tails' new records become visible, one store a lane (rule 6)
 *   5. one append a lane goes to Redis, if none is on its way; what comes
 *      while it is forms the next one
 *   6. some mirrored bids of route table are decided once more
 *   7. who has what he waits for is answered
 *
 * It never waits for Redis, nor, but for its own rows in _lane_terms, for a
 * lock.  An ERROR ends the process; the next one finds everything in shared
 * memory (rule 13).
 */
#include "postgres.h"

#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "router.h"
#include "settings.h"
#include "shm.h"
#include "shm_shadow.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"
#include "worker.h"

#define UPKEEP_MS			1000
/* The steward is asked for an address again after so long. */
#define RESOLVE_RETRY_MS	200

/* ---- connection ---- */

static void
note_error(AucRouter *router, const char *error, TimestampTz at)
{
	AucServer  *server = router->server;

	SpinLockAcquire(&server->lock);
	strlcpy(server->error, error, sizeof(server->error));
	server->error_at = at;
	SpinLockRelease(&server->lock);
}

/*
 * One line for each fault of an outage, and fewer if it comes and goes.  What
 * it is at the moment is always in stat_lanes.
 */
static void
report_fault(AucRouter *router, AucRedisFault fault, const char *error,
			 TimestampTz now)
{
	const char *hint = auc_redis_reaction(fault)->hint;
	int			untold = 0;

	if (!router->works && fault == router->fault)
		return;
	router->told = auc_redis_report(&router->reports[fault], now / 1000,
									&untold);
	if (!router->told)
		return;
	ereport(LOG,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("Redis of server \"%s\" cannot be used: %s",
					NameStr(router->server->name), error),
			 untold > 0 ?
			 errdetail("It has come and gone %d times more since this was reported last.",
					   untold) : 0,
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
}

void
auc_router_connection_proved(AucRouter *router)
{
	router->works = true;
	router->backoff = -1;
	router->fault = AUC_FAULT_NONE;
	note_error(router, "", 0);
}

/* Options as they are now; a connection under other ones is given up. */
static void
read_options(AucRouter *router)
{
	AucServerOptions before = router->options;
	bool		exists;

	router->options_seen = auc_server_options_generation();
	auc_worker_xact_begin("reading server options");
	/* padding too, for the comparison */
	memset(&router->options, 0, sizeof(router->options));
	exists = auc_server_options(router->server->serverid, &router->options);
	auc_worker_xact_commit();
	if (!exists)
		proc_exit(0);
	if (memcmp(&before, &router->options, sizeof(before)) == 0)
		return;
	auc_router_replicas_close(router, "the server's options have changed");
	if (memcmp(&before, &router->options,
			   offsetof(AucServerOptions, replica)) == 0)
		return;
	/* who owns the lanes' keys elsewhere is another question */
	for (int i = 0; i < router->nlanes; i++)
		pg_atomic_write_u32(&router->lanes[i].lane->rival, 0);
	router->connect_at = 0;
	router->backoff = -1;
	if (auc_redis_status(router->redis) != AUC_REDIS_CLOSED)
		auc_redis_close(router->redis, "the server's options have changed");
}

/*
 * The numeric address to connect to.  A name is resolved by the steward
 * (getaddrinfo blocks); false: it has not done so yet, or could not.
 */
static bool
find_address(AucRouter *router, AucRedisTarget *target)
{
	AucServer  *server = router->server;
	bool		found;

	*target = router->options.target;
	if (target->address[0] != '\0')
		return true;
	SpinLockAcquire(&server->lock);
	found = server->address[0] != '\0' &&
		strcmp(server->host, router->options.host) == 0;
	if (found)
		strlcpy(target->address, server->address, sizeof(target->address));
	else
		server->resolve_request++;
	SpinLockRelease(&server->lock);
	return found;
}

/* There is no connection, and the next attempt is after so long. */
static void
disconnected(AucRouter *router, TimestampTz now, int again_ms,
			 AucRedisFault fault, const char *error)
{
	pg_atomic_write_u32(&router->server->redis_ready, 0);
	note_error(router, error, now);
	report_fault(router, fault, error, now);
	auc_router_replicas_close(router, "the connection that has the log is lost");
	for (int i = 0; i < router->nlanes; i++)
		auc_router_lane_disconnected(&router->lanes[i], error);
	router->works = false;
	router->fault = fault;
	router->refused_before = true;
	router->connect_at = TimestampTzPlusMilliseconds(now, again_ms);
}

static void
connection_lost(AucRouter *router, TimestampTz now)
{
	AucRedisFault fault = auc_redis_fault(router->redis);

	router->backoff = auc_redis_backoff(fault, router->backoff);
	disconnected(router, now, router->backoff, fault,
				 auc_redis_error(router->redis));

	/* a name may have moved to another address */
	SpinLockAcquire(&router->server->lock);
	router->server->resolve_request++;
	SpinLockRelease(&router->server->lock);
}

static void
tend_connection(AucRouter *router, TimestampTz now)
{
	AucRedisStatus status = auc_redis_status(router->redis);

	if (status == AUC_REDIS_CLOSED && router->redis_seen != AUC_REDIS_CLOSED)
		connection_lost(router, now);
	else if (status == AUC_REDIS_READY && router->redis_seen != status)
	{
		pg_atomic_write_u32(&router->server->redis_ready, 1);
		/* before the lanes do: what they are refused ends the connection */
		auc_router_preflight_turn(router, now);
		router->refused_before = false;
	}
	else if (status == AUC_REDIS_CLOSED && now >= router->connect_at)
	{
		if (find_address(router, &router->target))
		{
			router->attempts++;
			auc_redis_connect(router->redis, &router->target);
			status = auc_redis_status(router->redis);
			if (status == AUC_REDIS_CLOSED)
				connection_lost(router, now);
		}
		else
		{
			router->attempts++;
			disconnected(router, now, RESOLVE_RETRY_MS, AUC_FAULT_UNREACHABLE,
						 "the host name is not resolved");
		}
	}
	router->redis_seen = status;
}

/* ---- a turn ---- */

static void
upkeep(AucRouter *router, TimestampTz now)
{
	if (now < router->upkeep_at)
		return;
	router->upkeep_at = TimestampTzPlusMilliseconds(now, UPKEEP_MS);
	for (int i = 0; i < router->nlanes; i++)
		auc_router_lane_upkeep(&router->lanes[i], now);
	auc_router_ask_memory(router);
	auc_router_unload_idle(router, now);
	auc_router_adopt_upkeep(router);
	auc_router_preflight_turn(router, now);
}

/* Well before the last reserved position is given. */
static void
reserve_positions(AucRouter *router)
{
	for (int i = 0; i < router->nlanes; i++)
	{
		AucRouterLane *rl = &router->lanes[i];

		if (rl->ready &&
			rl->reserved < rl->writer.last + AUC_POSITION_BLOCK / 2)
			auc_router_reserve(rl);
	}
}

void
auc_router_step(AucRouter *router, TimestampTz now)
{
	if (router->options_seen != auc_server_options_generation())
		read_options(router);
	auc_router_owner_look(router);
	tend_connection(router, now);
	auc_router_replicas_tend(router, now);
	for (int i = 0; i < router->nlanes; i++)
	{
		AucRouterLane *rl = &router->lanes[i];

		auc_router_lane_turn(rl);
		auc_router_answer(rl);
		if (rl->drain_due)
			auc_router_lane_wake_drain(rl);
		rl->drain_due = false;
	}
	auc_router_releases(router);
	reserve_positions(router);
	auc_router_decide(router, now);
	for (int i = 0; i < router->nlanes; i++)
	{
		auc_router_lane_publish(&router->lanes[i]);
		auc_router_lane_send(&router->lanes[i]);
	}
	auc_router_books_turn(router, now);
	auc_router_shadow_turn(router, now);
	upkeep(router, now);
	if (auc_redis_status(router->redis) == AUC_REDIS_READY)
		auc_redis_flush(router->redis, now);
	/* what was just decided may wait for the drain, and has to tell it so */
	for (int i = 0; i < router->nlanes; i++)
		auc_router_answer(&router->lanes[i]);
	auc_router_replicas_send(router, now);
	auc_router_releases(router);
}

/* ---- the process ---- */

/* When to turn at the latest, if nothing happens. */
static long
sleep_ms(AucRouter *router, TimestampTz now)
{
	TimestampTz until = router->upkeep_at;
	TimestampTz delayed_until = auc_router_delayed_until(router);

	until = Min(until, auc_redis_deadline(router->redis));
	until = Min(until, auc_router_replicas_deadline(router));
	if (auc_redis_status(router->redis) == AUC_REDIS_CLOSED &&
		router->connect_at < until)
		until = router->connect_at;
	if (router->load_at != 0 && router->load_at < until)
		until = router->load_at;
	if (router->books_at != 0 && router->books_at < until)
		until = router->books_at;
	if (router->shadow_at != 0 && router->shadow_at < until)
		until = router->shadow_at;
	if (delayed_until != 0 && delayed_until < until)
		until = delayed_until;
	if (until <= now)
		return 0;
	return auc_router_owner_sleep(router,
								  TimestampDifferenceMilliseconds(now, until));
}

/*
 * One wait set: latch, postmaster, and the sockets of the connections as long
 * as they are the same ones.  Made anew when one of them is.
 */
typedef struct RouterSocket
{
	AucRedis   *redis;
	uint32		generation;
	int			pos;			/* in the set; -1: none */
	uint32		events;
	uint32		occurred;
} RouterSocket;

typedef struct RouterWait
{
	WaitEventSet *set;
	RouterSocket sockets[2];
} RouterWait;

static bool
socket_changed(const RouterSocket *sock)
{
	return sock->generation != auc_redis_generation(sock->redis) ||
		(sock->pos >= 0) !=
		(auc_redis_socket(sock->redis) != PGINVALID_SOCKET);
}

static void
make_wait_set(RouterWait *wait)
{
	if (wait->set != NULL)
		FreeWaitEventSet(wait->set);
	wait->set = auc_create_wait_set(2 + lengthof(wait->sockets));
	AddWaitEventToSet(wait->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  NULL);
	AddWaitEventToSet(wait->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET,
					  NULL, NULL);
	for (int i = 0; i < lengthof(wait->sockets); i++)
	{
		RouterSocket *sock = &wait->sockets[i];
		pgsocket	fd = auc_redis_socket(sock->redis);

		sock->pos = -1;
		sock->events = auc_redis_events(sock->redis);
		sock->generation = auc_redis_generation(sock->redis);
		if (fd != PGINVALID_SOCKET)
			sock->pos = AddWaitEventToSet(wait->set, sock->events, fd, NULL,
										  sock);
	}
}

static void
prepare_wait(RouterWait *wait)
{
	bool		changed = wait->set == NULL;

	for (int i = 0; i < lengthof(wait->sockets); i++)
		changed |= socket_changed(&wait->sockets[i]);
	if (changed)
		make_wait_set(wait);
	for (int i = 0; i < lengthof(wait->sockets); i++)
	{
		RouterSocket *sock = &wait->sockets[i];
		uint32		events = auc_redis_events(sock->redis);

		if (sock->pos >= 0 && sock->events != events)
		{
			ModifyWaitEvent(wait->set, sock->pos, events, NULL);
			sock->events = events;
		}
		sock->occurred = 0;
	}
}

static void
wait_for_work(AucRouter *router, RouterWait *wait)
{
	WaitEvent	occurred[2 + lengthof(wait->sockets)];
	TimestampTz now = GetCurrentTimestamp();
	int			n;

	prepare_wait(wait);
	n = WaitEventSetWait(wait->set, sleep_ms(router, now), occurred,
						 lengthof(occurred),
						 auc_wait_event(AUC_WAIT_ROUTER_MAIN));
	for (int i = 0; i < n; i++)
	{
		RouterSocket *sock = occurred[i].user_data;

		if (occurred[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (sock != NULL)
			sock->occurred = occurred[i].events;
	}
	now = GetCurrentTimestamp();
	for (int i = 0; i < lengthof(wait->sockets); i++)
	{
		RouterSocket *sock = &wait->sockets[i];

		if (sock->occurred != 0 || now >= auc_redis_deadline(sock->redis))
			auc_redis_io(sock->redis, sock->occurred, now);
	}
}

static AucRouter *
create_router(int server_index)
{
	AucRouter  *router = MemoryContextAllocZero(TopMemoryContext,
												sizeof(AucRouter));
	HASHCTL		ctl = {0};

	router->server_index = server_index;
	router->server = auc_server(server_index);
	auc_shadow_begin(server_index, router->server->generation);
	router->context = AllocSetContextCreate(TopMemoryContext, "auction router",
											ALLOCSET_DEFAULT_SIZES);
	router->redis = auc_redis_create(router->context);
	router->redis_seen = AUC_REDIS_CLOSED;
	auc_router_replicas_begin(router);
	router->backoff = -1;
	router->tickets = MemoryContextAlloc(router->context,
										 auc_slot_count() * sizeof(AucTicket));
	router->loads = MemoryContextAlloc(router->context,
									   2 * auc_slot_count() * sizeof(AucLoad));
	router->releases = MemoryContextAlloc(router->context,
										  auc_slot_count() * sizeof(AucRelease));
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(AucLive);
	ctl.hcxt = router->context;
	router->live = hash_create("auctions that are live", 1024, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return router;
}

void
auc_router_main(Datum arg)
{
	AucRouter  *router;
	RouterWait	wait = {0};

	auc_worker_begin(AUC_WORKER_ROUTER, DatumGetInt32(arg));
	router = create_router(DatumGetInt32(arg));
	wait.sockets[0].redis = router->redis;
	wait.sockets[1].redis = auc_router_replicas_redis(router);
	read_options(router);
	auc_router_read_lanes(router);
	auc_router_owner_begin(router);
	for (int i = 0; i < router->nlanes; i++)
		auc_router_lane_begin(&router->lanes[i]);
	auc_router_adopt(router);
	for (;;)
	{
		auc_worker_loop();
		auc_router_step(router, GetCurrentTimestamp());
		wait_for_work(router, &wait);
	}
}
