/* Model of rule 16 as it is built: one auction, one request id, NB backends that place it (each again and again
 * until it is told accepted), both routes, moves both ways, router crashes, applied records that are forgotten,
 * the auction let go of and loaded again.  Each option of the loop is one atomic event.
 * Is the id ever accepted twice?  -DNOLOAD: loading raises no number.  -DNOFLOOR: forgetting raises none.
 * -DEARLY: the number is noted before what it speaks of is applied.  -DLATE: a backend reads the number behind its look.
 * -DNOREADY: a new router decides before everything is applied.  -DNOLOCK: table looks without the lock */
#ifndef NB
#define NB 2
#endif
#ifndef MV
#define MV 3      /* moves */
#endif
#ifndef RC
#define RC 2      /* router crashes */
#endif
#ifndef FG
#define FG 2      /* tables that are turned */
#endif
#ifndef UL
#define UL 1      /* lettings go */
#endif
#define TABLE 0
#define REDIS 1
/* PostgreSQL */
byte route = REDIS; byte lock;          /* lock: 0 free, b held by backend b, 9 by a mover */
byte jr;                                /* committed rows with the id */
/* shared memory */
byte looks = 1; byte tail, dcm;         /* tail: unapplied records with the id (as announced); dcm: committed, not announced */
bit mvrec, mvdone;                      /* a move record in the tail; committed */
/* router */
bit ready, live, moving, up = 1; byte floor, livelook, mem, oldmem, seen;
bit moved;                              /* the auction was on table once (moved_at) */
/* backends: 0 idle 1 number read 2 looked (not found) 3 published 4 waits for the lock 5 has the lock 6 bid uncommitted 9 done */
byte st[NB+1]; byte num[NB+1]; bit acc[NB+1];
byte mv = MV, rc = RC, fg = FG, ul = UL, b;

#define MAXF (floor > livelook -> floor : livelook)
#define ONCE assert(jr + (tail > dcm -> tail - dcm : 0) <= 1)

active proctype auction() {
end: do
 /* ---- backends: route redis (the hint may be stale: any) ---- */
 :: atomic { select(b : 1 .. NB); if
#ifdef LATE
    :: st[b] == 0 -> if :: jr > 0 -> st[b] = 9; acc[b] = 1 :: else -> st[b] = 1 fi
    :: st[b] == 1 -> num[b] = looks; st[b] = 3
#else
    :: st[b] == 0 -> num[b] = looks; st[b] = 1
    :: st[b] == 1 -> if :: jr > 0 -> st[b] = 9; acc[b] = 1 :: else -> st[b] = 2 fi
    :: st[b] == 2 -> st[b] = 3
#endif
 /* ---- route table ---- */
    :: st[b] == 0 && lock == 0 -> lock = b; st[b] = 5
    :: st[b] == 5 -> if :: route != TABLE -> lock = 0; st[b] = 0
                        :: route == TABLE && jr > 0 -> lock = 0; st[b] = 9; acc[b] = 1
                        :: route == TABLE && jr == 0 -> st[b] = 6
#ifdef NOLOCK
                             ; lock = 0
#endif
                     fi
    :: st[b] == 6 -> if :: jr++ ; st[b] = 9; acc[b] = 1 :: st[b] = 0 fi; if :: lock == b -> lock = 0 :: else fi; ONCE
 /* ---- the router takes the slot ---- */
    :: st[b] == 3 && up && ready && !live && route == REDIS && lock == 0 ->       /* loads */
       live = 1; moving = 0;
#ifndef NOLOAD
       if :: moved -> looks++; livelook = looks :: else -> livelook = 0 fi
#else
       livelook = 0
#endif
    :: st[b] == 3 && up && ready && !live && route == TABLE -> st[b] = 0           /* MOVED */
    :: st[b] == 3 && up && live && moving -> st[b] = 0                             /* MOVING (waits, starts again) */
    :: st[b] == 3 && up && live && !moving ->
       if :: num[b] < MAXF -> st[b] = 0                                            /* look again */
          :: num[b] >= MAXF && (mem > 0 || oldmem > 0) -> st[b] = 9; acc[b] = 1
          :: num[b] >= MAXF && mem == 0 && oldmem == 0 -> tail++; mem = 1; ONCE; if :: st[b] = 9; acc[b] = 1 :: st[b] = 0 fi
             /* answered, or the backend gives up, outcome unknown, and comes again */
       fi
    :: st[b] == 3 -> st[b] = 0                                                     /* withdrawn, comes again */
    :: else -> skip fi; b = 0 }
 /* ---- drain ---- */
 :: d_step { tail > 0 && dcm == 0 -> jr++; dcm = 1; ONCE }
 :: d_step { dcm > 0 -> dcm = 0; tail-- }
 :: d_step { mvrec && tail == 0 && dcm == 0 && !mvdone -> mvdone = 1; route = TABLE; moved = 1 }
 :: d_step { mvrec && mvdone -> mvrec = 0; mvdone = 0; if :: moving -> live = 0; moving = 0 :: else fi }
 /* ---- router ---- */
#ifdef NOREADY
 :: d_step { up && !ready -> ready = 1; looks++; floor = looks; mem = 0; oldmem = 0; seen = floor }
#else
 :: d_step { up && !ready && tail == 0 && !mvrec -> ready = 1; looks++; floor = looks; mem = 0; oldmem = 0; seen = floor }
#endif
#ifdef EARLY
 :: d_step { up && ready && oldmem > 0 && seen == 0 -> looks++; seen = looks }
#else
 :: d_step { up && ready && oldmem > 0 && seen == 0 && tail == 0 -> looks++; seen = looks }
#endif
 :: d_step { up && ready && fg > 0 && (oldmem == 0 || seen != 0) && (mem > 0 || oldmem > 0) -> fg--;    /* "now" is full */
#ifndef NOFLOOR
      if :: oldmem > 0 -> floor = seen :: else fi;
#endif
      oldmem = mem; mem = 0; seen = 0 }
 :: d_step { up && live && !moving && tail == 0 && dcm == 0 && ul > 0 -> ul--; live = 0 }
 :: d_step { up && rc > 0 -> rc--; up = 0; ready = 0; live = 0; moving = 0; mem = 0; oldmem = 0; seen = 0; livelook = 0; floor = 0 }
 :: d_step { !up -> up = 1 }
 /* ---- moves ---- */
 :: d_step { up && live && !moving && mv > 0 && route == REDIS -> mv--; moving = 1; mvrec = 1 }
 :: d_step { route == TABLE && lock == 0 && mv > 0 && !mvrec -> mv--; lock = 9; }
 :: d_step { lock == 9 -> lock = 0; if :: route = REDIS :: skip fi }
 od }
