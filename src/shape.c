/*
 * shape.c: a statement without its constants.
 *
 * Statements that differ in constants only have one shape, so that their waits
 * add up where PostgreSQL computes no query_id; and what is kept of a
 * statement tells no bidder's data.  Strings, dollar-quoted ones too, and
 * numbers become "?", comments and white space one blank; a semicolon at the
 * end goes.  Names, parameters ($1) and all else stay as they are.
 *
 * Bytes are enough: no encoding of a server uses ASCII bytes inside a longer
 * character.  A text that was cut off in a constant or comment ends with it.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "shape.h"

typedef struct Output
{
	char	   *text;
	size_t		size;
	size_t		len;
} Output;

static void
put(Output *out, char c)
{
	if (out->len + 1 < out->size)
		out->text[out->len++] = c;
}

static void
put_blank(Output *out)
{
	if (out->len > 0 && out->text[out->len - 1] != ' ')
		put(out, ' ');
}

static bool
in_name(char c)
{
	return isalnum((unsigned char) c) || c == '_' || (unsigned char) c >= 0x80;
}

/* Behind "end" from p on, or where the text ends. */
static const char *
skip_past(const char *p, const char *end, size_t len)
{
	for (; *p != '\0'; p++)
		if (strncmp(p, end, len) == 0)
			return p + len;
	return p;
}

/* p is behind the first quote.  A doubled quote begins just another string. */
static const char *
skip_string(const char *p, bool escapes)
{
	for (; *p != '\0'; p++)
	{
		if (escapes && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '\'')
		{
			if (p[1] != '\'')
				return p + 1;
			p++;
		}
	}
	return p;
}

/* Behind $tag$..$tag$, or NULL if p does not begin one. */
static const char *
skip_dollar_quoted(const char *p)
{
	const char *tag_end = p + 1;

	if (isdigit((unsigned char) *tag_end))
		return NULL;
	while (in_name(*tag_end))
		tag_end++;
	if (*tag_end != '$')
		return NULL;
	return skip_past(tag_end + 1, p, tag_end + 1 - p);
}

/* Digits with what may stand in a number: 0x1f, 1_000, 2.5e-3. */
static const char *
skip_number(const char *p)
{
	while (in_name(*p) || *p == '.' ||
		   ((*p == '+' || *p == '-') && (p[-1] == 'e' || p[-1] == 'E') &&
			isdigit((unsigned char) p[1])))
		p++;
	return p;
}

/* A name, quoted or not, or a parameter. */
static const char *
copy_name(const char *p, Output *out)
{
	if (*p == '"')
	{
		do
			put(out, *p++);
		while (*p != '\0' && *p != '"');
		if (*p == '"')
			put(out, *p++);
		return p;
	}
	do
		put(out, *p++);
	while (in_name(*p) || *p == '$');
	return p;
}

/* Whether the string that begins at p follows an E, as in E'..'. */
static bool
has_escapes(const char *text, const char *p)
{
	return p > text && (p[-1] == 'e' || p[-1] == 'E') &&
		(p - 1 == text || !in_name(p[-2]));
}

size_t
auc_shape_write(const char *text, char *shape, size_t size)
{
	Output		out = {shape, size, 0};
	const char *p = text;

	while (*p != '\0')
	{
		const char *behind = NULL;

		if (isspace((unsigned char) *p))
			behind = p + 1;
		else if (strncmp(p, "--", 2) == 0)
			behind = skip_past(p, "\n", 1);
		else if (strncmp(p, "/*", 2) == 0)
			behind = skip_past(p + 2, "*/", 2);
		if (behind != NULL)
		{
			put_blank(&out);
			p = behind;
			continue;
		}

		if (*p == '\'')
			behind = skip_string(p + 1, has_escapes(text, p));
		else if (*p == '$')
			behind = skip_dollar_quoted(p);
		else if (isdigit((unsigned char) *p))
			behind = skip_number(p);
		if (behind != NULL)
		{
			put(&out, '?');
			p = behind;
		}
		else if (in_name(*p) || *p == '"' || *p == '$')
			p = copy_name(p, &out);
		else
			put(&out, *p++);
	}
	while (out.len > 0 && strchr("; ", shape[out.len - 1]) != NULL)
		out.len--;
	shape[out.len] = '\0';
	return out.len;
}
