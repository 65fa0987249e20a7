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
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/tuptable.h"
#include "port/pg_bswap.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "keycache.h"
#include "keydecode.h"
#include "keyplace.h"
#include "keyrow.h"
#include "keystore.h"
#include "shmem.h"

/* What a scan looks for, and where it puts it */
typedef struct KeySearch
{
	unsigned char digest[APIKEY_DIGEST_LEN];
	uint64		hash;			/* by which its place is known */
	int32		pepper_id;
	int16		algorithm;
	int			max;
	int			count;
	HeapTuple	found[APIKEY_FIND_STORED_MAX];
	ApikeyPlace place;			/* of the last one */
} KeySearch;

int64
apikey_lookup_of(const unsigned char digest[APIKEY_DIGEST_LEN])
{
	uint64		head;

	memcpy(&head, digest, sizeof(head));
	return (int64) pg_ntoh64(head);
}

/*
 * Is a digest stored as digests are, and not compressed, say?
 */
static bool
is_plain(const bytea *digest)
{
	return (!VARATT_IS_EXTENDED(digest) || VARATT_IS_SHORT(digest)) &&
		VARSIZE_ANY_EXHDR(digest) == APIKEY_DIGEST_LEN;
}

/*
 * Is a digest the one that is searched for?
 */
static bool
is_wanted(const KeySearch *search, Datum pepper_id, Datum algorithm,
		  Datum digest)
{
	bytea	   *bytes = (bytea *) DatumGetPointer(digest);

	if (DatumGetInt32(pepper_id) != search->pepper_id ||
		DatumGetInt16(algorithm) != search->algorithm)
		return false;
	return is_plain(bytes) &&
		apikey_equal(VARDATA_ANY(bytes), search->digest, APIKEY_DIGEST_LEN);
}

static bool
compare_row(TupleTableSlot *slot, void *arg)
{
	KeySearch  *search = arg;

	slot_getsomeattrs(slot, KEY_DIGEST);
	if (!is_wanted(search, slot->tts_values[KEY_PEPPER_ID - 1],
				   slot->tts_values[KEY_ALGORITHM - 1],
				   slot->tts_values[KEY_DIGEST - 1]))
		return true;
	search->found[search->count++] = ExecCopySlotHeapTuple(slot);
	search->place.tid = slot->tts_tid;
	search->place.buffer = TTS_IS_BUFFERTUPLE(slot) ?
		((BufferHeapTupleTableSlot *) slot)->buffer : InvalidBuffer;
	return search->count < search->max;
}

/*
 * Look where the key's row was seen last.
 */
static bool
search_in_place(Relation rel, const KeySearch *search, ApikeyKey *key)
{
	ApikeyPlace place;
	Buffer		seen;
	HeapTuple	row;

	if (!apikey_keyplace_find(APIKEY_PLACES_KEY, search->hash, &place))
		return false;
	seen = place.buffer;
	row = apikey_row_at(rel, &place);
	if (row == NULL)
		return false;
	apikey_key_deform(row, RelationGetDescr(rel), key);
	key->tuple = row;
	key->buffer = place.buffer;
	if (!is_wanted(search, key->value[KEY_PEPPER_ID],
				   key->value[KEY_ALGORITHM], key->value[KEY_DIGEST]))
		return false;
	if (place.buffer != seen)
		apikey_keyplace_note(APIKEY_PLACES_KEY, search->hash, &place);
	return true;
}

/*
 * Note where a key lies that was met beside another.
 */
static void
note_neighbour(HeapTuple row, const ApikeyPlace *place, void *arg)
{
	Relation	rel = arg;
	ApikeyPlace version = {row->t_self, place->buffer};
	bool		isnull;
	bytea	   *digest = (bytea *) DatumGetPointer(heap_getattr(row, KEY_DIGEST,
																RelationGetDescr(rel),
																&isnull));

	if (isnull || !is_plain(digest))
		return;
	apikey_keyplace_add(APIKEY_PLACES_KEY,
						apikey_keyplace_hash((unsigned char *) VARDATA_ANY(digest)),
						&version);
}

/*
 * Note where the key was found.  If that was not known, as after a start of
 * the server or a restore, it is not known of its neighbours either.
 */
static void
note_place(Relation rel, KeySearch *search)
{
	if (apikey_keyplace_note(APIKEY_PLACES_KEY, search->hash, &search->place))
		apikey_page_visit(rel, search->place, note_neighbour, rel);
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

static int
compare_ids(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return (x > y) - (x < y);
}

/*
 * Do stored keys refer to a pepper whose secret is missing, or that is gone
 * altogether?  Looks for keys between the ids of those that are there, and
 * having found none, not again until the peppers are read anew.
 */
static bool
missing_pepper_matters(Relation rel, const ApikeyPeppers *peppers)
{
	static uint64 found_none = 0;	/* in that reading of the peppers */
	bool		result = false;
	int32	   *ids;
	int			count = 1;

	if (peppers->serial != 0 && found_none == peppers->serial)
		return false;
	ids = palloc((peppers->count + 2) * sizeof(int32));
	ids[0] = 0;					/* below and above all ids */
	for (int i = 0; i < peppers->count; i++)
	{
		if (peppers->pepper[i].secret != NULL)
			ids[count++] = peppers->pepper[i].id;
	}
	ids[count++] = PG_INT32_MAX;
	qsort(ids, count, sizeof(int32), compare_ids);
	for (int i = 1; i < count && !result; i++)
	{
		ScanKeyData scan_key[2];

		ScanKeyInit(&scan_key[0], 1, BTGreaterStrategyNumber, F_INT4GT,
					Int32GetDatum(ids[i - 1]));
		ScanKeyInit(&scan_key[1], 1, BTLessStrategyNumber, F_INT4LT,
					Int32GetDatum(ids[i]));
		apikey_scan(rel, apikey_relation(APIKEY_REL_KEY_PEPPER), scan_key, 2,
					note_row, &result);
	}
	pfree(ids);
	if (!result)
		found_none = peppers->serial;
	return result;
}

/*
 * Are these versions of one row alike, to the letter?
 */
static bool
is_same_row(HeapTuple one, HeapTuple other)
{
	HeapTupleHeader a = one->t_data;
	HeapTupleHeader b = other->t_data;

	return one->t_len == other->t_len && a->t_hoff == b->t_hoff &&
		HeapTupleHeaderGetNatts(a) == HeapTupleHeaderGetNatts(b) &&
		(a->t_infomask & HEAP_HASNULL) == (b->t_infomask & HEAP_HASNULL) &&
		memcmp(a->t_bits, b->t_bits,
			   one->t_len - offsetof(HeapTupleHeaderData, t_bits)) == 0;
}

/*
 * Is the row of a kept key still what the table says?  When nothing has been
 * said about changes of keys since it was last looked at, it is.  Else the
 * row is looked at where it was then; whoever changed it left it elsewhere.
 */
static bool
row_is_current(ApikeyCachedKey *cached)
{
	HeapTuple	kept = apikey_keycache_key(cached)->tuple;
	ApikeyPlace place = {kept->t_self, InvalidBuffer};
	HeapTuple	now = NULL;
	Relation	rel;
	uint64		generation;
	bool		same;

	if (apikey_keycache_generation(cached) == apikey_key_generation())
		return true;
	rel = table_open(apikey_relation(APIKEY_REL_KEY), AccessShareLock);
	generation = apikey_key_generation();
	if (apikey_relation_is_coherent(rel))
		now = apikey_row_at(rel, &place);
	table_close(rel, AccessShareLock);
	same = now != NULL && is_same_row(now, kept);
	if (same)
		apikey_keycache_confirm(cached, generation);
	if (now != NULL)
		heap_freetuple(now);
	return same;
}

/*
 * Is the pepper of a kept key in force, as it was when the key was found?  If
 * peppers were read anew since, the key is hashed anew, too.
 */
static bool
pepper_is_current(ApikeyCachedKey *cached)
{
	const ApikeyKeyMemo *memo = apikey_keycache_memo(cached);

	return memo->peppers == apikey_peppers_serial() &&
		(!memo->on_standby || RecoveryInProgress());
}

/*
 * May keys under this pepper be kept?  Not while they wait for being stored
 * under the current one instead.
 */
static bool
pepper_lasts(const ApikeyPeppers *peppers, int i)
{
	return i == 0 || !peppers->pepper[0].is_current ||
		peppers->pepper[0].secret == NULL || RecoveryInProgress();
}

/*
 * Keep a key that was found under this generation, if it may be.
 */
static ApikeyCachedKey *
keep(Relation rel, const ApikeyKey *key, uint64 generation,
	 const ApikeyPeppers *peppers)
{
	ApikeyCachedKey *cached;
	ApikeyKeyMemo *memo;

	/* no message tells us when this transaction's own row is undone */
	if (peppers->serial == 0 || !apikey_relation_is_coherent(rel) ||
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(key->tuple->t_data)))
		return NULL;
	cached = apikey_keycache_add(key, RelationGetDescr(rel), generation);
	if (cached == NULL)
		return NULL;
	memo = apikey_keycache_memo(cached);
	memo->peppers = peppers->serial;
	memo->on_standby = RecoveryInProgress();
	return cached;
}

ApikeyFind
apikey_find_kept(const char *text, size_t len, ApikeyCachedKey *kept,
				 ApikeyKey *room, const ApikeyKey **key)
{
	const ApikeyPeppers *peppers;
	Relation	rel = NULL;
	ApikeyFind	result = APIKEY_UNKNOWN;

	if (kept != NULL && pepper_is_current(kept) && row_is_current(kept))
	{
		apikey_tally_add(APIKEY_TALLY_CACHE_HIT);
		*key = apikey_keycache_key(kept);
		return APIKEY_FOUND;
	}
	if (kept != NULL)
		apikey_keycache_remove(kept);
	apikey_tally_add(APIKEY_TALLY_CACHE_MISS);
	*key = room;
	peppers = apikey_peppers();

	/* keys move to the current one, the first: that is looked at once more */
	for (int turn = 0; turn < peppers->count + (peppers->count > 1 ? 1 : 0) &&
		 result == APIKEY_UNKNOWN; turn++)
	{
		int			i = turn % peppers->count;
		uint64		generation;
		KeySearch	search = {
			.pepper_id = peppers->pepper[i].id,
			.algorithm = APIKEY_ALGORITHM_BLAKE2B,
			.max = 1,
		};

		if (peppers->pepper[i].secret == NULL)
			continue;
		apikey_digest(search.digest, text, len, peppers->pepper[i].secret);
		search.hash = apikey_keyplace_hash(search.digest);
		apikey_keyplace_prefetch(APIKEY_PLACES_KEY, search.hash);
		if (rel == NULL)
			rel = table_open(apikey_relation(APIKEY_REL_KEY), AccessShareLock);
		generation = apikey_key_generation();
		if (search_in_place(rel, &search, room))
			apikey_key_decode_columns(RelationGetDescr(rel), room);
		else
		{
			search_by_digest(rel, &search);
			if (search.count == 0)
				continue;
			apikey_key_decode(search.found[0], RelationGetDescr(rel), room);
			room->buffer = search.place.buffer;
			note_place(rel, &search);
		}
		result = APIKEY_FOUND;
		kept = pepper_lasts(peppers, i) ?
			keep(rel, room, generation, peppers) : NULL;
		if (kept != NULL)
			*key = apikey_keycache_key(kept);
	}
	if (rel == NULL)
		rel = table_open(apikey_relation(APIKEY_REL_KEY), AccessShareLock);
	if (result == APIKEY_UNKNOWN && missing_pepper_matters(rel, peppers))
		result = APIKEY_CANNOT_TELL;
	table_close(rel, AccessShareLock);
	return result;
}

ApikeyFind
apikey_find(const char *text, size_t len, ApikeyKey *room,
			const ApikeyKey **key)
{
	AcceptInvalidationMessages();
	return apikey_find_kept(text, len, apikey_keycache_find(text, len), room,
							key);
}

int
apikey_find_stored(const unsigned char digest[APIKEY_DIGEST_LEN],
				   int32 pepper_id, int16 algorithm,
				   ApikeyKey *keys, int max)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY),
								 AccessShareLock);
	KeySearch	search = {
		.pepper_id = pepper_id,
		.algorithm = algorithm,
		.max = Min(max, APIKEY_FIND_STORED_MAX),
	};

	memcpy(search.digest, digest, APIKEY_DIGEST_LEN);
	search_by_digest(rel, &search);
	for (int i = 0; i < search.count; i++)
		apikey_key_decode(search.found[i], RelationGetDescr(rel), &keys[i]);
	table_close(rel, AccessShareLock);
	return search.count;
}

static bool
take_row(TupleTableSlot *slot, void *arg)
{
	*(HeapTuple *) arg = ExecCopySlotHeapTuple(slot);
	return false;
}

bool
apikey_find_by_id(const pg_uuid_t *key_id, ApikeyKey *key)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY),
								 AccessShareLock);
	HeapTuple	found = NULL;
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key_id));
	apikey_scan(rel, apikey_relation(APIKEY_REL_KEY_PKEY), &scan_key, 1,
				take_row, &found);
	if (found != NULL)
		apikey_key_decode(found, RelationGetDescr(rel), key);
	table_close(rel, AccessShareLock);
	return found != NULL;
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
