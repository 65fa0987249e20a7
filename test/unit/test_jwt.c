/*
 * test_jwt.c
 *		The form of tokens.
 */
#include "../../src/jwt.h"
#include "unit.h"

/* Texts that are split into parts of these lengths; 0: refused */
static void
test_split(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		size_t		header;
		size_t		payload;
		size_t		signature;
	}			cases[] = {
		{TEXT("aa.bbb.c"), 2, 3, 1},
		{TEXT("A-_9.z.0"), 4, 1, 1},
		{TEXT(""), 0, 0, 0},
		{TEXT("."), 0, 0, 0},
		{TEXT(".."), 0, 0, 0},
		{TEXT("..."), 0, 0, 0},
		{TEXT("a"), 0, 0, 0},
		{TEXT("a.b"), 0, 0, 0},
		{TEXT("a.b."), 0, 0, 0},
		{TEXT(".b.c"), 0, 0, 0},
		{TEXT("a..c"), 0, 0, 0},
		{TEXT("a.b.c."), 0, 0, 0},
		{TEXT("a.b.c.d"), 0, 0, 0},
		{TEXT("a.b.c.d.e"), 0, 0, 0},
		{TEXT("a.b.c="), 0, 0, 0},
		{TEXT("a.b+.c"), 0, 0, 0},
		{TEXT("a.b/.c"), 0, 0, 0},
		{TEXT(" a.b.c"), 0, 0, 0},
		{TEXT("a.b.c\n"), 0, 0, 0},
		{TEXT("a.b.c\0"), 0, 0, 0},
		{TEXT("a.b.\303\251"), 0, 0, 0},
	};

	for (int i = 0; i < LENGTH_OF(cases); i++)
	{
		char	   *copy = unit_copy(cases[i].text, cases[i].len);
		ApikeyJwt	jwt;
		bool		good = apikey_jwt_split(copy, cases[i].len, &jwt);

		CHECK(good == (cases[i].header > 0), "case %d: %s", i, cases[i].text);
		if (good)
			CHECK(jwt.header.data == copy && jwt.header.len == cases[i].header &&
				  jwt.payload.data == copy + cases[i].header + 1 &&
				  jwt.payload.len == cases[i].payload &&
				  jwt.signed_len == cases[i].header + 1 + cases[i].payload &&
				  jwt.signature.data == copy + jwt.signed_len + 1 &&
				  jwt.signature.len == cases[i].signature,
				  "case %d: parts of %s", i, cases[i].text);
		free(copy);
	}
}

/* The longest token, and one byte more */
static void
test_longest(void)
{
	for (size_t len = APIKEY_JWT_MAX; len <= APIKEY_JWT_MAX + 1; len++)
	{
		char	   *text = unit_repeat('a', len);
		ApikeyJwt	jwt;

		text[1] = text[3] = '.';
		CHECK(apikey_jwt_split(text, len, &jwt) == (len == APIKEY_JWT_MAX),
			  "%zu bytes", len);
		free(text);
	}
}

int
main(void)
{
	test_split();
	test_longest();
	return unit_finish("test_jwt");
}
