/*
 * imported.c
 *		Keys that came from other systems: finding them by the text that is
 *		presented, and storing what was imported.
 *
 * A presented text is taken apart and hashed in every way that was imported,
 * and looked up by a digest of that hash which is keyed with the pepper: the
 * hashes themselves are not stored, and an index probe tells nothing about
 * them.  Salted hashes are found by their lookup, and then tried.
 */
#include "postgres.h"

#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "imported.h"
#include "locks.h"
#include "slowhash.h"

/* Columns, as 62_import.sql creates them */
enum
{
	IMPORTED_KEY_ID, IMPORTED_FINGERPRINT, IMPORTED_SCHEME_ID,
	IMPORTED_LOOKUP, IMPORTED_HASH, IMPORTED_NCOLUMNS
};

/* What digests are of */
#define OF_HASH			"apikey imported hash"
#define OF_LOOKUP		"apikey imported lookup"
#define OF_PART			"apikey imported part"

/* A row of apikey.imported; texts live in the current context */
typedef struct Imported
{
	bool		found;
	const pg_uuid_t *fingerprint;	/* that it must have; NULL: any */
	pg_uuid_t	key_id;
	int32		scheme_id;
	char	   *lookup;			/* NULL: none */
	char	   *hash;			/* NULL: none */
} Imported;

void
apikey_hashed_digest(unsigned char digest[APIKEY_DIGEST_LEN],
					 const ApikeyHashed *hashed, const unsigned char *pepper)
{
	if (hashed->algorithm == APIKEY_ALGORITHM_PART)
		apikey_digest_for(digest, OF_PART, hashed->data, hashed->len, pepper);
	else
		apikey_digest(digest, hashed->data, hashed->len, pepper);
}

int16
apikey_import_digest(unsigned char digest[APIKEY_DIGEST_LEN],
					 const ApikeyHash *hash,
					 const char *lookup, size_t lookup_len,
					 const unsigned char *pepper)
{
	if (apikey_hash_is_salted(hash->algorithm))
	{
		apikey_digest_for(digest, OF_LOOKUP, lookup, lookup_len, pepper);
		return APIKEY_ALGORITHM_LOOKUP;
	}
	apikey_digest_for(digest, OF_HASH, hash->u.bytes, hash->len, pepper);
	return APIKEY_ALGORITHM_HASH;
}

static bool
read_imported(TupleTableSlot *slot, void *arg)
{
	Imported   *row = arg;

	slot_getallattrs(slot);
	/* a hash index finds what has the same hash */
	if (row->fingerprint != NULL &&
		memcmp(DatumGetUUIDP(slot->tts_values[IMPORTED_FINGERPRINT]),
			   row->fingerprint, UUID_LEN) != 0)
		return true;
	row->found = true;
	row->key_id = *DatumGetUUIDP(slot->tts_values[IMPORTED_KEY_ID]);
	row->scheme_id = DatumGetInt32(slot->tts_values[IMPORTED_SCHEME_ID]);
	row->lookup = slot->tts_isnull[IMPORTED_LOOKUP] ? NULL :
		TextDatumGetCString(slot->tts_values[IMPORTED_LOOKUP]);
	row->hash = slot->tts_isnull[IMPORTED_HASH] ? NULL :
		TextDatumGetCString(slot->tts_values[IMPORTED_HASH]);
	return false;
}

/*
 * Find what was imported of a key.
 */
static bool
find_imported(const pg_uuid_t *key_id, Imported *row)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_IMPORTED),
								 AccessShareLock);
	ScanKeyData scan_key;

	row->found = false;
	row->fingerprint = NULL;
	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key_id));
	apikey_scan(rel, apikey_relation(APIKEY_REL_IMPORTED_PKEY), &scan_key, 1,
				read_imported, row);
	table_close(rel, AccessShareLock);
	return row->found;
}

/*
 * Find keys stored under a digest of data, with any of the peppers.
 */
static int
find_under_peppers(const char *purpose, int16 algorithm,
				   const void *data, size_t len, ApikeyKey *keys, int max)
{
	const ApikeyPeppers *peppers = apikey_peppers();
	int			count = 0;

	/* the current one, to which keys move, last */
	for (int i = peppers->count - 1; i >= 0 && count < max; i--)
	{
		unsigned char digest[APIKEY_DIGEST_LEN];

		if (peppers->pepper[i].secret == NULL)
			continue;
		apikey_digest_for(digest, purpose, data, len,
						  peppers->pepper[i].secret);
		count += apikey_find_stored(digest, peppers->pepper[i].id, algorithm,
									keys + count, max - count);
	}
	return count;
}

/*
 * Was this key imported by this scheme, and does the text begin as it should?
 */
static bool
fits(const ApikeyScheme *scheme, const ApikeyCut *cut, const ApikeyKey *key,
	 Imported *row)
{
	if (!find_imported(DatumGetUUIDP(key->value[KEY_KEY_ID]), row) ||
		row->scheme_id != scheme->id)
		return false;
	return row->lookup == NULL || cut->before == NULL ||
		(strlen(row->lookup) == cut->before_len &&
		 memcmp(row->lookup, cut->before, cut->before_len) == 0);
}

/*
 * Find a key whose hash has a salt: of those with this lookup, few, the one
 * to which the text belongs.
 */
static ApikeyFind
find_salted(const ApikeyScheme *scheme, const ApikeyCut *cut,
			const ApikeyNet *address, ApikeyKey *key)
{
	ApikeyKey	keys[APIKEY_LOOKUP_SHARED_MAX];
	int			count = find_under_peppers(OF_LOOKUP, APIKEY_ALGORITHM_LOOKUP,
										   cut->before, cut->before_len,
										   keys, lengthof(keys));
	pg_uuid_t	tried[APIKEY_LOOKUP_SHARED_MAX];
	int			ntried = 0;
	ApikeyFind	result = APIKEY_UNKNOWN;

	for (int i = 0; i < count; i++)
	{
		Imported	row;
		ApikeyHash	hash;

		/* what is no hash any more matches nothing */
		if (!fits(scheme, cut, &keys[i], &row) || row.hash == NULL ||
			apikey_hash_parse(scheme->algorithm, row.hash, strlen(row.hash),
							  &hash) != NULL)
			continue;
		switch (apikey_slow_verify(&row.key_id, address, &hash,
								   cut->part, cut->part_len))
		{
			case APIKEY_SLOW_MATCH:
				*key = keys[i];
				return APIKEY_FOUND;
			case APIKEY_SLOW_BUSY:
				result = APIKEY_TOO_BUSY;
				break;
			case APIKEY_SLOW_MISMATCH:
				tried[ntried++] = row.key_id;
				break;
		}
	}
	for (int i = 0; i < ntried; i++)
		apikey_slow_failed(&tried[i], address, cut->part, cut->part_len);
	return result;
}

/*
 * What was imported is replaced when the key is used, maybe this moment: so
 * that is looked for first, and then what it is replaced by.
 */
static ApikeyFind
find_by_scheme(const ApikeyScheme *scheme, const ApikeyCut *cut,
			   const ApikeyNet *address, ApikeyKey *key)
{
	unsigned char hash[APIKEY_HASH_BYTES_MAX];
	size_t		hash_len;
	ApikeyFind	result = APIKEY_UNKNOWN;
	Imported	row;

	if (apikey_hash_is_salted(scheme->algorithm))
		result = find_salted(scheme, cut, address, key);
	else
	{
		hash_len = apikey_scheme_hash(scheme, cut->part, cut->part_len, hash);
		if (find_under_peppers(OF_HASH, APIKEY_ALGORITHM_HASH,
							   hash, hash_len, key, 1) > 0 &&
			fits(scheme, cut, key, &row))
			result = APIKEY_FOUND;
	}
	if (result != APIKEY_FOUND && scheme->after &&
		find_under_peppers(OF_PART, APIKEY_ALGORITHM_PART,
						   cut->part, cut->part_len, key, 1) > 0 &&
		fits(scheme, cut, key, &row))
		result = APIKEY_FOUND;
	return result;
}

ApikeyFind
apikey_import_find(const char *text, size_t len, const ApikeyNet *address,
				   ApikeyKey *key, ApikeyHashed *hashed)
{
	int			count;
	const ApikeyScheme *schemes = apikey_schemes(&count);
	ApikeyFind	result = APIKEY_UNKNOWN;

	for (int i = 0; i < count && result != APIKEY_FOUND; i++)
	{
		const ApikeyScheme *scheme = &schemes[i];
		ApikeyCut	cut;
		ApikeyFind	found;

		if (!apikey_scheme_cut(scheme, text, len, &cut))
			continue;
		found = find_by_scheme(scheme, &cut, address, key);
		if (found != APIKEY_UNKNOWN)
			result = found;
		hashed->data = cut.part;
		hashed->len = cut.part_len;
		hashed->algorithm = scheme->after ? APIKEY_ALGORITHM_PART :
			APIKEY_ALGORITHM_BLAKE2B;
	}
	return result;
}

void
apikey_import_lock(void)
{
	apikey_lock(APIKEY_LOCK_IMPORT, 0);
	AcceptInvalidationMessages();
}

bool
apikey_imported_find(const pg_uuid_t *fingerprint, ApikeyKey *key)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_IMPORTED),
								 AccessShareLock);
	ScanKeyData scan_key;
	Imported	row = {.fingerprint = fingerprint};

	ScanKeyInit(&scan_key, 1, HTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(fingerprint));
	apikey_scan(rel, apikey_relation(APIKEY_REL_IMPORTED_FINGERPRINT),
				&scan_key, 1, read_imported, &row);
	table_close(rel, AccessShareLock);
	return row.found && apikey_find_by_id(&row.key_id, key);
}

int
apikey_lookup_shared(const char *lookup, size_t len)
{
	ApikeyKey	keys[APIKEY_FIND_STORED_MAX];

	return find_under_peppers(OF_LOOKUP, APIKEY_ALGORITHM_LOOKUP, lookup, len,
							  keys, lengthof(keys));
}

void
apikey_imported_store(const pg_uuid_t *key_id, const pg_uuid_t *fingerprint,
					  int32 scheme_id, const char *lookup, const char *hash)
{
	Datum		values[IMPORTED_NCOLUMNS];
	bool		nulls[IMPORTED_NCOLUMNS] = {false};
	Relation	rel = table_open(apikey_relation(APIKEY_REL_IMPORTED),
								 RowExclusiveLock);

	values[IMPORTED_KEY_ID] = UUIDPGetDatum(key_id);
	values[IMPORTED_FINGERPRINT] = UUIDPGetDatum(fingerprint);
	values[IMPORTED_SCHEME_ID] = Int32GetDatum(scheme_id);
	nulls[IMPORTED_LOOKUP] = lookup == NULL;
	if (lookup != NULL)
		values[IMPORTED_LOOKUP] = CStringGetTextDatum(lookup);
	nulls[IMPORTED_HASH] = hash == NULL;
	if (hash != NULL)
		values[IMPORTED_HASH] = CStringGetTextDatum(hash);
	(void) apikey_insert(rel, values, nulls, IMPORTED_NCOLUMNS);
	table_close(rel, NoLock);
}
