/*
 * issue.c
 *		apikey.issue and apikey.rotate: making keys.
 *
 * Locks, in this order: the key table (against removal of the kind), for
 * rotate the predecessor's row, the account if its number of keys is capped,
 * the making of the first pepper.  The key text is wiped from every buffer of
 * ours; what is returned to the client is the only copy.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
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
#include "crypto.h"
#include "locks.h"
#include "manage.h"
#include "pepper.h"
#include "record.h"
#include "scopes.h"
#include "secret.h"
#include "spi_plan.h"

/* Accounts share this many locks, so that the lock table never fills up. */
#define ACCOUNT_LOCKS	1024

/* Random bytes drawn at a time; about 3 % are no base62 digit */
#define RANDOM_CHUNK	64

/* Arguments of apikey.issue, in order */
enum
{
	ISSUE_ACCOUNT, ISSUE_NAME, ISSUE_SCOPES, ISSUE_KIND, ISSUE_ALLOWED_IPS,
	ISSUE_ALLOWED_ORIGINS, ISSUE_EXPIRES_AT, ISSUE_EXPIRES_IN,
	ISSUE_METADATA, ISSUE_ACTOR, ISSUE_DB_ROLE, ISSUE_CREDITS
};

/* Arguments of apikey.rotate, in order */
enum
{
	ROTATE_KEY_ID, ROTATE_OVERLAP, ROTATE_ACTOR, ROTATE_EXPIRES_AT,
	ROTATE_EXPIRES_IN, ROTATE_ACCOUNT
};

/* Columns of apikey.issued_key */
enum
{
	ISSUED_KEY, ISSUED_KEY_ID, ISSUED_DISPLAY, ISSUED_ACCOUNT, ISSUED_NAME,
	ISSUED_KIND, ISSUED_SCOPES, ISSUED_CREATED_AT, ISSUED_EXPIRES_AT,
	ISSUED_NCOLUMNS
};

/* A key in the making: what becomes its row, and its text */
typedef struct NewKey
{
	ApikeyKey	row;
	char		text[APIKEY_TOKEN_MAX];
	size_t		text_len;
} NewKey;

/*
 * Refuse one key too many: exactly so under concurrency and in every
 * isolation level, for whoever counts holds the account's lock and counts
 * what is committed by then.
 */
static void
check_cap(const ApikeyRules *rules)
{
	static ApikeyPlan plan = {
		.query = "SELECT count(*) FROM apikey.key WHERE account = $1 AND revoked_at IS NULL"
		" AND rotated_to IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())",
		.nargs = 1,
		.types = {TEXTOID},
	};
	ApikeyPrivileges saved;
	int			max = rules->account->max_keys;
	size_t		len = strlen(rules->account_name);
	Datum		account = PointerGetDatum(cstring_to_text(rules->account_name));
	int64		count;
	bool		isnull;

	if (max < 0)
		return;
	apikey_lock(APIKEY_LOCK_ACCOUNT,
				DatumGetUInt32(hash_any((const unsigned char *) rules->account_name,
										len)) % ACCOUNT_LOCKS);
	apikey_enter(&saved, NULL);
	SPI_connect();
	apikey_plan_query_latest(&plan, &account, NULL);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	apikey_leave(&saved);
	if (count < max)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_APIKEY_CONFLICT),
			 errmsg("account \"%s\" has all the keys it may have: %d",
					rules->account_name, max),
			 errdetail("account_policy.max_keys counts keys that are neither revoked, expired nor superseded."),
			 errhint("Revoke a key that is no longer used.")));
}

/*
 * Draw the key text, hash it and note how it may be shown.
 */
static void
make_text(NewKey *key, const ApikeyKind *kind)
{
	const ApikeyPepper *pepper = apikey_current_pepper();
	char		body[APIKEY_BODY_MAX];
	char		display[APIKEY_DISPLAY_MAX + 1];
	uint8		random[RANDOM_CHUNK];
	size_t		have = 0;
	unsigned char digest[APIKEY_DIGEST_LEN];

	apikey_secrets_ensure();
	while (have < kind->format.body_length)
	{
		apikey_random(random, sizeof(random));
		have += apikey_token_digits(random, sizeof(random), body + have,
									kind->format.body_length - have);
	}
	key->text_len = apikey_token_length(&kind->format);
	apikey_token_write(&kind->format, body, key->text);
	apikey_wipe(random, sizeof(random));
	apikey_wipe(body, sizeof(body));

	apikey_digest(digest, key->text, key->text_len, pepper->secret);
	apikey_newkey_set_digest(&key->row, digest, pepper->id,
							 APIKEY_ALGORITHM_BLAKE2B);
	apikey_token_display(&kind->format, &kind->mask, key->text, key->text_len,
						 display);
	apikey_newkey_set(&key->row, KEY_DISPLAY, CStringGetTextDatum(display));
}

/*
 * The row that issue and rotate return; the key text is wiped here.
 */
static Datum
issued_datum(NewKey *key)
{
	struct varlena *scopes = (struct varlena *)
		PG_DETOAST_DATUM_PACKED(key->row.value[KEY_SCOPES]);
	ApikeyGrants grants = apikey_scopes_open(scopes);
	Datum		values[ISSUED_NCOLUMNS];
	bool		nulls[ISSUED_NCOLUMNS] = {false};
	text	   *key_text = cstring_to_text_with_len(key->text, key->text_len);
	HeapTuple	tuple;

	values[ISSUED_KEY] = PointerGetDatum(key_text);
	values[ISSUED_KEY_ID] = key->row.value[KEY_KEY_ID];
	values[ISSUED_DISPLAY] = key->row.value[KEY_DISPLAY];
	values[ISSUED_ACCOUNT] = key->row.value[KEY_ACCOUNT];
	values[ISSUED_NAME] = key->row.value[KEY_NAME];
	values[ISSUED_KIND] = key->row.value[KEY_KIND];
	values[ISSUED_SCOPES] = apikey_scopes_array(&grants);
	values[ISSUED_CREATED_AT] = key->row.value[KEY_CREATED_AT];
	values[ISSUED_EXPIRES_AT] = key->row.value[KEY_EXPIRES_AT];
	nulls[ISSUED_EXPIRES_AT] = key->row.null[KEY_EXPIRES_AT];
	tuple = heap_form_tuple(apikey_type_desc(APIKEY_TYPE_ISSUED_KEY),
							values, nulls);
	apikey_wipe(VARDATA(key_text), key->text_len);
	apikey_wipe(key->text, sizeof(key->text));
	return HeapTupleGetDatum(tuple);
}

/*
 * Read two optional arguments of expiry.
 */
static void
expiry_arguments(FunctionCallInfo fcinfo, int at_arg, int in_arg,
				 const ApikeyRules *rules, TimestampTz now,
				 ApikeyExpiry *expiry)
{
	TimestampTz at = 0;

	if (!PG_ARGISNULL(at_arg))
		at = PG_GETARG_TIMESTAMPTZ(at_arg);
	apikey_rule_expiry(rules, PG_ARGISNULL(at_arg) ? NULL : &at,
					   PG_ARGISNULL(in_arg) ? NULL : PG_GETARG_INTERVAL_P(in_arg),
					   now, now, expiry);
}

/*
 * Fill in the row from the arguments of apikey.issue.
 */
static void
apply_issue_arguments(FunctionCallInfo fcinfo, const ApikeyRules *rules,
					  Oid caller, TimestampTz now, NewKey *key)
{
	static const ApikeyNewKeyArguments args = {
		.name = ISSUE_NAME,
		.scopes = ISSUE_SCOPES,
		.allowed_ips = ISSUE_ALLOWED_IPS,
		.allowed_origins = ISSUE_ALLOWED_ORIGINS,
		.metadata = ISSUE_METADATA,
		.db_role = ISSUE_DB_ROLE,
	};
	ApikeyExpiry expiry = {false};

	apikey_newkey_fill(fcinfo, &args, rules, caller, &key->row);
	expiry_arguments(fcinfo, ISSUE_EXPIRES_AT, ISSUE_EXPIRES_IN, rules, now,
					 &expiry);
	apikey_newkey_set_expiry(&key->row, &expiry);
}

PG_FUNCTION_INFO_V1(apikey_sql_issue);

/*
 * apikey.issue(account, name, scopes, kind, allowed_ips, allowed_origins,
 *				expires_at, expires_in, metadata, actor, db_role, credits)
 *		returns apikey.issued_key
 *		Errors: 22023 bad argument, KA403 policy, KA409 capacity, 25006
 *		read-only, 55000 pepper missing.
 */
Datum
apikey_sql_issue(PG_FUNCTION_ARGS)
{
	ApikeyPrivileges saved;
	ApikeyRules rules;
	NewKey		key;
	TimestampTz now = GetCurrentTimestamp();
	ApikeyText	named;
	char	   *actor;
	char	   *account;

	apikey_require_writable("apikey.issue()");
	named = apikey_named_actor(fcinfo, ISSUE_ACTOR);
	actor = apikey_effective_actor(fcinfo, ISSUE_ACTOR);
	account = apikey_rule_account(apikey_text_argument(fcinfo, ISSUE_ACCOUNT,
													   APIKEY_ACCOUNT_MAX));
	apikey_enter_without_sql(&saved);
	apikey_newkey_lock_table();
	apikey_require_capability(account, APIKEY_MAY_CREATE, named);
	apikey_rules_find(&rules, account,
					  apikey_text_argument(fcinfo, ISSUE_KIND,
										   APIKEY_KIND_MAX));
	apikey_rule_may_issue(&rules);
	apikey_newkey_start(&key.row, actor, now);
	apply_issue_arguments(fcinfo, &rules, saved.caller, now, &key);

	check_cap(&rules);
	make_text(&key, rules.kind);
	apikey_newkey_store(&key.row, "issue");
	if (!PG_ARGISNULL(ISSUE_CREDITS))
		apikey_newkey_credits(&key.row, PG_GETARG_INT64(ISSUE_CREDITS));
	apikey_leave(&saved);
	return issued_datum(&key);
}

/*
 * What a successor keeps of its predecessor.
 */
static void
inherit_columns(const ApikeyKey *old, NewKey *key)
{
	static const ApikeyKeyColumn kept[] = {
		KEY_ACCOUNT, KEY_KIND, KEY_NAME, KEY_SCOPES,
	KEY_ALLOWED_IPS, KEY_ALLOWED_ORIGINS, KEY_DB_ROLE, KEY_METADATA};

	for (int i = 0; i < lengthof(kept); i++)
	{
		key->row.value[kept[i]] = old->value[kept[i]];
		key->row.null[kept[i]] = old->null[kept[i]];
	}
	apikey_newkey_set(&key->row, KEY_ROTATED_FROM, old->value[KEY_KEY_ID]);
	apikey_newkey_set(&key->row, KEY_LINEAGE,
					  old->value[old->null[KEY_LINEAGE] ?
								 KEY_KEY_ID : KEY_LINEAGE]);
}

/*
 * End the predecessor: now, or after the overlap if it would not end before.
 */
static void
supersede(const ApikeyKey *old, const NewKey *key, const Interval *overlap,
		  TimestampTz now)
{
	static ApikeyPlan plan = {
		.query = "UPDATE apikey.key SET rotated_to = $2,"
		" expires_at = CASE WHEN $3 IS NULL THEN expires_at ELSE least(expires_at, $3) END,"
		" revoked_at = CASE WHEN $3 IS NULL THEN $4 END,"
		" revoked_by = CASE WHEN $3 IS NULL THEN apikey.actor() END,"
		" revoke_reason = CASE WHEN $3 IS NULL THEN 'rotated' END"
		" WHERE key_id = $1",
		.nargs = 4,
		.types = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};

	values[0] = old->value[KEY_KEY_ID];
	values[1] = key->row.value[KEY_KEY_ID];
	if (apikey_interval_is_zero(overlap))
		nulls[2] = 'n';
	else
		values[2] = DirectFunctionCall2(timestamptz_pl_interval,
										TimestampTzGetDatum(now),
										IntervalPGetDatum(overlap));
	values[3] = TimestampTzGetDatum(now);
	apikey_plan_execute(&plan, values, nulls, SPI_OK_UPDATE);
}

/*
 * The successor has the rate limits of its predecessor; what they count is
 * the lineage's.
 */
static void
inherit_limits(const ApikeyKey *old, const NewKey *key)
{
	static ApikeyPlan plan = {
		.query = "INSERT INTO apikey.rate_limit (name, key_id, max, per, weighted)"
		" SELECT name, $2, max, per, weighted FROM apikey.rate_limit WHERE key_id = $1",
		.nargs = 2,
		.types = {UUIDOID, UUIDOID},
	};
	Datum		values[2] = {old->value[KEY_KEY_ID], key->row.value[KEY_KEY_ID]};

	apikey_plan_execute(&plan, values, NULL, SPI_OK_INSERT);
}

/*
 * Only active keys without successor are rotated.
 */
static void
require_rotatable(const ApikeyKey *key, TimestampTz now)
{
	const char *status = apikey_key_status(key, now);

	if (strcmp(status, "active") == 0 && key->null[KEY_ROTATED_TO])
		return;
	ereport(ERROR,
			(errcode(ERRCODE_APIKEY_CONFLICT),
			 errmsg("key %s is %s",
					DatumGetCString(DirectFunctionCall1(uuid_out,
														key->value[KEY_KEY_ID])),
					key->null[KEY_ROTATED_TO] ? status : "rotated already"),
			 errdetail("Only active keys without a successor can be rotated."),
			 errhint("Rotate its successor, or issue a new key.")));
}

static const Interval *
overlap_argument(FunctionCallInfo fcinfo)
{
	static const Interval zero = {0};
	const Interval *overlap;

	if (PG_ARGISNULL(ROTATE_OVERLAP))
		return &zero;
	overlap = PG_GETARG_INTERVAL_P(ROTATE_OVERLAP);
	if (overlap->time < 0 || overlap->day < 0 || overlap->month < 0 ||
		overlap->month > 12 * 100 || overlap->day > 366 * 100 ||
		overlap->time / USECS_PER_DAY > 366 * 100)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"overlap\""),
				 errdetail("It must not be negative, nor longer than 100 years."),
				 errhint("Pass the time in which both keys work, such as '7 days'.")));
	return overlap;
}

PG_FUNCTION_INFO_V1(apikey_sql_rotate);

/*
 * apikey.rotate(key_id, overlap, actor, expires_at, expires_in, account)
 *		returns apikey.issued_key
 *		Errors: 22023 bad argument, KA403 policy, KA404 unknown key, KA409
 *		not active or rotated already, 25006 read-only.
 */
Datum
apikey_sql_rotate(PG_FUNCTION_ARGS)
{
	ApikeyPrivileges saved;
	ApikeyRules rules;
	ApikeyKey	old;
	NewKey		key;
	ApikeyExpiry expiry;
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext caller = CurrentMemoryContext;
	const Interval *overlap = overlap_argument(fcinfo);
	const pg_uuid_t *key_id;
	ApikeyText	named;
	char	   *actor;
	Datum		result;

	apikey_require_writable("apikey.rotate()");
	key_id = apikey_key_id_argument(fcinfo, ROTATE_KEY_ID);
	named = apikey_named_actor(fcinfo, ROTATE_ACTOR);
	actor = apikey_effective_actor(fcinfo, ROTATE_ACTOR);
	apikey_enter(&saved, actor);
	apikey_newkey_lock_table();
	SPI_connect();
	apikey_key_open(key_id,
					apikey_text_argument(fcinfo, ROTATE_ACCOUNT,
										 APIKEY_ACCOUNT_MAX),
					&old);
	apikey_require_capability_of_key(&old, APIKEY_MAY_CREATE, named);
	apikey_require_capability_of_key(&old, APIKEY_MAY_REVOKE, named);
	require_rotatable(&old, now);
	apikey_rules_of_key(&rules, &old);
	apikey_rule_may_issue(&rules);

	apikey_newkey_start(&key.row, actor, now);
	inherit_columns(&old, &key);
	expiry.given = DatumGetBool(old.value[KEY_EXPIRY_GIVEN]);
	expiry.never = old.null[KEY_EXPIRES_AT];
	expiry.at = DatumGetTimestampTz(old.value[KEY_EXPIRES_AT]);
	expiry_arguments(fcinfo, ROTATE_EXPIRES_AT, ROTATE_EXPIRES_IN, &rules,
					 now, &expiry);
	apikey_newkey_set_expiry(&key.row, &expiry);

	make_text(&key, rules.kind);
	apikey_newkey_store(&key.row, "issue");
	supersede(&old, &key, overlap, now);
	inherit_limits(&old, &key);

	/* what the key consists of is gone after SPI_finish() */
	MemoryContextSwitchTo(caller);
	result = issued_datum(&key);
	SPI_finish();
	apikey_leave(&saved);
	return result;
}
