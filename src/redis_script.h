/*
 * redis_script.h: the Lua scripts, and the keys of a lane.
 *
 * Sources: src/lua/NAME.lua, turned into lua_scripts.h by the Makefile.
 * All keys of a lane carry one hash tag, so that a lane always lives in one
 * Redis Cluster slot: {PREFIX:LANE}:log, {PREFIX:LANE}:term,
 * {PREFIX:LANE}:auction:ID (what other readers may see) and
 * {PREFIX:LANE}:book:ID.
 * Prices are published on channel PREFIX:auction:ID.
 *
 *   :log    stream; entry ID <position of its last record>-0; one field
 *           (position) and one text (record.h) a record
 *   :term   hash: uuid (the lane's identity: its uuid and database), term,
 *           last (the log's last position, changed only together with the
 *           log), marked (up to where replicas were asked last); of the owner:
 *           instance, place (machine's boot and data directory), lease (ms),
 *           beat (a counter), released ("1": given back); claim (an instance
 *           that is about to take it)
 *   :auction:ID  hash: price, leader ("" if none), bid_count, ends_at
 *           (microseconds since 1970-01-01 UTC), status (one letter); nothing
 *           of a maximum that is not the price
 *   :book:ID     sorted set: member user id, score that user's best amount, a
 *           maximum in a proxy auction
 *   :shadow:ID, :shadowbook:ID, :shadowlog   the same of mirrored bids: the
 *           hash without the mark, the stream with IDs of Redis' own; they
 *           expire
 *   :book:ID is complete if and only if field "book" of :auction:ID equals
 *   bid_count, and field "retracted" (0 if absent) is the auction's number of
 *   retracted bids: the append script moves "book" on only while the bids it
 *   adds join on without a gap, and a retraction, which happens at rest,
 *   changes neither, so that the book is written anew.
 *
 * take.lua    KEYS log term                                  (rules 10, 11)
 *   ARGV uuid instance least_term place lease how seen own_last
 *   If :term names another uuid: returns {"OTHER", uuid}.  If it is not to be
 *   had at once: {"HELD", token, instance|"", term, lease, common}.  The token
 *   changes with each beat and each owner; who has seen the same one for a
 *   lease gives it as "seen" ("" else), and is told {"CLAIMED", ...} the same
 *   way; giving the token of that takes the lane (an empty one at once).
 *   common: the last position up to own_last that the log has, or "".
 *   how     what is taken at once, besides what names the own instance, or the
 *           own place, or is released, and is not claimed by another:
 *           "first" one that names nobody; "held", our own lease still runs:
 *           the same, and our own one though claimed; "fenced" not what is
 *           released; "adopt" any, also of the same lane in another database;
 *           "discard" one that names nobody, or has another uuid and was
 *           claimed as above; its log may be anything, last is 0 then;
 *           "" nothing else
 *   Taking raises the term above the stored one and above least_term, notes
 *   uuid, instance, place and lease, makes the log exist (an empty stream
 *   whose last ID is 0-1 stands for position 0), and returns {"TAKEN", term,
 *   last, previous_instance|"", log_length}, numbers as strings; last is read
 *   from the stream itself (XINFO STREAM last-generated-id), and :term's field
 *   last is set to it.
 *
 * beat.lua    KEYS term                                            (rule 11)
 *   ARGV instance term lease released(0/1)
 *   {"OTHER", instance, term} if those named are others.  Else changes beat,
 *   notes the lease, voids a claim, and returns {"OK"}.  released: the lane is
 *   given back.
 *
 * append.lua  KEYS log term [auction:ID book:ID]...                (rule 9)
 *   ARGV term previous last nrecords (position text)*nrecords nauctions
 *        auction*nauctions, each: channel price leader bid_count ends_at
 *        status first_bid_no loaded(0/1) npairs (amount user)*npairs
 *   Checks first: the stored term equals ARGV term, the stored last equals
 *   previous; else returns {"TERM", stored} or {"LAST", stored} and has done
 *   nothing.  Then XADD NOMKSTREAM log last-0 ...; nil (log vanished) returns
 *   {"GONE"}.  Then sets last.  Then, under pcall, per auction: HSET, ZADD GT,
 *   the "book" mark, PUBLISH channel "price leader bid_count ends_at status"
 *   (leader "-" if none).
 *   Returns {"OK"}; {"OK", message} if what comes after the append failed.
 *   first_bid_no is the bid_no of the auction's first bid in this batch (0 if
 *   it has none: a close), leader "" if none.  loaded: it is the first since
 *   the router loaded the auction, so the book is not whole any more if it has
 *   one of that number; bids were given up.  If all were, it begins anew.
 *
 * mark.lua    KEYS term                            second connection (rule 14)
 *   ARGV term position
 *   The stored term equals ARGV term, the stored last is position or behind
 *   it; else returns {"TERM", stored} or {"LAST", stored} and has done nothing.
 *   Notes the position in field "marked": a write, for a WAIT to follow.
 *   Returns {"OK"}.
 *
 * book.lua    KEYS auction:ID book:ID                        readers: top_bids
 *   ARGV n retracted.
 *   Returns {complete ("1"/"0"), bid_count, price, leader|"", user, amount,
 *   ...}.
 *
 * audit.lua   KEYS auction:ID book:ID                       auction.audit()
 *   ARGV n.  Returns {there ("1"/"0"), price, leader, bid_count, ends_at,
 *   status, book, retracted, members, user, amount, ...}, "" for a field that
 *   is not there, the n best of the book.
 *
 * rebuild.lua KEYS term auction:ID book:ID
 *   ARGV term stage last(0/1) npairs (amount user)*npairs
 *        channel price leader bid_count ends_at status retracted
 *   Writes hash and book of an auction anew, in chunks, between which appends
 *   may come.  Stage begin: deletes the old book, writes and publishes the
 *   state, and notes the term in field "rebuild".  add: a further chunk; one
 *   that does not find the note returns {"GONE"}.  last: the book is complete.
 *   Stage show: writes and publishes the state, leaves the book alone.  Refused with
 *   {"TERM", stored} if the term is another.
 *
 * remove.lua  KEYS term auction:ID book:ID
 *   ARGV term.  Unlinks both keys; {"TERM", stored} if the term is another.
 *
 * shadow.lua  KEYS term shadowlog [shadow:ID shadowbook:ID]...
 *   ARGV term seconds entries members nrecords (bid_no text)*nrecords
 *        nauctions auction*nauctions, each: fresh(0/1) price leader bid_count
 *        ends_at status npairs (amount user)*npairs
 *   Bids of route table, mirrored: the work of append.lua per record under
 *   keys that nobody else uses, without positions and without PUBLISH.
 *   Refused with {"TERM", stored} if the term is another.  fresh: what there
 *   is of the auction is deleted first.  The log has about as many entries,
 *   a book as many members as said; all keys expire so many seconds after
 *   they were written last.  Returns {"OK", then for each auction: book is
 *   there ("1"/"0"), price, leader, bid_count, ends_at, status}, as they were
 *   before the call, "" for what was not there.
 *
 * All scripts start with "#!lua" so that Redis refuses them whole when it is
 * out of memory (remove.lua with flags=allow-oom), and never format a number
 * with tostring or ".." (1e+14!): numbers are compared and stored as strings
 * as they came, or by tonumber where only the size counts (below 2^53).
 */
#ifndef AUC_REDIS_SCRIPT_H
#define AUC_REDIS_SCRIPT_H

typedef enum AucScript
{
	AUC_SCRIPT_TAKE,
	AUC_SCRIPT_APPEND,
	AUC_SCRIPT_MARK,
	AUC_SCRIPT_BEAT,
	AUC_SCRIPT_BOOK,
	AUC_SCRIPT_AUDIT,
	AUC_SCRIPT_REBUILD,
	AUC_SCRIPT_REMOVE,
	AUC_SCRIPT_SHADOW,
	AUC_SCRIPT_COUNT
} AucScript;

/* An append holds at most so many records: Lua unpacks its arguments. */
#define AUC_APPEND_MAX_RECORDS	1000

extern const char *auc_script_source(AucScript script, size_t *len);
extern const char *auc_script_name(AucScript script);

/* Key names into "key" (AUC_KEY_MAX bytes); return the length. */
#define AUC_PREFIX_MAX	64
#define AUC_KEY_MAX		128
extern int	auc_key_log(char *key, const char *prefix, int lane);
extern int	auc_key_term(char *key, const char *prefix, int lane);
extern int	auc_key_auction(char *key, const char *prefix, int lane,
							int64 auction_id);
extern int	auc_key_book(char *key, const char *prefix, int lane,
						 int64 auction_id);
extern int	auc_key_shadow_log(char *key, const char *prefix, int lane);
extern int	auc_key_shadow(char *key, const char *prefix, int lane,
						   int64 auction_id);
extern int	auc_key_shadow_book(char *key, const char *prefix, int lane,
								int64 auction_id);
extern int	auc_channel(char *channel, const char *prefix, int64 auction_id);

#endif							/* AUC_REDIS_SCRIPT_H */
