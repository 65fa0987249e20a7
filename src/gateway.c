/*
 * gateway.c
 *		What each gateway is to be answered, in its own dialect.
 *
 * They differ in which status they let pass and which they turn into an error
 * of their own, and in how they hand on who the caller is.  Whatever they are
 * told for the server behind them replaces what the client sent under the
 * same name: each pass names all of these headers, with "" for those to be
 * removed.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "gateway.h"
#include "settings.h"
#include "verdict.h"

/* How long Hasura may go on with a subscription before it asks again. */
#define HASURA_MAX_AGE	60

static const char *const dialect_names[] = {
	[APIKEY_DIALECT_GENERIC] = "generic",
	[APIKEY_DIALECT_NGINX] = "nginx",
	[APIKEY_DIALECT_ENVOY] = "envoy",
	[APIKEY_DIALECT_TRAEFIK] = "traefik",
	[APIKEY_DIALECT_HASURA] = "hasura",
	[APIKEY_DIALECT_KONG] = "kong",
};

/* The columns of the verdict that say who the caller is, as text or NULL */
typedef struct Caller
{
	char	   *key_id;
	char	   *account;
	char	   *kind;
	char	   *db_role;
	char	   *session_id;
	ApikeyGrants grants;
} Caller;

ApikeyDialect
apikey_dialect(ApikeyText name)
{
	for (int i = 0; i < lengthof(dialect_names); i++)
	{
		if (name.data != NULL && name.len == strlen(dialect_names[i]) &&
			memcmp(name.data, dialect_names[i], name.len) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"dialect\" names no dialect"),
			 errdetail("A dialect is what a gateway expects as an answer."),
			 errhint("There are generic, nginx, envoy, traefik, hasura and kong.")));
}

static char *
text_or_null(const Datum *values, const bool *nulls, ApikeyVerdictColumn column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static char *
uuid_or_null(const Datum *values, const bool *nulls, ApikeyVerdictColumn column)
{
	return nulls[column] ? NULL :
		DatumGetCString(DirectFunctionCall1(uuid_out, values[column]));
}

static void
read_caller(Caller *caller, const ApikeyDecision *d)
{
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];

	apikey_verdict_values(d, values, nulls);
	caller->key_id = uuid_or_null(values, nulls, VERDICT_KEY_ID);
	caller->account = text_or_null(values, nulls, VERDICT_ACCOUNT);
	caller->kind = text_or_null(values, nulls, VERDICT_KIND);
	caller->db_role = text_or_null(values, nulls, VERDICT_DB_ROLE);
	caller->session_id = uuid_or_null(values, nulls, VERDICT_SESSION_ID);
	caller->grants = d->grants;
}

/*
 * A text as the value of a header: bytes beyond ASCII, controls and percent
 * signs percent-encoded; "" for NULL.
 */
static char *
header_text(const char *text)
{
	StringInfoData out;

	if (text == NULL)
		return "";
	initStringInfo(&out);
	for (; *text != '\0'; text++)
	{
		if (*text >= ' ' && *text <= '~' && *text != '%')
			appendStringInfoChar(&out, *text);
		else
			appendStringInfo(&out, "%%%02X", (unsigned char) *text);
	}
	return out.data;
}

static char *
join_grants(const ApikeyGrants *grants, const char *begin, const char *between,
			const char *end)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, begin);
	for (int i = 0; i < grants->count; i++)
	{
		ApikeySlice grant = apikey_grants_get(grants, i);

		appendStringInfo(&out, "%s%.*s", i == 0 ? "" : between,
						 (int) grant.len, grant.data);
	}
	appendStringInfoString(&out, end);
	return out.data;
}

/*
 * Who the caller is, for the server behind the gateway; nobody if caller is
 * NULL.
 */
static void
add_upstream(ApikeyGatewayAnswer *answer, ApikeyDialect dialect,
			 const Caller *caller)
{
	static const Caller nobody;
	ApikeyAnswerHeaders *up = &answer->upstream;
	const Caller *c = caller ? caller : &nobody;

	apikey_answer_add(up, "X-Apikey-Id", header_text(c->key_id));
	apikey_answer_add(up, "X-Apikey-Account", header_text(c->account));
	apikey_answer_add(up, "X-Apikey-Kind", header_text(c->kind));
	apikey_answer_add(up, "X-Apikey-Scopes",
					  caller ? join_grants(&c->grants, "", " ", "") : "");
	apikey_answer_add(up, "X-Apikey-Session", header_text(c->session_id));
	if (dialect != APIKEY_DIALECT_KONG)
		return;
	apikey_answer_add(up, "X-Consumer-ID", header_text(c->account));
	apikey_answer_add(up, "X-Consumer-Custom-ID", header_text(c->account));
	apikey_answer_add(up, "X-Consumer-Username", header_text(c->account));
	apikey_answer_add(up, "X-Credential-Identifier", header_text(c->key_id));
	/* sets it for requests that pass without a credential, else removes it */
	apikey_answer_add(up, "X-Anonymous-Consumer", caller ? "" : "true");
}

/*
 * Envoy keeps what the client sent but for headers that it is told to set or
 * to remove: the key, and what we have no value for.
 */
static void
add_removals(ApikeyGatewayAnswer *answer)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < apikey_key_headers->count; i++)
		appendStringInfo(&out, "%s%.*s", i == 0 ? "" : ",",
						 (int) apikey_key_headers->header[i].len,
						 apikey_key_headers->header[i].name);
	for (int i = 0; i < answer->upstream.count; i++)
	{
		if (answer->upstream.header[i].value[0] == '\0')
			appendStringInfo(&out, ",%s", answer->upstream.header[i].name);
	}
	apikey_answer_add(&answer->response, "x-envoy-auth-headers-to-remove",
					  out.data);
}

static void
append_variable(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfoChar(out, out->len == 0 ? '{' : ',');
	escape_json(out, name);
	appendStringInfoChar(out, ':');
	escape_json(out, value);
}

/*
 * Hasura's session variables, all of them strings.  A key without a role in
 * the database has the role of its kind's name.
 */
static char *
hasura_body(const Caller *caller, const ApikeyDecision *d)
{
	StringInfoData out;
	int64		max_age = HASURA_MAX_AGE;

	if (!d->key->null[KEY_EXPIRES_AT])
		max_age = Min(max_age,
					  (DatumGetTimestampTz(d->key->value[KEY_EXPIRES_AT]) -
					   GetCurrentTimestamp()) / USECS_PER_SEC);
	initStringInfo(&out);
	append_variable(&out, "X-Hasura-Role",
					caller->db_role ? caller->db_role : caller->kind);
	append_variable(&out, "X-Hasura-Account-Id", caller->account);
	append_variable(&out, "X-Hasura-Key-Id", caller->key_id);
	append_variable(&out, "X-Hasura-Session-Id", caller->session_id);
	append_variable(&out, "X-Hasura-Scopes",
					join_grants(&caller->grants, "{\"", "\",\"", "\"}"));
	append_variable(&out, "Cache-Control",
					psprintf("max-age=" INT64_FORMAT, Max(max_age, 0)));
	appendStringInfoChar(&out, '}');
	return out.data;
}

static void
allow(ApikeyGatewayAnswer *answer, ApikeyDialect dialect,
	  const ApikeyWebRequest *web, const ApikeyDecision *d)
{
	Caller		caller;

	read_caller(&caller, d);
	add_upstream(answer, dialect, &caller);
	if (dialect == APIKEY_DIALECT_ENVOY)
		add_removals(answer);
	if (dialect == APIKEY_DIALECT_HASURA)
	{
		answer->body = hasura_body(&caller, d);
		answer->content_type = "application/json";
	}
	/* the check of its origin has passed, so it is one */
	if (d->kind != NULL && d->kind->origin_locked && web->origin.data != NULL)
	{
		apikey_answer_add(&answer->response, "access-control-allow-origin",
						  header_text(pnstrdup(web->origin.data,
											   web->origin.len)));
		apikey_answer_add(&answer->response, "vary", "Origin");
	}
}

/*
 * What a gateway makes of statuses: nginx knows 401 and 403 as refusals and
 * fails with 500 on others, Hasura knows 401 alone.
 */
static void
refuse(ApikeyGatewayAnswer *answer, ApikeyDialect dialect,
	   const ApikeyDecision *d)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];
	int			retry_after;
	StringInfoData body;

	answer->body = apikey_answer_problem(d);
	answer->content_type = "application/problem+json";
	switch (dialect)
	{
		case APIKEY_DIALECT_NGINX:
			if (answer->status != 401)
				answer->status = 403;
			apikey_answer_add(&answer->response, "X-Apikey-Status",
							  psprintf("%d", info->status));
			apikey_answer_add(&answer->response, "X-Apikey-Code",
							  info->public_name);
			retry_after = apikey_answer_retry_after(d);
			if (retry_after >= 0)
				apikey_answer_add(&answer->response, "X-Apikey-Retry-After",
								  psprintf("%d", retry_after));
			break;
		case APIKEY_DIALECT_HASURA:
			answer->status = 401;
			break;
		case APIKEY_DIALECT_KONG:
			initStringInfo(&body);
			append_variable(&body, "message", info->message);
			append_variable(&body, "code", info->public_name);
			appendStringInfoChar(&body, '}');
			answer->body = body.data;
			answer->content_type = "application/json";
			break;
		default:
			break;
	}
}

void
apikey_gateway_answer(ApikeyGatewayAnswer *answer, ApikeyDialect dialect,
					  const ApikeyWebRequest *web, const ApikeyDecision *d)
{
	memset(answer, 0, sizeof(*answer));
	answer->allowed = d->code == APIKEY_VALID;
	answer->status = apikey_codes[d->code].status;
	apikey_answer_headers(&answer->response, d,
						  dialect == APIKEY_DIALECT_KONG ?
						  APIKEY_SCHEME_KEY : APIKEY_SCHEME_BEARER);
	if (answer->allowed)
		allow(answer, dialect, web, d);
	else
		refuse(answer, dialect, d);
}

void
apikey_gateway_preflight(ApikeyGatewayAnswer *answer, ApikeyDialect dialect)
{
	memset(answer, 0, sizeof(*answer));
	answer->allowed = true;
	answer->status = 200;
	add_upstream(answer, dialect, NULL);
	if (dialect == APIKEY_DIALECT_ENVOY)
		add_removals(answer);
}
