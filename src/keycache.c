/*
 * keycache.c
 *		Decoded keys that a backend keeps, by their digest.
 *
 * Each is one piece of memory in a context of its own: the row and, behind
 * it, what was decoded.  apikey.cache_size bounds their number; a key with
 * long lists counts for several, so that it bounds the memory as well.  Those
 * that were not used for longest go first.  The text of a key is not here.
 *
 * Whether a kept key is still what the table says is keystore.c's business.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "lib/ilist.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "keycache.h"
#include "scopes.h"
#include "settings.h"

/* So many bytes count as one key */
#define BYTES_PER_KEY		2048

/* A key that would take more than this part of the cache is not kept */
#define LARGEST_PART		4

/*
 * Digests that were offered lately: so many sets, a power of two, of a few
 * each, so that keys of one set that come in turn do not push each other out
 */
#define OFFER_SETS			1024
#define OFFER_WAYS			4

struct ApikeyCachedKey
{
	dlist_node	node;			/* in by_use */
	ApikeyCachedKey *next;		/* in its bucket */
	unsigned char digest[APIKEY_DIGEST_LEN];
	uint64		generation;
	int			weight;			/* as how many keys it counts */
	ApikeyKeyMemo memo;
	ApikeyKey	key;			/* points behind this struct */
};

static MemoryContext context = NULL;
static ApikeyCachedKey **buckets = NULL;	/* a power of two of them */
static uint32 nbuckets = 0;
static dlist_head by_use = DLIST_STATIC_INIT(by_use);	/* latest first */
static int	total_weight = 0;
static uint32 offers[OFFER_SETS][OFFER_WAYS];	/* parts of digests, latest
												 * first */
static int	ready_for = 0;		/* value of apikey.cache_size */

static ApikeyCachedKey **
bucket_of(const unsigned char digest[APIKEY_DIGEST_LEN])
{
	uint32		hash;

	/* keyed with the pepper: nobody can choose it */
	memcpy(&hash, digest, sizeof(hash));
	return &buckets[hash & (nbuckets - 1)];
}

void
apikey_keycache_remove(ApikeyCachedKey *cached)
{
	ApikeyCachedKey **link = bucket_of(cached->digest);

	while (*link != cached)
		link = &(*link)->next;
	*link = cached->next;
	dlist_delete(&cached->node);
	total_weight -= cached->weight;
	if (cached->memo.verdict != NULL)
		pfree(cached->memo.verdict);
	pfree(cached);
}

static void
remove_least_used(int weight_left)
{
	while (total_weight > Max(weight_left, 0))
		apikey_keycache_remove(dlist_tail_element(ApikeyCachedKey, node,
												  &by_use));
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
	dlist_init(&by_use);
	total_weight = 0;
	ready_for = 0;
	if (apikey_cache_size == 0)
		return false;
	context = AllocSetContextCreate(TopMemoryContext, "apikey keys",
									ALLOCSET_DEFAULT_SIZES);
	nbuckets = pg_nextpower2_32(apikey_cache_size);
	buckets = MemoryContextAllocZero(context,
									 nbuckets * sizeof(ApikeyCachedKey *));
	ready_for = apikey_cache_size;
	return true;
}

ApikeyCachedKey *
apikey_keycache_find(const unsigned char digest[APIKEY_DIGEST_LEN],
					 int32 pepper_id)
{
	if (!be_ready())
		return NULL;
	for (ApikeyCachedKey *cached = *bucket_of(digest); cached != NULL;
		 cached = cached->next)
	{
		if (DatumGetInt32(cached->key.value[KEY_PEPPER_ID]) == pepper_id &&
			apikey_equal(cached->digest, digest, APIKEY_DIGEST_LEN))
		{
			dlist_move_head(&by_use, &cached->node);
			return cached;
		}
	}
	return NULL;
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

	if (cached->memo.verdict != NULL)
		size += GetMemoryChunkSpace(cached->memo.verdict);
	cached->weight = Max(size / BYTES_PER_KEY, 1);
}

ApikeyKeyMemo *
apikey_keycache_memo(ApikeyCachedKey *cached)
{
	return &cached->memo;
}

void
apikey_keycache_note(ApikeyCachedKey *cached, const void *verdict, Size len)
{
	ApikeyKeyMemo *memo = &cached->memo;

	if (memo->verdict != NULL)
		pfree(memo->verdict);
	memo->verdict = NULL;
	if (verdict != NULL)
		memo->verdict = MemoryContextAllocExtended(context, len,
												   MCXT_ALLOC_NO_OOM);
	if (memo->verdict != NULL)
		memcpy(memo->verdict, verdict, len);
	memo->verdict_len = len;

	/* it is in use: what is too much goes when the next one is added */
	total_weight -= cached->weight;
	set_weight(cached);
	total_weight += cached->weight;
}

/*
 * Was this key offered before, while not very many others were?
 */
static bool
was_offered(const unsigned char digest[APIKEY_DIGEST_LEN])
{
	uint32		part[2];
	uint32	   *set;
	int			at = 0;
	bool		before;

	memcpy(part, digest + APIKEY_DIGEST_LEN - sizeof(part), sizeof(part));
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
					const unsigned char digest[APIKEY_DIGEST_LEN],
					uint64 generation)
{
	Size		size = MAXALIGN(sizeof(ApikeyCachedKey)) +
		size_of_parts(key, desc);
	ApikeyCachedKey *cached;
	ApikeyCachedKey **bucket;

	if (!be_ready() ||
		size / BYTES_PER_KEY > Max(apikey_cache_size / LARGEST_PART, 1) ||
		(total_weight >= apikey_cache_size && !was_offered(digest)))
		return NULL;
	cached = MemoryContextAllocExtended(context, size, MCXT_ALLOC_NO_OOM);
	if (cached == NULL)
		return NULL;
	copy_key(key, desc, (char *) cached + MAXALIGN(sizeof(ApikeyCachedKey)),
			 &cached->key);
	cached->key.kept = cached;
	memset(&cached->memo, 0, sizeof(cached->memo));
	memcpy(cached->digest, digest, APIKEY_DIGEST_LEN);
	cached->generation = generation;
	set_weight(cached);

	remove_least_used(apikey_cache_size - cached->weight);
	total_weight += cached->weight;
	dlist_push_head(&by_use, &cached->node);
	bucket = bucket_of(digest);
	cached->next = *bucket;
	*bucket = cached;
	return cached;
}
