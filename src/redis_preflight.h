/*
 * redis_preflight.h: how a Redis is configured, and whether that keeps what
 * the levels of durability promise.
 *
 * Pure: no PostgreSQL, no socket.  router_preflight.c asks Redis and fills
 * AucRedisFacts in; shm_lane.h keeps a copy for each server; health.c and the
 * router judge it.
 */
#ifndef AUC_REDIS_PREFLIGHT_H
#define AUC_REDIS_PREFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers are -1 and texts "" while they are not known. */
typedef struct AucRedisFacts
{
	int64_t		asked_at;		/* the owner's clock; 0: never asked */
	int			version;		/* 70015 is 7.0.15 */
	char		policy[32];		/* maxmemory-policy */
	char		appendfsync[12];
	int			appendonly;		/* 1: yes */
	int			no_fsync_on_rewrite;
	int			save;			/* 1: writes RDB files by itself */
	int64_t		maxmemory;		/* bytes; 0: no limit */
	int64_t		used_memory;
	int			min_replicas;	/* min-replicas-to-write */
	int			replicas;		/* that are online */
	int			is_replica;
	int			aof_failed;		/* 1: the last write of the AOF failed */
	int			rdb_failed;		/* 1: the last RDB could not be written */
	int			config_denied;	/* 1: CONFIG GET is not allowed */
	int			rights_known;	/* 1: every right could be asked for */
	char		denied[64];		/* commands that are needed and not allowed */
} AucRedisFacts;

extern void auc_facts_clear(AucRedisFacts *facts);
/* One parameter, as CONFIG GET tells it. */
extern void auc_facts_config(AucRedisFacts *facts, const char *name,
							 const char *value);
/* The text that INFO returns; sections may be missing. */
extern void auc_facts_info(AucRedisFacts *facts, const char *text, size_t len);
/* A command that the user needs and may not call. */
extern void auc_facts_denied(AucRedisFacts *facts, const char *command);

typedef enum AucPreflightItem
{
	AUC_PREFLIGHT_VERSION,
	AUC_PREFLIGHT_ROLE,
	AUC_PREFLIGHT_EVICTION,
	AUC_PREFLIGHT_MEMORY,
	AUC_PREFLIGHT_AOF,
	AUC_PREFLIGHT_FSYNC,
	AUC_PREFLIGHT_REWRITE,
	AUC_PREFLIGHT_REPLICAS,
	AUC_PREFLIGHT_RIGHTS,
	AUC_PREFLIGHT_COUNT
} AucPreflightItem;

typedef enum AucPreflightStatus
{
	AUC_PREFLIGHT_OK,
	AUC_PREFLIGHT_WARNING,
	AUC_PREFLIGHT_ERROR
} AucPreflightStatus;

/* What is asked of the Redis. */
typedef struct AucPreflightWish
{
	bool		relied_on;		/* some auctions ask for less than "journal" */
	int			replicas;		/* that level "replica" waits for */
} AucPreflightWish;

typedef struct AucPreflightVerdict
{
	const char *item;
	AucPreflightStatus status;
	char		finding[160];
	const char *remedy;			/* NULL if OK */
} AucPreflightVerdict;

extern void auc_preflight_judge(const AucRedisFacts *facts,
								const AucPreflightWish *wish,
								AucPreflightItem item,
								AucPreflightVerdict *verdict);
extern const char *auc_preflight_status_name(AucPreflightStatus status);

#endif							/* AUC_REDIS_PREFLIGHT_H */
