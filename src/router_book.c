/*
 * router_book.c: the books, Redis' copy of each auction's best bids.
 *
 * Books are written by the append script and by nobody else while all goes
 * well.  They are for readers; nothing is decided from them.  A book that may
 * lack bids (its auction was loaded with bids, or Redis came back) is checked:
 * if Redis does not have as many bids as the auction, the book is filled from
 * the journal.  That is done only at a moment when everything decided for the
 * auction is on its way to Redis: what the journal lacks is then added by
 * appends on the same connection, before or behind, and ZADD GT makes the
 * order not matter.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "router.h"
#include "utils/memutils.h"
#include "worker.h"

/* One rebuild call carries so many bidders. */
#define CHUNK			500
/* Books looked at in one turn: readers wait for nothing here. */
#define BOOKS_A_TURN	16

typedef struct BookCall
{
	AucRouter  *router;
	AucRouterLane *rl;
	int			slot;			/* read, remove; else -1 */
	int64		auction_id;		/* check */
	int64		bid_count;		/* check: as many Redis should have */
} BookCall;

static BookCall *
new_call(AucRouter *router, AucRouterLane *rl, int slot)
{
	BookCall   *call = MemoryContextAllocZero(router->context,
											  sizeof(BookCall));

	call->router = router;
	call->rl = rl;
	call->slot = slot;
	return call;
}

static bool
usable(AucRouterLane *rl)
{
	return rl->phase == AUC_PHASE_APPENDING &&
		auc_redis_status(rl->router->redis) == AUC_REDIS_READY;
}

static void
put_keys(AucRouterLane *rl, bool with_term, int64 auction_id)
{
	AucRedis   *redis = rl->router->redis;
	const char *prefix = rl->router->options.prefix;
	char		key[AUC_KEY_MAX];
	int			len;

	if (with_term)
	{
		len = auc_key_term(key, prefix, rl->number);
		auc_redis_arg(redis, key, len);
	}
	len = auc_key_auction(key, prefix, rl->number, auction_id);
	auc_redis_arg(redis, key, len);
	len = auc_key_book(key, prefix, rl->number, auction_id);
	auc_redis_arg(redis, key, len);
}

static void
answer_slot(int slot, AucAnswerKind kind)
{
	auc_slot(slot)->answer = kind;
	auc_slot(slot)->level = AUC_LEVEL_REDIS;
	auc_slot_answer(slot);
}

/* A number as the scripts return it: a string, or an integer. */
static bool
number(const redisReply *reply, int64 *value)
{
	char	   *end;

	if (reply->type == REDIS_REPLY_INTEGER)
	{
		*value = reply->integer;
		return true;
	}
	if (reply->type != REDIS_REPLY_STRING || reply->len == 0)
		return false;
	errno = 0;
	*value = strtoll(reply->str, &end, 10);
	return errno == 0 && *end == '\0';
}

/* [complete, bid_count, user, amount, ...]; false: no such thing. */
static bool
parse_book(const redisReply *reply, int64 *bid_count)
{
	int64		complete;

	return reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
		reply->elements >= 2 && reply->elements % 2 == 0 &&
		number(reply->element[0], &complete) && complete == 1 &&
		number(reply->element[1], bid_count);
}

/* Its book is not complete, and no check or rebuild is on its way. */
static void
want_rebuild(AucRouter *router, int64 auction_id)
{
	AucLive    *live = auc_router_live(router, auction_id);

	if (live == NULL || live->check_book || live->rebuild_book ||
		live->state.status != AUC_STATUS_OPEN)
		return;
	live->rebuild_book = true;
	router->nbooks++;
}

/* ---- top_bids ---- */

static void
read_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	AucSlot    *slot = auc_slot(call->slot);
	AucAnswerKind kind = AUC_ANSWER_RESTING;
	int64		bid_count;

	if (parse_book(reply, &bid_count))
	{
		int			n = Min((int) (reply->elements - 2) / 2, slot->wanted);

		kind = AUC_ANSWER_VERDICT;
		for (int i = 0; i < n && kind == AUC_ANSWER_VERDICT; i++)
			if (!number(reply->element[2 + 2 * i], &slot->u.book[i].user_id) ||
				!number(reply->element[3 + 2 * i], &slot->u.book[i].amount))
				kind = AUC_ANSWER_RESTING;
		slot->nbook = n;
	}
	else if (reply != NULL)
		want_rebuild(call->router, slot->auction_id);
	answer_slot(call->slot, kind);
	pfree(call);
}

static void
ask_book(AucRouterLane *rl, int64 auction_id, int n, AucRedisReplyFn fn,
		 BookCall *call)
{
	AucRedis   *redis = rl->router->redis;

	auc_redis_begin_script(redis, AUC_SCRIPT_BOOK, 2, 1);
	put_keys(rl, false, auction_id);
	auc_redis_arg_int64(redis, n);
	auc_redis_end(redis, fn, call);
}

void
auc_router_book_read(AucRouter *router, AucRouterLane *rl, int slot)
{
	if (!usable(rl) || auc_lane_get_state(rl->lane) != AUC_LANE_NORMAL)
	{
		answer_slot(slot, AUC_ANSWER_RESTING);
		return;
	}
	ask_book(rl, auc_slot(slot)->auction_id,
			 Min(auc_slot(slot)->wanted, AUC_BOOK_MAX), read_reply,
			 new_call(router, rl, slot));
}

/* ---- removing a consolidated auction's keys ---- */

static void
remove_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	bool		done = reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
	reply->elements >= 1 && reply->element[0]->type == REDIS_REPLY_STRING &&
	strcmp(reply->element[0]->str, "OK") == 0;

	answer_slot(call->slot, done ? AUC_ANSWER_VERDICT : AUC_ANSWER_RESTING);
	pfree(call);
}

void
auc_router_book_remove(AucRouter *router, AucRouterLane *rl, int slot)
{
	AucRedis   *redis = router->redis;

	if (!usable(rl))
	{
		answer_slot(slot, AUC_ANSWER_RESTING);
		return;
	}
	auc_redis_begin_script(redis, AUC_SCRIPT_REMOVE, 3, 1);
	put_keys(rl, true, auc_slot(slot)->auction_id);
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_end(redis, remove_reply, new_call(router, rl, slot));
}

/* ---- checking and rebuilding ---- */

static void
check_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	int64		bid_count;

	if (reply != NULL &&
		(!parse_book(reply, &bid_count) || bid_count < call->bid_count))
		want_rebuild(call->router, call->auction_id);
	pfree(call);
}

static void
check(AucLive *live)
{
	BookCall   *call = new_call(live->lane->router, live->lane, -1);

	call->auction_id = live->auction_id;
	call->bid_count = live->state.bid_count;
	ask_book(live->lane, live->auction_id, 0, check_reply, call);
}

static void
rebuild_reply(void *arg, const redisReply *reply)
{
	AucRouterLane *rl = arg;

	/* anything but success: the reader finds the book incomplete */
	if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
		ereport(LOG,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not rebuild a book of lane %d", rl->lane_id)));
}

static void
send_chunk(AucLive *live, uint64 from, uint64 n, bool last)
{
	AucRouterLane *rl = live->lane;
	AucRedis   *redis = rl->router->redis;
	char		status = (char) live->state.status;

	auc_redis_begin_script(redis, AUC_SCRIPT_REBUILD, 3, 9 + 2 * (int) n);
	put_keys(rl, true, live->auction_id);
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_arg_int64(redis, live->state.price);
	auc_redis_arg_int64(redis, live->state.leader_id);
	auc_redis_arg_int64(redis, live->state.bid_count);
	auc_redis_arg_int64(redis, auc_unix_microseconds(live->state.ends_at));
	auc_redis_arg(redis, &status, 1);
	auc_redis_arg_int64(redis, 0);
	auc_redis_arg_int64(redis, n);
	for (uint64 i = from; i < from + n; i++)
	{
		bool		isnull;
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		auc_redis_arg_int64(redis, DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull)));
		auc_redis_arg_int64(redis, DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull)));
	}
	auc_redis_arg_int64(redis, last ? 1 : 0);
	auc_redis_end(redis, rebuild_reply, rl);
}

static void
rebuild(AucLive *live)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(live->auction_id)};
	uint64		n;
	uint64		from = 0;

	auc_worker_xact_begin("rebuilding a book");
	SPI_connect();
	if (SPI_execute_with_args("SELECT pg_catalog.max(amount), user_id FROM auction.journal "
							  "WHERE auction_id OPERATOR(pg_catalog.=) $1 GROUP BY user_id",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not read the journal of auction %lld",
						(long long) live->auction_id)));
	n = SPI_processed;
	do
	{
		uint64		chunk = Min(n - from, CHUNK);

		send_chunk(live, from, chunk, from + chunk == n);
		from += chunk;
	} while (from < n);
	SPI_finish();
	auc_worker_xact_commit();
}

/*
 * After the appends of this turn were sent.  First looks, then acts: a hash
 * table's scan may not be open when a transaction ends.
 */
void
auc_router_books_turn(AucRouter *router)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;
	AucLive    *chosen[BOOKS_A_TURN];
	int			n = 0;

	if (router->nbooks == 0 ||
		auc_redis_status(router->redis) != AUC_REDIS_READY)
		return;
	hash_seq_init(&scan, router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
	{
		AucRouterLane *rl = live->lane;
		uint64		sent = rl->in_flight ? rl->flight_last : rl->log_last;

		if ((!live->check_book && !live->rebuild_book) || !usable(rl) ||
			live->last_position > sent)
			continue;
		chosen[n++] = live;
		if (n == BOOKS_A_TURN)
		{
			hash_seq_term(&scan);
			break;
		}
	}
	for (int i = 0; i < n; i++)
	{
		bool		known_incomplete = chosen[i]->rebuild_book;

		chosen[i]->rebuild_book = false;
		chosen[i]->check_book = false;
		router->nbooks--;
		if (known_incomplete)
			rebuild(chosen[i]);
		else
			check(chosen[i]);
	}
}

void
auc_router_books_check_all(AucRouterLane *rl)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;

	hash_seq_init(&scan, rl->router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
	{
		if (live->lane != rl || live->state.bid_count == 0 ||
			live->state.status != AUC_STATUS_OPEN ||
			live->check_book || live->rebuild_book)
			continue;
		live->check_book = true;
		rl->router->nbooks++;
	}
}
