/*
 * redis_error.c: the faults of a Redis and the reaction to each.
 *
 * The reaction to every fault is the same in kind: the connection is given up,
 * the lanes are degraded (their bids go on, acknowledged when PostgreSQL has
 * committed them), a new connection is made, each lane is taken and compared
 * with its tail, and what the log lacks is appended.  Nobody has to do
 * anything once the cause is gone.  An append that was refused is treated as
 * one whose outcome is unknown, although all error replies below are given
 * before a script runs: comparing finds that it is not there (rule 9).  What
 * differs is how soon the next connection is made, and what the DBA is told.
 *
 *  fault        outcome of what was  next connection   goes by itself when
 *               on its way           after ms .. at most
 *  unreachable  (nothing was)          10 ..  250      Redis listens
 *  lost         unknown                 0 ..  250      Redis is back
 *  timeout      unknown                10 ..  250      Redis answers again
 *  protocol     unknown                10 .. 1000      it speaks RESP again
 *  left         unknown                 0 ..    0      at once
 *  refused      not appended            0 ..  250      taken and compared
 *  NOSCRIPT     not run                 0 ..  250      scripts are loaded anew
 *  LOADING      not run                50 ..  250      its data is loaded
 *  BUSY         not run                50 ..  250      the foreign script ends
 *  MASTERDOWN   not run                50 ..  500      the replica has its
 *                                                      master, or is one
 *  READONLY     not run                50 ..  500      it is a master
 *  NOREPLICAS   not run                50 ..  500      replicas are back
 *  CLUSTER      not run                50 ..  500      (MOVED, ASK, TRYAGAIN,
 *                                                      CLUSTERDOWN) the slot is
 *                                                      here and the cluster up
 *  OOM          not run                50 ..  500      memory is freed
 *  MISCONF      not run                50 ..  500      its disk takes writes
 *  CLIENTS      not run                50 ..  500      maxclients allows it
 *  LOGIN        not run                50 .. 1000      the password is right
 *  NOPERM       not run                50 .. 1000      the ACL allows it
 *  WRONGTYPE    not run                50 .. 1000      in a lane's own key the
 *                                                      lane is fenced instead
 *  other        unknown                50 .. 1000      it does not recur
 *
 * What Redis says of a command that must not be sent again elsewhere (ASK,
 * TRYAGAIN) is not told apart: one server is one address.  EXECABORT and
 * UNKILLABLE cannot come, for nothing here uses MULTI or SCRIPT KILL; they
 * would be "other".
 */
#include <string.h>

#include "redis_error.h"

/* A fault that recurs at least so often is reported at growing intervals. */
#define RECURS_MS		60000
#define FIRST_QUIET_MS	1000
#define LAST_QUIET_MS	60000
/* The second attempt comes no sooner, whatever the first one did. */
#define SECOND_MS		10

static const AucRedisReaction reactions[AUC_FAULT_COUNT] = {
	[AUC_FAULT_NONE] = {"none", 0, 0, ""},
	[AUC_FAULT_UNREACHABLE] = {"unreachable", 10, 250,
		"See that Redis runs, and that host and port of the server are right."},
	[AUC_FAULT_LOST] = {"lost", 0, 250, ""},
	[AUC_FAULT_TIMEOUT] = {"timeout", 10, 250,
		"See whether Redis hangs, or is too slow for the server's option command_timeout."},
	[AUC_FAULT_PROTOCOL] = {"protocol", 10, 1000,
		"See that host and port of the server are those of a Redis."},
	[AUC_FAULT_LEFT] = {"left", 0, 0, ""},
	[AUC_FAULT_REFUSED] = {"refused", 0, 250,
		"Somebody has changed or removed the lane's keys in Redis, or has taken the lane."},
	[AUC_FAULT_NOSCRIPT] = {"NOSCRIPT", 0, 250, ""},
	[AUC_FAULT_LOADING] = {"LOADING", 50, 250, ""},
	[AUC_FAULT_BUSY] = {"BUSY", 50, 250,
		"Find who runs a script in this Redis, and end it with SCRIPT KILL."},
	[AUC_FAULT_MASTERDOWN] = {"MASTERDOWN", 50, 500,
		"This Redis is a replica that has lost its master: promote it, or let the server's options name the master."},
	[AUC_FAULT_READONLY] = {"READONLY", 50, 500,
		"This Redis is a replica: promote it, or let the server's options name the master."},
	[AUC_FAULT_NOREPLICAS] = {"NOREPLICAS", 50, 500,
		"Redis has fewer replicas than its min-replicas-to-write: bring them back, or lower it."},
	[AUC_FAULT_CLUSTER] = {"CLUSTER", 50, 500,
		"Redis Cluster does not serve the lane's slot here: let the server's options name the node that does, or repair the cluster."},
	[AUC_FAULT_OOM] = {"OOM", 50, 500,
		"Redis is at its maxmemory: raise it, or remove what does not belong there."},
	[AUC_FAULT_MISCONF] = {"MISCONF", 50, 500,
		"Redis cannot write to its disk: make room there, and see its log."},
	[AUC_FAULT_CLIENTS] = {"CLIENTS", 50, 500,
		"Redis is at its maxclients: raise it, or close other connections."},
	[AUC_FAULT_LOGIN] = {"LOGIN", 50, 1000,
		"Correct username and password in the user mapping of the server."},
	[AUC_FAULT_NOPERM] = {"NOPERM", 50, 1000,
		"Give the server's user in Redis the rights that the README names."},
	[AUC_FAULT_WRONGTYPE] = {"WRONGTYPE", 50, 1000,
		"Somebody has put a key of another type where the engine has its own: remove it, or choose another prefix."},
	[AUC_FAULT_OTHER] = {"other", 50, 1000, ""},
};

static const struct
{
	const char *prefix;
	AucRedisFault fault;
}			prefixes[] =
{
	{"NOSCRIPT ", AUC_FAULT_NOSCRIPT},
	{"LOADING ", AUC_FAULT_LOADING},
	{"BUSY ", AUC_FAULT_BUSY},
	{"MASTERDOWN ", AUC_FAULT_MASTERDOWN},
	{"READONLY ", AUC_FAULT_READONLY},
	{"NOREPLICAS ", AUC_FAULT_NOREPLICAS},
	{"MOVED ", AUC_FAULT_CLUSTER},
	{"ASK ", AUC_FAULT_CLUSTER},
	{"TRYAGAIN ", AUC_FAULT_CLUSTER},
	{"CLUSTERDOWN ", AUC_FAULT_CLUSTER},
	{"CROSSSLOT ", AUC_FAULT_CLUSTER},
	{"OOM ", AUC_FAULT_OOM},
	{"MISCONF ", AUC_FAULT_MISCONF},
	{"NOAUTH ", AUC_FAULT_LOGIN},
	{"WRONGPASS ", AUC_FAULT_LOGIN},
	{"ERR AUTH ", AUC_FAULT_LOGIN},
	{"ERR Client sent AUTH", AUC_FAULT_LOGIN},
	{"ERR invalid password", AUC_FAULT_LOGIN},
	{"NOPERM ", AUC_FAULT_NOPERM},
	{"WRONGTYPE ", AUC_FAULT_WRONGTYPE},
	{"ERR max number of clients", AUC_FAULT_CLIENTS},
};

AucRedisFault
auc_redis_fault_of(const char *text, size_t len)
{
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
	{
		size_t		n = strlen(prefixes[i].prefix);

		if (len >= n && memcmp(text, prefixes[i].prefix, n) == 0)
			return prefixes[i].fault;
	}
	return AUC_FAULT_OTHER;
}

const AucRedisReaction *
auc_redis_reaction(AucRedisFault fault)
{
	if ((unsigned) fault >= AUC_FAULT_COUNT)
		fault = AUC_FAULT_OTHER;
	return &reactions[fault];
}

int
auc_redis_backoff(AucRedisFault fault, int before)
{
	const AucRedisReaction *reaction = auc_redis_reaction(fault);
	int			next = reaction->first_ms;

	if (before >= 0)
	{
		if (next < SECOND_MS)
			next = SECOND_MS;
		if (next < before * 2)
			next = before * 2;
	}
	return next < reaction->last_ms ? next : reaction->last_ms;
}

bool
auc_redis_report(AucRedisReport *report, long long now_ms, int *untold)
{
	long long	since = now_ms - report->told_at;

	if (report->told_at != 0 && since < report->quiet)
	{
		report->untold++;
		return false;
	}
	*untold = report->untold;
	if (report->told_at == 0 || since >= RECURS_MS + report->quiet)
		report->quiet = FIRST_QUIET_MS;
	else
		report->quiet = report->quiet < LAST_QUIET_MS / 2 ?
			report->quiet * 2 : LAST_QUIET_MS;
	report->told_at = now_ms;
	report->untold = 0;
	return true;
}
