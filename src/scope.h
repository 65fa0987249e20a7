/*
 * scope.h
 *		Grants, sets of grants, and what they cover.
 *
 * grant = "*", or 1 to 4 segments joined by ":", each [A-Za-z0-9_.-]{1,64}
 * or, as the last one of at least two, "*".  A scope is a grant without
 * wildcard.  Case sensitive.
 *
 * A packed set is what the SQL type apikey.scopes stores behind its length
 * word: uint16 count, count * uint16 end offsets, then the grants' bytes one
 * after the other; grants sorted bytewise (memcmp, shorter first), without
 * duplicates.  The integers are in native byte order and may be unaligned.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_SCOPE_H
#define APIKEY_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_SEGMENT_MAX		64
#define APIKEY_SEGMENTS_MAX		4
#define APIKEY_GRANT_MAX		128
#define APIKEY_GRANTS_MAX		256

/* A piece of somebody else's text. */
typedef struct ApikeySlice
{
	const char *data;
	size_t		len;
} ApikeySlice;

/* A packed set, looked at. */
typedef struct ApikeyGrants
{
	int			count;
	const char *ends;			/* count unaligned uint16 */
	const char *text;
} ApikeyGrants;

/*
 * NULL if the text is a grant (a scope, if wildcard is not allowed), else
 * the rule that it breaks, as a lower-case phrase for an error's detail.
 */
extern const char *apikey_grant_check(const char *text, size_t len,
									  bool allow_wildcard);

/* Is this valid grant "*" or does it end in ":*"? */
extern bool apikey_grant_is_wildcard(const char *text, size_t len);

/* Does the one valid grant cover the other valid scope or grant? */
extern bool apikey_grant_covers(const char *grant, size_t grant_len,
								const char *what, size_t what_len);

/*
 * Split a list separated by blanks (space, tab, newline, CR) and/or single
 * commas into slices, not checking them.  Returns their number, or -1 when
 * there are more than max or an element is missing between commas; *reason
 * then says which.
 */
extern int	apikey_grants_split(const char *text, size_t len,
								ApikeySlice *out, int max,
								const char **reason);

/* Sort bytewise and drop duplicates; returns the new count. */
extern int	apikey_grants_normalize(ApikeySlice *items, int count);

/* Packed size of normalized items, and packing them. */
extern size_t apikey_grants_packed_size(const ApikeySlice *items, int count);
extern void apikey_grants_pack(const ApikeySlice *items, int count,
							   char *out);

/*
 * Look at a packed set.  False if the bytes are no well-formed packed set
 * (counts, offsets; not the grammar of each grant).
 */
extern bool apikey_grants_open(const char *packed, size_t len,
							   ApikeyGrants *set);
extern ApikeySlice apikey_grants_get(const ApikeyGrants *set, int i);

/* Is this very grant in the set?  Binary search. */
extern bool apikey_grants_contain(const ApikeyGrants *set,
								  const char *grant, size_t len);

/*
 * Does the set cover a valid scope or grant?  A grant is covered when all
 * that it covers is: by "*", by itself, or by a ":*" above it.  Logarithmic.
 */
extern bool apikey_grants_cover(const ApikeyGrants *set,
								const char *what, size_t len);

#endif							/* APIKEY_SCOPE_H */
