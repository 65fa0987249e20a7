/*
 * keystore.c
 *		Reading stored keys: by the leading 8 bytes of their keyed digest
 *		through an index, then comparing all of it in constant time.
 *
 * An index probe on secret material would leak through the time a comparison
 * takes; on a digest keyed with the pepper it tells an outsider nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "executor/tuptable.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "keystore.h"

/* What a scan looks for, and where it puts it */
typedef struct KeySearch
{
	unsigned char digest[APIKEY_DIGEST_LEN];
	int32		pepper_id;
	HeapTuple	found;
} KeySearch;

int64
apikey_lookup_of(const unsigned char digest[APIKEY_DIGEST_LEN])
{
	uint64		head;

	memcpy(&head, digest, sizeof(head));
	return (int64) pg_ntoh64(head);
}

/*
 * Is this the row?
 */
static bool
compare_row(TupleTableSlot *slot, void *arg)
{
	KeySearch  *search = arg;
	bool		isnull;
	bytea	   *digest;

	slot_getsomeattrs(slot, KEY_DIGEST);
	if (DatumGetInt32(slot->tts_values[KEY_PEPPER_ID - 1]) != search->pepper_id ||
		DatumGetInt16(slot->tts_values[KEY_ALGORITHM - 1]) != APIKEY_ALGORITHM_BLAKE2B)
		return true;
	digest = (bytea *) DatumGetPointer(slot_getattr(slot, KEY_DIGEST, &isnull));
	if (VARATT_IS_EXTENDED(digest) && !VARATT_IS_SHORT(digest))
		return true;			/* never stored so */
	if (VARSIZE_ANY_EXHDR(digest) != APIKEY_DIGEST_LEN ||
		!apikey_equal(VARDATA_ANY(digest), search->digest, APIKEY_DIGEST_LEN))
		return true;
	search->found = ExecCopySlotHeapTuple(slot);
	return false;
}

static void
search_by_digest(Relation rel, KeySearch *search)
{
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, HTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(apikey_lookup_of(search->digest)));
	apikey_scan(rel, apikey_relation(APIKEY_REL_KEY_LOOKUP), &scan_key, 1,
				compare_row, search);
}

static bool
note_row(TupleTableSlot *slot, void *arg)
{
	*(bool *) arg = true;
	return false;
}

/*
 * Do stored keys refer to a pepper whose secret is missing?
 */
static bool
missing_pepper_matters(Relation rel, const ApikeyPeppers *peppers)
{
	for (int i = 0; i < peppers->count; i++)
	{
		ScanKeyData scan_key;
		bool		used = false;

		if (peppers->pepper[i].secret != NULL)
			continue;
		ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_INT4EQ,
					Int32GetDatum(peppers->pepper[i].id));
		apikey_scan(rel, apikey_relation(APIKEY_REL_KEY_PEPPER), &scan_key, 1,
					note_row, &used);
		if (used)
			return true;
	}
	return false;
}

ApikeyFind
apikey_find(const char *text, size_t len, ApikeyKey *key)
{
	const ApikeyPeppers *peppers = apikey_peppers();
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY),
								 AccessShareLock);
	KeySearch	search = {.found = NULL};
	ApikeyFind	result = APIKEY_UNKNOWN;

	for (int i = 0; i < peppers->count && search.found == NULL; i++)
	{
		if (peppers->pepper[i].secret == NULL)
			continue;
		search.pepper_id = peppers->pepper[i].id;
		apikey_digest(search.digest, text, len, peppers->pepper[i].secret);
		search_by_digest(rel, &search);
	}
	if (search.found != NULL)
	{
		key->tuple = search.found;
		heap_deform_tuple(search.found, RelationGetDescr(rel),
						  key->value + 1, key->null + 1);
		result = APIKEY_FOUND;
	}
	else if (peppers->any_missing && missing_pepper_matters(rel, peppers))
		result = APIKEY_CANNOT_TELL;
	table_close(rel, AccessShareLock);
	return result;
}

const char *
apikey_key_status(const ApikeyKey *key, TimestampTz now)
{
	if (!key->null[KEY_REVOKED_AT])
		return "revoked";
	if (!key->null[KEY_EXPIRES_AT] &&
		DatumGetTimestampTz(key->value[KEY_EXPIRES_AT]) <= now)
		return "expired";
	return key->null[KEY_DISABLED_AT] ? "active" : "disabled";
}
