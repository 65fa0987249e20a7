/*
 * keyplace.c
 *		Where rows of keys lie in their tables, remembered in shared memory.
 *
 * It saves the way through the index, and no more than that: what it says is
 * a hint, so nobody has to keep it right, and nothing is lost with it.
 *
 * For each of the tables it is an array of sets, each a cache line.  A place
 * is one number of 64 bits, which is read and written at once: 48 bits of it
 * are the place, 16 tell rows of one set apart, by and large.  There are no
 * locks; a buffer may be that of another place, and the buffer itself says
 * which page is in it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "keyplace.h"
#include "settings.h"

#define WAYS			5		/* places of a set */
#define MARK_SHIFT		48
#define BLOCK_SHIFT		16

typedef struct PlaceSet
{
	pg_atomic_uint64 place[WAYS];	/* 0: none */
	pg_atomic_uint32 buffer[WAYS];
	uint32		unused;
} PlaceSet;

/* elsewhere a number that is read and written at once takes more room */
#ifdef PG_HAVE_8BYTE_SINGLE_COPY_ATOMICITY
StaticAssertDecl(sizeof(PlaceSet) == 64, "a set is a cache line");
#endif

/* NULL unless the library was preloaded, and there are any */
static PlaceSet *sets[APIKEY_NPLACES];

/* As in shared memory, for the setting is fixed at the start */
static uint32
set_count(void)
{
	return Max(apikey_key_places / WAYS, 1);
}

/* Of one table */
static Size
places_size(void)
{
	return mul_size(set_count(), sizeof(PlaceSet));
}

static Size
all_size(void)
{
	return apikey_key_places == 0 ? 0 :
		add_size(mul_size(places_size(), APIKEY_NPLACES), PG_CACHE_LINE_SIZE);
}

void
apikey_keyplaces_request(void)
{
	RequestAddinShmemSpace(all_size());
}

static void
initialize(PlaceSet *set)
{
	/* memory that nobody has touched yet takes no room, and is zero */
#ifndef PG_HAVE_8BYTE_SINGLE_COPY_ATOMICITY
	for (int i = 0; i < WAYS; i++)
		pg_atomic_init_u64(&set->place[i], 0);
#endif
}

void
apikey_keyplaces_start(void)
{
	bool		found;
	char	   *start;

	if (apikey_key_places == 0)
		return;
	start = ShmemInitStruct("apikey key places", all_size(), &found);
	start = (char *) CACHELINEALIGN(start);
	for (int i = 0; i < APIKEY_NPLACES; i++)
	{
		sets[i] = (PlaceSet *) (start + i * places_size());
		for (uint32 j = 0; j < set_count() && !found; j++)
			initialize(&sets[i][j]);
	}
}

uint64
apikey_keyplace_hash(const unsigned char digest[APIKEY_DIGEST_LEN])
{
	uint64		hash;

	/* keyed with the pepper: nobody can choose it */
	memcpy(&hash, digest + APIKEY_DIGEST_LEN - sizeof(hash), sizeof(hash));
	return hash;
}

/*
 * The set of a row, and its mark.  Databases made from one another may have
 * the same rows in other places.  The lower half of the hash says how far into
 * the array it is (Lemire, "Fast Random Integer Generation in an Interval",
 * 2019), so there may be any number of sets.
 */
static PlaceSet *
set_of(ApikeyPlaces of, uint64 hash, uint64 *mark)
{
	uint32		of_database = (uint32) hash ^ (MyDatabaseId * UINT32_C(0x9E3779B9));

	*mark = hash >> MARK_SHIFT << MARK_SHIFT;
	return &sets[of][((uint64) of_database * set_count()) >> 32];
}

void
apikey_keyplace_prefetch(ApikeyPlaces of, uint64 hash)
{
	uint64		mark;

	if (sets[of] != NULL)
		apikey_prefetch(set_of(of, hash, &mark));
}

/*
 * The number of the place with this mark; -1: none.
 */
static int
find_mark(PlaceSet *set, uint64 mark)
{
	for (int i = 0; i < WAYS; i++)
	{
		uint64		place = pg_atomic_read_u64(&set->place[i]);

		if (place != 0 && (place ^ mark) >> MARK_SHIFT == 0)
			return i;
	}
	return -1;
}

bool
apikey_keyplace_find(ApikeyPlaces of, uint64 hash, ApikeyPlace *place)
{
	uint64		mark;
	uint64		number;
	PlaceSet   *set;
	int			at;

	if (sets[of] == NULL)
		return false;
	set = set_of(of, hash, &mark);
	at = find_mark(set, mark);
	if (at < 0)
		return false;
	number = pg_atomic_read_u64(&set->place[at]);
	ItemPointerSet(&place->tid, (BlockNumber) (number >> BLOCK_SHIFT),
				   (OffsetNumber) number);
	place->buffer = (Buffer) pg_atomic_read_u32(&set->buffer[at]);
	return true;
}

/*
 * The number of a place that is not taken; -1: none.
 */
static int
find_room(PlaceSet *set)
{
	for (int i = 0; i < WAYS; i++)
	{
		if (pg_atomic_read_u64(&set->place[i]) == 0)
			return i;
	}
	return -1;
}

static void
set_place(PlaceSet *set, int at, uint64 mark, const ApikeyPlace *place)
{
	pg_atomic_write_u32(&set->buffer[at], (uint32) place->buffer);
	pg_atomic_write_u64(&set->place[at],
						mark |
						(uint64) ItemPointerGetBlockNumber(&place->tid) << BLOCK_SHIFT |
						ItemPointerGetOffsetNumber(&place->tid));
}

bool
apikey_keyplace_note(ApikeyPlaces of, uint64 hash, const ApikeyPlace *place)
{
	uint64		mark;
	PlaceSet   *set;
	int			at;
	int			room = -1;

	if (sets[of] == NULL)
		return false;
	set = set_of(of, hash, &mark);
	at = find_mark(set, mark);
	if (at < 0)
		at = room = find_room(set);
	if (at < 0)
		at = (mark >> MARK_SHIFT) % WAYS;
	set_place(set, at, mark, place);
	return room >= 0;
}

void
apikey_keyplace_add(ApikeyPlaces of, uint64 hash, const ApikeyPlace *place)
{
	uint64		mark;
	PlaceSet   *set = set_of(of, hash, &mark);
	int			room = find_room(set);

	if (room >= 0 && find_mark(set, mark) < 0)
		set_place(set, room, mark, place);
}
