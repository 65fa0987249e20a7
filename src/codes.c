/*
 * codes.c
 *		The one table of verdict codes: name, HTTP status, message, and the
 *		code that the API's caller is told.
 */
#include "codes.h"

const ApikeyCodeInfo apikey_codes[APIKEY_NCODES] = {
	[APIKEY_KEY_MISSING] = {"key_missing", 401,
	"API key required", "key_missing"},
	[APIKEY_KEY_INVALID] = {"key_invalid", 401,
	"Invalid API key", "key_invalid"},
	[APIKEY_UNAVAILABLE] = {"unavailable", 503,
	"Temporarily unavailable", "unavailable"},
	[APIKEY_KEY_REVOKED] = {"key_revoked", 401,
	"Invalid API key", "key_invalid"},
	[APIKEY_KEY_EXPIRED] = {"key_expired", 401,
	"API key expired", "key_expired"},
	[APIKEY_KEY_DISABLED] = {"key_disabled", 401,
	"Invalid API key", "key_invalid"},
	[APIKEY_API_DISABLED] = {"api_disabled", 403,
	"API access is disabled", "api_disabled"},
	[APIKEY_KIND_NOT_ALLOWED] = {"kind_not_allowed", 401,
	"Invalid API key", "key_invalid"},
	[APIKEY_ACCOUNT_MISMATCH] = {"account_mismatch", 403,
	"Not a member of the selected organization", "account_mismatch"},
	[APIKEY_IP_NOT_ALLOWED] = {"ip_not_allowed", 403,
	"IP address not allowed", "ip_not_allowed"},
	[APIKEY_ORIGIN_NOT_ALLOWED] = {"origin_not_allowed", 403,
	"CORS origin not allowed", "origin_not_allowed"},
	[APIKEY_INSUFFICIENT_SCOPE] = {"insufficient_scope", 403,
	"Insufficient permissions", "insufficient_scope"},
	[APIKEY_SCOPE_DISABLED] = {"scope_disabled", 403,
	"Insufficient permissions", "insufficient_scope"},
	[APIKEY_RATE_LIMITED] = {"rate_limited", 429,
	"Rate limit exceeded", "rate_limited"},
	[APIKEY_QUOTA_EXCEEDED] = {"quota_exceeded", 429,
	"Daily quota exceeded", "quota_exceeded"},
	[APIKEY_CREDITS_EXHAUSTED] = {"credits_exhausted", 402,
	"Insufficient credits", "credits_exhausted"},
	[APIKEY_BAD_REQUEST] = {"bad_request", 400,
	"Bad request", "bad_request"},
	[APIKEY_ROLE_NOT_ALLOWED] = {"role_not_allowed", 403,
	"Insufficient permissions", "role_not_allowed"},
	[APIKEY_VALID] = {"valid", 200,
	"OK", "valid"},
};
