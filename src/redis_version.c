/*
 * redis_version.c: which commands of a Redis can be relied on.
 *
 * INFO has a "name:value" a line.  Forks keep redis_version for the sake of
 * clients that look at it and add lines of their own; those are looked for
 * first.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "redis_version.h"

/* The value of a line that begins with "name:"; NULL: there is none. */
static const char *
field(const char *info, const char *name)
{
	size_t		len = strlen(name);

	for (const char *line = info; line != NULL; line = strchr(line, '\n'))
	{
		if (*line == '\n')
			line++;
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1;
	}
	return NULL;
}

static bool
is_redis(const char *info)
{
	static const char *const others[] = {
		"server_name", "valkey_version", "dragonfly_version", "kvrocks_version"
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (field(info, others[i]) != NULL)
			return false;
	return true;
}

bool
auc_redis_version_waitaof(const char *info)
{
	const char *version = field(info, "redis_version");
	int			major;
	int			minor;
	int			patch;

	if (version == NULL || !is_redis(info) ||
		sscanf(version, "%5d.%5d.%5d", &major, &minor, &patch) != 3)
		return false;
	if (major != 7)
		return major > 7;
	return minor > 4 || (minor == 4 && patch >= 3);
}
