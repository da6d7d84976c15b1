/*
 * router.h: the parts of the router; included by router*.c only.
 *
 * router.c         process, main loop, connection
 * router_lane.c    a lane's part of a turn, its state, freeing the tail
 * router_take.c    taking a lane, comparing or recovering its log
 * router_owner.c   whose lane it is: lease, beat, watching another owner
 * router_adopt.c   what a DBA has asked for with adopt_lanes()
 * router_gap.c     what a log lacks that is recovered from
 * router_append.c  appending to the log, trimming it
 * router_replica.c what Redis' replicas have, over a second connection
 * router_decide.c  requests in ticket order, the rules
 * router_answer.c  who is answered when
 * router_limits.c  lanes that are near a limit take bids later, or not
 * router_live.c    loading and letting go of auctions
 * router_ids.c     request ids of bids that were accepted lately
 * router_sql.c     lanes, terms and positions in PostgreSQL
 * router_book.c    books in Redis: reading, checking, rebuilding, removing
 * router_audit.c   what Redis has of an auction, for auction.audit()
 * router_shadow*.c bids of route table, decided once more without counting
 * router_preflight.c  asking Redis how it is configured
 *
 * All of it runs in one process and one thread; nothing here is shared but
 * what is reached through shm_*.h.
 */
#ifndef AUC_ROUTER_H
#define AUC_ROUTER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "limit.h"
#include "redis_conn.h"
#include "redis_script.h"
#include "request_ids.h"
#include "server.h"
#include "shm_slot.h"
#include "shm_tail.h"
#include "utils/hsearch.h"

/* Positions are reserved in blocks of so many (rule 5). */
#define AUC_POSITION_BLOCK	(INT64CONST(1) << 20)
/* A lane whose tail has less room than this takes no more in this turn. */
#define AUC_TAIL_ROOM_WANTED \
	(2 * (sizeof(AucRecord) + AUC_ATTRIBUTES_MAX + 64))
/* One append takes at most so many auctions; each is two keys. */
#define AUC_APPEND_MAX_AUCTIONS 64

/* What a taken slot waits for, before it is answered (rule 14). */
typedef struct AucWaiter
{
	int			slot;
	AucLevel	level;			/* asked for */
	uint64		need;			/* position it depends on */
	int64		auction_id;
} AucWaiter;

/* Where a lane is on the present connection. */
typedef enum AucLanePhase
{
	AUC_PHASE_NONE,				/* not taken on this connection */
	AUC_PHASE_TAKING,			/* take script is on its way */
	AUC_PHASE_WATCHING,			/* it is somebody else's, for now */
	AUC_PHASE_CLEARING,			/* what Redis has of it is being deleted */
	AUC_PHASE_TAKEN,			/* it has answered; its term is not stored yet */
	AUC_PHASE_READING,			/* recovering: reads the log into the tail */
	AUC_PHASE_APPLYING,			/* recovering: the drain applies what was read */
	AUC_PHASE_COMPARING,		/* reads what the log has beyond confirmed */
	AUC_PHASE_APPENDING			/* taken; appends */
} AucLanePhase;

/* What a DBA has asked for: router_adopt.c. */
typedef enum AucInsist
{
	AUC_INSIST_NOT,
	AUC_INSIST_ADOPT,			/* take it, whoever owns it */
	AUC_INSIST_GIVE_UP			/* take it without its log */
} AucInsist;

typedef struct AucRouterLane
{
	struct AucRouter *router;
	AucLane    *lane;
	int			index;			/* of the AucLane */
	int			lane_id;
	int			number;			/* at its server; part of the keys */
	char		identity[64];	/* the lane's uuid and the database, rule 11 */

	AucTailWriter writer;
	uint64		published;		/* what of the writer is published */
	uint64		reserved;		/* last position that may be given */
	bool		ready;			/* may load and decide */
	uint64		ready_at;		/* not before this is applied (rules 1, 13) */
	bool		full;			/* this turn: the tail has no room */
	AucDelay	delay;			/* this turn: how long bids have to wait ... */
	bool		delayed;			/* ... whether one has to ... */
	TimestampTz delayed_until;		/* ... and until when; 0: until a figure falls */

	AucLanePhase phase;
	uint32		fenced_on;		/* connection that found it is not ours */

	AucInsist	insist;
	TimestampTz insisted_at;	/* the last request that was read */
	bool		cleared;		/* GIVE_UP: nothing is left of it in Redis */

	/* router_owner.c; times by its own clock */
	bool		asking;			/* the lease has run out unnoticed ... */
	uint32		asking_since;	/* ... after so many attempts to connect */
	bool		beating;		/* a beat is on its way */
	int64		sent_at;		/* of the last take or beat ... */
	int			sent_lease;		/* ... and the lease it named, ms */
	char		watched[192];	/* WATCHING: what Redis said of the owner ... */
	int64		watched_at;		/* ... unchanged since ... */
	int64		watch_for;		/* ... and is to be for so long */
	int64		watch_began;
	uint32		watched_on;		/* connection */

	uint64		term;
	uint64		stored_term;	/* in auction._lane_terms */
	char		stored_run_id[64];	/* Redis that had the log last */
	uint64		log_last;		/* last position in the log */
	uint64		read_to;		/* READING, COMPARING: end of what is read */
	uint64		gap_to;			/* READING stops at a gap up to here; 0: none */
	TimestampTz gap_look_at;	/* when to look whether it is to be skipped */
	uint64		compared;		/* COMPARING: equal up to here */
	AucTailCursor compare;		/* COMPARING: the tail's next record */
	uint64		reappended;		/* since it was taken */
	bool		told;			/* that it is degraded */
	uint64		logged_off;		/* the tail up to here is in the log */
	AucTailCursor send;			/* the next record to append */
	bool		in_flight;		/* an append is on its way ... */
	uint64		flight_last;	/* ... up to this position */
	uint64		flight_off;		/* ... and offset */
	bool		reading;		/* XRANGE is on its way */
	bool		drain_due;		/* confirmed: wake the drain, after the verdicts */

	uint64		replicated;		/* replicas have the log up to here */
	uint64		marking;		/* ... or here, if the round on its way succeeds */
	uint64		replica_need;	/* least position a waiter of level replica
								 * depends on; 0: there is none */

	int			nwaiters;
	AucWaiter  *waiters;		/* room for every slot */
	uint64		seen_applied;
	uint64		seen_notices;
	uint64		last_move;		/* position; backends wait for it to be applied */
	AucRequestIds ids;			/* of what was decided since it is ready */

	/* the tail's end a second ago */
	TimestampTz rated_at;
	uint64		rated_off;

	/* samples of applied, for the log's retention */
	int			nsamples;
	struct
	{
		TimestampTz at;
		uint64		applied;
	}			samples[64];
} AucRouterLane;

/* An auction the router has loaded (rule 1: live). */
typedef struct AucLive
{
	int64		auction_id;		/* hash key */
	AucRouterLane *lane;
	AucAuction	auction;
	AucState	state;
	int64		loaded_bids;	/* how many it had when it was loaded */
	uint64		last_position;	/* of its last record; 0: none since loaded */
	uint64		look;			/* looks from this number on find what was
								 * accepted before it was loaded */
	TimestampTz used_at;
	bool		releasing;		/* decides nothing more; rests when applied */
	bool		moving;			/* its last record is a move: the end of this
								 * state for good (rule 1) */
	bool		check_book;		/* ask Redis whether its book is complete */
	bool		rebuild_book;
	bool		rebuilding;		/* rebuild_book: begun on ... */
	uint32		rebuild_on;		/* ... this connection */
	bool		rebuild_failed; /* said so; not again until it works */
	int64		rebuild_next;	/* bids up to here are sent ... */
	int64		rebuild_until;	/* ... and have to be up to here */
	TimestampTz rebuild_at;		/* not before */
} AucLive;

typedef enum AucLoadResult
{
	AUC_LOAD_WANTED,			/* not tried yet in this turn */
	AUC_LOAD_BUSY,				/* its lock is held: later */
	AUC_LOAD_UNKNOWN,			/* no such auction */
	AUC_LOAD_MOVED,				/* not on route redis, or not on this server */
	AUC_LOAD_LIVE
} AucLoadResult;

typedef struct AucLoad
{
	int64		auction_id;
	AucLoadResult result;
} AucLoad;

/* A request to let an auction go; it rests when "need" is applied. */
typedef struct AucRelease
{
	int64		auction_id;
	AucRouterLane *lane;
	uint64		need;			/* its last record */
	int			slot;
} AucRelease;

typedef struct AucRouterShadow AucRouterShadow; /* router_shadow.c */
typedef struct AucRouterReplicas AucRouterReplicas; /* router_replica.c */
typedef struct AucRouterPreflight AucRouterPreflight;	/* router_preflight.c */

typedef struct AucRouter
{
	int			server_index;
	AucServer  *server;
	MemoryContext context;		/* as long as the process */

	AucServerOptions options;
	uint64		options_seen;	/* auc_server_options_generation() */
	AucRedis   *redis;
	AucRedisTarget target;		/* ... and where it is, or was last */
	AucRedisStatus redis_seen;
	TimestampTz connect_at;		/* not before */
	uint32		attempts;		/* to connect, so far */
	char		place[128];		/* where this instance is (router_owner.c) */
	int64		turned_at;		/* this turn's begin, by its clock */
	int			backoff;		/* ms, as auc_redis_backoff() knows it */
	bool		works;			/* see auc_router_connection_works() */
	AucRedisFault fault;		/* of this outage, as it was seen last */
	bool		told;			/* the outage is reported, and so is its end */
	AucRedisReport reports[AUC_FAULT_COUNT];
	bool		refused_before;	/* the last attempt to connect failed */

	int			nlanes;
	AucRouterLane *lanes;
	HTAB	   *live;
	AucTicket  *tickets;
	int			nloads;
	AucLoad    *loads;			/* of this turn; room for every slot, twice */
	int			nreleases;
	AucRelease *releases;
	TimestampTz load_at;		/* when to try a busy auction again; 0: none */
	TimestampTz upkeep_at;		/* trimming, sampling, unloading */
	int			nbooks;			/* auctions with check_book or rebuild_book */
	TimestampTz books_at;		/* when to go on with them; 0: now */
	bool		piece_sent;		/* of a rebuild, and has no answer yet */
	AucRouterReplicas *replicas;
	AucRouterShadow *shadow;	/* NULL until a bid is mirrored */
	TimestampTz shadow_at;		/* when to go on with it; 0: now */
	AucRouterPreflight *preflight;
} AucRouter;

/* Redis' readers know Unix time; the engine counts from 2000-01-01. */
static inline int64
auc_unix_microseconds(TimestampTz at)
{
	return at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
		(int64) SECS_PER_DAY * USECS_PER_SEC;
}

/* router.c */
extern void auc_router_step(AucRouter *router, TimestampTz now);
extern void auc_router_connection_proved(AucRouter *router);

/*
 * A lane had an append accepted, or had nothing to append, or cannot be used
 * for a reason of its own: whatever was wrong with the connection is over.  To
 * be connected and greeted says less: a Redis that is full, or a replica, still
 * greets.
 */
static inline void
auc_router_connection_works(AucRouter *router)
{
	if (!router->works)
		auc_router_connection_proved(router);
}

/* router_lane.c */
extern void auc_router_lane_begin(AucRouterLane *rl);
extern void auc_router_lane_disconnected(AucRouterLane *rl,
										 const char *error);
/* It is normal no more; "told": the log says so, and will say the end. */
extern void auc_router_lane_note_degraded(AucRouterLane *rl, bool told);
/* It is normal again; for how long it was not, microseconds. */
extern int64 auc_router_lane_note_returned(AucRouterLane *rl);
extern void auc_router_lane_turn(AucRouterLane *rl);
extern void auc_router_lane_publish(AucRouterLane *rl);
/* "hint" instead of what is said of keys that are not ours, or NULL. */
extern void auc_router_lane_fence(AucRouterLane *rl, const char *why,
								  const char *hint);
/* Redis is of no use for now: bids go on without it. */
extern void auc_router_lane_normal(AucRouterLane *rl);
extern void auc_router_lane_degrade(AucRouterLane *rl, const char *why,
									bool tell);
/* The log has everything up to the position. */
extern void auc_router_lane_confirm(AucRouterLane *rl, uint64 position);
/* If it sleeps until there is something to apply, or somebody waits for it. */
extern void auc_router_lane_wake_drain(AucRouterLane *rl);
/* An answer nobody can work with: closes the connection, to take again. */
extern void auc_router_lane_give_up(AucRouterLane *rl, const char *what,
									const redisReply *reply);
/* For a message: the text of an answer that is none of those expected. */
extern const char *auc_router_said(const redisReply *reply);
extern bool auc_router_reply_is(const redisReply *reply, const char *text);
extern int	auc_router_log_key(AucRouterLane *rl, char *key);
extern int	auc_router_term_key(AucRouterLane *rl, char *key);

/* router_take.c */
extern void auc_router_begin_recovery(AucRouterLane *rl);
extern void auc_router_advance(AucRouterLane *rl);
/* A position as Redis returns it: digits, perhaps "-0" or "-1" behind. */
extern bool auc_router_position(const redisReply *reply, uint64 *position);

/* router_adopt.c */
extern void auc_router_adopt_upkeep(AucRouter *router);
extern void auc_router_adopt_clear(AucRouterLane *rl);
extern void auc_router_adopt_done(AucRouterLane *rl);
/* The lane is normal, or needs it for another reason no more. */
extern void auc_router_adopt_void(AucRouterLane *rl);

/* router_owner.c */
extern void auc_router_owner_begin(AucRouter *router);
extern void auc_router_owner_look(AucRouter *router);
extern void auc_router_owner_beat(AucRouterLane *rl);
extern long auc_router_owner_sleep(AucRouter *router, long most);
extern const char *auc_router_owner_how(AucRouterLane *rl, const char **seen);
extern void auc_router_owner_took(AucRouterLane *rl);
extern void auc_router_owner_held(AucRouterLane *rl, const redisReply *reply);
extern bool auc_router_owner_look_again(AucRouterLane *rl);
extern void auc_router_owner_doubt(AucRouterLane *rl);
extern bool auc_router_owner_asks(AucRouterLane *rl);
extern const char *auc_router_instance(char *text);

/* router_gap.c */
/* The log has nothing of the positions behind the tail's end up to "to". */
extern void auc_router_gap_found(AucRouterLane *rl, uint64 to);
/* There is none any more: it is skipped, or the log is given up. */
extern void auc_router_gap_forget(AucRouterLane *rl);
extern void auc_router_gap_tend(AucRouterLane *rl, TimestampTz now);

/* router_append.c */
extern void auc_router_lane_send(AucRouterLane *rl);
extern void auc_router_put_state(AucRouterLane *rl, int64 auction_id,
								 const AucState *state);
extern void auc_router_lane_upkeep(AucRouterLane *rl, TimestampTz now);

/* router_replica.c */
extern void auc_router_replicas_begin(AucRouter *router);
extern AucRedis *auc_router_replicas_redis(AucRouter *router);
/* Else a bid of that level does not wait for them, but for the journal. */
extern bool auc_router_replicas_there(AucRouter *router);
/* Nothing that was confirmed before is true any more. */
extern void auc_router_replicas_forget(AucRouterLane *rl);
extern void auc_router_replicas_close(AucRouter *router, const char *why);
extern void auc_router_replicas_tend(AucRouter *router, TimestampTz now);
extern void auc_router_replicas_send(AucRouter *router, TimestampTz now);
extern TimestampTz auc_router_replicas_deadline(AucRouter *router);

/* router_decide.c */
extern void auc_router_decide(AucRouter *router, TimestampTz now);

/* router_answer.c */
extern void auc_router_reply(int index, AucAnswerKind kind, AucLevel level);
/* Now, or when what it depends on has come far enough. */
extern void auc_router_reply_at(AucRouterLane *rl, int index, AucLevel level,
								uint64 need);
extern void auc_router_adopt(AucRouter *router);
extern void auc_router_answer(AucRouterLane *rl);
/* NULL: no lane of ours. */
extern AucRouterLane *auc_router_lane_of(AucRouter *router,
										 const AucSlot *slot);

/* router_limits.c */
/* What delays the lane's bids; before the turn's requests are looked at. */
extern void auc_router_limits_turn(AucRouterLane *rl, TimestampTz now);
/* The request is a bid that is not to be taken yet. */
extern bool auc_router_delays(AucRouterLane *rl, const AucSlot *slot,
							 TimestampTz now);
/*
 * The request has to stay behind a bid on the auction that came before it and is
 * delayed: a close behind one that came in time, a bid_status() behind any.
 */
extern bool auc_router_keeps_behind(AucRouter *router, const AucLive *live,
								   const AucTicket *ticket);
extern TimestampTz auc_router_delayed_until(AucRouter *router);
extern void auc_router_ask_memory(AucRouter *router);

/* router_live.c */
/* NULL: it rests. */
extern AucLive *auc_router_live(AucRouter *router, int64 auction_id);
extern void auc_router_load(AucRouter *router, TimestampTz now);
extern void auc_router_releases(AucRouter *router);
extern void auc_router_unload_idle(AucRouter *router, TimestampTz now);
extern void auc_router_quarantine(AucRouterLane *rl, int64 auction_id);

/* router_ids.c */
typedef enum AucRecall
{
	AUC_RECALL_NEW,				/* was not accepted before: the rules decide */
	AUC_RECALL_REPEATED,		/* was: the verdict is in the slot */
	AUC_RECALL_LOOK_AGAIN		/* perhaps, but nobody here remembers */
} AucRecall;

extern void auc_router_ids_begin(AucRouterLane *rl);
extern void auc_router_ids_turn(AucRouterLane *rl);
extern uint64 auc_router_raise_looks(AucRouter *router);
extern AucRecall auc_router_recall(AucLive *live, AucSlot *slot);
extern void auc_router_remember(AucLive *live, const AucRecord *record);

/* router_sql.c */
extern void auc_router_read_lanes(AucRouter *router);
extern void auc_router_store_term(AucRouterLane *rl, bool possible_loss,
								  uint64 loss_after);
extern void auc_router_reserve(AucRouterLane *rl);
/*
 * A DBA has decided to skip the gap; committed with what may be lost by it.
 * false also if somebody has locked the table, for now.
 */
extern bool auc_router_skip_decided(AucRouterLane *rl, uint64 from, uint64 to,
									char **by, char **reason);

/* router_book.c */
extern void auc_router_book_read(AucRouter *router, AucLive *live, int slot);
extern void auc_router_book_refresh(AucRouter *router, AucLive *live,
									int slot);
extern void auc_router_book_remove(AucRouter *router, AucRouterLane *rl,
								   int slot);
extern void auc_router_books_turn(AucRouter *router, TimestampTz now);
extern void auc_router_books_check_all(AucRouterLane *rl);

/* The same as above, for router_audit.c. */
extern bool auc_router_lane_usable(AucRouterLane *rl);
extern bool auc_router_number(const redisReply *reply, int64 *value);
extern void auc_router_put_keys(AucRouterLane *rl, bool with_term,
								int64 auction_id);

/* router_audit.c */
extern void auc_router_audit(AucRouter *router, AucRouterLane *rl, int slot);

/* router_preflight.c */
extern void auc_router_preflight_turn(AucRouter *router, TimestampTz now);

/* router_shadow.c */
extern void auc_router_shadow_turn(AucRouter *router, TimestampTz now);

#endif							/* AUC_ROUTER_H */
