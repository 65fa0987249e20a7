/*
 * http.c
 *		The SQL functions for requests over HTTP: http_check, scope_for.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "apikey.h"
#include "gateway.h"
#include "webrequest.h"

/* Arguments of apikey.http_check, in order */
enum
{
	CHECK_HEADERS, CHECK_METHOD, CHECK_PATH, CHECK_PEER_IP, CHECK_REQUIRED,
	CHECK_DIALECT, CHECK_KINDS, CHECK_ACCOUNT, CHECK_COST
};

/* Its columns */
enum
{
	ANSWER_ALLOWED, ANSWER_STATUS, ANSWER_RESPONSE_HEADERS,
	ANSWER_UPSTREAM_HEADERS, ANSWER_BODY, ANSWER_CONTENT_TYPE, ANSWER_NCOLUMNS
};

#define DIALECT_MAX		63

PG_FUNCTION_INFO_V1(apikey_sql_scope_for);

/*
 * apikey.scope_for(method, path) returns text
 *		The scope that a request needs; never NULL, never an error.
 */
Datum
apikey_sql_scope_for(PG_FUNCTION_ARGS)
{
	ApikeyRoute route;

	apikey_route_of(apikey_text_argument(fcinfo, 0, APIKEY_METHOD_MAX),
					apikey_text_argument(fcinfo, 1, APIKEY_PATH_MAX), &route);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(route.scope, route.scope_len));
}

/*
 * A browser asks first whether it may send a request; that one has no key.
 */
static bool
is_preflight(const ApikeyHeaderDoc *headers, ApikeyText method)
{
	ApikeySlice wanted;

	return method.data != NULL &&
		apikey_same_name(method.data, method.len, "options", 7) &&
		apikey_headerdoc_value(headers, "access-control-request-method", &wanted);
}

static Datum
jsonb_of(const char *json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

static Datum
answer_datum(FunctionCallInfo fcinfo, const ApikeyGatewayAnswer *answer)
{
	TupleDesc	desc;
	Datum		values[ANSWER_NCOLUMNS];
	bool		nulls[ANSWER_NCOLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[ANSWER_ALLOWED] = BoolGetDatum(answer->allowed);
	values[ANSWER_STATUS] = Int32GetDatum(answer->status);
	values[ANSWER_RESPONSE_HEADERS] =
		jsonb_of(apikey_answer_pairs(&answer->response));
	values[ANSWER_UPSTREAM_HEADERS] =
		jsonb_of(apikey_answer_pairs(&answer->upstream));
	nulls[ANSWER_BODY] = answer->body == NULL;
	nulls[ANSWER_CONTENT_TYPE] = answer->content_type == NULL;
	values[ANSWER_BODY] = answer->body ?
		CStringGetTextDatum(answer->body) : (Datum) 0;
	values[ANSWER_CONTENT_TYPE] = answer->content_type ?
		CStringGetTextDatum(answer->content_type) : (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
											 values, nulls));
}

PG_FUNCTION_INFO_V1(apikey_sql_http_check);

/*
 * apikey.http_check(headers, method, path, peer_ip, required, dialect, kinds,
 *					 account, cost)
 *		returns (allowed, status, response_headers, upstream_headers, body,
 *		content_type)
 *		Judges a request for a gateway.  Errors: 22023 for a programmer's
 *		fault, 55000 if not preloaded.
 */
Datum
apikey_sql_http_check(PG_FUNCTION_ARGS)
{
	ApikeyWebRequest web;
	ApikeyGatewayAnswer answer;
	ApikeyDecision decision;
	ApikeyPolicy *policy;
	ApikeyDialect dialect;

	apikey_require_preload("apikey.http_check()");
	policy = apikey_policy();
	dialect = apikey_dialect(apikey_text_argument(fcinfo, CHECK_DIALECT,
												  DIALECT_MAX));
	if (PG_ARGISNULL(CHECK_HEADERS))
		memset(&web.headers, 0, sizeof(web.headers));
	else
		apikey_headerdoc_read_jsonb(&web.headers,
									PG_GETARG_DATUM(CHECK_HEADERS));
	apikey_webrequest_read(&web, apikey_raw_argument(fcinfo, CHECK_METHOD),
						   apikey_raw_argument(fcinfo, CHECK_PATH),
						   apikey_text_argument(fcinfo, CHECK_PEER_IP,
												APIKEY_NET_TEXT_MAX),
						   NULL);
	apikey_webrequest_restrict(&web,
							   apikey_text_argument(fcinfo, CHECK_ACCOUNT,
													APIKEY_ACCOUNT_MAX),
							   apikey_text_argument(fcinfo, CHECK_REQUIRED,
													APIKEY_QUERY_MAX));
	if (!PG_ARGISNULL(CHECK_KINDS))
		apikey_request_set_kinds(&web.request, policy,
								 PG_GETARG_DATUM(CHECK_KINDS));
	if (!PG_ARGISNULL(CHECK_COST))
		apikey_request_set_cost(&web.request, PG_GETARG_INT32(CHECK_COST));

	if (is_preflight(&web.headers,
					 apikey_text_argument(fcinfo, CHECK_METHOD,
										  APIKEY_METHOD_MAX)))
		apikey_gateway_preflight(&answer, dialect);
	else
	{
		apikey_webrequest_verify(&web, policy, &decision);
		apikey_gateway_answer(&answer, dialect, &web, &decision);
	}
	return answer_datum(fcinfo, &answer);
}
