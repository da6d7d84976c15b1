/*
 * router_book.c: the books, Redis' copy of each auction's best bids.
 *
 * Books are written by the append script and by nobody else while all goes
 * well.  They are for readers; nothing is decided from them.  A book that may
 * be wrong (its auction was loaded with bids, perhaps after a retraction, or
 * after some were given up, or Redis came back) is checked: if Redis does not
 * have as many bids, and as many retracted ones, as the auction, the book is
 * written anew from the journal.
 *
 * That begins only at a moment when everything decided for the auction is on
 * its way to Redis.  What comes later is added by appends, to the new book
 * already; so the journal has to be read up to that moment only, in pieces, as
 * far as the drain has come.  A piece is read and sent when Redis has answered
 * the one before, so other auctions' bids, which go the same way, never wait
 * for more than one.  ZADD GT makes the order not matter.
 *
 * A book holds hidden maxima.  Who reads it through the router gets no amount
 * above the price that Redis had at the same moment, and the leader first.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "store.h"
#include "utils/timestamp.h"
#include "utils/memutils.h"
#include "worker.h"

/* One rebuild call carries so many bids, read in one turn. */
#define CHUNK			500
/* The journal is not that far yet: look again after so long. */
#define BEHIND_RETRY_MS	10
/* Redis has refused a piece: begin again after so long. */
#define REFUSED_RETRY_MS	1000
/* Books looked at in one turn: readers wait for nothing here. */
#define BOOKS_A_TURN	16

typedef struct BookCall
{
	AucRouter  *router;
	AucRouterLane *rl;
	int			slot;			/* read, remove, refresh; else -1 */
	int64		auction_id;		/* check, rebuild */
	int64		bid_count;		/* check, read: what the auction has */
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

bool
auc_router_lane_usable(AucRouterLane *rl)
{
	return rl->phase == AUC_PHASE_APPENDING &&
		auc_redis_status(rl->router->redis) == AUC_REDIS_READY;
}

void
auc_router_put_keys(AucRouterLane *rl, bool with_term, int64 auction_id)
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
bool
auc_router_number(const redisReply *reply, int64 *value)
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

/* What book.lua answers. */
typedef struct Book
{
	int64		bid_count;
	int64		price;
	int64		leader_id;		/* 0: none; then there are no pairs */
	int			n;
	redisReply *const *pairs;	/* user, amount, ... */
} Book;

/* false: it is not complete, or no such thing. */
static bool
parse_book(const redisReply *reply, Book *book)
{
	int64		complete;

	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY ||
		reply->elements < 4 || reply->elements % 2 != 0 ||
		!auc_router_number(reply->element[0], &complete) || complete != 1 ||
		!auc_router_number(reply->element[1], &book->bid_count) ||
		!auc_router_number(reply->element[2], &book->price))
		return false;
	if (!auc_router_number(reply->element[3], &book->leader_id))
		book->leader_id = 0;
	book->n = (int) (reply->elements - 4) / 2;
	book->pairs = reply->element + 4;
	return true;
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
	live->rebuilding = false;
	router->nbooks++;
}

/* ---- top_bids ---- */

/* Into the slot, one more than it wants if there are so many. */
static bool
read_entries(const Book *book, int n, AucBookEntry *entries)
{
	for (int i = 0; i < n; i++)
		if (!auc_router_number(book->pairs[2 * i], &entries[i].user_id) ||
			!auc_router_number(book->pairs[2 * i + 1], &entries[i].amount))
			return false;
	return true;
}

/*
 * Redis orders equal amounts by the users' numbers, the rules by time.  The
 * earlier one of two that lead is the leader, who is known; of others only the
 * tables know.  There are never three of one amount: a tie lifts the price to
 * it.
 */
static bool
settle_ties(const Book *book, int n, AucBookEntry *entries)
{
	if (n > 1 && entries[0].amount == entries[1].amount)
	{
		if (entries[1].user_id == book->leader_id)
		{
			AucBookEntry other = entries[0];

			entries[0] = entries[1];
			entries[1] = other;
		}
		else if (entries[0].user_id != book->leader_id)
			return false;
	}
	for (int i = 2; i < n; i++)
		if (entries[i].amount == entries[i - 1].amount)
			return false;
	return true;
}

static bool
fill_book(const Book *book, AucSlot *slot)
{
	AucBookEntry entries[AUC_BOOK_MAX + 1];
	int			n = Min(book->n, slot->wanted + 1);

	if (!read_entries(book, n, entries) || !settle_ties(book, n, entries))
		return false;
	slot->nbook = Min(n, slot->wanted);
	for (int i = 0; i < slot->nbook; i++)
	{
		slot->u.book[i].user_id = entries[i].user_id;
		slot->u.book[i].amount = Min(entries[i].amount, book->price);
	}
	return true;
}

static void
read_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	AucSlot    *slot = auc_slot(call->slot);
	Book		book;
	bool		complete = parse_book(reply, &book) &&
	book.bid_count <= call->bid_count;

	if (!complete && reply != NULL)
		want_rebuild(call->router, slot->auction_id);
	answer_slot(call->slot, complete && fill_book(&book, slot) ?
				AUC_ANSWER_VERDICT : AUC_ANSWER_RESTING);
	pfree(call);
}

static void
ask_book(AucLive *live, int n, AucRedisReplyFn fn, BookCall *call)
{
	AucRedis   *redis = live->lane->router->redis;

	auc_redis_begin_script(redis, AUC_SCRIPT_BOOK, 2, 2);
	auc_router_put_keys(live->lane, false, live->auction_id);
	auc_redis_arg_int64(redis, n);
	auc_redis_arg_int64(redis, live->state.retracted);
	call->bid_count = live->state.bid_count;
	auc_redis_end(redis, fn, call);
}

void
auc_router_book_read(AucRouter *router, AucLive *live, int slot)
{
	AucRouterLane *rl = live->lane;

	if (!auc_router_lane_usable(rl) ||
		auc_lane_get_state(rl->lane) != AUC_LANE_NORMAL)
	{
		answer_slot(slot, AUC_ANSWER_RESTING);
		return;
	}
	auc_slot(slot)->wanted = Min(auc_slot(slot)->wanted, AUC_BOOK_MAX);
	ask_book(live, auc_slot(slot)->wanted + 1, read_reply,
			 new_call(router, rl, slot));
}

/* ---- one call for a slot: removing an auction's keys, showing it ---- */

static void
slot_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	bool		done = reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
	reply->elements >= 1 && auc_router_reply_is(reply->element[0], "OK");

	answer_slot(call->slot, done ? AUC_ANSWER_VERDICT : AUC_ANSWER_RESTING);
	/* Redis has lost the lane while nobody bid, or somebody has taken it */
	if (reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
		reply->elements >= 1 && auc_router_reply_is(reply->element[0], "TERM"))
		auc_router_lane_give_up(call->rl, "another term was found", reply);
	pfree(call);
}

void
auc_router_book_remove(AucRouter *router, AucRouterLane *rl, int slot)
{
	AucRedis   *redis = router->redis;

	if (!auc_router_lane_usable(rl))
	{
		answer_slot(slot, AUC_ANSWER_RESTING);
		return;
	}
	auc_redis_begin_script(redis, AUC_SCRIPT_REMOVE, 3, 1);
	auc_router_put_keys(rl, true, auc_slot(slot)->auction_id);
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_end(redis, slot_reply, new_call(router, rl, slot));
}

/* Everything that was decided for it is on its way to Redis. */
static bool
all_sent(const AucLive *live)
{
	const AucRouterLane *rl = live->lane;

	return live->last_position <=
		(rl->in_flight ? rl->flight_last : rl->log_last);
}

/* stage: "begin", "add" or "show"; see redis_script.h. */
static void
send_rebuild(AucLive *live, const char *stage, bool last, int npairs,
			 const AucJournalBid *pairs, AucRedisReplyFn fn, BookCall *call)
{
	AucRouterLane *rl = live->lane;
	AucRedis   *redis = rl->router->redis;

	auc_redis_begin_script(redis, AUC_SCRIPT_REBUILD, 3, 11 + 2 * npairs);
	auc_router_put_keys(rl, true, live->auction_id);
	auc_redis_arg_int64(redis, rl->term);
	auc_redis_arg_str(redis, stage);
	auc_redis_arg_int64(redis, last ? 1 : 0);
	auc_redis_arg_int64(redis, npairs);
	for (int i = 0; i < npairs; i++)
	{
		auc_redis_arg_int64(redis, pairs[i].amount);
		auc_redis_arg_int64(redis, pairs[i].user_id);
	}
	auc_router_put_state(rl, live->auction_id, &live->state);
	auc_redis_arg_int64(redis, live->state.retracted);
	auc_redis_end(redis, fn, call);
}

static void
want_check(AucLive *live)
{
	if (live->state.bid_count == 0 ||
		live->state.status != AUC_STATUS_OPEN ||
		live->check_book || live->rebuild_book)
		return;
	live->check_book = true;
	live->lane->router->nbooks++;
}

/* Whatever Redis has of its book. */
static void
force_rebuild(AucRouter *router, AucLive *live)
{
	if (live->check_book)
		router->nbooks--;
	live->check_book = false;
	want_rebuild(router, live->auction_id);
}

/*
 * An auction that was changed at rest: its new state shows at once, its book
 * is checked, which finds it wanting.  Where an append is still to be sent, that
 * one shows it.
 */
void
auc_router_book_refresh(AucRouter *router, AucLive *live, int slot)
{
	bool		force = auc_slot(slot)->force;

	/* what is closed is about to be removed, and not to come back */
	if (force && live->state.status != AUC_STATUS_OPEN)
	{
		answer_slot(slot, AUC_ANSWER_MOVED);
		return;
	}
	if (force)
		force_rebuild(router, live);
	if (!auc_router_lane_usable(live->lane))
		answer_slot(slot, AUC_ANSWER_RESTING);
	else if (!all_sent(live))
		answer_slot(slot, AUC_ANSWER_VERDICT);
	else
	{
		send_rebuild(live, "show", false, 0, NULL, slot_reply,
					 new_call(router, live->lane, slot));
		want_check(live);
	}
}

/* ---- checking and rebuilding ---- */

static void
check_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	Book		book;

	if (reply != NULL &&
		(!parse_book(reply, &book) || book.bid_count != call->bid_count))
		want_rebuild(call->router, call->auction_id);
	pfree(call);
}

static void
check(AucLive *live)
{
	BookCall   *call = new_call(live->lane->router, live->lane, -1);

	call->auction_id = live->auction_id;
	ask_book(live, 0, check_reply, call);
}

/* From the beginning, after a while, if the book still matters then. */
static void
rebuild_refused(AucLive *live, const redisReply *reply)
{
	if (!live->rebuild_failed)
		ereport(LOG,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not rebuild the book of auction %lld in Redis: %s",
						(long long) live->auction_id,
						auc_router_said(reply)),
				 errdetail("It is tried again; meanwhile auction.top_bids() reads the tables.")));
	live->rebuild_failed = true;
	live->rebuilding = false;
	live->rebuild_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   REFUSED_RETRY_MS);
	want_rebuild(live->lane->router, live->auction_id);
}

static void
rebuild_reply(void *arg, const redisReply *reply)
{
	BookCall   *call = arg;
	AucLive    *live = auc_router_live(call->router, call->auction_id);

	call->router->piece_sent = false;
	if (live != NULL && reply != NULL)
	{
		if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 ||
			!auc_router_reply_is(reply->element[0], "OK"))
			rebuild_refused(live, reply);
		else if (!live->rebuild_book)
			live->rebuild_failed = false;
	}
	pfree(call);
}

/* From now on: what is decided later comes by appends. */
static void
begin_rebuild(AucLive *live)
{
	live->rebuilding = false;
	live->rebuild_on = auc_redis_generation(live->lane->router->redis);
	live->rebuild_next = 0;
	live->rebuild_until = live->state.bid_count;
}

static bool
rebuild_begun(const AucLive *live)
{
	return live->rebuilding &&
		live->rebuild_on == auc_redis_generation(live->lane->router->redis);
}

/* Bids behind "after" into "bids"; returns how many.  0 also if not now. */
static int
read_piece(const AucLive *live, int64 after, AucJournalBid *bids)
{
	AucStore   *store;
	int			n = 0;

	auc_worker_xact_begin("rebuilding a book");
	store = auc_store_try_open(true, AccessShareLock);
	if (store != NULL)
	{
		n = auc_store_read_bids(store, live->auction_id, after, CHUNK, bids);
		auc_store_close(store);
	}
	auc_worker_xact_commit();
	return n;
}

/* Those that stand, to the front. */
static int
drop_retracted(int n, AucJournalBid *bids)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (!bids[i].retracted)
			bids[kept++] = bids[i];
	return kept;
}

/* The next piece of the journal; the drain may not have got so far yet. */
static void
rebuild_some(AucLive *live, TimestampTz now)
{
	static AucJournalBid bids[CHUNK];
	BookCall   *call;
	int			n = read_piece(live, live->rebuild_next, bids);

	if (n > 0)
		live->rebuild_next = bids[n - 1].bid_no;
	else if (live->rebuild_next < live->rebuild_until)
	{
		live->rebuild_at = TimestampTzPlusMilliseconds(now, BEHIND_RETRY_MS);
		return;
	}
	live->rebuild_book = live->rebuild_next < live->rebuild_until;
	call = new_call(live->lane->router, live->lane, -1);
	call->auction_id = live->auction_id;
	send_rebuild(live, live->rebuilding ? "add" : "begin",
				 !live->rebuild_book, drop_retracted(n, bids), bids,
				 rebuild_reply, call);
	live->rebuilding = live->rebuild_book;
	live->lane->router->piece_sent = true;
}

static void
tend_book(AucRouter *router, AucLive *live, TimestampTz now)
{
	if (live->check_book)
	{
		live->check_book = false;
		check(live);
	}
	else if (live->state.status != AUC_STATUS_OPEN)
		live->rebuild_book = false;
	else
	{
		if (!rebuild_begun(live))
			begin_rebuild(live);
		rebuild_some(live, now);
	}
	if (!live->rebuild_book)
		router->nbooks--;
}

/* Begun ones go on; others begin when all of them is sent. */
static bool
can_tend(const AucLive *live, TimestampTz now)
{
	return (live->check_book ||
			(live->rebuild_book && live->rebuild_at <= now)) &&
		auc_router_lane_usable(live->lane) &&
		(all_sent(live) || rebuild_begun(live));
}

/*
 * After the appends of this turn were sent.  First looks, then acts: a hash
 * table's scan may not be open when a transaction ends.
 */
void
auc_router_books_turn(AucRouter *router, TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;
	AucLive    *chosen[BOOKS_A_TURN];
	int			n = 0;

	if (router->nbooks == 0 || router->piece_sent ||
		auc_redis_status(router->redis) != AUC_REDIS_READY)
	{
		/* nothing to wait for: what ends this makes a turn by itself */
		router->books_at = 0;
		return;
	}
	if (now < router->books_at)
		return;
	hash_seq_init(&scan, router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
	{
		if (!can_tend(live, now))
			continue;
		chosen[n++] = live;
		/* one piece at a time, so that nobody's bids wait for more */
		if (live->rebuild_book || n == BOOKS_A_TURN)
		{
			hash_seq_term(&scan);
			break;
		}
	}
	for (int i = 0; i < n; i++)
		tend_book(router, chosen[i], now);
	/* an answer of Redis makes the next turn */
	router->books_at = router->nbooks > 0 && !router->piece_sent ?
		TimestampTzPlusMilliseconds(now, n > 0 ? 0 : BEHIND_RETRY_MS) : 0;
}

void
auc_router_books_check_all(AucRouterLane *rl)
{
	HASH_SEQ_STATUS scan;
	AucLive    *live;

	hash_seq_init(&scan, rl->router->live);
	while ((live = hash_seq_search(&scan)) != NULL)
		if (live->lane == rl)
			want_check(live);
}
