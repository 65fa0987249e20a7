/*
 * hashtext.h
 *		Hashes as other systems write them down: hexadecimal, base64,
 *		base64url, and the strings of salted schemes.
 *
 * Pure: no server headers, no allocation, no global state.  Texts need not be
 * NUL terminated.
 */
#ifndef APIKEY_HASHTEXT_H
#define APIKEY_HASHTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_HASH_BYTES_MAX	64
#define APIKEY_HASH_STRING_MAX	127

/*
 * What hashes are of.  Those before APIKEY_HASH_ARGON2ID have neither salt
 * nor cost: a text has one hash.  APIKEY_HASH_CRYPT stands for whichever
 * scheme of crypt() a string belongs to; no parsed hash is of it.
 */
typedef enum ApikeyHashAlgorithm
{
	APIKEY_HASH_SHA256,
	APIKEY_HASH_SHA512,
	APIKEY_HASH_HMAC_SHA256,
	APIKEY_HASH_BLAKE2B_256,
	APIKEY_HASH_BLAKE2B_512,
	APIKEY_HASH_ARGON2ID,
	APIKEY_HASH_BCRYPT,
	APIKEY_HASH_MD5_CRYPT,
	APIKEY_HASH_XDES,
	APIKEY_HASH_SHA256_CRYPT,
	APIKEY_HASH_SHA512_CRYPT,
	APIKEY_HASH_CRYPT
} ApikeyHashAlgorithm;

#define APIKEY_HASH_NALGORITHMS	(APIKEY_HASH_CRYPT + 1)

#define apikey_hash_is_salted(algorithm) \
	((algorithm) >= APIKEY_HASH_ARGON2ID)

/* A hash: its bytes, or the canonical string of a salted scheme */
typedef struct ApikeyHash
{
	ApikeyHashAlgorithm algorithm;
	size_t		len;
	union
	{
		unsigned char bytes[APIKEY_HASH_BYTES_MAX];
		char		string[APIKEY_HASH_STRING_MAX + 1];	/* NUL terminated */
	}			u;
} ApikeyHash;

/* The algorithm of this name; false if there is none. */
extern bool apikey_hash_algorithm(const char *name, size_t len,
								  ApikeyHashAlgorithm *algorithm);

/* Its name, the first one if there are several. */
extern const char *apikey_hash_name(ApikeyHashAlgorithm algorithm);

/*
 * Read a hash.  Returns NULL, or as a sentence what it should be.  Strings of
 * a cost that would keep a server busy too long are refused as well.
 */
extern const char *apikey_hash_parse(ApikeyHashAlgorithm algorithm,
									 const char *text, size_t len,
									 ApikeyHash *hash);

#endif							/* APIKEY_HASHTEXT_H */
