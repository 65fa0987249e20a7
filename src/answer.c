/*
 * answer.c
 *		What the caller of an HTTP API is answered for a decision.
 *
 * Public codes and messages only.  Nothing of what the caller sent comes back
 * in an answer, but for the scopes it lacks.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "answer.h"
#include "settings.h"
#include "verdict.h"

#define REALM		"api"
#define NOT_KNOWN	(-1)

/* What a limit of the verdict says; name is NULL without one */
typedef struct Limit
{
	char	   *name;
	int			max;
	int			per;
	int			remaining;
	int			reset;
} Limit;

void
apikey_answer_add(ApikeyAnswerHeaders *headers, const char *name,
				  const char *value)
{
	if (headers->count == APIKEY_ANSWER_HEADERS_MAX)
		elog(ERROR, "too many headers of an answer");
	headers->header[headers->count++] = (ApikeyAnswerHeader) {name, value};
}

static int
number_or(const Datum *values, const bool *nulls, ApikeyVerdictColumn column)
{
	return nulls[column] ? NOT_KNOWN : DatumGetInt32(values[column]);
}

static int
read_limit(const ApikeyDecision *d, Limit *limit)
{
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	int			retry_after;

	apikey_verdict_values(d, values, nulls);
	limit->name = nulls[VERDICT_LIMIT_NAME] ? NULL :
		TextDatumGetCString(values[VERDICT_LIMIT_NAME]);
	limit->max = number_or(values, nulls, VERDICT_LIMIT_MAX);
	limit->per = number_or(values, nulls, VERDICT_LIMIT_PER);
	limit->remaining = number_or(values, nulls, VERDICT_LIMIT_REMAINING);
	limit->reset = number_or(values, nulls, VERDICT_LIMIT_RESET);
	retry_after = number_or(values, nulls, VERDICT_RETRY_AFTER);
	/* nothing remains until then; Retry-After must not be earlier than that */
	if (d->code != APIKEY_VALID && retry_after >= 0)
		limit->reset = retry_after;
	return retry_after;
}

int
apikey_answer_retry_after(const ApikeyDecision *d)
{
	Limit		limit;

	return read_limit(d, &limit);
}

/*
 * A string of structured fields (RFC 9651): printable ASCII, quotes and
 * backslashes escaped; other bytes are left out.
 */
static void
append_sf_string(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			appendStringInfoChar(out, '\\');
		if (*text >= ' ' && *text <= '~')
			appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, '"');
}

/*
 * draft-ietf-httpapi-ratelimit-headers-10
 */
static void
add_ietf_limit(ApikeyAnswerHeaders *headers, const Limit *limit)
{
	StringInfoData policy;
	StringInfoData state;

	initStringInfo(&policy);
	append_sf_string(&policy, limit->name);
	appendStringInfo(&policy, ";q=%d", Max(limit->max, 0));
	if (limit->per > 0)
		appendStringInfo(&policy, ";w=%d", limit->per);
	apikey_answer_add(headers, "RateLimit-Policy", policy.data);

	initStringInfo(&state);
	append_sf_string(&state, limit->name);
	appendStringInfo(&state, ";r=%d", Max(limit->remaining, 0));
	if (limit->reset >= 0)
		appendStringInfo(&state, ";t=%d", limit->reset);
	apikey_answer_add(headers, "RateLimit", state.data);
}

/*
 * As widely used: the time of reset in seconds since 1970.
 */
static void
add_legacy_limit(ApikeyAnswerHeaders *headers, const Limit *limit)
{
	apikey_answer_add(headers, "X-RateLimit-Limit",
					  psprintf("%d", Max(limit->max, 0)));
	apikey_answer_add(headers, "X-RateLimit-Remaining",
					  psprintf("%d", Max(limit->remaining, 0)));
	if (limit->reset >= 0)
		apikey_answer_add(headers, "X-RateLimit-Reset",
						  psprintf(INT64_FORMAT,
								   (int64) timestamptz_to_time_t(GetCurrentTimestamp()) +
								   limit->reset));
}

char *
apikey_answer_missing(const ApikeyDecision *d)
{
	StringInfoData out;

	if (d->nmissing == 0)
		return NULL;
	initStringInfo(&out);
	for (int i = 0; i < d->nmissing; i++)
		appendStringInfo(&out, "%s%.*s", i == 0 ? "" : " ",
						 (int) d->missing[i].len, d->missing[i].data);
	return out.data;
}

/*
 * The challenge of RFC 6750, section 3; NULL where none belongs.
 */
static char *
challenge(const ApikeyDecision *d, const char *scheme)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];
	char	   *missing = apikey_answer_missing(d);

	if (d->code == APIKEY_KEY_MISSING)
		return psprintf("%s realm=\"" REALM "\"", scheme);
	if (d->code == APIKEY_BAD_REQUEST)
		return psprintf("%s realm=\"" REALM "\", error=\"invalid_request\"",
						scheme);
	if (info->status == 401)
		return psprintf("%s realm=\"" REALM "\", error=\"invalid_token\", error_description=\"%s\"",
						scheme, info->message);
	if (missing != NULL)
		return psprintf("%s realm=\"" REALM "\", error=\"insufficient_scope\", scope=\"%s\"",
						scheme, missing);
	return NULL;
}

void
apikey_answer_headers(ApikeyAnswerHeaders *headers, const ApikeyDecision *d,
					  const char *scheme)
{
	Limit		limit;
	int			retry_after = read_limit(d, &limit);
	char	   *text = challenge(d, scheme);

	if (text != NULL)
		apikey_answer_add(headers, "WWW-Authenticate", text);
	if (d->code != APIKEY_VALID && retry_after >= 0)
		apikey_answer_add(headers, "Retry-After", psprintf("%d", retry_after));
	if (limit.name != NULL && (apikey_limit_headers & APIKEY_LIMIT_IETF))
		add_ietf_limit(headers, &limit);
	if (limit.name != NULL && (apikey_limit_headers & APIKEY_LIMIT_LEGACY))
		add_legacy_limit(headers, &limit);
	if (d->code != APIKEY_VALID)
		apikey_answer_add(headers, "Cache-Control", "no-store");
}

static const char *
status_phrase(int status)
{
	switch (status)
	{
		case 400:
			return "Bad Request";
		case 401:
			return "Unauthorized";
		case 402:
			return "Payment Required";
		case 403:
			return "Forbidden";
		case 429:
			return "Too Many Requests";
		default:
			return "Service Unavailable";
	}
}

char *
apikey_answer_problem(const ApikeyDecision *d)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];
	StringInfoData out;
	Limit		limit;
	int			retry_after = read_limit(d, &limit);

	initStringInfo(&out);
	appendStringInfo(&out, "{\"type\":\"%s\",\"title\":\"%s\",\"status\":%d,\"detail\":",
					 info->status == 429 ?
					 "https://iana.org/assignments/http-problem-types#quota-exceeded" :
					 "about:blank",
					 status_phrase(info->status), info->status);
	escape_json(&out, info->message);
	appendStringInfo(&out, ",\"code\":\"%s\"", info->public_name);
	if (d->nmissing > 0)
	{
		appendStringInfoString(&out, ",\"missing_scopes\":");
		for (int i = 0; i < d->nmissing; i++)
			appendStringInfo(&out, "%c\"%.*s\"", i == 0 ? '[' : ',',
							 (int) d->missing[i].len, d->missing[i].data);
		appendStringInfoChar(&out, ']');
	}
	if (info->status == 429 && limit.name != NULL)
	{
		appendStringInfoString(&out, ",\"violated-policies\":[");
		escape_json(&out, limit.name);
		appendStringInfoChar(&out, ']');
	}
	if (retry_after >= 0)
		appendStringInfo(&out, ",\"retry_after\":%d", retry_after);
	appendStringInfoChar(&out, '}');
	return out.data;
}

char *
apikey_answer_pairs(const ApikeyAnswerHeaders *headers)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (int i = 0; i < headers->count; i++)
	{
		appendStringInfoString(&out, i == 0 ? "[" : ",[");
		escape_json(&out, headers->header[i].name);
		appendStringInfoChar(&out, ',');
		escape_json(&out, headers->header[i].value);
		appendStringInfoChar(&out, ']');
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

void
apikey_answer_object(StringInfo out, const ApikeyAnswerHeaders *headers)
{
	appendStringInfoChar(out, '{');
	for (int i = 0; i < headers->count; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		escape_json(out, headers->header[i].name);
		appendStringInfoChar(out, ':');
		escape_json(out, headers->header[i].value);
	}
	appendStringInfoChar(out, '}');
}
