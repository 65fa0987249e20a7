/*
 * test_jwt.c
 *		The form of tokens: parts, base64url, flat JSON objects.
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

/* RFC 4648, section 10, in the alphabet of section 5 */
static void
test_base64url_vectors(void)
{
	static const struct
	{
		const char *bytes;
		const char *text;
	}			cases[] = {
		{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"},
		{"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"},
		{"\373\377\276", "-_--"},
	};

	for (int i = 0; i < LENGTH_OF(cases); i++)
	{
		size_t		len = strlen(cases[i].text);
		char	   *out = unit_alloc(APIKEY_BASE64URL_LEN(strlen(cases[i].bytes)));
		unsigned char *back = (unsigned char *) unit_alloc(APIKEY_BASE64URL_BYTES(len));
		size_t		back_len;

		CHECK(apikey_base64url_encode(cases[i].bytes, strlen(cases[i].bytes), out) == len &&
			  (len == 0 || memcmp(out, cases[i].text, len) == 0),
			  "encode %s", cases[i].text);
		CHECK(apikey_base64url_decode(cases[i].text, len, back, &back_len) &&
			  back_len == strlen(cases[i].bytes) &&
			  (back_len == 0 || memcmp(back, cases[i].bytes, back_len) == 0),
			  "decode %s", cases[i].text);
		free(out);
		free(back);
	}
}

/* What is no encoding of anything, in more than one way */
static void
test_base64url_faults(void)
{
	static const char *const cases[] = {
		"A", "AAAAA", "Zh", "Zm9", "Zm-", "Zg==", "Zg=", "Z g", "Zm8\n",
		"Zm+v", "Zm/v", "Z.9v", "/w", "\303\251AA",
	};

	for (int i = 0; i < LENGTH_OF(cases); i++)
	{
		size_t		len = strlen(cases[i]);
		char	   *copy = unit_copy(cases[i], len);
		unsigned char *out = (unsigned char *) unit_alloc(APIKEY_BASE64URL_BYTES(len));
		size_t		out_len;

		CHECK(!apikey_base64url_decode(copy, len, out, &out_len),
			  "decode %s", cases[i]);
		free(copy);
		free(out);
	}
}

static void
test_base64url_random(void)
{
	uint64_t	state = 7;

	for (int i = 0; i < 2000; i++)
	{
		size_t		len = (size_t) unit_below(&state, 100);
		char	   *bytes = unit_alloc(len);
		char	   *text = unit_alloc(APIKEY_BASE64URL_LEN(len));
		unsigned char *back = (unsigned char *) unit_alloc(len);
		size_t		text_len;
		size_t		back_len;

		for (size_t j = 0; j < len; j++)
			bytes[j] = (char) unit_random(&state);
		text_len = apikey_base64url_encode(bytes, len, text);
		CHECK(text_len == APIKEY_BASE64URL_LEN(len) &&
			  APIKEY_BASE64URL_BYTES(text_len) == len &&
			  apikey_base64url_decode(text, text_len, back, &back_len) &&
			  back_len == len && (len == 0 || memcmp(bytes, back, len) == 0),
			  "%zu random bytes", len);
		free(bytes);
		free(text);
		free(back);
	}
}

static int
read_json(const char *text, size_t len, ApikeyJsonMember *members, int max)
{
	char	   *copy = unit_copy(text, len);
	int			count = apikey_json_read(copy, len, members, max);

	free(copy);
	return count;
}

/* Objects, and how many members they have; -1: none of those we read */
static void
test_json(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		int			count;
	}			cases[] = {
		{TEXT("{}"), 0},
		{TEXT(" { } \r\n\t"), 0},
		{TEXT("{\"a\":1}"), 1},
		{TEXT("{ \"a\" : 1 , \"b\" : \"x\" }"), 2},
		{TEXT("{\"a\":-0,\"b\":0,\"c\":-17,\"d\":true,\"e\":false,\"f\":null,\"g\":\"\"}"), 7},
		{TEXT("{\"\":1,\"a\":1}"), 2},
		{TEXT("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"}"), 1},
		{TEXT("{\"a\":\"\303\251\"}"), 1},
		{TEXT(""), -1},
		{TEXT(" "), -1},
		{TEXT("1"), -1},
		{TEXT("\"a\""), -1},
		{TEXT("null"), -1},
		{TEXT("[]"), -1},
		{TEXT("{"), -1},
		{TEXT("}"), -1},
		{TEXT("{}}"), -1},
		{TEXT("{},"), -1},
		{TEXT("{}{}"), -1},
		{TEXT("{,}"), -1},
		{TEXT("{\"a\"}"), -1},
		{TEXT("{\"a\":}"), -1},
		{TEXT("{\"a\":1,}"), -1},
		{TEXT("{,\"a\":1}"), -1},
		{TEXT("{\"a\":1 \"b\":1}"), -1},
		{TEXT("{\"a\":1;\"b\":1}"), -1},
		{TEXT("{\"a\" 1}"), -1},
		{TEXT("{a:1}"), -1},
		{TEXT("{'a':1}"), -1},
		{TEXT("{\"a\":1"), -1},
		{TEXT("{\"a\":"), -1},
		{TEXT("{\"a"), -1},
		{TEXT("{\"a\":\"x"), -1},
		{TEXT("{\"a\":\"x\\"), -1},
		{TEXT("{\"a\":\"x\\u12"), -1},
		{TEXT("{\"a\":\"\\u12g4\"}"), -1},
		{TEXT("{\"a\":\"\\x\"}"), -1},
		{TEXT("{\"a\":\"\\\0\"}"), -1},
		{TEXT("{\"a\":\"\n\"}"), -1},
		{TEXT("{\"a\":\"\0\"}"), -1},
		{TEXT("{\"a\":1}\0"), -1},
		{TEXT("\357\273\277{}"), -1},
		{TEXT("{\"a\":01}"), -1},
		{TEXT("{\"a\":-}"), -1},
		{TEXT("{\"a\":-"), -1},
		{TEXT("{\"a\":+1}"), -1},
		{TEXT("{\"a\":1.5}"), -1},
		{TEXT("{\"a\":1e3}"), -1},
		{TEXT("{\"a\":tru}"), -1},
		{TEXT("{\"a\":True}"), -1},
		{TEXT("{\"a\":truefalse}"), -1},
		{TEXT("{\"a\":NaN}"), -1},
		{TEXT("{\"a\":{}}"), -1},
		{TEXT("{\"a\":[]}"), -1},
		{TEXT("{\"a\":1,\"a\":1}"), -1},
		{TEXT("{\"a\":1,\"b\":2,\"a\":\"x\"}"), -1},
		{TEXT("{\"\\u0061\":1}"), -1},
		{TEXT("{\"a\\\"\":1}"), -1},
		{TEXT("{/**/}"), -1},
	};
	ApikeyJsonMember members[APIKEY_JSON_MEMBERS_MAX];

	for (int i = 0; i < LENGTH_OF(cases); i++)
		CHECK(read_json(cases[i].text, cases[i].len, members,
						APIKEY_JSON_MEMBERS_MAX) == cases[i].count,
			  "case %d: %s", i, cases[i].text);
}

static void
test_members(void)
{
	static const char json[] = "{\"s\":\"x\\ny\",\"i\":-12,\"w\":null}";
	ApikeyJsonMember members[3];
	int			count = apikey_json_read(json, strlen(json), members, 3);
	const ApikeyJsonMember *member;

	CHECK(count == 3, "as many members as there is room for");
	CHECK(read_json(json, strlen(json), members, 2) == -1, "one more than there is room for");
	count = apikey_json_read(json, strlen(json), members, 3);
	member = apikey_json_get(members, count, "s", APIKEY_JSON_STRING);
	CHECK(member && member->value_len == 4 && memcmp(member->value, "x\\ny", 4) == 0,
		  "a string as it is written");
	member = apikey_json_get(members, count, "i", APIKEY_JSON_INTEGER);
	CHECK(member && member->value_len == 3 && memcmp(member->value, "-12", 3) == 0, "an integer");
	CHECK(apikey_json_get(members, count, "w", APIKEY_JSON_WORD) != NULL, "a word");
	CHECK(apikey_json_get(members, count, "i", APIKEY_JSON_STRING) == NULL, "another type");
	CHECK(apikey_json_get(members, count, "is", APIKEY_JSON_INTEGER) == NULL, "a longer name");
	CHECK(apikey_json_get(members, count, "", APIKEY_JSON_INTEGER) == NULL, "a shorter name");
	CHECK(apikey_json_get(members, 0, "s", APIKEY_JSON_STRING) == NULL, "none at all");
}

static void
test_integers(void)
{
	static const struct
	{
		const char *text;
		int64_t		value;
		bool		good;
	}			cases[] = {
		{"{\"i\":0}", 0, true},
		{"{\"i\":-0}", 0, true},
		{"{\"i\":1700000000}", 1700000000, true},
		{"{\"i\":-1}", -1, true},
		{"{\"i\":999999999999999}", INT64_C(999999999999999), true},
		{"{\"i\":-999999999999999}", -INT64_C(999999999999999), true},
		{"{\"i\":1000000000000000}", 0, false},
		{"{\"i\":99999999999999999999999}", 0, false},
	};

	for (int i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyJsonMember member;
		int64_t		value = 0;

		CHECK(apikey_json_read(cases[i].text, strlen(cases[i].text), &member, 1) == 1 &&
			  apikey_json_integer(&member, &value) == cases[i].good &&
			  (!cases[i].good || value == cases[i].value),
			  "%s", cases[i].text);
	}
}

int
main(void)
{
	test_split();
	test_longest();
	test_base64url_vectors();
	test_base64url_faults();
	test_base64url_random();
	test_json();
	test_members();
	test_integers();
	return unit_finish("test_jwt");
}
