/*
 * import_scheme.c
 *		The ways in which keys of other systems are written and hashed, and the
 *		secrets of those hashes.
 *
 * Kept per backend, the secrets in memory that is locked and left out of core
 * dumps, and read anew when their tables change.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "import_scheme.h"

/* Columns, as 62_import.sql creates them */
enum
{
	SECRET_ID, SECRET_SECRET, SECRET_NCOLUMNS
};

enum
{
	SCHEME_ID, SCHEME_ALGORITHM, SCHEME_SEPARATOR, SCHEME_LOOKUP_LENGTH,
	SCHEME_HASHED_PART, SCHEME_SECRET_ID, SCHEME_NCOLUMNS
};

/* The secret that keys fingerprints */
#define FINGERPRINT_SECRET	0

/* What the digest for a fingerprint is of */
#define OF_FINGERPRINT		"apikey imported fingerprint"

typedef struct Secret
{
	int32		id;
	size_t		offset;			/* in secret_bytes */
	size_t		len;
} Secret;

/* What is read of the tables */
typedef struct Schemes
{
	int			count;
	ApikeyScheme scheme[APIKEY_SCHEMES_MAX];
	int			nsecrets;
	Secret		secret[APIKEY_SCHEMES_MAX + 1];
	size_t		secrets_len;
	size_t		secrets_size;
	unsigned char *secrets;		/* while reading */
} Schemes;

static Schemes schemes;
static unsigned char *secret_bytes = NULL;
static uint64 read_generation = 0;

static bool
read_secret(TupleTableSlot *slot, void *arg)
{
	Schemes    *into = arg;
	bytea	   *bytes;
	Secret	   *secret;

	if (into->nsecrets == lengthof(into->secret))
		return false;
	slot_getallattrs(slot);
	bytes = DatumGetByteaPP(slot->tts_values[SECRET_SECRET]);
	secret = &into->secret[into->nsecrets++];
	secret->id = DatumGetInt32(slot->tts_values[SECRET_ID]);
	secret->offset = into->secrets_len;
	secret->len = VARSIZE_ANY_EXHDR(bytes);
	while (into->secrets_len + secret->len > into->secrets_size)
	{
		into->secrets_size *= 2;
		into->secrets = repalloc(into->secrets, into->secrets_size);
	}
	memcpy(into->secrets + secret->offset, VARDATA_ANY(bytes), secret->len);
	into->secrets_len += secret->len;
	return true;
}

/*
 * A row that makes no sense is left out: nothing is verified by it.
 */
static bool
read_scheme(TupleTableSlot *slot, void *arg)
{
	Schemes    *into = arg;
	ApikeyScheme *scheme = &into->scheme[into->count];
	char	   *algorithm;

	slot_getallattrs(slot);
	memset(scheme, 0, sizeof(*scheme));
	scheme->id = DatumGetInt32(slot->tts_values[SCHEME_ID]);
	algorithm = TextDatumGetCString(slot->tts_values[SCHEME_ALGORITHM]);
	if (!apikey_hash_algorithm(algorithm, strlen(algorithm),
							   &scheme->algorithm))
		return true;
	if (!slot->tts_isnull[SCHEME_SEPARATOR])
		strlcpy(scheme->separator,
				TextDatumGetCString(slot->tts_values[SCHEME_SEPARATOR]),
				sizeof(scheme->separator));
	scheme->separator_len = strlen(scheme->separator);
	if (!slot->tts_isnull[SCHEME_LOOKUP_LENGTH])
		scheme->lookup_length =
			Max(DatumGetInt32(slot->tts_values[SCHEME_LOOKUP_LENGTH]), 0);
	scheme->after =
		strcmp(TextDatumGetCString(slot->tts_values[SCHEME_HASHED_PART]),
			   "after") == 0;
	if (!slot->tts_isnull[SCHEME_SECRET_ID])
		scheme->secret_id = DatumGetInt32(slot->tts_values[SCHEME_SECRET_ID]);
	into->count++;
	return into->count < APIKEY_SCHEMES_MAX;
}

/*
 * Read a table whole; false if it must not be kept.
 */
static bool
read_table(ApikeyRelation which, ApikeyRowCallback callback, Schemes *into)
{
	Relation	rel = table_open(apikey_relation(which), AccessShareLock);
	bool		keep = apikey_relation_is_coherent(rel);

	apikey_scan(rel, InvalidOid, NULL, 0, callback, into);
	table_close(rel, AccessShareLock);
	return keep;
}

/*
 * Move the secrets to where they stay, and point the schemes at them.  An
 * HMAC whose secret is gone is left out.
 */
static void
keep_schemes(Schemes *from)
{
	secret_bytes = apikey_secret_alloc(Max(from->secrets_len, 1));
	if (secret_bytes == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("No protected memory for the secrets of imported keys."),
				 errhint("Raise the limit on locked memory of the server's user.")));
	memcpy(secret_bytes, from->secrets, from->secrets_len);
	apikey_secret_seal(secret_bytes);
	apikey_wipe(from->secrets, from->secrets_size);
	pfree(from->secrets);
	from->secrets = NULL;

	schemes = *from;
	schemes.count = 0;
	for (int i = 0; i < from->count; i++)
	{
		ApikeyScheme *scheme = &schemes.scheme[schemes.count];

		*scheme = from->scheme[i];
		for (int j = 0; j < from->nsecrets; j++)
		{
			if (scheme->secret_id != from->secret[j].id ||
				scheme->secret_id == FINGERPRINT_SECRET)
				continue;
			scheme->secret = secret_bytes + from->secret[j].offset;
			scheme->secret_len = from->secret[j].len;
		}
		if (scheme->algorithm != APIKEY_HASH_HMAC_SHA256 ||
			scheme->secret != NULL)
			schemes.count++;
	}
}

/*
 * The schemes as of now; good until the next call.
 */
static const Schemes *
current_schemes(void)
{
	Schemes    *read;
	uint64		generation;
	bool		keep;

	if (read_generation == apikey_import_generation())
		return &schemes;
	read_generation = 0;
	schemes.count = schemes.nsecrets = 0;
	if (secret_bytes != NULL)
		apikey_secret_free(secret_bytes);
	secret_bytes = NULL;

	/* opening a table accepts what is known of changes */
	table_close(table_open(apikey_relation(APIKEY_REL_IMPORT_SECRET),
						   AccessShareLock), AccessShareLock);
	generation = apikey_import_generation();
	read = palloc0(sizeof(Schemes));
	read->secrets_size = 1024;
	read->secrets = palloc(read->secrets_size);
	keep = read_table(APIKEY_REL_IMPORT_SECRET, read_secret, read);
	keep &= read_table(APIKEY_REL_IMPORT_SCHEME, read_scheme, read);
	keep_schemes(read);
	pfree(read);
	if (keep)
		read_generation = generation;
	return &schemes;
}

bool
apikey_imports_exist(void)
{
	return current_schemes()->count > 0;
}

const ApikeyScheme *
apikey_schemes(int *count)
{
	const Schemes *all = current_schemes();

	*count = all->count;
	return all->scheme;
}

/*
 * The first occurrence of the separator; NULL if there is none.
 */
static const char *
find_separator(const ApikeyScheme *scheme, const char *text, size_t len)
{
	const char *end = text + len;
	const char *p = text;

	while ((size_t) (end - p) >= scheme->separator_len &&
		   (p = memchr(p, scheme->separator[0],
					   end - p - scheme->separator_len + 1)) != NULL)
	{
		if (memcmp(p, scheme->separator, scheme->separator_len) == 0)
			return p;
		p++;
	}
	return NULL;
}

/*
 * Cut a text; false if it can't be a key of this scheme.  Where only what is
 * behind the separator was hashed, and that without a salt which is found by
 * what is before, that alone is a key as well.
 */
bool
apikey_scheme_cut(const ApikeyScheme *scheme, const char *text, size_t len,
				  ApikeyCut *cut)
{
	const char *at = NULL;
	size_t		behind = 0;

	if (scheme->separator_len > 0)
	{
		at = find_separator(scheme, text, len);
		behind = at == NULL ? 0 : at - text + scheme->separator_len;
	}
	else if (scheme->lookup_length > 0 && len > scheme->lookup_length)
	{
		at = text + scheme->lookup_length;
		behind = scheme->lookup_length;
	}
	if (at == NULL && (apikey_hash_is_salted(scheme->algorithm) ||
					   (scheme->after && scheme->separator_len == 0)))
		return false;
	cut->before = at == NULL ? NULL : text;
	cut->before_len = at == NULL ? 0 : at - text;
	cut->part = scheme->after ? text + behind : text;
	cut->part_len = scheme->after ? len - behind : len;
	return cut->part_len > 0;
}

size_t
apikey_scheme_hash(const ApikeyScheme *scheme, const char *part, size_t len,
				   unsigned char hash[APIKEY_HASH_BYTES_MAX])
{
	switch (scheme->algorithm)
	{
		case APIKEY_HASH_SHA256:
			apikey_sha256(hash, part, len);
			return APIKEY_SHA256_LEN;
		case APIKEY_HASH_SHA512:
			apikey_sha512(hash, part, len);
			return APIKEY_SHA512_LEN;
		case APIKEY_HASH_HMAC_SHA256:
			apikey_hmac_sha256(hash, part, len,
							   scheme->secret, scheme->secret_len);
			return APIKEY_SHA256_LEN;
		case APIKEY_HASH_BLAKE2B_256:
			apikey_blake2b(hash, 32, part, len);
			return 32;
		case APIKEY_HASH_BLAKE2B_512:
			apikey_blake2b(hash, 64, part, len);
			return 64;
		default:
			return 0;
	}
}

bool
apikey_import_fingerprint(const ApikeyHash *hash, pg_uuid_t *fingerprint)
{
	const Schemes *all = current_schemes();
	unsigned char digest[APIKEY_DIGEST_LEN];

	for (int i = 0; i < all->nsecrets; i++)
	{
		if (all->secret[i].id != FINGERPRINT_SECRET ||
			all->secret[i].len != APIKEY_PEPPER_LEN)
			continue;
		/* string and bytes share their place */
		apikey_digest_for(digest, OF_FINGERPRINT, hash->u.bytes, hash->len,
						  secret_bytes + all->secret[i].offset);
		memcpy(fingerprint->data, digest, UUID_LEN);
		return true;
	}
	return false;
}

static bool
same_scheme(const ApikeyScheme *a, const ApikeyScheme *b)
{
	return a->algorithm == b->algorithm && a->after == b->after &&
		a->separator_len == b->separator_len &&
		memcmp(a->separator, b->separator, a->separator_len) == 0 &&
		a->lookup_length == b->lookup_length &&
		a->secret_len == b->secret_len &&
		(a->secret_len == 0 ||
		 apikey_equal(a->secret, b->secret, a->secret_len));
}

bool
apikey_scheme_find(const ApikeyScheme *wanted, int32 *id)
{
	const Schemes *all = current_schemes();

	for (int i = 0; i < all->count; i++)
	{
		const ApikeyScheme *scheme = &all->scheme[i];

		if (!same_scheme(scheme, wanted))
			continue;
		*id = scheme->id;
		return true;
	}
	return false;
}

/*
 * Store a secret, without SQL: a server that logs the parameters of nested
 * statements would write it to its log.
 */
static void
store_secret(int32 id, const void *secret, size_t len)
{
	Datum		values[SECRET_NCOLUMNS];
	bool		nulls[SECRET_NCOLUMNS] = {false};
	bytea	   *stored = palloc(VARHDRSZ + len);
	Relation	rel = table_open(apikey_relation(APIKEY_REL_IMPORT_SECRET),
								 RowExclusiveLock);

	SET_VARSIZE(stored, VARHDRSZ + len);
	memcpy(VARDATA(stored), secret, len);
	values[SECRET_ID] = Int32GetDatum(id);
	values[SECRET_SECRET] = PointerGetDatum(stored);
	(void) apikey_insert(rel, values, nulls, SECRET_NCOLUMNS);
	table_close(rel, NoLock);
	apikey_wipe(VARDATA(stored), len);
	pfree(stored);
}

void
apikey_import_ensure_fingerprints(void)
{
	const Schemes *all = current_schemes();
	unsigned char secret[APIKEY_PEPPER_LEN];

	for (int i = 0; i < all->nsecrets; i++)
	{
		if (all->secret[i].id == FINGERPRINT_SECRET)
			return;
	}
	apikey_random(secret, sizeof(secret));
	store_secret(FINGERPRINT_SECRET, secret, sizeof(secret));
	apikey_wipe(secret, sizeof(secret));
}

/*
 * The number of this secret, which is stored if it is new.
 */
static int32
ensure_secret(const unsigned char *secret, size_t len)
{
	const Schemes *all = current_schemes();
	int32		id = 0;

	for (int i = 0; i < all->nsecrets; i++)
	{
		const Secret *known = &all->secret[i];

		if (known->id != FINGERPRINT_SECRET && known->len == len &&
			apikey_equal(secret_bytes + known->offset, secret, len))
			return known->id;
		id = Max(id, known->id);
	}
	store_secret(id + 1, secret, len);
	return id + 1;
}

int32
apikey_scheme_ensure(const ApikeyScheme *wanted)
{
	Datum		values[SCHEME_NCOLUMNS];
	bool		nulls[SCHEME_NCOLUMNS] = {false};
	const Schemes *all;
	int32		id = 0;
	Relation	rel;

	if (apikey_scheme_find(wanted, &id))
		return id;
	nulls[SCHEME_SECRET_ID] = wanted->secret_len == 0;
	if (wanted->secret_len > 0)
		values[SCHEME_SECRET_ID] = Int32GetDatum(ensure_secret(wanted->secret,
															   wanted->secret_len));
	all = current_schemes();
	for (int i = 0; i < all->count; i++)
		id = Max(id, all->scheme[i].id);
	id++;
	values[SCHEME_ID] = Int32GetDatum(id);
	values[SCHEME_ALGORITHM] =
		CStringGetTextDatum(apikey_hash_name(wanted->algorithm));
	values[SCHEME_SEPARATOR] = CStringGetTextDatum(wanted->separator);
	nulls[SCHEME_SEPARATOR] = wanted->separator_len == 0;
	values[SCHEME_LOOKUP_LENGTH] = Int32GetDatum(wanted->lookup_length);
	nulls[SCHEME_LOOKUP_LENGTH] = wanted->lookup_length == 0;
	values[SCHEME_HASHED_PART] =
		CStringGetTextDatum(wanted->after ? "after" : "whole");
	rel = table_open(apikey_relation(APIKEY_REL_IMPORT_SCHEME),
					 RowExclusiveLock);
	(void) apikey_insert(rel, values, nulls, SCHEME_NCOLUMNS);
	table_close(rel, NoLock);
	return id;
}
