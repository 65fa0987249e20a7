/*
 * jwt.h
 *		The form of JSON Web Tokens (RFC 7519, compact serialization): three
 *		parts in base64url.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_JWT_H
#define APIKEY_JWT_H

#include <stdbool.h>
#include <stddef.h>

#define APIKEY_JWT_MAX			8192	/* longest token */

typedef struct ApikeyJwtPart
{
	const char *data;
	size_t		len;
} ApikeyJwtPart;

/* A token taken apart; what is signed are the first signed_len bytes. */
typedef struct ApikeyJwt
{
	ApikeyJwtPart header;
	ApikeyJwtPart payload;
	ApikeyJwtPart signature;
	size_t		signed_len;
} ApikeyJwt;

/*
 * Take a text apart.  False unless it has exactly three parts, none empty, of
 * base64url digits without padding.
 */
extern bool apikey_jwt_split(const char *text, size_t len, ApikeyJwt *jwt);

#endif							/* APIKEY_JWT_H */
