/*
 * keycache.c
 *		Decoded keys that a backend keeps, by their text.
 *
 * The text itself is not here: a key is found by a MAC of it, with 128 bits,
 * under a random key of the process that lies in protected memory.  Whoever
 * does not have the text can do no better than guess those bits.
 *
 * Each is one piece of memory in a context of its own: the row and, behind
 * it, what was decoded.  apikey.cache_size bounds their number; a key with
 * long lists counts for several, so that it bounds the memory as well.  Of
 * those that were not used since they were last looked at, the oldest go first.
 *
 * Whether a kept key is still what the table says is keystore.c's business.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "lib/ilist.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "compat.h"
#include "keycache.h"
#include "meter.h"
#include "scopes.h"
#include "settings.h"

/* So many bytes count as one key */
#define BYTES_PER_KEY		2048

/* A key that would take more than this part of the cache is not kept */
#define LARGEST_PART		4

/*
 * Keys that were offered lately: so many sets, a power of two, of a few each,
 * so that keys of one set that come in turn do not push each other out
 */
#define OFFER_SETS			1024
#define OFFER_WAYS			4

/* Of so many buckets one is in use: to find nothing no kept key is looked at */
#define BUCKETS_PER_KEY		4

#define CACHE_LINE			64	/* as a rule */

/* What is needed of every key that is found comes first */
struct ApikeyCachedKey
{
	ApikeyCachedKey *next;		/* in its bucket */
	unsigned char tag[APIKEY_TAG_LEN];
	bool		touched;		/* used since it was last passed over */
	uint64		generation;
	ApikeyKeyMemo memo;
	ApikeyKey	key;			/* points behind this struct */
	dlist_node	node;			/* in by_age */
	int			weight;			/* as how many keys it counts */
};

static MemoryContext context = NULL;
static unsigned char *tag_key = NULL;
static ApikeyCachedKey **buckets = NULL;	/* a power of two of them */
static uint32 nbuckets = 0;
static dlist_head by_age = DLIST_STATIC_INIT(by_age);	/* latest first */
static int	total_weight = 0;
static uint32 offers[OFFER_SETS][OFFER_WAYS];	/* parts of tags, latest first */
static int	ready_for = 0;		/* value of apikey.cache_size */
static unsigned char tag[APIKEY_TAG_LEN];	/* what was last looked for */

static ApikeyCachedKey **
bucket_of(const unsigned char of[APIKEY_TAG_LEN])
{
	uint32		hash;

	memcpy(&hash, of, sizeof(hash));
	return &buckets[hash & (nbuckets - 1)];
}

void
apikey_keycache_remove(ApikeyCachedKey *cached)
{
	ApikeyCachedKey **link = bucket_of(cached->tag);

	while (*link != cached)
		link = &(*link)->next;
	*link = cached->next;
	dlist_delete(&cached->node);
	total_weight -= cached->weight;
	if (cached->memo.verdict.row != NULL)
		pfree(cached->memo.verdict.row);
	pfree(cached);
}

/*
 * The oldest go, but not before they had another turn if they were used.
 */
static void
remove_least_used(int weight_left)
{
	while (total_weight > Max(weight_left, 0))
	{
		ApikeyCachedKey *oldest = dlist_tail_element(ApikeyCachedKey, node,
													 &by_age);

		if (oldest->touched)
		{
			oldest->touched = false;
			dlist_move_head(&by_age, &oldest->node);
		}
		else
			apikey_keycache_remove(oldest);
	}
}

static bool
make_tag_key(void)
{
	tag_key = apikey_secret_alloc(APIKEY_SHORT_KEY_LEN);
	if (tag_key == NULL)
		return false;
	apikey_random(tag_key, APIKEY_SHORT_KEY_LEN);
	apikey_secret_seal(tag_key);
	return true;
}

/*
 * Follow apikey.cache_size.  False if nothing is to be kept.
 */
static bool
be_ready(void)
{
	if (ready_for == apikey_cache_size)
		return ready_for > 0;

	/* a change of size is rare: start anew */
	if (context != NULL)
		MemoryContextDelete(context);
	context = NULL;
	buckets = NULL;
	dlist_init(&by_age);
	total_weight = 0;
	ready_for = 0;
	if (apikey_cache_size == 0 || (tag_key == NULL && !make_tag_key()))
		return false;
	context = AllocSetContextCreate(TopMemoryContext, "apikey keys",
									ALLOCSET_DEFAULT_SIZES);
	nbuckets = pg_nextpower2_32(apikey_cache_size) * BUCKETS_PER_KEY;
	buckets = MemoryContextAllocZero(context,
									 nbuckets * sizeof(ApikeyCachedKey *));
	ready_for = apikey_cache_size;
	return true;
}

ApikeyCachedKey *
apikey_keycache_find(const char *text, size_t len)
{
	if (!be_ready())
		return NULL;
	apikey_tag(tag, text, len, tag_key);
	for (ApikeyCachedKey *cached = *bucket_of(tag); cached != NULL;
		 cached = cached->next)
	{
		if (apikey_equal(cached->tag, tag, APIKEY_TAG_LEN))
		{
			cached->touched = true;
			return cached;
		}
	}
	return NULL;
}

void
apikey_keycache_prefetch(const ApikeyCachedKey *cached)
{
	const ApikeyKeyMemo *memo = &cached->memo;

	for (Size at = 0; at < sizeof(*cached); at += CACHE_LINE)
		apikey_prefetch((const char *) cached + at);
	for (Size at = 0; memo->verdict.row != NULL && at < memo->verdict.len; at += CACHE_LINE)
		apikey_prefetch((const char *) memo->verdict.row + at);
	apikey_prefetch(DatumGetPointer(cached->key.value[KEY_KEY_ID]));
	apikey_prefetch(cached->key.nets);
	for (int i = 0; memo->limits.number != 0 && i < memo->limits.count; i++)
		apikey_meter_prefetch(memo->limits.hash[i]);
}

const ApikeyKey *
apikey_keycache_key(const ApikeyCachedKey *cached)
{
	return &cached->key;
}

uint64
apikey_keycache_generation(const ApikeyCachedKey *cached)
{
	return cached->generation;
}

void
apikey_keycache_confirm(ApikeyCachedKey *cached, uint64 generation)
{
	cached->generation = generation;
}

/*
 * Is this a value beside the row, made by detoasting?
 */
static bool
is_beside(const ApikeyKey *key, TupleDesc desc, int column)
{
	const char *value = DatumGetPointer(key->value[column]);

	return !key->null[column] && !TupleDescAttr(desc, column - 1)->attbyval &&
		(value < (char *) key->tuple->t_data ||
		 value >= (char *) key->tuple->t_data + key->tuple->t_len);
}

/*
 * Size of a key's row and of all that belongs to it.
 */
static Size
size_of_parts(const ApikeyKey *key, TupleDesc desc)
{
	Size		size = MAXALIGN(HEAPTUPLESIZE) + MAXALIGN(key->tuple->t_len) +
		MAXALIGN(key->nnets * sizeof(ApikeyNet)) +
		MAXALIGN(key->norigins * sizeof(ApikeyOrigin));

	for (int i = 1; i <= APIKEY_KEY_NCOLUMNS; i++)
	{
		if (is_beside(key, desc, i))
			size += MAXALIGN(VARSIZE_ANY(DatumGetPointer(key->value[i])));
	}
	return size;
}

/*
 * Copy a part to *to, and move that on.
 */
static void *
copy_part(char **to, const void *from, Size size)
{
	void	   *copy = *to;

	if (size > 0)
		memcpy(copy, from, size);
	*to += MAXALIGN(size);
	return copy;
}

static void
copy_key(const ApikeyKey *key, TupleDesc desc, char *to, ApikeyKey *copy)
{
	*copy = *key;
	copy->tuple = copy_part(&to, key->tuple, HEAPTUPLESIZE);
	copy->tuple->t_data = copy_part(&to, key->tuple->t_data,
									key->tuple->t_len);
	for (int i = 1; i <= APIKEY_KEY_NCOLUMNS; i++)
	{
		char	   *value = DatumGetPointer(key->value[i]);

		if (key->null[i] || TupleDescAttr(desc, i - 1)->attbyval)
			continue;
		copy->value[i] =
			PointerGetDatum(is_beside(key, desc, i) ?
							copy_part(&to, value, VARSIZE_ANY(value)) :
							(char *) copy->tuple->t_data +
							(value - (char *) key->tuple->t_data));
	}
	copy->grants = apikey_scopes_open((struct varlena *)
									  DatumGetPointer(copy->value[KEY_SCOPES]));
	copy->nets = copy_part(&to, key->nets, key->nnets * sizeof(ApikeyNet));
	copy->origins = copy_part(&to, key->origins,
							  key->norigins * sizeof(ApikeyOrigin));
}

static void
set_weight(ApikeyCachedKey *cached)
{
	Size		size = GetMemoryChunkSpace(cached);

	if (cached->memo.verdict.row != NULL)
		size += GetMemoryChunkSpace(cached->memo.verdict.row);
	cached->weight = Max(size / BYTES_PER_KEY, 1);
}

ApikeyKeyMemo *
apikey_keycache_memo(ApikeyCachedKey *cached)
{
	return &cached->memo;
}

void
apikey_keycache_note_row(ApikeyCachedKey *cached, const void *row, Size len)
{
	ApikeyVerdictMemo *verdict = &cached->memo.verdict;

	if (verdict->row != NULL)
		pfree(verdict->row);
	verdict->row = NULL;
	if (row != NULL)
		verdict->row = MemoryContextAllocExtended(context, len,
												  MCXT_ALLOC_NO_OOM);
	if (verdict->row != NULL)
		memcpy(verdict->row, row, len);
	verdict->len = len;

	/* it is in use: what is too much goes when the next one is added */
	total_weight -= cached->weight;
	set_weight(cached);
	total_weight += cached->weight;
}

/*
 * Was this key offered before, while not very many others were?
 */
static bool
was_offered(void)
{
	uint32		part[2];
	uint32	   *set;
	int			at = 0;
	bool		before;

	memcpy(part, tag + APIKEY_TAG_LEN - sizeof(part), sizeof(part));
	set = offers[part[0] & (OFFER_SETS - 1)];
	while (at < OFFER_WAYS - 1 && set[at] != part[1])
		at++;
	before = set[at] == part[1];
	memmove(set + 1, set, at * sizeof(uint32));
	set[0] = part[1];
	return before;
}

ApikeyCachedKey *
apikey_keycache_add(const ApikeyKey *key, TupleDesc desc,
					uint64 generation)
{
	Size		size;
	ApikeyCachedKey *cached;
	ApikeyCachedKey **bucket;

	if (!be_ready() || (total_weight >= apikey_cache_size && !was_offered()))
		return NULL;
	size = MAXALIGN(sizeof(ApikeyCachedKey)) + size_of_parts(key, desc);
	if (size / BYTES_PER_KEY > Max(apikey_cache_size / LARGEST_PART, 1))
		return NULL;
	cached = MemoryContextAllocExtended(context, size, MCXT_ALLOC_NO_OOM);
	if (cached == NULL)
		return NULL;
	copy_key(key, desc, (char *) cached + MAXALIGN(sizeof(ApikeyCachedKey)),
			 &cached->key);
	cached->key.kept = cached;
	memset(&cached->memo, 0, sizeof(cached->memo));
	memcpy(cached->tag, tag, APIKEY_TAG_LEN);
	cached->touched = false;
	cached->generation = generation;
	set_weight(cached);

	remove_least_used(apikey_cache_size - cached->weight);
	total_weight += cached->weight;
	dlist_push_head(&by_age, &cached->node);
	bucket = bucket_of(tag);
	cached->next = *bucket;
	*bucket = cached;
	return cached;
}
