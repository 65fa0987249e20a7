/*
 * jwt.c
 *		The form of JSON Web Tokens: parts, base64url, flat JSON objects.
 *
 * A reader of its own rather than the server's: it takes no more than what
 * sessions need, cannot raise an error that would quote a token, does not
 * recurse, and is tested and fuzzed without a server.
 */
#include "jwt.h"

#include <string.h>

#define INTEGER_DIGITS_MAX	15

static const char digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int
digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
apikey_jwt_split(const char *text, size_t len, ApikeyJwt *jwt)
{
	ApikeyJwtPart *parts[3];
	size_t		start = 0;
	int			which = 0;

	if (len > APIKEY_JWT_MAX)
		return false;
	parts[0] = &jwt->header;
	parts[1] = &jwt->payload;
	parts[2] = &jwt->signature;
	for (size_t i = 0; i <= len; i++)
	{
		if (i < len && digit_value(text[i]) >= 0)
			continue;
		if (i == start || (i < len && text[i] != '.') ||
			(i < len) != (which < 2))
			return false;
		parts[which]->data = text + start;
		parts[which]->len = i - start;
		if (which == 1)
			jwt->signed_len = i;
		which++;
		start = i + 1;
	}
	return true;
}

size_t
apikey_base64url_encode(const void *data, size_t len, char *out)
{
	const unsigned char *bytes = data;
	size_t		n = 0;
	unsigned	rest = 0;
	int			bits = 0;

	for (size_t i = 0; i < len; i++)
	{
		rest = (rest << 8 | bytes[i]) & 0xffff;
		for (bits += 8; bits >= 6; bits -= 6)
			out[n++] = digits[rest >> (bits - 6) & 0x3f];
	}
	if (bits > 0)
		out[n++] = digits[rest << (6 - bits) & 0x3f];
	return n;
}

bool
apikey_base64url_decode(const char *text, size_t len, unsigned char *out,
						size_t *out_len)
{
	size_t		n = 0;
	unsigned	rest = 0;
	int			bits = 0;

	for (size_t i = 0; i < len; i++)
	{
		int			value = digit_value(text[i]);

		if (value < 0)
			return false;
		rest = (rest << 6 | (unsigned) value) & 0xffff;
		bits += 6;
		if (bits >= 8)
		{
			bits -= 8;
			out[n++] = rest >> bits & 0xff;
		}
	}
	*out_len = n;
	return len % 4 != 1 && (rest & ((1U << bits) - 1)) == 0;
}

/* Where a reader stands in a text */
typedef struct Reader
{
	const char *p;
	const char *end;
} Reader;

static void
skip_blanks(Reader *r)
{
	while (r->p < r->end &&
		   (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool
take(Reader *r, char c)
{
	skip_blanks(r);
	if (r->p == r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
		(c >= 'A' && c <= 'F');
}

/*
 * Step over an escape behind its backslash.
 */
static bool
take_escape(Reader *r)
{
	if (r->p == r->end)
		return false;
	if (*r->p != 'u')
		return memchr("\"\\/bfnrt", *r->p++, 8) != NULL;
	r->p++;
	for (int i = 0; i < 4; i++)
	{
		if (r->p == r->end || !is_hex(*r->p++))
			return false;
	}
	return true;
}

/*
 * A string; gives what is between its quotes.
 */
static bool
take_string(Reader *r, bool escapes_allowed, const char **start, size_t *len)
{
	if (!take(r, '"'))
		return false;
	*start = r->p;
	while (r->p < r->end && *r->p != '"')
	{
		unsigned char c = (unsigned char) *r->p++;

		if (c < 0x20 ||
			(c == '\\' && (!escapes_allowed || !take_escape(r))))
			return false;
	}
	*len = r->p - *start;
	return take(r, '"');
}

static bool
take_integer(Reader *r, ApikeyJsonMember *member)
{
	const char *first;

	member->type = APIKEY_JSON_INTEGER;
	member->value = r->p;
	if (*r->p == '-')
		r->p++;
	first = r->p;
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	member->value_len = r->p - member->value;
	return r->p > first && (*first != '0' || r->p == first + 1);
}

static bool
take_word(Reader *r, ApikeyJsonMember *member)
{
	static const char *const words[] = {"true", "false", "null"};

	for (int i = 0; i < 3; i++)
	{
		size_t		len = strlen(words[i]);

		if ((size_t) (r->end - r->p) >= len &&
			memcmp(r->p, words[i], len) == 0)
		{
			member->type = APIKEY_JSON_WORD;
			member->value = r->p;
			member->value_len = len;
			r->p += len;
			return true;
		}
	}
	return false;
}

static bool
take_value(Reader *r, ApikeyJsonMember *member)
{
	skip_blanks(r);
	if (r->p == r->end)
		return false;
	if (*r->p == '"')
	{
		member->type = APIKEY_JSON_STRING;
		return take_string(r, true, &member->value, &member->value_len);
	}
	if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9'))
		return take_integer(r, member);
	return take_word(r, member);
}

int
apikey_json_read(const char *json, size_t len, ApikeyJsonMember *members,
				 int max)
{
	Reader		r = {json, json + len};
	int			count = 0;

	if (!take(&r, '{'))
		return -1;
	while (!take(&r, '}'))
	{
		ApikeyJsonMember *member = &members[count];

		if (count == max || (count > 0 && !take(&r, ',')) ||
			!take_string(&r, false, &member->name, &member->name_len) ||
			!take(&r, ':') || !take_value(&r, member))
			return -1;
		for (int i = 0; i < count; i++)
		{
			if (members[i].name_len == member->name_len &&
				memcmp(members[i].name, member->name, member->name_len) == 0)
				return -1;
		}
		count++;
	}
	skip_blanks(&r);
	return r.p == r.end ? count : -1;
}

const ApikeyJsonMember *
apikey_json_get(const ApikeyJsonMember *members, int count, const char *name,
				ApikeyJsonType type)
{
	for (int i = 0; i < count; i++)
	{
		if (members[i].type == type && members[i].name_len == strlen(name) &&
			memcmp(members[i].name, name, members[i].name_len) == 0)
			return &members[i];
	}
	return NULL;
}

bool
apikey_json_integer(const ApikeyJsonMember *member, int64_t *value)
{
	bool		negative = member->value[0] == '-';
	int64_t		sum = 0;

	if (member->value_len - negative > INTEGER_DIGITS_MAX)
		return false;
	for (size_t i = negative; i < member->value_len; i++)
		sum = sum * 10 + (member->value[i] - '0');
	*value = negative ? -sum : sum;
	return true;
}
