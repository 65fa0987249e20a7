/*
 * test_route.c
 *		Patterns of paths, and what a path names.
 */
#include "../../src/route.h"
#include "unit.h"

static const struct
{
	const char *text;
	size_t		len;
	const char *fault;			/* NULL: good */
}			patterns[] = {
	{TEXT("/{resource}"), NULL}, {TEXT("/a"), NULL}, {TEXT("/*"), NULL},
	{TEXT("/api/v1/accounts/{account}/{resource}"), NULL},
	{TEXT("/{account}/*/{resource}/a-b_c.d~e"), NULL},
	{TEXT(""), "begin with"}, {TEXT("a"), "begin with"}, {TEXT("{resource}"), "begin with"},
	{TEXT("/"), "empty"}, {TEXT("//"), "empty"}, {TEXT("/a/"), "empty"}, {TEXT("/a//b"), "empty"},
	{TEXT("/{resource}/{resource}"), "once"}, {TEXT("/{account}/{account}"), "once"},
	{TEXT("/{id}"), "braces"}, {TEXT("/x{account}"), "braces"}, {TEXT("/}"), "braces"},
	{TEXT("/a*"), "whole"}, {TEXT("/**"), "whole"},
	{TEXT("/."), "\"..\""}, {TEXT("/a/.."), "\"..\""},
	{TEXT("/a b"), "signs"}, {TEXT("/a%20"), "signs"}, {TEXT("/a?b"), "signs"},
	{TEXT("/a\0"), "signs"}, {TEXT("/a\177"), "signs"}, {TEXT("/a;b"), "signs"},
	{TEXT("/caf\303\251"), "signs"},
};

static void
test_patterns(void)
{
	char		line[2 * APIKEY_PATTERN_MAX];
	size_t		len;
	int			i;

	for (i = 0; i < LENGTH_OF(patterns); i++)
	{
		char	   *copy = unit_copy(patterns[i].text, patterns[i].len);
		const char *fault = apikey_route_pattern_check(copy, patterns[i].len);

		CHECK((fault == NULL) == (patterns[i].fault == NULL) &&
			  (fault == NULL || strstr(fault, patterns[i].fault) != NULL),
			  "%s: %s", patterns[i].text, fault);
		free(copy);
	}
	for (len = 0, i = 0; i < APIKEY_PATTERN_SEGMENTS_MAX; i++)
		len += (size_t) sprintf(line + len, "/a");
	CHECK(apikey_route_pattern_check(line, len) == NULL, "32 segments");
	len += (size_t) sprintf(line + len, "/a");
	CHECK(apikey_route_pattern_check(line, len) != NULL, "33 segments");
	memset(line, 'a', sizeof(line));
	line[0] = '/';
	CHECK(apikey_route_pattern_check(line, APIKEY_PATTERN_MAX) == NULL, "1000 bytes");
	CHECK(apikey_route_pattern_check(line, APIKEY_PATTERN_MAX + 1) != NULL, "1001 bytes");
	CHECK(apikey_route_pattern_has_account(TEXT("/a/{account}")) &&
		  !apikey_route_pattern_has_account(TEXT("/a/{resource}")), "has account");
}

#define DEFAULT		"/{resource}"
#define TENANTS		"/api/v1/accounts/{account}/{resource}"

static const struct
{
	const char *pattern;
	const char *method;
	const char *path;
	const char *scope;
	const char *account;		/* NULL: none */
}			routes[] = {
	{DEFAULT, "GET", "/calls", "calls:read", NULL},
	{DEFAULT, "HEAD", "/calls", "calls:read", NULL},
	{DEFAULT, "get", "/calls", "calls:read", NULL},
	{DEFAULT, "POST", "/calls", "calls:write", NULL},
	{DEFAULT, "PUT", "/calls", "calls:write", NULL},
	{DEFAULT, "PATCH", "/calls", "calls:write", NULL},
	{DEFAULT, "DELETE", "/calls", "calls:write", NULL},
	{DEFAULT, "OPTIONS", "/calls", "calls:write", NULL},
	{DEFAULT, "", "/calls", "calls:write", NULL},
	{DEFAULT, NULL, "/calls", "calls:write", NULL},
	{DEFAULT, "GETX", "/calls", "calls:write", NULL},
	{DEFAULT, "GET", "/calls/17/notes", "calls:read", NULL},
	{DEFAULT, "GET", "/calls/", "calls:read", NULL},
	{DEFAULT, "GET", "calls", "calls:read", NULL},
	{DEFAULT, "GET", "/calls?select=*&x=/../y", "calls:read", NULL},
	{DEFAULT, "GET", "/calls#/x", "calls:read", NULL},
	{DEFAULT, "GET", "/", "root:read", NULL},
	{DEFAULT, "GET", "", "root:read", NULL},
	{DEFAULT, "GET", NULL, "root:read", NULL},
	{DEFAULT, "GET", "/?x", "root:read", NULL},
	{DEFAULT, "GET", "/rpc/fn", "rpc:read", NULL},
	{DEFAULT, "GET", "/knowledge_base.v2-x", "knowledge_base.v2-x:read", NULL},
	{DEFAULT, "GET", "/my calls", "my_calls:read", NULL},
	{DEFAULT, "GET", "/my%20calls", "my_20calls:read", NULL},
	{DEFAULT, "GET", "/c:d*", "c_d_:read", NULL},
	{DEFAULT, "GET", "/caf\303\251s", "caf_s:read", NULL},
	{DEFAULT, "GET", "/caf\251s", "caf_s:read", NULL},
	{DEFAULT, "GET", "/\342\202\254\342\202\254", "__:read", NULL},
	/* servers may disagree */
	{DEFAULT, "GET", "/contacts/../calls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts/..", "_:read", NULL},
	{DEFAULT, "GET", "/contacts/%2e%2E/calls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts/x/..%2fcalls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts\\..\\calls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts/..;x/calls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts#/../calls", "_:read", NULL},
	{DEFAULT, "GET", "/./calls", "_:read", NULL},
	{DEFAULT, "GET", "//calls/contacts", "_:read", NULL},
	{DEFAULT, "GET", "/contacts%2fcalls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts\\calls", "_:read", NULL},
	{DEFAULT, "GET", "/contacts%00", "_:read", NULL},
	{DEFAULT, "GET", "/contacts\nx", "_:read", NULL},
	{DEFAULT, "GET", "/contacts%zz", "_:read", NULL},
	{DEFAULT, "GET", "/contacts%2", "_:read", NULL},
	{DEFAULT, "POST", "http://host/calls", "_:write", NULL},
	/* ... but not on these */
	{DEFAULT, "GET", "/calls/a%2Fb", "calls:read", NULL},
	{DEFAULT, "GET", "/calls//x", "calls:read", NULL},
	{DEFAULT, "GET", "/calls/...", "calls:read", NULL},
	{DEFAULT, "GET", "/calls/.a", "calls:read", NULL},
	{DEFAULT, "GET", "/...", "...:read", NULL},
	/* an account in the path */
	{TENANTS, "GET", "/api/v1/accounts/acme/calls", "calls:read", "acme"},
	{TENANTS, "POST", "/api/v1/accounts/acme/calls/17?x", "calls:write", "acme"},
	{TENANTS, "GET", "/API/V1/Accounts/acme/calls", "calls:read", "acme"},
	{TENANTS, "GET", "/%61pi/v1;x=y/accounts/acme/calls", "calls:read", "acme"},
	{TENANTS, "GET", "/api/v1/accounts/a%20b/calls", "calls:read", "a b"},
	{TENANTS, "GET", "/api/v1/accounts/acme", "root:read", "acme"},
	{TENANTS, "GET", "/api/v1/accounts/acme/", "root:read", "acme"},
	{TENANTS, "GET", "/api/v1/accounts", "root:read", NULL},
	{TENANTS, "GET", "/api/v1/me", "root:read", NULL},
	{TENANTS, "GET", "/api/v10/accounts/acme/calls", "root:read", NULL},
	{TENANTS, "GET", "/api/v/accounts/acme/calls", "root:read", NULL},
	{TENANTS, "GET", "/health", "root:read", NULL},
	{TENANTS, "GET", "//api/v1/accounts/acme/calls", "_:read", NULL},
	{TENANTS, "GET", "/x/../api/v1/accounts/acme/calls", "_:read", NULL},
	{TENANTS, "GET", "/api/v1/accounts//calls", "_:read", NULL},
	{"/*/{resource}", "GET", "/anything/calls", "calls:read", NULL},
	{"/*/{resource}", "GET", "/anything", "root:read", NULL},
	{"/{resource}/{account}", "GET", "/calls/acme", "calls:read", "acme"},
	{"/fixed", "GET", "/fixed", "root:read", NULL},
};

static void
test_routes(void)
{
	int			i;

	for (i = 0; i < LENGTH_OF(routes); i++)
	{
		size_t		len = routes[i].path ? strlen(routes[i].path) : 0;
		char	   *path = routes[i].path ? unit_copy(routes[i].path, len) : NULL;
		ApikeyRoute route;

		apikey_route(routes[i].pattern, strlen(routes[i].pattern),
					 routes[i].method,
					 routes[i].method ? strlen(routes[i].method) : 0,
					 path, len, &route);
		CHECK(strcmp(route.scope, routes[i].scope) == 0 &&
			  route.scope_len == strlen(route.scope),
			  "%s %s needs %s", routes[i].method, routes[i].path, route.scope);
		CHECK(apikey_grant_check(route.scope, route.scope_len, false) == NULL,
			  "%s is no scope", route.scope);
		CHECK(route.certain == (routes[i].scope[0] != '_' || routes[i].scope[1] == '_'),
			  "certainty of %s", routes[i].path);
		if (route.certain)
			CHECK(route.has_account == (routes[i].account != NULL) &&
				  (!route.has_account ||
				   (route.account_len == strlen(routes[i].account) &&
					memcmp(route.account, routes[i].account, route.account_len) == 0)),
				  "account of %s", routes[i].path);
		free(path);
	}
}

static void
test_long_paths(void)
{
	char		path[400];
	ApikeyRoute route;

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	apikey_route(TEXT(DEFAULT), TEXT("GET"), path, sizeof(path), &route);
	CHECK(route.scope_len == APIKEY_SEGMENT_MAX + strlen(":read") &&
		  apikey_grant_check(route.scope, route.scope_len, false) == NULL,
		  "a long segment is cut");
	apikey_route(TEXT("/{account}"), TEXT("GET"), path, 1 + 255, &route);
	CHECK(route.has_account && !route.account_too_long && route.account_len == 255,
		  "an account of 255 bytes");
	apikey_route(TEXT("/{account}"), TEXT("GET"), path, 1 + 256, &route);
	CHECK(route.has_account && route.account_too_long, "an account of 256 bytes");
}

int
main(void)
{
	test_patterns();
	test_routes();
	test_long_paths();
	return unit_finish("test_route");
}
