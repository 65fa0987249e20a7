/*
 * test_token.c
 *		Making, checking and masking key texts.
 */
#include "tokens.h"
#include "unit.h"

/*
 * apikey_token_matches() on a copy that ends where it ends.
 */
static bool
matches(const ApikeyFormat *format, const char *text, size_t len)
{
	char	   *copy = unit_copy(text, len);
	bool		result = apikey_token_matches(format, copy, len);

	free(copy);
	return result;
}

/*
 * CRC-32, a bit at a time.
 */
static uint32_t
naive_crc32(const char *data, size_t len)
{
	uint32_t	crc = 0xffffffff;
	size_t		i;
	int			bit;

	for (i = 0; i < len; i++)
	{
		crc ^= (unsigned char) data[i];
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return crc ^ 0xffffffff;
}

static void
test_crc(void)
{
	uint64_t	state = 1;
	char		data[300];
	size_t		len;
	size_t		i;

	CHECK(apikey_crc32("123456789", 9) == 0xcbf43926, "check value");
	CHECK(apikey_crc32(NULL, 0) == 0, "CRC of nothing");
	CHECK(apikey_crc32("a", 1) == 0xe8b7be43, "CRC of a");
	CHECK(apikey_crc32("abc", 3) == 0x352441c2, "CRC of abc");
	for (len = 0; len < sizeof(data); len++)
	{
		char	   *copy;

		for (i = 0; i < len; i++)
			data[i] = (char) unit_random(&state);
		copy = unit_copy(data, len);
		CHECK(apikey_crc32(copy, len) == naive_crc32(data, len),
			  "CRC of %zu bytes", len);
		free(copy);
	}
}

static void
test_digits(void)
{
	uint8_t		byte;
	char		digit;
	int			i;
	int			count[256] = {0};

	for (i = 0; i < 256; i++)
	{
		size_t		n;

		byte = (uint8_t) i;
		digit = '!';
		n = apikey_token_digits(&byte, 1, &digit, 1);
		CHECK(n == (i < 248 ? 1U : 0U), "byte %d gives %zu digits", i, n);
		CHECK(i < 248 ? strchr(digits62, digit) != NULL : digit == '!',
			  "byte %d gives %c", i, digit);
		if (n == 1)
			count[(unsigned char) digit]++;
	}
	for (i = 0; i < 62; i++)
		CHECK(count[(unsigned char) digits62[i]] == 4, "digit %c from %d bytes",
			  digits62[i], count[(unsigned char) digits62[i]]);

	byte = 0;
	CHECK(apikey_token_digits(&byte, 1, &digit, 0) == 0, "none wanted");
	CHECK(apikey_token_digits(NULL, 0, &digit, 1) == 0, "no bytes");
	CHECK(apikey_token_digits((const uint8_t *) "\377\000\370\001\002", 5,
							  &digit, 1) == 1 && digit == '0',
		  "stops when it has enough");
}

/*
 * Digits of random bytes are uniform, at each place: chi-square with 61
 * degrees of freedom exceeds 130 less than once in a million times.
 */
static void
test_uniform(void)
{
	enum
	{
		PLACES = 43, KEYS = 62 * 500, LIMIT = 130
	};
	static long count[PLACES][256];
	uint64_t	state = 2;
	long		all[256] = {0};
	int			key;
	int			place;
	int			i;
	double		chi = 0;

	for (key = 0; key < KEYS; key++)
	{
		uint8_t		random[2 * PLACES];
		char		digit[PLACES];

		for (i = 0; i < LENGTH_OF(random); i++)
			random[i] = (uint8_t) unit_random(&state);
		if (apikey_token_digits(random, sizeof(random), digit,
								PLACES) < PLACES)
			continue;
		for (place = 0; place < PLACES; place++)
		{
			count[place][(unsigned char) digit[place]]++;
			all[(unsigned char) digit[place]]++;
		}
	}
	for (place = 0; place < PLACES; place++)
	{
		chi = 0;
		for (i = 0; i < 62; i++)
		{
			double		off = (double) count[place]
				[(unsigned char) digits62[i]] - KEYS / 62;

			chi += off * off / (KEYS / 62);
		}
		CHECK(chi < LIMIT, "chi-square %.1f at place %d", chi, place);
	}
	chi = 0;
	for (i = 0; i < 62; i++)
	{
		double		expected = (double) KEYS * PLACES / 62;
		double		off = (double) all[(unsigned char) digits62[i]] - expected;

		chi += off * off / expected;
	}
	CHECK(chi < LIMIT, "chi-square %.1f over all places", chi);
}

static void
test_known(void)
{
	/* computed with Python's zlib */
	static const struct
	{
		const char *prefix;
		int			body;
		const char *text;
	}			known[] = {
		{"ak_", 43, "ak_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4XSolN"},
		{"", 22, "0123456789ABCDEFGHIJKL0o29GM"},
		{"tif_live_", 43,
			"tif_live_aBcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxhijk2MofgH"},
		{"ak_", 22, "ak_aaaaaaaaaaaaaaa0008132000tHP"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(known); i++)
	{
		ApikeyFormat format = make_format(known[i].prefix, known[i].body,
										  true);
		size_t		len = strlen(known[i].text);
		char		out[FORMAT_TEXT_MAX];

		CHECK(apikey_token_length(&format) == len, "length %d", i);
		apikey_token_write(&format, known[i].text + format.prefix_len, out);
		CHECK(memcmp(out, known[i].text, len) == 0, "writes %.*s",
			  (int) len, out);
		CHECK(matches(&format, known[i].text, len), "matches %d", i);
	}
}

/*
 * Count the wrong answers to all other bytes at one place.
 */
static int
wrong_at(const ApikeyFormat *format, const char *token, size_t len, size_t at)
{
	int			wrong = 0;
	int			c;

	for (c = 0; c < 256; c++)
	{
		bool		body_digit = at >= format->prefix_len &&
			c != 0 && strchr(digits62, c) != NULL;
		char		text[FORMAT_TEXT_MAX];

		if (token[at] == (char) c)
			continue;
		memcpy(text, token, len);
		text[at] = (char) c;
		if (matches(format, text, len) != (body_digit && !format->checksum))
			wrong++;
	}
	return wrong;
}

/*
 * With a checksum every other byte, everywhere, is refused, and so are all
 * neighbours exchanged.
 */
static void
check_edits(const ApikeyFormat *format, const char *token, size_t len)
{
	size_t		at;

	for (at = 0; at < len; at++)
	{
		char		text[FORMAT_TEXT_MAX];
		int			wrong = wrong_at(format, token, len, at);

		CHECK(wrong == 0, "%d bytes at %zu of %.*s", wrong, at, (int) len,
			  token);
		if (at == 0 || token[at] == token[at - 1])
			continue;
		memcpy(text, token, len);
		text[at] = token[at - 1];
		text[at - 1] = token[at];
		CHECK(matches(format, text, len) ==
			  (at > format->prefix_len && !format->checksum),
			  "neighbours exchanged at %zu of %.*s", at, (int) len, token);
	}
}

static void
test_formats(void)
{
	static const int bodies[] = {APIKEY_BODY_MIN, 43, APIKEY_BODY_MAX};
	static const char *const prefixes[] = {
		"", "a", "ak_", "tif_live_", "x.y-Z_9",
		"abcdefghijklmnopqrstuvwxyz012345"
	};
	uint64_t	state = 3;
	int			p;
	int			b;
	int			checksum;

	for (p = 0; p < LENGTH_OF(prefixes); p++)
		for (b = 0; b < LENGTH_OF(bodies); b++)
			for (checksum = 0; checksum < 2; checksum++)
			{
				ApikeyFormat format = make_format(prefixes[p], bodies[b],
												  checksum);
				size_t		len = apikey_token_length(&format);
				char	   *token = unit_alloc(len);
				char		longer[FORMAT_TEXT_MAX + 1];

				CHECK(len == strlen(prefixes[p]) + (size_t) bodies[b] +
					  (checksum ? 6 : 0), "length");
				random_token(&format, &state, token);
				memset(longer, 'a', sizeof(longer));
				memcpy(longer, token, len);
				CHECK(matches(&format, token, len), "%.*s", (int) len, token);
				CHECK(!matches(&format, token, len - 1), "one byte less");
				CHECK(!matches(&format, token + 1, len - 1), "first lost");
				CHECK(!matches(&format, longer, len + 1), "one byte more");
				CHECK(!matches(&format, NULL, 0), "empty");
				CHECK(!apikey_token_matches(&format, token, SIZE_MAX),
					  "absurd length");
				check_edits(&format, token, len);
				free(token);
			}
}

static void
test_checksum_overflow(void)
{
	/* the last would be right but for the bits above the 32nd */
	static const char *const wrong[] = {"zzzzzz", "500000", "8GPyKf"};
	static const char right[] = "ak_AAAAAAAAAAAAAAAAAAAAAA3Zkj8b";
	ApikeyFormat format = make_format("ak_", 22, true);
	int			i;

	CHECK(matches(&format, right, strlen(right)), "%s", right);
	for (i = 0; i < LENGTH_OF(wrong); i++)
	{
		char		token[sizeof(right)];

		memcpy(token, right, sizeof(right));
		memcpy(token + 25, wrong[i], 6);
		CHECK(!matches(&format, token, strlen(right)), "%s", token);
	}
}

static void
test_display(void)
{
	static const struct
	{
		const char *prefix;
		int			body;
		bool		checksum;
		ApikeyMask	mask;
		const char *text;
		const char *shown;
	}			cases[] = {
		{"tif_live_", 43, true, {true, 3, 4, "..."},
			"tif_live_aBcxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx123456hijk",
		"tif_live_aBc...hijk"},
		{"", 43, false,
			{false, 8, 0, "\342\200\242\342\200\242\342\200\242\342\200\242"},
			"abc1234567890123456789012345678901234567890",
		"abc12345\342\200\242\342\200\242\342\200\242\342\200\242"},
		/* head counts from the whole text, prefix included */
		{"ak_", 30, false, {false, 5, 2, "-"},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_ab-23"},
		{"ak_", 30, false, {false, 2, 2, "-"},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak-23"},
		{"ak_", 30, false, {true, 0, 0, ""},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_"},
		{"ak_", 30, false, {false, 0, 0, ""},
		"ak_abcdefghijklmnopqrstuvwxyz0123", ""},
		/* 22 stay hidden, 21 would not */
		{"ak_", 30, false, {true, 4, 4, "."},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_abcd.0123"},
		{"ak_", 30, false, {true, 5, 4, "."},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_."},
		{"ak_", 30, false, {true, 4, 5, "."},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_."},
		{"ak_", 30, false, {false, 0, 9, "."},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "."},
		{"ak_", 30, false, {true, 65535, 65535, "."},
		"ak_abcdefghijklmnopqrstuvwxyz0123", "ak_."},
		/* what is no text of the format shows nothing of it */
		{"ak_", 30, false, {true, 4, 4, "."}, "", "ak_."},
		{"ak_", 30, false, {true, 4, 4, "."}, "secret", "ak_."},
		{"ak_", 30, false, {true, 0, 0,
		"12345678901234567890123456789012"}, "",
		"ak_12345678901234567890123456789012"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyFormat format = make_format(cases[i].prefix, cases[i].body,
										  cases[i].checksum);
		size_t		want = strlen(cases[i].shown);
		char	   *text = unit_copy(cases[i].text, strlen(cases[i].text));
		char	   *out = unit_alloc(want + 1);
		size_t		len;

		len = apikey_token_display(&format, &cases[i].mask, text,
								   strlen(cases[i].text), out);
		CHECK(len == want && strcmp(out, cases[i].shown) == 0,
			  "mask %d: %s", i, out);
		free(text);
		free(out);
	}
}

static void
test_display_limits(void)
{
	ApikeyFormat format = make_format("ak_", 43, true);
	ApikeyMask	mask = {true, 400, 80, "12345678901234567890123456789012"};
	char	   *out = unit_alloc(APIKEY_DISPLAY_MAX + 1);
	size_t		len;

	for (len = APIKEY_TOKEN_MAX - 1; len <= APIKEY_TOKEN_MAX + 1; len++)
	{
		char	   *text = unit_repeat('s', len);
		size_t		shown = apikey_token_display(&format, &mask, text, len,
												 out);

		CHECK(shown == (len <= APIKEY_TOKEN_MAX ? 3 + 400 + 32 + 80 : 3 + 32),
			  "%zu bytes shown of %zu", shown, len);
		CHECK(out[shown] == '\0', "terminated");
		free(text);
	}
	free(out);
}

int
main(void)
{
	test_crc();
	test_digits();
	test_uniform();
	test_known();
	test_formats();
	test_checksum_overflow();
	test_display();
	test_display_limits();
	return unit_finish("test_token");
}
