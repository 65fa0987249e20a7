/*
 * import.c
 *		apikey.import_key and apikey.import_check: taking over keys of other
 *		systems by the hashes stored there.
 *
 * Both look at the arguments with the same code; import_check reports what is
 * raised there.  Locks, in this order: the key table (against removal of the
 * kind), imports (so that no hash comes twice), the making of the first
 * pepper.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "hashtext.h"
#include "imported.h"
#include "manage.h"
#include "member.h"
#include "pepper.h"
#include "record.h"
#include "secret.h"
#include "slowhash.h"
#include "usage_open.h"

/* Arguments of apikey.import_key and apikey.import_check, in order */
enum
{
	ARG_ACCOUNT, ARG_NAME, ARG_ALGORITHM, ARG_HASH, ARG_SCOPES, ARG_KIND,
	ARG_LOOKUP, ARG_SEPARATOR, ARG_HASHED_PART, ARG_HASH_SECRET,
	ARG_ALLOWED_IPS, ARG_ALLOWED_ORIGINS, ARG_EXPIRES_AT, ARG_METADATA,
	ARG_ACTOR, ARG_DB_ROLE, ARG_CREDITS, ARG_CREATED_AT, ARG_LAST_USED_AT,
	ARG_DISABLED, ARG_DISPLAY
};

/* Stands for a server where another system counted */
#define NODE_IMPORT			"import"

#define HASH_TEXT_MAX		512
#define HASH_SECRET_MAX		1024
#define DISPLAY_MAX			128
#define DISPLAY_LOOKUP_MAX	12

/* What is imported, as the arguments say */
typedef struct Import
{
	char	   *account;
	ApikeyHash	hash;
	ApikeyScheme scheme;
	ApikeyText	lookup;
	ApikeyRules rules;
	TimestampTz last_used_at;	/* 0: not given */
	ApikeyKey	key;			/* its row but for the digest */
} Import;

/*
 * Read what was hashed, and how.
 */
static void
read_hash(FunctionCallInfo fcinfo, Import *import)
{
	ApikeyText	algorithm = apikey_text_argument(fcinfo, ARG_ALGORITHM,
												 APIKEY_KIND_MAX);
	ApikeyText	hash = apikey_text_argument(fcinfo, ARG_HASH, HASH_TEXT_MAX);
	ApikeyText	secret = apikey_text_argument(fcinfo, ARG_HASH_SECRET,
											  HASH_SECRET_MAX);
	const char *rule;

	if (algorithm.data == NULL || algorithm.too_long ||
		!apikey_hash_algorithm(algorithm.data, algorithm.len,
							   &import->hash.algorithm))
		apikey_bad_argument("algorithm",
					 "It must be sha256, sha512, hmac-sha256, blake2b, argon2id, bcrypt, md5-crypt, xdes, sha256-crypt, sha512-crypt or crypt.",
					 "Name the algorithm that the other system hashes its keys with.");
	if (hash.data == NULL || hash.too_long)
		apikey_bad_argument("hash", "It must be a hash of up to 512 characters.",
					 "Pass the hash that the other system has stored of the key, never the key itself.");
	rule = apikey_hash_parse(import->hash.algorithm, hash.data, hash.len,
							 &import->hash);
	if (rule != NULL)
		apikey_bad_argument("hash", rule,
					 "Pass the hash that the other system has stored of the key, as it is stored there.");
	if (!apikey_slow_available(import->hash.algorithm))
		apikey_bad_argument("hash", "The extension pgcrypto of this server does not have this scheme.",
					 "Issue new keys instead, or import on a server that has it.");
	import->scheme.algorithm = import->hash.algorithm;
	import->scheme.secret = (const unsigned char *) secret.data;
	import->scheme.secret_len = secret.len;
	if (import->hash.algorithm != APIKEY_HASH_HMAC_SHA256)
	{
		if (secret.data != NULL)
			apikey_bad_argument("hash_secret", "Only hmac-sha256 has a secret.",
						 "Leave it out, or pass the algorithm \"hmac-sha256\".");
	}
	else if (secret.data == NULL || secret.too_long ||
			 secret.len == 0)
		apikey_bad_argument("hash_secret",
					 "hmac-sha256 needs the secret that the keys were hashed with, of 1 to 1024 bytes.",
					 "Pass it as the other system has it: its bytes are taken as they are.");
}

/*
 * Read the arguments that say where a presented text is cut.
 */
static void
read_cut(FunctionCallInfo fcinfo, Import *import)
{
	ApikeyScheme *scheme = &import->scheme;
	bool		salted = apikey_hash_is_salted(import->hash.algorithm);
	ApikeyText	part = apikey_text_argument(fcinfo, ARG_HASHED_PART,
											APIKEY_KIND_MAX);
	ApikeyText	separator = apikey_text_argument(fcinfo, ARG_SEPARATOR,
												 APIKEY_SEPARATOR_MAX);
	ApikeyText	lookup = apikey_text_argument(fcinfo, ARG_LOOKUP,
											  APIKEY_LOOKUP_MAX);

	if (part.data != NULL && part.len == strlen("after") &&
		memcmp(part.data, "after", part.len) == 0)
		scheme->after = true;
	else if (part.data != NULL &&
			 (part.len != strlen("whole") ||
			  memcmp(part.data, "whole", part.len) != 0))
		apikey_bad_argument("hashed_part", "It must be whole or after.",
					 "Pass \"after\" if only what is behind the separator or the lookup was hashed.");
	if (separator.data != NULL &&
		(separator.too_long || separator.len == 0 || apikey_has_control_characters(separator)))
		apikey_bad_argument("separator",
					 "A separator has 1 to 16 bytes and no control characters.",
					 "Pass what stands between the lookup and the rest of a key, such as \"|\".");
	if (lookup.data != NULL &&
		(lookup.too_long || lookup.len == 0 || apikey_has_control_characters(lookup)))
		apikey_bad_argument("lookup",
					 "A lookup has 1 to 255 bytes and no control characters.",
					 "Pass what the keys begin with and are found by, or leave it out.");
	if (lookup.data != NULL && separator.data != NULL &&
		memmem(lookup.data, lookup.len, separator.data, separator.len) != NULL)
		apikey_bad_argument("lookup", "It must not contain the separator.",
					 "Keys are cut at its first occurrence: pass what stands before that.");
	if (salted && lookup.data == NULL)
		apikey_bad_argument("lookup",
					 "A salted hash can't be searched for: the key must be found by what it begins with.",
					 "Pass the part before the separator, or the first characters of the key.");
	if (scheme->after && lookup.data == NULL && separator.data == NULL)
		apikey_bad_argument("hashed_part", "\"after\" needs a separator, or a lookup.",
					 "Say where the part that was hashed begins.");

	/* of what is hashed whole and without a salt nothing else matters */
	if (!salted && !scheme->after)
		return;
	if (separator.data != NULL)
	{
		memcpy(scheme->separator, separator.data, separator.len);
		scheme->separator_len = separator.len;
	}
	else
		scheme->lookup_length = lookup.len;
	import->lookup = lookup;
}

/*
 * Has this hash been imported?  Of a key of another account that is an error.
 */
static bool
is_imported(Import *import, pg_uuid_t *key_id)
{
	pg_uuid_t	fingerprint;
	ApikeyKey	key;
	text	   *account;

	if (!apikey_import_fingerprint(&import->hash, &fingerprint) ||
		!apikey_imported_find(&fingerprint, &key))
		return false;
	account = DatumGetTextPP(key.value[KEY_ACCOUNT]);
	if (VARSIZE_ANY_EXHDR(account) != strlen(import->account) ||
		memcmp(VARDATA_ANY(account), import->account,
			   VARSIZE_ANY_EXHDR(account)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_CONFLICT),
				 errmsg("this hash belongs to a key of another account"),
				 errdetail("A key has one account, and was imported for another one before."),
				 errhint("Import each hash once, for the account that owns the key.")));
	*key_id = *DatumGetUUIDP(key.value[KEY_KEY_ID]);
	return true;
}

/*
 * A time of the past; false if it was not given.
 */
static bool
past_argument(FunctionCallInfo fcinfo, int argno, const char *name,
			  TimestampTz now, TimestampTz *at)
{
	if (PG_ARGISNULL(argno))
		return false;
	*at = PG_GETARG_TIMESTAMPTZ(argno);
	if (TIMESTAMP_NOT_FINITE(*at) || *at > now)
		apikey_bad_argument(name, "It must be a time that has passed.",
					 "Pass what the other system has noted, or leave it out.");
	return true;
}

/*
 * An expiry that has passed is kept: the key is listed, as expired.  Else
 * lifetimes begin with the import.
 */
static void
set_expiry(FunctionCallInfo fcinfo, TimestampTz now, Import *import)
{
	ApikeyExpiry expiry = {false};
	TimestampTz at = 0;

	if (!PG_ARGISNULL(ARG_EXPIRES_AT))
	{
		at = PG_GETARG_TIMESTAMPTZ(ARG_EXPIRES_AT);
		if (TIMESTAMP_IS_NOBEGIN(at))
			apikey_bad_argument("expires_at", "It must not be \"-infinity\".",
						 "Pass when the key expires or has expired, or \"infinity\" for never.");
	}
	if (!PG_ARGISNULL(ARG_EXPIRES_AT) && at <= now)
	{
		expiry.given = true;
		expiry.at = at;
	}
	else
		apikey_rule_expiry(&import->rules,
						   PG_ARGISNULL(ARG_EXPIRES_AT) ? NULL : &at, NULL,
						   now, now, &expiry);
	apikey_newkey_set_expiry(&import->key, &expiry);
}

/*
 * Is this text the key, as far as one can tell without a slow hash?
 */
static bool
is_key(const Import *import, const char *text, size_t len)
{
	unsigned char hash[APIKEY_HASH_BYTES_MAX];
	ApikeyCut	cut;

	return apikey_scheme_cut(&import->scheme, text, len, &cut) &&
		apikey_scheme_hash(&import->scheme, cut.part, cut.part_len,
						   hash) == import->hash.len &&
		apikey_equal(hash, import->hash.u.bytes, import->hash.len);
}

/*
 * By what people recognise the key.  The key itself must not be shown.
 */
static void
set_display(FunctionCallInfo fcinfo, Import *import)
{
	ApikeyText	display = apikey_text_argument(fcinfo, ARG_DISPLAY,
											   DISPLAY_MAX);
	ApikeyText	lookup = apikey_text_argument(fcinfo, ARG_LOOKUP,
											  APIKEY_LOOKUP_MAX);
	char	   *shown;

	if (display.data != NULL &&
		(display.too_long || display.len == 0 || apikey_has_control_characters(display)))
		apikey_bad_argument("display",
					 "A display mask has 1 to 128 bytes and no control characters.",
					 "Pass what people recognise the key by, such as its first characters.");
	if (display.data != NULL &&
		is_key(import, display.data, display.len))
		apikey_bad_argument("display", "This is the key itself.",
					 "Pass a few of its characters at most.");
	if (display.data != NULL)
		shown = apikey_clean(display.data, display.len, DISPLAY_MAX);
	else if (lookup.data != NULL)
		shown = psprintf("%s...",
						 apikey_clean(lookup.data, lookup.len,
									  DISPLAY_LOOKUP_MAX));
	else
		shown = pstrdup("imported");
	apikey_newkey_set(&import->key, KEY_DISPLAY, CStringGetTextDatum(shown));
}

/*
 * The rest of the arguments, and what policy says.
 */
static void
read_key(FunctionCallInfo fcinfo, Oid caller, Import *import)
{
	static const ApikeyNewKeyArguments args = {
		.name = ARG_NAME,
		.scopes = ARG_SCOPES,
		.allowed_ips = ARG_ALLOWED_IPS,
		.allowed_origins = ARG_ALLOWED_ORIGINS,
		.metadata = ARG_METADATA,
		.db_role = ARG_DB_ROLE,
	};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz created = now;
	char	   *actor = apikey_effective_actor(fcinfo, ARG_ACTOR);

	apikey_rules_find(&import->rules, import->account,
					  apikey_text_argument(fcinfo, ARG_KIND, APIKEY_KIND_MAX));
	apikey_rule_may_issue(&import->rules);
	(void) past_argument(fcinfo, ARG_CREATED_AT, "created_at", now, &created);
	(void) past_argument(fcinfo, ARG_LAST_USED_AT, "last_used_at", now,
						 &import->last_used_at);

	apikey_newkey_start(&import->key, actor, created);
	apikey_newkey_fill(fcinfo, &args, &import->rules, caller, &import->key);
	set_expiry(fcinfo, now, import);
	set_display(fcinfo, import);
	if (!PG_ARGISNULL(ARG_CREDITS))
		apikey_newkey_check_credits(PG_GETARG_INT64(ARG_CREDITS));
	if (!PG_ARGISNULL(ARG_DISABLED) && PG_GETARG_BOOL(ARG_DISABLED))
	{
		apikey_newkey_set(&import->key, KEY_DISABLED_AT,
						  TimestampTzGetDatum(now));
		import->key.value[KEY_DISABLED_BY] = import->key.value[KEY_CREATED_BY];
		import->key.null[KEY_DISABLED_BY] = import->key.null[KEY_CREATED_BY];
	}
}

/*
 * Unknown texts are hashed in every way that was imported, and texts with a
 * salted hash by every key that shares their lookup: few of either.
 */
static void
check_room(const Import *import)
{
	int32		id;
	int			count;

	(void) apikey_schemes(&count);
	if (count >= APIKEY_SCHEMES_MAX &&
		!apikey_scheme_find(&import->scheme, &id))
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_CONFLICT),
				 errmsg("keys of %d forms were imported already",
						APIKEY_SCHEMES_MAX),
				 errdetail("Each algorithm, separator, length of lookup, hashed_part and hash_secret makes a form, in which every unknown text is tried."),
				 errhint("Import keys of the same form with the same arguments.")));
	if (apikey_hash_is_salted(import->hash.algorithm) &&
		apikey_lookup_shared(import->lookup.data, import->lookup.len) >=
		APIKEY_LOOKUP_SHARED_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_APIKEY_CONFLICT),
				 errmsg("%d keys share this lookup already",
						APIKEY_LOOKUP_SHARED_MAX),
				 errdetail("Each of them is tried, with its slow hash, when a key with this lookup is presented."),
				 errhint("Pass a lookup that is longer, or of one key alone.")));
}

/*
 * Everything that is said about the arguments.  True if the key is there
 * already; then its id is set.
 */
static bool
check_arguments(FunctionCallInfo fcinfo, Oid caller, bool lock,
				Import *import, pg_uuid_t *key_id)
{
	ApikeyText	named = apikey_named_actor(fcinfo, ARG_ACTOR);

	memset(import, 0, sizeof(*import));
	import->account = apikey_rule_account(apikey_text_argument(fcinfo, ARG_ACCOUNT,
															   APIKEY_ACCOUNT_MAX));
	apikey_require_capability(import->account, APIKEY_MAY_CREATE, named);
	read_hash(fcinfo, import);
	read_cut(fcinfo, import);
	if (lock)
		apikey_import_lock();
	if (is_imported(import, key_id))
		return true;
	read_key(fcinfo, caller, import);
	check_room(import);
	return false;
}

/*
 * Note when the key was last used where it comes from.
 */
static void
store_use(const Import *import)
{
	Datum		values[USE_LAST_USED_AT + 1];
	bool		nulls[USE_LAST_USED_AT + 1] = {false};
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY_USE),
								 RowExclusiveLock);

	values[USE_KEY_ID] = import->key.value[KEY_KEY_ID];
	values[USE_NODE] = CStringGetTextDatum(NODE_IMPORT);
	values[USE_LAST_USED_AT] = TimestampTzGetDatum(import->last_used_at);
	/* nothing was counted here: the other columns are NULL */
	(void) apikey_insert(rel, values, nulls, USE_LAST_USED_AT + 1);
	table_close(rel, NoLock);
}

static void
store_import(Import *import)
{
	const ApikeyPepper *pepper;
	unsigned char digest[APIKEY_DIGEST_LEN];
	const pg_uuid_t *key_id = DatumGetUUIDP(import->key.value[KEY_KEY_ID]);
	pg_uuid_t	fingerprint;
	int32		scheme_id;
	int16		algorithm;

	apikey_secrets_ensure();
	apikey_import_ensure_fingerprints();
	scheme_id = apikey_scheme_ensure(&import->scheme);
	pepper = apikey_current_pepper();
	algorithm = apikey_import_digest(digest, &import->hash,
									 import->lookup.data, import->lookup.len,
									 pepper->secret);
	apikey_newkey_set_digest(&import->key, digest, pepper->id, algorithm);
	if (!apikey_import_fingerprint(&import->hash, &fingerprint))
		elog(ERROR, "no secret for fingerprints of imported keys");
	apikey_newkey_store(&import->key, "import");
	apikey_imported_store(key_id, &fingerprint, scheme_id,
						  import->lookup.data == NULL ? NULL :
						  pnstrdup(import->lookup.data, import->lookup.len),
						  apikey_hash_is_salted(import->hash.algorithm) ?
						  import->hash.u.string : NULL);
	if (import->last_used_at != 0)
		store_use(import);
}

PG_FUNCTION_INFO_V1(apikey_sql_import_key);

/*
 * apikey.import_key(account, name, algorithm, hash, ...) returns uuid
 *		Errors: 22023 bad argument, KA403 policy, KA409 the hash belongs to
 *		another account's key, 25006 read-only, 55000 pepper missing.
 */
Datum
apikey_sql_import_key(PG_FUNCTION_ARGS)
{
	ApikeyPrivileges saved;
	Import		import;
	pg_uuid_t  *key_id = palloc(sizeof(pg_uuid_t));

	apikey_require_writable("apikey.import_key()");
	apikey_enter_without_sql(&saved);
	apikey_newkey_lock_table();
	if (!check_arguments(fcinfo, saved.caller, true, &import, key_id))
	{
		store_import(&import);
		if (!PG_ARGISNULL(ARG_CREDITS))
			apikey_newkey_credits(&import.key, PG_GETARG_INT64(ARG_CREDITS));
		*key_id = *DatumGetUUIDP(import.key.value[KEY_KEY_ID]);
	}
	apikey_leave(&saved);
	PG_RETURN_UUID_P(key_id);
}

/*
 * The arguments as import_key would look at them, without a trace.
 */
static void
check_only(FunctionCallInfo fcinfo)
{
	ApikeyPrivileges saved;
	Import		import;
	pg_uuid_t	key_id;

	apikey_enter_without_sql(&saved);
	if (!check_arguments(fcinfo, saved.caller, false, &import, &key_id) &&
		apikey_peppers()->count > 0)
		(void) apikey_current_pepper();
	apikey_leave(&saved);
}

/*
 * Is this error about what was to be imported?  Others are raised.
 */
static bool
is_refusal(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_INVALID_PARAMETER_VALUE ||
		error->sqlerrcode == ERRCODE_APIKEY_FORBIDDEN ||
		error->sqlerrcode == ERRCODE_APIKEY_CONFLICT ||
		error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
}

PG_FUNCTION_INFO_V1(apikey_sql_import_check);

/*
 * apikey.import_check(arguments of import_key) returns text
 *		Why they would be refused, or NULL.  In a subtransaction that gets no
 *		transaction id: works in READ ONLY transactions.
 */
Datum
apikey_sql_import_check(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	text	   *volatile reason = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		check_only(fcinfo);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!is_refusal(error))
			ReThrowError(error);
		reason = cstring_to_text(error->detail == NULL ? error->message :
								 psprintf("%s: %s", error->message,
										  error->detail));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(reason);
}
