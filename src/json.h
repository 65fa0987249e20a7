/*
 * json.h
 *		Flat JSON objects, as the parts of a token are.
 */
#ifndef APIKEY_JSON_H
#define APIKEY_JSON_H

#include "postgres.h"

#define APIKEY_JSON_MEMBERS_MAX	32

typedef enum ApikeyJsonType
{
	APIKEY_JSON_STRING,
	APIKEY_JSON_NUMBER,
	APIKEY_JSON_WORD			/* true, false, null */
} ApikeyJsonType;

typedef struct ApikeyJsonMember
{
	char	   *name;
	ApikeyJsonType type;
	char	   *value;
} ApikeyJsonMember;

/*
 * Read an object (RFC 8259) of strings, numbers and words into at most
 * APIKEY_JSON_MEMBERS_MAX members, in the current memory context.  Returns
 * how many, or -1 if it is none: faulty, nested, with a name twice, or with an
 * escape \u, which no token of ours has.  Raises no error for a text of less
 * than a kilobyte; a longer one could be nested too deeply for the stack.
 */
extern int	apikey_json_read(const char *json, size_t len,
							 ApikeyJsonMember *members);

/* The value of that name; NULL if there is none of that type. */
extern const char *apikey_json_get(const ApikeyJsonMember *members, int count,
								   const char *name, ApikeyJsonType type);

/* The same of a whole number with at most 15 digits; false if there is none. */
extern bool apikey_json_get_integer(const ApikeyJsonMember *members, int count,
									const char *name, int64 *value);

#endif							/* APIKEY_JSON_H */
