/*
 * codes.h
 *		The one table of verdict codes: name, HTTP status, message, and the
 *		code that the API's caller is told.
 *
 * Pure: no server headers.
 */
#ifndef APIKEY_CODES_H
#define APIKEY_CODES_H

#include <stdbool.h>

/* In the order in which a request is judged; VALID comes last. */
typedef enum ApikeyCode
{
	APIKEY_KEY_MISSING,
	APIKEY_KEY_INVALID,
	APIKEY_UNAVAILABLE,
	APIKEY_KEY_REVOKED,
	APIKEY_KEY_EXPIRED,
	APIKEY_KEY_DISABLED,
	APIKEY_API_DISABLED,
	APIKEY_KIND_NOT_ALLOWED,
	APIKEY_ACCOUNT_MISMATCH,
	APIKEY_IP_NOT_ALLOWED,
	APIKEY_ORIGIN_NOT_ALLOWED,
	APIKEY_INSUFFICIENT_SCOPE,
	APIKEY_SCOPE_DISABLED,
	APIKEY_RATE_LIMITED,
	APIKEY_QUOTA_EXCEEDED,
	APIKEY_CREDITS_EXHAUSTED,
	APIKEY_BAD_REQUEST,
	APIKEY_ROLE_NOT_ALLOWED,
	APIKEY_VALID
} ApikeyCode;

#define APIKEY_NCODES (APIKEY_VALID + 1)

typedef struct ApikeyCodeInfo
{
	const char *name;			/* for the trusted backend and its log */
	int			status;			/* HTTP */
	const char *message;		/* safe to show to the caller of the API */
	const char *public_name;	/* what that caller is told instead of name:
								 * malformed, unknown, revoked, disabled and
								 * wrong kind are one */
} ApikeyCodeInfo;

extern const ApikeyCodeInfo apikey_codes[APIKEY_NCODES];

#endif							/* APIKEY_CODES_H */
