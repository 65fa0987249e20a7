/*
 * signing.h
 *		The keys that sign session tokens.
 */
#ifndef APIKEY_SIGNING_H
#define APIKEY_SIGNING_H

#include "postgres.h"

#include "crypto.h"
#include "jwt.h"

#define APIKEY_KID_MAX			64

/* Values of the setting apikey.session_algorithm, too */
typedef enum ApikeySigningAlgorithm
{
	APIKEY_EDDSA,
	APIKEY_HS256
} ApikeySigningAlgorithm;

/* What the header of a token and apikey.signing_key.algorithm say */
extern const char *const apikey_signing_algorithms[];

typedef struct ApikeySigningKey
{
	char		kid[APIKEY_KID_MAX + 1];
	ApikeySigningAlgorithm algorithm;
	bool		retired;		/* signs nothing any more */
	unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN];	/* of EdDSA */
	const unsigned char *secret;	/* NULL: forgotten */
	size_t		secret_len;
} ApikeySigningKey;

/* The key of this name as of now, or NULL; good until the next call. */
extern const ApikeySigningKey *apikey_signing_key(const char *kid, size_t len);

/*
 * The key that signs now.  Makes the first one.  To be called as the owner.
 */
extern const ApikeySigningKey *apikey_current_signing_key(ApikeySigningAlgorithm algorithm);

/*
 * Sign a header and a payload: the token, of at most APIKEY_JWT_MAX bytes;
 * NULL if it would be longer.
 */
extern char *apikey_signing_token(const ApikeySigningKey *key,
								  const char *payload, size_t payload_len,
								  size_t *token_len);

/*
 * Which of our keys does this token name, for its own algorithm?  NULL if
 * none.  Tells nothing about the signature.
 */
extern const ApikeySigningKey *apikey_signing_key_of(const ApikeyJwt *jwt);

/* Was the token signed with this key? */
extern bool apikey_signing_check(const ApikeySigningKey *key,
								 const ApikeyJwt *jwt);

#endif							/* APIKEY_SIGNING_H */
