/*
 * scope_sets.c
 *		What a set of grants covers, set arithmetic, and the SQL type
 *		apikey.scope_query.
 *
 * A query is stored as its canonical text and parsed at use, which for texts
 * of this size costs less than unpacking anything else.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "apikey.h"
#include "compat.h"
#include "query.h"
#include "scopes.h"

#define QUERY_BINARY_VERSION	1

#define PG_GETARG_PACKED(n)	((struct varlena *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(n)))

/*
 * A text argument that must be a scope or grant.
 */
static ApikeySlice
grant_argument(FunctionCallInfo fcinfo, int argno)
{
	ApikeySlice grant;
	struct varlena *text;
	const char *fault = "it is too long";

	if (toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ <= APIKEY_GRANT_MAX)
	{
		text = PG_GETARG_PACKED(argno);
		grant.data = VARDATA_ANY(text);
		grant.len = VARSIZE_ANY_EXHDR(text);
		fault = apikey_grant_check(grant.data, grant.len, true);
	}
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid scope"),
				 errdetail("A scope or grant is expected: %s.", fault),
				 errhint("Scopes look like calls:read, calls:* or *; parts are letters, digits, _ . and -.")));
	return grant;
}

static bool
covers_all(const ApikeyGrants *a, const ApikeyGrants *b)
{
	for (int i = 0; i < b->count; i++)
	{
		ApikeySlice grant = apikey_grants_get(b, i);

		if (!apikey_grants_cover(a, grant.data, grant.len))
			return false;
	}
	return true;
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_covers);

/*
 * apikey.covers(scopes, text) returns boolean
 *		Errors: 22023 if the text is no scope or grant.
 */
Datum
apikey_sql_scopes_covers(PG_FUNCTION_ARGS)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeySlice what = grant_argument(fcinfo, 1);

	PG_RETURN_BOOL(apikey_grants_cover(&set, what.data, what.len));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_covered_by);
Datum
apikey_sql_scopes_covered_by(PG_FUNCTION_ARGS)
{
	ApikeySlice what = grant_argument(fcinfo, 0);
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_PACKED(1));

	PG_RETURN_BOOL(apikey_grants_cover(&set, what.data, what.len));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_covers_all);
Datum
apikey_sql_scopes_covers_all(PG_FUNCTION_ARGS)
{
	ApikeyGrants a = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeyGrants b = apikey_scopes_open(PG_GETARG_PACKED(1));

	PG_RETURN_BOOL(covers_all(&a, &b));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_covered_by_all);
Datum
apikey_sql_scopes_covered_by_all(PG_FUNCTION_ARGS)
{
	ApikeyGrants a = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeyGrants b = apikey_scopes_open(PG_GETARG_PACKED(1));

	PG_RETURN_BOOL(covers_all(&b, &a));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_union);
Datum
apikey_sql_scopes_union(PG_FUNCTION_ARGS)
{
	ApikeyGrants a = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeyGrants b = apikey_scopes_open(PG_GETARG_PACKED(1));
	ApikeySlice items[2 * APIKEY_GRANTS_MAX];
	int			count = 0;

	for (int i = 0; i < a.count; i++)
		items[count++] = apikey_grants_get(&a, i);
	for (int i = 0; i < b.count; i++)
		items[count++] = apikey_grants_get(&b, i);
	PG_RETURN_POINTER(apikey_scopes_make(items, count, NULL, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_difference);
Datum
apikey_sql_scopes_difference(PG_FUNCTION_ARGS)
{
	ApikeyGrants a = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeyGrants b = apikey_scopes_open(PG_GETARG_PACKED(1));
	ApikeySlice items[APIKEY_GRANTS_MAX];
	int			count = 0;

	for (int i = 0; i < a.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&a, i);

		if (!apikey_grants_contain(&b, grant.data, grant.len))
			items[count++] = grant;
	}
	PG_RETURN_POINTER(apikey_scopes_make(items, count, NULL, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_is_grant);
Datum
apikey_sql_is_grant(PG_FUNCTION_ARGS)
{
	struct varlena *text = PG_GETARG_PACKED(0);

	PG_RETURN_BOOL(apikey_grant_check(VARDATA_ANY(text),
									  VARSIZE_ANY_EXHDR(text), true) == NULL);
}

/*
 * Parse a query or complain with the given SQLSTATE (softly where allowed,
 * then false).
 */
static bool
parse_query(const char *text, size_t len, ApikeyQuery *query, int sqlstate,
			Node *escontext)
{
	size_t		position = 0;
	const char *fault = apikey_query_parse(text, len, query, &position);

	if (fault != NULL)
		ereturn(escontext, false,
				(errcode(sqlstate),
				 errmsg("invalid scope query"),
				 errdetail("At byte %zu: %s.", position + 1, fault),
				 errhint("Write scopes, such as: calls:read & (billing:read | admin)")));
	return true;
}

static struct varlena *
query_of_text(const char *text, size_t len, Node *escontext)
{
	ApikeyQuery query;
	struct varlena *value;
	size_t		size;

	if (!parse_query(text, len, &query, ERRCODE_INVALID_TEXT_REPRESENTATION,
					 escontext))
		return NULL;
	value = palloc(VARHDRSZ + APIKEY_QUERY_CANONICAL_MAX);
	size = apikey_query_print(&query, VARDATA(value));
	SET_VARSIZE(value, VARHDRSZ + size);
	return value;
}

PG_FUNCTION_INFO_V1(apikey_sql_scope_query_in);
Datum
apikey_sql_scope_query_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	struct varlena *value = query_of_text(text, strlen(text),
										  apikey_soft_context(fcinfo));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(value);
}

PG_FUNCTION_INFO_V1(apikey_sql_scope_query_out);
Datum
apikey_sql_scope_query_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(text_to_cstring((text *) PG_GETARG_PACKED(0)));
}

PG_FUNCTION_INFO_V1(apikey_sql_scope_query_recv);

/*
 * Binary form: a version byte, then the canonical text.
 */
Datum
apikey_sql_scope_query_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(buffer);
	int			nbytes;
	char	   *text;

	if (version != QUERY_BINARY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("unsupported binary version %d of type apikey.scope_query",
						version),
				 errhint("Send the value as text.")));
	text = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &nbytes);
	PG_RETURN_POINTER(query_of_text(text, nbytes, NULL));
}

PG_FUNCTION_INFO_V1(apikey_sql_scope_query_send);
Datum
apikey_sql_scope_query_send(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_GETARG_PACKED(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, QUERY_BINARY_VERSION);
	pq_sendtext(&buffer, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

static bool
set_holds(const char *scope, size_t len, void *arg)
{
	return apikey_grants_cover((const ApikeyGrants *) arg, scope, len);
}

/*
 * The query of argument argno: text of a caller (22023 if faulty).
 */
static void
query_argument(FunctionCallInfo fcinfo, int argno, ApikeyQuery *query)
{
	struct varlena *text;

	if (toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ > APIKEY_QUERY_CANONICAL_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("scope query is too long"),
				 errdetail("It has at most %d bytes.", APIKEY_QUERY_MAX),
				 errhint("Write fewer alternatives.")));
	text = PG_GETARG_PACKED(argno);
	(void) parse_query(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), query,
					   ERRCODE_INVALID_PARAMETER_VALUE, NULL);
}

static bool
satisfies(FunctionCallInfo fcinfo, int set_arg, int query_arg)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_PACKED(set_arg));
	ApikeyQuery query;

	query_argument(fcinfo, query_arg, &query);
	return apikey_query_eval(&query, set_holds, &set);
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_satisfies);

/*
 * apikey.satisfies(scopes, text) returns boolean
 *		Errors: 22023 with the position of the fault.
 */
Datum
apikey_sql_scopes_satisfies(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(satisfies(fcinfo, 0, 1));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_satisfies_query);
Datum
apikey_sql_scopes_satisfies_query(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(satisfies(fcinfo, 0, 1));
}

PG_FUNCTION_INFO_V1(apikey_sql_scopes_satisfied_by);
Datum
apikey_sql_scopes_satisfied_by(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(satisfies(fcinfo, 1, 0));
}

PG_FUNCTION_INFO_V1(apikey_sql_missing_scopes);

/*
 * apikey.missing_scopes(scopes, text) returns text[]
 *		Errors: 22023 with the position of the fault.
 */
Datum
apikey_sql_missing_scopes(PG_FUNCTION_ARGS)
{
	ApikeyGrants set = apikey_scopes_open(PG_GETARG_PACKED(0));
	ApikeyQuery query;
	ApikeySlice missing[APIKEY_QUERY_TERMS_MAX];
	int			count;

	query_argument(fcinfo, 1, &query);
	count = apikey_query_missing(&query, set_holds, &set, missing);
	return apikey_slices_to_array(missing, count);
}
