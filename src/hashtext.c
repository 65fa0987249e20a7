/*
 * hashtext.c
 *		Hashes as other systems write them down.  Pure: no server headers.
 *
 * Of salted schemes only strings with all parameters in their usual form are
 * taken: what is accepted here is handed to the scheme later, for texts that
 * strangers present, and must neither fail there nor take long.
 */
#include "hashtext.h"

#include <string.h>

#include "ascii.h"

/* Limits of cost: each about a second on a slow machine */
#define BCRYPT_COST_MIN			4
#define BCRYPT_COST_MAX			14
#define XDES_ROUNDS_MAX			1000000
#define SHACRYPT_ROUNDS_MIN		1000
#define SHACRYPT_ROUNDS_MAX		500000
#define ARGON2_MEMORY_MIN		8	/* KiB, for each lane */
#define ARGON2_MEMORY_MAX		(128 * 1024)
#define ARGON2_WORK_MAX			(384 * 1024)	/* KiB times passes */
#define ARGON2_PASSES_MAX		100
#define ARGON2_LANES_MAX		64
#define ARGON2_SALT_MAX			64	/* characters */
#define ARGON2_SALT_MIN			11
#define ARGON2_HASH_MAX			64
#define ARGON2_HASH_MIN			22

static const struct
{
	const char *name;
	ApikeyHashAlgorithm algorithm;
}			names[] =
{
	{"sha256", APIKEY_HASH_SHA256},
	{"sha512", APIKEY_HASH_SHA512},
	{"hmac-sha256", APIKEY_HASH_HMAC_SHA256},
	{"blake2b", APIKEY_HASH_BLAKE2B_256},
	{"blake2b-512", APIKEY_HASH_BLAKE2B_512},
	{"argon2id", APIKEY_HASH_ARGON2ID},
	{"bcrypt", APIKEY_HASH_BCRYPT},
	{"md5-crypt", APIKEY_HASH_MD5_CRYPT},
	{"xdes", APIKEY_HASH_XDES},
	{"sha256-crypt", APIKEY_HASH_SHA256_CRYPT},
	{"sha512-crypt", APIKEY_HASH_SHA512_CRYPT},
	{"crypt", APIKEY_HASH_CRYPT},
	/* as gen_salt() calls them, and other spellings */
	{"blake2b-256", APIKEY_HASH_BLAKE2B_256},
	{"bf", APIKEY_HASH_BCRYPT},
	{"md5", APIKEY_HASH_MD5_CRYPT},
	{"md5crypt", APIKEY_HASH_MD5_CRYPT},
	{"sha256crypt", APIKEY_HASH_SHA256_CRYPT},
	{"sha512crypt", APIKEY_HASH_SHA512_CRYPT},
};

bool
apikey_hash_algorithm(const char *name, size_t len,
					  ApikeyHashAlgorithm *algorithm)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strlen(names[i].name) == len &&
			memcmp(names[i].name, name, len) == 0)
		{
			*algorithm = names[i].algorithm;
			return true;
		}
	}
	return false;
}

const char *
apikey_hash_name(ApikeyHashAlgorithm algorithm)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (names[i].algorithm == algorithm)
			return names[i].name;
	}
	return "";
}

/* Both alphabets of base64 */
static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

/*
 * Read the characters of nbytes bytes, without padding.  Bits that belong to
 * no byte are zero in what encoders write.
 */
static bool
read_base64(const char *text, size_t nchars, unsigned char *bytes,
			size_t nbytes)
{
	uint32_t	bits = 0;
	int			have = 0;
	size_t		done = 0;

	for (size_t i = 0; i < nchars; i++)
	{
		int			value = base64_value(text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t) value;
		have += 6;
		if (have >= 8)
		{
			have -= 8;
			bytes[done++] = (unsigned char) (bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	return done == nbytes && bits == 0;
}

/*
 * Read a hash of nbytes bytes: told apart by length.
 */
static bool
read_bytes(const char *text, size_t len, unsigned char *bytes, size_t nbytes)
{
	size_t		nchars = (nbytes * 8 + 5) / 6;
	size_t		padded = (nbytes + 2) / 3 * 4;

	if (len == 2 * nbytes)
		return ascii_hex_bytes(text, bytes, nbytes);
	if (len == padded)
	{
		for (size_t i = nchars; i < padded; i++)
		{
			if (text[i] != '=')
				return false;
		}
		return read_base64(text, nchars, bytes, nbytes);
	}
	return len == nchars && read_base64(text, nchars, bytes, nbytes);
}

/*
 * Drop what precedes a hash in Django's own form: "sha512$$", the algorithm
 * and an empty salt.
 */
static void
skip_label(const char **text, size_t *len, const char *label)
{
	size_t		label_len = strlen(label);

	if (*len > label_len && memcmp(*text, label, label_len) == 0)
	{
		*text += label_len;
		*len -= label_len;
	}
}

static const char *
parse_bytes(const char *text, size_t len, ApikeyHash *hash)
{
	switch (hash->algorithm)
	{
		case APIKEY_HASH_SHA512:
			skip_label(&text, &len, "sha512$$");
			hash->len = 64;
			break;
		case APIKEY_HASH_BLAKE2B_256:
		case APIKEY_HASH_BLAKE2B_512:
			/* both have the name blake2b: told apart by length */
			hash->algorithm = len > 64 ? APIKEY_HASH_BLAKE2B_512 :
				APIKEY_HASH_BLAKE2B_256;
			hash->len = len > 64 ? 64 : 32;
			break;
		default:
			skip_label(&text, &len, "sha256$$");
			hash->len = 32;
			break;
	}
	if (read_bytes(text, len, hash->u.bytes, hash->len))
		return NULL;
	switch (hash->algorithm)
	{
		case APIKEY_HASH_SHA512:
			return "It must be 64 bytes: 128 hexadecimal digits, or 86 characters of base64 or base64url with or without \"==\".";
		case APIKEY_HASH_BLAKE2B_256:
		case APIKEY_HASH_BLAKE2B_512:
			return "It must be 32 or 64 bytes: 64 or 128 hexadecimal digits, or 43 or 86 characters of base64 or base64url with or without padding.";
		default:
			return "It must be 32 bytes: 64 hexadecimal digits, or 43 characters of base64 or base64url with or without \"=\".";
	}
}

/* The 64 characters of crypt(), in the order of their values */
static int
crypt_value(char c)
{
	if (c == '.' || c == '/')
		return c - '.';
	if (c >= '0' && c <= '9')
		return c - '0' + 2;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 12;
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 38;
	return -1;
}

static bool
all_crypt(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (crypt_value(text[i]) < 0)
			return false;
	}
	return true;
}

/*
 * Read a decimal number without leading zeros; *p moves behind it.
 */
static bool
read_number(const char **p, const char *end, uint32_t *number)
{
	const char *start = *p;

	*number = 0;
	while (*p < end && ascii_is_digit(**p) && *p - start < 9)
		*number = *number * 10 + (uint32_t) (*(*p)++ - '0');
	return *p > start && (*start != '0' || *p == start + 1);
}

/*
 * Move behind a literal text.
 */
static bool
read_literal(const char **p, const char *end, const char *literal)
{
	size_t		len = strlen(literal);

	if ((size_t) (end - *p) < len || memcmp(*p, literal, len) != 0)
		return false;
	*p += len;
	return true;
}

/*
 * $2a$NN$ and 53 characters.  $2b$ and $2y$ are other names for what the
 * corrected $2a$ is.
 */
static const char *
parse_bcrypt(const char *text, size_t len, ApikeyHash *hash)
{
	int			cost;

	if (len != 60 || memcmp(text, "$2", 2) != 0 ||
		(text[2] != 'a' && text[2] != 'b' && text[2] != 'y') ||
		text[3] != '$' || !ascii_is_digit(text[4]) ||
		!ascii_is_digit(text[5]) || text[6] != '$' ||
		!all_crypt(text + 7, 53))
		return "A bcrypt hash is \"$2a$\", \"$2b$\" or \"$2y$\", a cost of two digits, \"$\" and 53 characters.";
	cost = (text[4] - '0') * 10 + (text[5] - '0');
	if (cost < BCRYPT_COST_MIN || cost > BCRYPT_COST_MAX)
		return "The cost of bcrypt must be 4 to 14: each wrong key would keep the server busy for longer.";
	memcpy(hash->u.string, text, len);
	hash->u.string[2] = 'a';
	return NULL;
}

/*
 * $1$, a salt of up to 8 characters, $ and 22 characters.
 */
static const char *
parse_md5_crypt(const char *text, size_t len, ApikeyHash *hash)
{
	if (len < 3 + 1 + 1 + 22 || len > 3 + 8 + 1 + 22 ||
		memcmp(text, "$1$", 3) != 0 || text[len - 23] != '$' ||
		!all_crypt(text + 3, len - 26) || !all_crypt(text + len - 22, 22))
		return "An MD5-crypt hash is \"$1$\", a salt of up to 8 characters, \"$\" and 22 characters.";
	memcpy(hash->u.string, text, len);
	return NULL;
}

/*
 * _, 4 characters of rounds, least significant first, and 15 of salt and hash.
 */
static const char *
parse_xdes(const char *text, size_t len, ApikeyHash *hash)
{
	uint32_t	rounds = 0;

	if (len != 20 || text[0] != '_' || !all_crypt(text + 1, 19))
		return "An extended DES hash is \"_\" and 19 characters.";
	for (int i = 4; i >= 1; i--)
		rounds = rounds << 6 | (uint32_t) crypt_value(text[i]);
	if (rounds == 0 || rounds > XDES_ROUNDS_MAX)
		return "Extended DES must have 1 to 1000000 rounds: each wrong key would keep the server busy for longer.";
	memcpy(hash->u.string, text, len);
	return NULL;
}

/*
 * $5$ or $6$, perhaps rounds=N$, a salt of up to 16 characters, $ and the hash.
 */
static const char *
parse_sha_crypt(const char *text, size_t len, ApikeyHash *hash)
{
	bool		wide = hash->algorithm == APIKEY_HASH_SHA512_CRYPT;
	const char *p = text;
	const char *end = text + len;
	const char *rule = wide ?
		"A SHA-512-crypt hash is \"$6$\", perhaps \"rounds=N$\", a salt of up to 16 characters, \"$\" and 86 characters." :
		"A SHA-256-crypt hash is \"$5$\", perhaps \"rounds=N$\", a salt of up to 16 characters, \"$\" and 43 characters.";
	ptrdiff_t	hash_len = wide ? 86 : 43;
	uint32_t	rounds;

	if (!read_literal(&p, end, wide ? "$6$" : "$5$"))
		return rule;
	if (read_literal(&p, end, "rounds="))
	{
		if (!read_number(&p, end, &rounds) || !read_literal(&p, end, "$"))
			return rule;
		if (rounds < SHACRYPT_ROUNDS_MIN || rounds > SHACRYPT_ROUNDS_MAX)
			return "SHA-crypt must have 1000 to 500000 rounds: each wrong key would keep the server busy for longer.";
	}
	if (end - p < hash_len + 2 || end - p > hash_len + 1 + 16 ||
		end[-hash_len - 1] != '$' ||
		!all_crypt(p, (size_t) (end - p - hash_len - 1)) ||
		!all_crypt(end - hash_len, (size_t) hash_len))
		return rule;
	memcpy(hash->u.string, text, len);
	return NULL;
}

/*
 * Move behind characters of base64 without padding, so many.
 */
static bool
read_base64_run(const char **p, const char *end, ptrdiff_t min, ptrdiff_t max)
{
	const char *start = *p;

	while (*p < end && base64_value(**p) >= 0 && **p != '-' && **p != '_')
		(*p)++;
	return *p - start >= min && *p - start <= max;
}

/*
 * $argon2id$v=19$m=M,t=T,p=P$salt$hash
 */
static const char *
parse_argon2id(const char *text, size_t len, ApikeyHash *hash)
{
	const char *p = text;
	const char *end = text + len;
	uint32_t	memory;
	uint32_t	passes;
	uint32_t	lanes;

	if (!read_literal(&p, end, "$argon2id$v=19$m=") ||
		!read_number(&p, end, &memory) || !read_literal(&p, end, ",t=") ||
		!read_number(&p, end, &passes) || !read_literal(&p, end, ",p=") ||
		!read_number(&p, end, &lanes) || !read_literal(&p, end, "$") ||
		!read_base64_run(&p, end, ARGON2_SALT_MIN, ARGON2_SALT_MAX) ||
		!read_literal(&p, end, "$") ||
		!read_base64_run(&p, end, ARGON2_HASH_MIN, ARGON2_HASH_MAX) ||
		p != end)
		return "An Argon2id hash is \"$argon2id$v=19$m=...,t=...,p=...$\", a salt, \"$\" and the hash, both in base64 without padding.";
	if (passes == 0 || passes > ARGON2_PASSES_MAX ||
		lanes == 0 || lanes > ARGON2_LANES_MAX ||
		memory < lanes * ARGON2_MEMORY_MIN || memory > ARGON2_MEMORY_MAX ||
		memory * passes > ARGON2_WORK_MAX)
		return "Argon2id may take up to 128 MiB (m=131072), and m times t up to 393216: each wrong key would keep the server busy for longer.";
	memcpy(hash->u.string, text, len);
	return NULL;
}

/*
 * Which scheme of crypt() is this string of?
 */
static ApikeyHashAlgorithm
crypt_algorithm(const char *text, size_t len)
{
	if (len > 0 && text[0] == '_')
		return APIKEY_HASH_XDES;
	if (len < 3 || text[0] != '$')
		return APIKEY_HASH_CRYPT;
	switch (text[1])
	{
		case '1':
			return APIKEY_HASH_MD5_CRYPT;
		case '2':
			return APIKEY_HASH_BCRYPT;
		case '5':
			return APIKEY_HASH_SHA256_CRYPT;
		case '6':
			return APIKEY_HASH_SHA512_CRYPT;
		default:
			return APIKEY_HASH_CRYPT;
	}
}

const char *
apikey_hash_parse(ApikeyHashAlgorithm algorithm, const char *text, size_t len,
				  ApikeyHash *hash)
{
	memset(hash, 0, sizeof(*hash));
	hash->algorithm = algorithm;
	if (!apikey_hash_is_salted(algorithm))
		return parse_bytes(text, len, hash);

	/* Django writes its own name of the scheme first */
	if (algorithm == APIKEY_HASH_ARGON2ID)
		skip_label(&text, &len, "argon2");
	else
		skip_label(&text, &len, "bcrypt$");
	if (algorithm == APIKEY_HASH_CRYPT)
		hash->algorithm = crypt_algorithm(text, len);
	hash->len = len;
	if (len == 0 || len > APIKEY_HASH_STRING_MAX)
		return "It is empty, or too long for a string of this scheme.";
	switch (hash->algorithm)
	{
		case APIKEY_HASH_ARGON2ID:
			return parse_argon2id(text, len, hash);
		case APIKEY_HASH_BCRYPT:
			return parse_bcrypt(text, len, hash);
		case APIKEY_HASH_MD5_CRYPT:
			return parse_md5_crypt(text, len, hash);
		case APIKEY_HASH_XDES:
			return parse_xdes(text, len, hash);
		case APIKEY_HASH_SHA256_CRYPT:
		case APIKEY_HASH_SHA512_CRYPT:
			return parse_sha_crypt(text, len, hash);
		default:
			return "It must be a string of bcrypt, MD5-crypt, extended DES, SHA-256-crypt or SHA-512-crypt; plain DES is too weak.";
	}
}
