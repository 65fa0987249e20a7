/*
 * test_scope.c
 *		Grants, sets of grants, and what they cover.
 */
#include "../../src/scope.h"
#include "unit.h"

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/*
 * apikey_grant_check() on a copy that ends where it ends.
 */
static const char *
check(const char *text, size_t len, bool allow_wildcard)
{
	char	   *copy = unit_copy(text, len);
	const char *fault = apikey_grant_check(copy, len, allow_wildcard);

	free(copy);
	return fault;
}

static void
test_check(void)
{
	/* the fault, or part of its text; NULL: none */
	static const struct
	{
		const char *text;
		size_t		len;
		const char *grant;
		const char *scope;
	}			cases[] = {
		{TEXT(""), "empty", "empty"},
		{TEXT(" "), "only letters", "only letters"},
		{TEXT("a"), NULL, NULL},
		{TEXT("a:b:c:d"), NULL, NULL},
		{TEXT("a:b:c:d:e"), "4 segments", "4 segments"},
		{TEXT("a:b:c:*"), NULL, "wildcard"},
		{TEXT("a:b:c:d:*"), "4 segments", "4 segments"},
		{TEXT("*"), NULL, "wildcard"},
		{TEXT("a:*"), NULL, "wildcard"},
		{TEXT("*:a"), "last", "last"},
		{TEXT("*:*"), "last", "last"},
		{TEXT("a:*:b"), "last", "last"},
		{TEXT("**"), "last", "last"},
		{TEXT("a*"), "last", "last"},
		{TEXT("a:b*"), "last", "last"},
		{TEXT("a:*b"), "last", "last"},
		{TEXT(":"), "not be empty", "not be empty"},
		{TEXT(":a"), "not be empty", "not be empty"},
		{TEXT("a:"), "not be empty", "not be empty"},
		{TEXT("a::b"), "not be empty", "not be empty"},
		{TEXT(":*"), "not be empty", "not be empty"},
		{TEXT("a:b:c:"), "not be empty", "not be empty"},
		{TEXT("a:b:c:d:"), "4 segments", "4 segments"},
		{TEXT(A63 "a"), NULL, NULL},
		{TEXT(A63 "aa"), "64 bytes", "64 bytes"},
		{TEXT("x:" A63 "aa"), "64 bytes", "64 bytes"},
		{TEXT(A63 ":" B64), NULL, NULL},
		{TEXT(A63 "a:" B64), "128 bytes", "128 bytes"},
		{TEXT(B64 ":" A63), NULL, NULL},
		{TEXT(B64 ":aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbb:"
			  "ccccccc"), NULL, NULL},
		{TEXT("calls:read\0"), "only letters", "only letters"},
		{TEXT("\0"), "only letters", "only letters"},
		{TEXT("caf\303\251"), "only letters", "only letters"},
		{TEXT("a b"), "only letters", "only letters"},
		{TEXT("Calls.v2:read_all-x"), NULL, NULL},
	};
	int			i;
	int			c;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		const char *grant = check(cases[i].text, cases[i].len, true);
		const char *scope = check(cases[i].text, cases[i].len, false);

		CHECK(grant == NULL ? cases[i].grant == NULL : cases[i].grant != NULL &&
			  strstr(grant, cases[i].grant) != NULL,
			  "grant %s: %s", cases[i].text, grant);
		CHECK(scope == NULL ? cases[i].scope == NULL : cases[i].scope != NULL &&
			  strstr(scope, cases[i].scope) != NULL,
			  "scope %s: %s", cases[i].text, scope);
	}
	for (c = 0; c < 256; c++)
	{
		char		text = (char) c;
		bool		good = c != 0 && strchr("abcdefghijklmnopqrstuvwxyz"
											"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
											"0123456789_.-", c) != NULL;

		CHECK((check(&text, 1, true) == NULL) == (good || c == '*'),
			  "byte %d in a grant", c);
		CHECK((check(&text, 1, false) == NULL) == good,
			  "byte %d in a scope", c);
	}
	CHECK(apikey_grant_check("a", SIZE_MAX, true) != NULL, "absurd length");
	CHECK(apikey_grant_check("a", (size_t) UINT32_MAX + 2, true) != NULL,
		  "a length of more than 32 bits");
}

static void
test_covers(void)
{
	static const struct
	{
		const char *grant;
		const char *what;
		bool		covers;
	}			cases[] = {
		{"*", "a", true}, {"*", "a:b:c:d", true}, {"*", "*", true},
		{"*", "a:*", true}, {"a:*", "*", false}, {"a", "*", false},
		{"a:*", "a:b", true}, {"a:*", "a:b:c:d", true}, {"a:*", "a", false},
		{"a:*", "a:*", true}, {"a:*", "a:b:*", true}, {"a:b:*", "a:*", false},
		{"a:b:*", "a:b:c", true}, {"a:b:*", "a:b", false},
		{"a:*", "a:", false}, {"a:b:*", "a:bc:d", false}, {"a:*", "ab:c", false},
		{"a", "a", true}, {"a", "a:b", false}, {"a:b", "a", false},
		{"a:b", "a:b", true}, {"a:b", "a:B", false}, {"a:b", "a:bc", false},
		{"a:bc", "a:b", false}, {"calls:read", "calls:write", false},
		{"calls:write", "calls:read", false},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		size_t		glen = strlen(cases[i].grant);
		size_t		wlen = strlen(cases[i].what);
		char	   *grant = unit_copy(cases[i].grant, glen);
		char	   *what = unit_copy(cases[i].what, wlen);

		CHECK(apikey_grant_covers(grant, glen, what, wlen) == cases[i].covers,
			  "%s covers %s", cases[i].grant, cases[i].what);
		CHECK(apikey_grant_is_wildcard(grant, glen) ==
			  (strchr(cases[i].grant, '*') != NULL), "wildcard %s",
			  cases[i].grant);
		free(grant);
		free(what);
	}
}

static void
test_split(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		int			max;
		const char *elements;	/* joined by ";"; NULL: refused */
	}			cases[] = {
		{TEXT(""), 2, ""}, {TEXT(""), 0, ""}, {TEXT(" \t\r\n"), 0, ""},
		{TEXT("a"), 1, "a"}, {TEXT("a"), 0, NULL}, {TEXT("a b"), 1, NULL},
		{TEXT("a b"), 2, "a;b"}, {TEXT("a b c"), 2, NULL},
		{TEXT("a,b"), 2, "a;b"}, {TEXT(" a , b "), 2, "a;b"},
		{TEXT("a\tb\nc\rd"), 9, "a;b;c;d"}, {TEXT("a  ,  b"), 9, "a;b"},
		{TEXT("a ,b c, d"), 9, "a;b;c;d"},
		{TEXT(","), 9, NULL}, {TEXT(" , "), 9, NULL}, {TEXT("a,"), 9, NULL},
		{TEXT(",a"), 9, NULL}, {TEXT("a,,b"), 9, NULL},
		{TEXT("a, ,b"), 9, NULL}, {TEXT("a , "), 9, NULL},
		{TEXT("a;b"), 9, "a;b"}, {TEXT("*:: \"x"), 9, "*::;\"x"},
		{TEXT("a\vb"), 9, "a\vb"}, {TEXT("\303\251 \302\240"), 9,
		"\303\251;\302\240"},
	};
	int			i;
	int			j;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		char	   *text = unit_copy(cases[i].text, cases[i].len);
		ApikeySlice out[9];
		char		joined[100] = "";
		const char *reason;
		int			count = apikey_grants_split(text, cases[i].len, out,
												cases[i].max, &reason);

		for (j = 0; j < count; j++)
		{
			strcat(joined, j > 0 ? ";" : "");
			strncat(joined, out[j].data, out[j].len);
		}
		if (cases[i].elements == NULL)
			CHECK(count == -1 && reason != NULL, "list %d refused", i);
		else
			CHECK(count >= 0 && strcmp(joined, cases[i].elements) == 0,
				  "list %d: %s", i, joined);
		free(text);
	}
}

/*
 * Pieces of a valid grant, for the naive reference.
 */
static int
segments(const char *text, size_t len, ApikeySlice *out)
{
	int			count = 1;
	size_t		i;

	out[0].data = text;
	out[0].len = 0;
	for (i = 0; i < len; i++)
	{
		if (text[i] == ':')
		{
			out[count].data = text + i + 1;
			out[count].len = 0;
			count++;
		}
		else
			out[count - 1].len++;
	}
	return count;
}

/*
 * Does the grant cover the other, segment by segment?
 */
static bool
naive_covers(ApikeySlice grant, ApikeySlice what)
{
	ApikeySlice g[APIKEY_SEGMENTS_MAX];
	ApikeySlice w[APIKEY_SEGMENTS_MAX];
	int			ng = segments(grant.data, grant.len, g);
	int			nw = segments(what.data, what.len, w);
	int			i;

	for (i = 0; i < ng; i++)
	{
		if (i == ng - 1 && g[i].len == 1 && g[i].data[0] == '*')
			return nw >= ng;
		if (i >= nw || g[i].len != w[i].len ||
			memcmp(g[i].data, w[i].data, g[i].len) != 0)
			return false;
	}
	return nw == ng;
}

/*
 * Write a random valid grant of few different segments; returns its length.
 */
static size_t
random_grant(uint64_t *state, char *out)
{
	static const char *const words[] = {"a", "b", "ab", "a.b", "A", "-", "z_"};
	int			count = unit_below(state, 4) + 1;
	int			i;

	out[0] = '\0';
	if (unit_below(state, 40) == 0)
		strcpy(out, "*");
	else
		for (i = 0; i < count; i++)
		{
			strcat(out, i > 0 ? ":" : "");
			strcat(out, i > 0 && i == count - 1 && unit_below(state, 3) == 0 ?
				   "*" : words[unit_below(state, LENGTH_OF(words))]);
		}
	return strlen(out);
}

#define SET_MAX			40
#define GRANT_ROOM		20

/*
 * Pack a set and look at the copy at an odd address; both to be freed.
 */
static char *
pack(const ApikeySlice *items, int count, ApikeyGrants *set)
{
	size_t		size = apikey_grants_packed_size(items, count);
	char	   *packed = unit_alloc(size + 1);

	apikey_grants_pack(items, count, packed + 1);
	CHECK(apikey_grants_open(packed + 1, size, set) && set->count == count,
		  "a set of %d opens", count);
	return packed;
}

/*
 * Normalize, pack, open, look up, cover: all against naive references.
 */
static void
check_random_set(uint64_t *state)
{
	char		text[SET_MAX][GRANT_ROOM];
	ApikeySlice given[SET_MAX];
	ApikeySlice items[SET_MAX];
	int			ngiven = unit_below(state, SET_MAX + 1);
	int			count;
	ApikeyGrants set;
	char	   *packed;
	int			i;
	int			j;

	for (i = 0; i < ngiven; i++)
	{
		given[i].data = text[i];
		given[i].len = random_grant(state, text[i]);
		items[i] = given[i];
	}
	count = apikey_grants_normalize(items, ngiven);
	packed = pack(items, count, &set);
	for (i = 0; i < set.count; i++)
	{
		ApikeySlice now = apikey_grants_get(&set, i);

		CHECK(now.len == items[i].len &&
			  memcmp(now.data, items[i].data, now.len) == 0, "same item");
		if (i > 0)
		{
			char		a[GRANT_ROOM] = "";
			char		b[GRANT_ROOM] = "";

			memcpy(a, items[i - 1].data, items[i - 1].len);
			memcpy(b, items[i].data, items[i].len);
			CHECK(strcmp(a, b) < 0, "%s before %s", a, b);
		}
	}
	for (i = 0; i < 40; i++)
	{
		char		what[GRANT_ROOM];
		ApikeySlice slice = {what, random_grant(state, what)};
		char	   *copy = unit_copy(what, slice.len);
		bool		contained = false;
		bool		covered = false;
		int			wrong = 0;

		for (j = 0; j < ngiven; j++)
		{
			contained |= given[j].len == slice.len &&
				memcmp(given[j].data, what, slice.len) == 0;
			covered |= naive_covers(given[j], slice);
			wrong += apikey_grant_covers(given[j].data, given[j].len, copy,
										 slice.len) !=
				naive_covers(given[j], slice);
		}
		CHECK(wrong == 0, "%d grants are wrong about %s", wrong, what);
		CHECK(apikey_grants_contain(&set, copy, slice.len) == contained,
			  "contains %s", what);
		CHECK(apikey_grants_cover(&set, copy, slice.len) == covered,
			  "covers %s", what);
		free(copy);
	}
	free(packed);
}

/*
 * A set at all its limits: 256 grants of 128 bytes.
 */
static void
test_full_set(void)
{
	static char text[APIKEY_GRANTS_MAX][APIKEY_GRANT_MAX];
	ApikeySlice items[APIKEY_GRANTS_MAX + 1];
	ApikeyGrants set;
	char	   *packed;
	char		what[APIKEY_GRANT_MAX];
	int			i;

	for (i = 0; i < APIKEY_GRANTS_MAX; i++)
	{
		memset(text[i], 'x', APIKEY_GRANT_MAX);
		text[i][0] = (char) ('a' + i / 26);
		text[i][1] = (char) ('a' + i % 26);
		text[i][62] = ':';
		text[i][126] = ':';
		text[i][127] = i % 2 ? '*' : 'x';
		CHECK(apikey_grant_check(text[i], APIKEY_GRANT_MAX, true) == NULL,
			  "grant %d is one", i);
		items[APIKEY_GRANTS_MAX - 1 - i].data = text[i];
		items[APIKEY_GRANTS_MAX - 1 - i].len = APIKEY_GRANT_MAX;
	}
	CHECK(apikey_grants_normalize(items, APIKEY_GRANTS_MAX) ==
		  APIKEY_GRANTS_MAX, "all differ");
	packed = pack(items, APIKEY_GRANTS_MAX, &set);
	for (i = 0; i < APIKEY_GRANTS_MAX; i++)
	{
		memcpy(what, text[i], sizeof(what));
		CHECK(apikey_grants_cover(&set, what, sizeof(what)), "itself %d", i);
		what[127] = 'y';
		CHECK(apikey_grants_cover(&set, what, sizeof(what)) == (i % 2 == 1),
			  "beside %d", i);
	}
	CHECK(!apikey_grants_cover(&set, what, APIKEY_GRANT_MAX + 1),
		  "one byte more");
	free(packed);

	/* one more does not open, however well formed */
	items[APIKEY_GRANTS_MAX] = items[0];
	for (i = 0; i <= APIKEY_GRANTS_MAX; i++)
		items[i].len = 1;
	packed = unit_alloc(apikey_grants_packed_size(items,
												  APIKEY_GRANTS_MAX + 1));
	apikey_grants_pack(items, APIKEY_GRANTS_MAX + 1, packed);
	CHECK(!apikey_grants_open(packed, apikey_grants_packed_size
							  (items, APIKEY_GRANTS_MAX + 1), &set),
		  "257 grants");
	free(packed);
}

/*
 * Does a packed set of these numbers, with so many bytes of text, open?
 */
static bool
opens(const uint16_t *numbers, int count, size_t nbytes)
{
	size_t		size = (size_t) count * sizeof(uint16_t);
	char	   *packed = unit_alloc(size + nbytes);
	ApikeyGrants set;
	bool		result;

	if (size > 0)
		memcpy(packed, numbers, size);
	if (nbytes > 0)
		memset(packed + size, 'a', nbytes);
	result = apikey_grants_open(packed, size + nbytes, &set);
	free(packed);
	return result;
}

static void
test_open(void)
{
	static const struct
	{
		uint16_t	numbers[4];
		int			count;
		size_t		nbytes;
		bool		good;
	}			cases[] = {
		{{0}, 0, 0, false}, {{0}, 0, 1, false}, {{0}, 1, 0, true},
		{{0}, 1, 1, false}, {{1}, 1, 0, false}, {{1}, 1, 1, false},
		{{1, 1}, 2, 1, true}, {{1, 1}, 2, 0, false}, {{1, 1}, 2, 2, false},
		{{1, 0}, 2, 0, false}, {{1, 128}, 2, 128, true},
		{{1, 129}, 2, 129, false}, {{2, 1, 2}, 3, 2, true},
		{{2, 2, 1}, 3, 2, false}, {{2, 1, 1}, 3, 1, false},
		{{2, 1, 3}, 3, 2, false}, {{2, 1, 2}, 3, 3, false},
		{{2, 128, 256}, 3, 256, true}, {{2, 127, 256}, 3, 256, false},
		{{65535, 1, 2, 3}, 4, 3, false}, {{1, 65535}, 2, 65535, false},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
		CHECK(opens(cases[i].numbers, cases[i].count, cases[i].nbytes) ==
			  cases[i].good, "packed set %d", i);
}

int
main(void)
{
	uint64_t	state = 5;
	int			i;

	test_check();
	test_covers();
	test_split();
	test_open();
	test_full_set();
	for (i = 0; i < 1000; i++)
		check_random_set(&state);
	CHECK(apikey_grants_normalize(NULL, 0) == 0, "nothing to normalize");
	return unit_finish("test_scope");
}
