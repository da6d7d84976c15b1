/*
 * redis_error.h: what can be wrong with a Redis, and what is done about it.
 *
 * Pure: no PostgreSQL, no socket.  redis_conn.c and redis_reply.c find the
 * fault, router.c does what the table in redis_error.c says.
 */
#ifndef AUC_REDIS_ERROR_H
#define AUC_REDIS_ERROR_H

#include <stdbool.h>
#include <stddef.h>

typedef enum AucRedisFault
{
	AUC_FAULT_NONE = 0,
	/* the connection */
	AUC_FAULT_UNREACHABLE,		/* none could be made */
	AUC_FAULT_LOST,				/* closed or reset by the other side */
	AUC_FAULT_TIMEOUT,			/* no answer in time */
	AUC_FAULT_PROTOCOL,			/* an answer that Redis would not give */
	AUC_FAULT_LEFT,				/* given up here: options have changed */
	/* an append was refused by its own checks (rule 9) */
	AUC_FAULT_REFUSED,
	/* error replies */
	AUC_FAULT_NOSCRIPT,
	AUC_FAULT_LOADING,
	AUC_FAULT_BUSY,
	AUC_FAULT_MASTERDOWN,
	AUC_FAULT_READONLY,
	AUC_FAULT_NOREPLICAS,
	AUC_FAULT_CLUSTER,
	AUC_FAULT_OOM,
	AUC_FAULT_MISCONF,
	AUC_FAULT_CLIENTS,
	AUC_FAULT_LOGIN,
	AUC_FAULT_NOPERM,
	AUC_FAULT_WRONGTYPE,
	AUC_FAULT_OTHER,			/* every other error reply */
	AUC_FAULT_COUNT
} AucRedisFault;

typedef struct AucRedisReaction
{
	const char *name;			/* as the documentation names the fault */
	int			first_ms;		/* the next connection after so long ... */
	int			last_ms;		/* ... doubling up to this */
	const char *hint;			/* what a DBA can do; "": nothing need be */
} AucRedisReaction;

/* Of an error reply's text, which need not end with a 0. */
extern AucRedisFault auc_redis_fault_of(const char *text, size_t len);
extern const AucRedisReaction *auc_redis_reaction(AucRedisFault fault);

/*
 * How long to wait for the next connection: "before" is what this returned
 * last, or -1 if the connection has worked since.
 */
extern int	auc_redis_backoff(AucRedisFault fault, int before);

/*
 * A report that recurs is given at growing intervals, up to a minute, so that
 * a fault that comes and goes does not fill the log.
 */
typedef struct AucRedisReport
{
	long long	told_at;		/* ms, any clock; 0: never */
	int			quiet;			/* ms after told_at without a report */
	int			untold;			/* how often it was passed over since */
} AucRedisReport;

/* Is it to be given now?  "untold" is what was passed over before. */
extern bool auc_redis_report(AucRedisReport *report, long long now_ms,
							 int *untold);

#endif							/* AUC_REDIS_ERROR_H */
