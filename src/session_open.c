/*
 * session_open.c
 *		apikey.open_session: a token that stands for a key for a short time.
 *
 * The key is verified as for any request, and counted once.  The session is a
 * row, and its token is good as long as that row and the key are: it is signed
 * so that others can check it without asking us, not so that we could do
 * without the row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "record.h"
#include "rules.h"
#include "scopes.h"
#include "settings.h"
#include "signing.h"
#include "verdict.h"
#include "verify.h"

/* Arguments of apikey.open_session, in order */
enum
{
	ARG_KEY, ARG_TTL, ARG_SCOPES, ARG_IP, ARG_ORIGIN, ARG_METADATA,
	ARG_ACCOUNT, ARG_KINDS, ARG_COST, ARG_BIND_IP
};

/* Columns of apikey.opened_session */
enum
{
	OPENED_OK, OPENED_CODE, OPENED_STATUS, OPENED_MESSAGE, OPENED_RETRY_AFTER,
	OPENED_SESSION_ID, OPENED_TOKEN, OPENED_EXPIRES_AT, OPENED_NCOLUMNS
};

/* A session in the making */
typedef struct NewSession
{
	ApikeySession row;
	pg_uuid_t	id;
	TimestampTz created;
	TimestampTz expires;
} NewSession;

static void
bad_argument(const char *name, const char *rule, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\"", name),
			 errdetail("%s", rule),
			 errhint("%s", hint)));
}

/*
 * Read what the session may do; NULL is what the key may.
 */
static struct varlena *
scopes_argument(FunctionCallInfo fcinfo, ApikeyOpening *opening)
{
	struct varlena *value;
	ApikeySlice *items;
	int			count;

	opening->has_scopes = !PG_ARGISNULL(ARG_SCOPES);
	if (!opening->has_scopes)
		return NULL;
	items = apikey_text_array(PG_GETARG_DATUM(ARG_SCOPES), "scopes",
							  4 * APIKEY_GRANTS_MAX, &count);
	value = apikey_scopes_make(items, count, "scopes", NULL);
	opening->scopes = apikey_scopes_open(value);
	if (opening->scopes.count == 0)
		bad_argument("scopes", "A session has at least one scope.",
					 "Leave it out for all scopes of the key.");
	return value;
}

static void
read_request(FunctionCallInfo fcinfo, ApikeyRequest *request,
			 ApikeyPolicy *policy, const ApikeyOpening *opening)
{
	apikey_request_init(request,
						apikey_text_argument(fcinfo, ARG_KEY,
											 APIKEY_CREDENTIAL_MAX));
	apikey_request_set_ip(request,
						  apikey_text_argument(fcinfo, ARG_IP,
											   APIKEY_NET_TEXT_MAX));
	apikey_request_set_origin(request,
							  apikey_text_argument(fcinfo, ARG_ORIGIN,
												   APIKEY_ORIGIN_MAX));
	request->account = apikey_text_argument(fcinfo, ARG_ACCOUNT,
											APIKEY_ACCOUNT_MAX);
	if (!PG_ARGISNULL(ARG_KINDS))
		apikey_request_set_kinds(request, policy, PG_GETARG_DATUM(ARG_KINDS));
	if (!PG_ARGISNULL(ARG_COST))
		apikey_request_set_cost(request, PG_GETARG_INT32(ARG_COST));
	request->opening = opening;
}

static void
set_column(NewSession *session, ApikeySessionColumn column, Datum value)
{
	session->row.value[column] = value;
	session->row.null[column] = value == (Datum) 0;
}

static Datum
address_datum(const ApikeyNet *address)
{
	char		text[APIKEY_NET_TEXT_MAX];

	apikey_net_print(address, text);
	return DirectFunctionCall1(inet_in, CStringGetDatum(text));
}

/*
 * What is known before it is signed.
 */
static void
start_session(NewSession *session, const ApikeyDecision *d, int64 ttl,
			  struct varlena *scopes, Datum metadata)
{
	apikey_new_id(&session->id);
	session->created = d->now;
	session->expires = d->now + ttl;
	if (!d->key->null[KEY_EXPIRES_AT])
		session->expires = Min(session->expires,
							   DatumGetTimestampTz(d->key->value[KEY_EXPIRES_AT]));
	memset(session->row.null, true, sizeof(session->row.null));
	set_column(session, SESSION_SESSION_ID, UUIDPGetDatum(&session->id));
	set_column(session, SESSION_KEY_ID, d->key->value[KEY_KEY_ID]);
	set_column(session, SESSION_CREATED_AT, TimestampTzGetDatum(session->created));
	set_column(session, SESSION_EXPIRES_AT, TimestampTzGetDatum(session->expires));
	set_column(session, SESSION_SCOPES, scopes != NULL ? PointerGetDatum(scopes) :
			   d->key->value[KEY_SCOPES]);
	if (d->request->opening->bind_ip)
		set_column(session, SESSION_BOUND_IP, address_datum(&d->request->ip));
	set_column(session, SESSION_METADATA, metadata);
}

/*
 * Add a member to the payload; tokens are in UTF-8 whatever the database is.
 */
static void
add_text(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\":", json->len > 0 ? "," : "{", name);
	escape_json(json, pg_server_to_any(value, strlen(value), PG_UTF8));
}

static void
add_seconds(StringInfo json, const char *name, TimestampTz time)
{
	appendStringInfo(json, ",\"%s\":" INT64_FORMAT, name,
					 apikey_unix_seconds(time));
}

static void
add_scopes(StringInfo json, Datum value)
{
	ApikeyGrants scopes = apikey_scopes_open((struct varlena *)
											 DatumGetPointer(value));

	appendStringInfoString(json, ",\"scope\":\"");
	for (int i = 0; i < scopes.count; i++)
	{
		ApikeySlice grant = apikey_grants_get(&scopes, i);

		if (i > 0)
			appendStringInfoChar(json, ' ');
		appendBinaryStringInfo(json, grant.data, grant.len);
	}
	appendStringInfoChar(json, '"');
}

/*
 * The payload (RFC 7519).  Members are named once, and none is an object: so
 * apikey_json_read() wants it.
 */
static void
write_payload(StringInfo json, const NewSession *session,
			  const ApikeyDecision *d)
{
	initStringInfo(json);
	add_text(json, "sub", TextDatumGetCString(d->key->value[KEY_ACCOUNT]));
	add_text(json, "jti",
			 DatumGetCString(DirectFunctionCall1(uuid_out,
												 UUIDPGetDatum(&session->id))));
	if (apikey_session_issuer != NULL && apikey_session_issuer[0] != '\0')
		add_text(json, "iss", apikey_session_issuer);
	if (apikey_session_audience != NULL && apikey_session_audience[0] != '\0')
		add_text(json, "aud", apikey_session_audience);
	if (!d->key->null[KEY_DB_ROLE])
		add_text(json, "role", TextDatumGetCString(d->key->value[KEY_DB_ROLE]));
	else if (d->kind->db_role != NULL)
		add_text(json, "role", d->kind->db_role);
	add_scopes(json, session->row.value[SESSION_SCOPES]);
	add_seconds(json, "iat", session->created);
	add_seconds(json, "nbf", session->created);
	add_seconds(json, "exp", session->expires);
	appendStringInfoChar(json, '}');
}

/*
 * Sign and store; returns the token.
 */
static text *
make_session(NewSession *session, const ApikeyDecision *d)
{
	ApikeyPrivileges saved;
	const ApikeySigningKey *key;
	StringInfoData payload;
	char	   *token;
	size_t		token_len;
	Relation	rel;

	apikey_enter_without_sql(&saved);
	write_payload(&payload, session, d);
	key = apikey_current_signing_key((ApikeySigningAlgorithm) apikey_session_algorithm);
	set_column(session, SESSION_KID, CStringGetTextDatum(key->kid));
	token = apikey_signing_token(key, payload.data, payload.len, &token_len);
	if (token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the token of this session would be too long"),
				 errdetail("A token has at most %d bytes, and carries all scopes of the session.",
						   APIKEY_JWT_MAX),
				 errhint("Pass the few scopes that the session needs.")));
	rel = table_open(apikey_relation(APIKEY_REL_SESSION), RowExclusiveLock);
	(void) apikey_insert(rel, session->row.value + 1, session->row.null + 1,
						 APIKEY_SESSION_NCOLUMNS);
	table_close(rel, NoLock);
	apikey_leave(&saved);
	return cstring_to_text_with_len(token, token_len);
}

PG_FUNCTION_INFO_V1(apikey_sql_open_session);

/*
 * apikey.open_session(key, ttl, scopes, ip, origin, metadata, account, kinds,
 *					   cost, bind_ip) returns apikey.opened_session
 *		A key that is refused, or that lacks a scope asked for, is a row with
 *		ok false.  Errors: 22023 for a programmer's fault, 25006 read-only,
 *		55000 if not preloaded.
 */
Datum
apikey_sql_open_session(PG_FUNCTION_ARGS)
{
	ApikeyPolicy *policy;
	ApikeyOpening opening;
	ApikeyRequest request;
	ApikeyDecision decision;
	NewSession	session;
	int64		ttl;
	struct varlena *scopes;
	Datum		metadata;
	TupleDesc	desc;
	Datum		verdict[VERDICT_NCOLUMNS];
	bool		verdict_nulls[VERDICT_NCOLUMNS];
	Datum		values[OPENED_NCOLUMNS];
	bool		nulls[OPENED_NCOLUMNS] = {false};

	apikey_require_preload("apikey.open_session()");
	apikey_require_writable("apikey.open_session()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ttl = apikey_rule_ttl(PG_ARGISNULL(ARG_TTL) ? NULL : PG_GETARG_INTERVAL_P(ARG_TTL),
						  apikey_session_max_ttl * USECS_PER_SEC);
	scopes = scopes_argument(fcinfo, &opening);
	opening.bind_ip = !PG_ARGISNULL(ARG_BIND_IP) && PG_GETARG_BOOL(ARG_BIND_IP);
	metadata = apikey_rule_metadata(!PG_ARGISNULL(ARG_METADATA),
									PG_GETARG_DATUM(ARG_METADATA));
	policy = apikey_policy();
	read_request(fcinfo, &request, policy, &opening);
	apikey_verify_request(&decision, &request, policy);

	apikey_verdict_values(&decision, verdict, verdict_nulls);
	values[OPENED_OK] = verdict[VERDICT_OK];
	values[OPENED_CODE] = verdict[VERDICT_CODE];
	values[OPENED_STATUS] = verdict[VERDICT_STATUS];
	values[OPENED_MESSAGE] = verdict[VERDICT_MESSAGE];
	values[OPENED_RETRY_AFTER] = verdict[VERDICT_RETRY_AFTER];
	nulls[OPENED_RETRY_AFTER] = verdict_nulls[VERDICT_RETRY_AFTER];
	if (decision.code == APIKEY_VALID)
	{
		start_session(&session, &decision, ttl, scopes, metadata);
		values[OPENED_TOKEN] = PointerGetDatum(make_session(&session, &decision));
		values[OPENED_SESSION_ID] = UUIDPGetDatum(&session.id);
		values[OPENED_EXPIRES_AT] = TimestampTzGetDatum(session.expires);
	}
	else
		nulls[OPENED_TOKEN] = nulls[OPENED_SESSION_ID] = nulls[OPENED_EXPIRES_AT] = true;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
