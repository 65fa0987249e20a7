/*
 * route.h
 *		What the path of an HTTP request names: an account, and a resource,
 *		which with the method gives the scope that the request needs.
 *
 * pattern = 1 to 32 segments, each led by "/": plain text, "*" for any
 * segment, "{account}", "{resource}".  A path matches as far as its segments
 * do; what follows the last one of the pattern does not matter.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_ROUTE_H
#define APIKEY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "scope.h"

#define APIKEY_PATTERN_MAX			1000	/* bytes */
#define APIKEY_PATTERN_SEGMENTS_MAX	32
#define APIKEY_ROUTE_ACCOUNT_MAX	255

typedef struct ApikeyRoute
{
	/*
	 * False if servers may disagree on what the path names: dot segments, an
	 * empty segment or an encoded slash where the pattern looks, and the like.
	 */
	bool		certain;
	bool		has_account;
	bool		account_too_long;
	char		account[APIKEY_ROUTE_ACCOUNT_MAX];	/* percent-decoded */
	size_t		account_len;
	char		scope[APIKEY_GRANT_MAX + 1];	/* always a valid scope */
	size_t		scope_len;
} ApikeyRoute;

/*
 * NULL if it is a pattern, else the rule that it breaks, as a lower-case
 * phrase for an error's detail.
 */
extern const char *apikey_route_pattern_check(const char *pattern, size_t len);

/* Does this valid pattern have "{account}"? */
extern bool apikey_route_pattern_has_account(const char *pattern, size_t len);

/*
 * Find out for a request; method and path may be NULL.  The resource is the
 * path's segment with characters that no scope has as "_"; "root" where the
 * path has none, "_" where it is not certain.
 */
extern void apikey_route(const char *pattern, size_t pattern_len,
						 const char *method, size_t method_len,
						 const char *path, size_t path_len,
						 ApikeyRoute *route);

#endif							/* APIKEY_ROUTE_H */
