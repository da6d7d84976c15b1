/*
 * test_redis_error.c: which fault an error reply is, how soon the next
 * connection is made, and what is reported.
 */
#include <string.h>

#include "redis_error.h"
#include "tap.h"

static AucRedisFault
fault_of(const char *text)
{
	return auc_redis_fault_of(text, strlen(text));
}

/* As Redis 7.0 writes them. */
static void
test_replies(void)
{
	static const struct
	{
		const char *text;
		AucRedisFault fault;
	}			replies[] = {
		{"NOSCRIPT No matching script. Please use EVAL.", AUC_FAULT_NOSCRIPT},
		{"LOADING Redis is loading the dataset in memory", AUC_FAULT_LOADING},
		{"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", AUC_FAULT_BUSY},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", AUC_FAULT_MASTERDOWN},
		{"READONLY You can't write against a read only replica. script: 1, on @user_script:1.", AUC_FAULT_READONLY},
		{"NOREPLICAS Not enough good replicas to write.", AUC_FAULT_NOREPLICAS},
		{"MOVED 3999 127.0.0.1:6381", AUC_FAULT_CLUSTER},
		{"ASK 3999 127.0.0.1:6381", AUC_FAULT_CLUSTER},
		{"TRYAGAIN Multiple keys request during rehashing of slot", AUC_FAULT_CLUSTER},
		{"CLUSTERDOWN The cluster is down", AUC_FAULT_CLUSTER},
		{"OOM command not allowed when used memory > 'maxmemory'.", AUC_FAULT_OOM},
		{"MISCONF Errors writing to the AOF file: No space left on device", AUC_FAULT_MISCONF},
		{"NOAUTH Authentication required.", AUC_FAULT_LOGIN},
		{"WRONGPASS invalid username-password pair or user is disabled.", AUC_FAULT_LOGIN},
		{"ERR AUTH <password> called without any password configured for the default user.", AUC_FAULT_LOGIN},
		{"NOPERM this user has no permissions to run the 'evalsha' command", AUC_FAULT_NOPERM},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", AUC_FAULT_WRONGTYPE},
		{"ERR max number of clients reached", AUC_FAULT_CLIENTS},
		{"ERR unknown command", AUC_FAULT_OTHER},
		{"EXECABORT Transaction discarded because of previous errors.", AUC_FAULT_OTHER},
		{"BUSYGROUP Consumer Group name already exists", AUC_FAULT_OTHER},
		{"OOM", AUC_FAULT_OTHER},
		{"", AUC_FAULT_OTHER},
	};

	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
		ok(fault_of(replies[i].text) == replies[i].fault, replies[i].text);
	ok(auc_redis_fault_of("OOM command", 4) == AUC_FAULT_OOM &&
	   auc_redis_fault_of("OOM command", 3) == AUC_FAULT_OTHER,
	   "no byte behind the end is looked at");
}

static void
test_reactions(void)
{
	bool		complete = true;
	bool		soon = true;
	bool		rises = true;

	for (int i = 0; i < AUC_FAULT_COUNT; i++)
	{
		AucRedisFault fault = (AucRedisFault) i;
		const AucRedisReaction *reaction = auc_redis_reaction(fault);
		int			ms = auc_redis_backoff(fault, -1);

		complete = complete && reaction->name != NULL &&
			reaction->hint != NULL;
		soon = soon && reaction->last_ms <= 1000 && ms == reaction->first_ms;
		for (int n = 0; n < 20; n++)
		{
			int			next = auc_redis_backoff(fault, ms);

			rises = rises && next >= ms && next <= reaction->last_ms;
			ms = next;
		}
		rises = rises && ms == reaction->last_ms;
	}
	ok(complete, "every fault has a reaction");
	ok(soon, "the next connection is made within a second");
	ok(rises, "the time between attempts rises to its limit");
	ok(auc_redis_backoff(AUC_FAULT_LOST, -1) == 0 &&
	   auc_redis_backoff(AUC_FAULT_LOST, 0) > 0,
	   "a lost connection: at once, but not without end");
	ok(auc_redis_backoff(AUC_FAULT_LOADING, 1000) == 250,
	   "another fault has its own limit");
	ok(auc_redis_reaction((AucRedisFault) 99) ==
	   auc_redis_reaction(AUC_FAULT_OTHER), "an unknown fault is an other one");
}

static void
test_reports(void)
{
	AucRedisReport report = {0};
	long long	now = 1000000;
	int			untold = -1;
	int			told = 0;

	ok(auc_redis_report(&report, now, &untold) && untold == 0,
	   "the first time it is reported");
	ok(!auc_redis_report(&report, now + 10, &untold), "at once again: it is not");
	ok(auc_redis_report(&report, now + 5000, &untold) && untold == 1,
	   "some seconds later it is, with what was passed over");

	memset(&report, 0, sizeof(report));
	for (int i = 0; i < 36000; i++) /* an hour, ten times a second */
		if (auc_redis_report(&report, now + i * 100, &untold))
			told++;
	ok(told >= 60 && told <= 72, "an hour of a fault: about a line a minute");
	ok(auc_redis_report(&report, now + 3600000 * 3, &untold) && untold > 0 &&
	   auc_redis_report(&report, now + 3600000 * 3 + 1500, &untold),
	   "after a rest it is as in the beginning");
}

int
main(void)
{
	test_replies();
	test_reactions();
	test_reports();
	return tap_done();
}
