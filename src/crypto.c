/*
 * crypto.c
 *		The only file that knows libsodium.
 *
 * The generator reads from the kernel each time, so processes forked from one
 * another share no state.
 */
#include "crypto.h"

#include <string.h>

#include <sodium.h>

bool
apikey_crypto_init(void)
{
	return sodium_init() >= 0;
}

void
apikey_random(void *out, size_t len)
{
	randombytes_buf(out, len);
}

void
apikey_digest(unsigned char digest[APIKEY_DIGEST_LEN],
			  const char *text, size_t len,
			  const unsigned char pepper[APIKEY_PEPPER_LEN])
{
	(void) crypto_generichash(digest, APIKEY_DIGEST_LEN,
							  (const unsigned char *) text, len,
							  pepper, APIKEY_PEPPER_LEN);
}

void
apikey_digest_for(unsigned char digest[APIKEY_DIGEST_LEN],
				  const char *purpose, const void *data, size_t len,
				  const unsigned char pepper[APIKEY_PEPPER_LEN])
{
	crypto_generichash_state state;

	(void) crypto_generichash_init(&state, pepper, APIKEY_PEPPER_LEN,
								   APIKEY_DIGEST_LEN);
	/* the terminating NUL is part of it: no key text contains one */
	(void) crypto_generichash_update(&state, (const unsigned char *) purpose,
									 strlen(purpose) + 1);
	(void) crypto_generichash_update(&state, data, len);
	(void) crypto_generichash_final(&state, digest, APIKEY_DIGEST_LEN);
	sodium_memzero(&state, sizeof(state));
}

void
apikey_fingerprint(unsigned char fingerprint[APIKEY_DIGEST_LEN],
				   const unsigned char pepper[APIKEY_PEPPER_LEN])
{
	static const char purpose[] = "apikey pepper fingerprint";

	/* the terminating NUL is part of it: no key text contains one */
	(void) crypto_generichash(fingerprint, APIKEY_DIGEST_LEN,
							  (const unsigned char *) purpose,
							  sizeof(purpose), pepper, APIKEY_PEPPER_LEN);
}

uint64_t
apikey_short_hash(const void *data, size_t len,
				  const unsigned char key[APIKEY_SHORT_KEY_LEN])
{
	unsigned char bytes[crypto_shorthash_BYTES];
	uint64_t	hash = 0;

	(void) crypto_shorthash(bytes, data, len, key);
	/* least significant byte first, as SipHash is defined */
	for (int i = crypto_shorthash_BYTES - 1; i >= 0; i--)
		hash = hash << 8 | bytes[i];
	return hash;
}

void
apikey_tag(unsigned char tag[APIKEY_TAG_LEN], const void *data, size_t len,
		   const unsigned char key[APIKEY_SHORT_KEY_LEN])
{
	(void) crypto_shorthash_siphashx24(tag, data, len, key);
}

void
apikey_sign_keys(unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN],
				 unsigned char secret[APIKEY_SIGN_SECRET_LEN],
				 const unsigned char seed[APIKEY_SIGN_SEED_LEN])
{
	(void) crypto_sign_seed_keypair(public_key, secret, seed);
}

void
apikey_sign(unsigned char signature[APIKEY_SIGNATURE_LEN], const void *data,
			size_t len, const unsigned char secret[APIKEY_SIGN_SECRET_LEN])
{
	(void) crypto_sign_detached(signature, NULL, data, len, secret);
}

bool
apikey_sign_check(const unsigned char signature[APIKEY_SIGNATURE_LEN],
				  const void *data, size_t len,
				  const unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN])
{
	return crypto_sign_verify_detached(signature, data, len, public_key) == 0;
}

void
apikey_hmac_sha256(unsigned char mac[APIKEY_MAC_LEN], const void *data,
				   size_t len, const void *key, size_t key_len)
{
	crypto_auth_hmacsha256_state state;

	(void) crypto_auth_hmacsha256_init(&state, key, key_len);
	(void) crypto_auth_hmacsha256_update(&state, data, len);
	(void) crypto_auth_hmacsha256_final(&state, mac);
	sodium_memzero(&state, sizeof(state));
}

void
apikey_sha256(unsigned char hash[APIKEY_SHA256_LEN],
			  const void *data, size_t len)
{
	(void) crypto_hash_sha256(hash, data, len);
}

void
apikey_sha512(unsigned char hash[APIKEY_SHA512_LEN],
			  const void *data, size_t len)
{
	(void) crypto_hash_sha512(hash, data, len);
}

void
apikey_blake2b(unsigned char *hash, size_t hash_len,
			   const void *data, size_t len)
{
	(void) crypto_generichash(hash, hash_len, data, len, NULL, 0);
}

bool
apikey_argon2_verify(const char *string, const char *text, size_t len)
{
	return crypto_pwhash_str_verify(string, text, len) == 0;
}

size_t
apikey_base64url_encode(const void *data, size_t len, char *out)
{
	(void) sodium_bin2base64(out, APIKEY_BASE64URL_LEN(len), data, len,
							 sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return APIKEY_BASE64URL_LEN(len) - 1;
}

bool
apikey_base64url_decode(const char *text, size_t len, unsigned char *out,
						size_t *out_len)
{
	const char *end;

	return sodium_base642bin(out, APIKEY_BASE64URL_BYTES(len), text, len, NULL,
							 out_len, &end,
							 sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
		end == text + len;
}

bool
apikey_equal(const void *a, const void *b, size_t len)
{
	/* these two look at more than a byte at a time */
	if (len == crypto_verify_16_BYTES)
		return crypto_verify_16(a, b) == 0;
	if (len == crypto_verify_32_BYTES)
		return crypto_verify_32(a, b) == 0;
	return sodium_memcmp(a, b, len) == 0;
}

void
apikey_wipe(void *data, size_t len)
{
	sodium_memzero(data, len);
}

void *
apikey_secret_alloc(size_t len)
{
	return sodium_malloc(len);
}

void
apikey_secret_seal(void *secret)
{
	(void) sodium_mprotect_readonly(secret);
}

void
apikey_secret_free(void *secret)
{
	sodium_free(secret);
}
