/*
 * record.c: the record of an accepted bid, and records as text.
 *
 * Who writes: the router encodes a record once, from the tail, when it puts it
 * into a batch; nobody else writes the log.  Who reads: the drain of a lane
 * that recovers, and a router that compares the log with its tail.  All of
 * them pass memory that nobody changes meanwhile, so nothing is locked here.
 *
 * There is exactly one text for a record.  Decode takes that one and no other:
 * no second blank, no plus sign, no leading zero, no upper-case digit.  So for
 * every accepted text encode(decode(text)) = text, comparing texts is the same
 * as comparing records, and a damaged text is found rather than read as
 * something similar.
 *
 * Decode looks at each field by itself: is it written right, is it in range.
 * Whether the fields agree with each other and with the auction's row is the
 * drain's question, because the answer there is a dead letter, not a log that
 * cannot be read.
 *
 * Samples:
 *   bid 42 2 7 15000 81 o 15000 7 = - 2 0 900 81 00000000deadbeef -
 *   bid 43 2 8 11000 81 o 11500 7 20000 11000 2 0 900 81 00000000deadbeef -
 *   close 42 900 c 15000 7 = - 2 0 900 900 00000000deadbeef
 *   move 42 95 o 15000 7 = - 2 0 900 81 00000000deadbeef {"by": "a"}
 *   skip 101
 *   jump 101
 *
 * Encode is on the router's way to every confirmation.  Hence numbers are
 * written by hand; snprintf takes longer than all the rest of a record.
 */
#include <string.h>

#include "record.h"

void
auc_record_accept(AucRecord *record, const AucAuction *auction,
				  const AucVerdict *verdict, bool buy_now,
				  const char *attributes, AucState *state)
{
	record->kind = buy_now ? AUC_RECORD_BUY : AUC_RECORD_BID;
	record->bid_no = verdict->bid_no;
	record->at = verdict->at;
	if (buy_now)
		record->amount = auction->buy_now_price;
	state->checksum ^=
		auc_bid_checksum(record->auction_id, record->bid_no, record->user_id,
						 record->amount, record->at,
						 record->has_request_id ? record->request_id : NULL,
						 record->attributes_len > 0 ? attributes : NULL,
						 record->attributes_len);
	record->state = *state;
}

/* What is left of the text that is being decoded. */
typedef struct AucCursor
{
	const char *p;
	const char *end;
} AucCursor;

static const char digit_pairs[] =
"00010203040506070809" "10111213141516171819"
"20212223242526272829" "30313233343536373839"
"40414243444546474849" "50515253545556575859"
"60616263646566676869" "70717273747576777879"
"80818283848586878889" "90919293949596979899";

static const char hex_digits[] = "0123456789abcdef";


/*
 * Writing.  Each put_ function returns the place behind what it wrote.
 */

static char *
put_word(char *p, const char *word)
{
	size_t		len = strlen(word);

	memcpy(p, word, len);
	return p + len;
}

/* A blank and an unsigned number; two digits a division. */
static char *
put_uint(char *p, uint64_t value)
{
	char		digits[20];		/* 2^64 - 1 has 20 */
	char	   *d = digits + sizeof(digits);
	size_t		len;

	while (value >= 100)
	{
		d -= 2;
		memcpy(d, digit_pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10)
	{
		d -= 2;
		memcpy(d, digit_pairs + 2 * value, 2);
	}
	else
		*--d = (char) ('0' + value);

	len = (size_t) (digits + sizeof(digits) - d);
	*p++ = ' ';
	memcpy(p, d, len);
	return p + len;
}

/* A blank and a signed number. */
static char *
put_int(char *p, int64_t value)
{
	char	   *end;

	if (value >= 0)
		return put_uint(p, (uint64_t) value);

	/* The sign takes the place of put_uint's blank. */
	end = put_uint(p + 1, UINT64_C(0) - (uint64_t) value);
	p[0] = ' ';
	p[1] = '-';
	return end;
}

static char *
put_hex64(char *p, uint64_t value)
{
	int			shift;

	for (shift = 60; shift >= 0; shift -= 4)
		*p++ = hex_digits[(value >> shift) & 15];
	return p;
}

/* The canonical form, as uuid_out writes it: 8-4-4-4-12. */
static char *
put_uuid(char *p, const uint8_t *uuid)
{
	int			i;

	for (i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex_digits[uuid[i] >> 4];
		*p++ = hex_digits[uuid[i] & 15];
	}
	return p;
}

static char *
put_state(char *p, const AucState *state)
{
	*p++ = ' ';
	*p++ = (char) state->status;
	p = put_int(p, state->price);
	if (!state->has_leader)
		p = put_word(p, " - - -");
	else
	{
		p = put_int(p, state->leader_id);
		if (state->leader_max == state->price)
			p = put_word(p, " =");
		else
			p = put_int(p, state->leader_max);
		if (state->second_max == AUC_NO_AMOUNT)
			p = put_word(p, " -");
		else
			p = put_int(p, state->second_max);
	}
	p = put_int(p, state->bid_count);
	p = put_int(p, state->retracted);
	p = put_int(p, state->ends_at);
	p = put_int(p, state->last_at);
	*p++ = ' ';
	return put_hex64(p, state->checksum);
}

/* A blank and the attributes, if there are any. */
static char *
put_attributes(char *p, const char *attributes, uint32_t len)
{
	if (len == 0)
		return p;
	*p++ = ' ';
	memcpy(p, attributes, len);
	return p + len;
}

/*
 * 0 if the record has no text: a kind that is none, or attributes that are
 * longer than AUC_ATTRIBUTES_MAX.  Such a record is a bug of the caller, but
 * nothing is written behind the buffer for it.
 */
size_t
auc_record_encode(const AucRecord *record, const char *attributes, char *text)
{
	char	   *p = text;

	if (record->attributes_len > AUC_ATTRIBUTES_MAX)
		return 0;
	switch (record->kind)
	{
		case AUC_RECORD_BID:
		case AUC_RECORD_BUY:
			p = put_word(p, record->kind == AUC_RECORD_BID ? "bid" : "buy");
			p = put_int(p, record->auction_id);
			p = put_int(p, record->bid_no);
			p = put_int(p, record->user_id);
			p = put_int(p, record->amount);
			p = put_int(p, record->at);
			p = put_state(p, &record->state);
			*p++ = ' ';
			if (record->has_request_id)
				p = put_uuid(p, record->request_id);
			else
				*p++ = '-';
			p = put_attributes(p, attributes, record->attributes_len);
			break;

		case AUC_RECORD_CLOSE:
		case AUC_RECORD_MOVE:
			p = put_word(p, record->kind == AUC_RECORD_CLOSE ? "close" :
						 "move");
			p = put_int(p, record->auction_id);
			p = put_int(p, record->at);
			p = put_state(p, &record->state);
			if (record->kind == AUC_RECORD_MOVE)
				p = put_attributes(p, attributes, record->attributes_len);
			break;

		case AUC_RECORD_SKIP:
		case AUC_RECORD_JUMP:
			p = put_word(p, record->kind == AUC_RECORD_SKIP ? "skip" : "jump");
			p = put_uint(p, record->first);
			break;
	}

	return (size_t) (p - text);
}


/*
 * Reading.  Each take_ function returns false, with the cursor anywhere, if
 * the text does not go on as it must.
 */

static bool
take_char(AucCursor *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

static bool
take_word(AucCursor *c, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (c->end - c->p) < len || memcmp(c->p, word, len) != 0)
		return false;
	c->p += len;
	return true;
}

/* Digits without sign and leading zero, at most "max". */
static bool
take_digits(AucCursor *c, uint64_t max, uint64_t *value)
{
	const char *start = c->p;
	uint64_t	v = 0;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
	{
		uint64_t	digit = (uint64_t) (*c->p - '0');

		if (digit > max || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
		c->p++;
	}
	if (c->p == start || (*start == '0' && c->p > start + 1))
		return false;
	*value = v;
	return true;
}

/* A blank and an unsigned number. */
static bool
take_uint(AucCursor *c, uint64_t *value)
{
	return take_char(c, ' ') && take_digits(c, UINT64_MAX, value);
}

/* A blank and a number from 0 to "max". */
static bool
take_count(AucCursor *c, int64_t max, int64_t *value)
{
	uint64_t	v;

	if (!take_char(c, ' ') || !take_digits(c, (uint64_t) max, &v))
		return false;
	*value = (int64_t) v;
	return true;
}

/*
 * A blank and any bigint: an id, or a time, which is negative before 2000 and
 * the least or the greatest bigint for -infinity and infinity.
 */
static bool
take_int(AucCursor *c, int64_t *value)
{
	uint64_t	v;

	if (!take_char(c, ' '))
		return false;
	if (!take_char(c, '-'))
	{
		if (!take_digits(c, INT64_MAX, &v))
			return false;
		*value = (int64_t) v;
		return true;
	}

	/* "-0" would be a second way to write 0. */
	if (!take_digits(c, (uint64_t) INT64_MAX + 1, &v) || v == 0)
		return false;
	*value = -(int64_t) (v - 1) - 1;
	return true;
}

/* One hexadecimal digit, lower case; -1 if there is none. */
static int
take_hex(AucCursor *c)
{
	char		ch;

	if (c->p == c->end)
		return -1;
	ch = *c->p++;
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	return -1;
}

static bool
take_hex64(AucCursor *c, uint64_t *value)
{
	uint64_t	v = 0;
	int			i;

	for (i = 0; i < 16; i++)
	{
		int			digit = take_hex(c);

		if (digit < 0)
			return false;
		v = v << 4 | (uint64_t) digit;
	}
	*value = v;
	return true;
}

static bool
take_uuid(AucCursor *c, uint8_t *uuid)
{
	int			i;

	for (i = 0; i < 16; i++)
	{
		int			high;
		int			low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && !take_char(c, '-'))
			return false;
		high = take_hex(c);
		if (high < 0)
			return false;
		low = take_hex(c);
		if (low < 0)
			return false;
		uuid[i] = (uint8_t) (high << 4 | low);
	}
	return true;
}

/* A blank and a status letter. */
static bool
take_status(AucCursor *c, AucStatus *status)
{
	if (!take_char(c, ' ') || c->p == c->end)
		return false;

	switch (*c->p++)
	{
		case AUC_STATUS_OPEN:
			*status = AUC_STATUS_OPEN;
			return true;
		case AUC_STATUS_CLOSED:
			*status = AUC_STATUS_CLOSED;
			return true;
		case AUC_STATUS_CONSOLIDATED:
			*status = AUC_STATUS_CONSOLIDATED;
			return true;
		case AUC_STATUS_CANCELLED:
			*status = AUC_STATUS_CANCELLED;
			return true;
		case AUC_STATUS_QUARANTINED:
			*status = AUC_STATUS_QUARANTINED;
			return true;
	}
	return false;
}

/* A blank and this one character, if it stands alone; else nothing is taken. */
static bool
take_mark(AucCursor *c, char mark)
{
	if (c->end - c->p < 3 || c->p[0] != ' ' || c->p[1] != mark ||
		c->p[2] != ' ')
		return false;
	c->p += 2;
	return true;
}

/*
 * Leader and maxima.  " -" and a blank is no leader, " -5" is the user -5.
 * What encode writes as a mark is not read as a number.
 */
static bool
take_leader(AucCursor *c, AucState *state)
{
	state->leader_max = AUC_NO_AMOUNT;
	state->second_max = AUC_NO_AMOUNT;
	if (take_mark(c, '-'))
		return take_mark(c, '-') && take_mark(c, '-');

	state->has_leader = true;
	if (!take_int(c, &state->leader_id))
		return false;
	if (take_mark(c, '='))
		state->leader_max = state->price;
	else if (!take_count(c, AUC_AMOUNT_MAX, &state->leader_max) ||
			 state->leader_max == state->price)
		return false;
	return take_mark(c, '-') ||
		take_count(c, AUC_AMOUNT_MAX, &state->second_max);
}

static bool
take_state(AucCursor *c, AucState *state)
{
	/* A leader has a bid that is not retracted. */
	return take_status(c, &state->status) &&
		take_count(c, AUC_AMOUNT_MAX, &state->price) &&
		take_leader(c, state) &&
		take_count(c, INT64_MAX, &state->bid_count) &&
		take_count(c, state->bid_count, &state->retracted) &&
		state->has_leader == (state->bid_count > state->retracted) &&
		take_int(c, &state->ends_at) &&
		take_int(c, &state->last_at) &&
		take_char(c, ' ') &&
		take_hex64(c, &state->checksum);
}

/*
 * A blank and the attributes, up to the end of the text.  That they are JSON
 * is found out where they become a value; here it is enough that they are
 * bytes that JSON written by PostgreSQL can consist of: no control character
 * (they are escaped there), and no blank at either end.
 */
static bool
take_attributes(AucCursor *c, const char **attributes,
				uint32_t *attributes_len)
{
	const char *start;
	size_t		len;

	if (!take_char(c, ' '))
		return false;

	start = c->p;
	len = (size_t) (c->end - start);
	if (len == 0 || len > AUC_ATTRIBUTES_MAX ||
		start[0] == ' ' || start[len - 1] == ' ')
		return false;
	for (; c->p < c->end; c->p++)
	{
		if ((unsigned char) *c->p < 0x20)
			return false;
	}

	*attributes = start;
	*attributes_len = (uint32_t) len;
	return true;
}

/* The rest of a bid or buy, behind its first word. */
static bool
take_bid(AucCursor *c, AucRecord *record, const char **attributes)
{
	if (!take_int(c, &record->auction_id) ||
		!take_count(c, INT64_MAX, &record->bid_no) ||
		record->bid_no == 0 ||
		!take_int(c, &record->user_id) ||
		!take_count(c, AUC_AMOUNT_MAX, &record->amount) ||
		!take_int(c, &record->at) ||
		!take_state(c, &record->state) ||
		!take_char(c, ' '))
		return false;

	if (!take_char(c, '-'))
	{
		if (!take_uuid(c, record->request_id))
			return false;
		record->has_request_id = true;
	}

	return c->p == c->end ||
		take_attributes(c, attributes, &record->attributes_len);
}

/* The rest of a close, and the beginning of that of a move. */
static bool
take_change(AucCursor *c, AucRecord *record)
{
	return take_int(c, &record->auction_id) &&
		take_int(c, &record->at) &&
		take_state(c, &record->state);
}

/* Skip and jump: where the positions begin that end with the record's own. */
static bool
take_span(AucCursor *c, uint64_t position, AucRecord *record)
{
	return take_uint(c, &record->first) &&
		record->first >= 1 && record->first <= position;
}

bool
auc_record_decode(uint64_t position, const char *text, size_t len,
				  AucRecord *record, const char **attributes)
{
	AucCursor	c;
	bool		good;

	/* Zeroed, so that what a kind does not have compares equal as bytes. */
	memset(record, 0, sizeof(*record));
	record->position = position;
	record->first = position;
	*attributes = NULL;

	/* A lane's first position is 1. */
	if (len == 0 || position == 0)
		return false;
	c.p = text;
	c.end = text + len;

	if (take_word(&c, "bid"))
	{
		record->kind = AUC_RECORD_BID;
		good = take_bid(&c, record, attributes);
	}
	else if (take_word(&c, "buy"))
	{
		record->kind = AUC_RECORD_BUY;
		good = take_bid(&c, record, attributes);
	}
	else if (take_word(&c, "close"))
	{
		record->kind = AUC_RECORD_CLOSE;
		good = take_change(&c, record);
	}
	else if (take_word(&c, "move"))
	{
		record->kind = AUC_RECORD_MOVE;
		good = take_change(&c, record) &&
			(c.p == c.end ||
			 take_attributes(&c, attributes, &record->attributes_len));
	}
	else if (take_word(&c, "skip"))
	{
		record->kind = AUC_RECORD_SKIP;
		good = take_span(&c, position, record);
	}
	else if (take_word(&c, "jump"))
	{
		record->kind = AUC_RECORD_JUMP;
		good = take_span(&c, position, record);
	}
	else
		good = false;

	return good && c.p == c.end;
}
