/*
 * alter.c
 *		apikey.alter_key, and opening a stored key for a change.
 *
 * Locks the key's row until the end of the transaction.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "keydecode.h"
#include "manage.h"
#include "record.h"
#include "spi_plan.h"

/* Arguments of apikey.alter_key, in order */
enum
{
	ARG_KEY_ID, ARG_NAME, ARG_SCOPES, ARG_ALLOWED_IPS, ARG_ALLOWED_ORIGINS,
	ARG_EXPIRES_AT, ARG_METADATA, ARG_ACTOR, ARG_DB_ROLE, ARG_ACCOUNT
};

const pg_uuid_t *
apikey_key_id_argument(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"key_id\""),
				 errdetail("It must not be null."),
				 errhint("apikey.keys lists the keys.")));
	return PG_GETARG_UUID_P(argno);
}

void
apikey_key_open(const pg_uuid_t *key_id, ApikeyText guard, ApikeyKey *key)
{
	static ApikeyPlan plan = {
		.query = "SELECT k.* FROM apikey.key k WHERE k.key_id = $1 FOR UPDATE",
		.nargs = 1,
		.types = {UUIDOID},
	};
	Datum		value = UUIDPGetDatum(key_id);
	bool		found;

	apikey_plan_execute(&plan, &value, NULL, SPI_OK_SELECT);
	found = SPI_processed == 1;
	if (found)
	{
		key->tuple = SPI_copytuple(SPI_tuptable->vals[0]);
		apikey_key_deform(key->tuple, SPI_tuptable->tupdesc, key);
	}
	if (found && guard.data != NULL)
	{
		text	   *account = DatumGetTextPP(key->value[KEY_ACCOUNT]);

		found = !guard.too_long && guard.len == VARSIZE_ANY_EXHDR(account) &&
			memcmp(guard.data, VARDATA_ANY(account), guard.len) == 0;
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_NOT_FOUND),
				 errmsg("key %s does not exist",
						DatumGetCString(DirectFunctionCall1(uuid_out, value))),
				 errdetail("No key of this account has this key_id."),
				 errhint("apikey.keys lists the keys.")));
}

void
apikey_key_set(ApikeyKey *key, ApikeyKeyColumn column, Datum value)
{
	key->value[column] = value;
	key->null[column] = DatumGetPointer(value) == NULL;
}

void
apikey_require_living(const ApikeyKey *key, TimestampTz now)
{
	const char *status = apikey_key_status(key, now);

	if (strcmp(status, "revoked") == 0 || strcmp(status, "expired") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_CONFLICT),
				 errmsg("key %s is %s",
						DatumGetCString(DirectFunctionCall1(uuid_out,
															key->value[KEY_KEY_ID])),
						status),
				 errdetail("Revoked and expired keys stay as they are."),
				 errhint("Issue a new key.")));
}

void
apikey_require_capability_of_key(const ApikeyKey *key, ApikeyAction action,
								 ApikeyText actor)
{
	apikey_require_capability(TextDatumGetCString(key->value[KEY_ACCOUNT]),
							  action, actor);
}

void
apikey_rules_of_key(ApikeyRules *rules, const ApikeyKey *key)
{
	text	   *kind = DatumGetTextPP(key->value[KEY_KIND]);
	ApikeyText	kind_name = {VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind), false};

	apikey_rules_find(rules, TextDatumGetCString(key->value[KEY_ACCOUNT]),
					  kind_name);
}

/*
 * Replace the columns for which there is an argument.
 */
static void
apply_arguments(FunctionCallInfo fcinfo, Oid caller, const ApikeyRules *rules,
				TimestampTz now, ApikeyKey *key)
{
	ApikeyText	role = apikey_text_argument(fcinfo, ARG_DB_ROLE,
											NAMEDATALEN - 1);

	if (!PG_ARGISNULL(ARG_NAME))
		key->value[KEY_NAME] =
			PointerGetDatum(apikey_rule_name(rules,
											 apikey_text_argument(fcinfo, ARG_NAME, APIKEY_NAME_BYTES_MAX)));
	if (!PG_ARGISNULL(ARG_SCOPES))
		key->value[KEY_SCOPES] =
			PointerGetDatum(apikey_rule_scopes(rules, true,
											   PG_GETARG_DATUM(ARG_SCOPES)));
	if (!PG_ARGISNULL(ARG_ALLOWED_IPS))
		apikey_key_set(key, KEY_ALLOWED_IPS,
					   apikey_rule_ips(rules, true,
									   PG_GETARG_DATUM(ARG_ALLOWED_IPS)));
	if (!PG_ARGISNULL(ARG_ALLOWED_ORIGINS))
		apikey_key_set(key, KEY_ALLOWED_ORIGINS,
					   apikey_rule_origins(rules, true,
										   PG_GETARG_DATUM(ARG_ALLOWED_ORIGINS)));
	if (!PG_ARGISNULL(ARG_METADATA))
		apikey_key_set(key, KEY_METADATA,
					   apikey_rule_metadata(true,
											PG_GETARG_DATUM(ARG_METADATA)));
	if (!PG_ARGISNULL(ARG_EXPIRES_AT))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(ARG_EXPIRES_AT);
		ApikeyExpiry expiry = {false};

		apikey_rule_expiry(rules, &at, NULL,
						   DatumGetTimestampTz(key->value[KEY_CREATED_AT]),
						   now, &expiry);
		if (!key->null[KEY_ROTATED_TO] &&
			expiry.at > DatumGetTimestampTz(key->value[KEY_EXPIRES_AT]))
			ereport(ERROR,
					(errcode(ERRCODE_APIKEY_CONFLICT),
					 errmsg("a key that was rotated cannot be prolonged"),
					 errdetail("It ends when the overlap with its successor does."),
					 errhint("Alter its successor, or pass an earlier time.")));
		key->null[KEY_EXPIRES_AT] = expiry.never;
		key->value[KEY_EXPIRES_AT] = TimestampTzGetDatum(expiry.at);
		key->value[KEY_EXPIRY_GIVEN] = BoolGetDatum(true);
	}
	if (role.data != NULL)
	{
		key->null[KEY_DB_ROLE] = !role.too_long && role.len == strlen("none") &&
			memcmp(role.data, "none", role.len) == 0;
		if (!key->null[KEY_DB_ROLE])
			key->value[KEY_DB_ROLE] =
				PointerGetDatum(apikey_rule_db_role(caller, role));
	}
}

/*
 * Write the columns back; false if nothing is different.  The trigger on the
 * table sees to the audit row.
 */
static bool
store_changes(const ApikeyKey *key)
{
	static const ApikeyKeyColumn columns[] = {
		KEY_KEY_ID, KEY_NAME, KEY_SCOPES, KEY_ALLOWED_IPS,
		KEY_ALLOWED_ORIGINS, KEY_EXPIRES_AT, KEY_EXPIRY_GIVEN, KEY_METADATA,
	KEY_DB_ROLE};
	static ApikeyPlan plan = {
		.query = "UPDATE apikey.key SET name = $2, scopes = $3, allowed_ips = $4,"
		" allowed_origins = $5, expires_at = $6, expiry_given = $7, metadata = $8, db_role = $9"
		" WHERE key_id = $1 AND (name <> $2 OR scopes::text <> $3::text"
		" OR allowed_ips IS DISTINCT FROM $4 OR allowed_origins IS DISTINCT FROM $5"
		" OR expires_at IS DISTINCT FROM $6 OR metadata IS DISTINCT FROM $8"
		" OR db_role IS DISTINCT FROM $9)",
		.nargs = lengthof(columns),
		.types = {UUIDOID, TEXTOID, InvalidOid, INETARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZOID, BOOLOID, JSONBOID, TEXTOID},
	};
	Datum		values[lengthof(columns)];
	char		nulls[lengthof(columns)];

	for (int i = 0; i < lengthof(columns); i++)
	{
		values[i] = key->value[columns[i]];
		nulls[i] = key->null[columns[i]] ? 'n' : ' ';
	}
	apikey_plan_execute(&plan, values, nulls, SPI_OK_UPDATE);
	return SPI_processed > 0;
}

PG_FUNCTION_INFO_V1(apikey_sql_keys_exist);

/*
 * apikey.keys_exist(of_kind, of_pepper, only_ours) returns boolean
 *		Are there keys of a kind, or under a pepper, at this very moment?  To
 *		be called as the owner, with the key table locked against new ones.
 */
Datum
apikey_sql_keys_exist(PG_FUNCTION_ARGS)
{
	static ApikeyPlan plan = {
		.query = "SELECT EXISTS (SELECT FROM apikey.key k WHERE k.kind = $1 AND NOT"
		" ($3 AND EXISTS (SELECT FROM apikey.imported i WHERE i.key_id = k.key_id)))"
		" OR EXISTS (SELECT FROM apikey.key WHERE pepper_id = $2)",
		.nargs = 3,
		.types = {TEXTOID, INT4OID, BOOLOID},
	};
	Datum		values[3] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1),
	BoolGetDatum(!PG_ARGISNULL(2) && PG_GETARG_BOOL(2))};
	char		nulls[3] = {PG_ARGISNULL(0) ? 'n' : ' ', PG_ARGISNULL(1) ? 'n' : ' ', ' '};
	bool		exist;
	bool		isnull;

	SPI_connect();
	apikey_plan_query_latest(&plan, values, nulls);
	exist = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PG_RETURN_BOOL(exist);
}

PG_FUNCTION_INFO_V1(apikey_sql_alter_key);

/*
 * apikey.alter_key(key_id, name, scopes, allowed_ips, allowed_origins,
 *					expires_at, metadata, actor, db_role, account)
 *		returns boolean: did it change?
 *		Errors: 22023 bad argument, KA403 policy, KA404 unknown key, KA409
 *		ended key, 25006 read-only.
 */
Datum
apikey_sql_alter_key(PG_FUNCTION_ARGS)
{
	ApikeyPrivileges saved;
	ApikeyKey	key;
	ApikeyRules rules;
	ApikeyText	actor;
	TimestampTz now = GetCurrentTimestamp();
	const pg_uuid_t *key_id;
	bool		changed;

	apikey_require_writable("apikey.alter_key()");
	key_id = apikey_key_id_argument(fcinfo, ARG_KEY_ID);
	actor = apikey_named_actor(fcinfo, ARG_ACTOR);
	apikey_enter(&saved, apikey_effective_actor(fcinfo, ARG_ACTOR));
	SPI_connect();
	apikey_key_open(key_id,
					apikey_text_argument(fcinfo, ARG_ACCOUNT,
										 APIKEY_ACCOUNT_MAX),
					&key);
	apikey_require_capability_of_key(&key, APIKEY_MAY_UPDATE, actor);
	apikey_require_living(&key, now);
	apikey_rules_of_key(&rules, &key);
	apply_arguments(fcinfo, saved.caller, &rules, now, &key);
	changed = store_changes(&key);
	SPI_finish();
	apikey_leave(&saved);
	PG_RETURN_BOOL(changed);
}
