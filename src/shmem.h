/*
 * shmem.h
 *		The module's shared memory: what is in it, and who may touch what.
 *
 * Locks, in the order in which they may be taken:
 *	1. ApikeyShared.lock (LWLock, tranche "apikey"): the members under it.
 *	2. ApikeyShared.guess_lock (LWLock): guess; never together with 1.
 *	   ApikeyShared.walk_lock (LWLock): shared while a worker walks over the
 *	   rings, exclusive to move their tails; only workers take it, and memory
 *	   may be allocated under it.
 *	3. ApikeyRing.mutex (spinlock): head and tail of that ring.
 *	   ApikeySlow.mutex (spinlock): the trying of slow hashes.
 * Nothing is allocated, raised or waited for while one is held.  Atomic
 * members need no lock.
 */
#ifndef APIKEY_SHMEM_H
#define APIKEY_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/s_lock.h"

#include "codes.h"
#include "crypto.h"
#include "heavy.h"

#define APIKEY_RINGS			8
#define APIKEY_UNIT_SIZE		64	/* of a ring; an event has 1 to 6 */
#define APIKEY_DATABASES_MAX	128
#define APIKEY_SLOW_SLOTS		256
#define APIKEY_FLUSH_ERROR_MAX	256

/*
 * Part of the event buffer.  Units from tail up to head are in use; an event
 * lies in consecutive units, modulo nunits.  Producers write at head, and move
 * it, under the mutex.  Between tail and head nobody writes but the flush
 * worker of the event's database, which marks events as done; tail moves over
 * these under the mutex and walk_lock, so that it never overtakes a worker who
 * is walking.  Each has lines of the processor's cache of its own.
 */
typedef struct ApikeyRing
{
	slock_t		mutex;
	uint64		head;
	uint64		tail;
	uint64		nunits;
	uint64		pending[APIKEY_DATABASES_MAX];	/* events not done, under the mutex */
	char		pad[PG_CACHE_LINE_SIZE];
} ApikeyRing;

/* What is counted of all verifications: the codes, and these behind them */
#define APIKEY_TALLY_CACHE_HIT	APIKEY_NCODES
#define APIKEY_TALLY_CACHE_MISS	(APIKEY_NCODES + 1)
#define APIKEY_TALLY_SIZE		(APIKEY_NCODES + 2)

/*
 * Processes count in one of several places, by their process id, so that few
 * meet at one.
 */
typedef union ApikeyTally
{
	pg_atomic_uint64 count[APIKEY_TALLY_SIZE];
	char		pad[TYPEALIGN(PG_CACHE_LINE_SIZE,
							  APIKEY_TALLY_SIZE * sizeof(pg_atomic_uint64))];
} ApikeyTally;

/* A database that has something to flush; the launcher frees the slot when it
 * is gone */
typedef struct ApikeyDatabase
{
	/* under ApikeyShared.lock */
	Oid			oid;			/* InvalidOid: free slot */
	pid_t		worker_pid;		/* 0: no flush worker */
	Latch	   *worker_latch;
	bool		in_flight;		/* a batch was begun and not seen to end */
	int64		batch;			/* its number, or that of the last one */
	int64		restored;		/* file with events of a clean stop, 0: none */
	uint64		restored_limit[APIKEY_RINGS];	/* where such events end */
	uint64		limit[APIKEY_RINGS];	/* and where it ends in each ring */
	int64		retry_at;		/* apikey_clock(): not before, after failures */
	int64		starting_until; /* a worker is on its way */
	int			failures;
	bool		flushing;		/* a flush is under way, of one batch or more */
	uint64		flushes;		/* that ended */

	/* the flush worker's own */
	int64		maintain_at;	/* after an error: not before */
	TimestampTz kept_from;		/* open hours before this are to be settled, */
	BlockNumber settle_block;	/* in key_use from here; Invalid: all are */

	/* no lock: set by who wants no batch to begin for a moment */
	int64		hold_until;		/* apikey_clock() */
} ApikeyDatabase;

/* Wrong texts for one key from one address, since the last right one */
typedef struct ApikeySlowSlot
{
	uint64		source;			/* keyed hash of both */
	uint64		text;			/* keyed hash of the last wrong one */
	TimestampTz pause_until;
	uint32		failures;
} ApikeySlowSlot;

/* The trying of slow hashes (slowhash.c) */
typedef struct ApikeySlow
{
	slock_t		mutex;
	int			running;		/* under mutex, as the slots */
	ConditionVariable turn_ended;
	unsigned char secret[APIKEY_SHORT_KEY_LEN]; /* fixed since the start */
	ApikeySlowSlot slot[APIKEY_SLOW_SLOTS];
} ApikeySlow;

typedef struct ApikeyShared
{
	LWLock	   *lock;
	LWLock	   *guess_lock;
	LWLock	   *walk_lock;

	/* no lock */
	ApikeyTally tally[APIKEY_RINGS];
	pg_atomic_uint64 events_flushed;
	pg_atomic_uint64 events_lost;
	bool		out_of_workers; /* the launcher's: one could not be started */

	/* under lock */
	TimestampTz stats_reset;
	TimestampTz last_flush_at;
	char		last_flush_error[APIKEY_FLUSH_ERROR_MAX];
	Oid			flush_error_database;	/* whose it is */
	int64		file_number;	/* of the last file of a clean stop known */
	pid_t		launcher_pid;
	Latch	   *launcher_latch; /* NULL: there is no launcher */
	ApikeyDatabase database[APIKEY_DATABASES_MAX];

	/* under guess_lock: who presents unknown keys */
	ApikeyHeavy guess[APIKEY_HEAVY_MAX];

	ApikeySlow	slow;

	ApikeyRing	ring[APIKEY_RINGS];
} ApikeyShared;

/* NULL unless the library was preloaded */
extern ApikeyShared *apikey_shared;

/* The units of a ring; unit numbers grow without bound. */
extern char *apikey_ring_unit(int ring, uint64 number);

extern void apikey_shmem_init(void);

/*
 * Milliseconds of a clock that nobody sets, the same for all processes: for
 * pauses and deadlines, which must not depend on the time of day.
 */
extern int64 apikey_clock(void);

/* The ring, and the tally, of this backend */
extern int	apikey_my_ring(void);

/* Count one of what is named above; the sum; and forgetting all. */
extern void apikey_tally_add(int what);
extern uint64 apikey_tally_sum(int what);
extern void apikey_tally_reset(void);

/*
 * Ask for a flush of a database now.  After failures there is a pause, unless
 * it is urgent.
 */
extern void apikey_ask_flush(ApikeyDatabase *database, bool urgent);

#endif							/* APIKEY_SHMEM_H */
