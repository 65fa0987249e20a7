/*
 * http.c
 *		The SQL functions for requests over HTTP.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "request.h"
#include "route.h"
#include "settings.h"

/* Longest method and path that are looked at; longer ones name nothing. */
#define METHOD_MAX		64
#define PATH_MAX_BYTES	8192

/*
 * What method and path name, by apikey.route_pattern.
 */
static void
find_route(ApikeyText method, ApikeyText path, ApikeyRoute *route)
{
	/* what was not read may name anything, as such a path may */
	if (path.too_long)
		path = (ApikeyText) {"/..", 3, false};
	apikey_route(apikey_route_pattern, strlen(apikey_route_pattern),
				 method.data, method.len, path.data, path.len, route);
}

PG_FUNCTION_INFO_V1(apikey_sql_scope_for);

/*
 * apikey.scope_for(method, path) returns text
 *		The scope that a request needs; never NULL, never an error.
 */
Datum
apikey_sql_scope_for(PG_FUNCTION_ARGS)
{
	ApikeyText	method = apikey_text_argument(fcinfo, 0, METHOD_MAX);
	ApikeyText	path = apikey_text_argument(fcinfo, 1, PATH_MAX_BYTES);
	ApikeyRoute route;

	find_route(method, path, &route);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(route.scope, route.scope_len));
}
