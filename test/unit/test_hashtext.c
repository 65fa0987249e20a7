/*
 * test_hashtext.c
 *		Hashes as other systems write them down.
 */
#include "../../src/hashtext.h"
#include "unit.h"

#define X8(text)	text text text text text text text text
#define HEX64		X8("01234567")
#define HEX128		HEX64 HEX64
#define C22			"0123456789./ABCDEFabcd"
#define C43			C22 "0123456789./ABCDEFabc"
#define B43			"0123456789+/ABCDEFabcdefghijklmnopqrstuvwxy"
#define C53			"0123456789./ABCDEFabcdefghijklmnopqrstuvwxyzGHIJKLMNO"
#define C86			C43 C43

static const char *
parse(ApikeyHashAlgorithm algorithm, const char *text, size_t len,
	  ApikeyHash *hash)
{
	char	   *copy = unit_copy(text, len);
	const char *rule = apikey_hash_parse(algorithm, copy, len, hash);

	free(copy);
	return rule;
}

static void
test_names(void)
{
	static const struct
	{
		const char *name;
		ApikeyHashAlgorithm algorithm;
	}			good[] = {
		{"sha256", APIKEY_HASH_SHA256},
		{"sha512", APIKEY_HASH_SHA512},
		{"hmac-sha256", APIKEY_HASH_HMAC_SHA256},
		{"blake2b", APIKEY_HASH_BLAKE2B_256},
		{"argon2id", APIKEY_HASH_ARGON2ID},
		{"bcrypt", APIKEY_HASH_BCRYPT},
		{"bf", APIKEY_HASH_BCRYPT},
		{"md5-crypt", APIKEY_HASH_MD5_CRYPT},
		{"xdes", APIKEY_HASH_XDES},
		{"crypt", APIKEY_HASH_CRYPT},
	};
	static const char *const bad[] = {"", "des", "SHA256", "sha256 ", "sha1", "md4", "argon2i"};
	ApikeyHashAlgorithm algorithm;
	int			i;

	for (i = 0; i < LENGTH_OF(good); i++)
		CHECK(apikey_hash_algorithm(good[i].name, strlen(good[i].name),
									&algorithm) &&
			  algorithm == good[i].algorithm, "%s", good[i].name);
	for (i = 0; i < LENGTH_OF(bad); i++)
		CHECK(!apikey_hash_algorithm(bad[i], strlen(bad[i]), &algorithm),
			  "\"%s\"", bad[i]);
	/* what is stored is read again */
	for (i = 0; i < APIKEY_HASH_NALGORITHMS; i++)
	{
		const char *name = apikey_hash_name((ApikeyHashAlgorithm) i);

		CHECK(apikey_hash_algorithm(name, strlen(name), &algorithm) &&
			  algorithm == (ApikeyHashAlgorithm) i, "%s", name);
	}
}

/* The same 32 and 64 bytes in every spelling */
static void
test_bytes(void)
{
	static const char *const same32[] = {
		"fbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbef",
		"FBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEFBEF",
		"++++++++++++++++++++++++++++++++++++++++++8=",
		"++++++++++++++++++++++++++++++++++++++++++8",
		"------------------------------------------8",
		"------------------------------------------8=",
		"sha256$$fbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbefbef",
	};
	ApikeyHash	first;
	ApikeyHash	hash;
	int			i;

	CHECK(parse(APIKEY_HASH_SHA256, same32[0], 64, &first) == NULL, "hex");
	CHECK(first.len == 32 && first.u.bytes[0] == 0xfb && first.u.bytes[31] == 0xef, "bytes");
	for (i = 1; i < LENGTH_OF(same32); i++)
		CHECK(parse(APIKEY_HASH_SHA256, same32[i], strlen(same32[i]), &hash) == NULL &&
			  hash.len == 32 && memcmp(hash.u.bytes, first.u.bytes, 32) == 0,
			  "%s", same32[i]);
	CHECK(parse(APIKEY_HASH_SHA512, TEXT(HEX128), &hash) == NULL && hash.len == 64, "sha512");
	CHECK(parse(APIKEY_HASH_SHA512, TEXT("sha512$$" HEX128), &hash) == NULL, "labelled");
	CHECK(parse(APIKEY_HASH_BLAKE2B_256, TEXT(HEX64), &hash) == NULL &&
		  hash.algorithm == APIKEY_HASH_BLAKE2B_256 && hash.len == 32, "blake2b-256");
	CHECK(parse(APIKEY_HASH_BLAKE2B_256, TEXT(HEX128), &hash) == NULL &&
		  hash.algorithm == APIKEY_HASH_BLAKE2B_512 && hash.len == 64, "blake2b-512");
	CHECK(parse(APIKEY_HASH_HMAC_SHA256, TEXT(HEX64), &hash) == NULL &&
		  hash.algorithm == APIKEY_HASH_HMAC_SHA256, "hmac");
}

static void
test_bad_bytes(void)
{
	static const struct
	{
		ApikeyHashAlgorithm algorithm;
		const char *text;
	}			cases[] = {
		{APIKEY_HASH_SHA256, ""},
		{APIKEY_HASH_SHA256, "g" "123456789012345678901234567890123456789012345678901234567890123"},
		{APIKEY_HASH_SHA256, HEX128},
		{APIKEY_HASH_SHA256, "sha256$$"},
		{APIKEY_HASH_SHA256, "sha512$$" HEX64},
		/* bits behind the last byte; padding that is none; both alphabets are one */
		{APIKEY_HASH_SHA256, "++++++++++++++++++++++++++++++++++++++++++9="},
		{APIKEY_HASH_SHA256, "++++++++++++++++++++++++++++++++++++++++++8+"},
		{APIKEY_HASH_SHA256, "+++++++++++++++++++++++++++++++++++++++++=8"},
		{APIKEY_HASH_SHA256, " +++++++++++++++++++++++++++++++++++++++++8"},
		{APIKEY_HASH_SHA512, HEX64},
		{APIKEY_HASH_SHA512, C86 "=+"},
		{APIKEY_HASH_BLAKE2B_256, "0123456789012345678901234567890123456789"},
	};
	ApikeyHash	hash;
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
		CHECK(parse(cases[i].algorithm, cases[i].text, strlen(cases[i].text),
					&hash) != NULL, "%s", cases[i].text);
}

static void
test_salted(void)
{
	static const struct
	{
		ApikeyHashAlgorithm algorithm;
		const char *text;
		ApikeyHashAlgorithm found;
	}			good[] = {
		{APIKEY_HASH_BCRYPT, "$2a$04$" C53, APIKEY_HASH_BCRYPT},
		{APIKEY_HASH_BCRYPT, "$2b$10$" C53, APIKEY_HASH_BCRYPT},
		{APIKEY_HASH_BCRYPT, "$2y$14$" C53, APIKEY_HASH_BCRYPT},
		{APIKEY_HASH_BCRYPT, "bcrypt$$2b$12$" C53, APIKEY_HASH_BCRYPT},
		{APIKEY_HASH_CRYPT, "$2b$10$" C53, APIKEY_HASH_BCRYPT},
		{APIKEY_HASH_CRYPT, "$1$abcdefgh$" C22, APIKEY_HASH_MD5_CRYPT},
		{APIKEY_HASH_MD5_CRYPT, "$1$a$" C22, APIKEY_HASH_MD5_CRYPT},
		{APIKEY_HASH_CRYPT, "_J9..rasmBYk8r9AiWNc", APIKEY_HASH_XDES},
		{APIKEY_HASH_CRYPT, "$5$salt$" C43, APIKEY_HASH_SHA256_CRYPT},
		{APIKEY_HASH_CRYPT, "$5$rounds=1000$salt$" C43, APIKEY_HASH_SHA256_CRYPT},
		{APIKEY_HASH_SHA512_CRYPT, "$6$rounds=500000$0123456789abcdef$" C86, APIKEY_HASH_SHA512_CRYPT},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$" B43, APIKEY_HASH_ARGON2ID},
		{APIKEY_HASH_ARGON2ID, "argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdHNhbHRzYWx0$" B43, APIKEY_HASH_ARGON2ID},
	};
	static const struct
	{
		ApikeyHashAlgorithm algorithm;
		const char *text;
	}			bad[] = {
		{APIKEY_HASH_BCRYPT, "$2a$03$" C53}, {APIKEY_HASH_BCRYPT, "$2a$15$" C53},
		{APIKEY_HASH_BCRYPT, "$2x$10$" C53}, {APIKEY_HASH_BCRYPT, "$2$10$a" C53},
		{APIKEY_HASH_BCRYPT, "$2a$1a$" C53}, {APIKEY_HASH_BCRYPT, "$2a$10$" C43},
		{APIKEY_HASH_BCRYPT, "$1$abcdefgh$" C22}, {APIKEY_HASH_CRYPT, ""},
		{APIKEY_HASH_ARGON2ID, ""}, {APIKEY_HASH_BCRYPT, ""}, {APIKEY_HASH_SHA512_CRYPT, ""},
		{APIKEY_HASH_CRYPT, "abJnggxhB/yWI"}, {APIKEY_HASH_CRYPT, "$7$" C43},
		{APIKEY_HASH_CRYPT, "$"}, {APIKEY_HASH_CRYPT, "_"},
		{APIKEY_HASH_MD5_CRYPT, "$1$$" C22}, {APIKEY_HASH_MD5_CRYPT, "$1$abcdefghi$" C22},
		{APIKEY_HASH_MD5_CRYPT, "$1$a:b$" C22}, {APIKEY_HASH_XDES, "_zzzzrasmBYk8r9AiWNc"},
		{APIKEY_HASH_XDES, "_....rasmBYk8r9AiWNc"}, {APIKEY_HASH_XDES, "_J9..rasmBYk8r9AiWN"},
		{APIKEY_HASH_SHA256_CRYPT, "$5$rounds=999$salt$" C43}, {APIKEY_HASH_SHA256_CRYPT, "$5$rounds=500001$salt$" C43},
		{APIKEY_HASH_SHA256_CRYPT, "$5$rounds=01000$salt$" C43}, {APIKEY_HASH_SHA256_CRYPT, "$5$0123456789abcdefg$" C43},
		{APIKEY_HASH_SHA256_CRYPT, "$6$salt$" C86}, {APIKEY_HASH_SHA256_CRYPT, "$5$$" C43},
		{APIKEY_HASH_ARGON2ID, "$argon2i$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=16$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=131073,t=1,p=1$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=65536,t=7,p=1$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=65536,t=0,p=1$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=4294967297,t=1,p=1$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=8,t=1,p=2$c2FsdHNhbHRzYWx0$" B43},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$"},
		{APIKEY_HASH_ARGON2ID, "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$" B43 "$x"},
	};
	ApikeyHash	hash;
	int			i;

	for (i = 0; i < LENGTH_OF(good); i++)
	{
		const char *rule = parse(good[i].algorithm, good[i].text,
								 strlen(good[i].text), &hash);

		CHECK(rule == NULL && hash.algorithm == good[i].found &&
			  strlen(hash.u.string) == hash.len, "%s: %s", good[i].text,
			  rule ? rule : "");
	}
	for (i = 0; i < LENGTH_OF(bad); i++)
		CHECK(parse(bad[i].algorithm, bad[i].text, strlen(bad[i].text),
					&hash) != NULL, "%s", bad[i].text);
	/* $2b$ and $2y$ are other names of $2a$: the same hash */
	CHECK(parse(APIKEY_HASH_BCRYPT, TEXT("$2y$10$" C53), &hash) == NULL &&
		  strcmp(hash.u.string, "$2a$10$" C53) == 0, "canonical");
}

int
main(void)
{
	test_names();
	test_bytes();
	test_bad_bytes();
	test_salted();
	return unit_finish("test_hashtext");
}
