/*
 * test_preflight.c: what CONFIG GET and INFO say of a Redis, and what is
 * thought of it.
 */
#include <string.h>

#include "redis_preflight.h"
#include "tap.h"

static AucRedisFacts facts;
static AucPreflightWish wish;
static AucPreflightVerdict verdict;

static const char *const info =
	"# Server\r\nredis_version:7.0.15\r\nrun_id:0\r\n\r\n"
	"# Memory\r\nused_memory:950\r\nused_memory_human:950B\r\n"
	"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n"
	"# Persistence\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
	"aof_last_write_status:ok\r\n"
	"# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"
	"slave0:ip=::1,port=1,state=online,offset=1,lag=0\r\n"
	"slave1:ip=::1,port=2,state=wait_bgsave,offset=1,lag=0\r\n";

/* A Redis with which nothing is wrong. */
static void
begin(void)
{
	auc_facts_clear(&facts);
	auc_facts_info(&facts, info, strlen(info));
	auc_facts_config(&facts, "maxmemory", "0");
	auc_facts_config(&facts, "maxmemory-policy", "noeviction");
	auc_facts_config(&facts, "appendonly", "yes");
	auc_facts_config(&facts, "appendfsync", "everysec");
	auc_facts_config(&facts, "no-appendfsync-on-rewrite", "no");
	auc_facts_config(&facts, "min-replicas-to-write", "0");
	facts.rights_known = 1;
	memset(&wish, 0, sizeof(wish));
}

/* Is the item judged so?  What is not ok has a remedy. */
static bool
is(AucPreflightItem item, AucPreflightStatus status, const char *finding)
{
	auc_preflight_judge(&facts, &wish, item, &verdict);
	return verdict.status == status &&
		(verdict.remedy == NULL) == (status == AUC_PREFLIGHT_OK) &&
		strcmp(verdict.finding, finding) == 0;
}

static void
test_good(void)
{
	int			good = 0;

	begin();
	for (int i = 0; i < AUC_PREFLIGHT_COUNT; i++)
	{
		auc_preflight_judge(&facts, &wish, (AucPreflightItem) i, &verdict);
		if (verdict.status == AUC_PREFLIGHT_OK && verdict.item != NULL &&
			verdict.finding[0] != '\0')
			good++;
	}
	ok(good == AUC_PREFLIGHT_COUNT, "nothing is wrong");
}

static void
test_unknown(void)
{
	int			warned = 0;

	begin();
	auc_facts_clear(&facts);
	for (int i = 0; i < AUC_PREFLIGHT_COUNT; i++)
	{
		auc_preflight_judge(&facts, &wish, (AucPreflightItem) i, &verdict);
		if (verdict.status == AUC_PREFLIGHT_WARNING &&
			strncmp(verdict.finding, "not known", 9) == 0)
			warned++;
	}
	ok(warned == AUC_PREFLIGHT_COUNT, "what is not known is not taken for good");
	facts.config_denied = 1;
	ok(is(AUC_PREFLIGHT_EVICTION, AUC_PREFLIGHT_WARNING,
		  "not known: CONFIG GET is not allowed"), "... and it says why");
}

static void
test_server(void)
{
	begin();
	ok(is(AUC_PREFLIGHT_VERSION, AUC_PREFLIGHT_OK, "7.0.15"), "version");
	auc_facts_info(&facts, "redis_version:6.2.14\r\n", 22);
	ok(is(AUC_PREFLIGHT_VERSION, AUC_PREFLIGHT_ERROR, "6.2.14"),
	   "an old version");
	auc_facts_info(&facts, "role:slave\r\n", 12);
	ok(is(AUC_PREFLIGHT_ROLE, AUC_PREFLIGHT_ERROR, "replica"), "a replica");
	auc_facts_denied(&facts, "zadd");
	auc_facts_denied(&facts, "publish");
	ok(is(AUC_PREFLIGHT_RIGHTS, AUC_PREFLIGHT_ERROR,
		  "not allowed: zadd, publish"), "rights that are missing");
	for (int i = 0; i < 100; i++)
		auc_facts_denied(&facts, "xinfo");
	ok(strlen(facts.denied) < sizeof(facts.denied), "many of them");
}

static void
test_memory(void)
{
	begin();
	auc_facts_config(&facts, "maxmemory", "1000");
	ok(is(AUC_PREFLIGHT_MEMORY, AUC_PREFLIGHT_WARNING,
		  "95 % of maxmemory in use"), "memory is short");
	auc_facts_config(&facts, "maxmemory", "950");
	ok(is(AUC_PREFLIGHT_MEMORY, AUC_PREFLIGHT_ERROR,
		  "100 % of maxmemory in use"), "there is none left");
	auc_facts_config(&facts, "maxmemory", "2000");
	ok(is(AUC_PREFLIGHT_MEMORY, AUC_PREFLIGHT_OK,
		  "48 % of maxmemory in use"), "there is enough");
	auc_facts_config(&facts, "maxmemory-policy", "allkeys-lru");
	ok(is(AUC_PREFLIGHT_EVICTION, AUC_PREFLIGHT_ERROR, "allkeys-lru"),
	   "it would evict");
}

static void
test_persistence(void)
{
	begin();
	auc_facts_config(&facts, "no-appendfsync-on-rewrite", "yes");
	ok(is(AUC_PREFLIGHT_REWRITE, AUC_PREFLIGHT_WARNING,
		  "yes: nothing is synced while a file is rewritten"),
	   "no-appendfsync-on-rewrite");
	auc_facts_config(&facts, "appendfsync", "always");
	ok(is(AUC_PREFLIGHT_REWRITE, AUC_PREFLIGHT_ERROR,
		  "yes: appendfsync always does not hold while a file is rewritten"),
	   "no-appendfsync-on-rewrite and always");
	ok(is(AUC_PREFLIGHT_FSYNC, AUC_PREFLIGHT_OK, "always"), "always");
	auc_facts_config(&facts, "appendfsync", "no");
	ok(is(AUC_PREFLIGHT_FSYNC, AUC_PREFLIGHT_WARNING, "no"), "never synced");
	auc_facts_info(&facts, "aof_last_write_status:err\n", 26);
	ok(is(AUC_PREFLIGHT_AOF, AUC_PREFLIGHT_ERROR, "the last write has failed"),
	   "its disk is full");

	auc_facts_config(&facts, "appendonly", "no");
	ok(is(AUC_PREFLIGHT_AOF, AUC_PREFLIGHT_WARNING, "no append-only file"),
	   "no append-only file, and every auction asks for the journal");
	wish.relied_on = true;
	auc_facts_config(&facts, "save", "3600 1");
	ok(is(AUC_PREFLIGHT_AOF, AUC_PREFLIGHT_ERROR,
		  "no append-only file, RDB files only"),
	   "no append-only file, and some rely on it");
	ok(is(AUC_PREFLIGHT_FSYNC, AUC_PREFLIGHT_OK, "no append-only file") &&
	   is(AUC_PREFLIGHT_REWRITE, AUC_PREFLIGHT_OK, "no append-only file"),
	   "... which is said once");
}

static void
test_replicas(void)
{
	begin();
	ok(is(AUC_PREFLIGHT_REPLICAS, AUC_PREFLIGHT_OK, "1 online, 0 needed"),
	   "only those that are online count");
	wish.replicas = 2;
	ok(is(AUC_PREFLIGHT_REPLICAS, AUC_PREFLIGHT_ERROR, "1 online, 2 needed"),
	   "too few for level replica");
	wish.replicas = 1;
	ok(is(AUC_PREFLIGHT_REPLICAS, AUC_PREFLIGHT_OK, "1 online, 1 needed"),
	   "enough");
	auc_facts_config(&facts, "min-replicas-to-write", "3");
	ok(is(AUC_PREFLIGHT_REPLICAS, AUC_PREFLIGHT_ERROR, "1 online, 3 needed"),
	   "too few for Redis itself");
	auc_facts_info(&facts, info, strlen(info));
	ok(facts.replicas == 1, "asked again, they are counted anew");
}

static void
test_junk(void)
{
	static const char *const junk[] = {
		"", ":", "::\r\n", "redis_version", "redis_version:", "redis_version:x.y",
		"redis_version:999.999.999\r\n", "used_memory:-5\r\n",
		"used_memory:99999999999999999999999\r\n", "slave0:\r\n", "slave:x",
		"maxmemory_policy:A B\r\n", "role:\xff\xfe\r\n", "\n\n\n\r\r", "aof_enabled:2",
	};
	char		big[5000];

	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++)
	{
		auc_facts_clear(&facts);
		auc_facts_info(&facts, junk[i], strlen(junk[i]));
		expect(facts.version == -1 && facts.is_replica == -1 &&
			   facts.appendonly == -1 && facts.used_memory == -1 &&
			   facts.policy[0] == '\0');
	}
	tap_expected("from what is no INFO nothing is learnt");
	memset(big, 'x', sizeof(big));
	big[20] = ':';
	auc_facts_clear(&facts);
	auc_facts_info(&facts, big, sizeof(big));
	big[sizeof(big) - 1] = '\0';
	auc_facts_config(&facts, "maxmemory-policy", big);
	auc_facts_config(&facts, "appendfsync", "everysecondbutone");
	ok(facts.policy[0] == '\0' && facts.appendfsync[0] == '\0',
	   "what is too long is not taken");
}

int
main(void)
{
	test_good();
	test_unknown();
	test_server();
	test_memory();
	test_persistence();
	test_replicas();
	test_junk();
	return tap_done();
}
