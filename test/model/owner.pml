/* Model C: two primaries (routers 1 and 2, each with its own PostgreSQL) and one lane in Redis, with lease and term.
 * Clocks only as nondeterministic lease expiry: the lease in Redis can run out only when its owner does not renew
 * (paused, cut off, dead, not connected); the owner's own idea of the lease (ll) runs out before Redis's.
 * Design as written without -D. Variants:
 *   TAKE      taking = one script (else: look, then write)
 *   RETAKE    every new connection takes the lane again
 *   OWNTERM   the append script compares owner AND term for equality (else: refuses only a lower term; not found to be necessary)
 *   INST      'its own' = the same running instance (else: system identifier + timeline; CLONE: both are equal)
 *   GRACE     a router whose lease has run out by its own clock waits one lease time before it takes anything
 *   NODEGACK  do not count journal-level acknowledgements in degraded mode (they are not fenced by Redis)
 *   LEASEDEG  a degraded router acknowledges only while its own lease has not run out
 * Faults: NPAUSE pauses, NCUT network cuts, NRC router restarts, NPC PostgreSQL restarts, NRD Redis crashes that may lose all
 * or fall back to the state before the last take. */
#ifndef NPAUSE
#define NPAUSE 2
#endif
#ifndef NCUT
#define NCUT 1
#endif
#ifndef NRC
#define NRC 1
#endif
#ifndef NPC
#define NPC 1
#endif
#ifndef NRD
#define NRD 1
#endif
#ifndef NAPP
#define NAPP 2
#endif
#define MAXTAKE 5
byte owner, rterm, claim, pclaim; bit lease;                 /* Redis */
byte powner, pterm; bit please;               /* Redis before the last take (what a loss may bring back) */
byte st[3], term[3], nreq[3], req[3], look[3], epoch[3];   /* st: 0 no lane, 1 owner, 2 owner degraded */
bit conn[3], ll[3], paused[3], cut[3], rep[3], repok[3], app[3], kin[3]; /* kin: process of an instance that has held the lane */
bit chk[3];
byte np=NPAUSE, nc=NCUT, nrc=NRC, npc=NPC, nrd=NRD, takes, ep;
#define O(i) (3-(i))
#define RUN(i) (!paused[i])
#define LIVE(i) (st[i]==1 && ll[i] && !paused[i] && !cut[i])
#ifdef INST
#define OWN(i) (owner==i && kin[i])
#else
#ifdef CLONE
#define OWN(i) (owner!=0)
#else
#define OWN(i) (owner==i)
#endif
#endif
#ifdef CLAIM
/* own and unclaimed: at once; the own lease runs and nobody took since: at once; else after the wait, behind a claim */
#define HOLDS(i) (ll[i] && (owner==0 || OWN(i)))
#define CLEAR(i) (claim==0)
#define MAY(i) (HOLDS(i) || (OWN(i) && CLEAR(i)) || owner==0 || (claim==i && (OWN(i) || !lease)))
#define WAITED(i) (HOLDS(i) || (OWN(i) && CLEAR(i)) || !(LIVE(O(i))))
#else
#define MAY(i) (owner==0 || OWN(i) || !lease)
#ifdef GRACE
#define WAITED(i) (ll[i] || !(LIVE(O(i))))
#else
#define WAITED(i) true
#endif
#endif
/* the newest owner has appended; i is not it */
#define OLD(i) (epoch[O(i)]>epoch[i] && app[O(i)])

inline dotake(i) {
  assert(!(LIVE(O(i)) && epoch[O(i)]==ep));                      /* C2: a live owner is not displaced */
  powner=owner; pterm=rterm; please=lease; pclaim=claim; claim=0;
  rterm=(rterm>term[i] -> rterm : term[i])+1; term[i]=rterm; owner=i; lease=1; ll[i]=1; kin[i]=1;
  st[i]=1; conn[i]=1; app[i]=0; ep++; epoch[i]=ep; takes++; req[i]=0; rep[i]=0; look[i]=0;
  printf("router %d: takes the lane, term %d\n", i, rterm) }

#define ROUTER(i) \
 TAKING(i) \
 CLAIMING(i) \
 :: d_step { RUN(i) && st[i]==1 && conn[i] && !cut[i] && req[i]==0 && !rep[i] && nreq[i]<NAPP -> nreq[i]++; req[i]=term[i]; printf("router %d: sends an append, term %d\n", i, term[i]) } \
 :: d_step { req[i]!=0 -> rep[i]=1; \
      if :: PASS(i) -> printf("Redis: appends a record of router %d, term %d\n", i, req[i]); \
             assert(!OLD(i));                                    /* C1: no record of the old owner in the log */ \
             app[i]=1; repok[i]=1 \
         :: else -> printf("Redis: refuses router %d, term %d\n", i, req[i]); repok[i]=0 fi; req[i]=0 } \
 :: d_step { RUN(i) && rep[i] && conn[i] && !cut[i] -> rep[i]=0; if :: repok[i] -> printf("router %d: acknowledges\n", i) :: else -> st[i]=0; conn[i]=0; ll[i]=0; printf("router %d: fenced, gives the lane up\n", i) fi } \
 :: d_step { RUN(i) && st[i]==1 && cut[i] -> st[i]=2; conn[i]=0; rep[i]=0; printf("router %d: Redis unreachable, lane degraded\n", i) } \
 :: d_step { RUN(i) && st[i]==2 && cut[i] && DEGOK(i) && !chk[i] -> chk[i]=1; printf("router %d: decides a bid in degraded mode\n", i) } \
 :: d_step { RUN(i) && chk[i] -> chk[i]=0; printf("router %d: acknowledges it at level journal\n", i); assert(DEGASSERT(i)) }  \
 :: d_step { RECONN(i) } \
 :: d_step { ll[i] && (paused[i] || cut[i] || st[i]==0 || !conn[i]) -> ll[i]=0; printf("router %d: own lease has run out\n", i) } \
 :: d_step { owner==i && lease && !ll[i] -> lease=0; printf("Redis: lease of router %d has run out\n", i) } \
 :: d_step { np>0 && !paused[i] -> np--; paused[i]=1; printf("FAULT router %d pauses\n", i) } \
 :: d_step { paused[i] -> paused[i]=0; printf("router %d: resumes\n", i) } \
 :: d_step { nc>0 && !cut[i] && st[i]==1 -> nc--; cut[i]=1; printf("FAULT network between router %d and Redis cut\n", i) } \
 :: d_step { cut[i] -> cut[i]=0; printf("network of router %d heals\n", i) } \
 :: d_step { nrc>0 && st[i]>0 -> nrc--; st[i]=0; conn[i]=0; ll[i]=0; rep[i]=0; chk[i]=0; look[i]=0; printf("FAULT router process %d restarts\n", i) } \
 :: d_step { npc>0 && st[i]>0 -> npc--; st[i]=0; conn[i]=0; ll[i]=0; rep[i]=0; chk[i]=0; look[i]=0; kin[i]=0; printf("FAULT PostgreSQL %d restarts\n", i) }

#ifdef TAKE
#define TAKING(i) :: d_step { RUN(i) && !conn[i] && !cut[i] && (st[i]==0 || RT) && MAY(i) && WAITED(i) && takes<MAXTAKE -> dotake(i) }
#else
#define TAKING(i) :: d_step { RUN(i) && !conn[i] && !cut[i] && (st[i]==0 || RT) && !look[i] && MAY(i) && WAITED(i) && takes<MAXTAKE -> look[i]=1; printf("router %d: sees that it may take the lane\n", i) } \
 :: d_step { RUN(i) && look[i] && !cut[i] && takes<MAXTAKE -> dotake(i) }
#endif
#ifdef CLAIM
#define CLAIMING(i) :: d_step { RUN(i) && !conn[i] && !cut[i] && owner!=0 && !OWN(i) && !lease && !(LIVE(O(i))) && claim!=i -> claim=i; printf("router %d: claims the lane\n", i) } \
 :: d_step { RUN(i) && !conn[i] && !cut[i] && OWN(i) && !CLEAR(i) && claim!=i && !(LIVE(O(i))) -> claim=i; printf("router %d: claims the lane\n", i) } \
 :: d_step { LIVE(i) && conn[i] && owner==i && rterm==term[i] && claim!=0 -> claim=0; printf("router %d: beats, the claim is void\n", i) }
#else
#define CLAIMING(i)
#endif
#ifdef RETAKE
#define RT true
#define RECONN(i) RUN(i) && st[i]>0 && !conn[i] && !cut[i] && !MAY(i) -> st[i]=0; printf("router %d: the lane has another owner, gives it up\n", i)
#else
#define RT false
#define RECONN(i) RUN(i) && st[i]>0 && !conn[i] && !cut[i] -> conn[i]=1; st[i]=1; printf("router %d: reconnects, still term %d\n", i, term[i])
#endif
#ifdef OWNTERM
#define PASS(i) (owner==i && rterm==req[i])
#else
#define PASS(i) (req[i]>=rterm)
#endif
#ifdef LEASEDEG
#define DEGOK(i) ll[i]
#else
#define DEGOK(i) true
#endif
#ifdef NODEGACK
#define DEGASSERT(i) true
#else
#define DEGASSERT(i) (!OLD(i))
#endif

active proctype m() {
end: do
 ROUTER(1)
 ROUTER(2)
 :: d_step { nrd>0 -> nrd--; owner=powner; rterm=pterm; lease=please; claim=pclaim; conn[1]=0; conn[2]=0; req[1]=0; req[2]=0; rep[1]=0; rep[2]=0;
      printf("FAULT Redis restarts and has lost the last take: owner %d term %d\n", owner, rterm) }
 :: d_step { nrd>0 -> nrd--; owner=0; rterm=0; lease=0; claim=0; conn[1]=0; conn[2]=0; req[1]=0; req[2]=0; rep[1]=0; rep[2]=0;
      printf("FAULT Redis restarts empty\n") }
 od }
