/*
 * test_checksum.c: the checksum of a bid, pinned: it outlives the program that
 * computed it.
 */
#include <string.h>

#include "record.h"
#include "tap.h"

static const uint8_t some_uuid[16] = {
	0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff
};

/*
 * Computed by a program of its own from the description in record.c.  If one
 * of these changes, stored checksums no longer match: it is record.c that is
 * wrong.
 */
static void
test_checksum(void)
{
	static const uint8_t nil[16] = {0};
	uint8_t		ones[16];
	int64_t		at = INT64_C(802000000000000);
	const char *json = "{\"via\": \"app\"}";

	memset(ones, 0xff, sizeof(ones));
	ok(auc_bid_checksum(0, 0, 0, 0, 0, NULL, NULL, 0) ==
	   UINT64_C(0x09bb71fb54596258), "checksum of zeros");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, NULL, NULL, 0) ==
	   UINT64_C(0x058a563a663eeb67), "checksum of a plain bid");
	ok(auc_bid_checksum(42, 2, 7, 15000, at, NULL, NULL, 0) ==
	   UINT64_C(0x8ca67187b366d832), "checksum of another bid_no");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, some_uuid, NULL, 0) ==
	   UINT64_C(0xc2fcac1326737406), "checksum with a request id");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, nil, NULL, 0) ==
	   UINT64_C(0x83dc4cbda5dcf048), "the nil request id is not none");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, NULL, "", 0) ==
	   UINT64_C(0x7b41bcc25b96c448), "empty attributes are not none");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, NULL, json, 14) ==
	   UINT64_C(0xd580d15ebb111d1a), "checksum with attributes");
	ok(auc_bid_checksum(42, 1, 7, 15000, at, some_uuid, json, 14) ==
	   UINT64_C(0x0e1311ee75e9931a), "checksum with both");
	ok(auc_bid_checksum(INT64_MAX, INT64_MAX, INT64_MIN, AUC_AMOUNT_MAX,
						INT64_MIN, ones, "{\"a\": \"\xc3\xbc\"}", 11) ==
	   UINT64_C(0x5d13f3540cae1f75), "checksum of limits and other bytes");
}

/* No field may be left out, and no two may be exchanged. */
static void
test_checksum_fields(void)
{
	uint64_t	sums[8];
	int			i;
	int			j;

	sums[0] = auc_bid_checksum(1, 2, 3, 4, 5, NULL, NULL, 0);
	sums[1] = auc_bid_checksum(2, 1, 3, 4, 5, NULL, NULL, 0);
	sums[2] = auc_bid_checksum(1, 3, 2, 4, 5, NULL, NULL, 0);
	sums[3] = auc_bid_checksum(1, 2, 4, 3, 5, NULL, NULL, 0);
	sums[4] = auc_bid_checksum(1, 2, 3, 5, 4, NULL, NULL, 0);
	sums[5] = auc_bid_checksum(1, 2, 3, 4, 6, NULL, NULL, 0);
	sums[6] = auc_bid_checksum(1, 2, 3, 4, 5, some_uuid, NULL, 0);
	sums[7] = auc_bid_checksum(1, 2, 3, 4, 5, NULL,
							   (const char *) some_uuid, 16);
	for (i = 0; i < 8; i++)
	{
		for (j = 0; j < i; j++)
			expect(sums[i] != sums[j]);
	}
	tap_expected("every field counts, and where it stands");
}

int
main(void)
{
	test_checksum();
	test_checksum_fields();
	return tap_done();
}
