/*
 * meter_slots.c
 *		The slots of meters: laid out in shared memory, found and made.
 *
 * The memory is laid out once.  It is divided into partitions, each with its
 * lock, its own slots and a hash table of them; which partition a meter lies
 * in is told by a hash of its key that nobody outside can foresee.
 *
 * A slot is given to another meter only while its window is empty, or if it
 * is a counter, which can be loaded again.  Some slots are for counters alone.
 */
#include "postgres.h"

#include <time.h>

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "miscadmin.h"

#include "compat.h"
#include "meter_slots.h"
#include "settings.h"

#define TRANCHE			"apikey_limits"

/* How many slots are looked at to find one for a window */
#define SWEEP			32

/* A bit of every hash: none is 0; above those that choose a partition */
#define HASHED			(UINT64CONST(1) << 31)

/* A counter that was not used for so long is given away first */
#define IDLE_TICKS		(60 * APIKEY_TICKS_PER_SEC)

ApikeyMeters *apikey_meters = NULL;

static int
partition_count(void)
{
	int			wanted = apikey_limit_slots / APIKEY_METER_SLOTS_MIN;

	return Min(APIKEY_METER_PARTITIONS,
			   1 << pg_leftmost_one_pos32(Max(wanted, 1)));
}

Size
apikey_meters_size(void)
{
	return add_size(MAXALIGN(sizeof(ApikeyMeters)),
					add_size(MAXALIGN(mul_size(apikey_limit_slots,
											   sizeof(int32))),
							 mul_size(apikey_limit_slots,
									  sizeof(ApikeyMeterSlot))));
}

void
apikey_meters_request(void)
{
	RequestAddinShmemSpace(apikey_meters_size());
	RequestNamedLWLockTranche(TRANCHE, APIKEY_METER_PARTITIONS);
}

ApikeyMeterSlot *
apikey_meter_slot(const ApikeyMeterPartition *partition, int32 number)
{
	char	   *slots = (char *) apikey_meters + MAXALIGN(sizeof(ApikeyMeters)) +
		MAXALIGN(apikey_meters->nslots * sizeof(int32));

	return (ApikeyMeterSlot *) slots + partition->first + number;
}

static int32 *
heads_of(const ApikeyMeterPartition *partition)
{
	int32	   *heads = (int32 *) ((char *) apikey_meters +
								   MAXALIGN(sizeof(ApikeyMeters)));

	return heads + partition->first;
}

static int32 *
chain_of(const ApikeyMeterPartition *partition, uint64 hash)
{
	/* the upper half, scaled down to the number of slots */
	return heads_of(partition) +
		(((hash >> 32) * (uint32) partition->nslots) >> 32);
}

static void
start_partition(ApikeyMeterPartition *partition, int number, int32 *first)
{
	int			share = apikey_meters->nslots / apikey_meters->npartitions;
	int			rest = apikey_meters->nslots % apikey_meters->npartitions;

	partition->lock = &GetNamedLWLockTranche(TRANCHE)[number].lock;
	partition->first = *first;
	partition->nslots = share + (number < rest);
	partition->nwindows_max = partition->nslots - Max(partition->nslots / 8, 4);
	*first += partition->nslots;
	for (int32 i = 0; i < partition->nslots; i++)
	{
		apikey_meter_slot(partition, i)->next = i + 1 < partition->nslots ? i + 1 : -1;
		heads_of(partition)[i] = -1;
	}
}

void
apikey_meters_start(void)
{
	bool		found;
	int32		first = 0;

	apikey_meters = ShmemInitStruct("apikey limits", apikey_meters_size(),
									&found);
	if (found)
		return;
	memset(apikey_meters, 0, apikey_meters_size());
	apikey_meters->nslots = apikey_limit_slots;
	apikey_meters->npartitions = partition_count();
	apikey_random(apikey_meters->secret, sizeof(apikey_meters->secret));
	pg_atomic_init_u64(&apikey_meters->overflows, 0);
	pg_atomic_init_u64(&apikey_meters->quota_era, 1);
	for (int i = 0; i < apikey_meters->npartitions; i++)
		start_partition(&apikey_meters->partition[i], i, &first);
}

int64
apikey_meter_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * APIKEY_TICKS_PER_SEC +
		now.tv_nsec * APIKEY_TICKS_PER_USEC / 1000;
}

/*
 * The time that all meters go by; it never stands still for a restart.
 */
int64
apikey_meter_now(void)
{
	return apikey_meter_clock() + apikey_meters->clock_offset;
}

uint64
apikey_meter_hash(const ApikeyMeterKey *key)
{
	uint64		seed;

	memcpy(&seed, apikey_meters->secret, sizeof(seed));
	return hash_bytes_extended((const unsigned char *) key, sizeof(*key),
							   seed) | HASHED;
}

ApikeyMeterPartition *
apikey_meter_partition(uint64 hash)
{
	return &apikey_meters->partition[hash & (apikey_meters->npartitions - 1)];
}

void
apikey_meter_prefetch(uint64 hash)
{
	apikey_prefetch(chain_of(apikey_meter_partition(hash), hash));
}

void
apikey_meter_prefetch_slot(uint64 hash)
{
	ApikeyMeterPartition *partition = apikey_meter_partition(hash);
	int32		number = *chain_of(partition, hash);
	char	   *slot;

	if (number < 0)
		return;
	slot = (char *) apikey_meter_slot(partition, number);
	for (Size at = 0; at < sizeof(ApikeyMeterSlot); at += PG_CACHE_LINE_SIZE / 2)
		apikey_prefetch(slot + at);
}

ApikeyMeterSlot *
apikey_meter_find(ApikeyMeterPartition *partition, const ApikeyMeterKey *key,
		  uint64 hash)
{
	int32		number = *chain_of(partition, hash);

	while (number >= 0)
	{
		ApikeyMeterSlot *slot = apikey_meter_slot(partition, number);

		if (memcmp(&slot->key, key, sizeof(*key)) == 0)
			return slot;
		number = slot->next;
	}
	return NULL;
}

/*
 * Take a slot out of its chain, into the list of free ones.
 */
void
apikey_meter_free(ApikeyMeterPartition *partition, ApikeyMeterSlot *slot)
{
	int32		number = slot - apikey_meter_slot(partition, 0);
	int32	   *link = chain_of(partition, apikey_meter_hash(&slot->key));

	while (*link != number)
		link = &apikey_meter_slot(partition, *link)->next;
	*link = slot->next;
	if (slot->state == APIKEY_SLOT_WINDOW)
		partition->nwindows--;
	partition->nused--;
	slot->state = APIKEY_SLOT_FREE;
	slot->next = partition->free;
	partition->free = number;
}

/*
 * Free a slot that holds nothing, or nothing that could not be loaded again.
 */
static void
free_some_slot(ApikeyMeterPartition *partition, bool for_window, int64 now)
{
	ApikeyMeterSlot *oldest = NULL;
	int			limit = for_window ? Min(SWEEP, partition->nslots) :
		partition->nslots;
	bool		only_windows = partition->nwindows >= partition->nwindows_max;

	for (int i = 0; i < limit; i++)
	{
		ApikeyMeterSlot *slot = apikey_meter_slot(partition, partition->hand);

		partition->hand = (partition->hand + 1) % partition->nslots;
		/* not one that this very call has found or made */
		if (slot->state == APIKEY_SLOT_FREE || slot->touched >= now ||
			(slot->state == APIKEY_SLOT_WINDOW &&
			 !apikey_window_is_empty(&slot->u.window, now)) ||
			(slot->state == APIKEY_SLOT_LOADING &&
			 slot->touched >= now - IDLE_TICKS))
			continue;
		if (slot->state == APIKEY_SLOT_WINDOW)
		{
			apikey_meter_free(partition, slot);
			return;
		}
		if (slot->touched < now - IDLE_TICKS &&
			!(for_window && only_windows))
		{
			apikey_meter_free(partition, slot);
			return;
		}
		if (oldest == NULL ||
			slot->touched < oldest->touched)
			oldest = slot;
	}
	if (!for_window && oldest != NULL)
		apikey_meter_free(partition, oldest);
}

/*
 * A slot for a meter that has none; NULL if there is no room.
 */
ApikeyMeterSlot *
apikey_meter_make(ApikeyMeterPartition *partition, const ApikeyMeter *meter, int64 now)
{
	bool		for_window = meter->sort == APIKEY_METER_WINDOW;
	ApikeyMeterSlot *slot;
	int32	   *head;
	int32		number;

	if (partition->free < 0 ||
		(for_window && partition->nwindows >= partition->nwindows_max))
		free_some_slot(partition, for_window, now);
	if (partition->free < 0 ||
		(for_window && partition->nwindows >= partition->nwindows_max))
		return NULL;

	number = partition->free;
	slot = apikey_meter_slot(partition, number);
	head = chain_of(partition, meter->hash);
	partition->free = slot->next;
	slot->next = *head;
	*head = number;
	partition->nused++;
	partition->nwindows += for_window;
	slot->key = meter->key;
	slot->state = for_window ? APIKEY_SLOT_WINDOW : APIKEY_SLOT_LOADING;
	slot->touched = now;
	memset(&slot->u, 0, sizeof(slot->u));
	return slot;
}

ApikeyWindow *
apikey_meter_overflow(ApikeyMeterPartition *partition, const ApikeyMeter *meter,
			int64 now)
{
	ApikeyWindow *window = &partition->overflow[(meter->hash >> 16) %
												APIKEY_METER_OVERFLOWS];

	apikey_window_move(window, apikey_window_is_empty(window, now) ?
					   meter->per : Max(meter->per, window->per), now);
	return window;
}

void
apikey_meter_put(const ApikeyMeterKey *key, const ApikeyWindow *window)
{
	ApikeyMeter meter = {.sort = APIKEY_METER_WINDOW,.key = *key,.per = window->per};
	ApikeyMeterPartition *partition;
	ApikeyMeterSlot *slot;
	int64		now = apikey_meter_now();
	ApikeyWindow moved = *window;

	meter.hash = apikey_meter_hash(key);
	partition = apikey_meter_partition(meter.hash);
	apikey_window_move(&moved, window->per, now);
	if (moved.used == 0)
		return;
	slot = apikey_meter_make(partition, &meter, now);
	if (slot != NULL)
		slot->u.window = moved;
	else
		apikey_window_merge(apikey_meter_overflow(partition, &meter, now), &moved, now);
}

int64
apikey_meters_slots(void)
{
	return apikey_meters->nslots;
}

int64
apikey_meters_slots_used(void)
{
	int64		used = 0;

	for (int i = 0; i < apikey_meters->npartitions; i++)
		used += apikey_meters->partition[i].nused;
	return used;
}

int64
apikey_meters_overflows(void)
{
	return pg_atomic_read_u64(&apikey_meters->overflows);
}

void
apikey_meters_reset_stats(void)
{
	pg_atomic_write_u64(&apikey_meters->overflows, 0);
}
