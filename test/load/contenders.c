/*
 * contenders.c: C functions that test/bench compares the extension with.
 *
 * contender_noop: does nothing; the price of calling a C function from a
 * client at all.  contender_evalsha: what an application would write that lets
 * each backend talk to Redis itself: a connection of its own, one EVALSHA a
 * bid, blocking.  It has none of the extension's promises (a cancel waits for
 * Redis, no journal, nothing when Redis is away); it is here for its speed.
 * Neither is part of the extension.
 */
#include "postgres.h"

#include <hiredis/hiredis.h>

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(contender_noop);
PG_FUNCTION_INFO_V1(contender_evalsha);

/*
 * The rules of an open auction, and what the extension keeps in Redis.  Redis
 * serves the connections in no order of time, so most of many bidders would be
 * overtaken by a higher amount: those are raised here, to be accepted.
 */
static const char script[] =
"local state = redis.call('HMGET', KEYS[1], 'price', 'bid_count')\n"
"local price = tonumber(state[1] or '0')\n"
"local amount = math.max(tonumber(ARGV[2]), price + 1)\n"
"if amount <= price then return {0, price, state[2] or '0'} end\n"
"local text = string.format('%.0f', amount)\n"
"local n = tonumber(state[2] or '0') + 1\n"
"redis.call('HSET', KEYS[1], 'price', text, 'leader', ARGV[1],\n"
"  'bid_count', n)\n"
"redis.call('XADD', KEYS[2], '*', 'b', ARGV[1] .. ' ' .. text)\n"
"redis.call('ZADD', KEYS[3], 'GT', text, ARGV[1])\n"
"return {1, amount, n}";

static redisContext *redis = NULL;
static char script_sha[64];


Datum
contender_noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_NULL();
}

static void
connect_once(const char *socket_path)
{
	redisReply *reply;

	if (redis != NULL)
		return;
	redis = redisConnectUnix(socket_path);
	if (redis == NULL || redis->err != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not connect to Redis at \"%s\"",
						socket_path)));
	reply = redisCommand(redis, "SCRIPT LOAD %s", script);
	if (reply == NULL || reply->type != REDIS_REPLY_STRING)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not load the script")));
	strlcpy(script_sha, reply->str, sizeof(script_sha));
	freeReplyObject(reply);
}

/* (socket path, auction, user, amount) */
Datum
contender_evalsha(PG_FUNCTION_ARGS)
{
	long long	auction = PG_GETARG_INT64(1);
	long long	user = PG_GETARG_INT64(2);
	long long	amount = PG_GETARG_INT64(3);
	redisReply *reply;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	connect_once(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	reply = redisCommand(redis,
						 "EVALSHA %s 3 {c}:a:%lld {c}:log {c}:b:%lld"
						 " %lld %lld",
						 script_sha, auction, auction, user, amount);
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY ||
		reply->elements != 3)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("unexpected answer from Redis")));
	values[0] = BoolGetDatum(reply->element[0]->integer == 1);
	if (reply->element[0]->integer == 1)
	{
		nulls[1] = true;
		values[2] = Int64GetDatum(reply->element[2]->integer);
	}
	else
	{
		values[1] = CStringGetTextDatum("too_low");
		nulls[2] = true;
	}
	values[3] = Int64GetDatum(reply->element[1]->integer);
	freeReplyObject(reply);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
