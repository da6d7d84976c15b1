/*
 * redis_greeting.c: the first commands of every connection.
 *
 * AUTH (if there is a password), SELECT, INFO server and one SCRIPT LOAD for
 * each script are sent together; their replies come back in that order.
 * Anything but the reply that is expected ends the connection with a reason.
 * The scripts are loaded each time: Redis forgets them at a restart.
 */
#include "postgres.h"

#include "redis_private.h"
#include "redis_version.h"

/* Replies in order; from STEP_SCRIPT on one for each script. */
enum
{
	STEP_AUTH,
	STEP_SELECT,
	STEP_INFO,
	STEP_SCRIPT,
	STEP_END = STEP_SCRIPT + AUC_SCRIPT_COUNT
};

static void
put_str(AucRedis *conn, const char *str)
{
	auc_redis_put(conn, str, strlen(str));
}

void
auc_redis_greet(AucRedis *conn)
{
	const AucRedisTarget *target = &conn->target;
	char		db[16];
	const char *source;
	size_t		len;
	int			i;

	conn->greeting_step = STEP_SELECT;
	if (target->password[0] != '\0')
	{
		conn->greeting_step = STEP_AUTH;
		auc_redis_put_header(conn, target->username[0] != '\0' ? 3 : 2);
		put_str(conn, "AUTH");
		if (target->username[0] != '\0')
			put_str(conn, target->username);
		put_str(conn, target->password);
	}

	snprintf(db, sizeof(db), "%d", target->db);
	auc_redis_put_header(conn, 2);
	put_str(conn, "SELECT");
	put_str(conn, db);

	auc_redis_put_header(conn, 2);
	put_str(conn, "INFO");
	put_str(conn, "server");

	for (i = 0; i < AUC_SCRIPT_COUNT; i++)
	{
		source = auc_script_source((AucScript) i, &len);
		auc_redis_put_header(conn, 3);
		put_str(conn, "SCRIPT");
		put_str(conn, "LOAD");
		auc_redis_put(conn, source, len);
	}
}

/* Copies 40 hex digits; false: there are none. */
static bool
copy_sha(char *sha, const char *text, size_t len)
{
	if (len < AUC_REDIS_SHA_LEN ||
		strspn(text, "0123456789abcdef") != AUC_REDIS_SHA_LEN)
		return false;
	memcpy(sha, text, AUC_REDIS_SHA_LEN);
	sha[AUC_REDIS_SHA_LEN] = '\0';
	return true;
}

static const char *
step_name(int step)
{
	switch (step)
	{
		case STEP_AUTH:
			return "AUTH";
		case STEP_SELECT:
			return "SELECT";
		case STEP_INFO:
			return "INFO";
		default:
			return "SCRIPT LOAD";
	}
}

/* Is it what the step expects?  Notes what is wanted of it. */
static bool
accept_reply(AucRedis *conn, const redisReply *reply)
{
	const char *run_id;

	switch (conn->greeting_step)
	{
		case STEP_AUTH:
		case STEP_SELECT:
			return reply->type == REDIS_REPLY_STATUS &&
				strcmp(reply->str, "OK") == 0;
		case STEP_INFO:
			if (reply->type != REDIS_REPLY_STRING)
				return false;
			run_id = strstr(reply->str, "run_id:");
			if (run_id == NULL)
				return false;
			run_id += strlen("run_id:");
			conn->waitaof = auc_redis_version_waitaof(reply->str);
			return copy_sha(conn->run_id, run_id, strlen(run_id));
		default:
			return reply->type == REDIS_REPLY_STRING &&
				copy_sha(conn->sha[conn->greeting_step - STEP_SCRIPT],
						 reply->str, reply->len);
	}
}

void
auc_redis_greeting_reply(AucRedis *conn, const redisReply *reply)
{
	if (accept_reply(conn, reply))
	{
		if (++conn->greeting_step == STEP_END)
			conn->status = AUC_REDIS_READY;
	}
	else if (reply->type == REDIS_REPLY_ERROR)
	{
		char		what[64];

		snprintf(what, sizeof(what), "Redis refused %s",
				 step_name(conn->greeting_step));
		auc_redis_close_refused(conn, what, reply);
	}
	else
		auc_redis_fail(conn, AUC_FAULT_PROTOCOL,
					   "unexpected reply to %s from Redis",
					   step_name(conn->greeting_step));
}
