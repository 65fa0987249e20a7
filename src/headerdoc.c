/*
 * headerdoc.c
 *		The headers of a request, as a JSON document.
 *
 * The document holds the key.  The server's input functions would show what
 * they cannot read in the context of their error; its parser alone gives a
 * code.  Duplicate names in a text are all seen, as they decide whether there
 * is one credential or several.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "ascii.h"
#include "compat.h"
#include "header.h"
#include "headerdoc.h"

/* Where in the document the parser is */
typedef struct Reading
{
	ApikeyHeaderDoc *doc;
	int			depth;			/* open brackets */
	ApikeySlice name;
} Reading;

static void
add_line(ApikeyHeaderDoc *doc, ApikeySlice name, ApikeySlice value)
{
	if (doc->nlines == APIKEY_HEADER_LINES_MAX)
	{
		doc->bad = true;
		return;
	}
	if (doc->nlines == doc->max)
	{
		doc->max = doc->max == 0 ? 32 : 2 * doc->max;
		doc->line = doc->line == NULL ?
			palloc(doc->max * sizeof(ApikeyHeaderLine)) :
			repalloc(doc->line, doc->max * sizeof(ApikeyHeaderLine));
	}
	doc->line[doc->nlines++] = (ApikeyHeaderLine) {name, value};
}

static ApikeySlice
slice_of(const char *text)
{
	return (ApikeySlice) {text, strlen(text)};
}

static APIKEY_JSON_ACTION
begin_object(void *state)
{
	Reading    *reading = state;

	if (reading->depth++ > 0)
		reading->doc->bad = true;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
begin_array(void *state)
{
	Reading    *reading = state;

	if (reading->depth++ != 1)
		reading->doc->bad = true;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
end_bracket(void *state)
{
	((Reading *) state)->depth--;
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
begin_field(void *state, char *name, bool is_null)
{
	((Reading *) state)->name = slice_of(name);
	APIKEY_JSON_GO_ON();
}

static APIKEY_JSON_ACTION
read_scalar(void *state, char *token, JsonTokenType type)
{
	Reading    *reading = state;

	if (reading->depth == 0)
		reading->doc->bad = true;
	else if (type != JSON_TOKEN_NULL)
		add_line(reading->doc, reading->name, slice_of(token));
	APIKEY_JSON_GO_ON();
}

/*
 * Is there an escape of a character beyond ASCII?  The server's parser raises
 * an error if the database's encoding lacks that character.
 */
static bool
has_wide_escape(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (text[0] != '\\')
			continue;
		text++;
		if (text[0] == '\0')
			return false;
		if (text[0] == 'u' && (strncmp(text, "u00", 3) != 0 || text[3] > '7'))
			return true;
	}
	return false;
}

void
apikey_headerdoc_read_text(ApikeyHeaderDoc *doc, const char *text)
{
	Reading		reading = {.doc = doc};
	JsonSemAction actions = {
		.semstate = &reading,
		.object_start = begin_object,
		.object_end = end_bracket,
		.array_start = begin_array,
		.array_end = end_bracket,
		.object_field_start = begin_field,
		.scalar = read_scalar,
	};
	size_t		len = strlen(text);

	memset(doc, 0, sizeof(*doc));
	doc->bad = len > APIKEY_HEADERDOC_MAX ||
		(GetDatabaseEncoding() != PG_UTF8 && has_wide_escape(text));
	if (!doc->bad && !apikey_json_parse((char *) text, len, &actions))
		doc->bad = true;
	if (doc->bad)
		doc->nlines = 0;
}

/*
 * A scalar of a jsonb document as text; no data for null.
 */
static ApikeySlice
jsonb_scalar(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return (ApikeySlice) {value->val.string.val, value->val.string.len};
		case jbvNumeric:
			return slice_of(DatumGetCString(DirectFunctionCall1(numeric_out,
																NumericGetDatum(value->val.numeric))));
		case jbvBool:
			return slice_of(value->val.boolean ? "true" : "false");
		default:
			return (ApikeySlice) {NULL, 0};
	}
}

/*
 * A document that is an array of pairs [name, value].
 */
static void
read_pairs(ApikeyHeaderDoc *doc, JsonbContainer *pairs)
{
	for (uint32 i = 0; i < JsonContainerSize(pairs) && !doc->bad; i++)
	{
		JsonbValue *pair = getIthJsonbValueFromContainer(pairs, i);
		JsonbValue *name = NULL;
		JsonbValue *value = NULL;

		if (pair->type == jbvBinary &&
			JsonContainerIsArray(pair->val.binary.data) &&
			JsonContainerSize(pair->val.binary.data) == 2)
		{
			name = getIthJsonbValueFromContainer(pair->val.binary.data, 0);
			value = getIthJsonbValueFromContainer(pair->val.binary.data, 1);
		}
		if (name == NULL || name->type != jbvString ||
			!IsAJsonbScalar(value))
			doc->bad = true;
		else if (value->type != jbvNull)
			add_line(doc, jsonb_scalar(name), jsonb_scalar(value));
	}
}

static void
read_object(ApikeyHeaderDoc *doc, Jsonb *jsonb)
{
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	ApikeySlice name = {NULL, 0};
	ApikeySlice text;
	int			depth = 0;

	while (!doc->bad &&
		   (token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_OBJECT:
				doc->bad = depth++ > 0;
				break;
			case WJB_BEGIN_ARRAY:
				/* a scalar comes as an array, too */
				doc->bad = depth++ != 1;
				break;
			case WJB_END_OBJECT:
			case WJB_END_ARRAY:
				depth--;
				break;
			case WJB_KEY:
				name = jsonb_scalar(&value);
				break;
			default:
				text = jsonb_scalar(&value);
				if (text.data != NULL)
					add_line(doc, name, text);
		}
	}
}

void
apikey_headerdoc_read_jsonb(ApikeyHeaderDoc *doc, Datum jsonb)
{
	memset(doc, 0, sizeof(*doc));
	doc->bad = toast_raw_datum_size(jsonb) > APIKEY_HEADERDOC_MAX;
	if (!doc->bad)
	{
		Jsonb	   *document = DatumGetJsonbP(jsonb);

		if (JB_ROOT_IS_ARRAY(document) && !JB_ROOT_IS_SCALAR(document))
			read_pairs(doc, &document->root);
		else
			read_object(doc, document);
	}
	if (doc->bad)
		doc->nlines = 0;
}

int
apikey_headerdoc_values(const ApikeyHeaderDoc *doc, const char *name,
						size_t name_len, ApikeySlice *values, int max)
{
	int			count = 0;

	for (int i = 0; i < doc->nlines; i++)
	{
		if (!apikey_same_name(doc->line[i].name.data, doc->line[i].name.len,
							  name, name_len))
			continue;
		if (count < max)
			values[count] = doc->line[i].value;
		count++;
	}
	return count;
}

bool
apikey_headerdoc_value(const ApikeyHeaderDoc *doc, const char *name,
					   ApikeySlice *value)
{
	if (apikey_headerdoc_values(doc, name, strlen(name), value, 1) != 1)
		return false;
	ascii_trim(&value->data, &value->len);
	return true;
}

static void
print_string(StringInfo out, ApikeySlice text)
{
	char	   *copy = text.data == NULL ? "" : pnstrdup(text.data, text.len);

	escape_json(out, copy);
}

char *
apikey_headerdoc_print(const ApikeyHeaderDoc *doc)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < doc->nlines; i++)
	{
		appendStringInfoChar(&out, i == 0 ? '{' : ',');
		print_string(&out, doc->line[i].name);
		appendStringInfoChar(&out, ':');
		print_string(&out, doc->line[i].value);
	}
	appendStringInfoString(&out, doc->nlines == 0 ? "{}" : "}");
	return out.data;
}
