/*
 * crypto.c
 *		The only file that knows libsodium.
 *
 * The generator reads from the kernel each time, so processes forked from one
 * another share no state.
 */
#include "crypto.h"

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

bool
apikey_equal(const void *a, const void *b, size_t len)
{
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
