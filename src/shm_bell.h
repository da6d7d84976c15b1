/*
 * shm_bell.h: waking a backend whose answer is there.
 *
 * Each process has a bell, found by its pgprocno: one word, of which the upper
 * bits count rings, and the lowest two say how its owner sleeps.
 *
 *   owner   reads the word, looks whether what it waits for is there, and if
 *           not sleeps on the word as it was: a ring in between changes it
 *   ringer  makes what is waited for visible first, then rings
 *
 * First the owner sleeps on the word itself (a futex, on Linux), for some
 * milliseconds.  A latch costs a signal, and an epoll_wait and a read to receive
 * it; without them a bid takes an eighth less processor time, and 64 clients of
 * one auction get 7 (through a client) to 18 % (in a loop) more bids decided.
 * Signals interrupt that sleep, so cancel and terminate work as always; one
 * that comes just before it begins is noticed when the few milliseconds are
 * over.  Then the owner sleeps on its latch, and says so in the word, so that
 * the ringer sets it.  Elsewhere than on Linux it does that from the beginning.
 *
 * A ring for somebody who does not wait any more does no harm.
 */
#ifndef AUC_SHM_BELL_H
#define AUC_SHM_BELL_H

#include "postgres.h"

extern Size auc_bell_shmem_size(void);
extern void auc_bell_shmem_init(bool found, void *space);

/* owner */
extern uint32 auc_bell_read(void);
/* Sleeps until the bell has rung since auc_bell_read(), a signal came, or some
 * milliseconds have passed; false: it does not sleep like that (any more). */
extern bool auc_bell_nap(uint32 seen, uint32 wait_event);
/* From now on the ringer sets the latch, too; until auc_bell_done(). */
extern void auc_bell_use_latch(void);
extern void auc_bell_done(void);

/* ringer */
extern void auc_bell_ring(uint32 procno);

#endif							/* AUC_SHM_BELL_H */
