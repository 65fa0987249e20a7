/*
 * usage_open.c
 *		The rows of apikey.key_use: when a key was last used, and its open hour.
 *
 * What comes again and again is written to one row: the counts of a key go
 * here as long as they are of the same hour.  When one of a later hour comes,
 * those before go to the tables by hour and by day; what comes late, for an
 * earlier hour than the open one, goes there at once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "keyplace.h"
#include "usage_open.h"

/* Counts ahead of which rows are fetched */
#define AHEAD		8

static const char *const columns[USE_NCOLUMNS] = {
	"key_id", "node", "last_used_at", "hour", "account", "requests", "refused",
	"errors_4xx", "errors_5xx", "addresses"
};

static ApikeyUpsert *
open_table(EState *estate)
{
	return apikey_upsert_begin(estate,
							   table_open(apikey_relation(APIKEY_REL_KEY_USE),
										  RowExclusiveLock),
							   columns, USE_NCOLUMNS, USE_NODE + 1);
}

static int64
get_number(const ApikeyUpsert *upsert, int column)
{
	bool		isnull;

	return DatumGetInt64(apikey_upsert_get(upsert, column, &isnull));
}

/*
 * Move the counts of the row to a list.
 */
static void
close_hour(ApikeyUpsert *upsert, ApikeyCounts *closed)
{
	MemoryContext old = MemoryContextSwitchTo(closed->context);
	ApikeyCount *count = apikey_counts_add(closed);
	Usage	   *usage = palloc0(sizeof(Usage));
	Datum		addresses;
	bool		isnull;

	usage->key.key_id = *DatumGetUUIDP(apikey_upsert_get(upsert, USE_KEY_ID, &isnull));
	usage->key.hour = DatumGetTimestampTz(apikey_upsert_get(upsert, USE_HOUR, &isnull));
	usage->requests = get_number(upsert, USE_REQUESTS);
	usage->refused = get_number(upsert, USE_REFUSED);
	usage->errors_4xx = get_number(upsert, USE_ERRORS_4XX);
	usage->errors_5xx = get_number(upsert, USE_ERRORS_5XX);
	count->usage = usage;
	count->node = datumCopy(apikey_upsert_get(upsert, USE_NODE, &isnull), false, -1);
	count->account = datumCopy(apikey_upsert_get(upsert, USE_ACCOUNT, &isnull), false, -1);
	addresses = apikey_upsert_get(upsert, USE_ADDRESSES, &isnull);
	if (!isnull)
		count->sketch = PG_DETOAST_DATUM_COPY(addresses);
	MemoryContextSwitchTo(old);
	for (int i = USE_HOUR; i < USE_NCOLUMNS; i++)
		apikey_upsert_set_null(upsert, i);
}

/*
 * The latest of the hours of some counts and of the row is open.
 */
static void
open_latest_hour(ApikeyUpsert *upsert, const ApikeyCount *last,
				 ApikeyCounts *closed)
{
	TimestampTz before;
	bool		isnull;

	before = DatumGetTimestampTz(apikey_upsert_get(upsert, USE_HOUR, &isnull));
	if (!isnull && before >= last->usage->key.hour)
		return;
	if (!isnull)
		close_hour(upsert, closed);
	apikey_upsert_set(upsert, USE_HOUR, TimestampTzGetDatum(last->usage->key.hour));
	apikey_upsert_set(upsert, USE_ACCOUNT, last->account);
}

/*
 * Add counts of one key to its row.
 */
static void
add_to_row(ApikeyUpsert *upsert, const ApikeyCount *counts, int n,
		   ApikeyCounts *closed)
{
	TimestampTz hour;
	TimestampTz last_used;
	bool		never_used;
	bool		isnull;

	open_latest_hour(upsert, &counts[n - 1], closed);
	hour = DatumGetTimestampTz(apikey_upsert_get(upsert, USE_HOUR, &isnull));
	last_used = DatumGetTimestampTz(apikey_upsert_get(upsert, USE_LAST_USED_AT,
													  &never_used));
	for (int i = 0; i < n; i++)
	{
		const Usage *usage = counts[i].usage;

		if (usage->key.hour == hour)
			apikey_count_add_to(upsert, USE_REQUESTS, &counts[i]);
		else
			*apikey_counts_add(closed) = counts[i];
		if (usage->last_used == 0 ||
			(!never_used && usage->last_used <= last_used))
			continue;
		last_used = usage->last_used;
		never_used = false;
		apikey_upsert_set(upsert, USE_LAST_USED_AT,
						  TimestampTzGetDatum(last_used));
	}
}

/*
 * Are all counts, of one key, of the hour that is open?
 */
static bool
are_of_open_hour(const ApikeyUpsert *upsert, const ApikeyCount *counts, int n)
{
	bool		isnull;
	TimestampTz hour = DatumGetTimestampTz(apikey_upsert_get(upsert, USE_HOUR, &isnull));

	return !isnull && counts[0].usage->key.hour == hour &&
		counts[n - 1].usage->key.hour == hour;
}

/*
 * Find out whose key it is.
 */
static void
find_account(ApikeyKeyFinder *finder, ApikeyCount *counts, int n)
{
	Datum		account = apikey_key_account(finder, &counts->usage->key.key_id,
											 &counts->usage->place);

	for (int i = 0; i < n; i++)
	{
		counts[i].account = account;
		counts[i].gone = account == (Datum) 0;
	}
}

/*
 * Ids are random for the most part; who makes his own that are not merely has
 * some rows looked up by the index.
 */
static uint64
place_hash(const pg_uuid_t *key_id)
{
	uint64		half[2];
	uint64		hash;

	memcpy(half, key_id->data, UUID_LEN);
	hash = (half[0] ^ half[1]) * UINT64CONST(0x9E3779B97F4A7C15);
	return hash ^ hash >> 32;
}

/*
 * Let the processor fetch what later counts will need: where their rows are,
 * and of some before them, these rows.
 */
static void
prefetch_rows(const ApikeyCounts *counts, int at)
{
	const Usage *ahead;
	ApikeyPlace place;

	if (at + 2 * AHEAD < counts->n)
		apikey_keyplace_prefetch(APIKEY_PLACES_KEY_USE,
								 place_hash(&counts->counts[at + 2 * AHEAD].usage->key.key_id));
	if (at + AHEAD >= counts->n)
		return;
	ahead = counts->counts[at + AHEAD].usage;
	if (apikey_keyplace_find(APIKEY_PLACES_KEY_USE, place_hash(&ahead->key.key_id), &place))
		apikey_place_prefetch(&place);
	else
		apikey_place_prefetch(&ahead->place);	/* whose row is added has an account */
}

/*
 * Find the row of a key, or begin one.
 */
static void
find_row(ApikeyUpsert *upsert, const ApikeyCount *count, uint64 hash)
{
	Datum		key[] = {
		UUIDPGetDatum(&count->usage->key.key_id), count->node
	};
	ApikeyPlace hint;
	bool		seen = apikey_keyplace_find(APIKEY_PLACES_KEY_USE, hash, &hint);

	apikey_upsert_find(upsert, key, seen ? &hint : NULL);
}

/*
 * Note where a row of this server lies that was met beside another.
 */
static void
note_neighbour(HeapTuple row, const ApikeyPlace *place, void *arg)
{
	ApikeyUpsert *upsert = arg;
	TupleDesc	desc = RelationGetDescr(upsert->rel);
	ScanKey		of_node = &upsert->key[USE_NODE];
	bool		isnull;
	Datum		key_id = heap_getattr(row, upsert->column[USE_KEY_ID], desc, &isnull);
	Datum		node = heap_getattr(row, upsert->column[USE_NODE], desc, &isnull);

	if (DatumGetBool(FunctionCall2Coll(&of_node->sk_func, of_node->sk_collation, node,
									   apikey_upsert_get(upsert, USE_NODE, &isnull))))
		apikey_keyplace_add(APIKEY_PLACES_KEY_USE,
							place_hash(DatumGetUUIDP(key_id)), place);
}

/*
 * Note where the row is that was written.  If it was there and that was not
 * known, as after a start of the server, it is not known of its neighbours either.
 */
static void
note_place(ApikeyUpsert *upsert, uint64 hash)
{
	if (apikey_keyplace_note(APIKEY_PLACES_KEY_USE, hash, &upsert->place) &&
		upsert->exists)
		apikey_page_visit(upsert->rel, upsert->place, note_neighbour, upsert);
}

void
apikey_open_hours_add(EState *estate, ApikeyCounts *counts,
					  ApikeyKeyFinder *finder, ApikeyCounts *closed)
{
	ApikeyUpsert *upsert = open_table(estate);
	int			to;

	for (int from = 0; from < counts->n; from = to)
	{
		ApikeyCount *first = &counts->counts[from];
		uint64		hash = place_hash(&first->usage->key.key_id);
		MemoryContext old;

		prefetch_rows(counts, from);
		for (to = from + 1; to < counts->n; to++)
		{
			if (memcmp(&counts->counts[to].usage->key.key_id,
					   &first->usage->key.key_id, UUID_LEN) != 0)
				break;
		}
		CHECK_FOR_INTERRUPTS();
		find_row(upsert, first, hash);
		/* a key whose hour is open was there when it was opened */
		if (finder != NULL && !are_of_open_hour(upsert, first, to - from))
			find_account(finder, first, to - from);
		if (first->gone)
			continue;
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		add_to_row(upsert, first, to - from, closed);
		apikey_upsert_write(upsert);
		note_place(upsert, hash);
		MemoryContextSwitchTo(old);
	}
	apikey_upsert_end(upsert);
}

void
apikey_open_hours_close(EState *estate, Datum (*keys)[USE_NODE + 1], int n,
						ApikeyCounts *closed)
{
	ApikeyUpsert *upsert = open_table(estate);

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		apikey_upsert_find(upsert, keys[i], NULL);
		close_hour(upsert, closed);
		apikey_upsert_write(upsert);
	}
	apikey_upsert_end(upsert);
}
