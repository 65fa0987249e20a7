/*
 * route.c
 *		What the path of an HTTP request names: an account, and a resource,
 *		which with the method gives the scope that the request needs.
 *
 * The path is a stranger's, and the server that will serve it reads it in its
 * own way: it may decode it, drop "." and "..", join "//", ignore letter case
 * or what follows ";".  So plain segments are compared as the most lenient
 * server would, and where servers disagree on what is named, that is said.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#include "route.h"

#include <string.h>

#include "ascii.h"
#include "header.h"

#define ESCAPE_LEN		3		/* %2F */
#define HEX_LETTER_BASE	10
#define HEX_BASE		16
#define UTF8_FOLLOW_MIN	0x80
#define UTF8_LEAD_MIN	0xc0

static const char ACCOUNT[] = "{account}";
static const char RESOURCE[] = "{resource}";

/*
 * Cut off the segment that begins at *at, and go on behind the slash that
 * ends it.  False at the end of the text.
 */
static bool
next_segment(const char **at, const char *end, ApikeySlice *segment)
{
	const char *slash;

	if (*at >= end)
		return false;
	slash = memchr(*at, '/', (size_t) (end - *at));
	segment->data = *at;
	segment->len = (size_t) ((slash ? slash : end) - *at);
	*at = slash ? slash + 1 : end;
	return true;
}

static bool
is_word(ApikeySlice segment, const char *word)
{
	return segment.len == strlen(word) &&
		memcmp(segment.data, word, segment.len) == 0;
}

const char *
apikey_route_pattern_check(const char *pattern, size_t len)
{
	const char *at;
	ApikeySlice segment;
	int			segments = 0;
	bool		account = false;
	bool		resource = false;

	if (len == 0 || pattern[0] != '/')
		return "it must begin with \"/\"";
	if (len > APIKEY_PATTERN_MAX)
		return "it must not be longer than 1000 bytes";
	if (len == 1 || pattern[len - 1] == '/')
		return "no segment may be empty";
	at = pattern + 1;
	while (next_segment(&at, pattern + len, &segment))
	{
		size_t		i;

		if (segment.len == 0)
			return "no segment may be empty";
		if (++segments > APIKEY_PATTERN_SEGMENTS_MAX)
			return "it must not have more than 32 segments";
		if (is_word(segment, "*"))
			continue;
		if (is_word(segment, ACCOUNT) || is_word(segment, RESOURCE))
		{
			bool	   *seen = is_word(segment, ACCOUNT) ? &account : &resource;

			if (*seen)
				return "a word in braces may stand there once";
			*seen = true;
			continue;
		}
		if (is_word(segment, ".") || is_word(segment, ".."))
			return "no segment may be \".\" or \"..\"";
		for (i = 0; i < segment.len; i++)
		{
			if (segment.data[i] == '{' || segment.data[i] == '}')
				return "the only words in braces are {account} and {resource}, each a whole segment";
			if (segment.data[i] == '*')
				return "\"*\" must be a whole segment";
			if (segment.data[i] <= ' ' || segment.data[i] > '~' ||
				strchr("%?#;\\\"", segment.data[i]) != NULL)
				return "a plain segment has ASCII letters, digits and signs other than % ? # ; \\ and \"";
		}
	}
	return NULL;
}

bool
apikey_route_pattern_has_account(const char *pattern, size_t len)
{
	const char *at = pattern + 1;
	ApikeySlice segment;

	while (next_segment(&at, pattern + len, &segment))
	{
		if (is_word(segment, ACCOUNT))
			return true;
	}
	return false;
}

static int
hex_digit(char c)
{
	c = ascii_lower(c);
	if (ascii_is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + HEX_LETTER_BASE : -1;
}

/*
 * Read the next character of a path, decoded.  *fault if it is a percent sign
 * that begins no escape; it then stands for itself.
 */
static char
next_char(const char **at, const char *end, bool *fault)
{
	const char *p = *at;

	*at = p + 1;
	if (*p != '%')
		return *p;
	if (end - p >= ESCAPE_LEN && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0)
	{
		*at = p + ESCAPE_LEN;
		return (char) (hex_digit(p[1]) * HEX_BASE + hex_digit(p[2]));
	}
	*fault = true;
	return *p;
}

/*
 * Is there a segment "." or "..", with any slash for a separator and whatever
 * a server may leave out behind it?
 */
static bool
has_dot_segment(const char *path, const char *end)
{
	int			dots = 0;
	bool		only_dots = true;
	bool		ignored = false;	/* behind a semicolon */
	bool		fault;

	while (path < end)
	{
		char		c = next_char(&path, end, &fault);

		if (c == '/' || c == '\\')
		{
			if (only_dots && dots >= 1 && dots <= 2)
				return true;
			dots = 0;
			only_dots = true;
			ignored = false;
		}
		else if (c == ';')
			ignored = true;
		else if (c == '.' && !ignored)
			dots++;
		else if (!ignored)
			only_dots = false;
	}
	return only_dots && dots >= 1 && dots <= 2;
}

/*
 * Could a server see something else than this one segment?
 */
static bool
is_uncertain(ApikeySlice segment)
{
	const char *at = segment.data;
	const char *end = at + segment.len;
	bool		fault = segment.len == 0;

	while (at < end && !fault)
	{
		char		c = next_char(&at, end, &fault);

		if (c == '/' || c == '\\' || ((unsigned char) c < ' '))
			return true;
	}
	return fault;
}

/*
 * Does a segment of the path, decoded and up to a semicolon, equal the plain
 * one of the pattern but for letter case?
 */
static bool
equals_plain(ApikeySlice segment, ApikeySlice plain)
{
	const char *at = segment.data;
	const char *end = at + segment.len;
	bool		fault;
	size_t		i;

	for (i = 0; at < end; i++)
	{
		char		c = next_char(&at, end, &fault);

		if (c == ';')
			break;
		if (i >= plain.len || ascii_lower(c) != ascii_lower(plain.data[i]))
			return false;
	}
	return i == plain.len;
}

static void
take_account(ApikeyRoute *route, ApikeySlice segment)
{
	const char *at = segment.data;
	bool		fault;

	route->has_account = true;
	while (at < segment.data + segment.len)
	{
		char		c = next_char(&at, segment.data + segment.len, &fault);

		if (route->account_len == APIKEY_ROUTE_ACCOUNT_MAX)
		{
			route->account_too_long = true;
			return;
		}
		route->account[route->account_len++] = c;
	}
}

/*
 * Write the resource: what no scope can have becomes "_", one for each
 * character.
 */
static void
take_resource(ApikeyRoute *route, ApikeySlice segment)
{
	bool		in_character = false;
	size_t		i;

	route->scope_len = 0;
	for (i = 0; i < segment.len && route->scope_len < APIKEY_SEGMENT_MAX; i++)
	{
		unsigned char c = (unsigned char) segment.data[i];

		if (in_character && c >= UTF8_FOLLOW_MIN && c < UTF8_LEAD_MIN)
			continue;
		in_character = c >= UTF8_LEAD_MIN;
		if (c == '\0' || (!ascii_is_alnum((char) c) && !strchr("_.-", c)))
			c = '_';
		route->scope[route->scope_len++] = (char) c;
	}
}

/*
 * Hold the path against the pattern, segment by segment; both begin behind
 * their leading slash.
 */
static void
match(const char *pattern, const char *pattern_end,
	  const char *path, const char *path_end, ApikeyRoute *route)
{
	ApikeySlice wanted;
	ApikeySlice given;

	while (next_segment(&pattern, pattern_end, &wanted) &&
		   next_segment(&path, path_end, &given))
	{
		if (is_uncertain(given))
		{
			route->certain = false;
			return;
		}
		if (is_word(wanted, ACCOUNT))
			take_account(route, given);
		else if (is_word(wanted, RESOURCE))
			take_resource(route, given);
		else if (!is_word(wanted, "*") && !equals_plain(given, wanted))
			return;
	}
}

/*
 * Where the text ends, or before that the character stands.
 */
static const char *
cut_at(const char *text, const char *end, char c)
{
	const char *found = text < end ? memchr(text, c, (size_t) (end - text)) : NULL;

	return found ? found : end;
}

static bool
is_reading(const char *method, size_t len)
{
	return method != NULL &&
		(apikey_same_name(method, len, "get", 3) ||
		 apikey_same_name(method, len, "head", 4));
}

void
apikey_route(const char *pattern, size_t pattern_len,
			 const char *method, size_t method_len,
			 const char *path, size_t path_len, ApikeyRoute *route)
{
	static const ApikeySlice none = {"root", 4};
	static const ApikeySlice not_certain = {"_", 1};
	const char *action = is_reading(method, method_len) ? ":read" : ":write";

	memset(route, 0, sizeof(*route));
	route->certain = true;
	take_resource(route, none);
	if (path != NULL)
	{
		const char *end = cut_at(path, path + path_len, '?');
		bool		led = path < end && *path == '/';

		/* an absolute URL names another thing than its first segments */
		route->certain = !has_dot_segment(path, end) &&
			(led || cut_at(path, end, ':') == end);
		if (route->certain)
			match(pattern + 1, pattern + pattern_len,
				  led ? path + 1 : path, cut_at(path, end, '#'), route);
	}
	if (!route->certain)
		take_resource(route, not_certain);
	memcpy(route->scope + route->scope_len, action, strlen(action));
	route->scope_len += strlen(action);
	route->scope[route->scope_len] = '\0';
}
