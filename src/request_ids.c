/*
 * request_ids.c: see request_ids.h.
 *
 * Open addressing with linear probing, at most half full.  Nothing is removed
 * singly: a table is dropped as a whole.
 */
#include <stdlib.h>
#include <string.h>

#include "request_ids.h"

#define LEAST_SIZE	1024
/* What a full table has; a larger one is not kept. */
#define FULL_SIZE	(2 * AUC_REQUEST_IDS_FULL)

static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

static uint64_t
hash(uint64_t seed, int64_t auction_id, int64_t user_id,
	 const uint8_t *request_id)
{
	uint64_t	half[2];

	memcpy(half, request_id, sizeof(half));
	seed = mix(seed ^ (uint64_t) auction_id);
	seed = mix(seed ^ (uint64_t) user_id);
	seed = mix(seed ^ half[0]);
	return mix(seed ^ half[1]);
}

static bool
same(const AucRequestId *id, int64_t auction_id, int64_t user_id,
	 const uint8_t *request_id)
{
	return id->auction_id == auction_id && id->user_id == user_id &&
		memcmp(id->request_id, request_id, sizeof(id->request_id)) == 0;
}

/* Where it is, or the free place where it would be; size > 0. */
static AucRequestId *
place(const AucRequestTable *table, uint64_t seed, int64_t auction_id,
	  int64_t user_id, const uint8_t *request_id)
{
	uint64_t	i = hash(seed, auction_id, user_id, request_id);

	for (;; i++)
	{
		AucRequestId *id = &table->ids[i & (table->size - 1)];

		if (id->bid_no == 0 || same(id, auction_id, user_id, request_id))
			return id;
	}
}

static bool
grow(AucRequestTable *table, uint64_t seed)
{
	AucRequestTable larger = *table;

	larger.size = table->size == 0 ? LEAST_SIZE : table->size * 2;
	larger.ids = calloc(larger.size, sizeof(AucRequestId));
	if (larger.ids == NULL)
		return false;
	for (uint32_t i = 0; i < table->size; i++)
	{
		const AucRequestId *id = &table->ids[i];

		if (id->bid_no != 0)
			*place(&larger, seed, id->auction_id, id->user_id,
				   id->request_id) = *id;
	}
	free(table->ids);
	*table = larger;
	return true;
}

static void
empty(AucRequestTable *table)
{
	if (table->size > FULL_SIZE)
	{
		free(table->ids);
		table->ids = NULL;
		table->size = 0;
	}
	else if (table->used > 0)
		memset(table->ids, 0, table->size * sizeof(AucRequestId));
	table->used = 0;
	table->last = 0;
	table->seen = 0;
}

void
auc_request_ids_begin(AucRequestIds *ids, uint64_t number)
{
	empty(&ids->now);
	empty(&ids->before);
	ids->before.seen = number;
	ids->floor = number;
}

/* What is in "now" becomes the older ids. */
static void
turn(AucRequestIds *ids)
{
	AucRequestTable dropped = ids->before;

	ids->floor = dropped.seen;
	empty(&dropped);
	ids->before = ids->now;
	ids->now = dropped;
}

bool
auc_request_ids_add(AucRequestIds *ids, const AucRequestId *id)
{
	AucRequestId *free_place;

	if (ids->now.used >= AUC_REQUEST_IDS_FULL && ids->before.seen != 0)
		turn(ids);
	if (ids->now.used >= ids->now.size / 2 && !grow(&ids->now, ids->seed))
		return false;
	free_place = place(&ids->now, ids->seed, id->auction_id, id->user_id,
					   id->request_id);
	if (free_place->bid_no == 0)
		ids->now.used++;
	*free_place = *id;
	ids->now.last = id->position;
	return true;
}

const AucRequestId *
auc_request_ids_find(const AucRequestIds *ids, int64_t auction_id,
					 int64_t user_id, const uint8_t *request_id)
{
	const AucRequestTable *tables[2] = {&ids->now, &ids->before};

	for (int i = 0; i < 2; i++)
	{
		const AucRequestId *id;

		if (tables[i]->used == 0)
			continue;
		id = place(tables[i], ids->seed, auction_id, user_id, request_id);
		if (id->bid_no != 0 && !id->lost)
			return id;
	}
	return NULL;
}

static void
lose(AucRequestTable *table, int64_t auction_id, uint64_t from)
{
	for (uint32_t i = 0; i < table->size; i++)
		if (table->ids[i].auction_id == auction_id &&
			table->ids[i].position >= from)
			table->ids[i].lost = true;
}

void
auc_request_ids_lose(AucRequestIds *ids, int64_t auction_id, uint64_t from)
{
	lose(&ids->now, auction_id, from);
	lose(&ids->before, auction_id, from);
}
