/*
 * newkey.c
 *		What keys have in common when they are made, issued, rotated or
 *		imported: their row and its audit row.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "apikey.h"
#include "audit.h"
#include "catalog.h"
#include "compat.h"
#include "keyplace.h"
#include "manage.h"
#include "notify.h"
#include "record.h"
#include "spi_plan.h"

void
apikey_newkey_lock_table(void)
{
	table_close(table_open(apikey_relation(APIKEY_REL_KEY), RowExclusiveLock),
				NoLock);
}

void
apikey_newkey_start(ApikeyKey *key, const char *actor, TimestampTz created)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	memset(key, 0, sizeof(*key));
	memset(key->null, true, sizeof(key->null));
	apikey_new_id(id);
	apikey_newkey_set(key, KEY_KEY_ID, UUIDPGetDatum(id));
	apikey_newkey_set(key, KEY_CREATED_AT, TimestampTzGetDatum(created));
	if (actor != NULL)
		apikey_newkey_set(key, KEY_CREATED_BY, CStringGetTextDatum(actor));
}

void
apikey_newkey_fill(FunctionCallInfo fcinfo, const ApikeyNewKeyArguments *args,
				   const ApikeyRules *rules, Oid caller, ApikeyKey *key)
{
	text	   *role = apikey_rule_db_role(caller,
										   apikey_text_argument(fcinfo, args->db_role, NAMEDATALEN - 1));

	apikey_newkey_set(key, KEY_ACCOUNT,
					  CStringGetTextDatum(rules->account_name));
	apikey_newkey_set(key, KEY_KIND, CStringGetTextDatum(rules->kind->name));
	apikey_newkey_set(key, KEY_NAME,
					  PointerGetDatum(apikey_rule_name(rules,
													   apikey_text_argument(fcinfo, args->name, APIKEY_NAME_BYTES_MAX))));
	apikey_newkey_set(key, KEY_SCOPES,
					  PointerGetDatum(apikey_rule_scopes(rules,
														 !PG_ARGISNULL(args->scopes),
														 PG_GETARG_DATUM(args->scopes))));
	apikey_key_set(key, KEY_ALLOWED_IPS,
				   apikey_rule_ips(rules, !PG_ARGISNULL(args->allowed_ips),
								   PG_GETARG_DATUM(args->allowed_ips)));
	apikey_key_set(key, KEY_ALLOWED_ORIGINS,
				   apikey_rule_origins(rules,
									   !PG_ARGISNULL(args->allowed_origins),
									   PG_GETARG_DATUM(args->allowed_origins)));
	apikey_key_set(key, KEY_METADATA,
				   apikey_rule_metadata(!PG_ARGISNULL(args->metadata),
										PG_GETARG_DATUM(args->metadata)));
	if (role != NULL)
		apikey_newkey_set(key, KEY_DB_ROLE, PointerGetDatum(role));
}

void
apikey_newkey_set_digest(ApikeyKey *key,
						 const unsigned char digest[APIKEY_DIGEST_LEN],
						 int32 pepper_id, int16 algorithm)
{
	bytea	   *stored = palloc(VARHDRSZ + APIKEY_DIGEST_LEN);

	SET_VARSIZE(stored, VARHDRSZ + APIKEY_DIGEST_LEN);
	memcpy(VARDATA(stored), digest, APIKEY_DIGEST_LEN);
	apikey_newkey_set(key, KEY_DIGEST, PointerGetDatum(stored));
	apikey_newkey_set(key, KEY_LOOKUP,
					  Int64GetDatum(apikey_lookup_of(digest)));
	apikey_newkey_set(key, KEY_PEPPER_ID, Int32GetDatum(pepper_id));
	apikey_newkey_set(key, KEY_ALGORITHM, Int16GetDatum(algorithm));
}

void
apikey_newkey_set_expiry(ApikeyKey *key, const ApikeyExpiry *expiry)
{
	apikey_newkey_set(key, KEY_EXPIRY_GIVEN, BoolGetDatum(expiry->given));
	apikey_newkey_set(key, KEY_EXPIRES_AT, TimestampTzGetDatum(expiry->at));
	key->null[KEY_EXPIRES_AT] = expiry->never;
}

void
apikey_newkey_store(const ApikeyKey *key, const char *event)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY),
								 RowExclusiveLock);
	ApikeyPlace place = {
		apikey_insert(rel, (Datum *) key->value + 1, (bool *) key->null + 1,
					  APIKEY_KEY_NCOLUMNS),
		InvalidBuffer
	};

	table_close(rel, NoLock);
	/* its first use need not go through the index, if it comes to be */
	if (DatumGetInt16(key->value[KEY_ALGORITHM]) == APIKEY_ALGORITHM_BLAKE2B)
		apikey_keyplace_note(APIKEY_PLACES_KEY,
							 apikey_keyplace_hash((unsigned char *)
												  VARDATA_ANY(DatumGetPointer(key->value[KEY_DIGEST]))),
							 &place);
	apikey_audit_issue(key, event);
	apikey_announce(event, DatumGetUUIDP(key->value[KEY_KEY_ID]));
}

void
apikey_newkey_check_credits(int64 credits)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.check_credits($1, NULL, NULL)",
		.nargs = 1,
		.types = {INT8OID},
	};
	ApikeyPrivileges saved;
	Datum		value = Int64GetDatum(credits);

	apikey_enter(&saved, NULL);
	SPI_connect();
	apikey_plan_query_latest(&plan, &value, NULL);
	SPI_finish();
	apikey_leave(&saved);
}

void
apikey_newkey_credits(const ApikeyKey *key, int64 credits)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.start_credits($1, NULL, $2)",
		.nargs = 2,
		.types = {UUIDOID, INT8OID},
	};
	ApikeyPrivileges saved;
	Datum		values[2] = {key->value[KEY_KEY_ID], Int64GetDatum(credits)};

	apikey_newkey_check_credits(credits);
	apikey_enter(&saved, NULL);
	SPI_connect();
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
	SPI_finish();
	apikey_leave(&saved);
}
