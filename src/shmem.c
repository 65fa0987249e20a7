/*
 * shmem.c
 *		Asks for the module's shared memory and sets it up; see shmem.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "buffer.h"
#include "compat.h"
#include "keyplace.h"
#include "meter.h"
#include "settings.h"
#include "shmem.h"

ApikeyShared *apikey_shared = NULL;

static char *ring_units[APIKEY_RINGS];
static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static uint64
units_per_ring(void)
{
	return (uint64) apikey_usage_buffer_size * 1024 / APIKEY_UNIT_SIZE /
		APIKEY_RINGS;
}

static Size
shared_size(void)
{
	return add_size(MAXALIGN(sizeof(ApikeyShared)),
					mul_size(APIKEY_RINGS * APIKEY_UNIT_SIZE,
							 units_per_ring()));
}

static void
request_shmem(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("apikey", 3);
	apikey_meters_request();
	apikey_keyplaces_request();
}

/*
 * Set up what is shared, at start and again after a crash of a backend.
 */
static void
initialize(void)
{
	memset(apikey_shared, 0, sizeof(ApikeyShared));
	apikey_shared->lock = &GetNamedLWLockTranche("apikey")[0].lock;
	apikey_shared->guess_lock = &GetNamedLWLockTranche("apikey")[1].lock;
	apikey_shared->walk_lock = &GetNamedLWLockTranche("apikey")[2].lock;
	apikey_tally_reset();
	pg_atomic_init_u64(&apikey_shared->events_flushed, 0);
	pg_atomic_init_u64(&apikey_shared->events_lost, 0);
	apikey_shared->stats_reset = GetCurrentTimestamp();
	SpinLockInit(&apikey_shared->slow.mutex);
	ConditionVariableInit(&apikey_shared->slow.turn_ended);
	apikey_random(apikey_shared->slow.secret,
				  sizeof(apikey_shared->slow.secret));
	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		SpinLockInit(&apikey_shared->ring[i].mutex);
		apikey_shared->ring[i].nunits = units_per_ring();
	}
}

static void
start_shmem(void)
{
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	apikey_shared = ShmemInitStruct("apikey", shared_size(), &found);
	for (int i = 0; i < APIKEY_RINGS; i++)
		ring_units[i] = (char *) apikey_shared +
			MAXALIGN(sizeof(ApikeyShared)) +
			i * units_per_ring() * APIKEY_UNIT_SIZE;
	if (!found)
		initialize();
	apikey_meters_start();
	apikey_keyplaces_start();
	LWLockRelease(AddinShmemInitLock);

	/* in the postmaster: what a clean stop left behind, and will again */
	if (!IsUnderPostmaster)
	{
		apikey_buffer_restore();
		apikey_meters_restore();
	}
}

char *
apikey_ring_unit(int ring, uint64 number)
{
	return ring_units[ring] +
		(number % apikey_shared->ring[ring].nunits) * APIKEY_UNIT_SIZE;
}

int
apikey_my_ring(void)
{
	return apikey_backend_number() % APIKEY_RINGS;
}

void
apikey_tally_add(int what)
{
	if (apikey_shared != NULL)
		pg_atomic_fetch_add_u64(&apikey_shared->tally[apikey_my_ring()].count[what],
								1);
}

uint64
apikey_tally_sum(int what)
{
	uint64		sum = 0;

	for (int i = 0; i < APIKEY_RINGS; i++)
		sum += pg_atomic_read_u64(&apikey_shared->tally[i].count[what]);
	return sum;
}

void
apikey_tally_reset(void)
{
	for (int i = 0; i < APIKEY_RINGS; i++)
	{
		for (int j = 0; j < APIKEY_TALLY_SIZE; j++)
			pg_atomic_write_u64(&apikey_shared->tally[i].count[j], 0);
	}
}

int64
apikey_clock(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) (INSTR_TIME_GET_MICROSEC(now) / 1000);
}

void
apikey_ask_flush(ApikeyDatabase *database, bool urgent)
{
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	if (urgent)
		database->retry_at = 0;
	if (database->worker_latch != NULL)
		SetLatch(database->worker_latch);
	else if (apikey_shared->launcher_latch != NULL)
		SetLatch(apikey_shared->launcher_latch);
	LWLockRelease(apikey_shared->lock);
}

void
apikey_shmem_init(void)
{
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
}
