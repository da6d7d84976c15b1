/*
 * test_guard.c: which window breaks which limit.
 */
#include <string.h>

#include "guard.h"
#include "tap.h"

static const AucGuardLimits limits = {
	.error_share = 1.0,.p99_us = 500000,.lag_s = 10,.min_bids = 100
};

static AucGuardWindow window;
static char why[200];

static void
begin(void)
{
	memset(&window, 0, sizeof(window));
	why[0] = '\0';
}

/* So many bids that took so long. */
static void
took(uint64_t n, uint64_t us)
{
	window.latency[auc_latency_bucket(us)] += n;
}

static bool
broken(void)
{
	return auc_guard_broken(&limits, &window, why, sizeof(why));
}

static void
test_errors(void)
{
	begin();
	ok(!broken() && why[0] == '\0', "no bid at all");
	took(990, 2000);
	window.errors = 10;
	ok(!broken(), "as many errors as the limit");
	window.errors = 11;
	ok(broken() && strstr(why, "1.10 %") != NULL &&
	   strstr(why, "(1001 bids)") != NULL, "one more");

	begin();
	window.errors = 99;
	ok(!broken(), "nothing but errors, but too few bids");
	window.errors = 100;
	ok(broken() && strstr(why, "100.00 %") != NULL, "and enough");
}

static void
test_p99(void)
{
	begin();
	took(990, 2000);
	took(10, 900000);
	ok(!broken(), "one in a hundred is slow: p99 is not");
	took(1, 900000);
	ok(broken() && strstr(why, "p99") != NULL &&
	   strstr(why, "500.0 ms") != NULL, "one more");

	begin();
	took(50, 2000);
	for (int i = 0; i < 49; i++)
		auc_guard_add_waiting(&window, 5000000);
	ok(!broken(), "half of them hang, but too few bids");
	auc_guard_add_waiting(&window, 5000000);
	ok(broken() && strstr(why, "(100 bids)") != NULL, "and enough");

	begin();
	took(1000, 2000);
	for (int i = 0; i < 64; i++)
		auc_guard_add_waiting(&window, 100000);
	ok(!broken(), "they wait, but not for long yet");
}

static void
test_lag(void)
{
	begin();
	window.lag_s = 10;
	ok(!broken(), "as far behind as the limit");
	window.lag_s = 10.5;
	ok(broken() && strstr(why, "10.5 s") != NULL, "further, without a bid");
}

static void
test_off(void)
{
	AucGuardLimits off = {.error_share = 100,.min_bids = 1};

	begin();
	window.errors = 1000;
	window.lag_s = 1e6;
	took(1000, 3600000000u);
	ok(!auc_guard_broken(&off, &window, why, sizeof(why)),
	   "nothing breaks what is no limit");
}

static void
test_short_buffer(void)
{
	char		small[8];

	begin();
	window.lag_s = 1000;
	ok(auc_guard_broken(&limits, &window, small, sizeof(small)) &&
	   strlen(small) == 7, "a reason that does not fit is cut");
}

int
main(void)
{
	test_errors();
	test_p99();
	test_lag();
	test_off();
	test_short_buffer();
	return tap_done();
}
