/*
 * redis_preflight.c: reads what CONFIG GET and INFO say, and judges it.
 *
 * Texts come from a server that may be anything: they are cut to their room,
 * numbers that are none stay unknown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_preflight.h"

/* Scripts with flags, several parameters of CONFIG GET, ACL DRYRUN. */
#define LEAST_VERSION	70000
/* Percentage of maxmemory in use from which it is a warning. */
#define MEMORY_FULL		90

void
auc_facts_clear(AucRedisFacts *facts)
{
	memset(facts, 0, sizeof(*facts));
	facts->version = -1;
	facts->appendonly = -1;
	facts->no_fsync_on_rewrite = -1;
	facts->save = -1;
	facts->maxmemory = -1;
	facts->used_memory = -1;
	facts->min_replicas = -1;
	facts->replicas = -1;
	facts->is_replica = -1;
	facts->aof_failed = -1;
	facts->rdb_failed = -1;
}

/* ---- reading ---- */

/* A policy or the like: letters and hyphens, else it is not taken. */
static void
set_word(char *word, size_t size, const char *value)
{
	size_t		len = strspn(value, "abcdefghijklmnopqrstuvwxyz-");

	if (len == 0 || len >= size || value[len] != '\0')
		return;
	memcpy(word, value, len + 1);
}

static void
set_number(int64_t *number, const char *value)
{
	char	   *end;
	long long	n;

	if (value[0] < '0' || value[0] > '9')
		return;
	errno = 0;
	n = strtoll(value, &end, 10);
	if (errno == 0 && *end == '\0')
		*number = n;
}

static void
set_int(int *number, const char *value)
{
	int64_t		n = -1;

	set_number(&n, value);
	if (n >= 0 && n <= 1000000)
		*number = (int) n;
}

static void
set_bool(int *flag, const char *value, const char *yes, const char *no)
{
	if (strcmp(value, yes) == 0)
		*flag = 1;
	else if (strcmp(value, no) == 0)
		*flag = 0;
}

void
auc_facts_config(AucRedisFacts *facts, const char *name, const char *value)
{
	if (strcmp(name, "maxmemory-policy") == 0)
		set_word(facts->policy, sizeof(facts->policy), value);
	else if (strcmp(name, "appendonly") == 0)
		set_bool(&facts->appendonly, value, "yes", "no");
	else if (strcmp(name, "appendfsync") == 0)
		set_word(facts->appendfsync, sizeof(facts->appendfsync), value);
	else if (strcmp(name, "no-appendfsync-on-rewrite") == 0)
		set_bool(&facts->no_fsync_on_rewrite, value, "yes", "no");
	else if (strcmp(name, "save") == 0)
		facts->save = value[0] != '\0';
	else if (strcmp(name, "maxmemory") == 0)
		set_number(&facts->maxmemory, value);
	else if (strcmp(name, "min-replicas-to-write") == 0)
		set_int(&facts->min_replicas, value);
}

/* "7.0.15": 70015. */
static void
set_version(AucRedisFacts *facts, const char *value)
{
	int			major,
				minor,
				patch;

	if (sscanf(value, "%3d.%3d.%3d", &major, &minor, &patch) == 3 &&
		major >= 0 && minor >= 0 && minor < 100 && patch >= 0 && patch < 100)
		facts->version = major * 10000 + minor * 100 + patch;
}

static void
info_field(AucRedisFacts *facts, const char *name, const char *value)
{
	if (strcmp(name, "redis_version") == 0)
		set_version(facts, value);
	else if (strcmp(name, "used_memory") == 0)
		set_number(&facts->used_memory, value);
	/* known without CONFIG GET, too */
	else if (strcmp(name, "maxmemory") == 0 ||
			 strcmp(name, "maxmemory_policy") == 0)
		auc_facts_config(facts, name[9] == '\0' ? "maxmemory" :
						 "maxmemory-policy", value);
	else if (strcmp(name, "aof_enabled") == 0)
		set_bool(&facts->appendonly, value, "1", "0");
	else if (strcmp(name, "aof_last_write_status") == 0)
		set_bool(&facts->aof_failed, value, "err", "ok");
	else if (strcmp(name, "rdb_last_bgsave_status") == 0)
		set_bool(&facts->rdb_failed, value, "err", "ok");
	else if (strcmp(name, "role") == 0)
		set_bool(&facts->is_replica, value, "slave", "master");
	else if (strncmp(name, "slave", 5) == 0 && name[5] >= '0' &&
			 name[5] <= '9')
	{
		if (strstr(value, "state=online") != NULL)
			facts->replicas++;
	}
}

void
auc_facts_info(AucRedisFacts *facts, const char *text, size_t len)
{
	const char *end = text + len;

	facts->replicas = -1;
	while (text < end)
	{
		const char *newline = memchr(text, '\n', end - text);
		size_t		n = (newline != NULL ? newline : end) - text;
		char		line[256];
		char	   *colon;

		if (n < sizeof(line))
		{
			memcpy(line, text, n);
			if (n > 0 && line[n - 1] == '\r')
				n--;
			line[n] = '\0';
			colon = strchr(line, ':');
			if (colon != NULL)
			{
				*colon = '\0';
				if (strcmp(line, "connected_slaves") == 0)
					facts->replicas = 0;	/* those online follow it */
				info_field(facts, line, colon + 1);
			}
		}
		text = newline != NULL ? newline + 1 : end;
	}
}

void
auc_facts_denied(AucRedisFacts *facts, const char *command)
{
	size_t		len = strlen(facts->denied);

	if (len + strlen(command) + 3 > sizeof(facts->denied))
		return;					/* enough to see what is wrong */
	snprintf(facts->denied + len, sizeof(facts->denied) - len, "%s%s",
			 len > 0 ? ", " : "", command);
}

/* ---- judging ---- */

static void
find(AucPreflightVerdict *verdict, AucPreflightStatus status,
	 const char *finding, const char *remedy)
{
	verdict->status = status;
	snprintf(verdict->finding, sizeof(verdict->finding), "%s", finding);
	verdict->remedy = remedy;
}

static void
unknown(AucPreflightVerdict *verdict, const AucRedisFacts *facts)
{
	if (facts->config_denied)
		find(verdict, AUC_PREFLIGHT_WARNING,
			 "not known: CONFIG GET is not allowed",
			 "Give the user +config|get, or look for yourself.");
	else
		find(verdict, AUC_PREFLIGHT_WARNING, "not known",
			 "Redis did not tell it: look for yourself.");
}

static void
judge_version(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->version < 0)
		unknown(verdict, facts);
	else
	{
		find(verdict, AUC_PREFLIGHT_OK, "", NULL);
		snprintf(verdict->finding, sizeof(verdict->finding), "%d.%d.%d",
				 facts->version / 10000, facts->version / 100 % 100,
				 facts->version % 100);
		if (facts->version < LEAST_VERSION)
		{
			verdict->status = AUC_PREFLIGHT_ERROR;
			verdict->remedy = "Use Redis 7.0 or later, or Valkey.";
		}
	}
}

static void
judge_role(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->is_replica < 0)
		unknown(verdict, facts);
	else if (facts->is_replica)
		find(verdict, AUC_PREFLIGHT_ERROR, "replica",
			 "Nothing can be written to it: promote it, or let the server's options name the master.");
	else
		find(verdict, AUC_PREFLIGHT_OK, "master", NULL);
}

static void
judge_eviction(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->policy[0] == '\0')
		unknown(verdict, facts);
	else
		find(verdict, AUC_PREFLIGHT_OK, facts->policy, NULL);
	if (verdict->status == AUC_PREFLIGHT_OK &&
		strcmp(facts->policy, "noeviction") != 0)
	{
		verdict->status = AUC_PREFLIGHT_ERROR;
		verdict->remedy = "Logs and books may be deleted when memory is short: CONFIG SET maxmemory-policy noeviction, and in its configuration file.";
	}
}

static void
judge_memory(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->maxmemory < 0 || facts->used_memory < 0)
		unknown(verdict, facts);
	else if (facts->maxmemory == 0)
		find(verdict, AUC_PREFLIGHT_OK, "no limit", NULL);
	else
	{
		double		used = 100.0 * facts->used_memory / facts->maxmemory;

		find(verdict, AUC_PREFLIGHT_OK, "", NULL);
		snprintf(verdict->finding, sizeof(verdict->finding),
				 "%.0f %% of maxmemory in use", used);
		if (used >= MEMORY_FULL)
		{
			verdict->status = used >= 100 ? AUC_PREFLIGHT_ERROR :
				AUC_PREFLIGHT_WARNING;
			verdict->remedy = "When it is full, its lanes are degraded: raise maxmemory, or remove what does not belong there.";
		}
	}
}

static void
judge_aof(const AucRedisFacts *facts, const AucPreflightWish *wish,
		  AucPreflightVerdict *verdict)
{
	if (facts->appendonly < 0)
		unknown(verdict, facts);
	else if (!facts->appendonly)
	{
		find(verdict, wish->relied_on ? AUC_PREFLIGHT_ERROR :
			 AUC_PREFLIGHT_WARNING,
			 facts->save == 1 ? "no append-only file, RDB files only" :
			 "no append-only file",
			 "What it has confirmed is gone when it restarts, and lost if PostgreSQL crashes in that moment: CONFIG SET appendonly yes, and in its configuration file.");
	}
	else if (facts->aof_failed == 1)
		find(verdict, AUC_PREFLIGHT_ERROR, "the last write has failed",
			 "Make room on its disk; see the log of Redis.");
	else
		find(verdict, AUC_PREFLIGHT_OK, "written", NULL);
}

static void
judge_fsync(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->appendonly == 0)
		find(verdict, AUC_PREFLIGHT_OK, "no append-only file", NULL);
	else if (facts->appendfsync[0] == '\0')
		unknown(verdict, facts);
	else if (strcmp(facts->appendfsync, "no") == 0)
		find(verdict, AUC_PREFLIGHT_WARNING, "no",
			 "A crash of its machine loses up to half a minute of what it has confirmed: CONFIG SET appendfsync everysec (loses up to two seconds) or always (none).");
	else
		find(verdict, AUC_PREFLIGHT_OK, facts->appendfsync, NULL);
}

static void
judge_rewrite(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	bool		always = strcmp(facts->appendfsync, "always") == 0;

	if (facts->appendonly == 0)
		find(verdict, AUC_PREFLIGHT_OK, "no append-only file", NULL);
	else if (facts->no_fsync_on_rewrite < 0)
		unknown(verdict, facts);
	else if (!facts->no_fsync_on_rewrite)
		find(verdict, AUC_PREFLIGHT_OK, "no", NULL);
	else
		find(verdict, always ? AUC_PREFLIGHT_ERROR : AUC_PREFLIGHT_WARNING,
			 always ? "yes: appendfsync always does not hold while a file is rewritten" :
			 "yes: nothing is synced while a file is rewritten",
			 "CONFIG SET no-appendfsync-on-rewrite no, and in its configuration file.");
}

static void
judge_replicas(const AucRedisFacts *facts, const AucPreflightWish *wish,
			   AucPreflightVerdict *verdict)
{
	char		finding[sizeof(verdict->finding)];
	int			needed = wish->replicas;

	if (facts->replicas < 0)
	{
		unknown(verdict, facts);
		return;
	}
	if (facts->min_replicas > needed)
		needed = facts->min_replicas;
	snprintf(finding, sizeof(finding), "%d online, %d needed", facts->replicas,
			 needed);
	if (facts->replicas >= needed)
		find(verdict, AUC_PREFLIGHT_OK, finding, NULL);
	else if (facts->replicas < facts->min_replicas)
		find(verdict, AUC_PREFLIGHT_ERROR, finding,
			 "Its lanes are degraded until there are as many as its min-replicas-to-write.");
	else
		find(verdict, AUC_PREFLIGHT_ERROR, finding,
			 "Bids that ask for level replica wait for the journal instead: bring replicas back, or lower the server's option replicas.");
}

static void
judge_rights(const AucRedisFacts *facts, AucPreflightVerdict *verdict)
{
	if (facts->denied[0] != '\0')
	{
		find(verdict, AUC_PREFLIGHT_ERROR, "",
			 "Give the server's user in Redis the rights that the README names.");
		snprintf(verdict->finding, sizeof(verdict->finding), "not allowed: %s",
				 facts->denied);
	}
	else if (facts->rights_known != 1)
		find(verdict, AUC_PREFLIGHT_WARNING,
			 "not known: ACL DRYRUN is not allowed",
			 "Give the user +acl|dryrun, or look for yourself.");
	else
		find(verdict, AUC_PREFLIGHT_OK, "suffice", NULL);
}

void
auc_preflight_judge(const AucRedisFacts *facts, const AucPreflightWish *wish,
					AucPreflightItem item, AucPreflightVerdict *verdict)
{
	static const char *const names[AUC_PREFLIGHT_COUNT] = {
		[AUC_PREFLIGHT_VERSION] = "redis version",
		[AUC_PREFLIGHT_ROLE] = "redis role",
		[AUC_PREFLIGHT_EVICTION] = "maxmemory-policy",
		[AUC_PREFLIGHT_MEMORY] = "redis memory",
		[AUC_PREFLIGHT_AOF] = "append-only file",
		[AUC_PREFLIGHT_FSYNC] = "appendfsync",
		[AUC_PREFLIGHT_REWRITE] = "no-appendfsync-on-rewrite",
		[AUC_PREFLIGHT_REPLICAS] = "replicas",
		[AUC_PREFLIGHT_RIGHTS] = "redis rights",
	};

	verdict->item = names[item];
	switch (item)
	{
		case AUC_PREFLIGHT_VERSION:
			judge_version(facts, verdict);
			break;
		case AUC_PREFLIGHT_ROLE:
			judge_role(facts, verdict);
			break;
		case AUC_PREFLIGHT_EVICTION:
			judge_eviction(facts, verdict);
			break;
		case AUC_PREFLIGHT_MEMORY:
			judge_memory(facts, verdict);
			break;
		case AUC_PREFLIGHT_AOF:
			judge_aof(facts, wish, verdict);
			break;
		case AUC_PREFLIGHT_FSYNC:
			judge_fsync(facts, verdict);
			break;
		case AUC_PREFLIGHT_REWRITE:
			judge_rewrite(facts, verdict);
			break;
		case AUC_PREFLIGHT_REPLICAS:
			judge_replicas(facts, wish, verdict);
			break;
		case AUC_PREFLIGHT_RIGHTS:
			judge_rights(facts, verdict);
			break;
		case AUC_PREFLIGHT_COUNT:
			break;
	}
}

const char *
auc_preflight_status_name(AucPreflightStatus status)
{
	switch (status)
	{
		case AUC_PREFLIGHT_OK:
			return "ok";
		case AUC_PREFLIGHT_WARNING:
			return "warning";
		case AUC_PREFLIGHT_ERROR:
			return "error";
	}
	return "error";
}
