/*
 * shm_lane.h: attached Redis servers and their lanes in shared memory.
 *
 * AucServer: one entry per attached server and database.  AucLane: one entry
 * per lane, with its tail (shm_tail.h) in a buffer of its own.  Entries are
 * bound and released under the registry lock, exclusively; a bound entry's
 * identity does not change, and "generation" grows with every binding so that
 * a cached index can be checked without the lock.
 *
 * Who writes what (everything else: "identity", immutable while bound)
 *   router   lane: published, published_off, confirmed, replicated,
 *            apply_limit, state, term, freed_off, log_length, delay, since,
 *            owner, beat_at, leased_until; server: redis_*, memory_*,
 *            replicas
 *   drain    lane: applied, applied_off, applied_at, quarantine notices
 *   steward  server: resolved address (under the server's spinlock)
 * Each is one aligned 64-bit (32-bit) atomic; the writer stores in the order
 * the comments give, with a write barrier between, readers the other way.
 *
 * Positions: applied <= confirmed <= published, but in a degraded lane
 * confirmed stays behind.  The drain applies a record only if its position is
 * <= apply_limit (rule 7): the router keeps apply_limit = confirmed while the
 * lane is normal, recovering or waiting, and PG_UINT64_MAX while it is
 * degraded or returning.
 */
#ifndef AUC_SHM_LANE_H
#define AUC_SHM_LANE_H

#include "datatype/timestamp.h"
#include "limit.h"
#include "port/atomics.h"
#include "redis_preflight.h"
#include "storage/condition_variable.h"
#include "storage/s_lock.h"
#include "storage/spin.h"

/*
 *   UNKNOWN -> RECOVERING  bound after a start of PostgreSQL
 *   RECOVERING -> NORMAL   the log is applied, unused positions given up
 *   NORMAL -> DEGRADED     Redis does not answer
 *   DEGRADED -> RETURNING  connected, lane taken, appending what Redis lacks
 *   RETURNING -> NORMAL    the log has all of the tail
 *   RETURNING -> DEGRADED  Redis went away again, or WAITING, as below
 *   NORMAL -> WAITING      Redis does not answer, and auction.degraded is off
 *   WAITING -> NORMAL      connected, lane taken, log compared
 *   any -> FENCED          Redis holds the lane for somebody else, or its log
 *                          cannot be ours
 *   FENCED -> RECOVERING   a new connection could take the lane, which was ...
 *   FENCED -> RETURNING    ... or was not recovering when it was fenced;
 *                          NORMAL, if auction.degraded is off
 * A new router (the old one died) starts from the state it finds.
 */
typedef enum AucLaneState
{
	AUC_LANE_UNKNOWN = 0,
	AUC_LANE_RECOVERING,
	AUC_LANE_NORMAL,
	AUC_LANE_DEGRADED,
	AUC_LANE_RETURNING,
	AUC_LANE_FENCED,
	AUC_LANE_WAITING
} AucLaneState;

extern const char *auc_lane_state_name(AucLaneState state);

/* Notices of the drain to the router; more at once: it reloads them all. */
#define AUC_LANE_NOTICES	64

typedef struct AucLane
{
	/* identity, under the registry lock */
	bool		bound;
	Oid			dboid;
	int			lane_id;		/* auction.lanes.id */
	int			server;			/* index of the AucServer */
	uint32		generation;

	/* router */
	pg_atomic_uint32 state;		/* AucLaneState */
	pg_atomic_uint32 fenced_recovering; /* 1: was RECOVERING when fenced */
	pg_atomic_uint32 rival;		/* 1: fenced, for another owner is alive */
	pg_atomic_uint64 gap_from;	/* RECOVERING: what the log lacks, see
								 * router_gap.c; 0: nothing known */
	pg_atomic_uint64 gap_to;	/* stored behind gap_from; 0: no gap */
	pg_atomic_uint64 since;		/* TimestampTz of the last change of state */
	pg_atomic_uint64 term;
	pg_atomic_uint64 published; /* last position in the tail */
	pg_atomic_uint64 published_off; /* ... and where it ends; this store makes
									 * a batch visible (rule 6) */
	pg_atomic_uint64 confirmed;
	pg_atomic_uint64 replicated;	/* by enough replicas; 0: not known */
	pg_atomic_uint64 apply_limit;
	pg_atomic_uint64 freed_off; /* the tail before it may be overwritten */
	pg_atomic_uint64 log_length;	/* entries, as last asked */
	pg_atomic_uint64 delay;		/* AucDelay: limit << 32 | ms */
	pg_atomic_uint64 degraded_at;	/* TimestampTz when it last was NORMAL no
									 * more; 0: never */
	pg_atomic_uint64 degraded_us;	/* until it was again; 0: it is not yet */
	pg_atomic_uint64 reappended;	/* records that the log then lacked */
	pg_atomic_uint64 tail_rate; /* bytes/s published, in the last second */
	pg_atomic_uint64 owner;		/* instance that Redis names; 0: not known */
	pg_atomic_uint64 beat_at;	/* TimestampTz: Redis confirmed our lease */
	pg_atomic_uint64 leased_until;	/* own lease, router_owner.c's clock */
	pg_atomic_uint32 applied_wanted;	/* > 0: something waits for "applied": the
										 * drain does not collect, and wakes the
										 * router after its commit */

	/* drain */
	pg_atomic_uint64 applied_off;	/* stored before "applied" */
	pg_atomic_uint64 applied;
	pg_atomic_uint64 applied_at;	/* TimestampTz of that commit */
	pg_atomic_uint32 drain_stopped; /* a gap or an error holds it; see log */
	ConditionVariable applied_cv;	/* broadcast after each commit */

	/* drain -> router: auctions it has quarantined; stored before "applied" */
	pg_atomic_uint64 notices;	/* how many were ever written */
	struct
	{
		int64		auction_id;
		uint64		from;		/* first position that was not applied */
	}			notice[AUC_LANE_NOTICES];

	/* immutable */
	uint64		tail_size;		/* bytes, a power of two */
	char	   *tail;			/* in the same segment; fixed address */
} AucLane;

typedef struct AucServer
{
	/* identity, under the registry lock */
	bool		bound;
	Oid			dboid;
	Oid			serverid;
	NameData	name;
	uint32		generation;

	/*
	 * Raised by the router when what is committed by then is no longer
	 * remembered: who reads this first, and then looks, finds all of that
	 * (rule 16).  Of two bindings the later one has higher numbers.
	 */
	pg_atomic_uint64 looks;

	/* each written by the process itself at start, cleared at its exit */
	pg_atomic_uint32 router_proc;	/* pgprocno, AUC_NO_PROC if none */
	pg_atomic_uint32 drain_proc;
	pg_atomic_uint32 router_pid;
	pg_atomic_uint32 drain_pid;
	pg_atomic_uint32 drain_paused;
	pg_atomic_uint32 drain_idle;	/* drain: 1 while it sleeps until something
									 * may be applied; the router clears it */
	pg_atomic_uint32 redis_ready;	/* connected and greeted */
	pg_atomic_uint32 replicas;	/* that the last WAIT has counted */
	pg_atomic_uint64 memory_used;	/* by Redis, as last asked; 0: unknown */
	pg_atomic_uint64 memory_max;	/* its maxmemory; 0: none, or unknown */

	slock_t		lock;			/* protects the rest, copied out quickly */
	uint32		resolve_request;	/* router: counts wishes to resolve again */
	uint32		resolved_request;	/* steward: the wish it has answered */
	char		host[256];		/* steward: what was resolved */
	char		address[256];	/* steward: "" = could not be resolved */
	char		error[256];		/* router: why there is no connection */
	TimestampTz error_at;
	AucRedisFacts facts;		/* router: how Redis is configured */
} AucServer;

#define AUC_NO_PROC		PG_UINT32_MAX
#define AUC_REPLICAS_UNKNOWN	PG_UINT32_MAX
#define AUC_REPLICAS_MAX		1000

extern Size auc_lane_shmem_size(void);
extern void auc_lane_shmem_init(bool found, void *space);

extern int	auc_server_count(void); /* entries, bound or not */
extern AucServer *auc_server(int index);
extern int	auc_lane_count(void);
extern AucLane *auc_lane(int index);

/* Index of the entry, bound now if it was not; -1: none is free. */
extern int	auc_server_bind(Oid dboid, Oid serverid, const char *name);
extern int	auc_lane_bind(Oid dboid, int lane_id, int server);
/* Index or -1. */
extern int	auc_lane_find(Oid dboid, int lane_id);
/* Grows when any lane is bound or released: note it, then list, then keep. */
extern uint32 auc_lane_bindings(void);
/*
 * The database's lanes in the order of their ids; "indexes" has room for
 * auc_lane_count(); returns how many.
 */
extern int	auc_lane_list(Oid dboid, int *indexes);
/* Only when no process of theirs runs any more. */
extern void auc_server_release(int server); /* with its lanes */
extern void auc_database_release(Oid dboid);	/* all servers of it */

extern void auc_server_set_facts(AucServer *server,
								 const AucRedisFacts *facts);
extern void auc_server_get_facts(AucServer *server, AucRedisFacts *facts);
extern void auc_server_wake_router(AucServer *server);
extern void auc_server_wake_drain(AucServer *server);
/* Does recovery stand still before positions that the log lacks? */
extern bool auc_lane_gap(AucLane *lane, uint64 *from, uint64 *to);
extern void auc_lane_set_state(AucLane *lane, AucLaneState state);
extern AucLaneState auc_lane_get_state(AucLane *lane);
/* Whether, and by which limit, bids have to wait (limit.h). */
extern void auc_lane_set_delay(AucLane *lane, AucDelay delay);
extern AucDelay auc_lane_get_delay(AucLane *lane);
/* pause_drain(), or with "stopped" also an error: it applies nothing now. */
extern bool auc_lane_is_held(AucLane *lane, bool stopped);
/* Sleeps on applied_cv; false: timeout (ms) or the lane was released. */
extern bool auc_lane_wait_applied(AucLane *lane, uint64 position,
								  long timeout);

#endif							/* AUC_SHM_LANE_H */
