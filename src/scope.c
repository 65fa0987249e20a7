/*
 * scope.c
 *		Grants, sets of grants, and what they cover.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "scope.h"

#include <stdlib.h>
#include <string.h>

#include "ascii.h"

#define SEPARATOR		':'
#define WILDCARD		'*'
#define WILDCARD_TAIL	2		/* length of ":*" */

/*
 * Can the byte be part of a segment?
 */
static bool
is_segment_char(char c)
{
	return ascii_is_alnum(c) || c == '_' || c == '.' || c == '-';
}

/*
 * NULL if this is a good segment, else the rule that it breaks.
 */
static const char *
segment_check(const char *text, size_t len)
{
	size_t		i;

	if (len == 0)
		return "a segment must not be empty";
	if (len > APIKEY_SEGMENT_MAX)
		return "at most 64 bytes are allowed in a segment";
	for (i = 0; i < len; i++)
	{
		if (text[i] == WILDCARD)
			return "\"*\" is allowed only as the whole last segment";
		if (!is_segment_char(text[i]))
			return "only letters, digits, \"_\", \".\" and \"-\" are allowed"
				" in a segment";
	}
	return NULL;
}

/*
 * NULL if the text is a grant (a scope, if wildcard is not allowed), else the
 * rule that it breaks.  Looks at no more bytes than the longest grant has.
 */
const char *
apikey_grant_check(const char *text, size_t len, bool allow_wildcard)
{
	const char *fault = NULL;
	size_t		begin = 0;
	int			segments = 0;

	if (len == 0)
		return "it must not be empty";
	if (len > APIKEY_GRANT_MAX)
		return "at most 128 bytes are allowed";

	while (fault == NULL && begin <= len)
	{
		const char *sep = begin < len ?
			memchr(text + begin, SEPARATOR, len - begin) : NULL;
		size_t		end = sep ? (size_t) (sep - text) : len;

		if (++segments > APIKEY_SEGMENTS_MAX)
			return "at most 4 segments are allowed";
		if (sep == NULL && end - begin == 1 && text[begin] == WILDCARD)
		{
			if (!allow_wildcard)
				fault = "no wildcard is allowed in a required scope";
		}
		else
			fault = segment_check(text + begin, end - begin);
		begin = end + 1;
	}
	return fault;
}

/*
 * Is this valid grant "*" or does it end in ":*"?
 */
bool
apikey_grant_is_wildcard(const char *text, size_t len)
{
	return len > 0 && text[len - 1] == WILDCARD;
}

/*
 * Order bytewise, a text before its continuations.
 */
static int
compare_texts(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t		common = alen < blen ? alen : blen;
	int			order = common > 0 ? memcmp(a, b, common) : 0;

	if (order != 0)
		return order;
	return (alen > blen) - (alen < blen);
}

/*
 * Does the one valid grant cover the other valid scope or grant?
 */
bool
apikey_grant_covers(const char *grant, size_t grant_len,
					const char *what, size_t what_len)
{
	size_t		stem;

	if (compare_texts(grant, grant_len, what, what_len) == 0)
		return true;
	if (!apikey_grant_is_wildcard(grant, grant_len))
		return false;

	/* all but the star, separator included, is what they must share */
	stem = grant_len - 1;
	return what_len > stem && memcmp(grant, what, stem) == 0;
}

/*
 * Split a list separated by blanks and/or single commas, without checking the
 * elements.  Returns their number, or -1 and the reason.
 */
int
apikey_grants_split(const char *text, size_t len,
					ApikeySlice *out, int max, const char **reason)
{
	bool		comma = false;	/* seen since the last element? */
	int			count = 0;
	size_t		i = 0;

	*reason = NULL;
	while (i < len)
	{
		if (ascii_is_blank(text[i]))
			i++;
		else if (text[i] == ',')
		{
			if (comma || count == 0)
				break;
			comma = true;
			i++;
		}
		else
		{
			size_t		begin = i;

			while (i < len && text[i] != ',' && !ascii_is_blank(text[i]))
				i++;
			if (count >= max)
			{
				*reason = "it has too many elements";
				return -1;
			}
			out[count].data = text + begin;
			out[count].len = i - begin;
			count++;
			comma = false;
		}
	}

	if (i < len || comma)
	{
		*reason = "an element is missing before or after a comma";
		return -1;
	}
	return count;
}

/*
 * Compare two slices, for qsort.
 */
static int
compare_slices(const void *a, const void *b)
{
	const ApikeySlice *left = a;
	const ApikeySlice *right = b;

	return compare_texts(left->data, left->len, right->data, right->len);
}

/*
 * Sort bytewise and drop duplicates; returns the new count.
 */
int
apikey_grants_normalize(ApikeySlice *items, int count)
{
	int			kept = 1;
	int			i;

	if (count < 2)
		return count;
	qsort(items, (size_t) count, sizeof(ApikeySlice), compare_slices);
	for (i = 1; i < count; i++)
		if (compare_slices(&items[kept - 1], &items[i]) != 0)
			items[kept++] = items[i];
	return kept;
}

/*
 * Bytes that come before the grants of a packed set.
 */
static size_t
packed_header(int count)
{
	return ((size_t) count + 1) * sizeof(uint16_t);
}

/*
 * Read a number of a packed set, wherever it lies.
 */
static uint16_t
get_uint16(const char *from)
{
	uint16_t	value;

	memcpy(&value, from, sizeof(value));
	return value;
}

/*
 * Write a number into a packed set; returns the place behind it.
 */
static char *
put_uint16(char *to, uint16_t value)
{
	memcpy(to, &value, sizeof(value));
	return to + sizeof(value);
}

/*
 * Size of the packed set of these normalized items.
 */
size_t
apikey_grants_packed_size(const ApikeySlice *items, int count)
{
	size_t		size = packed_header(count);
	int			i;

	for (i = 0; i < count; i++)
		size += items[i].len;
	return size;
}

/*
 * Pack normalized items that keep the limits of a set, so that the offsets
 * fit; out has room for apikey_grants_packed_size() bytes.
 */
void
apikey_grants_pack(const ApikeySlice *items, int count, char *out)
{
	char	   *text = out + packed_header(count);
	size_t		end = 0;
	int			i;

	out = put_uint16(out, (uint16_t) count);
	for (i = 0; i < count; i++)
	{
		memcpy(text + end, items[i].data, items[i].len);
		end += items[i].len;
		out = put_uint16(out, (uint16_t) end);
	}
}

/*
 * Where a grant of an opened set ends; the one before the first ends at 0.
 */
static size_t
grant_end(const ApikeyGrants *set, int i)
{
	if (i < 0)
		return 0;
	return get_uint16(set->ends + (size_t) i * sizeof(uint16_t));
}

/*
 * Look at a packed set.  False unless the counts and offsets describe exactly
 * these bytes, and every grant has between 1 and APIKEY_GRANT_MAX of them.
 */
bool
apikey_grants_open(const char *packed, size_t len, ApikeyGrants *set)
{
	size_t		header;
	size_t		before = 0;
	int			i;

	if (len < packed_header(0))
		return false;
	set->count = get_uint16(packed);
	header = packed_header(set->count);
	if (set->count > APIKEY_GRANTS_MAX || len < header)
		return false;
	set->ends = packed + packed_header(0);
	set->text = packed + header;

	for (i = 0; i < set->count; i++)
	{
		size_t		end = grant_end(set, i);

		if (end <= before || end - before > APIKEY_GRANT_MAX)
			return false;
		before = end;
	}
	return before == len - header;
}

/*
 * The i-th grant of an opened set.
 */
ApikeySlice
apikey_grants_get(const ApikeyGrants *set, int i)
{
	ApikeySlice grant;
	size_t		begin = grant_end(set, i - 1);

	grant.data = set->text + begin;
	grant.len = grant_end(set, i) - begin;
	return grant;
}

/*
 * Is this very grant in the set?
 */
bool
apikey_grants_contain(const ApikeyGrants *set, const char *grant, size_t len)
{
	int			low = 0;
	int			high = set->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		ApikeySlice item = apikey_grants_get(set, middle);
		int			order = compare_texts(grant, len, item.data, item.len);

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/*
 * Does the set cover a valid scope or grant?  Looks up "*", the text itself,
 * and for each of its separators what would cover all behind it.
 */
bool
apikey_grants_cover(const ApikeyGrants *set, const char *what, size_t len)
{
	static const char star[1] = {WILDCARD};
	char		above[APIKEY_GRANT_MAX];
	size_t		i;

	if (set->count == 0 || len == 0 || len > APIKEY_GRANT_MAX)
		return false;
	if (apikey_grants_contain(set, star, sizeof(star)) ||
		apikey_grants_contain(set, what, len))
		return true;

	for (i = 0; i + WILDCARD_TAIL <= len; i++)
	{
		above[i] = what[i];
		if (what[i] != SEPARATOR)
			continue;
		above[i + 1] = WILDCARD;
		if (apikey_grants_contain(set, above, i + WILDCARD_TAIL))
			return true;
	}
	return false;
}
