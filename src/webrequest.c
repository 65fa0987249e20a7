/*
 * webrequest.c
 *		A request over HTTP: from its headers, method and path to what is
 *		asked of a verification.
 *
 * Everything here is a stranger's, so nothing is an error: what is not
 * understood is unknown, and credentials that contradict each other are a bad
 * request.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "settings.h"
#include "verify.h"
#include "webrequest.h"

/* An account that no key has: the path's and the argument's differ. */
static const ApikeyText no_account = {"", 0, true};

static void
find_credentials(ApikeyWebRequest *web, ApikeyTakesBearer takes_bearer)
{
	ApikeyCredentials *found = &web->credentials;

	for (int i = 0; i < web->headers.nlines; i++)
	{
		const ApikeyHeaderLine *line = &web->headers.line[i];

		for (int j = 0; j < apikey_key_headers->count; j++)
		{
			const char *name = apikey_key_headers->header[j].name;
			size_t		len = apikey_key_headers->header[j].len;

			if (!apikey_same_name(line->name.data, line->name.len, name, len))
				continue;
			if (apikey_same_name(name, len, "authorization", 13))
				apikey_credentials_authorization(found, line->value.data,
												 line->value.len, takes_bearer);
			else
				apikey_credentials_bare(found, line->value.data,
										line->value.len);
			break;
		}
	}
}

static void
find_address(ApikeyWebRequest *web, ApikeyText peer)
{
	const char *name = apikey_ip_source_header(apikey_ip_source);
	ApikeySlice *lines = palloc(Max(web->headers.nlines, 1) * sizeof(ApikeySlice));
	int			nlines = 0;
	ApikeyNet	peer_address;
	bool		peer_known = peer.data != NULL && !peer.too_long &&
		apikey_addr_parse(peer.data, peer.len, &peer_address);

	if (name != NULL)
		nlines = apikey_headerdoc_values(&web->headers, name, strlen(name),
										 lines, web->headers.nlines);
	/* a peer that was given but is rubbish vouches for nothing */
	web->request.ip_known = (peer.data == NULL || peer_known) &&
		apikey_client_address(apikey_ip_source, lines, nlines,
							  peer_known ? &peer_address : NULL,
							  apikey_trusted_proxies->net,
							  apikey_trusted_proxies->count,
							  &web->request.ip);
	pfree(lines);
}

/*
 * A text argument as what may be looked at of it.
 */
static ApikeyText
open_text(struct varlena *value, size_t max)
{
	text	   *copy;

	if (value == NULL)
		return (ApikeyText) {NULL, 0, false};
	copy = DatumGetTextPSlice(PointerGetDatum(value), 0, max + 1);
	if (VARSIZE_ANY_EXHDR(copy) > max)
		return (ApikeyText) {"", 0, true};
	return (ApikeyText) {VARDATA_ANY(copy), VARSIZE_ANY_EXHDR(copy), false};
}

void
apikey_route_of(ApikeyText method, ApikeyText path, ApikeyRoute *route)
{
	/* what was not read may name anything, as such a path may */
	if (path.too_long)
		path = (ApikeyText) {"/..", 3, false};
	apikey_route(apikey_route_pattern, strlen(apikey_route_pattern),
				 method.data, method.len, path.data, path.len, route);
}

void
apikey_webrequest_read(ApikeyWebRequest *web, struct varlena *method,
					   struct varlena *path, ApikeyText peer,
					   ApikeyTakesBearer takes_bearer)
{
	ApikeyRequest *request = &web->request;
	ApikeyText	key = {NULL, 0, false};
	ApikeySlice request_id;

	memset(&web->credentials, 0, sizeof(web->credentials));
	find_credentials(web, takes_bearer);
	web->bad = web->headers.bad || web->credentials.bad;
	if (web->credentials.key.data != NULL)
	{
		key.data = web->credentials.key.data;
		key.len = web->credentials.key.len;
		key.too_long = key.len > APIKEY_CREDENTIAL_MAX;
	}
	apikey_request_init(request, key);
	find_address(web, peer);

	web->origin = (ApikeySlice) {NULL, 0};
	if (apikey_headerdoc_value(&web->headers, "origin", &web->origin))
		apikey_request_set_origin(request,
								  (ApikeyText) {web->origin.data, web->origin.len,
								  web->origin.len > APIKEY_ORIGIN_MAX});
	request->method = method;
	request->path = path;
	if (apikey_headerdoc_value(&web->headers, "x-request-id", &request_id))
		request->request_id = (struct varlena *)
			cstring_to_text_with_len(request_id.data, request_id.len);
	apikey_route_of(open_text(method, APIKEY_METHOD_MAX),
					open_text(path, APIKEY_PATH_MAX), &web->route);
}

void
apikey_webrequest_restrict(ApikeyWebRequest *web, ApikeyText account,
						   ApikeyText required)
{
	ApikeyRequest *request = &web->request;
	ApikeyRoute *route = &web->route;

	request->account = account;
	if (route->has_account)
	{
		ApikeyText	named = {route->account, route->account_len,
		route->account_too_long};

		if (account.data == NULL)
			request->account = named;
		else if (account.too_long || named.too_long ||
				 named.len != account.len ||
				 memcmp(named.data, account.data, named.len) != 0)
			request->account = no_account;
	}
	else if (!route->certain &&
			 apikey_route_pattern_has_account(apikey_route_pattern,
											  strlen(apikey_route_pattern)))
		web->bad = true;		/* it may name any account */

	if (required.data == NULL && apikey_route_scope)
		required = (ApikeyText) {route->scope, route->scope_len, false};
	apikey_request_require(request, required);
}

void
apikey_webrequest_verify(ApikeyWebRequest *web, ApikeyPolicy *policy,
						 ApikeyDecision *decision)
{
	if (web->bad)
		apikey_verify_bad_request(decision, &web->request, policy);
	else
		apikey_verify_request(decision, &web->request, policy);
}

static bool
contains(ApikeySlice text, ApikeySlice part)
{
	for (size_t i = 0; part.len <= text.len && i <= text.len - part.len; i++)
	{
		if (memcmp(text.data + i, part.data, part.len) == 0)
			return true;
	}
	return false;
}

void
apikey_webrequest_scrub(ApikeyWebRequest *web)
{
	/* the key lies in one of the lines itself */
	ApikeySlice key = web->credentials.key;

	for (int i = 0; i < web->headers.nlines; i++)
	{
		if (contains(web->headers.line[i].value, key))
			web->headers.line[i].value = (ApikeySlice) {NULL, 0};
	}
}
