/*
 * buffer.c
 *		The buffer of events in shared memory.
 *
 * A backend uses one of several rings, by its process id, so that few meet at
 * one lock; it copies an event of 64 to 384 bytes under a spinlock.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "buffer.h"
#include "compat.h"
#include "shmem.h"

/* How long to wait for room, and for how many times */
#define WAIT_USECS		500
#define WAITS_MAX		200

/* How full a ring is when calls are slowed down, in quarters */
#define SLOW_QUARTERS	3

/*
 * After waiting in vain, not again so soon unless something was flushed since:
 * requests must not pile up behind a flush that is stuck.
 */
#define NO_WAIT_MS		1000

uint8
apikey_event_append(ApikeyEvent *event, size_t *len, const char *text,
					size_t text_len, size_t max)
{
	text_len = Min(text_len, max);
	memcpy(event->bytes + sizeof(ApikeyEventHead) + *len, text, text_len);
	*len += text_len;
	return (uint8) text_len;
}

/*
 * The slot of this database; NULL if there are too many databases.
 */
ApikeyDatabase *
apikey_buffer_database(void)
{
	static ApikeyDatabase *mine = NULL;
	ApikeyDatabase *free_slot = NULL;

	if (mine != NULL && mine->oid == MyDatabaseId)
		return mine;
	mine = NULL;
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	/* all of them: a slot that has become free may lie before ours */
	for (int i = 0; i < APIKEY_DATABASES_MAX && mine == NULL; i++)
	{
		ApikeyDatabase *slot = &apikey_shared->database[i];

		if (slot->oid == MyDatabaseId)
			mine = slot;
		else if (slot->oid == InvalidOid && free_slot == NULL)
			free_slot = slot;
	}
	if (mine == NULL && free_slot != NULL)
	{
		mine = free_slot;
		mine->oid = MyDatabaseId;
	}
	LWLockRelease(apikey_shared->lock);
	return mine;
}

static void
copy_in(int ring, uint64 number, const ApikeyEvent *event, int nunits)
{
	for (int i = 0; i < nunits; i++)
		memcpy(apikey_ring_unit(ring, number + i),
			   event->bytes + i * APIKEY_UNIT_SIZE, APIKEY_UNIT_SIZE);
}

void
apikey_event_read(int ring, uint64 number, ApikeyEvent *event)
{
	int			nunits;

	memcpy(event->bytes, apikey_ring_unit(ring, number), APIKEY_UNIT_SIZE);
	nunits = event->head.nunits;
	for (int i = 1; i < nunits; i++)
		memcpy(event->bytes + i * APIKEY_UNIT_SIZE,
			   apikey_ring_unit(ring, number + i), APIKEY_UNIT_SIZE);
}

bool
apikey_event_write(int number, const ApikeyDatabase *database,
				   const ApikeyEvent *event, uint64 *used)
{
	ApikeyRing *ring = &apikey_shared->ring[number];
	bool		fits;

	SpinLockAcquire(&ring->mutex);
	*used = ring->head - ring->tail;
	fits = *used + event->head.nunits <= ring->nunits;
	if (fits)
	{
		copy_in(number, ring->head, event, event->head.nunits);
		ring->head += event->head.nunits;
		ring->pending[database - apikey_shared->database]++;
	}
	SpinLockRelease(&ring->mutex);
	return fits;
}

static int
quarters_of(int number, uint64 units)
{
	return (int) (4 * units / apikey_shared->ring[number].nunits);
}

/*
 * Write to a certain ring, or to any other that has room; *full says by how
 * many quarters the last that was tried is.
 */
static bool
write_somewhere(int number, ApikeyDatabase *database, const ApikeyEvent *event,
				int *full)
{
	bool		kept = false;
	bool		crowded = false;

	for (int i = 0; i < APIKEY_RINGS && !kept; i++)
	{
		int			this = (number + i) % APIKEY_RINGS;
		uint64		nunits = apikey_shared->ring[this].nunits;
		uint64		used;

		kept = apikey_event_write(this, database, event, &used);
		*full = kept ? quarters_of(this, used) : 4;

		/* say so once on the way up, and whenever it is full */
		crowded |= !kept || (used < nunits / 2 &&
							 used + event->head.nunits >= nunits / 2);
	}
	if (crowded)
		apikey_ask_flush(database, false);
	return kept;
}

/*
 * Waiting for room helps only while there are flushes and they succeed.
 */
static bool
is_flushing(const ApikeyDatabase *database)
{
	return database->failures == 0 && apikey_shared->launcher_latch != NULL;
}

static bool
put_event(ApikeyEvent *event, size_t texts_len, int waits)
{
	int			ring = apikey_my_ring();
	ApikeyDatabase *database = apikey_buffer_database();
	size_t		size = sizeof(ApikeyEventHead) + texts_len;
	static int64 no_wait_before = 0;
	static int64 waited_at = 0; /* batch of that time */
	bool		kept = false;
	int			full;

	event->head.database = MyDatabaseId;
	event->head.nunits = (size + APIKEY_UNIT_SIZE - 1) / APIKEY_UNIT_SIZE;
	for (int i = 0; database != NULL && !kept && i <= waits; i++)
	{
		if (i > 0 && (!is_flushing(database) ||
					  (database->batch == waited_at &&
					   apikey_clock() < no_wait_before)))
			break;
		if (i > 0)
			pg_usleep(WAIT_USECS);
		kept = write_somewhere(ring, database, event, &full);

		/*
		 * Where calls come faster than they can be written, they are slowed
		 * down before it is full: some room is left for when a flush takes
		 * longer than a call can wait, as where the disk does.
		 */
		if (kept && i == 0 && full >= SLOW_QUARTERS && waits > 0 &&
			is_flushing(database))
			pg_usleep(WAIT_USECS);
	}
	if (!kept)
	{
		pg_atomic_fetch_add_u64(&apikey_shared->events_lost, 1);
		if (waits == 0)
			return false;
		no_wait_before = apikey_clock() + NO_WAIT_MS;
		waited_at = database != NULL ? database->batch : 0;
	}
	return kept;
}

bool
apikey_buffer_put(ApikeyEvent *event, size_t texts_len)
{
	return put_event(event, texts_len, WAITS_MAX);
}

bool
apikey_buffer_put_now(ApikeyEvent *event, size_t texts_len)
{
	return put_event(event, texts_len, 0);
}

uint64
apikey_buffer_pending(const ApikeyDatabase *database)
{
	uint64		sum = 0;

	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		ApikeyRing *ring = &apikey_shared->ring[i];

		SpinLockAcquire(&ring->mutex);
		if (database != NULL)
			sum += ring->pending[database - apikey_shared->database];
		for (int j = 0; database == NULL && j < APIKEY_DATABASES_MAX; j++)
			sum += ring->pending[j];
		SpinLockRelease(&ring->mutex);
	}
	return sum;
}

void
apikey_buffer_prefetch(void)
{
	int			number = apikey_my_ring();

	/* if the place is taken meanwhile, nothing is lost but time */
	apikey_prefetch(apikey_ring_unit(number, apikey_shared->ring[number].head));
}

TimestampTz
apikey_buffer_oldest(void)
{
	TimestampTz oldest = 0;

	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		ApikeyRing *ring = &apikey_shared->ring[i];
		TimestampTz at = 0;

		/* each ring in the order in which events came */
		SpinLockAcquire(&ring->mutex);
		if (ring->tail < ring->head)
			at = ((ApikeyEventHead *) apikey_ring_unit(i, ring->tail))->at;
		SpinLockRelease(&ring->mutex);
		if (at != 0 && (oldest == 0 || at < oldest))
			oldest = at;
	}
	return oldest;
}

static uint64
ring_used(int number)
{
	ApikeyRing *ring = &apikey_shared->ring[number];
	uint64		used;

	SpinLockAcquire(&ring->mutex);
	used = ring->head - ring->tail;
	SpinLockRelease(&ring->mutex);
	return used;
}

int
apikey_buffer_quarters(int number)
{
	return quarters_of(number, ring_used(number));
}

int
apikey_buffer_fullest(void)
{
	uint64		most = 0;
	int			fullest = 0;

	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		uint64		used = ring_used(i);

		if (used <= most)
			continue;
		most = used;
		fullest = i;
	}
	return fullest;
}

void
apikey_buffer_limits(uint64 limit[APIKEY_RINGS])
{
	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		ApikeyRing *ring = &apikey_shared->ring[i];

		SpinLockAcquire(&ring->mutex);
		limit[i] = ring->head;
		SpinLockRelease(&ring->mutex);
	}
}

static uint64
ring_tail(int number)
{
	ApikeyRing *ring = &apikey_shared->ring[number];
	uint64		tail;

	SpinLockAcquire(&ring->mutex);
	tail = ring->tail;
	SpinLockRelease(&ring->mutex);
	return tail;
}

/*
 * Walk over the events of a database, or of all (InvalidOid), in one ring.
 * Events of one unit, which most are, are looked at where they lie.  Returns
 * where it ended.
 */
static uint64
walk_ring(int ring, Oid database, uint64 from, uint64 limit,
		  ApikeyEventCallback callback, void *arg)
{
	ApikeyEvent room;
	const ApikeyEvent *event;
	uint64		at;

	for (at = Max(from, ring_tail(ring)); at < limit; at += event->head.nunits)
	{
		event = (const ApikeyEvent *) apikey_ring_unit(ring, at);
		if (event->head.nunits > 1)
		{
			apikey_event_read(ring, at, &room);
			event = &room;
		}
		if ((event->head.flags & APIKEY_EVENT_DONE) == 0 &&
			(database == InvalidOid || event->head.database == database) &&
			!callback(event, arg))
			break;
	}
	return at;
}

void
apikey_buffer_walk(Oid database, uint64 limit[APIKEY_RINGS],
				   ApikeyEventCallback callback, void *arg)
{
	bool		stopped = false;
	int			first = apikey_buffer_fullest();

	LWLockAcquire(apikey_shared->walk_lock, LW_SHARED);
	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		int			ring = (first + i) % APIKEY_RINGS;
		uint64		end = stopped ? ring_tail(ring) :
			walk_ring(ring, database, 0, limit[ring], callback, arg);

		stopped |= end < limit[ring];
		limit[ring] = Min(limit[ring], end);
	}
	LWLockRelease(apikey_shared->walk_lock);
}

void
apikey_buffer_walk_from(Oid database, const uint64 from[APIKEY_RINGS],
						ApikeyEventCallback callback, void *arg)
{
	uint64		limit[APIKEY_RINGS];

	LWLockAcquire(apikey_shared->walk_lock, LW_SHARED);
	apikey_buffer_limits(limit);
	for (int i = 0; i < APIKEY_RINGS; i++)
		(void) walk_ring(i, database, from[i], limit[i], callback, arg);
	LWLockRelease(apikey_shared->walk_lock);
}

/*
 * Mark the events of a database in one ring as done, but for those before
 * which no other lies: up to *clear the tail can just be moved.  Returns how
 * many there are of both.
 */
static uint64
mark_done(int number, Oid database, uint64 limit, uint64 *clear)
{
	uint64		at = ring_tail(number);
	uint64		count = 0;

	*clear = at;
	while (at < limit)
	{
		ApikeyEventHead *head = (ApikeyEventHead *) apikey_ring_unit(number, at);
		bool		was_done = (head->flags & APIKEY_EVENT_DONE) != 0;
		bool		first = *clear == at;

		at += head->nunits;
		if (!was_done && head->database != database)
			continue;
		count += !was_done;
		if (first)
			*clear = at;
		else
			head->flags |= APIKEY_EVENT_DONE;
	}
	return count;
}

/*
 * Give back what lies done at the tail.  Nobody is walking, and nobody else
 * moves the tail: only to set it the producers are kept waiting.
 */
static void
advance_tail(int number, uint64 clear, int slot, uint64 count)
{
	ApikeyRing *ring = &apikey_shared->ring[number];
	uint64		tail;
	uint64		end;

	SpinLockAcquire(&ring->mutex);
	tail = Max(ring->tail, clear);
	end = ring->head;
	SpinLockRelease(&ring->mutex);
	while (tail < end)
	{
		ApikeyEventHead *head = (ApikeyEventHead *) apikey_ring_unit(number, tail);

		if ((head->flags & APIKEY_EVENT_DONE) == 0)
			break;
		tail += head->nunits;
	}
	SpinLockAcquire(&ring->mutex);
	ring->tail = tail;
	ring->pending[slot] -= count;
	SpinLockRelease(&ring->mutex);
}

uint64
apikey_buffer_done(ApikeyDatabase *database, const uint64 limit[APIKEY_RINGS])
{
	uint64		clear[APIKEY_RINGS];
	uint64		count[APIKEY_RINGS];
	uint64		sum = 0;

	LWLockAcquire(apikey_shared->walk_lock, LW_SHARED);
	for (int i = 0; i < APIKEY_RINGS; i++)
		count[i] = mark_done(i, database->oid, limit[i], &clear[i]);
	LWLockRelease(apikey_shared->walk_lock);

	LWLockAcquire(apikey_shared->walk_lock, LW_EXCLUSIVE);
	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		advance_tail(i, clear[i], database - apikey_shared->database, count[i]);
		sum += count[i];
	}
	LWLockRelease(apikey_shared->walk_lock);
	return sum;
}
