/*
 * test_find.c
 *		Finding key texts in documents.
 */
#include "tokens.h"
#include "unit.h"

/* 22 base62 digits, and the same with the checksum of "ak_" before them. */
#define BODY	"AAAAAAAAAAAAAAAAAAAAAA"
#define CHECKED	BODY "3Zkj8b"

typedef struct Find
{
	size_t		pos;
	int			which;
} Find;

/*
 * apikey_token_find() on a copy that ends where it ends.
 */
static bool
find(const ApikeyFormat *formats, int nformats,
	 const char *doc, size_t len, size_t start, Find *found)
{
	char	   *copy = unit_copy(doc, len);
	bool		result;

	found->pos = SIZE_MAX;
	found->which = -1;
	result = apikey_token_find(formats, nformats, copy, len, start,
							   &found->pos, &found->which);
	free(copy);
	return result;
}

/*
 * The same by the letter of the contract, with no regard to time.
 */
static bool
naive_find(const ApikeyFormat *formats, int nformats,
		   const char *doc, size_t len, size_t start, Find *found)
{
	size_t		pos;
	int			i;

	for (pos = start; pos < len; pos++)
	{
		int			best = -1;
		size_t		best_len = 0;

		for (i = 0; i < nformats; i++)
		{
			size_t		want = apikey_token_length(&formats[i]);
			bool		better;

			if (want > len - pos ||
				!apikey_token_matches(&formats[i], doc + pos, want))
				continue;
			if (formats[i].prefix_len == 0 &&
				((pos > 0 && memchr(digits62, doc[pos - 1], 62)) ||
				 (pos + want < len && memchr(digits62, doc[pos + want], 62))))
				continue;
			better = best < 0 ||
				(formats[i].checksum && !formats[best].checksum) ||
				(formats[i].checksum == formats[best].checksum &&
				 want > best_len);
			if (better)
			{
				best = i;
				best_len = want;
			}
		}
		if (best >= 0)
		{
			found->pos = pos;
			found->which = best;
			return true;
		}
	}
	return false;
}

/* Formats for the table; a find is told by its number. */
enum
{
	PLAIN, CHECK_AK, BARE, BARE_28, SHORTER, LONGER, WIDGET, TWIN, NFORMATS
};

static void
make_formats(ApikeyFormat *formats)
{
	formats[PLAIN] = make_format("ak_", 22, false);
	formats[CHECK_AK] = make_format("ak_", 22, true);
	formats[BARE] = make_format("", 22, false);
	formats[BARE_28] = make_format("", 22, true);
	formats[SHORTER] = make_format("ak", 22, false);
	formats[LONGER] = make_format("ak", 26, false);
	formats[WIDGET] = make_format("ak_widget_", 22, false);
	formats[TWIN] = make_format("ak_", 22, false);
}

static void
test_table(void)
{
	static const struct
	{
		const char *doc;
		size_t		len;
		size_t		start;
		int			which;		/* -1: none */
		size_t		pos;
	}			cases[] = {
		{TEXT(""), 0, -1, 0},
		{TEXT("nothing to see"), 0, -1, 0},
		{TEXT("ak_"), 0, -1, 0},
		{TEXT("ak_" BODY), 0, PLAIN, 0},
		{TEXT("ak_AAAAAAAAAAAAAAAAAAAAA"), 0, -1, 0},
		{TEXT("key=ak_" BODY ";"), 0, PLAIN, 4},
		/* with prefix, anything may precede or follow */
		{TEXT("zak_" BODY), 0, PLAIN, 1},
		{TEXT("zzak_" BODY "zzz"), 0, PLAIN, 2},
		{TEXT("ak_ak_" BODY), 0, PLAIN, 3},
		{TEXT("ak_\377" BODY), 0, BARE, 4},
		{TEXT("ak_\0" BODY), 0, BARE, 4},
		{TEXT("AK_" BODY), 0, BARE, 3},
		/* checksum before none */
		{TEXT("ak_" CHECKED), 0, CHECK_AK, 0},
		{TEXT("ak_" CHECKED "A"), 0, CHECK_AK, 0},
		{TEXT("ak_" BODY "3Zkj8c"), 0, PLAIN, 0},
		/* the longer of two, a prefix that is the beginning of another */
		{TEXT("ak_widget_" BODY), 0, WIDGET, 0},
		{TEXT("akAAAA" BODY), 0, LONGER, 0},
		{TEXT("akAAA" BODY), 0, SHORTER, 0},
		{TEXT("akAAA" BODY "A"), 0, LONGER, 0},
		{TEXT("akAAAAAAAAAAAAAAAAAAAAA"), 0, -1, 0},
		/* without prefix only whole runs count */
		{TEXT(BODY), 0, BARE, 0},
		{TEXT("A" BODY), 0, -1, 0},
		{TEXT(" " BODY " "), 0, BARE, 1},
		{TEXT("_" BODY "_"), 0, BARE, 1},
		{TEXT("\200" BODY "\200"), 0, BARE, 1},
		{TEXT("A" BODY), 1, -1, 0},
		{TEXT("AAAAAA" BODY), 0, -1, 0},
		{TEXT("0123456789ABCDEFGHIJKL0o29GM"), 0, BARE_28, 0},
		{TEXT("0123456789ABCDEFGHIJKL0o29GM."), 0, BARE_28, 0},
		{TEXT("0123456789ABCDEFGHIJKL0o29GMx"), 0, -1, 0},
		/* start */
		{TEXT("ak_" BODY), 1, BARE, 3},
		{TEXT("ak_" BODY), 3, BARE, 3},
		{TEXT("ak_" BODY), 4, -1, 0},
		{TEXT("ak_" BODY), 25, -1, 0},
		{TEXT("ak_" BODY), 26, -1, 0},
		{TEXT("ak_" BODY), SIZE_MAX, -1, 0},
	};
	ApikeyFormat formats[NFORMATS];
	int			i;

	make_formats(formats);
	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		Find		found;
		bool		is_found = find(formats, NFORMATS, cases[i].doc,
									cases[i].len, cases[i].start, &found);

		CHECK(is_found == (cases[i].which >= 0), "case %d: %s", i,
			  cases[i].doc);
		if (is_found)
			CHECK(found.which == cases[i].which && found.pos == cases[i].pos,
				  "case %d: format %d at %zu of %s", i, found.which,
				  found.pos, cases[i].doc);
		CHECK(!find(formats, 0, cases[i].doc, cases[i].len, cases[i].start,
					&found), "no formats, case %d", i);
	}
}

/*
 * The first of equals in the list, whichever that is.
 */
static void
test_order(void)
{
	ApikeyFormat formats[NFORMATS];
	ApikeyFormat turned[NFORMATS];
	Find		found;
	int			i;

	make_formats(formats);
	for (i = 0; i < NFORMATS; i++)
		turned[i] = formats[NFORMATS - 1 - i];
	CHECK(find(turned, NFORMATS, TEXT("ak_" BODY), 0, &found) &&
		  found.which == NFORMATS - 1 - TWIN, "the first of equals");
	CHECK(find(turned, NFORMATS, TEXT("ak_" CHECKED), 0, &found) &&
		  found.which == NFORMATS - 1 - CHECK_AK, "checksum wins");
	CHECK(find(turned, NFORMATS, TEXT("akAAAA" BODY), 0, &found) &&
		  found.which == NFORMATS - 1 - LONGER, "the longer");
}

/*
 * Append a random piece to a document; returns the new length.
 */
static size_t
append_piece(const ApikeyFormat *formats, int nformats, uint64_t *state,
			 char *doc, size_t len)
{
	const ApikeyFormat *format = &formats[unit_below(state, nformats)];
	size_t		token_len;
	int			n;

	switch (unit_below(state, 6))
	{
		case 0:					/* a blank or any byte */
			doc[len] = unit_below(state, 2) ? ' ' : (char) unit_random(state);
			return len + 1;
		case 1:					/* digits */
			for (n = unit_below(state, 30); n > 0; n--)
				doc[len++] = digits62[unit_below(state, 62)];
			return len;
		case 2:					/* a prefix */
			memcpy(doc + len, format->prefix, format->prefix_len);
			return len + format->prefix_len;
		case 3:					/* a key with a fault */
			token_len = random_token(format, state, doc + len);
			doc[len + (size_t) unit_below(state, (int) token_len)] =
				"a_ Z"[unit_below(state, 4)];
			return len + token_len;
		case 4:					/* a key cut off */
			token_len = random_token(format, state, doc + len);
			return len + (size_t) unit_below(state, (int) token_len);
		default:
			return len + random_token(format, state, doc + len);
	}
}

/*
 * All finds in random documents are those of the naive reference.
 */
static void
test_random(void)
{
	enum
	{
		DOCUMENTS = 3000, PIECES = 12
	};
	ApikeyFormat formats[NFORMATS];
	uint64_t	state = 4;
	int			i;

	make_formats(formats);
	for (i = 0; i < DOCUMENTS; i++)
	{
		char		doc[PIECES * FORMAT_TEXT_MAX];
		const ApikeyFormat *first = &formats[unit_below(&state, NFORMATS)];
		int			nformats = 1 + unit_below(&state,
											  NFORMATS - (int) (first - formats));
		size_t		len = 0;
		size_t		start;
		int			pieces = unit_below(&state, PIECES);

		while (pieces-- > 0)
			len = append_piece(formats, NFORMATS, &state, doc, len);
		start = (size_t) unit_below(&state, 5);
		for (;;)
		{
			Find		found;
			Find		naive;
			bool		is_found = find(first, nformats, doc, len, start,
										&found);

			if (!CHECK(is_found == naive_find(first, nformats, doc, len,
											  start, &naive), "finds in %.*s",
					   (int) len, doc) || !is_found)
				break;
			if (!CHECK(found.pos == naive.pos && found.which == naive.which,
					   "format %d at %zu, not %d at %zu, of %.*s",
					   found.which, found.pos, naive.which, naive.pos,
					   (int) len, doc))
				break;
			start = found.pos +
				apikey_token_length(&first[found.which]);
		}
	}
}

/*
 * Find all in a large document: would take hours if not linear.
 */
static void
test_large(void)
{
	enum
	{
		SIZE = 4 * 1024 * 1024
	};
	static const char *const patterns[] = {
		"ak_" CHECKED, BODY " ", "ak", "ak_", "A", " ", "a_"
	};
	static const int finds[] = {
		SIZE / (3 + 28), SIZE / 23, SIZE / 28, 0, 0, 0, 0
	};
	ApikeyFormat formats[NFORMATS];
	char	   *doc = unit_alloc(SIZE);
	int			i;
	size_t		j;

	make_formats(formats);
	for (i = 0; i < LENGTH_OF(patterns); i++)
	{
		size_t		step = strlen(patterns[i]);
		size_t		start = 0;
		Find		found;
		int			count = 0;

		for (j = 0; j < SIZE; j++)
			doc[j] = patterns[i][j % step];
		while (apikey_token_find(formats, NFORMATS, doc, SIZE, start,
								 &found.pos, &found.which))
		{
			start = found.pos + apikey_token_length(&formats[found.which]);
			count++;
		}
		CHECK(count >= finds[i] && count <= finds[i] + 1,
			  "%d finds in a document of %s", count, patterns[i]);
	}
	free(doc);
}

int
main(void)
{
	test_table();
	test_order();
	test_random();
	test_large();
	return unit_finish("test_find");
}
