/*
 * codes.c
 *		The one table of verdict codes: name, HTTP status, message.
 */
#include "codes.h"

const ApikeyCodeInfo apikey_codes[APIKEY_NCODES] = {
	[APIKEY_KEY_MISSING] = {"key_missing", 401, "API key required"},
	[APIKEY_KEY_INVALID] = {"key_invalid", 401, "Invalid API key"},
	[APIKEY_UNAVAILABLE] = {"unavailable", 503, "Temporarily unavailable"},
	[APIKEY_KEY_REVOKED] = {"key_revoked", 401, "Invalid API key"},
	[APIKEY_KEY_EXPIRED] = {"key_expired", 401, "API key expired"},
	[APIKEY_KEY_DISABLED] = {"key_disabled", 401, "Invalid API key"},
	[APIKEY_API_DISABLED] = {"api_disabled", 403, "API access is disabled"},
	[APIKEY_KIND_NOT_ALLOWED] = {"kind_not_allowed", 401, "Invalid API key"},
	[APIKEY_ACCOUNT_MISMATCH] = {"account_mismatch", 403,
	"Not a member of the selected organization"},
	[APIKEY_IP_NOT_ALLOWED] = {"ip_not_allowed", 403,
	"IP address not allowed"},
	[APIKEY_ORIGIN_NOT_ALLOWED] = {"origin_not_allowed", 403,
	"CORS origin not allowed"},
	[APIKEY_INSUFFICIENT_SCOPE] = {"insufficient_scope", 403,
	"Insufficient permissions"},
	[APIKEY_SCOPE_DISABLED] = {"scope_disabled", 403,
	"Insufficient permissions"},
	[APIKEY_RATE_LIMITED] = {"rate_limited", 429, "Rate limit exceeded"},
	[APIKEY_QUOTA_EXCEEDED] = {"quota_exceeded", 429, "Daily quota exceeded"},
	[APIKEY_CREDITS_EXHAUSTED] = {"credits_exhausted", 402,
	"Insufficient credits"},
	[APIKEY_BAD_REQUEST] = {"bad_request", 400, "Bad request"},
	[APIKEY_VALID] = {"valid", 200, "OK"},
};
