/*
 * answer.h
 *		What the caller of an HTTP API is answered for a decision.
 */
#ifndef APIKEY_ANSWER_H
#define APIKEY_ANSWER_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "decide.h"

#define APIKEY_ANSWER_HEADERS_MAX	24

typedef struct ApikeyAnswerHeader
{
	const char *name;
	const char *value;
} ApikeyAnswerHeader;

typedef struct ApikeyAnswerHeaders
{
	int			count;
	ApikeyAnswerHeader header[APIKEY_ANSWER_HEADERS_MAX];
} ApikeyAnswerHeaders;

/* How a challenge calls the scheme of our credentials */
#define APIKEY_SCHEME_BEARER	"Bearer"
#define APIKEY_SCHEME_KEY		"Key"

/* Add a header; the value is not copied. */
extern void apikey_answer_add(ApikeyAnswerHeaders *headers, const char *name,
							  const char *value);

/*
 * Add the headers of a decision: challenge, Retry-After, rate limits.
 */
extern void apikey_answer_headers(ApikeyAnswerHeaders *headers,
								  const ApikeyDecision *decision,
								  const char *scheme);

/* Seconds until it could pass; -1 if unknown, or never */
extern int	apikey_answer_retry_after(const ApikeyDecision *decision);

/* The scopes that are missing, separated by blanks; NULL if none is. */
extern char *apikey_answer_missing(const ApikeyDecision *decision);

/* The body of a refusal: problem details of RFC 9457 */
extern char *apikey_answer_problem(const ApikeyDecision *decision);

/* As JSON: [["name", "value"], ...], and {"name": "value", ...} */
extern char *apikey_answer_pairs(const ApikeyAnswerHeaders *headers);
extern void apikey_answer_object(StringInfo out,
								 const ApikeyAnswerHeaders *headers);

#endif							/* APIKEY_ANSWER_H */
