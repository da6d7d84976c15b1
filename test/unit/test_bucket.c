/*
 * test_bucket.c: the bucket of an auction, pinned: other services compute it,
 * too, and running rollouts stand on it.  That groups nest, are as large as
 * they should be, and say nothing about an auction's lane or about its group
 * under another salt, is tried on a million ids.
 */
#include <string.h>

#include "bucket.h"
#include "tap.h"

#define IDS		1000000

static int
bucket(const char *salt, int64_t id)
{
	return auc_bucket(salt, strlen(salt), id);
}

static int
of_text(const char *salt, const char *value)
{
	return auc_bucket_of_text(salt, strlen(salt), value, strlen(value));
}

static void
test_vectors(void)
{
	ok(of_text("seed", "a") == 505, "GrowthBook: seed, a");
	ok(of_text("seed", "b") == 2696, "GrowthBook: seed, b");
	ok(bucket("rollout", 42) == 7576, "rollout, 42");
	ok(bucket("autumn", 42) == 7256, "autumn, 42");
	/* computed from the description by a program of its own */
	ok(bucket("rollout", 0) == 774 && bucket("rollout", 1) == 6772 &&
	   bucket("rollout", 2) == 9332 && bucket("rollout", 3) == 86,
	   "rollout, 0 to 3");
	ok(bucket("rollout", -1) == 3928 && bucket("rollout", -2) == 569 &&
	   bucket("rollout", -3) == 1479, "rollout, negative ids");
	ok(bucket("rollout", INT64_MIN) == 8075 &&
	   bucket("rollout", INT64_MAX) == 3178, "rollout, the least and the last");
	ok(of_text("rollout", "42") == bucket("rollout", 42),
	   "the id is hashed as its decimal text");
	ok(of_text("rollout4", "2") == bucket("rollout", 42),
	   "... right behind the salt");
	ok(auc_bucket("rollout\xc3\xbc", 9, 7) >= 0, "bytes above 127 are bytes");
}

/* A share's distance from what it should be, in standard deviations, squared. */
static double
distance(int64_t found, double wanted, double n)
{
	double		off = (double) found - wanted * n;

	return off * off / (n * wanted * (1 - wanted));
}

static void
test_groups(void)
{
	static const int percents[] = {1, 5, 20, 50, 80, 99};
	int64_t		in[6] = {0};
	int64_t		per[100] = {0};
	double		chi = 0;

	for (int64_t id = 1; id <= IDS; id++)
	{
		int			b = bucket("rollout", id);
		bool		before = false;

		expect(b >= 0 && b < AUC_BUCKETS);
		per[b / 100]++;
		for (int i = 0; i < 6; i++)
		{
			bool		now = b < percents[i] * 100;

			expect(now || !before);
			in[i] += now;
			before = now;
		}
	}
	tap_expected("who is in at 5 % is in at 20 %, for a million ids");
	for (int i = 0; i < 6; i++)
		expect(distance(in[i], percents[i] / 100.0, IDS) < 25);
	tap_expected("shares are within five standard deviations");
	for (int i = 0; i < 100; i++)
	{
		double		off = (double) per[i] - IDS / 100;

		chi += off * off / (IDS / 100);
	}
	/* 99 degrees of freedom: more than 161 in one of ten thousand */
	printf("# chi-square over 100 parts: %.1f\n", chi);
	ok(chi < 161, "all parts are alike");
}

/* How trigger.c spreads auctions over lanes. */
static uint64_t
lane_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* Of those in one group, the share that is in the other as well. */
static void
test_independent(void)
{
	int64_t		lanes[8] = {0};
	int64_t		lanes_in[8] = {0};
	int64_t		first = 0;
	int64_t		both = 0;

	for (int64_t id = 1; id <= IDS; id++)
	{
		int			lane = (int) (lane_mix((uint64_t) id) % 8);
		bool		in = bucket("rollout", id) < 2000;

		lanes[lane]++;
		lanes_in[lane] += in;
		first += in;
		both += in && bucket("autumn", id) < 2000;
	}
	for (int i = 0; i < 8; i++)
		expect(distance(lanes_in[i], 0.2, (double) lanes[i]) < 25);
	tap_expected("every lane has its fifth of the auctions that are in");
	ok(distance(both, 0.2, (double) first) < 25,
	   "another salt makes other groups");
}

int
main(void)
{
	test_vectors();
	test_groups();
	test_independent();
	return tap_done();
}
