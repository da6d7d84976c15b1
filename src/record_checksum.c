/*
 * record_checksum.c: the checksum of a bid.
 *
 * It is stored in rows and in the log and compared across restarts, upgrades,
 * dumps and machines.  So the function below must never change; the unit test
 * holds pinned values.  It is computed from values, not from memory, so that
 * byte order does not matter.
 *
 * A chain over the fields, in the order of the arguments: add the constant of
 * the golden ratio, XOR the field, mix.  The mixing function is the finalizer
 * of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
 * Generators, OOPSLA 2014; its constants are Stafford's variant 13 of
 * MurmurHash3's).  It is a bijection, so two bids that differ in one field of
 * 64 bits never have the same checksum.  Bytes go in as their FNV-1a hash of
 * 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv).
 *
 * An absent request id or absent attributes are one link 0, present ones a
 * link 1 and a link with the hash; so absent differs from empty.
 *
 * This guards against mistakes and damage, not against somebody who may write
 * into the tables.
 */
#include "record.h"

static uint64_t
chain(uint64_t sum, uint64_t field)
{
	uint64_t	z = (sum + UINT64_C(0x9e3779b97f4a7c15)) ^ field;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t
chain_bytes(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);
	size_t		i;

	if (bytes == NULL)
		return chain(sum, 0);

	for (i = 0; i < len; i++)
		hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
	return chain(chain(sum, 1), hash);
}

/*
 * request_id: 16 bytes, or NULL if the bid has none.  attributes: NULL if the
 * bid has none (not merely a length of 0), else the text that jsonb's output
 * function gives, for that is what the journal will give back.
 */
uint64_t
auc_bid_checksum(int64_t auction_id, int64_t bid_no, int64_t user_id,
				 int64_t amount, int64_t at, const uint8_t *request_id,
				 const char *attributes, size_t attributes_len)
{
	uint64_t	sum = 0;

	sum = chain(sum, (uint64_t) auction_id);
	sum = chain(sum, (uint64_t) bid_no);
	sum = chain(sum, (uint64_t) user_id);
	sum = chain(sum, (uint64_t) amount);
	sum = chain(sum, (uint64_t) at);
	sum = chain_bytes(sum, request_id, 16);
	return chain_bytes(sum, attributes, attributes_len);
}
