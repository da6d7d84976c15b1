/*
 * redis_script.c: the Lua scripts, and the names of a lane's keys.
 *
 * lua_scripts.h is made from src/lua/ by the Makefile.  If you add a script:
 * the file, AucScript, the table below.
 */
#include "postgres.h"

#include "lua_scripts.h"
#include "redis_script.h"

typedef struct AucScriptSource
{
	const char *name;
	const char *source;
	size_t		len;
} AucScriptSource;

#define SCRIPT(name) {#name, auc_lua_##name, sizeof(auc_lua_##name) - 1}

static const AucScriptSource scripts[] = {
	[AUC_SCRIPT_TAKE] = SCRIPT(take),
	[AUC_SCRIPT_APPEND] = SCRIPT(append),
	[AUC_SCRIPT_MARK] = SCRIPT(mark),
	[AUC_SCRIPT_BEAT] = SCRIPT(beat),
	[AUC_SCRIPT_BOOK] = SCRIPT(book),
	[AUC_SCRIPT_AUDIT] = SCRIPT(audit),
	[AUC_SCRIPT_REBUILD] = SCRIPT(rebuild),
	[AUC_SCRIPT_REMOVE] = SCRIPT(remove),
	[AUC_SCRIPT_SHADOW] = SCRIPT(shadow),
};

StaticAssertDecl(lengthof(scripts) == AUC_SCRIPT_COUNT,
				 "every script has a source");

const char *
auc_script_source(AucScript script, size_t *len)
{
	Assert(script < AUC_SCRIPT_COUNT);
	*len = scripts[script].len;
	return scripts[script].source;
}

const char *
auc_script_name(AucScript script)
{
	Assert(script < AUC_SCRIPT_COUNT);
	return scripts[script].name;
}

/* The prefix is bounded where it is set, so every key fits AUC_KEY_MAX. */
static int
key_of_lane(char *key, const char *prefix, int lane, const char *name)
{
	int			len = snprintf(key, AUC_KEY_MAX, "{%s:%d}:%s", prefix, lane,
							   name);

	Assert(len < AUC_KEY_MAX);
	return Min(len, AUC_KEY_MAX - 1);
}

static int
key_of_auction(char *key, const char *prefix, int lane, const char *name,
			   int64 auction_id)
{
	int			len = snprintf(key, AUC_KEY_MAX, "{%s:%d}:%s:" INT64_FORMAT,
							   prefix, lane, name, auction_id);

	Assert(len < AUC_KEY_MAX);
	return Min(len, AUC_KEY_MAX - 1);
}

int
auc_key_log(char *key, const char *prefix, int lane)
{
	return key_of_lane(key, prefix, lane, "log");
}

int
auc_key_term(char *key, const char *prefix, int lane)
{
	return key_of_lane(key, prefix, lane, "term");
}

int
auc_key_auction(char *key, const char *prefix, int lane, int64 auction_id)
{
	return key_of_auction(key, prefix, lane, "auction", auction_id);
}

int
auc_key_book(char *key, const char *prefix, int lane, int64 auction_id)
{
	return key_of_auction(key, prefix, lane, "book", auction_id);
}

int
auc_key_shadow_log(char *key, const char *prefix, int lane)
{
	return key_of_lane(key, prefix, lane, "shadowlog");
}

int
auc_key_shadow(char *key, const char *prefix, int lane, int64 auction_id)
{
	return key_of_auction(key, prefix, lane, "shadow", auction_id);
}

int
auc_key_shadow_book(char *key, const char *prefix, int lane,
					int64 auction_id)
{
	return key_of_auction(key, prefix, lane, "shadowbook", auction_id);
}

int
auc_channel(char *channel, const char *prefix, int64 auction_id)
{
	int			len = snprintf(channel, AUC_KEY_MAX,
							   "%s:auction:" INT64_FORMAT, prefix,
							   auction_id);

	Assert(len < AUC_KEY_MAX);
	return Min(len, AUC_KEY_MAX - 1);
}
