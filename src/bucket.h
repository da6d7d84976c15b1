/*
 * bucket.h: the bucket of an auction, by which a rollout decides its route.
 *
 * Pure C: no PostgreSQL header.  The hash is GrowthBook's, version 2, as its
 * documentation for makers of SDKs describes it ("hash", hashVersion 2), with
 * the salt as seed and the auction's id in decimal as value:
 *
 *   inner  = FNV-1a 32 of (salt || id)
 *   bucket = FNV-1a 32 of (inner in decimal) mod 10000
 *
 * It needs nothing but its arguments, so that any service computes the same
 * without asking the database.  Whoever changes it moves auctions of running
 * rollouts: it never changes.
 */
#ifndef AUC_BUCKET_H
#define AUC_BUCKET_H

#include <stddef.h>
#include <stdint.h>

/* Buckets are 0 .. AUC_BUCKETS - 1. */
#define AUC_BUCKETS		10000

/* Of any text; auc_bucket is this with the id as value. */
extern int	auc_bucket_of_text(const char *salt, size_t salt_len,
							   const char *value, size_t value_len);
extern int	auc_bucket(const char *salt, size_t salt_len, int64_t auction_id);

#endif							/* AUC_BUCKET_H */
