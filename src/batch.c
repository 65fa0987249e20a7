/*
 * batch.c
 *		Adds up the buffered events of one database.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch.h"

/* Ids have some time, and random bits behind it. */
static inline uint32
hash_usage_key(const UsageKey *key)
{
	uint64		part[2];

	memcpy(part, &key->key_id, sizeof(part));
	part[1] ^= part[0] * UINT64CONST(0x9e3779b97f4a7c15) ^ (uint64) key->hour;
	return murmurhash32((uint32) part[1] ^ (uint32) (part[1] >> 32));
}

#define SH_PREFIX			usagehash
#define SH_ELEMENT_TYPE		Usage
#define SH_KEY_TYPE			UsageKey
#define SH_KEY				key
#define SH_HASH_KEY(tb, key)	hash_usage_key(&(key))
#define SH_EQUAL(tb, a, b)	(memcmp(&(a), &(b), sizeof(UsageKey)) == 0)
#define SH_SCOPE			static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Counts to be sorted: mostly by the first bytes of their key */
typedef struct SortedUsage
{
	uint64		head;
	Usage	   *usage;
} SortedUsage;

static int
compare_usage(const SortedUsage *a, const SortedUsage *b)
{
	const UsageKey *x = &a->usage->key;
	const UsageKey *y = &b->usage->key;
	int			order;

	if (a->head != b->head)
		return a->head < b->head ? -1 : 1;
	order = memcmp(&x->key_id, &y->key_id, UUID_LEN);
	return order != 0 ? order : (x->hour > y->hour) - (x->hour < y->hour);
}

#define ST_SORT				sort_by_key
#define ST_ELEMENT_TYPE		SortedUsage
#define ST_COMPARE(a, b)	compare_usage(a, b)
#define ST_SCOPE			static
#define ST_DEFINE
#include "lib/sort_template.h"

static TimestampTz
hour_of(TimestampTz at)
{
	TimestampTz rest = at % USECS_PER_HOUR;

	return at - (rest < 0 ? rest + USECS_PER_HOUR : rest);
}

static void
add_hash(Usage *usage, uint32 hash)
{
	if (usage->nhashes > 0 && usage->hashes[usage->nhashes - 1] == hash)
		return;
	if (usage->nhashes == usage->hashes_size)
	{
		usage->hashes_size = usage->hashes_size == 0 ? 4 : 2 * usage->hashes_size;
		usage->hashes = usage->hashes == NULL ?
			palloc(usage->hashes_size * sizeof(uint32)) :
			repalloc_huge(usage->hashes, usage->hashes_size * sizeof(uint32));
	}
	usage->hashes[usage->nhashes++] = hash;
}

static void
add_failure(Batch *batch, const ApikeyEvent *event)
{
	const uint8 lengths[4] = {event->head.of.len.code, event->head.of.len.method,
	event->head.of.len.path, event->head.of.len.request_id};
	const char *text = event->bytes + sizeof(ApikeyEventHead);
	Failure    *failure;

	if (batch->nfailures == batch->failures_size)
	{
		batch->failures_size *= 2;
		batch->failures = repalloc_huge(batch->failures,
										batch->failures_size * sizeof(Failure));
	}
	failure = &batch->failures[batch->nfailures];
	failure->head = event->head;
	failure->number = batch->nfailures++;
	for (int i = 0; i < 4; i++)
	{
		failure->text[i] = lengths[i] > 0 ? pnstrdup(text, lengths[i]) : NULL;
		text += lengths[i];
	}
}

static void
add_session(Batch *batch, const ApikeyEvent *event)
{
	SessionUse *use;
	bool		found;

	use = hash_search(batch->sessions, event->bytes +
					  sizeof(ApikeyEventHead) + sizeof(ApikeyEventPass),
					  HASH_ENTER, &found);
	if (!found || use->last_used < event->head.at)
		use->last_used = event->head.at;
}

static void
add_spent(Batch *batch, uint64 epoch, int64 amount)
{
	Spent	   *spent;
	bool		found;

	if (epoch == 0 || amount == 0)
		return;
	spent = hash_search(batch->spent, &epoch, HASH_ENTER, &found);
	spent->amount = (found ? spent->amount : 0) + amount;
}

static bool
add_event(const ApikeyEvent *event, void *arg)
{
	Batch	   *batch = arg;
	const ApikeyEventHead *head = &event->head;
	bool		verified = (head->flags & APIKEY_EVENT_VERIFY) != 0;
	bool		refused = (head->flags & APIKEY_EVENT_REFUSED) != 0;
	UsageKey	key = {.key_id = head->key_id, .hour = hour_of(head->at)};
	Usage	   *usage;
	bool		found;

	/* one more may come in than there is room for: by a new key's error */
	if ((int64) batch->usage->members + batch->nfailures >= batch->max)
		return false;
	if ((head->flags & APIKEY_EVENT_REHASH) != 0)
	{
		Rehash	   *rehash = hash_search(batch->rehash, &head->key_id,
										 HASH_ENTER, NULL);

		memcpy(&rehash->to, event->bytes + sizeof(ApikeyEventHead),
			   sizeof(rehash->to));
		return true;
	}
	usage = usagehash_insert(batch->usage, key, &found);
	if (!found)
		memset((char *) usage + sizeof(UsageKey), 0,
			   offsetof(Usage, status) - sizeof(UsageKey));
	if ((head->flags & APIKEY_EVENT_PASS) != 0)
	{
		ApikeyEventPass pass;

		memcpy(&pass, event->bytes + sizeof(*head), sizeof(pass));
		if (head->has_place)
			usage->place = pass.of.place;
		else
		{
			add_spent(batch, pass.of.epoch.key, head->of.cost);
			add_spent(batch, pass.of.epoch.account, head->of.cost);
		}
	}
	usage->requests += verified;
	usage->refused += refused;
	usage->rotated |= (head->flags & APIKEY_EVENT_ROTATED) != 0;
	if (verified && !refused)
		usage->last_used = Max(usage->last_used, head->at);
	if ((head->flags & APIKEY_EVENT_SESSION) != 0)
		add_session(batch, event);
	if ((head->flags & APIKEY_EVENT_HAS_ADDRESS) != 0)
		add_hash(usage, head->address_hash);
	if (head->status >= 400)
	{
		usage->errors_4xx += head->status < 500;
		usage->errors_5xx += head->status >= 500;
		add_failure(batch, event);
	}
	return true;
}

/* By key, newest first; of the same microsecond the one counted last */
static int
compare_failures(const void *a, const void *b)
{
	const Failure *x = a;
	const Failure *y = b;
	int			order = memcmp(&x->head.key_id, &y->head.key_id, UUID_LEN);

	if (order != 0)
		return order;
	if (x->head.at != y->head.at)
		return x->head.at < y->head.at ? 1 : -1;
	return (x->number < y->number) - (x->number > y->number);
}

void
apikey_usage_sort(Usage **rows, int count)
{
	SortedUsage *sorted = palloc_extended(Max(count, 1) * sizeof(SortedUsage),
										  MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
	{
		uint64		head;

		memcpy(&head, &rows[i]->key.key_id, sizeof(head));
		sorted[i].head = pg_ntoh64(head);
		sorted[i].usage = rows[i];
	}
	sort_by_key(sorted, count);
	for (int i = 0; i < count; i++)
		rows[i] = sorted[i].usage;
	pfree(sorted);
}

Usage **
apikey_batch_usage(const Batch *batch, int *count)
{
	Usage	  **rows;
	usagehash_iterator iterator;
	Usage	   *usage;
	int			n = 0;

	*count = batch->usage->members;
	rows = palloc_extended(Max(*count, 1) * sizeof(Usage *), MCXT_ALLOC_HUGE);
	usagehash_start_iterate(batch->usage, &iterator);
	while ((usage = usagehash_iterate(batch->usage, &iterator)) != NULL)
		rows[n++] = usage;
	apikey_usage_sort(rows, *count);
	return rows;
}

static int
compare_spent(const void *a, const void *b)
{
	int64		x = (int64) (*(Spent *const *) a)->epoch;
	int64		y = (int64) (*(Spent *const *) b)->epoch;

	return (x > y) - (x < y);
}

Spent **
apikey_batch_spent(const Batch *batch, int *count)
{
	Spent	  **rows;
	HASH_SEQ_STATUS status;
	Spent	   *spent;
	int			n = 0;

	*count = hash_get_num_entries(batch->spent);
	rows = palloc(Max(*count, 1) * sizeof(Spent *));
	hash_seq_init(&status, batch->spent);
	while ((spent = hash_seq_search(&status)) != NULL)
		rows[n++] = spent;
	qsort(rows, *count, sizeof(Spent *), compare_spent);
	return rows;
}

void
apikey_batch_sort_failures(Batch *batch)
{
	qsort(batch->failures, batch->nfailures, sizeof(Failure),
		  compare_failures);
}

void
apikey_batch_collect(Batch *batch, Oid database, uint64 limit[APIKEY_RINGS],
					 int max)
{
	HASHCTL		rehash_ctl = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(Rehash),
		.hcxt = CurrentMemoryContext,
	};

	HASHCTL		session_ctl = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(SessionUse),
		.hcxt = CurrentMemoryContext,
	};

	HASHCTL		spent_ctl = {
		.keysize = sizeof(uint64),
		.entrysize = sizeof(Spent),
		.hcxt = CurrentMemoryContext,
	};

	memset(batch, 0, sizeof(*batch));
	batch->max = max;
	batch->sessions = hash_create("apikey sessions", 64, &session_ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	batch->spent = hash_create("apikey spent", 64, &spent_ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	batch->rehash = hash_create("apikey rehash", 64, &rehash_ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	batch->usage = usagehash_create(CurrentMemoryContext, 1024, NULL);
	batch->failures_size = 64;
	batch->failures = palloc(batch->failures_size * sizeof(Failure));
	apikey_buffer_walk(database, limit, add_event, batch);
}
