/*
 * test_request_ids.c: what a router remembers of request ids, and for how
 * long; some 100,000 ids against an array that forgets nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "request_ids.h"
#include "tap.h"

static AucRequestIds ids;

static AucRequestId
make(int64_t auction_id, int64_t user_id, uint64_t request, uint64_t position)
{
	AucRequestId id;

	memset(&id, 0, sizeof(id));
	id.auction_id = auction_id;
	id.user_id = user_id;
	memcpy(id.request_id + 8, &request, sizeof(request));
	id.position = position;
	id.bid_no = (int64_t) position;
	id.at = (int64_t) position * 10;
	return id;
}

static bool
add(int64_t auction_id, int64_t user_id, uint64_t request, uint64_t position)
{
	AucRequestId id = make(auction_id, user_id, request, position);

	return auc_request_ids_add(&ids, &id);
}

static const AucRequestId *
find(int64_t auction_id, int64_t user_id, uint64_t request)
{
	AucRequestId id = make(auction_id, user_id, request, 0);

	return auc_request_ids_find(&ids, auction_id, user_id, id.request_id);
}

static void
begin(uint64_t number)
{
	auc_request_ids_begin(&ids, number);
	ids.seed = UINT64_C(0x123456789abcdef);
}

static void
test_few(void)
{
	begin(5);
	ok(ids.floor == 5, "looks from before it began are too old");
	ok(find(1, 7, 1) == NULL, "nothing is there");
	ok(add(1, 7, 1, 10) && add(1, 8, 1, 11) && add(2, 7, 1, 12) &&
	   add(1, 7, 2, 13), "four are remembered");
	ok(find(1, 7, 1)->bid_no == 10 && find(1, 7, 1)->at == 100,
	   "an id is found");
	ok(find(1, 8, 1)->bid_no == 11, "another user's is another one");
	ok(find(2, 7, 1)->bid_no == 12, "another auction's is another one");
	ok(find(1, 7, 2)->bid_no == 13 && find(1, 7, 3) == NULL,
	   "another id is another one");

	auc_request_ids_lose(&ids, 1, 11);
	ok(find(1, 7, 1) != NULL, "lost from a position on: not those before");
	ok(find(1, 8, 1) == NULL && find(1, 7, 2) == NULL, "... those behind");
	ok(find(2, 7, 1) != NULL, "... not another auction's");
	begin(6);
	ok(find(1, 7, 1) == NULL && ids.floor == 6, "it begins anew");
}

/* Fills "now" with ids of positions from "first" on. */
static uint64_t
fill(uint64_t first)
{
	for (int i = 0; i < AUC_REQUEST_IDS_FULL; i++)
	{
		expect(add(1, 7, first, first));
		first++;
	}
	return first;
}

static void
test_turning(void)
{
	uint64_t	next;

	begin(1);
	next = fill(1);
	expect(add(1, 7, next, next));
	ok(find(1, 7, 1) != NULL && ids.floor == 1,
	   "a full table is kept as the one before");
	ok(!auc_request_ids_due(&ids, next - 2), "it is not applied yet");
	ok(auc_request_ids_due(&ids, next - 1), "... now it is");

	next = fill(next + 1);
	ok(find(1, 7, 1) != NULL && ids.floor == 1,
	   "without a number it stays, though the next one is full");
	auc_request_ids_seen(&ids, 17);
	ok(find(1, 7, 1) != NULL && ids.floor == 1, "with one it stays");
	expect(add(1, 7, next, next));
	ok(find(1, 7, 1) == NULL && ids.floor == 17,
	   "... until the next one is full");
	ok(find(1, 7, AUC_REQUEST_IDS_FULL + 1) != NULL && find(1, 7, next) != NULL,
	   "which is remembered, as is what comes");
	ok(!auc_request_ids_due(&ids, next - 2) &&
	   auc_request_ids_due(&ids, next - 1), "it waits for its own last one");
	tap_expected("all of them were remembered");
}

/* The drain stands still: nothing may be forgotten. */
static void
test_stalled(void)
{
	uint64_t	next;

	begin(1);
	next = fill(1);
	for (int i = 0; i < 10; i++)
		next = fill(next);
	for (uint64_t i = 1; i < next; i++)
		expect(find(1, 7, i) != NULL &&
			   find(1, 7, i)->position == i);
	tap_expected("what is not applied is remembered, however much it is");
	auc_request_ids_seen(&ids, 3);
	expect(add(1, 7, next, next));
	auc_request_ids_seen(&ids, 4);
	next = fill(next + 1);
	expect(add(1, 7, next, next));
	ok(ids.floor == 4, "it goes on in small tables");
	ok(ids.now.size <= 2 * AUC_REQUEST_IDS_FULL,
	   "the memory of a large one is given back");
	tap_expected("and forgets nothing");
}

#define RANDOM_IDS	100000

static AucRequestId all[RANDOM_IDS];

static void
test_random(void)
{
	uint64_t	applied = 0;
	uint64_t	number = 1;
	uint64_t	forgotten = 0;	/* positions that looks from the floor on find */
	uint64_t	seen[2] = {0, 0};	/* for "before": its last, once it is known */

	begin(number);
	for (uint64_t i = 0; i < RANDOM_IDS; i++)
	{
		uint64_t	floor = ids.floor;
		uint64_t	back;

		all[i] = make((int64_t) tap_below(50), (int64_t) tap_below(100),
					  tap_random(), i + 1);
		if (tap_below(1000) == 0 && i > 5000)
		{
			uint64_t	to = i - tap_below(5000);

			applied = to > applied ? to : applied;
		}
		if (auc_request_ids_due(&ids, applied))
		{
			seen[0] = ids.before.last;
			auc_request_ids_seen(&ids, ++number);
			seen[1] = number;
		}
		expect(auc_request_ids_add(&ids, &all[i]));
		if (ids.floor != floor)
		{
			expect(ids.floor == seen[1] || seen[1] == 0);
			forgotten = seen[0];
			expect(forgotten <= applied);
		}
		back = forgotten + tap_below(i + 1 - forgotten);
		expect(auc_request_ids_find(&ids, all[back].auction_id,
									all[back].user_id,
									all[back].request_id) != NULL);
	}
	tap_expected("what is not remembered is applied, and looks know the number");
}

int
main(void)
{
	test_few();
	test_turning();
	test_stalled();
	test_random();
	auc_request_ids_begin(&ids, 1);
	free(ids.now.ids);
	free(ids.before.ids);
	return tap_done();
}
