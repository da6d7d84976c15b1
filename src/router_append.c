/*
 * router_append.c: a taken lane between tail and log.
 *
 * One append per lane is in flight; what is decided meanwhile forms the next
 * batch.  log_last, logged_off and confirmed move with its answer only.  An
 * append that is refused, fails or gets no answer is never taken for a
 * success: the connection is given up, and the lane is taken again (rule 9).
 *
 * If the log ends before the tail begins, a jump entry goes first: it names
 * the positions that are applied without the log (rule 10).
 */
#include "postgres.h"

#include "errors.h"
#include "miscadmin.h"
#include "router.h"
#include "settings.h"
#include "utils/timestamp.h"

/* What one append tells about one auction. */
typedef struct Summary
{
	int64		auction_id;
	const AucRecord *last;		/* its last record in the batch */
	int64		first_bid_no;	/* of its first bid in the batch, or 0 */
	int64		last_bid_no;
	bool		loaded;			/* the first one is the first since loading */
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

/* ---- appending ---- */

static void
append_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	rl->in_flight = false;
	if (reply == NULL || rl->phase != AUC_PHASE_APPENDING)
		return;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 ||
		!auc_router_reply_is(reply->element[0], "OK"))
	{
		auc_router_lane_give_up(rl, "append was refused", reply);
		return;
	}
	auc_router_connection_works(rl->router);
	rl->log_last = rl->flight_last;
	rl->logged_off = rl->flight_off;
	auc_router_lane_confirm(rl, rl->log_last);
	rl->drain_due = true;
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
		if (auc_record_is_bid(record) || record->kind == AUC_RECORD_CLOSE)
		{
			Summary    *summary = summary_of(record->auction_id);

			if (summary == NULL)
				break;
			if (auc_record_is_bid(record))
			{
				/* those before were given up: append.lua has to see that */
				if (summary->npairs > 0 &&
					record->bid_no != summary->last_bid_no + 1)
					break;
				if (summary->npairs++ == 0)
				{
					summary->first_bid_no = record->bid_no;
					summary->loaded = record->loaded;
				}
				summary->last_bid_no = record->bid_no;
			}
			summary->last = record;
			batch.summary_of[batch.nrecords] = summary - batch.summaries;
		}
		batch.records[batch.nrecords++] = record;
		batch.end_off = cursor.off;
	}
}

/* What other readers may see of an auction, with its channel: six arguments. */
void
auc_router_put_state(AucRouterLane *rl, int64 auction_id,
					 const AucState *state)
{
	AucRedis   *redis = rl->router->redis;
	char		channel[AUC_KEY_MAX];
	char		status = (char) state->status;
	int			len;

	len = auc_channel(channel, rl->router->options.prefix, auction_id);
	auc_redis_arg(redis, channel, len);
	auc_redis_arg_int64(redis, state->price);
	if (state->has_leader)
		auc_redis_arg_int64(redis, state->leader_id);
	else
		auc_redis_arg(redis, "", 0);
	auc_redis_arg_int64(redis, state->bid_count);
	auc_redis_arg_int64(redis, auc_unix_microseconds(state->ends_at));
	auc_redis_arg(redis, &status, 1);
}

static void
put_summary(AucRouterLane *rl, int index)
{
	AucRedis   *redis = rl->router->redis;
	const Summary *summary = &batch.summaries[index];

	auc_router_put_state(rl, summary->auction_id, &summary->last->state);
	auc_redis_arg_int64(redis, summary->first_bid_no);
	auc_redis_arg_int64(redis, summary->loaded);
	auc_redis_arg_int64(redis, summary->npairs);
	for (int i = 0; i < batch.nrecords; i++)
	{
		const AucRecord *record = batch.records[i];

		if (!auc_record_is_bid(record) || batch.summary_of[i] != index)
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
		n += 9 + 2 * batch.summaries[i].npairs;
	return n;
}

/* Sends "batch" behind position "previous". */
static void
send_batch(AucRouterLane *rl, uint64 previous)
{
	AucRedis   *redis = rl->router->redis;
	uint64		last = batch.records[batch.nrecords - 1]->position;
	char		buffer[AUC_RECORD_TEXT_MAX];
	int			len;

	auc_redis_begin_script(redis, AUC_SCRIPT_APPEND, 2 + 2 * batch.nsummaries,
						   count_arguments());
	len = auc_router_log_key(rl, buffer);
	auc_redis_arg(redis, buffer, len);
	len = auc_router_term_key(rl, buffer);
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
	int64		took = auc_router_lane_note_returned(rl);

	if (rl->told)
		ereport(LOG,
				(errmsg("lane %d of server \"%s\" is normal again after %.3f s: " UINT64_FORMAT " records were appended to the log afterwards",
						rl->lane_id, NameStr(rl->router->server->name),
						(double) took / USECS_PER_SEC, rl->reappended)));
	rl->told = false;
	auc_router_lane_normal(rl);
	auc_router_books_check_all(rl);
}

void
auc_router_lane_send(AucRouterLane *rl)
{
	uint64		first;

	if (rl->phase != AUC_PHASE_APPENDING || rl->in_flight ||
		auc_redis_status(rl->router->redis) != AUC_REDIS_READY)
		return;
	collect_batch(rl);
	if (batch.nrecords == 0)
	{
		/* applied and freed without the log while Redis was away */
		if (rl->log_last < rl->published)
			send_jump(rl, rl->published);
		else
		{
			auc_router_connection_works(rl->router);
			if (auc_lane_get_state(rl->lane) == AUC_LANE_RETURNING)
				returned(rl);
		}
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
	AucRedis   *redis = rl->router->redis;
	char		key[AUC_KEY_MAX];
	int			len = auc_router_log_key(rl, key);

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

/* For stat_lanes: how fast the tail fills. */
static void
rate_tail(AucRouterLane *rl, TimestampTz now)
{
	uint64		end = pg_atomic_read_u64(&rl->lane->published_off);

	if (rl->rated_at != 0 && now > rl->rated_at)
		pg_atomic_write_u64(&rl->lane->tail_rate,
							(end - rl->rated_off) * USECS_PER_SEC /
							(now - rl->rated_at));
	rl->rated_at = now;
	rl->rated_off = end;
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

	rate_tail(rl, now);
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
		auc_redis_status(rl->router->redis) == AUC_REDIS_READY)
		trim(rl, position);
}
