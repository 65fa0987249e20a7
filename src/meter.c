/*
 * meter.c
 *		Meters in shared memory: what of each limit is used.
 *
 * A call takes the locks of all its meters, in ascending order, looks, and
 * uses all or nothing.
 *
 * Where no slot is to be had, windows of a partition share a few overflow
 * windows: of what they count every meter sees at least its own part, so that
 * they may refuse early and never let more pass.  A meter that gets a slot
 * later takes along what its overflow window has counted.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/s_lock.h"

#include "catalog.h"
#include "crypto.h"
#include "meter_slots.h"
#include "settings.h"

/*
 * When a counter is asked anew what other servers have spent: after each
 * flush where there are any, else now and then, for there may be some.
 */
#define REFRESH_TICKS	(600 * APIKEY_TICKS_PER_SEC)

/* How often to try for a lock before going to sleep for it */
#define LOCK_TRIES		30

/* A counter must be loaded within this time, or another backend does it */
#define LOAD_TICKS		(5 * APIKEY_TICKS_PER_SEC)

uint64
apikey_meter_name(const char *what, const char *name, const char *more)
{
	char		text[256];
	int			len = snprintf(text, sizeof(text), "%s %s %s", what, name, more);

	return apikey_short_hash(text, Min(len, (int) sizeof(text) - 1),
							 apikey_meters->secret);
}

static void
of_this_database(ApikeyMeterKey *key)
{
	key->database = MyDatabaseId;
	key->table = apikey_relation(APIKEY_REL_KEY);
}

void
apikey_meter_of_key(ApikeyMeterKey *key, const pg_uuid_t *lineage)
{
	memcpy(key->target, lineage, sizeof(key->target));
	of_this_database(key);
}

void
apikey_meter_of_account(ApikeyMeterKey *key, const char *account, size_t len)
{
	unsigned char other[APIKEY_SHORT_KEY_LEN];

	memcpy(other, apikey_meters->secret, sizeof(other));
	other[0] ^= 0xff;
	key->target[0] = apikey_short_hash(account, len, apikey_meters->secret);
	key->target[1] = apikey_short_hash(account, len, other);
	of_this_database(key);
}

/*
 * Epochs are unique by themselves.
 */
void
apikey_meter_of_epoch(ApikeyMeterKey *key, uint64 epoch)
{
	memset(key->target, 0, sizeof(key->target));
	key->name = epoch;
	of_this_database(key);
}

/*
 * The window of a meter, moved to this time.
 */
static ApikeyWindow *
find_window(ApikeyMeter *meter, int64 now)
{
	ApikeyMeterPartition *partition = apikey_meter_partition(meter->hash);
	ApikeyMeterSlot *slot = apikey_meter_find(partition, &meter->key, meter->hash);
	ApikeyWindow *shared;

	if (slot != NULL)
	{
		slot->touched = now;
		apikey_window_move(&slot->u.window, meter->per, now);
		return &slot->u.window;
	}
	shared = apikey_meter_overflow(partition, meter, now);
	slot = apikey_meter_make(partition, meter, now);
	if (slot == NULL)
	{
		pg_atomic_fetch_add_u64(&apikey_meters->overflows, 1);
		return shared;
	}
	/* what it has used there until now is somewhere in it */
	slot->u.window = *shared;
	apikey_window_move(&slot->u.window, meter->per, now);
	return &slot->u.window;
}

static int64
refresh_ticks(void)
{
	return apikey_meters->others || RecoveryInProgress() ?
		Max(apikey_flush_interval, 1000) * (APIKEY_TICKS_PER_SEC / 1000) :
		REFRESH_TICKS;
}

/*
 * The slot of a counter; *result tells what is to be done if it is not ready.
 */
static ApikeyMeterSlot *
find_counter(ApikeyMeter *meter, int64 now, ApikeySpend *result)
{
	ApikeyMeterPartition *partition = apikey_meter_partition(meter->hash);
	ApikeyMeterSlot *slot = apikey_meter_find(partition, &meter->key, meter->hash);
	uint64		era = meter->sort == APIKEY_METER_QUOTA ?
		pg_atomic_read_u64(&apikey_meters->quota_era) : 0;
	bool		load = false;

	if (slot == NULL)
	{
		slot = apikey_meter_make(partition, meter, now);
		load = slot != NULL;
	}
	else if (slot->state == APIKEY_SLOT_LOADING)
		load = slot->touched < now - LOAD_TICKS;
	else
		load = slot->u.counter.era != era;

	if (slot == NULL)
		*result = APIKEY_NO_ROOM;
	else if (load)
	{
		slot->state = APIKEY_SLOT_LOADING;
		slot->u.counter.loader = MyProcPid;
		slot->u.counter.era = era;
		slot->u.counter.period = meter->period;
		slot->touched = now;
		*result = APIKEY_LOAD;
	}
	else if (slot->state == APIKEY_SLOT_LOADING)
		*result = APIKEY_LOADING;
	else
	{
		if (slot->u.counter.period < meter->period)
		{
			slot->u.counter.period = meter->period;
			slot->u.counter.used = 0;
		}
		slot->touched = now;
		if (now - slot->u.counter.loaded_at > refresh_ticks())
		{
			slot->u.counter.loaded_at = now;
			meter->stale = true;
		}
	}
	return slot;
}

static uint64
hash_all(ApikeyMeter *meters, int count)
{
	uint64		partitions = 0;

	for (int i = 0; i < count; i++)
	{
		if (meters[i].hash == 0)
			meters[i].hash = apikey_meter_hash(&meters[i].key);
		partitions |= UINT64CONST(1) << (meters[i].hash &
										 (apikey_meters->npartitions - 1));
	}
	return partitions;
}

/*
 * Whoever has the lock needs it for less than a microsecond, and going to
 * sleep takes many: try a few times first.
 */
static void
lock_partition(LWLock *lock)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (LWLockConditionalAcquire(lock, LW_EXCLUSIVE))
			return;
		SPIN_DELAY();
	}
	LWLockAcquire(lock, LW_EXCLUSIVE);
}

static void
lock_all(uint64 partitions)
{
	for (; partitions != 0; partitions &= partitions - 1)
		lock_partition(apikey_meters->partition[pg_rightmost_one_pos64(partitions)].lock);
}

static void
unlock_all(uint64 partitions)
{
	for (; partitions != 0; partitions &= partitions - 1)
		LWLockRelease(apikey_meters->partition[pg_rightmost_one_pos64(partitions)].lock);
}

/*
 * What a window or counter says to a meter.
 */
static void
judge_window(ApikeyMeter *meter, const ApikeyWindow *window, int64 now)
{
	meter->known = true;
	meter->used = window->used;
	meter->wait = apikey_window_wait(window, meter->max, meter->cost, now);
	meter->reset = apikey_window_reset(window, now);
}

static void
judge_counter(ApikeyMeter *meter, int64 used)
{
	meter->known = true;
	meter->used = used;
	meter->wait = meter->cost > 0 && meter->cost > meter->max - used ? -1 : 0;
	meter->reset = 0;
}

/*
 * All of them let the call pass: use them.
 */
static void
use_all(ApikeyMeter *meters, int count, int64 now)
{
	for (int i = 0; i < count; i++)
	{
		ApikeyMeter *meter = &meters[i];

		if (meter->sort == APIKEY_METER_WINDOW)
		{
			apikey_window_use(meter->place, meter->cost);
			judge_window(meter, meter->place, now);
		}
		else
		{
			ApikeyMeterSlot *slot = meter->place;

			slot->u.counter.used += meter->cost;
			meter->used = slot->u.counter.used;
		}
		meter->wait = 0;
	}
}

ApikeySpend
apikey_meters_spend(ApikeyMeter *meters, int count, int *which)
{
	uint64		partitions = hash_all(meters, count);
	ApikeySpend result = APIKEY_SPENT;
	int64		now;
	bool		refused = false;

	for (int i = 0; i < count; i++)
		apikey_meter_prefetch(meters[i].hash);
	lock_all(partitions);
	for (int i = 0; i < count; i++)
		apikey_meter_prefetch_slot(meters[i].hash);
	now = apikey_meter_now();
	for (int i = 0; i < count && result == APIKEY_SPENT; i++)
	{
		ApikeyMeter *meter = &meters[i];

		*which = i;
		meter->wait = 0;
		meter->stale = false;
		if (meter->sort == APIKEY_METER_WINDOW)
		{
			meter->place = find_window(meter, now);
			judge_window(meter, meter->place, now);
		}
		else
		{
			ApikeyMeterSlot *slot = find_counter(meter, now, &result);

			meter->place = slot;
			if (result == APIKEY_SPENT)
				judge_counter(meter, slot->u.counter.used);
		}
		refused |= meter->wait != 0;
	}
	if (result == APIKEY_SPENT && refused)
		result = APIKEY_REFUSED;
	else if (result == APIKEY_SPENT)
		use_all(meters, count, now);
	unlock_all(partitions);
	return result;
}

/*
 * Nothing is made here; a window that has no slot shows what it would share.
 */
void
apikey_meters_look(ApikeyMeter *meters, int count)
{
	uint64		partitions = hash_all(meters, count);
	int64		now;

	lock_all(partitions);
	now = apikey_meter_now();
	for (int i = 0; i < count; i++)
	{
		ApikeyMeter *meter = &meters[i];
		ApikeyMeterPartition *partition = apikey_meter_partition(meter->hash);
		ApikeyMeterSlot *slot = apikey_meter_find(partition, &meter->key, meter->hash);
		ApikeyWindow window;

		meter->known = false;
		if (meter->sort == APIKEY_METER_WINDOW)
		{
			window = slot != NULL ? slot->u.window :
				*apikey_meter_overflow(partition, meter, now);
			apikey_window_move(&window, meter->per, now);
			judge_window(meter, &window, now);
		}
		else if (slot != NULL && slot->state == APIKEY_SLOT_COUNTER &&
				 (meter->sort != APIKEY_METER_QUOTA ||
				  slot->u.counter.era == pg_atomic_read_u64(&apikey_meters->quota_era)))
			judge_counter(meter, slot->u.counter.period < meter->period ? 0 :
						  slot->u.counter.used);
	}
	unlock_all(partitions);
}

/*
 * The slot of a meter with its partition locked.
 */
static ApikeyMeterSlot *
lock_slot(const ApikeyMeter *meter, ApikeyMeterPartition **partition)
{
	uint64		hash = apikey_meter_hash(&meter->key);

	*partition = apikey_meter_partition(hash);
	LWLockAcquire((*partition)->lock, LW_EXCLUSIVE);
	return apikey_meter_find(*partition, &meter->key, hash);
}

void
apikey_meter_loaded(const ApikeyMeter *meter, int64 used)
{
	ApikeyMeterPartition *partition;
	ApikeyMeterSlot *slot = lock_slot(meter, &partition);

	/* unless it took too long and somebody else has done it */
	if (slot != NULL && slot->state == APIKEY_SLOT_LOADING &&
		slot->u.counter.loader == MyProcPid)
	{
		slot->u.counter.used = used;
		slot->state = APIKEY_SLOT_COUNTER;
		slot->touched = slot->u.counter.loaded_at = apikey_meter_now();
	}
	LWLockRelease(partition->lock);
}

void
apikey_meter_refreshed(const ApikeyMeter *meter, int64 used)
{
	ApikeyMeterPartition *partition;
	ApikeyMeterSlot *slot = lock_slot(meter, &partition);

	if (slot != NULL && slot->state == APIKEY_SLOT_COUNTER &&
		slot->u.counter.period == meter->period)
		slot->u.counter.used = Max(slot->u.counter.used, used);
	LWLockRelease(partition->lock);
}

void
apikey_meters_note_others(bool others)
{
	if (apikey_meters != NULL)
		apikey_meters->others = others;
}

void
apikey_meter_not_loaded(const ApikeyMeter *meter)
{
	ApikeyMeterPartition *partition;
	ApikeyMeterSlot *slot = lock_slot(meter, &partition);

	if (slot != NULL && slot->state == APIKEY_SLOT_LOADING &&
		slot->u.counter.loader == MyProcPid)
		apikey_meter_free(partition, slot);
	LWLockRelease(partition->lock);
}

bool
apikey_meter_clear(const ApikeyMeter *meter)
{
	ApikeyMeterPartition *partition;
	ApikeyMeterSlot *slot = lock_slot(meter, &partition);
	bool		used = false;

	if (slot != NULL && slot->state == APIKEY_SLOT_WINDOW)
	{
		used = !apikey_window_is_empty(&slot->u.window, apikey_meter_now());
		memset(&slot->u.window, 0, sizeof(slot->u.window));
	}
	LWLockRelease(partition->lock);
	return used;
}

void
apikey_meters_forget_quotas(void)
{
	if (apikey_meters != NULL)
		pg_atomic_fetch_add_u64(&apikey_meters->quota_era, 1);
}

