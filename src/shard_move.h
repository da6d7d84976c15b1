/*
 * shard_move.h: a shard goes to another place, or becomes two; the parts of
 * that, and the protocol between them.
 *
 * What a move is doing is one row of auction._shard_moves.  Its owner is the
 * session that runs it, by a session lock; it may die anywhere, and the next
 * call goes on where the row says.  Transactions here are short; none of them
 * waits for another server while it holds the map.
 *
 * phase  what is done                                       left by a crash
 * ---------------------------------------------------------------------------
 *  -     everything is checked, the target's table there    nothing
 *        made and rolled back; the row is inserted, with
 *        the map held, and the target's table here
 *  c     the target's table there is made; rows are copied  rows behind the
 *        in the order of the key, a piece a transaction     row's key; they are
 *        (there first, then here, with the key reached)     deleted first
 *  v     piece by piece rows and hash of both are compared  nothing
 *  s     when the onlookers of the last copy have ended, the  nothing
 *        partitions change places, in one transaction, which
 *        waits for no lock longer than LOCK_MS and asks
 *        nobody else; tried until it succeeds
 *  d     (a split elsewhere) the two new tables become      one transaction
 *        partitions there, the old one is dropped           there
 *  r     the source is removed, there first                 a table; listed in
 *                                                           stat_shards
 *  a     the target is removed, as nobody wants it any more   the same
 *
 * While the row is in c, v, s or d nobody else writes to the shard (AucShard.
 * moving), so what was copied stays true; bids do not need it, and auctions
 * that do wait in the journal.  Readers use the source until the swap.
 *
 * Why onlookers: a transaction that has looked at the target's server before
 * the copy was committed sees that server as of then; if it found the new
 * partition it would miss rows.  The swap waits for it to end.  One that has
 * read history keeps a lock on it that makes the swap wait anyway.
 */
#ifndef AUC_SHARD_MOVE_H
#define AUC_SHARD_MOVE_H

#include "postgres.h"

#include "shard_map.h"
#include "shard_place.h"

typedef enum AucMovePhase
{
	AUC_MOVE_COPYING = 'c',
	AUC_MOVE_VERIFYING = 'v',
	AUC_MOVE_SWAPPING = 's',
	AUC_MOVE_ATTACHING = 'd',
	AUC_MOVE_REMOVING = 'r',
	AUC_MOVE_ABORTING = 'a'
} AucMovePhase;

/* The unique key of a bid, in its order. */
typedef struct AucShardKey
{
	bool		valid;			/* false: before the first, behind the last */
	int64		user_id;
	int64		auction_id;
	int64		bid_no;
} AucShardKey;

typedef struct AucShardMove
{
	int			shard;
	int			modulus;		/* before it was split */
	bool		splits;
	NameData	source;			/* "": here */
	NameData	target;
	AucMovePhase phase;
	AucShardKey last;			/* copied so far */
	/* not in the row: */
	AucPlace	from;
	AucPlace	to;
} AucShardMove;

/* The parts that the shard is to become: one, or two of twice the modulus. */
static inline int
auc_move_parts(const AucShardMove *move)
{
	return move->splits ? 2 : 1;
}

static inline int
auc_move_part_modulus(const AucShardMove *move)
{
	return move->splits ? 2 * move->modulus : move->modulus;
}

static inline int
auc_move_part_number(const AucShardMove *move, int part)
{
	return move->shard + part * move->modulus;
}

/* ---- shard_move.c: the course; connected to SPI by procedure.h ---- */

/* Begins a move, or goes on with it, to its end. */
extern void auc_move_run(AucShardMove *move);
/* Undoes the move of move->shard; "force": see auction.abort_move(). */
extern void auc_move_abort(AucShardMove *move, bool force);
/* For messages: 'here', or 'on server "s"'. */
extern const char *auc_move_place(const char *server);

/* ---- shard_move_row.c: the row; with the rights of the owner, in SPI ---- */

/* false: there is none. */
extern bool auc_move_row_read(int shard, AucShardMove *move);
extern void auc_move_row_insert(const AucShardMove *move, int64 rows_total);
extern void auc_move_row_phase(AucShardMove *move, AucMovePhase phase);
extern void auc_move_row_copied(const AucShardMove *move, int64 rows,
								int64 bytes, int64 microseconds);
extern void auc_move_row_delete(const AucShardMove *move);

/* ---- shard_move_copy.c ---- */

/* Makes what is missing there, removes what a crash left behind the key. */
extern void auc_move_copy_resume(AucShardMove *move);
/* One piece; false: it was the last.  *rows: in it. */
extern bool auc_move_copy_piece(AucShardMove *move, int limit, int64 *rows);
/* The same for comparing, from move->last on.  ERROR: they differ. */
extern bool auc_move_verify_piece(AucShardMove *move, int limit);

/* ---- shard_move_table.c: names, creation, removal, the swap ---- */

/* Where a part is written: a palloc'd name with schema, at move->to. */
extern char *auc_move_part_table(const AucShardMove *move, int part);
/* Where the shard is read as long as it is the partition, at move->from. */
extern char *auc_move_source_table(const AucShardMove *move);
extern void auc_move_create_parts(AucShardMove *move);
/* ERROR: a part has rows. */
extern void auc_move_check_empty(const AucShardMove *move);
extern void auc_move_drop_parts(AucShardMove *move);
/* The partitions change places; waits for locks. */
extern void auc_move_swap(AucShardMove *move);
/* A split there: the parts become partitions, the source is dropped. */
extern void auc_move_attach_parts(AucShardMove *move);
extern void auc_move_drop_source(AucShardMove *move);
/* Of that, what is here. */
extern void auc_move_drop_source_here(AucShardMove *move);

#endif							/* AUC_SHARD_MOVE_H */
