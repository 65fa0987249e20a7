/*
 * prerequest.c
 *		apikey.pre_request, PostgREST's db-pre-request.
 *
 * PostgREST tells of the request in settings of the transaction, and takes a
 * refusal as an error with SQLSTATE PGRST (or PTxyz): its transaction may be
 * READ ONLY and is rolled back, so nothing here is written or locked.
 *
 * The function runs as its caller and not as our owner: a role cannot be set
 * from within a SECURITY DEFINER function.  What it sets, the caller could
 * set as well; none of it is trusted again, the identity is memory.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "answer.h"
#include "apikey.h"
#include "compat.h"
#include "identity.h"
#include "session.h"
#include "settings.h"
#include "verdict.h"
#include "webrequest.h"

#define ERRCODE_PGRST		MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')
#define ERRCODE_PT(status) \
	MAKE_SQLSTATE('P', 'T', '0' + (status) / 100, '0' + (status) / 10 % 10, \
				  '0' + (status) % 10)

/*
 * A setting's value; NULL also for the empty one, as which it reads in later
 * transactions of the same connection.
 */
static char *
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value == NULL || value[0] == '\0' ? NULL : pstrdup(value);
}

/*
 * Set until the end of the transaction, as the caller.
 */
static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value,
							 superuser() ? PGC_SUSET : PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * The body of the answer, as PostgREST has them.
 */
static char *
error_body(const ApikeyDecision *d)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];
	char	   *missing = apikey_answer_missing(d);
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"code\":\"%s\",\"message\":", info->public_name);
	escape_json(&out, info->message);
	appendStringInfoString(&out, ",\"details\":");
	if (missing != NULL)
		escape_json(&out, psprintf("missing scopes: %s", missing));
	else
		appendStringInfoString(&out, "null");
	appendStringInfoString(&out, ",\"hint\":null}");
	return out.data;
}

/*
 * Its status and headers.
 */
static char *
error_head(const ApikeyDecision *d)
{
	ApikeyAnswerHeaders headers = {0};
	StringInfoData out;

	apikey_answer_headers(&headers, d, APIKEY_SCHEME_BEARER);
	initStringInfo(&out);
	appendStringInfo(&out, "{\"status\":%d,\"headers\":",
					 apikey_codes[d->code].status);
	apikey_answer_object(&out, &headers);
	appendStringInfoChar(&out, '}');
	return out.data;
}

/*
 * What a refusal without headers of its own can still say.
 */
static char *
plain_detail(const ApikeyDecision *d)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];
	int			retry_after = apikey_answer_retry_after(d);

	return psprintf("{\"code\":\"%s\",\"status\":%d,\"retry_after\":%s}",
					info->public_name, info->status,
					retry_after < 0 ? "null" : psprintf("%d", retry_after));
}

/*
 * Raise the refusal.  Statement and context are of no use in the log; domain
 * says whether the key's recent errors have it already.
 */
static void
refuse(const ApikeyDecision *d, const char *domain)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];

	if (apikey_error_style == APIKEY_ERROR_PT)
		ereport_domain(ERROR, domain,
					   (errcode(ERRCODE_PT(info->status)),
						errmsg_internal("%s", info->message),	/* a status line */
						errdetail_internal("%s", plain_detail(d)),
						errhidestmt(true), errhidecontext(true)));
	else
		ereport_domain(ERROR, domain,
					   (errcode(ERRCODE_PGRST),
						errmsg_internal("%s", error_body(d)),
						errdetail_internal("%s", error_head(d)),
						errhidestmt(true), errhidecontext(true)));
}

/*
 * Without shared memory nothing can be verified, so nobody passes.
 */
static void
refuse_all(void)
{
	ApikeyDecision decision;

	memset(&decision, 0, sizeof(decision));
	decision.code = APIKEY_UNAVAILABLE;
	refuse(&decision, APIKEY_REFUSAL_DOMAIN);
}

/*
 * May PostgREST's login become this role here?  Asked first, so that the
 * answer is ours; a superuser is nobody's to become.
 */
static bool
can_become(const char *role)
{
	Oid			oid = get_role_oid(role, true);

	return OidIsValid(oid) && !superuser_arg(oid) &&
		apikey_can_set_role(GetSessionUserId(), oid) &&
		!InLocalUserIdChange() && !InSecurityRestrictedOperation();
}

static bool
is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != strlen(form))
		return false;
	for (int i = 0; form[i] != '\0'; i++)
	{
		if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char) text[i]))
			return false;
	}
	return true;
}

/*
 * Who the request is for, in the words of policies written for JWTs: "sub" of
 * the key's metadata, else the account if it is a uuid; NULL if neither.
 */
static char *
subject_of(const Datum *values, const char *account)
{
	Jsonb	   *metadata = DatumGetJsonbP(values[VERDICT_METADATA]);
	JsonbValue	sub;

	if (JB_ROOT_IS_OBJECT(metadata) &&
		getKeyJsonValueFromContainer(&metadata->root, "sub", 3, &sub) != NULL &&
		sub.type == jbvString)
		return pnstrdup(sub.val.string.val, sub.val.string.len);
	return is_uuid(account) ? pstrdup(account) : NULL;
}

/*
 * Read a setting that should hold JSON of this sort; the empty one of that
 * sort if it does not.
 */
static Jsonb *
json_setting(const char *name, bool array)
{
	char	   *text = setting(name);
	Jsonb	   *value = NULL;

	if (text != NULL && apikey_json_parse(text, strlen(text), &nullSemAction))
		value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	if (value == NULL || JB_ROOT_IS_SCALAR(value) ||
		(bool) JB_ROOT_IS_ARRAY(value) != array)
		value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum(array ? "[]" : "{}")));
	return value;
}

/*
 * Set it to what it was with more behind it: members or elements.
 */
static void
extend_json_setting(const char *name, Jsonb *before, const char *more)
{
	Datum		both = DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(before),
										   DirectFunctionCall1(jsonb_in, CStringGetDatum(more)));

	set_local(name, DatumGetCString(DirectFunctionCall1(jsonb_out, both)));
}

static void
append_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	if (out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	escape_json(out, name);
	appendStringInfoChar(out, ':');
	escape_json(out, value);
}

/*
 * Add the key to the claims.  A subject of PostgREST's own token stays: the
 * token says who, the key by what.
 */
static void
merge_claims(const ApikeyDecision *d, const Datum *values, const char *role)
{
	Jsonb	   *before = json_setting("request.jwt.claims", false);
	char	   *account = TextDatumGetCString(values[VERDICT_ACCOUNT]);
	JsonbValue	old;
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	if (role == NULL &&
		getKeyJsonValueFromContainer(&before->root, "role", 4, &old) == NULL)
		role = GetUserNameFromId(GetUserId(), false);
	append_member(&out, "role", role);
	if (getKeyJsonValueFromContainer(&before->root, "sub", 3, &old) == NULL)
		append_member(&out, "sub", subject_of(values, account));
	appendStringInfo(&out, "%s\"apikey\":{\"key_id\":\"%s\"",
					 out.len > 1 ? "," : "",
					 DatumGetCString(DirectFunctionCall1(uuid_out,
														 values[VERDICT_KEY_ID])));
	append_member(&out, "account", account);
	appendStringInfoString(&out, ",\"scopes\":[");
	for (int i = 0; i < d->grants.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&d->grants, i);

		appendStringInfo(&out, "%s\"%.*s\"", i == 0 ? "" : ",",
						 (int) grant.len, grant.data);
	}
	appendStringInfoString(&out, "]}}");
	extend_json_setting("request.jwt.claims", before, out.data);
}

/*
 * Have PostgREST send the headers of a pass.  Others may have set some.
 */
static void
add_response_headers(const ApikeyDecision *d)
{
	ApikeyAnswerHeaders headers = {0};
	StringInfoData out;

	apikey_answer_headers(&headers, d, APIKEY_SCHEME_BEARER);
	if (headers.count == 0)
		return;
	initStringInfo(&out);
	for (int i = 0; i < headers.count; i++)
	{
		ApikeyAnswerHeaders one = {1, {headers.header[i]}};

		appendStringInfoChar(&out, i == 0 ? '[' : ',');
		apikey_answer_object(&out, &one);
	}
	appendStringInfoChar(&out, ']');
	extend_json_setting("response.headers", json_setting("response.headers", true),
						out.data);
}

/*
 * Make the rest of the transaction work for the key.
 */
static void
let_in(ApikeyWebRequest *web, ApikeyDecision *d)
{
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	char	   *role;

	apikey_verdict_values(d, values, nulls);
	role = nulls[VERDICT_DB_ROLE] ? NULL :
		TextDatumGetCString(values[VERDICT_DB_ROLE]);
	apikey_identity_take(d);
	if (role != NULL && !can_become(role))
	{
		/* the verdict was counted as good; this error is noted with the key */
		d->code = APIKEY_ROLE_NOT_ALLOWED;
		refuse(d, NULL);
	}
	merge_claims(d, values, role);
	add_response_headers(d);
	apikey_webrequest_scrub(web);
	set_local("request.headers", apikey_headerdoc_print(&web->headers));
	if (role != NULL)
		set_local("role", role);
}

PG_FUNCTION_INFO_V1(apikey_sql_pre_request);

/*
 * apikey.pre_request() returns void
 *		Lets PostgREST's request in, or refuses it with an error that PostgREST
 *		turns into an HTTP answer.  Does nothing outside of PostgREST.
 */
Datum
apikey_sql_pre_request(PG_FUNCTION_ARGS)
{
	char	   *method = setting("request.method");
	char	   *path = setting("request.path");
	char	   *headers = setting("request.headers");
	ApikeyText	none = {NULL, 0, false};
	ApikeyWebRequest web;
	ApikeyDecision decision;
	ApikeyPolicy *policy;

	if (method == NULL)
		PG_RETURN_VOID();
	if (!apikey_preloaded)
		refuse_all();
	policy = apikey_policy();
	apikey_headerdoc_read_text(&web.headers, headers ? headers : "{}");
	apikey_webrequest_read(&web, (struct varlena *) cstring_to_text(method),
						   path ? (struct varlena *) cstring_to_text(path) : NULL,
						   none, apikey_session_names_us);
	if (!web.bad && web.credentials.key.data == NULL &&
		(apikey_pre_request_mode == APIKEY_MODE_OPTIONAL ||
		 web.credentials.foreign_bearer || apikey_identity() != NULL))
		PG_RETURN_VOID();		/* anonymous, PostgREST's own, or called twice */
	apikey_webrequest_restrict(&web, none, none);
	apikey_webrequest_verify(&web, policy, &decision);
	if (decision.code != APIKEY_VALID)
		refuse(&decision, APIKEY_REFUSAL_DOMAIN);
	let_in(&web, &decision);
	PG_RETURN_VOID();
}
