/*
 * audit.c
 *		Writes the audit row of a new key.  All other audit rows are written
 *		by triggers (50_audit.sql); keys are made by the thousand, so theirs is
 *		inserted without SQL.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "catalog.h"
#include "compat.h"
#include "record.h"
#include "scopes.h"

/* Columns, as 50_audit.sql creates them */
enum
{
	AUDIT_ID, AUDIT_OCCURRED_AT, AUDIT_ACTION, AUDIT_KEY_ID, AUDIT_ACCOUNT,
	AUDIT_ACTOR, AUDIT_DB_USER, AUDIT_CLIENT_ADDR, AUDIT_OBJECT, AUDIT_OLD,
	AUDIT_NEW, AUDIT_REASON, AUDIT_NCOLUMNS
};

static void
push_key(ApikeyJsonb *state, const char *name)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = (char *) name;
	value.val.string.len = strlen(name);
	apikey_jsonb_push(state, WJB_KEY, &value);
}

static void
push_string(ApikeyJsonb *state, JsonbIteratorToken token,
			const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = (char *) text;
	value.val.string.len = strlen(text);
	apikey_jsonb_push(state, token, &value);
}

/*
 * Add a text column, if it is not null.
 */
static void
add_text(ApikeyJsonb *state, const char *name, const ApikeyKey *key,
		 ApikeyKeyColumn column)
{
	if (key->null[column])
		return;
	push_key(state, name);
	push_string(state, WJB_VALUE, TextDatumGetCString(key->value[column]));
}

/*
 * Add a list, if there is one; its elements by their output function.
 */
static void
add_list(ApikeyJsonb *state, const char *name, bool given, Datum array,
		 PGFunction output)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	ArrayType  *list;

	if (!given)
		return;
	list = DatumGetArrayTypeP(array);
	deconstruct_array(list, ARR_ELEMTYPE(list), -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	push_key(state, name);
	apikey_jsonb_push(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		push_string(state, WJB_ELEM,
					DatumGetCString(DirectFunctionCall1(output, elements[i])));
	apikey_jsonb_push(state, WJB_END_ARRAY, NULL);
}

/*
 * What is worth knowing about a new key.
 */
static Datum
describe_key(const ApikeyKey *key)
{
	ApikeyJsonb state = {0};
	struct varlena *scopes = (struct varlena *)
		PG_DETOAST_DATUM_PACKED(key->value[KEY_SCOPES]);
	ApikeyGrants grants = apikey_scopes_open(scopes);

	apikey_jsonb_push(&state, WJB_BEGIN_OBJECT, NULL);
	add_text(&state, "name", key, KEY_NAME);
	add_text(&state, "kind", key, KEY_KIND);
	add_text(&state, "display", key, KEY_DISPLAY);
	add_text(&state, "db_role", key, KEY_DB_ROLE);
	add_list(&state, "scopes", true, apikey_scopes_array(&grants), textout);
	add_list(&state, "allowed_ips", !key->null[KEY_ALLOWED_IPS],
			 key->value[KEY_ALLOWED_IPS], inet_out);
	add_list(&state, "allowed_origins", !key->null[KEY_ALLOWED_ORIGINS],
			 key->value[KEY_ALLOWED_ORIGINS], textout);
	if (!key->null[KEY_EXPIRES_AT])
	{
		push_key(&state, "expires_at");
		push_string(&state, WJB_VALUE,
					timestamptz_to_str(DatumGetTimestampTz(key->value[KEY_EXPIRES_AT])));
	}
	if (!key->null[KEY_ROTATED_FROM])
	{
		push_key(&state, "rotated_from");
		push_string(&state, WJB_VALUE,
					DatumGetCString(DirectFunctionCall1(uuid_out,
														key->value[KEY_ROTATED_FROM])));
	}
	apikey_jsonb_push(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(state.result));
}

void
apikey_audit_issue(const ApikeyKey *key, const char *action)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_AUDIT_LOG),
								 RowExclusiveLock);
	Datum		values[AUDIT_NCOLUMNS];
	bool		nulls[AUDIT_NCOLUMNS];
	pg_uuid_t	id;
	LOCAL_FCINFO(no_arguments, 0);

	memset(nulls, true, sizeof(nulls));
	apikey_new_id(&id);
	values[AUDIT_ID] = UUIDPGetDatum(&id);
	values[AUDIT_OCCURRED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[AUDIT_ACTION] = CStringGetTextDatum(action);
	values[AUDIT_KEY_ID] = key->value[KEY_KEY_ID];
	values[AUDIT_ACCOUNT] = key->value[KEY_ACCOUNT];
	values[AUDIT_DB_USER] =
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	values[AUDIT_NEW] = describe_key(key);
	memset(nulls, false, AUDIT_ACCOUNT + 1);
	nulls[AUDIT_DB_USER] = nulls[AUDIT_NEW] = false;
	values[AUDIT_ACTOR] = key->value[KEY_CREATED_BY];
	nulls[AUDIT_ACTOR] = key->null[KEY_CREATED_BY];
	InitFunctionCallInfoData(*no_arguments, NULL, 0, InvalidOid, NULL, NULL);
	values[AUDIT_CLIENT_ADDR] = inet_client_addr(no_arguments);
	nulls[AUDIT_CLIENT_ADDR] = no_arguments->isnull;
	(void) apikey_insert(rel, values, nulls, AUDIT_NCOLUMNS);
	table_close(rel, NoLock);
}
