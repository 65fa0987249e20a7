/*
 * meter_slots.h
 *		How meters lie in shared memory; for the files that are named after them.
 *
 * Locks: ApikeyMeterPartition.lock (LWLocks, tranche "apikey_limits"), several
 * at a time in ascending order of partitions, and none of shmem.h's together
 * with them.  What is in a partition and its slots is under its lock; secret,
 * clock_offset and the layout never change after the start.
 */
#ifndef APIKEY_METER_SLOTS_H
#define APIKEY_METER_SLOTS_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "crypto.h"
#include "meter.h"

#define APIKEY_METER_PARTITIONS		64	/* at most: bits of a uint64 */
#define APIKEY_METER_SLOTS_MIN		64	/* of a partition */
#define APIKEY_METER_OVERFLOWS		8	/* windows shared by those without */

typedef enum ApikeyMeterState
{
	APIKEY_SLOT_FREE,
	APIKEY_SLOT_WINDOW,
	APIKEY_SLOT_COUNTER,
	APIKEY_SLOT_LOADING			/* a counter that somebody is loading */
} ApikeyMeterState;

typedef struct ApikeyMeterSlot
{
	ApikeyMeterKey key;
	int32		next;			/* in its chain or in the list of free ones */
	ApikeyMeterState state;
	int64		touched;		/* when it was last asked for, in ticks */
	union
	{
		ApikeyWindow window;
		struct
		{
			int64		used;
			int64		period;
			uint64		era;	/* of quotas: when it was loaded */
			int64		loaded_at;	/* or refreshed, in ticks */
			pid_t		loader;
		}			counter;
	}			u;
} ApikeyMeterSlot;

typedef struct ApikeyMeterPartition
{
	LWLock	   *lock;
	int32		first;			/* its slots: from this one on */
	int32		nslots;
	int32		nwindows_max;	/* the rest is for counters */
	int32		nwindows;
	int32		nused;
	int32		free;			/* first free slot, -1: none */
	int32		hand;			/* where the next slot to free is looked for */
	ApikeyWindow overflow[APIKEY_METER_OVERFLOWS];
} ApikeyMeterPartition;

typedef struct ApikeyMeters
{
	unsigned char secret[APIKEY_SHORT_KEY_LEN];
	int64		clock_offset;	/* to the monotonic clock */
	int32		nslots;
	int32		npartitions;	/* a power of 2 */
	pg_atomic_uint64 overflows; /* calls that used an overflow window */
	pg_atomic_uint64 quota_era;
	bool		others;			/* other servers write usage; no lock */
	ApikeyMeterPartition partition[APIKEY_METER_PARTITIONS];
} ApikeyMeters;

/* NULL unless the library was preloaded */
extern ApikeyMeters *apikey_meters;

extern ApikeyMeterSlot *apikey_meter_slot(const ApikeyMeterPartition *partition,
										  int32 number);

/* The monotonic clock, and the time that meters go by, in ticks. */
extern int64 apikey_meter_clock(void);
extern int64 apikey_meter_now(void);

extern ApikeyMeterPartition *apikey_meter_partition(uint64 hash);
extern ApikeyMeterSlot *apikey_meter_find(ApikeyMeterPartition *partition,
										  const ApikeyMeterKey *key,
										  uint64 hash);

/*
 * Let the processor fetch the slots at which apikey_meter_find() will look;
 * under the partition's lock, a little after apikey_meter_prefetch().
 */
extern void apikey_meter_prefetch_slot(uint64 hash);

/* A slot for a meter that has none; NULL if there is no room. */
extern ApikeyMeterSlot *apikey_meter_make(ApikeyMeterPartition *partition,
										  const ApikeyMeter *meter, int64 now);
extern void apikey_meter_free(ApikeyMeterPartition *partition,
							  ApikeyMeterSlot *slot);

/*
 * The overflow window that a meter shares with others; of several lengths the
 * longest, so that it forgets nothing too early.
 */
extern ApikeyWindow *apikey_meter_overflow(ApikeyMeterPartition *partition,
										   const ApikeyMeter *meter, int64 now);

/* Without locks, in the postmaster: put a window back. */
extern void apikey_meter_put(const ApikeyMeterKey *key,
							 const ApikeyWindow *window);

#endif							/* APIKEY_METER_SLOTS_H */
