/*
 * bucket.h: which share of all auctions one belongs to.
 *
 * Pure C.  GrowthBook's hash, version 2, so that any service can compute it:
 * inner = FNV-1a 32 of (salt || id in decimal), bucket = FNV-1a 32 of (inner
 * in decimal) mod 10000.  Whoever is in at some percent is in at any higher
 * one.
 */
#ifndef AUC_BUCKET_H
#define AUC_BUCKET_H

#include <stddef.h>
#include <stdint.h>

/* Buckets are 0 .. AUC_BUCKETS - 1. */
#define AUC_BUCKETS		10000

extern int	auc_bucket(int64_t auction_id, const char *salt, size_t len);

#endif							/* AUC_BUCKET_H */
