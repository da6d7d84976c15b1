/*
 * pin.h: auctions whose route the rollout does not decide.
 */
#ifndef AUC_PIN_H
#define AUC_PIN_H

#include "postgres.h"

/* The auction is being removed: so is its pin, if it has one. */
extern void auc_pin_remove(int64 auction_id);

#endif							/* AUC_PIN_H */
