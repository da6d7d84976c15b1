/*
 * test_redis_version.c: which Redis has a WAITAOF that can be relied on.
 */
#include <stdio.h>

#include "redis_version.h"
#include "tap.h"

static bool
works(const char *version)
{
	char		info[200];

	snprintf(info, sizeof(info),
			 "# Server\r\nredis_version:%s\r\nredis_git_sha1:00000000\r\n"
			 "redis_mode:standalone\r\nrun_id:0123\r\n", version);
	return auc_redis_version_waitaof(info);
}

int
main(void)
{
	ok(!works("6.2.14") && !works("7.0.15"), "Redis before 7.2 has none");
	ok(!works("7.2.0") && !works("7.2.10"), "7.2: not relied on");
	ok(!works("7.4.0") && !works("7.4.2"), "7.4.0 to 7.4.2 return early");
	ok(works("7.4.3") && works("7.4.10"), "from 7.4.3 on");
	ok(works("8.0.0") && works("8.2.1") && works("10.0.0"), "from 8.0 on");
	ok(!auc_redis_version_waitaof("# Server\r\nredis_version:7.2.4\r\n"
								  "server_name:valkey\r\n"
								  "valkey_version:8.1.1\r\n"),
	   "Valkey 8.1: returns early");
	ok(!auc_redis_version_waitaof("# Server\r\nserver_name:valkey\r\n"
								  "redis_version:8.0.0\r\n"),
	   "a fork is none, whatever redis_version it shows");
	ok(!auc_redis_version_waitaof("# Server\r\nredis_version:8.0.0\r\n"
								  "dragonfly_version:df-v1.30.0\r\n"),
	   "nor is another server");
	ok(auc_redis_version_waitaof("redis_version:8.0.0\n"),
	   "the first line, without a carriage return");
	ok(!auc_redis_version_waitaof("") &&
	   !auc_redis_version_waitaof("# Server\r\n") && !works("") &&
	   !works("8") && !works("8.0") && !works("unstable") &&
	   !works("-8.0.0"), "no version, or none that can be read");
	ok(!auc_redis_version_waitaof("x_redis_version:8.0.0\r\n"),
	   "another field that ends in the same way");
	return tap_done();
}
