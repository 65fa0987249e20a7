/*
 * scopes.c
 *		The SQL type apikey.scopes: input, output, casts, comparison, sets.
 *		The grammar and the packed form are scope.c's.
 *
 * Values may have a short header and so be unaligned; they are read through
 * apikey_scopes_open(), which minds that.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "apikey.h"
#include "compat.h"
#include "scopes.h"

/* Longest text read, in bytes: the largest set in its wordiest form fits. */
#define SCOPES_TEXT_MAX		(256 * 1024)

/* Elements of a list before duplicates are dropped */
#define SCOPES_ITEMS_MAX	4096

#define SCOPES_BINARY_VERSION	1

#define PG_GETARG_SCOPES(n)	((struct varlena *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(n)))

ApikeyGrants
apikey_scopes_open(const struct varlena *value)
{
	ApikeyGrants set;

	if (!apikey_grants_open(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value),
							&set))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("value of type apikey.scopes is damaged")));
	return set;
}

/*
 * Grants may only hold plain characters, so what breaks the rules is not
 * repeated in the error: its place in the list has to do.
 */
struct varlena *
apikey_scopes_make(ApikeySlice *items, int count, const char *argument,
				   Node *escontext)
{
	int			sqlstate = argument ? ERRCODE_INVALID_PARAMETER_VALUE :
		ERRCODE_INVALID_TEXT_REPRESENTATION;
	struct varlena *value;
	size_t		size;

	for (int i = 0; i < count; i++)
	{
		const char *fault = apikey_grant_check(items[i].data, items[i].len,
											   true);

		if (fault != NULL)
			ereturn(escontext, NULL,
					(errcode(sqlstate),
					 argument ? errmsg("invalid value for argument \"%s\"", argument) :
					 errmsg("invalid scope"),
					 errdetail("Element %d: %s.", i + 1, fault),
					 errhint("Scopes look like calls:read, calls:* or *; parts are letters, digits, _ . and -.")));
	}
	count = apikey_grants_normalize(items, count);
	if (count > APIKEY_GRANTS_MAX)
		ereturn(escontext, NULL,
				(errcode(sqlstate),
				 argument ? errmsg("invalid value for argument \"%s\"", argument) :
				 errmsg("too many scopes"),
				 errdetail("A set has at most %d grants.", APIKEY_GRANTS_MAX),
				 errhint("Grant a whole resource, such as calls:*.")));
	size = VARHDRSZ + apikey_grants_packed_size(items, count);
	value = palloc(size);
	SET_VARSIZE(value, size);
	apikey_grants_pack(items, count, VARDATA(value));
	return value;
}

Datum
apikey_slices_to_array(const ApikeySlice *items, int count)
{
	Datum	   *elements;

	if (count == 0)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	elements = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
		elements[i] = PointerGetDatum(cstring_to_text_with_len(items[i].data,
															   items[i].len));
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1,
										   false, TYPALIGN_INT));
}

/*
 * In one go, as it is part of every verdict.
 */
Datum
apikey_scopes_array(const ApikeyGrants *set)
{
	Size		size = ARR_OVERHEAD_NONULLS(1);
	ArrayType  *array;
	char	   *at;

	if (set->count == 0)
		return PointerGetDatum(construct_empty_array(TEXTOID));
	for (int i = 0; i < set->count; i++)
		size += INTALIGN(VARHDRSZ + apikey_grants_get(set, i).len);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;		/* no nulls */
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = set->count;
	ARR_LBOUND(array)[0] = 1;
	at = ARR_DATA_PTR(array);
	for (int i = 0; i < set->count; i++)
	{
		ApikeySlice grant = apikey_grants_get(set, i);

		SET_VARSIZE(at, VARHDRSZ + grant.len);
		memcpy(VARDATA(at), grant.data, grant.len);
		at += INTALIGN(VARHDRSZ + grant.len);
	}
	return PointerGetDatum(array);
}

ApikeySlice *
apikey_text_array(Datum array, const char *argument, int max, int *count)
{
	ArrayType  *elements;
	ApikeySlice *items;
	Datum	   *values;
	bool	   *nulls;

	/* the sizes are known before anything is fetched and decompressed */
	if (toast_raw_datum_size(array) > APIKEY_ARRAY_BYTES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is too large", argument),
				 errdetail("It has at most %d elements and %d bytes.",
						   max, APIKEY_ARRAY_BYTES_MAX),
				 errhint("Pass fewer or shorter elements.")));
	elements = DatumGetArrayTypeP(array);
	if (ARR_NDIM(elements) > 1 || array_contains_nulls(elements) ||
		ArrayGetNItems(ARR_NDIM(elements), ARR_DIMS(elements)) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is no plain list", argument),
				 errdetail("It has one dimension, at most %d elements, and no NULL among them.",
						   max),
				 errhint("Pass an array such as '{one,two}'.")));
	deconstruct_array(elements, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, count);
	items = palloc(Max(*count, 1) * sizeof(ApikeySlice));
	for (int i = 0; i < *count; i++)
	{
		struct varlena *text = (struct varlena *)
			PG_DETOAST_DATUM_PACKED(values[i]);

		items[i].data = VARDATA_ANY(text);
		items[i].len = VARSIZE_ANY_EXHDR(text);
	}
	return items;
}

/*
 * Add the strings of a JSON value to a list: ["a:read", "b:*"], or
 * {"a": ["read", "write"]} standing for a:read and a:write.
 */
static int
items_of_jsonb(Jsonb *document, ApikeySlice *items, Node *escontext)
{
	JsonbIterator *iterator = JsonbIteratorInit(&document->root);
	JsonbValue	value;
	JsonbIteratorToken token;
	StringInfoData joined;
	char	   *resource = NULL;
	bool		in_object = false;
	int			depth = 0;
	int			count = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		bool		good = true;

		if (token == WJB_BEGIN_OBJECT)
			good = in_object = depth++ == 0;
		else if (token == WJB_BEGIN_ARRAY)
			good = !value.val.array.rawScalar && depth++ == (in_object ? 1 : 0);
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		else if (token == WJB_KEY)
			resource = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type != jbvString || count == SCOPES_ITEMS_MAX ||
				 (in_object && depth != 2))
			good = false;
		else
		{
			initStringInfo(&joined);
			if (in_object)
				appendStringInfo(&joined, "%s:", resource);
			appendBinaryStringInfo(&joined, value.val.string.val,
								   value.val.string.len);
			items[count].data = joined.data;
			items[count++].len = joined.len;
		}
		if (!good)
			ereturn(escontext, -1,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("JSON value is no set of scopes"),
					 errdetail("It has the form [\"calls:read\"] or {\"calls\": [\"read\"]}."),
					 errhint("Write strings only, and at most %d of them.",
							 APIKEY_GRANTS_MAX)));
	}
	return count;
}

static int
items_of_array(ArrayType *array, ApikeySlice *items, Node *escontext)
{
	Datum	   *values;
	int			count;

	if (ARR_NDIM(array) > 1 || array_contains_nulls(array) ||
		ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > SCOPES_ITEMS_MAX)
		ereturn(escontext, -1,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("array is no set of scopes"),
				 errdetail("It has one dimension, at most %d elements, and no NULL among them.",
						   APIKEY_GRANTS_MAX),
				 errhint("Write it as '{calls:read,contacts:*}'.")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		struct varlena *text = (struct varlena *)
			PG_DETOAST_DATUM_PACKED(values[i]);

		items[i].data = VARDATA_ANY(text);
		items[i].len = VARSIZE_ANY_EXHDR(text);
	}
	return count;
}

/*
 * Does a text that begins with { hold a JSON object, not an array literal?
 * Only in an object is the first, quoted, word followed by a colon.
 */
static bool
is_json_object(const char *p)
{
	for (p++; *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'; p++)
		;
	if (*p != '"')
		return false;
	for (p++; *p != '\0' && *p != '"'; p++)
	{
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
	for (p += (*p == '"'); *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'; p++)
		;
	return *p == ':';
}

/*
 * Read any of the text forms into a list of grants; -1 after a soft error.
 */
static int
items_of_text(char *text, ApikeySlice *items, Node *escontext)
{
	const char *p = text;
	const char *reason = NULL;
	Datum		value;
	int			count;

	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	if (*p == '[' || (*p == '{' && is_json_object(p)))
	{
		if (!apikey_input_call(jsonb_in, text, InvalidOid, -1, escontext,
							   &value))
			return -1;
		return items_of_jsonb(DatumGetJsonbP(value), items, escontext);
	}
	if (*p == '{')
	{
		if (!apikey_array_input(text, TEXTOID, escontext, &value))
			return -1;
		return items_of_array(DatumGetArrayTypeP(value), items, escontext);
	}
	count = apikey_grants_split(text, strlen(text), items, SCOPES_ITEMS_MAX,
								&reason);
	if (count < 0)
		ereturn(escontext, -1,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid list of scopes"),
				 errdetail("The list is faulty: %s.", reason),
				 errhint("Separate scopes by blanks or single commas.")));
	return count;
}

static struct varlena *
scopes_of_text(char *text, Node *escontext)
{
	ApikeySlice *items;
	int			count;

	if (strlen(text) > SCOPES_TEXT_MAX)
		ereturn(escontext, NULL,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("text is too long for a set of scopes"),
				 errdetail("At most %d bytes are read.", SCOPES_TEXT_MAX),
				 errhint("Grant a whole resource, such as calls:*.")));
	items = palloc(SCOPES_ITEMS_MAX * sizeof(ApikeySlice));
	count = items_of_text(text, items, escontext);
	if (count < 0)
		return NULL;
	return apikey_scopes_make(items, count, NULL, escontext);
}

static char *
text_of_scopes(struct varlena *value)
{
	ApikeyGrants set = apikey_scopes_open(value);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < set.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&set, i);

		if (i > 0)
			appendStringInfoChar(&text, ' ');
		appendBinaryStringInfo(&text, grant.data, grant.len);
	}
	return text.data;
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_in);
Datum
apikey_sql_scopes_in(PG_FUNCTION_ARGS)
{
	struct varlena *value = scopes_of_text(PG_GETARG_CSTRING(0),
										   apikey_soft_context(fcinfo));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(value);
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_out);
Datum
apikey_sql_scopes_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(text_of_scopes(PG_GETARG_SCOPES(0)));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_recv);

/*
 * Binary form: a version byte, then the canonical text.
 */
Datum
apikey_sql_scopes_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(buffer);
	int			nbytes;
	char	   *text;

	if (version != SCOPES_BINARY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("unsupported binary version %d of type apikey.scopes",
						version),
				 errhint("Send the value as text.")));
	text = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &nbytes);
	PG_RETURN_POINTER(scopes_of_text(text, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_send);
Datum
apikey_sql_scopes_send(PG_FUNCTION_ARGS)
{
	char	   *text = text_of_scopes(PG_GETARG_SCOPES(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, SCOPES_BINARY_VERSION);
	pq_sendtext(&buffer, text, strlen(text));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_from_array);
Datum
apikey_sql_scopes_from_array(PG_FUNCTION_ARGS)
{
	ApikeySlice *items = palloc(SCOPES_ITEMS_MAX * sizeof(ApikeySlice));
	int			count = items_of_array(PG_GETARG_ARRAYTYPE_P(0), items, NULL);

	PG_RETURN_POINTER(apikey_scopes_make(items, count, NULL, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_to_array);
Datum
apikey_sql_scopes_to_array(PG_FUNCTION_ARGS)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_SCOPES(0));

	return apikey_scopes_array(&set);
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_from_jsonb);
Datum
apikey_sql_scopes_from_jsonb(PG_FUNCTION_ARGS)
{
	ApikeySlice *items = palloc(SCOPES_ITEMS_MAX * sizeof(ApikeySlice));
	int			count = items_of_jsonb(PG_GETARG_JSONB_P(0), items, NULL);

	PG_RETURN_POINTER(apikey_scopes_make(items, count, NULL, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_to_jsonb);
Datum
apikey_sql_scopes_to_jsonb(PG_FUNCTION_ARGS)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_SCOPES(0));
	ApikeyJsonb state = {0};

	apikey_jsonb_push(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < set.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&set, i);
		JsonbValue	element = {.type = jbvString};

		element.val.string.val = (char *) grant.data;
		element.val.string.len = grant.len;
		apikey_jsonb_push(&state, WJB_ELEM, &element);
	}
	apikey_jsonb_push(&state, WJB_END_ARRAY, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/*
 * Sets are ordered by their packed bytes, texts first: any total order in
 * which equal means the same set.
 */
static int
compare(FunctionCallInfo fcinfo)
{
	ApikeyGrants a = apikey_scopes_open(PG_GETARG_SCOPES(0));
	ApikeyGrants b = apikey_scopes_open(PG_GETARG_SCOPES(1));
	int			common = Min(a.count, b.count);

	for (int i = 0; i < common; i++)
	{
		ApikeySlice x = apikey_grants_get(&a, i);
		ApikeySlice y = apikey_grants_get(&b, i);
		int			order = memcmp(x.data, y.data, Min(x.len, y.len));

		if (order == 0)
			order = (x.len > y.len) - (x.len < y.len);
		if (order != 0)
			return order < 0 ? -1 : 1;
	}
	return (a.count > b.count) - (a.count < b.count);
}

#define COMPARISON(name, operator) \
	PG_FUNCTION_INFO_V1(apikey_sql_scopes_##name); \
	Datum \
	apikey_sql_scopes_##name(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_BOOL(compare(fcinfo) operator 0); \
	} \
	extern Datum apikey_sql_scopes_##name(PG_FUNCTION_ARGS)

COMPARISON(eq, ==);
COMPARISON(ne, !=);
COMPARISON(lt, <);
COMPARISON(le, <=);
COMPARISON(gt, >);
COMPARISON(ge, >=);

PG_FUNCTION_INFO_V1(apikey_sql_scopes_cmp);
Datum
apikey_sql_scopes_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_hash);
Datum
apikey_sql_scopes_hash(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_GETARG_SCOPES(0);

	return hash_any((unsigned char *) VARDATA_ANY(value),
					VARSIZE_ANY_EXHDR(value));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_hash_extended);
Datum
apikey_sql_scopes_hash_extended(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_GETARG_SCOPES(0);

	return hash_any_extended((unsigned char *) VARDATA_ANY(value),
							 VARSIZE_ANY_EXHDR(value), PG_GETARG_INT64(1));
}
