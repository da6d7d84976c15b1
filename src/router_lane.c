/*
 * router_lane.c: one lane between tail and log.
 *
 * On each connection a lane goes through phases (router.h).  Not recovering:
 *
 *   NONE -> TAKING -> TAKEN -> COMPARING -> APPENDING
 *
 * and after a crash of PostgreSQL, when the tail is gone and the log has it:
 *
 *   NONE -> TAKING -> TAKEN -> READING -> APPLYING -> APPENDING
 *
 * Taking (rule 10) raises the term and tells the log's last position; the term
 * is committed in PostgreSQL before it is used.  Comparing (rule 9) looks at
 * what the log has beyond "confirmed": an append whose answer never came.
 * What the log lacks is appended from the tail; if it lacks more than that, a
 * jump entry says first which positions are applied without the log.
 *
 * One append per lane is in flight; what is decided meanwhile forms the next
 * batch.  log_last, logged_off and the send cursor move with its answer only.
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
#include "shm.h"
#include "utils/timestamp.h"

/* Entries a read of the log asks for at a time; one has up to 1000 records. */
#define READ_ENTRIES	8

/* What one append tells about one auction. */
typedef struct Summary
{
	int64		auction_id;
	const AucRecord *last;		/* its last record in the batch */
	int64		first_bid_no;	/* of its first bid in the batch, or 0 */
	int			npairs;			/* its bids in the batch */
} Summary;

typedef struct Batch
{
	int			nrecords;
	const AucRecord *records[AUC_APPEND_MAX_RECORDS];
	uint8		summary_of[AUC_APPEND_MAX_RECORDS];
	int			nsummaries;
	Summary		summaries[AUC_APPEND_MAX_AUCTIONS];
	uint64		end_off;
} Batch;

static Batch batch;

/* ---- helpers ---- */

static bool
is_text(const redisReply *reply, const char *text)
{
	return reply->type == REDIS_REPLY_STRING && strcmp(reply->str, text) == 0;
}

/* A position as Redis returns it: digits, perhaps "-0" or "-1" behind. */
static bool
parse_position(const redisReply *reply, uint64 *position)
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

static AucRedis *
redis_of(AucRouterLane *rl)
{
	return rl->router->redis;
}

static int
log_key(AucRouterLane *rl, char *key)
{
	return auc_key_log(key, rl->router->options.prefix, rl->number);
}

static int
term_key(AucRouterLane *rl, char *key)
{
	return auc_key_term(key, rl->router->options.prefix, rl->number);
}

static void
set_confirmed(AucRouterLane *rl, uint64 position)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	pg_atomic_write_u64(&rl->lane->confirmed, position);
	if (state == AUC_LANE_NORMAL || state == AUC_LANE_RECOVERING)
		pg_atomic_write_u64(&rl->lane->apply_limit, position);
}

static void
wake_idle_drain(AucRouterLane *rl)
{
	AucServer  *server = rl->router->server;

	if (pg_atomic_read_u32(&rl->lane->applied_wanted) > 0 ||
		pg_atomic_exchange_u32(&server->drain_idle, 0) != 0)
		auc_server_wake_drain(server);
}

/* An answer nobody can work with: whatever it means, take the lane again. */
static void
give_up_connection(AucRouterLane *rl, const char *what,
				   const redisReply *reply)
{
	char		reason[200];
	const char *said = "an unexpected answer";

	if (reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STRING)
		said = reply->str;
	else if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
			 reply->element[0]->type == REDIS_REPLY_STRING)
		said = reply->element[0]->str;
	snprintf(reason, sizeof(reason), "%s on lane %d: %s", what, rl->lane_id,
			 said);
	auc_redis_close(redis_of(rl), reason);
}

void
auc_router_lane_fence(AucRouterLane *rl, const char *why)
{
	if (auc_lane_get_state(rl->lane) == AUC_LANE_FENCED)
		return;
	ereport(LOG,
			(errcode(AUC_ERRCODE_FENCED),
			 errmsg("lane %d of server \"%s\" is fenced: %s", rl->lane_id,
					NameStr(rl->router->server->name), why),
			 errdetail("Nothing is decided or applied in it until this is resolved; waiting bids fail.")));
	pg_atomic_write_u64(&rl->lane->apply_limit, 0);
	auc_lane_set_state(rl->lane, AUC_LANE_FENCED);
	rl->phase = AUC_PHASE_NONE;
	rl->ready = false;
}

/* Positions that only the tail has: published, but not in the log. */
bool
auc_router_lane_unlogged(const AucRouterLane *rl)
{
	return rl->published > rl->log_last || rl->phase != AUC_PHASE_APPENDING;
}

/* ---- begin, connection ---- */

void
auc_router_lane_begin(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;

	auc_tail_open(&rl->writer, lane);
	rl->published = rl->writer.last;
	rl->ready = false;
	rl->ready_at = rl->writer.last;
	rl->phase = AUC_PHASE_NONE;
	rl->logged_off = pg_atomic_read_u64(&lane->freed_off);
	rl->log_last = pg_atomic_read_u64(&lane->confirmed);
	rl->term = pg_atomic_read_u64(&lane->term);
	rl->seen_notices = pg_atomic_read_u64(&lane->notices);
	if (auc_lane_get_state(lane) == AUC_LANE_FENCED)
		auc_lane_set_state(lane, rl->writer.last == 0 ? AUC_LANE_UNKNOWN :
						   AUC_LANE_DEGRADED);
}

void
auc_router_lane_disconnected(AucRouterLane *rl)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	rl->phase = AUC_PHASE_NONE;
	rl->in_flight = false;
	rl->reading = false;
	if (state != AUC_LANE_NORMAL && state != AUC_LANE_RETURNING)
		return;
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" is degraded: bids are acknowledged when PostgreSQL has committed them",
					rl->lane_id, NameStr(rl->router->server->name)),
			 errdetail("Redis: %s.", auc_redis_error(redis_of(rl)))));
	auc_lane_set_state(rl->lane, AUC_LANE_DEGRADED);
	pg_atomic_write_u64(&rl->lane->apply_limit, PG_UINT64_MAX);
	auc_server_wake_drain(rl->router->server);
}

/* ---- taking ---- */

static void
take_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;
	uint64		term;
	uint64		last;

	if (reply == NULL || rl->phase != AUC_PHASE_TAKING)
		return;
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
		is_text(reply->element[0], "OTHER"))
	{
		auc_router_lane_fence(rl, "Redis has a lane of another database or installation under the same prefix");
		return;
	}
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 4 ||
		!is_text(reply->element[0], "TAKEN") ||
		!parse_position(reply->element[1], &term) ||
		!parse_position(reply->element[2], &last))
	{
		give_up_connection(rl, "could not take the log", reply);
		return;
	}
	rl->term = term;
	rl->read_to = last;
	rl->phase = AUC_PHASE_TAKEN;
}

static void
take(AucRouterLane *rl)
{
	AucRedis   *redis = redis_of(rl);
	char		key[AUC_KEY_MAX];
	char		instance[24];
	int			len;

	auc_redis_begin_script(redis, AUC_SCRIPT_TAKE, 2, 3);
	len = log_key(rl, key);
	auc_redis_arg(redis, key, len);
	len = term_key(rl, key);
	auc_redis_arg(redis, key, len);
	auc_redis_arg_str(redis, rl->uuid);
	len = snprintf(instance, sizeof(instance), "%016llx",
				   (unsigned long long) auc_shm_instance());
	auc_redis_arg(redis, instance, len);
	auc_redis_arg_int64(redis, Max(rl->term, rl->stored_term));
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
 * this tells (design.md, section 6).
 */
static bool
loss_possible(AucRouterLane *rl)
{
	uint64		applied = pg_atomic_read_u64(&rl->lane->applied);

	if (auc_lane_get_state(rl->lane) != AUC_LANE_RECOVERING ||
		rl->reserved == 0)
		return false;
	return rl->read_to < applied ||
		(rl->stored_run_id[0] != '\0' &&
		 strcmp(rl->stored_run_id, auc_redis_run_id(redis_of(rl))) != 0);
}

static void
taken(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		applied = pg_atomic_read_u64(&lane->applied);
	bool		loss = loss_possible(rl);

	/* committed before it is used */
	auc_router_store_term(rl, loss, Max(applied, rl->read_to));
	pg_atomic_write_u64(&lane->term, rl->term);
	if (loss)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("lane %d of server \"%s\": bids accepted behind position " UINT64_FORMAT " may be lost",
						rl->lane_id, NameStr(rl->router->server->name),
						Max(applied, rl->read_to)),
				 errdetail("PostgreSQL and Redis both restarted, so what Redis had not kept is in neither.")));
	rl->log_last = rl->read_to;
	rl->reappended = 0;
	if (auc_lane_get_state(lane) == AUC_LANE_RECOVERING)
	{
		rl->phase = AUC_PHASE_READING;
		return;
	}
	if (rl->log_last > rl->published)
	{
		auc_router_lane_fence(rl, "the log has positions that were never given here");
		return;
	}
	seek(rl, rl->log_last);
	rl->compared = pg_atomic_read_u64(&lane->confirmed);
	rl->phase = AUC_PHASE_COMPARING;
	if (auc_lane_get_state(lane) == AUC_LANE_DEGRADED)
		auc_lane_set_state(lane, AUC_LANE_RETURNING);
}

/* ---- reading the log: recovering and comparing ---- */

/* The tail's record at the position, NULL if it is not there any more. */
static const AucRecord *
find_in_tail(AucLane *lane, uint64 position)
{
	AucTailCursor cursor;
	const AucRecord *record;

	cursor.lane = lane;
	cursor.off = pg_atomic_read_u64(&lane->freed_off);
	while ((record = auc_tail_next(&cursor)) != NULL)
		if (record->position >= position)
			return record->position == position ? record : NULL;
	return NULL;
}

static bool
same_as_tail(AucRouterLane *rl, uint64 position, const redisReply *text)
{
	const AucRecord *record = find_in_tail(rl->lane, position);
	char		own[AUC_RECORD_TEXT_MAX];
	size_t		len;

	if (record == NULL)
		return true;
	len = auc_record_encode(record, auc_tail_attributes(record), own);
	return len == text->len && memcmp(own, text->str, len) == 0;
}

/*
 * Puts one record of the log into the tail.  false: nothing more can be taken
 * now (no room), or the lane is fenced.
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
		auc_router_lane_fence(rl, why);
		return false;
	}
	if (record.first != rl->writer.last + 1 ||
		record.kind == AUC_RECORD_JUMP)
	{
		snprintf(why, sizeof(why),
				 "the log has a gap: positions " UINT64_FORMAT " to " UINT64_FORMAT " are neither in it nor applied",
				 rl->writer.last + 1,
				 record.kind == AUC_RECORD_JUMP ? record.position :
				 record.first - 1);
		auc_router_lane_fence(rl, why);
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
		auc_router_lane_fence(rl, "the log is not one of ours");
		return false;
	}
	fields = entry->element[1];
	for (size_t i = 0; i + 1 < fields->elements; i += 2)
	{
		uint64		position;
		const redisReply *text = fields->element[i + 1];

		if (!parse_position(fields->element[i], &position) ||
			text->type != REDIS_REPLY_STRING)
		{
			auc_router_lane_fence(rl, "the log is not one of ours");
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
			auc_router_lane_fence(rl, "the log differs from what was decided here");
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
		give_up_connection(rl, "could not read the log", reply);
		return;
	}
	for (size_t i = 0; i < reply->elements; i++)
		if (!read_entry(rl, reply->element[i]))
			break;
	if (reply->elements == 0 && rl->phase == AUC_PHASE_COMPARING)
		rl->compared = rl->read_to; /* trimmed meanwhile: was applied */
	if (rl->phase != AUC_PHASE_READING)
		return;
	if (reply->elements == 0)
	{
		auc_router_lane_fence(rl, "the log ends before the position it names as its last");
		return;
	}
	if (rl->writer.last > before)
	{
		auc_router_lane_publish(rl);
		rl->logged_off = rl->writer.end;
		set_confirmed(rl, rl->writer.last);
		wake_idle_drain(rl);
	}
}

/* Asks for the entries behind "position". */
static void
read_log(AucRouterLane *rl, uint64 position)
{
	AucRedis   *redis = redis_of(rl);
	char		key[AUC_KEY_MAX];
	char		from[32];
	int			len;

	auc_redis_begin(redis, 6);
	auc_redis_arg_str(redis, "XRANGE");
	len = log_key(rl, key);
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

static void
recovered(AucRouterLane *rl)
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
			return;				/* everything is applied: room comes at once */
	}
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" has recovered: the log is applied up to position " UINT64_FORMAT ", the next position is " UINT64_FORMAT,
					rl->lane_id, NameStr(rl->router->server->name),
					pg_atomic_read_u64(&lane->applied),
					rl->writer.last + 1)));
	rl->ready_at = rl->writer.last;
	rl->phase = AUC_PHASE_APPENDING;
	auc_lane_set_state(lane, AUC_LANE_NORMAL);
	set_confirmed(rl, rl->log_last);
	auc_router_lane_publish(rl);
}

/* ---- a lane's part of the router's turn ---- */

static void
begin_recovery(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;

	/* "applied" is in shared memory only once a drain has begun */
	if (pg_atomic_read_u64(&lane->applied_at) == 0)
		return;
	auc_tail_reset(&rl->writer, lane, pg_atomic_read_u64(&lane->applied));
	rl->published = rl->writer.last;
	auc_lane_set_state(lane, AUC_LANE_RECOVERING);
	set_confirmed(rl, rl->writer.last);
}

static void
advance(AucRouterLane *rl)
{
	bool		connected = auc_redis_status(redis_of(rl)) == AUC_REDIS_READY;

	if (!connected || auc_lane_get_state(rl->lane) == AUC_LANE_FENCED)
		return;
	if (rl->phase == AUC_PHASE_NONE)
		take(rl);
	if (rl->phase == AUC_PHASE_TAKEN)
		taken(rl);
	if (rl->phase == AUC_PHASE_READING)
	{
		if (rl->writer.last >= rl->read_to)
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
			set_confirmed(rl, rl->log_last);
			rl->phase = AUC_PHASE_APPENDING;
		}
		else if (!rl->reading)
			read_log(rl, rl->compared);
	}
}

/* Rule 6: what may leave the tail. */
static void
free_tail(AucRouterLane *rl)
{
	AucLane    *lane = rl->lane;
	uint64		off = pg_atomic_read_u64(&lane->applied_off);
	bool		away = auc_lane_get_state(lane) == AUC_LANE_DEGRADED &&
	(rl->phase == AUC_PHASE_NONE || rl->phase == AUC_PHASE_TAKING);

	if (!away)
		off = Min(off, rl->logged_off);
	auc_tail_free(lane, off);
}

void
auc_router_lane_turn(AucRouterLane *rl)
{
	AucLaneState state = auc_lane_get_state(rl->lane);

	if (state == AUC_LANE_UNKNOWN)
	{
		begin_recovery(rl);
		state = auc_lane_get_state(rl->lane);
		if (state == AUC_LANE_UNKNOWN)
			return;
	}
	advance(rl);
	free_tail(rl);
	state = auc_lane_get_state(rl->lane);
	if (!rl->ready && state != AUC_LANE_RECOVERING &&
		state != AUC_LANE_FENCED &&
		pg_atomic_read_u64(&rl->lane->applied) >= rl->ready_at)
		rl->ready = true;
}

/* Rule 6: visible by one store, and before anything is sent. */
void
auc_router_lane_publish(AucRouterLane *rl)
{
	if (rl->published == rl->writer.last)
		return;
	auc_tail_publish(&rl->writer);
	rl->published = rl->writer.last;
	if (pg_atomic_read_u64(&rl->lane->apply_limit) == PG_UINT64_MAX)
		wake_idle_drain(rl);
}

/* ---- appending ---- */

static void
append_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	rl->in_flight = false;
	if (reply == NULL || rl->phase != AUC_PHASE_APPENDING)
		return;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 ||
		!is_text(reply->element[0], "OK"))
	{
		give_up_connection(rl, "append was refused", reply);
		return;
	}
	rl->log_last = rl->flight_last;
	rl->logged_off = rl->flight_off;
	set_confirmed(rl, rl->log_last);
	wake_idle_drain(rl);
}

static Summary *
summary_of(int64 auction_id)
{
	Summary    *summary;

	/* most often the auction of the record before */
	for (int i = batch.nsummaries - 1; i >= 0; i--)
		if (batch.summaries[i].auction_id == auction_id)
			return &batch.summaries[i];
	if (batch.nsummaries == AUC_APPEND_MAX_AUCTIONS)
		return NULL;
	summary = &batch.summaries[batch.nsummaries++];
	memset(summary, 0, sizeof(*summary));
	summary->auction_id = auction_id;
	return summary;
}

/* What the next append holds: from the send cursor on, within the bounds. */
static void
collect_batch(AucRouterLane *rl)
{
	AucTailCursor cursor = rl->send;
	const AucRecord *record;

	batch.nrecords = 0;
	batch.nsummaries = 0;
	batch.end_off = cursor.off;
	while (batch.nrecords < AUC_APPEND_MAX_RECORDS &&
		   (record = auc_tail_next(&cursor)) != NULL)
	{
		if (record->kind == AUC_RECORD_BID || record->kind == AUC_RECORD_CLOSE)
		{
			Summary    *summary = summary_of(record->auction_id);

			if (summary == NULL)
				break;
			summary->last = record;
			if (record->kind == AUC_RECORD_BID)
			{
				if (summary->npairs++ == 0)
					summary->first_bid_no = record->bid_no;
			}
			batch.summary_of[batch.nrecords] = summary - batch.summaries;
		}
		batch.records[batch.nrecords++] = record;
		batch.end_off = cursor.off;
	}
}

static void
put_summary(AucRouterLane *rl, int index)
{
	AucRedis   *redis = redis_of(rl);
	const Summary *summary = &batch.summaries[index];
	const AucState *state = &summary->last->state;
	char		channel[AUC_KEY_MAX];
	char		status = (char) state->status;
	int			len;

	len = auc_channel(channel, rl->router->options.prefix,
					  summary->auction_id);
	auc_redis_arg(redis, channel, len);
	auc_redis_arg_int64(redis, state->price);
	if (state->bid_count > 0)
		auc_redis_arg_int64(redis, state->leader_id);
	else
		auc_redis_arg(redis, "", 0);
	auc_redis_arg_int64(redis, state->bid_count);
	auc_redis_arg_int64(redis, auc_unix_microseconds(state->ends_at));
	auc_redis_arg(redis, &status, 1);
	auc_redis_arg_int64(redis, summary->first_bid_no);
	auc_redis_arg_int64(redis, summary->npairs);
	for (int i = 0; i < batch.nrecords; i++)
	{
		const AucRecord *record = batch.records[i];

		if (record->kind != AUC_RECORD_BID || batch.summary_of[i] != index)
			continue;
		auc_redis_arg_int64(redis, record->amount);
		auc_redis_arg_int64(redis, record->user_id);
	}
}

static int
count_arguments(void)
{
	int			n = 5 + 2 * batch.nrecords;

	for (int i = 0; i < batch.nsummaries; i++)
		n += 8 + 2 * batch.summaries[i].npairs;
	return n;
}

/* Sends "batch" behind position "previous". */
static void
send_batch(AucRouterLane *rl, uint64 previous)
{
	AucRedis   *redis = redis_of(rl);
	uint64		last = batch.records[batch.nrecords - 1]->position;
	char		buffer[AUC_RECORD_TEXT_MAX];
	int			len;

	auc_redis_begin_script(redis, AUC_SCRIPT_APPEND, 2 + 2 * batch.nsummaries,
						   count_arguments());
	len = log_key(rl, buffer);
	auc_redis_arg(redis, buffer, len);
	len = term_key(rl, buffer);
	auc_redis_arg(redis, buffer, len);
	for (int i = 0; i < batch.nsummaries; i++)
	{
		int64		id = batch.summaries[i].auction_id;

		len = auc_key_auction(buffer, rl->router->options.prefix, rl->number,
							  id);
		auc_redis_arg(redis, buffer, len);
		len = auc_key_book(buffer, rl->router->options.prefix, rl->number, id);
		auc_redis_arg(redis, buffer, len);
	}
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_arg_int64(redis, previous);
	auc_redis_arg_int64(redis, last);
	auc_redis_arg_int64(redis, batch.nrecords);
	for (int i = 0; i < batch.nrecords; i++)
	{
		const AucRecord *record = batch.records[i];
		size_t		size = auc_record_encode(record,
											 auc_tail_attributes(record),
											 buffer);

		auc_redis_arg_int64(redis, record->position);
		auc_redis_arg(redis, buffer, size);
	}
	auc_redis_arg_int64(redis, batch.nsummaries);
	for (int i = 0; i < batch.nsummaries; i++)
		put_summary(rl, i);
	auc_redis_end(redis, append_reply, rl);
	rl->in_flight = true;
	rl->flight_last = last;
	rl->flight_off = batch.end_off;
}

/* "a..b are applied without the log": the log ends before the tail begins. */
static void
send_jump(AucRouterLane *rl, uint64 to)
{
	AucRecord	jump = {0};

	jump.kind = AUC_RECORD_JUMP;
	jump.first = rl->log_last + 1;
	jump.position = to;
	batch.nrecords = 1;
	batch.nsummaries = 0;
	batch.records[0] = &jump;
	batch.end_off = rl->send.off;
	ereport(LOG,
			(errmsg("lane %d of server \"%s\": positions " UINT64_FORMAT " to " UINT64_FORMAT " are applied without the log",
					rl->lane_id, NameStr(rl->router->server->name),
					jump.first, jump.position)));
	send_batch(rl, rl->log_last);
}

/* RETURNING ends when the log has all of the tail. */
static void
returned(AucRouterLane *rl)
{
	ereport(LOG,
			(errmsg("lane %d of server \"%s\" is normal again: " UINT64_FORMAT " records were appended to the log afterwards",
					rl->lane_id, NameStr(rl->router->server->name),
					rl->reappended)));
	auc_lane_set_state(rl->lane, AUC_LANE_NORMAL);
	set_confirmed(rl, rl->log_last);
	auc_router_books_check_all(rl);
}

void
auc_router_lane_send(AucRouterLane *rl)
{
	uint64		first;

	if (rl->phase != AUC_PHASE_APPENDING || rl->in_flight ||
		auc_redis_status(redis_of(rl)) != AUC_REDIS_READY)
		return;
	collect_batch(rl);
	if (batch.nrecords == 0)
	{
		/* applied and freed without the log while Redis was away */
		if (rl->log_last < rl->published)
			send_jump(rl, rl->published);
		else if (auc_lane_get_state(rl->lane) == AUC_LANE_RETURNING)
			returned(rl);
		return;
	}
	first = batch.records[0]->first;
	if (rl->log_last + 1 < first)
	{
		send_jump(rl, first - 1);
		return;
	}
	send_batch(rl, rl->log_last);
	rl->send.off = batch.end_off;
	if (auc_lane_get_state(rl->lane) == AUC_LANE_RETURNING)
		rl->reappended += batch.nrecords;
}

/* ---- upkeep, once a second ---- */

static void
length_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
		pg_atomic_write_u64(&rl->lane->log_length, reply->integer);
}

static void
ignore_reply(void *arg, const redisReply *reply)
{
}

static void
trim(AucRouterLane *rl, uint64 position)
{
	AucRedis   *redis = redis_of(rl);
	char		key[AUC_KEY_MAX];
	int			len = log_key(rl, key);

	auc_redis_begin(redis, 5);
	auc_redis_arg_str(redis, "XTRIM");
	auc_redis_arg(redis, key, len);
	auc_redis_arg_str(redis, "MINID");
	auc_redis_arg_str(redis, "~");
	auc_redis_arg_int64(redis, position + 1);
	auc_redis_end(redis, ignore_reply, rl);
	auc_redis_begin(redis, 2);
	auc_redis_arg_str(redis, "XLEN");
	auc_redis_arg(redis, key, len);
	auc_redis_end(redis, length_reply, rl);
}

/*
 * Rule 20.  "applied" is flushed, on the standbys too that commits wait for
 * (the drain publishes nothing else), so only the retention is left to keep.
 */
void
auc_router_lane_upkeep(AucRouterLane *rl, TimestampTz now)
{
	int			slots = lengthof(rl->samples);
	TimestampTz old = now - (TimestampTz) auc_guc_log_retention * USECS_PER_SEC;
	TimestampTz spacing = (TimestampTz) auc_guc_log_retention *
	USECS_PER_SEC / (slots / 2);
	uint64		position = 0;
	int			past = 0;

	if (rl->nsamples == 0 ||
		(rl->nsamples < slots &&
		 now - rl->samples[rl->nsamples - 1].at >= spacing))
	{
		rl->samples[rl->nsamples].at = now;
		rl->samples[rl->nsamples].applied =
			pg_atomic_read_u64(&rl->lane->applied);
		rl->nsamples++;
	}
	while (past < rl->nsamples && rl->samples[past].at <= old)
		position = rl->samples[past++].applied;
	if (past > 0)
	{
		rl->nsamples -= past;
		memmove(rl->samples, rl->samples + past,
				rl->nsamples * sizeof(rl->samples[0]));
	}
	if (rl->phase == AUC_PHASE_APPENDING &&
		auc_redis_status(redis_of(rl)) == AUC_REDIS_READY)
		trim(rl, position);
}
