/*
 * crypto.h
 *		The only door to libsodium: random bytes, keyed hash, signatures,
 *		comparison in constant time, wiping, memory for secrets.
 */
#ifndef APIKEY_CRYPTO_H
#define APIKEY_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_DIGEST_LEN	32
#define APIKEY_PEPPER_LEN	32
#define APIKEY_SHORT_KEY_LEN	16
#define APIKEY_TAG_LEN		16
#define APIKEY_SIGN_SEED_LEN	32
#define APIKEY_SIGN_PUBLIC_LEN	32
#define APIKEY_SIGN_SECRET_LEN	64
#define APIKEY_SIGNATURE_LEN	64
#define APIKEY_MAC_LEN			32

/* Before anything else; false if libsodium cannot be used safely. */
extern bool apikey_crypto_init(void);

/* Random bytes from the system's generator, fit for keys. */
extern void apikey_random(void *out, size_t len);

/* BLAKE2b-256 (RFC 7693) of a text, keyed with a pepper. */
extern void apikey_digest(unsigned char digest[APIKEY_DIGEST_LEN],
						  const char *text, size_t len,
						  const unsigned char pepper[APIKEY_PEPPER_LEN]);

/*
 * The same of something else than a key text: of data for a stated purpose,
 * of which no digest is ever that of a key text or of another purpose.
 */
extern void apikey_digest_for(unsigned char digest[APIKEY_DIGEST_LEN],
							  const char *purpose,
							  const void *data, size_t len,
							  const unsigned char pepper[APIKEY_PEPPER_LEN]);

/* A pepper's fingerprint: recognises it, tells nothing about it. */
extern void apikey_fingerprint(unsigned char fingerprint[APIKEY_DIGEST_LEN],
							   const unsigned char pepper[APIKEY_PEPPER_LEN]);

/*
 * SipHash-2-4 of some bytes, the same on every machine.  Without the key its
 * values cannot be foreseen; too short to authenticate anything.
 */
extern uint64_t apikey_short_hash(const void *data, size_t len,
								  const unsigned char key[APIKEY_SHORT_KEY_LEN]);

/*
 * The same with 128 bits: a MAC by which one process recognises short texts
 * that it has seen, under a key that nobody else has.
 */
extern void apikey_tag(unsigned char tag[APIKEY_TAG_LEN],
					   const void *data, size_t len,
					   const unsigned char key[APIKEY_SHORT_KEY_LEN]);

/*
 * Ed25519 (RFC 8032): the pair of keys that a seed stands for; signing, and
 * checking a signature.
 */
extern void apikey_sign_keys(unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN],
							 unsigned char secret[APIKEY_SIGN_SECRET_LEN],
							 const unsigned char seed[APIKEY_SIGN_SEED_LEN]);
extern void apikey_sign(unsigned char signature[APIKEY_SIGNATURE_LEN],
						const void *data, size_t len,
						const unsigned char secret[APIKEY_SIGN_SECRET_LEN]);
extern bool apikey_sign_check(const unsigned char signature[APIKEY_SIGNATURE_LEN],
							  const void *data, size_t len,
							  const unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN]);

/* HMAC-SHA-256 (RFC 2104), with a key of any length. */
extern void apikey_hmac_sha256(unsigned char mac[APIKEY_MAC_LEN],
							   const void *data, size_t len,
							   const void *key, size_t key_len);

/*
 * Hashes that other systems store of their keys.  BLAKE2b is the one without
 * a key, of hash_len bytes.
 */
#define APIKEY_SHA256_LEN	32
#define APIKEY_SHA512_LEN	64

extern void apikey_sha256(unsigned char hash[APIKEY_SHA256_LEN],
						  const void *data, size_t len);
extern void apikey_sha512(unsigned char hash[APIKEY_SHA512_LEN],
						  const void *data, size_t len);
extern void apikey_blake2b(unsigned char *hash, size_t hash_len,
						   const void *data, size_t len);

/*
 * Does the text belong to this Argon2 string ("$argon2id$...")?  Takes the
 * time and the memory that the string says.
 */
extern bool apikey_argon2_verify(const char *string,
								 const char *text, size_t len);

/*
 * base64url without padding (RFC 4648, section 5): how many characters come
 * out of so many bytes, with one for the end of the string, and at most how
 * many bytes out of so many characters; writing it, which returns the length;
 * and reading it, which is false for what encoding no bytes gives.
 */
#define APIKEY_BASE64URL_LEN(len)	(((len) * 4 + 2) / 3 + 1)
#define APIKEY_BASE64URL_BYTES(len)	((len) * 3 / 4)

extern size_t apikey_base64url_encode(const void *data, size_t len, char *out);
extern bool apikey_base64url_decode(const char *text, size_t len,
									unsigned char *out, size_t *out_len);

/* Equal? In constant time. */
extern bool apikey_equal(const void *a, const void *b, size_t len);

/* Overwrite, not to be optimised away. */
extern void apikey_wipe(void *data, size_t len);

/*
 * Memory that is locked, kept out of core dumps and wiped when freed, as far
 * as the system lets us.  NULL if there is none.
 */
extern void *apikey_secret_alloc(size_t len);
extern void apikey_secret_seal(void *secret);	/* read only from now on */
extern void apikey_secret_free(void *secret);

#endif							/* APIKEY_CRYPTO_H */
