/*
 * router_take.c: a lane between a new connection and its first append.
 *
 * Not recovering, and after a crash of PostgreSQL, when the tail is gone and
 * the log has it:
 *
 *   NONE -> TAKING -> TAKEN -> COMPARING -> APPENDING
 *   NONE -> TAKING -> TAKEN -> READING -> APPLYING -> APPENDING
 *
 * Taking (rule 10) raises the term and tells the log's last position; the term
 * is committed in PostgreSQL before it is used.  Comparing (rule 9) looks at
 * what the log has beyond "confirmed": an append whose answer never came.
 * Reading copies the log behind "applied" into the tail, from where the drain
 * applies it as always.
 *
 * Where the log lacks positions, reading stops: see router_gap.c.
 *
 * After a crash the positions behind the log's end up to "reserved" may have
 * been given and acknowledged, and lost with Redis: they are given up by a
 * skip record before a new position is used (rule 5).
 */
#include "postgres.h"

#include "compat.h"
#include "errors.h"
#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "utils/timestamp.h"

/* Entries a read of the log asks for at a time; one has up to 1000 records. */
#define READ_ENTRIES	8

bool
auc_router_position(const redisReply *reply, uint64 *position)
{
	char	   *end;

	if (reply->type != REDIS_REPLY_STRING || reply->str[0] < '0' ||
		reply->str[0] > '9')
		return false;
	errno = 0;
	*position = strtoull(reply->str, &end, 10);
	return errno == 0 && (*end == '\0' || *end == '-') &&
		*position <= PG_INT64_MAX;
}

/* ---- taking ---- */

static bool
all_strings(const redisReply *reply)
{
	for (size_t i = 0; i < reply->elements; i++)
		if (reply->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return true;
}

static void
not_adopted(AucRouterLane *rl, const char *why)
{
	if (rl->insist != AUC_INSIST_NOT)
		ereport(LOG,
				(errcode(AUC_ERRCODE_FENCED),
				 errmsg("lane %d of server \"%s\" cannot be adopted: %s",
						rl->lane_id, NameStr(rl->router->server->name), why)));
	auc_router_adopt_done(rl);
}

/*
 * Another uuid, or the same one in another database, which is a copy.  An
 * installation that is gone has left its keys; nobody but a DBA can know that
 * it is.
 */
static void
fence_other(AucRouterLane *rl, const redisReply *uuid)
{
	const char *slash = strchr(rl->identity, '/');
	int			len = slash != NULL ? (int) (slash - rl->identity) + 1 : 0;
	bool		copy = uuid->type == REDIS_REPLY_STRING &&
		strncmp(uuid->str, rl->identity, len) == 0;

	not_adopted(rl, "it is not this lane's log");
	auc_router_lane_fence(rl, copy ?
						  "Redis has it for another database, of which this one is a copy" :
						  "Redis has a lane of another database or installation under the same prefix",
						  copy ?
						  "If this one is to have it, auction.adopt_lanes() takes it; else choose another prefix." :
						  "If that is in use, choose another prefix: ALTER SERVER ... OPTIONS (ADD prefix ...). If it is gone, as after DROP EXTENSION, auction.adopt_lanes(server, give_up_log => true) deletes what is left of it in Redis, the keys {PREFIX:LANE}:*.");
}

static void
take_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;
	uint64		term;
	uint64		last;

	if (reply == NULL || rl->phase != AUC_PHASE_TAKING)
		return;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
		auc_router_reply_is(reply->element[0], "OTHER"))
	{
		fence_other(rl, reply->element[1]);
		return;
	}
	/* somebody else's key under our name: no other lane is to suffer from it */
	if (reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "WRONGTYPE"))
	{
		not_adopted(rl, "Redis has a key of another type under its name");
		auc_router_lane_fence(rl, "Redis has a key of another type under the lane's name", NULL);
		return;
	}
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 6 &&
		(auc_router_reply_is(reply->element[0], "HELD") ||
		 auc_router_reply_is(reply->element[0], "CLAIMED")) &&
		all_strings(reply))
	{
		auc_router_owner_held(rl, reply);
		return;
	}
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 4 ||
		!auc_router_reply_is(reply->element[0], "TAKEN") ||
		!auc_router_position(reply->element[1], &term) ||
		!auc_router_position(reply->element[2], &last))
	{
		auc_router_lane_give_up(rl, "could not take the log", reply);
		return;
	}
	rl->term = term;
	if (rl->insist == AUC_INSIST_GIVE_UP && !rl->cleared)
	{
		auc_router_adopt_clear(rl);
		return;
	}
	rl->read_to = last;
	rl->phase = AUC_PHASE_TAKEN;
	auc_router_owner_took(rl);
}

static void
take(AucRouterLane *rl)
{
	AucRedis   *redis = rl->router->redis;
	const char *seen;
	const char *how = auc_router_owner_how(rl, &seen);
	char		key[AUC_KEY_MAX];
	int			len;

	auc_router_replicas_forget(rl);
	auc_redis_begin_script(redis, AUC_SCRIPT_TAKE, 2, 8);
	len = auc_router_log_key(rl, key);
	auc_redis_arg(redis, key, len);
	len = auc_router_term_key(rl, key);
	auc_redis_arg(redis, key, len);
	auc_redis_arg_str(redis, rl->identity);
	auc_redis_arg_str(redis, auc_router_instance(key));
	auc_redis_arg_int64(redis, Max(rl->term, rl->stored_term));
	auc_redis_arg_str(redis, rl->router->place);
	auc_redis_arg_int64(redis, rl->sent_lease);
	auc_redis_arg_str(redis, how);
	auc_redis_arg_str(redis, seen);
	auc_redis_arg_int64(redis, rl->writer.last);
	auc_redis_end(redis, take_reply, rl);
	rl->phase = AUC_PHASE_TAKING;
}

/* The send cursor to the first record behind "position"; logged_off too. */
static void
seek(AucRouterLane *rl, uint64 position)
{
	AucTailCursor cursor;
	const AucRecord *record;

	cursor.lane = rl->lane;
	cursor.off = pg_atomic_read_u64(&rl->lane->freed_off);
	do
	{
		rl->send = cursor;
		record = auc_tail_next(&cursor);
	} while (record != NULL && record->position <= position);
	rl->logged_off = rl->send.off;
}

/*
 * Did Redis forget what it had confirmed, or was it another one, while our
 * tail was lost too?  Then acknowledged bids may be missing, and nothing but
 * this tells.
 */
static bool
loss_possible(AucRouterLane *rl, bool was_fenced)
{
	uint64		had = Max(pg_atomic_read_u64(&rl->lane->applied),
						  rl->writer.last);

	if (auc_lane_get_state(rl->lane) != AUC_LANE_RECOVERING ||
		rl->reserved == 0)
		return false;
	return was_fenced || rl->read_to < had ||
		rl->insist == AUC_INSIST_GIVE_UP ||
		(rl->stored_run_id[0] != '\0' &&
		 strcmp(rl->stored_run_id, auc_redis_run_id(rl->router->redis)) != 0);
}

static void
report_loss(AucRouterLane *rl, uint64 kept)
{
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("lane %d of server \"%s\": bids accepted behind position " UINT64_FORMAT " may be lost",
					rl->lane_id, NameStr(rl->router->server->name), kept),
			 rl->insist == AUC_INSIST_GIVE_UP ?
			 errdetail("Its log was given up.") :
			 errdetail("PostgreSQL and Redis both restarted, so what Redis had not kept is in neither.")));
}

static void
taken(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		kept = Max(pg_atomic_read_u64(&lane->applied), rl->read_to);
	bool		fenced = auc_lane_get_state(lane) == AUC_LANE_FENCED;
	bool		loss;

	/* it goes on where the fence stopped it; not recovering: see advance */
	if (fenced && pg_atomic_read_u32(&lane->fenced_recovering))
		auc_lane_set_state(lane, AUC_LANE_RECOVERING);
	loss = loss_possible(rl, fenced);

	/* committed before it is used */
	auc_router_store_term(rl, loss, kept);
	pg_atomic_write_u64(&lane->term, rl->term);
	if (loss)
		report_loss(rl, kept);
	auc_router_adopt_done(rl);
	rl->log_last = rl->read_to;
	rl->reappended = 0;
	if (auc_lane_get_state(lane) == AUC_LANE_RECOVERING)
	{
		/* what was copied before a fence came from the log, too */
		auc_router_lane_confirm(rl, rl->writer.last);
		rl->drain_due = true;
		rl->phase = AUC_PHASE_READING;
		return;
	}
	if (rl->log_last > rl->published)
	{
		auc_router_lane_fence(rl, "the log has positions that were never given here",
							  "If another instance of PostgreSQL has written them for this lane, a restart of this one applies them. Else auction.adopt_lanes(server, give_up_log => true) goes on without that log.");
		return;
	}
	seek(rl, rl->log_last);
	rl->compared = pg_atomic_read_u64(&lane->confirmed);
	rl->compare.lane = lane;
	rl->compare.off = pg_atomic_read_u64(&lane->freed_off);
	rl->phase = AUC_PHASE_COMPARING;
	if (auc_lane_get_state(lane) == AUC_LANE_DEGRADED)
		auc_lane_set_state(lane, AUC_LANE_RETURNING);
}

/* ---- reading the log: recovering and comparing ---- */

/* The tail's record at the position, NULL if it is not there any more. */
static const AucRecord *
find_in_tail(AucRouterLane *rl, uint64 position)
{
	for (;;)
	{
		AucTailCursor next = rl->compare;
		const AucRecord *record = auc_tail_next(&next);

		if (record == NULL || record->position > position)
			return NULL;
		rl->compare = next;
		if (record->position == position)
			return record;
	}
}

static bool
same_as_tail(AucRouterLane *rl, uint64 position, const redisReply *text)
{
	const AucRecord *record = find_in_tail(rl, position);
	char		own[AUC_RECORD_TEXT_MAX];
	size_t		len;

	if (record == NULL)
		return true;
	len = auc_record_encode(record, auc_tail_attributes(record), own);
	return len == text->len && memcmp(own, text->str, len) == 0;
}

/*
 * Puts one record of the log into the tail.  false: nothing more can be taken
 * now (no room, a gap), or the lane is fenced.
 */
static bool
recover_record(AucRouterLane *rl, uint64 position, const redisReply *text)
{
	AucRecord	record;
	const char *attributes;
	char		why[160];

	if (position <= rl->writer.last)
		return true;
	if (!auc_record_decode(position, text->str, text->len, &record,
						   &attributes))
	{
		snprintf(why, sizeof(why),
				 "the log's record at position " UINT64_FORMAT " cannot be read",
				 position);
		auc_router_lane_fence(rl, why, NULL);
		return false;
	}
	/* given up positions may begin among those that are applied */
	if (record.kind == AUC_RECORD_SKIP && record.first <= rl->writer.last)
		record.first = rl->writer.last + 1;
	if (record.first != rl->writer.last + 1 ||
		record.kind == AUC_RECORD_JUMP)
	{
		auc_router_gap_found(rl, record.kind == AUC_RECORD_JUMP ?
							 record.position : record.first - 1);
		return false;
	}
	return auc_tail_append(&rl->writer, &record, attributes);
}

/* One entry: [id, [position, text, ...]].  false: stop reading for now. */
static bool
read_entry(AucRouterLane *rl, const redisReply *entry)
{
	const redisReply *fields;

	if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 ||
		entry->element[1]->type != REDIS_REPLY_ARRAY)
	{
		auc_router_lane_fence(rl, "the log is not one of ours", NULL);
		return false;
	}
	fields = entry->element[1];
	for (size_t i = 0; i + 1 < fields->elements; i += 2)
	{
		uint64		position;
		const redisReply *text = fields->element[i + 1];

		if (!auc_router_position(fields->element[i], &position) ||
			text->type != REDIS_REPLY_STRING)
		{
			auc_router_lane_fence(rl, "the log is not one of ours", NULL);
			return false;
		}
		if (rl->phase == AUC_PHASE_READING)
		{
			if (!recover_record(rl, position, text))
				return false;
			continue;
		}
		if (position > rl->compared && !same_as_tail(rl, position, text))
		{
			auc_router_lane_fence(rl, "the log differs from what was decided here", NULL);
			return false;
		}
		rl->compared = Max(rl->compared, position);
	}
	return true;
}

static void
read_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;
	uint64		before = rl->writer.last;

	if (reply == NULL || !rl->reading)
		return;
	rl->reading = false;
	if (reply->type != REDIS_REPLY_ARRAY)
	{
		auc_router_lane_give_up(rl, "could not read the log", reply);
		return;
	}
	if (rl->phase == AUC_PHASE_READING)
		auc_router_connection_works(rl->router);
	for (size_t i = 0; i < reply->elements; i++)
		if (!read_entry(rl, reply->element[i]))
			break;
	if (reply->elements == 0 && rl->phase == AUC_PHASE_COMPARING)
		rl->compared = rl->read_to; /* trimmed meanwhile: was applied */
	if (rl->phase != AUC_PHASE_READING)
		return;
	/* entries that were there, by the log's last ID */
	if (reply->elements == 0)
		auc_router_gap_found(rl, rl->read_to);
	if (rl->writer.last > before)
	{
		auc_router_lane_publish(rl);
		rl->logged_off = rl->writer.end;
		auc_router_lane_confirm(rl, rl->writer.last);
		rl->drain_due = true;
	}
}

/* Asks for the entries behind "position". */
static void
read_log(AucRouterLane *rl, uint64 position)
{
	AucRedis   *redis = rl->router->redis;
	char		key[AUC_KEY_MAX];
	char		from[32];
	int			len;

	auc_redis_begin(redis, 6);
	auc_redis_arg_str(redis, "XRANGE");
	len = auc_router_log_key(rl, key);
	auc_redis_arg(redis, key, len);
	len = snprintf(from, sizeof(from), "(" UINT64_FORMAT "-0", position);
	auc_redis_arg(redis, from, len);
	auc_redis_arg_str(redis, "+");
	auc_redis_arg_str(redis, "COUNT");
	auc_redis_arg_int64(redis, READ_ENTRIES);
	auc_redis_end(redis, read_reply, rl);
	rl->reading = true;
}

static bool
room_for_reading(AucRouterLane *rl)
{
	return auc_tail_room(&rl->writer) > rl->lane->tail_size / 2;
}

/* ---- the end of recovery ---- */

/* New positions behind the reserved ones; false: no room yet. */
static bool
skip_reserved(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		given_up = rl->reserved;

	auc_router_reserve(rl);
	rl->send.lane = lane;
	rl->send.off = rl->writer.end;
	rl->logged_off = rl->writer.end;
	if (given_up > rl->writer.last)
	{
		AucRecord	skip = {0};

		skip.kind = AUC_RECORD_SKIP;
		skip.first = rl->writer.last + 1;
		skip.position = given_up;
		if (!auc_tail_append(&rl->writer, &skip, NULL))
			return false;		/* everything is applied: room comes at once */
	}
	rl->ready_at = rl->writer.last;
	return true;
}

static void
recovered(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;

	if (!skip_reserved(rl))
		return;
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" has recovered: the log is applied up to position " UINT64_FORMAT ", the next position is " UINT64_FORMAT,
					rl->lane_id, NameStr(rl->router->server->name),
					pg_atomic_read_u64(&lane->applied),
					rl->writer.last + 1)));
	auc_router_lane_publish(rl);
	rl->phase = AUC_PHASE_APPENDING;
	auc_router_lane_normal(rl);
}

/*
 * Redis is away, and a DBA has given the log up: the lane goes on, degraded.
 * What it may have lost is everything that is not applied.
 */
static void
recover_without_log(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		applied = pg_atomic_read_u64(&lane->applied);

	if (auc_lane_get_state(lane) != AUC_LANE_RECOVERING ||
		applied < rl->writer.last || !skip_reserved(rl))
		return;
	rl->term = Max(rl->term, rl->stored_term);
	auc_router_store_term(rl, true, applied);
	report_loss(rl, applied);
	auc_router_lane_publish(rl);
	auc_router_lane_degrade(rl, "its log is given up", true);
}

/* ---- a step ---- */

void
auc_router_begin_recovery(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;

	/* "applied" is in shared memory only once a drain has begun */
	if (pg_atomic_read_u64(&lane->applied_at) == 0)
		return;
	pg_read_barrier();
	auc_tail_reset(&rl->writer, lane, pg_atomic_read_u64(&lane->applied));
	rl->published = rl->writer.last;
	auc_lane_set_state(lane, AUC_LANE_RECOVERING);
	auc_router_lane_confirm(rl, rl->writer.last);
}

/* Nothing of it is to be applied that is not in the log. */
static bool
goes_on_normal(AucLane *lane)
{
	AucLaneState state = auc_lane_get_state(lane);

	return state == AUC_LANE_WAITING ||
		(state == AUC_LANE_FENCED && !auc_guc_degraded);
}

void
auc_router_advance(AucRouterLane *rl)
{
	bool		connected = auc_redis_status(rl->router->redis) == AUC_REDIS_READY;

	if (!connected)
	{
		if (rl->insist == AUC_INSIST_GIVE_UP && rl->router->refused_before)
			recover_without_log(rl);
		return;
	}
	if (rl->phase == AUC_PHASE_WATCHING && auc_router_owner_look_again(rl))
		rl->phase = AUC_PHASE_NONE;
	/* a fenced lane is tried once on each connection */
	if (rl->phase == AUC_PHASE_NONE &&
		!(auc_lane_get_state(rl->lane) == AUC_LANE_FENCED &&
		  rl->insist == AUC_INSIST_NOT &&
		  rl->fenced_on == auc_redis_generation(rl->router->redis)))
		take(rl);
	if (rl->phase == AUC_PHASE_TAKEN)
		taken(rl);
	if (rl->phase == AUC_PHASE_READING)
	{
		if (rl->gap_to != 0)
			auc_router_gap_tend(rl, GetCurrentTimestamp());
		else if (rl->writer.last >= rl->read_to)
			rl->phase = AUC_PHASE_APPLYING;
		else if (!rl->reading && room_for_reading(rl))
			read_log(rl, rl->writer.last);
	}
	if (rl->phase == AUC_PHASE_APPLYING &&
		pg_atomic_read_u64(&rl->lane->applied) >= rl->writer.last)
		recovered(rl);
	if (rl->phase == AUC_PHASE_COMPARING)
	{
		if (rl->compared >= rl->read_to)
		{
			auc_router_lane_confirm(rl, rl->log_last);
			rl->drain_due = true;
			rl->phase = AUC_PHASE_APPENDING;
			if (goes_on_normal(rl->lane))
			{
				(void) auc_router_lane_note_returned(rl);
				auc_router_lane_normal(rl);
			}
			/* Redis may have lost something though the lane was not degraded */
			if (auc_lane_get_state(rl->lane) == AUC_LANE_NORMAL)
				auc_router_books_check_all(rl);
			/* fenced until now: nothing was to be decided or applied */
			if (auc_lane_get_state(rl->lane) == AUC_LANE_FENCED)
			{
				auc_router_lane_note_degraded(rl, true);
				auc_lane_set_state(rl->lane, AUC_LANE_RETURNING);
				pg_atomic_write_u64(&rl->lane->apply_limit, PG_UINT64_MAX);
				auc_server_wake_drain(rl->router->server);
			}
		}
		else if (!rl->reading)
			read_log(rl, rl->compared);
	}
}
