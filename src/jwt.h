/*
 * jwt.h
 *		The form of JSON Web Tokens (RFC 7519, compact serialization): three
 *		parts in base64url, of which the first two are flat JSON objects.
 *
 * Only what we write ourselves is read: an object within an object, an escaped
 * member name or a number with a fraction is no token of ours.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_JWT_H
#define APIKEY_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_JWT_MAX			8192	/* longest token */
#define APIKEY_JSON_MEMBERS_MAX	32

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

/* How many characters, and at most bytes, come out of so many bytes, characters */
#define APIKEY_BASE64URL_LEN(len)	(((len) * 4 + 2) / 3)
#define APIKEY_BASE64URL_BYTES(len)	((len) * 3 / 4)

/* Write bytes in base64url without padding; returns the length. */
extern size_t apikey_base64url_encode(const void *data, size_t len, char *out);

/*
 * Read it.  False if it is not what encoding some bytes gives: foreign
 * characters, padding, bits left over that are not zero.
 */
extern bool apikey_base64url_decode(const char *text, size_t len,
									unsigned char *out, size_t *out_len);

typedef enum ApikeyJsonType
{
	APIKEY_JSON_STRING,
	APIKEY_JSON_INTEGER,
	APIKEY_JSON_WORD			/* true, false, null */
} ApikeyJsonType;

/* A member of an object: pieces of its text; of strings, what is between the
 * quotes, as written. */
typedef struct ApikeyJsonMember
{
	const char *name;
	size_t		name_len;
	ApikeyJsonType type;
	const char *value;
	size_t		value_len;
} ApikeyJsonMember;

/*
 * Read a flat object (RFC 8259) into members.  Returns how many, or -1 if it
 * is none: faulty, nested, a name twice or with escapes, more members than max.
 */
extern int	apikey_json_read(const char *json, size_t len,
							 ApikeyJsonMember *members, int max);

/* The member of that name; NULL if there is none of that type. */
extern const ApikeyJsonMember *apikey_json_get(const ApikeyJsonMember *members,
											   int count, const char *name,
											   ApikeyJsonType type);

/* The value of an integer; false if it has more than 15 digits. */
extern bool apikey_json_integer(const ApikeyJsonMember *member,
								int64_t *value);

#endif							/* APIKEY_JWT_H */
