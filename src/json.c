/*
 * json.c
 *		Flat JSON objects, read by the server's parser.
 *
 * Its input functions would quote in the context of an error what they cannot
 * read; the parser alone gives a code.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "compat.h"
#include "json.h"

#define INTEGER_DIGITS_MAX	15

/* What the parser's actions fill in */
typedef struct Reading
{
	ApikeyJsonMember *members;
	int			count;
	int			depth;			/* open brackets */
	bool		bad;
} Reading;

static APIKEY_JSON_ACTION
begin_object(void *state)
{
	Reading    *reading = state;

	if (reading->depth++ > 0)
		reading->bad = true;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
end_object(void *state)
{
	((Reading *) state)->depth--;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
refuse_array(void *state)
{
	((Reading *) state)->bad = true;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
begin_member(void *state, char *name, bool is_null)
{
	Reading    *reading = state;

	if (reading->count == APIKEY_JSON_MEMBERS_MAX)
		reading->bad = true;
	for (int i = 0; i < reading->count && !reading->bad; i++)
		reading->bad = strcmp(reading->members[i].name, name) == 0;
	if (!reading->bad)
		reading->members[reading->count++] =
			(ApikeyJsonMember) {name, APIKEY_JSON_WORD, NULL};
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
read_scalar(void *state, char *token, JsonTokenType type)
{
	Reading    *reading = state;
	ApikeyJsonMember *member;

	if (reading->count == 0)
		reading->bad = true;
	if (!reading->bad)
	{
		member = &reading->members[reading->count - 1];
		member->type = type == JSON_TOKEN_STRING ? APIKEY_JSON_STRING :
			type == JSON_TOKEN_NUMBER ? APIKEY_JSON_NUMBER : APIKEY_JSON_WORD;
		member->value = token;
	}
	APIKEY_JSON_GO_ON();
}

/*
 * The parser wants valid text; of escapes of characters it may raise an error
 * where the database's encoding lacks them.
 */
static bool
can_be_parsed(const char *json, size_t len)
{
	if (!pg_verify_mbstr(PG_UTF8, json, len, true))
		return false;
	for (size_t i = 0; i + 1 < len; i++)
	{
		if (json[i] != '\\')
			continue;
		/* step over both, or an escaped backslash would seem to begin one */
		if (json[++i] == 'u')
			return false;
	}
	return true;
}

int
apikey_json_read(const char *json, size_t len, ApikeyJsonMember *members)
{
	Reading		reading = {.members = members};
	JsonSemAction actions = {
		.semstate = &reading,
		.object_start = begin_object,
		.object_end = end_object,
		.array_start = refuse_array,
		.object_field_start = begin_member,
		.scalar = read_scalar,
	};

	if (!can_be_parsed(json, len) ||
		!apikey_json_parse(pnstrdup(json, len), len, &actions) || reading.bad)
		return -1;
	return reading.count;
}

const char *
apikey_json_get(const ApikeyJsonMember *members, int count, const char *name,
				ApikeyJsonType type)
{
	for (int i = 0; i < count; i++)
	{
		if (members[i].type == type && strcmp(members[i].name, name) == 0)
			return members[i].value;
	}
	return NULL;
}

bool
apikey_json_get_integer(const ApikeyJsonMember *members, int count,
						const char *name, int64 *value)
{
	const char *text = apikey_json_get(members, count, name,
									   APIKEY_JSON_NUMBER);
	const char *digits = text != NULL && text[0] == '-' ? text + 1 : text;

	if (text == NULL || strlen(digits) > INTEGER_DIGITS_MAX ||
		strspn(digits, "0123456789") != strlen(digits))
		return false;
	*value = strtoll(text, NULL, 10);
	return true;
}
