/*
 * meter.h
 *		Meters in shared memory: what of each limit is used.
 *
 * There are two sorts.  A window is the sliding window of a rate limit; it
 * begins empty.  A counter is what was used of a quota in its day, or of
 * credits since they were set; it begins with what the tables and the buffer
 * of events say, so it can be dropped and loaded again.
 *
 * All meters of one call are looked at, and used, under all their locks
 * together: either all of them let the call pass, or nothing is used.
 */
#ifndef APIKEY_METER_H
#define APIKEY_METER_H

#include "postgres.h"

#include "utils/uuid.h"

#include "window.h"

/* What is metered; no padding, for it is hashed and compared as bytes */
typedef struct ApikeyMeterKey
{
	uint64		name;			/* of apikey_meter_name(), or an epoch */
	uint64		target[2];		/* lineage of a key, or hash of an account */
	Oid			database;
	Oid			table;			/* the key table: another one is another world */
} ApikeyMeterKey;

typedef enum ApikeyMeterSort
{
	APIKEY_METER_WINDOW,		/* of a limit per time */
	APIKEY_METER_QUOTA,			/* of a day */
	APIKEY_METER_CREDITS		/* since they were set or refilled */
} ApikeyMeterSort;

typedef struct ApikeyMeter
{
	ApikeyMeterSort sort;
	ApikeyMeterKey key;
	int64		max;
	int64		cost;
	int64		per;			/* of a window, in microseconds */
	int64		period;			/* of a counter: when it grows, none is used */

	/* set by apikey_meters_spend() and apikey_meters_look() */
	bool		known;
	int64		used;			/* this call included if it passed */
	int64		wait;			/* ticks until it could pass; 0: passes, -1:
								 * never, or a counter is used up */
	int64		reset;			/* ticks until a window is empty */
	bool		stale;			/* a counter that other servers may have
								 * spent from: to be refreshed */

	uint64		hash;			/* of the key, see apikey_meter_hash(); 0: not
								 * known yet */

	/* private */
	void	   *place;
} ApikeyMeter;

typedef enum ApikeySpend
{
	APIKEY_SPENT,
	APIKEY_REFUSED,				/* by those with wait <> 0; nothing is used */
	APIKEY_LOAD,				/* load this counter, then ask again */
	APIKEY_LOADING,				/* somebody does: ask again in a moment */
	APIKEY_NO_ROOM				/* all counters are being used */
} ApikeySpend;

/* What a meter's key is found by; never 0, the same until the server stops. */
extern uint64 apikey_meter_hash(const ApikeyMeterKey *key);

/*
 * Let the processor fetch where a meter of this hash is looked for, some time
 * before apikey_meters_spend().
 */
extern void apikey_meter_prefetch(uint64 hash);

/* In shmem.c's hooks */
extern Size apikey_meters_size(void);
extern void apikey_meters_request(void);
extern void apikey_meters_start(void);
extern void apikey_meters_restore(void);	/* in the postmaster */

/*
 * Use all, or none.  Of a counter that is not known yet *which tells the
 * number: whoever gets APIKEY_LOAD must call one of the next two.
 */
extern ApikeySpend apikey_meters_spend(ApikeyMeter *meters, int count,
									   int *which);
extern void apikey_meter_loaded(const ApikeyMeter *meter, int64 used);
extern void apikey_meter_not_loaded(const ApikeyMeter *meter);

/*
 * What the tables and the buffer say by now, for a counter that was stale:
 * it never falls.
 */
extern void apikey_meter_refreshed(const ApikeyMeter *meter, int64 used);

/* Were there other servers that have written usage lately? */
extern void apikey_meters_note_others(bool others);

/* Look without using anything; known is false for a counter that is not. */
extern void apikey_meters_look(ApikeyMeter *meters, int count);

/* Make a window empty; was it not? */
extern bool apikey_meter_clear(const ApikeyMeter *meter);

/* Quotas were changed: calls meanwhile may have passed uncounted. */
extern void apikey_meters_forget_quotas(void);

/* A name, of a limit for example, as the key of a meter has it. */
extern uint64 apikey_meter_name(const char *what, const char *name,
								const char *more);

/* The kinds of target. */
extern void apikey_meter_of_key(ApikeyMeterKey *key, const pg_uuid_t *lineage);
extern void apikey_meter_of_account(ApikeyMeterKey *key, const char *account,
									size_t len);
extern void apikey_meter_of_epoch(ApikeyMeterKey *key, uint64 epoch);

/* Where they are: slots there are, that are used, and calls that shared. */
extern int64 apikey_meters_slots(void);
extern int64 apikey_meters_slots_used(void);
extern int64 apikey_meters_overflows(void);
extern void apikey_meters_reset_stats(void);

#endif							/* APIKEY_METER_H */
