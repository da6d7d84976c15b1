/*
 * test_bucket.c: which share of all auctions one belongs to, pinned: other
 * services compute the same.
 */
#include <string.h>

#include "bucket.h"
#include "tap.h"

static int
bucket(int64_t id, const char *salt)
{
	return auc_bucket(id, salt, strlen(salt));
}

/* Each share holds about as many as it says, and nests by definition. */
static void
test_spread(void)
{
	int			count[10] = {0};

	for (int64_t id = 1; id <= 100000; id++)
	{
		int			b = bucket(id, "shadow");

		expect(b >= 0 && b < AUC_BUCKETS);
		count[b * 10 / AUC_BUCKETS]++;
	}
	for (int i = 0; i < 10; i++)
		expect(count[i] > 9500 && count[i] < 10500);
	tap_expected("100,000 ids are spread evenly");
}

int
main(void)
{
	ok(bucket(42, "rollout") == 7576, "a known value");
	ok(bucket(-1, "shadow") != bucket(1, "shadow"), "the sign counts");
	ok(bucket(42, "shadow") != bucket(42, "rollout"), "the salt counts");
	test_spread();
	return tap_done();
}
