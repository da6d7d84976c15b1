/*
 * router_adopt.c: what a DBA has asked for with adopt_lanes() (adopt.c).
 *
 * Read once a second while a lane is not normal.  To adopt is to take the lane
 * whoever owns it.  To give its log up is to take it without its log: whose
 * owner has to be silent for a lease all the same, for what is deleted may be
 * another database's; then all keys of the lane are deleted, and it begins
 * anew, behind the positions that may have been given.  A recovering lane
 * whose Redis is away does so without Redis; when that is back, the log it
 * then has is deleted.  So does one that stands before a gap, or still reads.
 * A request for a lane that was taken meanwhile is of no use any more, nor is
 * one that was made before the lane became normal: it could be found in another
 * outage, when nobody means it.
 */
#include "postgres.h"

#include "access/table.h"
#include "errors.h"
#include "miscadmin.h"
#include "relation.h"
#include "router.h"
#include "shm.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Keys that one SCAN looks at. */
#define CLEAR_COUNT		1000

static AucStatement read_requests = {
	"SELECT DISTINCT ON (a.lane_id) a.lane_id, a.give_up_log, a.by_role, a.at "
	"FROM auction._adoptions a JOIN auction._lane_terms t USING (lane_id) "
	"WHERE a.instance = $1 AND (t.taken_at IS NULL OR a.at > t.taken_at) "
	"ORDER BY a.lane_id, a.at DESC",
	1, {TEXTOID}
};

/* ---- requests ---- */

static void
note_request(AucRouterLane *rl, bool give_up_log, TimestampTz at,
			 const char *role)
{
	if (at <= rl->insisted_at)
		return;
	rl->insisted_at = at;
	rl->insist = give_up_log ? AUC_INSIST_GIVE_UP : AUC_INSIST_ADOPT;
	rl->cleared = false;
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" is adopted by role \"%s\"%s",
					rl->lane_id, NameStr(rl->router->server->name), role,
					give_up_log ? ", who gives its log up" : "")));
}

/*
 * A request for a lane that is taken already.  While it recovers, its log can
 * still be given up: it is taken anew.  Else there is nothing to insist on, nor
 * may there be later, by this router or the next: the log may be needed then.
 */
static void
settle_taken(AucRouterLane *rl)
{
	if (rl->insist == AUC_INSIST_GIVE_UP &&
		(rl->phase == AUC_PHASE_READING || rl->phase == AUC_PHASE_APPLYING))
	{
		auc_router_gap_forget(rl);
		rl->reading = false;
		rl->phase = AUC_PHASE_NONE;
		return;
	}
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" is taken already: the request to adopt it is not needed",
					rl->lane_id, NameStr(rl->router->server->name))));
	auc_router_adopt_void(rl);
}

/* Not now, if somebody has locked the table. */
static void
read_all(AucRouter *router)
{
	char		instance[AUC_KEY_MAX];
	Datum		values[1];
	Relation	adoptions;
	uint64		n;

	auc_worker_xact_begin("reading adoptions");
	adoptions = auc_relation_try_open(AUC_REL_ADOPTIONS, AccessShareLock);
	if (adoptions == NULL)
	{
		auc_worker_xact_commit();
		return;
	}
	SPI_connect();
	values[0] = CStringGetTextDatum(auc_router_instance(instance));
	n = auc_statement_run(&read_requests, values, SPI_OK_SELECT);
	for (uint64 row = 0; row < n; row++)
	{
		int			lane_id = auc_statement_int32(row, 1);
		bool		isnull;
		Datum		role = auc_statement_datum(row, 3, &isnull);
		Datum		at = auc_statement_datum(row, 4, &isnull);

		for (int i = 0; i < router->nlanes; i++)
			if (router->lanes[i].lane_id == lane_id)
				note_request(&router->lanes[i], auc_statement_bool(row, 2),
							 DatumGetTimestampTz(at), TextDatumGetCString(role));
	}
	SPI_finish();
	table_close(adoptions, NoLock);
	auc_worker_xact_commit();
}

static bool
may_be_asked_for(AucRouter *router)
{
	for (int i = 0; i < router->nlanes; i++)
	{
		AucLaneState state = auc_lane_get_state(router->lanes[i].lane);

		if (state != AUC_LANE_NORMAL && state != AUC_LANE_RETURNING &&
			state != AUC_LANE_UNKNOWN)
			return true;
	}
	return false;
}

/* Once a second. */
void
auc_router_adopt_upkeep(AucRouter *router)
{
	if (!may_be_asked_for(router))
		return;
	read_all(router);
	for (int i = 0; i < router->nlanes; i++)
		if (router->lanes[i].insist != AUC_INSIST_NOT &&
			router->lanes[i].phase >= AUC_PHASE_READING)
			settle_taken(&router->lanes[i]);
}

/* It is taken, or cannot be. */
void
auc_router_adopt_done(AucRouterLane *rl)
{
	rl->insist = AUC_INSIST_NOT;
	rl->cleared = false;
}

/*
 * Whatever was asked for up to now, also by who has not committed yet, is of no
 * use to this router or any later one: taken_at is behind it.
 */
void
auc_router_adopt_void(AucRouterLane *rl)
{
	auc_router_adopt_done(rl);
	auc_router_store_term(rl, false, 0);
}

/* ---- all keys of a lane are deleted ---- */

static void scan(AucRouterLane *rl, const char *cursor);

static void
unlink_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	if (reply != NULL && rl->phase == AUC_PHASE_CLEARING &&
		reply->type == REDIS_REPLY_ERROR)
		auc_router_lane_give_up(rl, "could not delete keys", reply);
}

/* Of the last page, or an answer that there is nothing to delete. */
static void
last_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	unlink_reply(arg, reply);
	if (reply == NULL || rl->phase != AUC_PHASE_CLEARING ||
		reply->type == REDIS_REPLY_ERROR)
		return;
	rl->cleared = true;
	rl->phase = AUC_PHASE_NONE;
}

static void
scan_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;
	AucRedis   *redis = rl->router->redis;
	const redisReply *keys;
	bool		last;

	if (reply == NULL || rl->phase != AUC_PHASE_CLEARING)
		return;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
		reply->element[0]->type != REDIS_REPLY_STRING ||
		reply->element[1]->type != REDIS_REPLY_ARRAY)
	{
		auc_router_lane_give_up(rl, "could not look for keys", reply);
		return;
	}
	keys = reply->element[1];
	last = strcmp(reply->element[0]->str, "0") == 0;
	if (keys->elements > 0)
	{
		auc_redis_begin(redis, 1 + (int) keys->elements);
		auc_redis_arg_str(redis, "UNLINK");
		for (size_t i = 0; i < keys->elements; i++)
			auc_redis_arg(redis, keys->element[i]->str, keys->element[i]->len);
		auc_redis_end(redis, last ? last_reply : unlink_reply, rl);
	}
	else if (last)
		last_reply(rl, reply);
	if (!last)
		scan(rl, reply->element[0]->str);
}

static void
scan(AucRouterLane *rl, const char *cursor)
{
	AucRedis   *redis = rl->router->redis;
	const char *prefix = rl->router->options.prefix;
	char		pattern[2 * AUC_KEY_MAX];
	int			len = 0;

	/* the prefix is text, not a pattern */
	pattern[len++] = '{';
	for (const char *c = prefix; *c != '\0'; c++)
	{
		if (strchr("*?[]\\^-", *c) != NULL)
			pattern[len++] = '\\';
		pattern[len++] = *c;
	}
	snprintf(pattern + len, sizeof(pattern) - len, ":%d}:*", rl->number);

	auc_redis_begin(redis, 6);
	auc_redis_arg_str(redis, "SCAN");
	auc_redis_arg_str(redis, cursor);
	auc_redis_arg_str(redis, "MATCH");
	auc_redis_arg_str(redis, pattern);
	auc_redis_arg_str(redis, "COUNT");
	auc_redis_arg_int64(redis, CLEAR_COUNT);
	auc_redis_end(redis, scan_reply, rl);
}

/* The lane is taken, and nothing of what it has is to be kept. */
void
auc_router_adopt_clear(AucRouterLane *rl)
{
	rl->phase = AUC_PHASE_CLEARING;
	scan(rl, "0");
}
