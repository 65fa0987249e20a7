/*
 * usage_period.c
 *		Adding counts to the tables by hour and by day.
 *
 * Rows carry the node that counted, and sessions that write for one node wait
 * for each other at its row of apikey.flush_state: nobody else changes these
 * rows but who removes keys (locks.h) or repairs something by hand, and then
 * the flush fails and is tried again.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "sketch.h"
#include "usage_partition.h"
#include "usage_period.h"

void
apikey_counts_init(ApikeyCounts *counts, int size)
{
	counts->context = CurrentMemoryContext;
	counts->size = Max(size, 1);
	counts->n = 0;
	counts->counts = palloc_extended(counts->size * sizeof(ApikeyCount),
									 MCXT_ALLOC_HUGE);
}

ApikeyCount *
apikey_counts_add(ApikeyCounts *counts)
{
	ApikeyCount *count;

	if (counts->n == counts->size)
	{
		counts->size *= 2;
		counts->counts = repalloc_huge(counts->counts,
									   counts->size * sizeof(ApikeyCount));
	}
	count = &counts->counts[counts->n++];
	memset(count, 0, sizeof(*count));
	return count;
}

static void
add_number(ApikeyUpsert *upsert, int column, int64 more)
{
	bool		isnull;
	int64		before = DatumGetInt64(apikey_upsert_get(upsert, column, &isnull));

	apikey_upsert_set(upsert, column, Int64GetDatum(before + more));
}

void
apikey_count_add_to(ApikeyUpsert *upsert, int requests, const ApikeyCount *count)
{
	const Usage *usage = count->usage;
	int			column = requests + COUNT_ADDRESSES - COUNT_REQUESTS;
	const struct varlena *addresses;
	bool		isnull;

	add_number(upsert, requests, usage->requests);
	add_number(upsert, requests + COUNT_REFUSED - COUNT_REQUESTS, usage->refused);
	add_number(upsert, requests + COUNT_ERRORS_4XX - COUNT_REQUESTS, usage->errors_4xx);
	add_number(upsert, requests + COUNT_ERRORS_5XX - COUNT_REQUESTS, usage->errors_5xx);
	if (usage->nhashes == 0 && count->sketch == NULL)
		return;
	addresses = (struct varlena *) DatumGetPointer(apikey_upsert_get(upsert, column, &isnull));
	if (count->sketch != NULL)
		addresses = apikey_sketch_unite(addresses, count->sketch);
	if (usage->nhashes > 0)
		addresses = apikey_sketch_add(addresses, usage->hashes, usage->nhashes);
	apikey_upsert_set(upsert, column, PointerGetDatum(addresses));
}

/*
 * Any order will do.
 */
static int
compare_nodes(const ApikeyCount *a, const ApikeyCount *b)
{
	const struct varlena *x = (struct varlena *) DatumGetPointer(a->node);
	const struct varlena *y = (struct varlena *) DatumGetPointer(b->node);

	if (x == y)
		return 0;
	if (VARSIZE_ANY_EXHDR(x) != VARSIZE_ANY_EXHDR(y))
		return VARSIZE_ANY_EXHDR(x) < VARSIZE_ANY_EXHDR(y) ? -1 : 1;
	return memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x));
}

/*
 * Add some counts of the same key, period and node to the row of the table.
 */
static void
add_counts(EState *estate, const ApikeyPeriod *period, ApikeyUpsert *upsert,
		   const ApikeyCount *counts, int n)
{
	MemoryContext old;
	Datum		key[] = {
		UUIDPGetDatum(&counts->usage->key.key_id),
		period->of_hour(counts->usage->key.hour),
		counts->node,
	};

	apikey_upsert_find(upsert, key, NULL);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	if (!upsert->exists)
		apikey_upsert_set(upsert, COUNT_ACCOUNT, counts->account);
	for (int i = 0; i < n; i++)
		apikey_count_add_to(upsert, COUNT_REQUESTS, &counts[i]);
	apikey_upsert_write(upsert);
	MemoryContextSwitchTo(old);
}

/*
 * Add all to one of the two tables, whose partitions are opened in ascending
 * order.
 */
static void
write_periods(EState *estate, const ApikeyPeriod *period,
			  const ApikeyCounts *counts)
{
	List	   *numbers = NIL;
	List	   *partitions;
	int			to;

	for (int i = 0; i < counts->n; i++)
	{
		int			number = period->partition_of_hour(counts->counts[i].usage->key.hour);

		if (numbers == NIL || llast_int(numbers) != number)
			numbers = list_append_unique_int(numbers, number);
	}
	list_sort(numbers, list_int_cmp);
	partitions = apikey_partitions_open(period, numbers, estate);
	for (int from = 0; from < counts->n; from = to)
	{
		const ApikeyCount *first = &counts->counts[from];
		const UsageKey *key = &first->usage->key;

		for (to = from + 1; to < counts->n; to++)
		{
			const ApikeyCount *next = &counts->counts[to];

			if (memcmp(&next->usage->key.key_id, &key->key_id, UUID_LEN) != 0 ||
				!period->same(next->usage->key.hour, key->hour) ||
				compare_nodes(next, first) != 0)
				break;
		}
		CHECK_FOR_INTERRUPTS();
		add_counts(estate, period,
				   apikey_partition_of(partitions,
									   period->partition_of_hour(key->hour)),
				   first, to - from);
	}
	apikey_partitions_close(partitions);
}

/*
 * By key and node, then hour.
 */
static int
compare_counts(const void *a, const void *b)
{
	const UsageKey *x = &((const ApikeyCount *) a)->usage->key;
	const UsageKey *y = &((const ApikeyCount *) b)->usage->key;
	int			order = memcmp(&x->key_id, &y->key_id, UUID_LEN);

	if (order == 0)
		order = compare_nodes(a, b);
	return order != 0 ? order : (x->hour > y->hour) - (x->hour < y->hour);
}

void
apikey_counts_write(EState *estate, ApikeyCounts *counts)
{
	if (counts->n == 0)
		return;
	qsort(counts->counts, counts->n, sizeof(ApikeyCount), compare_counts);
	write_periods(estate, &apikey_by_hour, counts);
	write_periods(estate, &apikey_by_day, counts);
}
