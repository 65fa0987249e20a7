/*
 * signing.c
 *		The keys that sign session tokens: read from the table
 *		apikey.signing_key, made and rotated.
 *
 * Kept per backend in memory that is locked and left out of core dumps; read
 * anew when the table changes.  With which algorithm a token is checked says
 * the row that the token's kid names, never the token.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "json.h"
#include "locks.h"
#include "record.h"
#include "settings.h"
#include "signing.h"
#include "spi_plan.h"

/* Longest header that is looked at; those of our own tokens are far shorter */
#define HEADER_MAX		512

/* Columns, as 66_sessions.sql creates them */
enum
{
	SIGNING_KID, SIGNING_ALGORITHM, SIGNING_CREATED_AT, SIGNING_RETIRED_AT,
	SIGNING_PUBLIC_KEY, SIGNING_SECRET, SIGNING_NCOLUMNS
};

#define HS256_SECRET_LEN		32	/* of those made here */
#define HS256_SECRET_MIN		32	/* RFC 7518, 3.2 */
#define HS256_SECRET_MAX		1024

const char *const apikey_signing_algorithms[] = {
	[APIKEY_EDDSA] = "EdDSA",
	[APIKEY_HS256] = "HS256",
};

StaticAssertDecl(HS256_SECRET_LEN == APIKEY_SIGN_SEED_LEN,
				 "secrets of both algorithms are made alike");

/* What is read of the table */
typedef struct SigningRow
{
	ApikeySigningKey key;
	unsigned char secret[HS256_SECRET_MAX];
} SigningRow;

typedef struct SigningRows
{
	bool		damaged[APIKEY_HS256 + 1];
	int			count;
	int			size;
	SigningRow *row;
} SigningRows;

static MemoryContext signing_context = NULL;
static ApikeySigningKey *keys = NULL;
static int	nkeys = 0;
static bool damaged[APIKEY_HS256 + 1];	/* what is to sign can't be used */
static unsigned char *secrets = NULL;
static uint64 read_generation = 0;

static bool
read_algorithm(Datum value, ApikeySigningAlgorithm *algorithm)
{
	char	   *name = TextDatumGetCString(value);

	for (int i = APIKEY_EDDSA; i <= APIKEY_HS256; i++)
	{
		if (strcmp(name, apikey_signing_algorithms[i]) == 0)
		{
			*algorithm = (ApikeySigningAlgorithm) i;
			return true;
		}
	}
	return false;
}

/*
 * Fill in what an EdDSA row says.  A private key that is not that of the
 * public one is of no use.
 */
static bool
read_eddsa(SigningRow *row, const bytea *public_key, const bytea *seed)
{
	unsigned char derived[APIKEY_SIGN_PUBLIC_LEN];

	if (public_key == NULL ||
		VARSIZE_ANY_EXHDR(public_key) != APIKEY_SIGN_PUBLIC_LEN)
		return false;
	memcpy(row->key.public_key, VARDATA_ANY(public_key),
		   APIKEY_SIGN_PUBLIC_LEN);
	if (seed == NULL)
		return true;
	if (VARSIZE_ANY_EXHDR(seed) != APIKEY_SIGN_SEED_LEN)
		return false;
	apikey_sign_keys(derived, row->secret,
					 (const unsigned char *) VARDATA_ANY(seed));
	row->key.secret_len = APIKEY_SIGN_SECRET_LEN;
	return memcmp(derived, row->key.public_key, APIKEY_SIGN_PUBLIC_LEN) == 0;
}

static bool
read_hs256(SigningRow *row, const bytea *secret)
{
	if (secret == NULL || VARSIZE_ANY_EXHDR(secret) < HS256_SECRET_MIN ||
		VARSIZE_ANY_EXHDR(secret) > HS256_SECRET_MAX)
		return false;
	row->key.secret_len = VARSIZE_ANY_EXHDR(secret);
	memcpy(row->secret, VARDATA_ANY(secret), row->key.secret_len);
	return true;
}

/*
 * Read one row; those that can't be used are passed over.
 */
static bool
read_signing_key(TupleTableSlot *slot, void *arg)
{
	SigningRows *rows = arg;
	SigningRow *row;
	Datum	   *value;
	bool	   *isnull;
	text	   *kid;
	bytea	   *secret;
	bool		usable;

	slot_getallattrs(slot);
	value = slot->tts_values;
	isnull = slot->tts_isnull;
	if (rows->count == rows->size)
	{
		SigningRow *larger = palloc(2 * rows->size * sizeof(SigningRow));

		memcpy(larger, rows->row, rows->size * sizeof(SigningRow));
		apikey_wipe(rows->row, rows->size * sizeof(SigningRow));
		rows->row = larger;
		rows->size *= 2;
	}
	row = &rows->row[rows->count];
	memset(row, 0, sizeof(*row));
	kid = DatumGetTextPP(value[SIGNING_KID]);
	secret = isnull[SIGNING_SECRET] ? NULL :
		DatumGetByteaPP(value[SIGNING_SECRET]);
	row->key.retired = !isnull[SIGNING_RETIRED_AT];
	if (VARSIZE_ANY_EXHDR(kid) > APIKEY_KID_MAX ||
		!read_algorithm(value[SIGNING_ALGORITHM], &row->key.algorithm))
		return true;
	memcpy(row->key.kid, VARDATA_ANY(kid), VARSIZE_ANY_EXHDR(kid));
	if (row->key.algorithm == APIKEY_EDDSA)
		usable = read_eddsa(row, isnull[SIGNING_PUBLIC_KEY] ? NULL :
							DatumGetByteaPP(value[SIGNING_PUBLIC_KEY]), secret);
	else
		usable = read_hs256(row, secret);
	if (!row->key.retired && (!usable || row->key.secret_len == 0))
		rows->damaged[row->key.algorithm] = true;
	rows->count += usable;
	return true;
}

/*
 * Move what was read to where it stays.
 */
static void
keep_signing_keys(const SigningRows *rows)
{
	size_t		size = 1;
	size_t		used = 0;

	for (int i = 0; i < rows->count; i++)
		size += rows->row[i].key.secret_len;
	keys = MemoryContextAllocZero(signing_context,
								  Max(rows->count, 1) * sizeof(ApikeySigningKey));
	secrets = apikey_secret_alloc(size);
	if (secrets == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("No protected memory for the keys that sign session tokens."),
				 errhint("Raise the limit on locked memory of the server's user.")));
	for (int i = 0; i < rows->count; i++)
	{
		keys[i] = rows->row[i].key;
		if (keys[i].secret_len == 0)
			continue;
		memcpy(secrets + used, rows->row[i].secret, keys[i].secret_len);
		keys[i].secret = secrets + used;
		used += keys[i].secret_len;
	}
	apikey_secret_seal(secrets);
	nkeys = rows->count;
	memcpy(damaged, rows->damaged, sizeof(damaged));
}

static void
forget_signing_keys(void)
{
	read_generation = 0;
	nkeys = 0;
	if (secrets != NULL)
		apikey_secret_free(secrets);
	secrets = NULL;
	if (signing_context == NULL)
		signing_context = AllocSetContextCreate(TopMemoryContext,
												"apikey signing keys",
												ALLOCSET_SMALL_SIZES);
	MemoryContextReset(signing_context);
}

/*
 * See to it that what is kept is the table as of now.
 */
static void
read_signing_keys(void)
{
	SigningRows rows = {.size = 4};
	Relation	rel;
	uint64		generation;
	bool		keep;

	(void) apikey_relation(APIKEY_REL_SIGNING_KEY);
	AcceptInvalidationMessages();
	if (read_generation == apikey_signing_generation())
		return;

	forget_signing_keys();
	generation = apikey_signing_generation();
	rows.row = palloc(rows.size * sizeof(SigningRow));
	rel = table_open(apikey_relation(APIKEY_REL_SIGNING_KEY), AccessShareLock);
	keep = apikey_relation_is_coherent(rel);
	apikey_scan(rel, InvalidOid, NULL, 0, read_signing_key, &rows);
	table_close(rel, AccessShareLock);
	keep_signing_keys(&rows);
	apikey_wipe(rows.row, rows.size * sizeof(SigningRow));
	if (keep)
		read_generation = generation;
}

const ApikeySigningKey *
apikey_signing_key(const char *kid, size_t len)
{
	read_signing_keys();
	for (int i = 0; i < nkeys; i++)
	{
		if (strlen(keys[i].kid) == len && memcmp(keys[i].kid, kid, len) == 0)
			return &keys[i];
	}
	return NULL;
}

static const ApikeySigningKey *
find_current(ApikeySigningAlgorithm algorithm)
{
	read_signing_keys();
	for (int i = 0; i < nkeys; i++)
	{
		if (keys[i].algorithm == algorithm && !keys[i].retired &&
			keys[i].secret != NULL)
			return &keys[i];
	}
	return NULL;
}

static bytea *
make_bytea(const unsigned char *data, size_t len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return value;
}

/*
 * Store a new key and return its kid.  Without SQL, which a server told to log
 * the parameters of nested statements would write to its log.
 */
static char *
store_signing_key(ApikeySigningAlgorithm algorithm)
{
	unsigned char secret[HS256_SECRET_LEN];
	unsigned char public_key[APIKEY_SIGN_PUBLIC_LEN];
	unsigned char expanded[APIKEY_SIGN_SECRET_LEN];
	Datum		values[SIGNING_NCOLUMNS];
	bool		nulls[SIGNING_NCOLUMNS] = {false};
	bytea	   *stored;
	pg_uuid_t	id;
	char	   *kid;
	Relation	rel;

	apikey_new_id(&id);
	kid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));
	apikey_random(secret, sizeof(secret));
	stored = make_bytea(secret, sizeof(secret));
	values[SIGNING_KID] = CStringGetTextDatum(kid);
	values[SIGNING_ALGORITHM] =
		CStringGetTextDatum(apikey_signing_algorithms[algorithm]);
	values[SIGNING_CREATED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[SIGNING_RETIRED_AT] = true;
	values[SIGNING_SECRET] = PointerGetDatum(stored);
	nulls[SIGNING_PUBLIC_KEY] = algorithm != APIKEY_EDDSA;
	if (algorithm == APIKEY_EDDSA)
	{
		apikey_sign_keys(public_key, expanded, secret);
		values[SIGNING_PUBLIC_KEY] =
			PointerGetDatum(make_bytea(public_key, sizeof(public_key)));
	}
	rel = table_open(apikey_relation(APIKEY_REL_SIGNING_KEY),
					 RowExclusiveLock);
	(void) apikey_insert(rel, values, nulls, SIGNING_NCOLUMNS);
	table_close(rel, NoLock);
	apikey_wipe(secret, sizeof(secret));
	apikey_wipe(expanded, sizeof(expanded));
	apikey_wipe(VARDATA(stored), HS256_SECRET_LEN);
	return kid;
}

const ApikeySigningKey *
apikey_current_signing_key(ApikeySigningAlgorithm algorithm)
{
	const ApikeySigningKey *key = find_current(algorithm);

	if (key != NULL)
		return key;
	/* one of several first calls makes it, the others wait and find it */
	apikey_lock(APIKEY_LOCK_SIGNING, 0);
	key = find_current(algorithm);
	if (key != NULL)
		return key;
	if (damaged[algorithm])
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key that signs session tokens cannot be used"),
				 errdetail("Its row in apikey.signing_key has no secret, or not that of its public key."),
				 errhint("Make a new one with apikey.rotate_signing_key().")));
	(void) store_signing_key(algorithm);
	key = find_current(algorithm);
	if (key == NULL)
		elog(ERROR, "signing key vanished");
	return key;
}

/*
 * The signature of a text; returns its length.
 */
static size_t
sign(const ApikeySigningKey *key, const char *text, size_t len,
	 unsigned char signature[APIKEY_SIGNATURE_LEN])
{
	if (key->algorithm == APIKEY_EDDSA)
	{
		apikey_sign(signature, text, len, key->secret);
		return APIKEY_SIGNATURE_LEN;
	}
	apikey_hmac_sha256(signature, text, len, key->secret, key->secret_len);
	return APIKEY_MAC_LEN;
}

char *
apikey_signing_token(const ApikeySigningKey *key, const char *payload,
					 size_t payload_len, size_t *token_len)
{
	char		header[64 + APIKEY_KID_MAX];
	int			header_len = snprintf(header, sizeof(header),
									  "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
									  apikey_signing_algorithms[key->algorithm],
									  key->kid);
	unsigned char signature[APIKEY_SIGNATURE_LEN];
	char	   *token;
	size_t		len;

	if (payload_len > APIKEY_JWT_MAX)
		return NULL;
	token = palloc(APIKEY_BASE64URL_LEN(header_len) + 1 +
				   APIKEY_BASE64URL_LEN(payload_len) + 1 +
				   APIKEY_BASE64URL_LEN(APIKEY_SIGNATURE_LEN));
	len = apikey_base64url_encode(header, header_len, token);
	token[len++] = '.';
	len += apikey_base64url_encode(payload, payload_len, token + len);
	header_len = sign(key, token, len, signature);
	token[len++] = '.';
	len += apikey_base64url_encode(signature, header_len, token + len);
	*token_len = len;
	return len <= APIKEY_JWT_MAX ? token : NULL;
}

const ApikeySigningKey *
apikey_signing_key_of(const ApikeyJwt *jwt)
{
	unsigned char header[HEADER_MAX];
	size_t		len;
	ApikeyJsonMember members[APIKEY_JSON_MEMBERS_MAX];
	int			count;
	const char *kid;
	const char *alg;
	const ApikeySigningKey *key;

	if (APIKEY_BASE64URL_BYTES(jwt->header.len) > HEADER_MAX ||
		!apikey_base64url_decode(jwt->header.data, jwt->header.len, header,
								 &len))
		return NULL;
	count = apikey_json_read((const char *) header, len, members);
	kid = apikey_json_get(members, count, "kid", APIKEY_JSON_STRING);
	alg = apikey_json_get(members, count, "alg", APIKEY_JSON_STRING);
	if (kid == NULL || alg == NULL)
		return NULL;
	key = apikey_signing_key(kid, strlen(kid));
	if (key == NULL ||
		strcmp(apikey_signing_algorithms[key->algorithm], alg) != 0)
		return NULL;
	/* extensions that must be understood: there are none (RFC 7515, 4.1.11) */
	for (int i = 0; i < count; i++)
	{
		if (strcmp(members[i].name, "crit") == 0)
			return NULL;
	}
	return key;
}

bool
apikey_signing_check(const ApikeySigningKey *key, const ApikeyJwt *jwt)
{
	/* as long as one of 64 bytes, or shorter */
	unsigned char given[APIKEY_BASE64URL_BYTES(APIKEY_BASE64URL_LEN(APIKEY_SIGNATURE_LEN))];
	unsigned char mac[APIKEY_MAC_LEN];
	size_t		len;

	if (jwt->signature.len > APIKEY_BASE64URL_LEN(APIKEY_SIGNATURE_LEN) ||
		!apikey_base64url_decode(jwt->signature.data, jwt->signature.len,
								 given, &len))
		return false;
	if (key->algorithm == APIKEY_EDDSA)
		return len == APIKEY_SIGNATURE_LEN &&
			apikey_sign_check(given, jwt->header.data, jwt->signed_len,
							  key->public_key);
	apikey_hmac_sha256(mac, jwt->header.data, jwt->signed_len, key->secret,
					   key->secret_len);
	return len == APIKEY_MAC_LEN && apikey_equal(given, mac, APIKEY_MAC_LEN);
}

PG_FUNCTION_INFO_V1(apikey_sql_rotate_signing_key);

/*
 * apikey.rotate_signing_key() returns text: the kid of the new key
 *		New tokens of the algorithm in force are signed with it from now on.
 *		Errors: 25006 on a standby.
 */
Datum
apikey_sql_rotate_signing_key(PG_FUNCTION_ARGS)
{
	static ApikeyPlan retire = {
		.query = "UPDATE apikey.signing_key SET retired_at = clock_timestamp(),"
		" secret = CASE WHEN algorithm <> 'EdDSA' THEN secret END"
		" WHERE algorithm = $1 AND retired_at IS NULL",
		.nargs = 1,
		.types = {TEXTOID},
	};
	static ApikeyPlan audit = {
		.query = "INSERT INTO apikey.audit_log (action, actor, object)"
		" VALUES ('rotate_signing_key', apikey.clean_text(apikey.actor(), 255), 'signing_key ' || $1)",
		.nargs = 1,
		.types = {TEXTOID},
	};
	ApikeySigningAlgorithm algorithm = (ApikeySigningAlgorithm) apikey_session_algorithm;
	ApikeyPrivileges saved;
	Datum		value;
	char	   *kid;

	apikey_require_writable("apikey.rotate_signing_key()");
	apikey_enter(&saved, NULL);
	apikey_lock(APIKEY_LOCK_SIGNING, 0);
	SPI_connect();
	value = CStringGetTextDatum(apikey_signing_algorithms[algorithm]);
	apikey_plan_execute(&retire, &value, NULL, SPI_OK_UPDATE);
	SPI_finish();
	kid = store_signing_key(algorithm);
	SPI_connect();
	value = CStringGetTextDatum(kid);
	apikey_plan_execute(&audit, &value, NULL, SPI_OK_INSERT);
	SPI_finish();
	apikey_leave(&saved);
	PG_RETURN_TEXT_P(cstring_to_text(kid));
}
