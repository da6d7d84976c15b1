/*
 * Model of rule 19 as it is built (onlooker.h): one auction with one bid, a
 * shard that is here (place 0) or on one of two servers, the consolidator, a
 * move of the shard, its removal by retention, one retraction, and NR
 * readers, each with transactions of several statements, READ COMMITTED or
 * REPEATABLE READ. Does every statement find the bid exactly once, as it is
 * in its snapshot, and not after it was removed?
 *
 * Atomic: one transaction here, or one there; the consolidator's send, which
 * holds the map to its end. A statement is three steps: the lock on history,
 * by which the place is known; the snapshot; the question to the server,
 * whose transaction is as old as the first question of this transaction. A
 * crash forgets everything that is not committed.
 *
 * -DNOSEND, -DNOSWAP, -DNOREMOVE: mark, swap, removal do not wait for
 * onlookers. -DEARLY: onlookers are noted before the commit there.
 * -DNOVERIFY: mark does not look whether the auction is as it was sent.
 * -DNOMAP: nor whether the shard is where it was and no move has begun.
 * -DNOLOCK: the swap does not wait for who reads history. -DNOROW: a move
 * does not keep others from writing to the shard.
 */
#ifndef NR
#define NR 2
#endif
#ifndef MV
#define MV 1      /* moves */
#endif
#ifndef CR
#define CR 1      /* crashes */
#endif
#ifndef TX
#define TX 2      /* transactions of readers */
#endif
#ifndef RT
#define RT 1      /* retractions */
#endif
/* committed here; bids: 0 none, 1 as placed, 2 retracted */
byte jr = 1, bid = 1; bit cons, removed, deleted; byte verified, nver; byte place; bit moving; byte tgt;
/* in the shard's table, committed, here and there */
byte rows[3];
/* readers: st 0 no transaction, 1 between statements, 2 history locked, 3 has a snapshot */
byte st[NR+1], at[NR+1]; bit rr[NR+1], snap[NR+1], lock[NR+1];
byte sj[NR+1], sh[NR+1], sb[NR+1]; bit sc[NR+1], sr[NR+1];
byte seen1[NR+1], seen2[NR+1];          /* what the transaction there sees, + 1; 0: none is open */
/* onlookers of the consolidator, the move, the removal */
bit con[NR+1], mon[NR+1], ron[NR+1];
byte cs, cver, cplace;                  /* consolidator: 0 rests, 1 sent, 2 onlookers noted */
byte ms, src;                           /* move: 0 none, 1 its row is there, 2 copied, 3 onlookers noted, 4 swapped */
byte rs;                                /* removal: 0 rests, 1 marked, 2 onlookers noted */
byte mv = MV, cr = CR, tx = TX, rt = RT, i, k, v;

#define GONE(on) (on[1] == 0 && on[NR] == 0)
#define NOTE(on) k = 1; do :: k <= NR -> on[k] = (st[k] != 0); k++ :: else -> break od; k = 1
#define SEND if :: cplace != 0 -> rows[cplace] = jr :: else fi
#ifdef NOROW
#define FREE true
#else
#define FREE (!moving)
#endif
#ifdef NOSEND
#define SEND_SEEN true
#else
#define SEND_SEEN (GONE(con))
#endif
#ifdef NOSWAP
#define COPY_SEEN true
#else
#define COPY_SEEN (GONE(mon))
#endif
#ifdef NOREMOVE
#define MARK_SEEN true
#else
#define MARK_SEEN (GONE(ron))
#endif
#ifdef NOVERIFY
#define AS_SENT true
#else
#define AS_SENT (verified == cver)
#endif
#ifdef NOMAP
#define SAME_MAP true
#else
#define SAME_MAP (place == cplace && FREE)
#endif
#ifdef NOLOCK
#define UNLOCKED true
#else
#define UNLOCKED (lock[1] == 0 && lock[NR] == 0)
#endif

inline look(r) { snap[r] = 1; sj[r] = jr; sh[r] = rows[0]; sb[r] = bid; sc[r] = cons; sr[r] = removed }
inline ask(r, s) { if :: s == 1 && seen1[r] == 0 -> seen1[r] = rows[1] + 1
	:: s == 2 && seen2[r] == 0 -> seen2[r] = rows[2] + 1 :: else fi }

active proctype history() {
end: do
 /* ---- readers ---- */
 :: d_step { tx > 0 && st[1] == 0 -> tx--; st[1] = 1; rr[1] = 0 }
 :: d_step { tx > 0 && st[NR] == 0 -> tx--; st[NR] = 1; rr[NR] = 1 }
 :: atomic { select(i : 1 .. NR); if
    /* a query of something else: here, or at a server */
    :: d_step { st[i] == 1 && rr[i] && !snap[i] -> look(i) }
    :: d_step { st[i] == 1 && seen1[i] == 0 -> ask(i, 1) }
    :: d_step { st[i] == 1 && seen2[i] == 0 -> ask(i, 2) }
    :: d_step { st[i] == 1 -> lock[i] = 1; at[i] = place; st[i] = 2 }
    :: d_step { st[i] == 2 -> if :: !rr[i] || !snap[i] -> look(i) :: else fi; st[i] = 3 }
    :: d_step { st[i] == 3 ->
         ask(i, at[i]);
         v = (at[i] == 0 -> sh[i] : (at[i] == 1 -> seen1[i] - 1 : seen2[i] - 1));
         v = (sc[i] -> (sr[i] -> 0 : v) : sj[i]);
         assert(v == (sr[i] -> 0 : sb[i]));
         st[i] = 1 }
    :: d_step { st[i] == 1 -> st[i] = 0; snap[i] = 0; lock[i] = 0; seen1[i] = 0; seen2[i] = 0;
         con[i] = 0; mon[i] = 0; ron[i] = 0; at[i] = 0; sj[i] = 0; sh[i] = 0; sb[i] = 0; sc[i] = 0; sr[i] = 0 }
    :: else fi; i = 0; v = 0 }
 /* ---- the auction ---- */
 :: d_step { rt > 0 && !cons -> rt--; jr = 2; bid = 2; verified = 0 }
 :: d_step { verified == 0 && !cons -> nver++; verified = nver }
 /* ---- the consolidator ---- */
 :: d_step { cs == 0 && verified && !cons && FREE -> cver = verified; cplace = place; cs = 1;
#ifdef EARLY
      NOTE(con) }
 :: d_step { cs == 1 && place == cplace && FREE -> SEND; cs = 2 }
#else
      SEND }
 :: d_step { cs == 1 -> NOTE(con); cs = 2 }
#endif
 :: d_step { cs == 2 && SEND_SEEN ->
      if :: !cons && AS_SENT && SAME_MAP -> if :: place == 0 -> rows[0] = jr :: else fi; cons = 1; jr = 0
         :: else fi; cs = 0; cver = 0; cplace = 0 }
 /* ---- a move ---- */
 :: d_step { ms == 0 && mv > 0 -> mv--; ms = 1; moving = 1; src = place; tgt = (place + 1) % 3 }
 :: d_step { ms == 0 && mv > 0 -> mv--; ms = 1; moving = 1; src = place; tgt = (place + 2) % 3 }
 :: d_step { ms == 1 -> rows[tgt] = rows[src]; ms = 2 }
 :: d_step { ms == 2 -> NOTE(mon); ms = 3 }
 :: d_step { ms == 3 && COPY_SEEN && UNLOCKED -> place = tgt; moving = 0; ms = 4 }
 :: d_step { ms == 4 -> rows[src] = 0; ms = 0; src = 0; tgt = 0 }
 :: d_step { ms > 0 && ms < 4 -> rows[tgt] = 0; moving = 0; ms = 0; src = 0; tgt = 0 }
 /* ---- retention ---- */
 :: d_step { rs == 0 && cons && !deleted -> removed = 1; rs = 1 }
 :: d_step { rs == 1 -> NOTE(ron); rs = 2 }
 :: d_step { rs == 2 && MARK_SEEN && FREE -> rows[place] = 0; deleted = 1; rs = 0 }
 /* ---- crashes of who does it: what is committed says how to go on ---- */
 :: d_step { cr > 0 && cs > 0 -> cr--; cs = 0; cver = 0; cplace = 0 }
 :: d_step { cr > 0 && ms == 3 -> cr--; ms = 2 }
 :: d_step { cr > 0 && ms == 2 -> cr--; ms = 1 }
 :: d_step { cr > 0 && rs == 2 -> cr--; rs = 1 }
 od }
