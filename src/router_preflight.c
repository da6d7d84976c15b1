/*
 * router_preflight.c: asks Redis how it is configured, and what the user may.
 *
 * On each new connection and every ASK_MS: CONFIG GET, INFO, and ACL DRYRUN of
 * every command that the router and its scripts use, on keys of the first
 * lane.  Redis checks rights command by command, also inside a script, so that
 * a missing one would leave a script half done.  What the ACL does not let be
 * asked stays unknown.
 *
 * Asking changes nothing and stops nothing.  The facts go into shared memory
 * (AucServer, under its spinlock), where auction.health() judges them; what is
 * an error is also logged, once as long as it lasts.
 */
#include "postgres.h"

#include "redis_preflight.h"
#include "router.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A change is to be found within 10 seconds. */
#define ASK_MS		5000

struct AucRouterPreflight
{
	TimestampTz ask_at;
	uint32		asked_on;		/* connection of the last round */
	int			waiting;		/* replies of this round still to come */
	int			next_right;		/* of rights[], whose reply is next */
	AucRedisFacts facts;		/* as far as the round has come */
	AucPreflightStatus told[AUC_PREFLIGHT_COUNT];
};

/* A command, and what follows it; K: the log's key, C: a price channel. */
static const char *const rights[][6] = {
	{"evalsha", "x", "0"},
	{"script|load", "x"},
	{"info"},
	{"hmget", "K", "x"},
	{"hget", "K", "x"},
	{"hset", "K", "x", "x"},
	{"hdel", "K", "x"},
	{"hincrby", "K", "x", "1"},
	{"xadd", "K", "0-1", "x", "x"},
	{"xtrim", "K", "MAXLEN", "0"},
	{"xrange", "K", "-", "+"},
	{"xrevrange", "K", "+", "-"},
	{"xlen", "K"},
	{"xinfo|stream", "K"},
	{"zadd", "K", "0", "x"},
	{"zcard", "K"},
	{"zrange", "K", "0", "0"},
	{"zremrangebyrank", "K", "0", "0"},
	{"exists", "K"},
	{"expire", "K", "1"},
	{"del", "K"},
	{"unlink", "K"},
	{"publish", "C", "x"},
	{"wait", "0", "0"},
	{"scan", "0"},
	{"waitaof", "0", "0", "0"},	/* the last one, with "replica_fsync" only */
};

/* ---- the end of a round ---- */

static void
report(AucRouter *router)
{
	AucRouterPreflight *preflight = router->preflight;
	AucPreflightWish wish = {.relied_on = true};

	for (int i = 0; i < AUC_PREFLIGHT_COUNT; i++)
	{
		AucPreflightVerdict verdict;

		auc_preflight_judge(&preflight->facts, &wish, (AucPreflightItem) i,
							&verdict);
		if (verdict.status == AUC_PREFLIGHT_ERROR &&
			preflight->told[i] != AUC_PREFLIGHT_ERROR)
			ereport(LOG,
					(errcode(ERRCODE_CONFIG_FILE_ERROR),
					 errmsg("Redis of server \"%s\" does not suit: %s: %s",
							NameStr(router->server->name), verdict.item,
							verdict.finding),
					 errhint("%s", verdict.remedy)));
		preflight->told[i] = verdict.status;
	}
}

static void
one_less(AucRouter *router)
{
	AucRouterPreflight *preflight = router->preflight;

	if (--preflight->waiting > 0)
		return;
	preflight->facts.asked_at = GetCurrentTimestamp();
	auc_server_set_facts(router->server, &preflight->facts);
	report(router);
}

/* ---- replies; NULL: the next connection asks anew ---- */

static void
config_reply(void *arg, const redisReply *reply)
{
	AucRouter  *router = arg;
	AucRedisFacts *facts = &router->preflight->facts;

	if (reply == NULL)
		return;
	facts->config_denied = reply->type == REDIS_REPLY_ERROR &&
		auc_redis_fault_of(reply->str, reply->len) == AUC_FAULT_NOPERM;
	for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY &&
		 i + 1 < reply->elements; i += 2)
		if (reply->element[i]->type == REDIS_REPLY_STRING &&
			reply->element[i + 1]->type == REDIS_REPLY_STRING)
			auc_facts_config(facts, reply->element[i]->str,
							 reply->element[i + 1]->str);
	one_less(router);
}

static void
info_reply(void *arg, const redisReply *reply)
{
	AucRouter  *router = arg;

	if (reply == NULL)
		return;
	if (reply->type == REDIS_REPLY_STRING)
		auc_facts_info(&router->preflight->facts, reply->str, reply->len);
	one_less(router);
}

static void
right_reply(void *arg, const redisReply *reply)
{
	AucRouter  *router = arg;
	AucRouterPreflight *preflight = router->preflight;
	int			right = preflight->next_right++;

	if (reply == NULL)
		return;
	if (reply->type == REDIS_REPLY_ERROR)
		preflight->facts.rights_known = 0;	/* ACL DRYRUN is not allowed */
	else if (reply->type == REDIS_REPLY_STRING)
		auc_facts_denied(&preflight->facts, rights[right][0]);
	one_less(router);
}

/* ---- asking ---- */

static void
ask_config(AucRouter *router)
{
	static const char *const names[] = {"maxmemory-policy", "appendonly",
		"appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory",
	"min-replicas-to-write"};

	auc_redis_begin(router->redis, 2 + lengthof(names));
	auc_redis_arg_str(router->redis, "CONFIG");
	auc_redis_arg_str(router->redis, "GET");
	for (int i = 0; i < lengthof(names); i++)
		auc_redis_arg_str(router->redis, names[i]);
	auc_redis_end(router->redis, config_reply, router);
	router->preflight->waiting++;
}

static void
ask_info(AucRouter *router)
{
	static const char *const sections[] = {"server", "memory", "persistence",
	"replication"};

	auc_redis_begin(router->redis, 1 + lengthof(sections));
	auc_redis_arg_str(router->redis, "INFO");
	for (int i = 0; i < lengthof(sections); i++)
		auc_redis_arg_str(router->redis, sections[i]);
	auc_redis_end(router->redis, info_reply, router);
	router->preflight->waiting++;
}

/* ACL DRYRUN user command [subcommand] ... */
static void
ask_right(AucRouter *router, const char *const *right)
{
	AucRedis   *redis = router->redis;
	const char *user = router->options.target.username;
	char		key[AUC_KEY_MAX];
	const char *sub = strchr(right[0], '|');
	int			n = 1;

	while (n < lengthof(rights[0]) && right[n] != NULL)
		n++;
	auc_redis_begin(redis, 3 + n + (sub != NULL ? 1 : 0));
	auc_redis_arg_str(redis, "ACL");
	auc_redis_arg_str(redis, "DRYRUN");
	auc_redis_arg_str(redis, user[0] != '\0' ? user : "default");
	auc_redis_arg(redis, right[0],
				  sub != NULL ? sub - right[0] : strlen(right[0]));
	if (sub != NULL)
		auc_redis_arg_str(redis, sub + 1);
	for (int i = 1; i < n; i++)
	{
		if (strcmp(right[i], "K") == 0)
			auc_redis_arg(redis, key,
						  auc_router_log_key(&router->lanes[0], key));
		else if (strcmp(right[i], "C") == 0)
			auc_redis_arg(redis, key,
						  auc_channel(key, router->options.prefix, 1));
		else
			auc_redis_arg_str(redis, right[i]);
	}
	auc_redis_end(redis, right_reply, router);
	router->preflight->waiting++;
}

static void
ask(AucRouter *router)
{
	AucRouterPreflight *preflight = router->preflight;
	int			nrights = lengthof(rights);

	if (!router->options.replica.fsync || !auc_redis_waitaof(router->redis))
		nrights--;
	auc_facts_clear(&preflight->facts);
	preflight->waiting = 0;
	preflight->next_right = 0;
	ask_config(router);
	ask_info(router);
	preflight->facts.rights_known = 1;
	for (int i = 0; i < nrights; i++)
		ask_right(router, rights[i]);
}

void
auc_router_preflight_turn(AucRouter *router, TimestampTz now)
{
	AucRouterPreflight *preflight = router->preflight;
	uint32		generation = auc_redis_generation(router->redis);

	if (auc_redis_status(router->redis) != AUC_REDIS_READY)
		return;
	if (preflight == NULL)
	{
		preflight = MemoryContextAllocZero(router->context,
										   sizeof(AucRouterPreflight));
		preflight->asked_on = generation - 1;
		router->preflight = preflight;
	}
	if (preflight->asked_on != generation)
	{
		/* what the last one did not answer is lost */
		preflight->asked_on = generation;
		preflight->waiting = 0;
		preflight->ask_at = 0;
	}
	if (preflight->waiting > 0 || now < preflight->ask_at)
		return;
	preflight->ask_at = TimestampTzPlusMilliseconds(now, ASK_MS);
	ask(router);
}
