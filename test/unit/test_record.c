/*
 * test_record.c: the text of records, and the checksum of a bid.
 *
 * Texts and checksums are pinned: both outlive the program that wrote them.
 * The rest is random with fixed seeds: records survive encode and decode, and
 * whatever damaged text is still accepted is encoded to the same text again.
 *
 * Every decode reads from a block of exactly its length, so that ASan sees a
 * read beyond the end.
 */
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "tap.h"

#define SUM		"00000000deadbeef"
#define UUID	"00112233-4455-6677-8899-aabbccddeeff"
#define BID		"bid 42 2 7 15000 81 o 15000 7 2 900 81 " SUM
#define CLOSE	"close 42 900 c 15000 7 2 900 900 " SUM

static const uint8_t some_uuid[16] = {
	0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff
};

static AucRecord record;		/* what the last decode gave */
static char attributes[AUC_RECORD_TEXT_MAX];	/* its attributes, copied */

/* Decodes a copy in a block of its own; copies the attributes out of it. */
static bool
decode_bytes(uint64_t position, const char *text, size_t len)
{
	char	   *copy = malloc(len == 0 ? 1 : len);
	const char *found = NULL;
	bool		good;

	if (copy == NULL)
		abort();
	memcpy(copy, text, len);
	memset(&record, 0xff, sizeof(record));
	good = auc_record_decode(position, copy, len, &record, &found);
	if (good && record.attributes_len > 0)
	{
		if (found < copy || found + record.attributes_len != copy + len)
			abort();
		memcpy(attributes, found, record.attributes_len);
	}
	else if (good && found != NULL)
		abort();
	free(copy);
	return good;
}

static bool
decode(const char *text)
{
	return decode_bytes(105, text, strlen(text));
}

/* Encodes into a block of the promised size; is the result this text? */
static bool
encodes_to(const AucRecord *r, const char *attrs, const char *text,
		   size_t len)
{
	char	   *out = malloc(AUC_RECORD_TEXT_MAX);
	size_t		n;
	bool		same;

	if (out == NULL)
		abort();
	n = auc_record_encode(r, attrs, out);
	same = n == len && n < AUC_RECORD_TEXT_MAX && memcmp(out, text, n) == 0;
	free(out);
	return same;
}

/* The text is a record, and the one that is encoded to it. */
static bool
stable(const char *text)
{
	return decode(text) &&
		encodes_to(&record, attributes, text, strlen(text));
}

/* The texts of the file's head comment, field by field. */
static void
test_pinned_texts(void)
{
	ok(stable(BID " -"), "a bid");
	ok(record.kind == AUC_RECORD_BID && record.position == 105 &&
	   record.first == 105 && record.auction_id == 42 &&
	   record.bid_no == 2 && record.user_id == 7 &&
	   record.amount == 15000 && record.at == 81 &&
	   !record.has_request_id && record.attributes_len == 0,
	   "its own fields");
	ok(record.state.status == AUC_STATUS_OPEN &&
	   record.state.price == 15000 && record.state.leader_id == 7 &&
	   record.state.bid_count == 2 && record.state.ends_at == 900 &&
	   record.state.last_at == 81 && record.state.checksum == 0xdeadbeef,
	   "its state");

	ok(stable(BID " " UUID) && record.has_request_id &&
	   memcmp(record.request_id, some_uuid, 16) == 0, "a request id");
	ok(stable(BID " - {\"a\": 1}") && record.attributes_len == 8 &&
	   memcmp(attributes, "{\"a\": 1}", 8) == 0, "attributes");
	ok(stable(BID " " UUID " {}") && record.attributes_len == 2,
	   "both of them");

	ok(stable(CLOSE) && record.kind == AUC_RECORD_CLOSE &&
	   record.auction_id == 42 && record.at == 900 &&
	   record.state.status == AUC_STATUS_CLOSED &&
	   record.state.price == 15000 && record.bid_no == 0, "a close");
	ok(stable("close 42 900 c 100 - 0 900 900 0000000000000000") &&
	   record.state.bid_count == 0, "a close without bids");
	ok(stable("skip 101") && record.kind == AUC_RECORD_SKIP &&
	   record.first == 101 && record.position == 105, "a skip");
	ok(stable("jump 101") && record.kind == AUC_RECORD_JUMP &&
	   record.first == 101 && record.position == 105, "a jump");
	ok(!decode("jump 106"), "a jump does not begin behind its position");
}

static void
test_skip_state(void)
{
	AucState	zero;

	memset(&zero, 0, sizeof(zero));
	ok(decode("skip 1") && memcmp(&record.state, &zero, sizeof(zero)) == 0,
	   "a skip has a zeroed state");
	ok(stable("skip 105"), "a skip of one position");
	ok(!decode("skip 106"), "a skip does not begin behind its position");
	ok(!decode("skip 0"), "a skip does not begin at 0");
	ok(decode_bytes(UINT64_MAX, "skip 18446744073709551615", 25) &&
	   record.first == UINT64_MAX, "the greatest position");
	ok(!decode_bytes(UINT64_MAX, "skip 18446744073709551616", 25),
	   "a position does not overflow");
	ok(!decode_bytes(0, BID " -", strlen(BID " -")), "no position 0");
}

static void
test_number_limits(void)
{
	ok(stable("bid -9223372036854775808 9223372036854775807 "
			  "9223372036854775807 9007199254740991 -9223372036854775808 q "
			  "9007199254740991 -9223372036854775808 9223372036854775807 "
			  "9223372036854775807 -9223372036854775808 ffffffffffffffff -")
	   && record.auction_id == INT64_MIN && record.bid_no == INT64_MAX &&
	   record.amount == AUC_AMOUNT_MAX && record.at == INT64_MIN &&
	   record.state.leader_id == INT64_MIN &&
	   record.state.checksum == UINT64_MAX, "every number at its limit");
	ok(stable("bid 0 1 -1 0 0 h 0 0 1 0 0 0000000000000000 -") &&
	   record.user_id == -1, "zeros and a negative id");
	ok(stable("bid 10 99 100 101 109 o 110 999 1000 1001 1009 " SUM " -"),
	   "numbers of 2, 3 and 4 digits");
}

/* Each of these differs from a record by little. */
static const char *const not_records[] = {
	"", " ", "-", "bid", "bid ", "close", "skip", "skip ", "move 1",
	"Bid 42 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	" " BID " -", BID, BID " ", BID "  -", BID " - ", BID " -  {}",
	BID " - {} ", BID " -{}", BID " -\n", BID " - {}\n", BID " - {\t}",
	BID "\t-", BID " --", BID " 0",

	/* numbers */
	"bid  42 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 042 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid +42 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid -0 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid -042 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid - 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 4.2 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 0x42 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 00 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 9223372036854775808 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid -9223372036854775809 2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 99999999999999999999999 2 7 1 81 o 1 7 2 900 81 " SUM " -",
	"bid 42 0 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 42 -2 7 15000 81 o 15000 7 2 900 81 " SUM " -",
	"bid 42 2 7 -1 81 o 15000 7 2 900 81 " SUM " -",
	"bid 42 2 7 9007199254740992 81 o 15000 7 2 900 81 " SUM " -",
	"bid 42 2 15000 81 o 15000 7 2 900 81 " SUM " -",

	/* state */
	"bid 42 2 7 15000 81 x 15000 7 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 O 15000 7 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 oo 15000 7 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o 9007199254740992 7 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o -1 7 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o 15000 - 2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o 15000 7 0 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o 15000 7 -2 900 81 " SUM " -",
	"bid 42 2 7 15000 81 o 15000 7 2 900 81 DEADBEEFDEADBEEF -",
	"bid 42 2 7 15000 81 o 15000 7 2 900 81 deadbeef -",
	"bid 42 2 7 15000 81 o 15000 7 2 900 81 0" SUM " -",
	"bid 42 2 7 15000 81 o 15000 7 2 900 81 0000000gdeadbeef -",

	/* request id */
	BID " 00112233-4455-6677-8899-AABBCCDDEEFF",
	BID " 00112233445566778899aabbccddeeff",
	BID " {00112233-4455-6677-8899-aabbccddeeff}",
	BID " 00112233-4455-6677-8899-aabbccddeef",
	BID " 00112233-4455-6677-8899-aabbccddeeff0",
	BID " 0011223-34455-6677-8899-aabbccddeeff",

	/* close and skip */
	CLOSE " ", CLOSE " -", CLOSE "0",
	"close 42 c 15000 7 2 900 900 00000000deadbeef",
	"skip 01", "skip -1", "skip +1", "skip 1 ", "skip 1 1", "skip  1"
};

static void
test_not_records(void)
{
	static const char nul_inside[] = "skip 1\0" "1";
	static const char nul_attribute[] = BID " - {\0}";
	size_t		i;

	for (i = 0; i < sizeof(not_records) / sizeof(not_records[0]); i++)
	{
		if (!expect(!decode(not_records[i])))
			printf("# taken for a record: \"%s\"\n", not_records[i]);
	}
	tap_expected("texts that are nearly records are none");

	ok(!decode_bytes(105, nul_inside, sizeof(nul_inside) - 1) &&
	   !decode_bytes(105, nul_inside, 7), "no NUL behind the text");
	ok(!decode_bytes(105, nul_attribute, sizeof(nul_attribute) - 1),
	   "no NUL in attributes");
	ok(!decode_bytes(105, BID " -", sizeof(BID " -")),
	   "no terminating NUL, either");
	ok(!auc_record_decode(105, NULL, 0, &record,
						  &(const char *) {NULL}), "no text at all");
}

/* Every proper prefix of a record, and every record with a byte more. */
static void
test_prefixes(void)
{
	static const char text[] = BID " " UUID " {}";
	size_t		taken = 0;
	size_t		len;

	for (len = 0; len < sizeof(text) - 1; len++)
	{
		if (decode_bytes(105, text, len))
		{
			taken++;
			expect(encodes_to(&record, attributes, text, len));
		}
	}
	/* Cut behind the request id, or inside the attributes. */
	expect(taken == 2);
	tap_expected("a record that is cut off is none, unless it is whole");
}

static void
test_attribute_limits(void)
{
	char		text[2 * AUC_RECORD_TEXT_MAX];
	size_t		len = strlen(BID " - ");

	memcpy(text, BID " - ", len);
	memset(text + len, 'x', sizeof(text) - len);
	ok(decode_bytes(105, text, len + AUC_ATTRIBUTES_MAX) &&
	   record.attributes_len == AUC_ATTRIBUTES_MAX &&
	   encodes_to(&record, attributes, text, len + AUC_ATTRIBUTES_MAX),
	   "attributes of the greatest length");
	ok(!decode_bytes(105, text, len + AUC_ATTRIBUTES_MAX + 1) &&
	   !decode_bytes(105, text, sizeof(text)), "longer ones are refused");

	decode(BID " -");
	record.attributes_len = AUC_ATTRIBUTES_MAX + 1;
	ok(encodes_to(&record, text, text, 0),
	   "encode does not write behind its buffer");
	record.attributes_len = 0;
	record.kind = (AucRecordKind) 0;
	ok(encodes_to(&record, NULL, text, 0), "no kind has no text");
}

/* Numbers of all lengths, not only long ones. */
static uint64_t
random_uint(void)
{
	uint64_t	v = tap_random();

	return v >> tap_below(64);
}

static int64_t
random_int(void)
{
	uint64_t	v = random_uint();

	return (int64_t) (tap_below(4) == 0 ? ~v : v);
}

static int64_t
random_count(int64_t max)
{
	return (int64_t) (random_uint() & (uint64_t) max);
}

static void
random_state(AucState *state)
{
	static const AucStatus status[] = {
		AUC_STATUS_OPEN, AUC_STATUS_CLOSED, AUC_STATUS_CONSOLIDATED,
		AUC_STATUS_QUARANTINED
	};

	state->status = status[tap_below(4)];
	state->price = random_count(AUC_AMOUNT_MAX);
	state->bid_count = random_count(INT64_MAX);
	if (state->bid_count > 0)
		state->leader_id = random_int();
	state->ends_at = random_int();
	state->last_at = random_int();
	state->checksum = tap_random();
}

/* A record as decode would give it: all else zero. */
static void
random_record(AucRecord *r, char *attrs)
{
	uint32_t	i;

	memset(r, 0, sizeof(*r));
	r->position = 1 + random_uint() / 2;
	r->first = r->position;
	r->kind = (AucRecordKind) (1 + tap_below(3));
	if (r->kind == AUC_RECORD_SKIP)
	{
		r->first = 1 + tap_below(r->position);
		return;
	}

	r->auction_id = random_int();
	r->at = random_int();
	random_state(&r->state);
	if (r->kind == AUC_RECORD_CLOSE)
		return;

	r->bid_no = random_count(INT64_MAX - 1) + 1;
	r->user_id = random_int();
	r->amount = random_count(AUC_AMOUNT_MAX);
	r->has_request_id = tap_below(2) == 0;
	for (i = 0; r->has_request_id && i < 16; i++)
		r->request_id[i] = (uint8_t) tap_random();
	if (tap_below(2) == 0)
		r->attributes_len = (uint32_t) tap_below(tap_below(8) == 0 ?
												 AUC_ATTRIBUTES_MAX + 1 : 40);
	for (i = 0; i < r->attributes_len; i++)
		attrs[i] = (char) (0x21 + tap_below(0xdf));
}

static void
test_random_records(void)
{
	static char attrs[AUC_ATTRIBUTES_MAX];
	static char text[AUC_RECORD_TEXT_MAX];
	AucRecord	r;
	int			i;

	tap_seed = 77001;
	for (i = 0; i < 100000; i++)
	{
		size_t		len;

		random_record(&r, attrs);
		len = auc_record_encode(&r, attrs, text);
		if (expect(len > 0 && decode_bytes(r.position, text, len)))
		{
			expect(memcmp(&r, &record, sizeof(r)) == 0);
			expect(memcmp(attrs, attributes, r.attributes_len) == 0);
		}
	}
	tap_expected("100000 random records survive encode and decode");
}

/* Changes a text a little; returns its new length. */
static size_t
damage(char *text, size_t len)
{
	static const char likely[] = " -0123456789abcdefABCDEFochq+.{}\n\t";
	size_t		at = tap_below(len);
	char		byte = likely[tap_below(sizeof(likely))];	/* NUL, too */

	if (tap_below(4) == 0)
		byte = (char) tap_random();

	switch (tap_below(6))
	{
		case 0:					/* cut off */
			return at;
		case 1:					/* a byte less */
			memmove(text + at, text + at + 1, len - at - 1);
			return len - 1;
		case 2:					/* a byte more */
			memmove(text + at + 1, text + at, len - at);
			text[at] = byte;
			return len + 1;
		case 3:					/* one bit */
			text[at] = (char) (text[at] ^ (1 << tap_below(8)));
			return len;
		case 4:					/* a piece twice */
			memcpy(text + len, text + at, len - at);
			return len + (len - at);
	}
	text[at] = byte;			/* another byte */
	return len;
}

static void
test_damaged_texts(void)
{
	static char attrs[AUC_ATTRIBUTES_MAX];
	static char text[16 * AUC_RECORD_TEXT_MAX];
	long		accepted = 0;
	long		refused = 0;
	AucRecord	r;
	int			i;

	tap_seed = 88002;
	for (i = 0; i < 100000; i++)
	{
		size_t		len;
		uint64_t	times = 1 + tap_below(3);

		random_record(&r, attrs);
		len = auc_record_encode(&r, attrs, text);
		while (times-- > 0 && len > 0)
			len = damage(text, len);

		if (decode_bytes(r.position, text, len))
		{
			accepted++;
			expect(encodes_to(&record, attributes, text, len));
		}
		else
			refused++;
	}
	tap_expected("100000 damaged texts: what is accepted is its own text");
	ok(accepted > 1000 && refused > 10000, "some were accepted, most not");
	printf("# accepted %ld, refused %ld\n", accepted, refused);
}

/* Bytes that were never a record. */
static void
test_noise(void)
{
	char		text[64];
	int			i;

	tap_seed = 99003;
	for (i = 0; i < 100000; i++)
	{
		size_t		len = tap_below(sizeof(text) + 1);
		size_t		j;

		for (j = 0; j < len; j++)
			text[j] = (char) tap_random();
		expect(!decode_bytes(1 + tap_random() / 2, text, len));
	}
	tap_expected("noise is no record");
}

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
	test_pinned_texts();
	test_skip_state();
	test_number_limits();
	test_not_records();
	test_prefixes();
	test_attribute_limits();
	test_random_records();
	test_damaged_texts();
	test_noise();
	test_checksum();
	test_checksum_fields();
	return tap_done();
}
