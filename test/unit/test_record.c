/*
 * test_record.c: the text of records.
 *
 * Texts are pinned: they outlive the program that wrote them.  The rest is
 * random with fixed seeds: records survive encode and decode, and whatever
 * damaged text is still accepted is encoded to the same text again.
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
/* What a text says of a bid before its state, and behind leader and maxima. */
#define PLACED	"bid 42 2 7 15000 81 "
#define TIMES	"900 81 " SUM
#define BID		PLACED "o 15000 7 = - 2 0 " TIMES
#define PROXY	"bid 43 2 8 11000 81 o 11500 7 20000 11000 2 0 " TIMES
#define BUY		"buy 43 3 9 50000 82 c 50000 9 = 20000 3 0 900 82 " SUM
#define LIMITS	"bid -9223372036854775808 9223372036854775807 " \
	"9223372036854775807 9007199254740991 -9223372036854775808 q " \
	"9007199254740991 -9223372036854775808 9007199254740990 " \
	"9007199254740991 9223372036854775807 9223372036854775806 " \
	"9223372036854775807 -9223372036854775808 ffffffffffffffff"
#define MOVE	"move 42 95 o 15000 7 = - 2 0 " TIMES
#define CLOSE	"close 42 900 c 15000 7 = - 2 0 900 900 " SUM

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

/* The texts of the file's head comment and others, field by field. */
static void
test_bid_texts(void)
{
	ok(stable(BID " -"), "a bid");
	ok(record.kind == AUC_RECORD_BID && record.position == 105 &&
	   record.first == 105 && record.auction_id == 42 &&
	   record.bid_no == 2 && record.user_id == 7 &&
	   record.amount == 15000 && record.at == 81 &&
	   !record.has_request_id && record.attributes_len == 0 &&
	   auc_record_is_bid(&record), "its own fields");
	ok(record.state.status == AUC_STATUS_OPEN &&
	   record.state.price == 15000 && record.state.has_leader &&
	   record.state.leader_id == 7 && record.state.leader_max == 15000 &&
	   record.state.second_max == AUC_NO_AMOUNT &&
	   record.state.bid_count == 2 && record.state.retracted == 0 &&
	   record.state.ends_at == 900 && record.state.last_at == 81 &&
	   record.state.checksum == 0xdeadbeef, "its state");

	ok(stable(PROXY " -") && record.state.price == 11500 &&
	   record.user_id == 8 && record.state.leader_id == 7 &&
	   record.state.leader_max == 20000 &&
	   record.state.second_max == 11000, "a proxy auction's bid");
	ok(stable(BUY " -") && record.kind == AUC_RECORD_BUY &&
	   auc_record_is_bid(&record) && record.auction_id == 43 &&
	   record.bid_no == 3 && record.user_id == 9 &&
	   record.amount == 50000 && record.at == 82 &&
	   record.state.status == AUC_STATUS_CLOSED &&
	   record.state.leader_max == 50000 &&
	   record.state.second_max == 20000, "a buy");
	ok(stable("bid 44 3 9 700 82 c 500 9 700 - 3 0 900 82 " SUM " -") &&
	   record.state.status == AUC_STATUS_CLOSED &&
	   record.state.price == 500 && record.state.leader_max == 700,
	   "a bid that ends its auction, and pays less");
	ok(stable(PLACED "o 15000 7 = 15000 3 1 " TIMES " -") &&
	   record.state.bid_count == 3 && record.state.retracted == 1 &&
	   record.state.second_max == 15000,
	   "a tie, shown as a number, and a retracted bid");

	ok(stable(BID " " UUID) && record.has_request_id &&
	   memcmp(record.request_id, some_uuid, 16) == 0, "a request id");
	ok(stable(BID " - {\"a\": 1}") && record.attributes_len == 8 &&
	   memcmp(attributes, "{\"a\": 1}", 8) == 0, "attributes");
	ok(stable(BID " " UUID " {}") && record.attributes_len == 2,
	   "both of them");
	ok(stable(BUY " " UUID " {}") && record.has_request_id &&
	   memcmp(record.request_id, some_uuid, 16) == 0 &&
	   record.attributes_len == 2 && memcmp(attributes, "{}", 2) == 0,
	   "a buy with both of them");
}

static void
test_other_texts(void)
{
	ok(stable(CLOSE) && record.kind == AUC_RECORD_CLOSE &&
	   record.auction_id == 42 && record.at == 900 &&
	   record.state.status == AUC_STATUS_CLOSED &&
	   record.state.price == 15000 && record.bid_no == 0 &&
	   !auc_record_is_bid(&record), "a close");
	ok(stable("close 42 900 c 100 - - - 0 0 900 900 0000000000000000") &&
	   record.state.bid_count == 0 && !record.state.has_leader &&
	   record.state.leader_id == 0 &&
	   record.state.leader_max == AUC_NO_AMOUNT &&
	   record.state.second_max == AUC_NO_AMOUNT, "a close without bids");
	ok(stable("close 42 900 c 100 - - - 2 2 900 900 " SUM) &&
	   record.state.bid_count == 2 && record.state.retracted == 2 &&
	   !record.state.has_leader, "a close of retracted bids only");
	ok(stable("close 42 900 c 15000 -7 = - 2 0 900 900 " SUM) &&
	   record.state.has_leader && record.state.leader_id == -7,
	   "a negative leader is not none");
	ok(stable(MOVE) && record.kind == AUC_RECORD_MOVE &&
	   !auc_record_is_bid(&record) && record.auction_id == 42 &&
	   record.at == 95 && record.state.bid_count == 2 &&
	   record.attributes_len == 0, "a move");
	ok(stable(MOVE " {\"by\": \"a\"}") && record.attributes_len == 11 &&
	   memcmp(attributes, "{\"by\": \"a\"}", 11) == 0,
	   "a move that says by whom");
	ok(stable("skip 101") && record.kind == AUC_RECORD_SKIP &&
	   record.first == 101 && record.position == 105 &&
	   !auc_record_is_bid(&record), "a skip");
	ok(stable("jump 101") && record.kind == AUC_RECORD_JUMP &&
	   record.first == 101 && record.position == 105 &&
	   !auc_record_is_bid(&record), "a jump");
	ok(!decode("jump 106"), "a jump does not begin behind its position");
}

static void
test_status_letters(void)
{
	ok(stable("close 1 2 o 3 - - - 0 0 4 5 " SUM) &&
	   record.state.status == AUC_STATUS_OPEN, "o is open");
	ok(stable("close 1 2 c 3 - - - 0 0 4 5 " SUM) &&
	   record.state.status == AUC_STATUS_CLOSED, "c is closed");
	ok(stable("close 1 2 h 3 - - - 0 0 4 5 " SUM) &&
	   record.state.status == AUC_STATUS_CONSOLIDATED, "h is consolidated");
	ok(stable("close 1 2 x 3 - - - 0 0 4 5 " SUM) &&
	   record.state.status == AUC_STATUS_CANCELLED, "x is cancelled");
	ok(stable("close 1 2 q 3 - - - 0 0 4 5 " SUM) &&
	   record.state.status == AUC_STATUS_QUARANTINED, "q is quarantined");
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
	ok(stable(LIMITS " -") &&
	   record.auction_id == INT64_MIN && record.bid_no == INT64_MAX &&
	   record.amount == AUC_AMOUNT_MAX && record.at == INT64_MIN &&
	   record.state.leader_id == INT64_MIN &&
	   record.state.leader_max == AUC_AMOUNT_MAX - 1 &&
	   record.state.second_max == AUC_AMOUNT_MAX &&
	   record.state.retracted == INT64_MAX - 1 &&
	   record.state.checksum == UINT64_MAX, "every number at its limit");
	ok(stable("bid 0 1 -1 0 0 h 0 0 = 0 1 0 0 0 0000000000000000 -") &&
	   record.user_id == -1 && record.state.leader_max == 0 &&
	   record.state.second_max == 0, "zeros and a negative id");
	ok(stable("bid 10 99 100 101 109 o 110 999 99 10 1000 101 1001 1009 "
			  SUM " -"), "numbers of 2, 3 and 4 digits");
}

/* Each of these differs from a record by little. */
static const char *const not_records[] = {
	"", " ", "-", "bid", "bid ", "buy", "buy ", "close", "skip", "skip ",
	"move 1",
	"Bid 42 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"buys 43 3 9 50000 82 c 50000 9 = 20000 3 0 900 82 " SUM " -",
	"BUY 43 3 9 50000 82 c 50000 9 = 20000 3 0 900 82 " SUM " -",
	"bidbuy 43 3 9 50000 82 c 50000 9 = 20000 3 0 900 82 " SUM " -",
	" " BID " -", BID, BID " ", BID "  -", BID " - ", BID " -  {}",
	BID " - {} ", BID " -{}", BID " -\n", BID " - {}\n", BID " - {\t}",
	BID "\t-", BID " --", BID " 0", BID " =", BUY, BUY " ", BUY "  -",

	/* numbers */
	"bid  42 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 042 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid +42 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid -0 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid -042 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid - 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 4.2 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 0x42 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 00 2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 9223372036854775808 2 7 1 81 o 1 7 = - 2 0 " TIMES " -",
	"bid -9223372036854775809 2 7 1 81 o 1 7 = - 2 0 " TIMES " -",
	"bid 99999999999999999999999 2 7 1 81 o 1 7 = - 2 0 " TIMES " -",
	"bid 42 0 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"buy 42 0 7 15000 81 c 15000 7 = - 2 0 " TIMES " -",
	"bid 42 -2 7 15000 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 42 2 7 -1 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 42 2 7 9007199254740992 81 o 15000 7 = - 2 0 " TIMES " -",
	"bid 42 2 15000 81 o 15000 7 = - 2 0 " TIMES " -",

	/* status and price */
	PLACED "p 15000 7 = - 2 0 " TIMES " -",
	PLACED "O 15000 7 = - 2 0 " TIMES " -",
	PLACED "X 15000 7 = - 2 0 " TIMES " -",
	PLACED "oo 15000 7 = - 2 0 " TIMES " -",
	PLACED "15000 7 = - 2 0 " TIMES " -",
	PLACED "o 9007199254740992 7 = - 2 0 " TIMES " -",
	PLACED "o -1 7 = - 2 0 " TIMES " -",
	PLACED "o = 7 = - 2 0 " TIMES " -",

	/* leader and maxima; a maximum that is the price has one way, "=" */
	PLACED "o 15000 7 15000 - 2 0 " TIMES " -",
	PLACED "o 15000 7 15000 11000 2 0 " TIMES " -",
	PLACED "o 0 7 0 - 2 0 " TIMES " -",
	PLACED "o 15000 7 020000 - 2 0 " TIMES " -",
	PLACED "o 15000 7 == - 2 0 " TIMES " -",
	PLACED "o 15000 7 =20000 - 2 0 " TIMES " -",
	PLACED "o 15000 7 20000= - 2 0 " TIMES " -",
	PLACED "o 15000 7 =  - 2 0 " TIMES " -",
	PLACED "o 15000 7 - - 2 0 " TIMES " -",
	PLACED "o 15000 7 -1 - 2 0 " TIMES " -",
	PLACED "o 15000 7 9007199254740992 - 2 0 " TIMES " -",
	PLACED "o 15000 7 = = 2 0 " TIMES " -",
	PLACED "o 15000 7 = -- 2 0 " TIMES " -",
	PLACED "o 15000 7 = -1 2 0 " TIMES " -",
	PLACED "o 15000 7 = 011000 2 0 " TIMES " -",
	PLACED "o 15000 7 = 9007199254740992 2 0 " TIMES " -",
	PLACED "o 15000 7 = 2 0 " TIMES " -",
	PLACED "o 15000 7 - 2 0 " TIMES " -",
	PLACED "o 15000 7 2 900 81 " SUM " -",
	PLACED "o 15000 = = - 2 0 " TIMES " -",

	/* nobody leads if and only if no bid stands */
	PLACED "o 15000 - - - 2 0 " TIMES " -",
	PLACED "o 15000 - - - 2 1 " TIMES " -",
	PLACED "o 15000 7 = - 0 0 " TIMES " -",
	PLACED "o 15000 7 = - 2 2 " TIMES " -",
	PLACED "o 15000 - = - 2 2 " TIMES " -",
	PLACED "o 15000 - 20000 - 2 2 " TIMES " -",
	PLACED "o 15000 - - 11000 2 2 " TIMES " -",
	PLACED "o 15000 - - 2 2 " TIMES " -",
	PLACED "o 15000 -- - - 2 2 " TIMES " -",

	/* counts and checksum */
	PLACED "o 15000 7 = - -2 0 " TIMES " -",
	PLACED "o 15000 7 = - 2 -1 " TIMES " -",
	PLACED "o 15000 7 = - 2 -0 " TIMES " -",
	PLACED "o 15000 7 = - 2 00 " TIMES " -",
	PLACED "o 15000 7 = - 2 - " TIMES " -",
	PLACED "o 15000 - - - 2 3 " TIMES " -",
	PLACED "o 15000 7 = - 2 " TIMES " -",
	PLACED "o 15000 7 = - 2 0 900 81 DEADBEEFDEADBEEF -",
	PLACED "o 15000 7 = - 2 0 900 81 deadbeef -",
	PLACED "o 15000 7 = - 2 0 900 81 0" SUM " -",
	PLACED "o 15000 7 = - 2 0 900 81 0000000gdeadbeef -",

	/* request id */
	BID " 00112233-4455-6677-8899-AABBCCDDEEFF",
	BID " 00112233445566778899aabbccddeeff",
	BID " {00112233-4455-6677-8899-aabbccddeeff}",
	BID " 00112233-4455-6677-8899-aabbccddeef",
	BID " 00112233-4455-6677-8899-aabbccddeeff0",
	BID " 0011223-34455-6677-8899-aabbccddeeff",

	/* close, skip and jump */
	CLOSE " ", CLOSE " -", CLOSE "0",
	MOVE " ", MOVE "  {}", MOVE " {} ", "move 42 95", "move 42 o 1 - - - 0 0 " TIMES,
	"close 42 c 15000 7 = - 2 0 900 900 00000000deadbeef",
	"skip 01", "skip -1", "skip +1", "skip 1 ", "skip 1 1", "skip  1",
	"jump", "jump ", "jump 0", "jump 01", "jump 1 1"
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
	size_t		len = strlen(LIMITS " " UUID " ");

	/* With every number at its longest, too. */
	memset(text, 'x', sizeof(text));
	memcpy(text, LIMITS " " UUID " ", len);
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

/* "max" is a power of two less one. */
static int64_t
random_count(int64_t max)
{
	return (int64_t) (random_uint() & (uint64_t) max);
}

/* Leader and maxima, or that nobody leads. */
static void
random_leader(AucState *state)
{
	state->leader_max = AUC_NO_AMOUNT;
	state->second_max = AUC_NO_AMOUNT;
	state->has_leader = state->bid_count > state->retracted;
	if (!state->has_leader)
		return;
	state->leader_id = random_int();
	state->leader_max = state->price;
	if (tap_below(2) == 0)
		state->leader_max = random_count(AUC_AMOUNT_MAX);
	if (tap_below(2) == 0)
		state->second_max = random_count(AUC_AMOUNT_MAX);
}

static void
random_state(AucState *state)
{
	static const AucStatus status[] = {
		AUC_STATUS_OPEN, AUC_STATUS_CLOSED, AUC_STATUS_CONSOLIDATED,
		AUC_STATUS_CANCELLED, AUC_STATUS_QUARANTINED
	};

	state->status = status[tap_below(5)];
	state->price = random_count(AUC_AMOUNT_MAX);
	state->bid_count = random_count(INT64_MAX);
	state->retracted = random_count(INT64_MAX);
	if (state->retracted > state->bid_count || tap_below(4) == 0)
		state->retracted = tap_below(2) == 0 ? 0 : state->bid_count;
	random_leader(state);
	state->ends_at = random_int();
	state->last_at = random_int();
	state->checksum = tap_random();
}

static void
random_bid(AucRecord *r)
{
	int			i;

	r->bid_no = random_count(INT64_MAX - 1) + 1;
	r->user_id = random_int();
	r->amount = random_count(AUC_AMOUNT_MAX);
	r->has_request_id = tap_below(2) == 0;
	for (i = 0; r->has_request_id && i < 16; i++)
		r->request_id[i] = (uint8_t) tap_random();
}

/* A record as decode would give it: all else zero. */
static void
random_record(AucRecord *r, char *attrs)
{
	uint32_t	i;

	memset(r, 0, sizeof(*r));
	r->position = 1 + random_uint() / 2;
	r->first = r->position;
	r->kind = (AucRecordKind) (1 + tap_below(AUC_RECORD_JUMP));
	if (r->kind == AUC_RECORD_SKIP || r->kind == AUC_RECORD_JUMP)
	{
		r->first = 1 + tap_below(r->position);
		return;
	}

	r->auction_id = random_int();
	r->at = random_int();
	random_state(&r->state);
	if (r->kind == AUC_RECORD_CLOSE)
		return;
	if (auc_record_is_bid(r))
		random_bid(r);
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
	static const char likely[] = " -=0123456789abcdefABCDEFochxqupy+.{}\n\t";
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

int
main(void)
{
	test_bid_texts();
	test_other_texts();
	test_status_letters();
	test_skip_state();
	test_number_limits();
	test_not_records();
	test_prefixes();
	test_attribute_limits();
	test_random_records();
	test_damaged_texts();
	test_noise();
	return tap_done();
}
