/*
 * worker.c
 *		The launcher looks each flush_interval which databases have buffered
 *		events, and starts a flush worker for each that has none.
 *
 * The launcher is connected to no database.  A flush worker stays for a while
 * when it has nothing to do, for beginning anew costs more than many a flush;
 * but not where workers are scarce, nor in the way of somebody who wants to
 * drop, rename or copy its database.  It ends on errors and is started again
 * later, each time after a longer pause.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "apikey.h"
#include "buffer.h"
#include "compat.h"
#include "flush.h"
#include "maintain.h"
#include "pepper.h"
#include "settings.h"
#include "shmem.h"
#include "worker.h"

/*
 * How long a flush worker lives, and how long without anything to do: its
 * settings are those of the database when it began.  And where workers are
 * scarce: beginning anew costs about a tenth of what it writes in that time
 */
#define LIFE_MS				(300 * 1000)
#define IDLE_MS				(60 * 1000)
#define SHORT_LIFE_MS		(3 * 1000)

/* Who wants its database waits for 5 s, and it for less */
#define WAIT_MAX_MS			2000

/* And for so long after failures, before the first repetition */
#define RETRY_FIRST_MS		1000
#define RETRY_DOUBLINGS_MAX	2

/* How often slots of databases that are gone are looked for */
#define FREE_DATABASES_MS	(60 * 1000)

/* A worker that was asked for should be there after this time */
#define START_MS			5000

/* A half of a ring, in the largest events, is more than this part of its units */
#define BEHIND_PART			16

/* How soon partitions are looked after again, and if that failed */
#define MAINTAIN_MS			(20 * 1000)
#define MAINTAIN_AGAIN_MS	(5 * 1000)

/* How long hours are settled before the next flush */
#define SETTLE_MS			200

PGDLLEXPORT void apikey_launcher_main(Datum arg);
PGDLLEXPORT void apikey_flush_worker_main(Datum arg);

static void
leave_launcher(int code, Datum arg)
{
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	apikey_shared->launcher_pid = 0;
	apikey_shared->launcher_latch = NULL;
	LWLockRelease(apikey_shared->lock);
}

/*
 * Start a flush worker for a slot.
 */
static void
start_worker(int slot)
{
	static bool warned = false;
	ApikeyDatabase *database = &apikey_shared->database[slot];
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "apikey",
		.bgw_function_name = "apikey_flush_worker_main",
		.bgw_type = "apikey flush worker",
	};
	BackgroundWorkerHandle *handle;

	snprintf(worker.bgw_name, BGW_MAXLEN, "apikey flush worker of database %u",
			 database->oid);
	worker.bgw_main_arg = Int32GetDatum(slot);
	worker.bgw_notify_pid = MyProcPid;
	apikey_shared->out_of_workers = !RegisterDynamicBackgroundWorker(&worker, &handle);
	if (apikey_shared->out_of_workers)
	{
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start a worker to write counted API key usage"),
					 errdetail("All slots of background workers are taken; usage is kept in memory for now."),
					 errhint("Increase max_worker_processes.")));
		warned = true;
		return;
	}
	warned = false;
	pfree(handle);

	/* not waited for, as a server that is stopping would never start it */
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	database->starting_until = apikey_clock() + START_MS;
	LWLockRelease(apikey_shared->lock);
}

/*
 * Does a database still exist?
 */
static bool
database_exists(Oid oid)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (!found && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		found = ((Form_pg_database) GETSTRUCT(tuple))->oid == oid;
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return found;
}

static void
free_database(ApikeyDatabase *database)
{
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	if (apikey_shared->flush_error_database == database->oid)
		apikey_shared->last_flush_error[0] = '\0';
	database->oid = InvalidOid;
	database->in_flight = false;
	database->restored = 0;
	database->failures = 0;
	database->hold_until = 0;
	database->maintain_at = 0;
	database->kept_from = 0;
	database->settle_block = 0;
	LWLockRelease(apikey_shared->lock);
}

/*
 * Is it time to start a worker for this slot?  Events of a database that is
 * gone are dropped.
 */
static bool
wants_worker(ApikeyDatabase *database)
{
	bool		wanted;
	bool		failing;

	if (!OidIsValid(database->oid) || apikey_buffer_pending(database) == 0)
		return false;
	LWLockAcquire(apikey_shared->lock, LW_SHARED);
	wanted = database->worker_pid == 0 &&
		database->starting_until <= apikey_clock() &&
		database->retry_at <= apikey_clock();
	failing = database->failures > 0;
	LWLockRelease(apikey_shared->lock);
	if (wanted && failing && !database_exists(database->oid))
	{
		uint64		limit[APIKEY_RINGS];

		apikey_buffer_limits(limit);
		(void) apikey_buffer_done(database, limit);
		free_database(database);
		return false;
	}
	return wanted;
}

/*
 * Now and then free the slots of databases that are gone.
 */
static void
free_databases(void)
{
	static int64 next = 0;

	if (apikey_clock() < next)
		return;
	next = apikey_clock() + FREE_DATABASES_MS;
	for (int i = 0; i < APIKEY_DATABASES_MAX; i++)
	{
		ApikeyDatabase *database = &apikey_shared->database[i];

		if (OidIsValid(database->oid) && database->worker_pid == 0 &&
			apikey_buffer_pending(database) == 0 &&
			!database_exists(database->oid))
			free_database(database);
	}
}

/*
 * Wait for the interval, or until somebody asks.  True if the configuration
 * was read anew.
 */
static bool
wait_for_interval(void)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 apikey_flush_interval, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

void
apikey_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	apikey_lift_transaction_timeout();

	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	apikey_shared->launcher_pid = MyProcPid;
	apikey_shared->launcher_latch = MyLatch;
	LWLockRelease(apikey_shared->lock);
	before_shmem_exit(leave_launcher, (Datum) 0);
	apikey_pepper_file_check(); /* before somebody's request finds out */

	while (!ShutdownRequestPending)
	{
		free_databases();
		for (int i = 0; i < APIKEY_DATABASES_MAX && !ShutdownRequestPending; i++)
		{
			if (wants_worker(&apikey_shared->database[i]))
				start_worker(i);
		}
		if (wait_for_interval())
			apikey_pepper_file_check();
	}
	/* not 0, after which it would not be started again */
	proc_exit(1);
}

/* The slot of this flush worker */
static ApikeyDatabase *mine = NULL;
static bool failed = true;		/* until it is connected, and after an error */
static int64 maintain_next = 0; /* by apikey_clock() */
static volatile sig_atomic_t terminated = false;

static void
terminate(SIGNAL_ARGS)
{
	terminated = true;
	apikey_handle_signal(die);
}

/*
 * However it ends, give the slot back; after a failure not to be tried again
 * at once.
 */
static void
leave_flush_worker(int code, Datum arg)
{
	int			pause = RETRY_FIRST_MS << Min(mine->failures,
											  RETRY_DOUBLINGS_MAX);

	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	mine->worker_pid = 0;
	mine->worker_latch = NULL;
	mine->starting_until = 0;
	mine->flushing = false;
	if (failed && !terminated)	/* while it was connecting, say */
	{
		mine->failures++;
		mine->retry_at = apikey_clock() + pause;
	}
	LWLockRelease(apikey_shared->lock);
}

/*
 * Flush; leave the message of an error where apikey.stats shows it.
 */
static void
flush_or_note(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		apikey_flush(mine);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		failed = true;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
		strlcpy(apikey_shared->last_flush_error, error->message,
				APIKEY_FLUSH_ERROR_MAX);
		apikey_shared->flush_error_database = mine->oid;
		LWLockRelease(apikey_shared->lock);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Partitions and retention, apart from the flush: whoever reads the tables for
 * long, or forbids DDL, keeps new partitions away but no counts.
 */
static void
maintain_when_due(void)
{
	int64		settle_until = apikey_clock() + SETTLE_MS;
	MemoryContext context = CurrentMemoryContext;

	if (mine->maintain_at > apikey_clock())
		return;
	PG_TRY();
	{
		if (maintain_next <= apikey_clock())
		{
			apikey_maintain(mine);
			maintain_next = apikey_clock() + MAINTAIN_MS;
		}
		while (apikey_settle(mine) && apikey_clock() < settle_until)
			CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		mine->maintain_at = apikey_clock() + MAINTAIN_AGAIN_MS;
	}
	PG_END_TRY();
}

/*
 * Has so much come meanwhile that calls are slowed down soon?  Nobody need have
 * asked for another flush.  What only other databases have left there is
 * nothing to hurry for.
 */
static bool
is_behind(void)
{
	int			fullest = apikey_buffer_fullest();

	return apikey_buffer_quarters(fullest) >= 2 &&
		apikey_buffer_pending(mine) > apikey_shared->ring[fullest].nunits / BEHIND_PART;
}

/*
 * Does somebody want the database for himself, or to copy it?  He has a lock on
 * it that keeps new sessions out, or waits for it, and then for us to leave.
 */
static bool
is_in_the_way(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, mine->oid, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

/*
 * Wait for the next flush.  False if it is better left to another worker.
 */
static bool
wait_for_flush(int64 start)
{
	static int64 idle_since = 0;
	bool		scarce = apikey_shared->out_of_workers;
	bool		idle = apikey_buffer_pending(mine) == 0;
	int64		now = apikey_clock();

	if (!idle || idle_since == 0)
		idle_since = now;
	if (now >= start + (scarce ? SHORT_LIFE_MS : LIFE_MS) ||
		(idle && now >= idle_since + (scarce ? 0 : IDLE_MS)) ||
		apikey_flush_interval > WAIT_MAX_MS)
		return false;
	/* retention may be another one */
	if (wait_for_interval())
		maintain_next = 0;
	return true;
}

void
apikey_flush_worker_main(Datum arg)
{
	int64		start;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, terminate);
	BackgroundWorkerUnblockSignals();

	mine = &apikey_shared->database[DatumGetInt32(arg)];
	LWLockAcquire(apikey_shared->lock, LW_EXCLUSIVE);
	if (mine->worker_pid != 0)
	{
		LWLockRelease(apikey_shared->lock);
		proc_exit(0);
	}
	mine->worker_pid = MyProcPid;
	mine->worker_latch = MyLatch;
	LWLockRelease(apikey_shared->lock);
	before_shmem_exit(leave_flush_worker, (Datum) 0);

	BackgroundWorkerInitializeConnectionByOid(mine->oid, InvalidOid, 0);
	failed = false;
	apikey_lift_transaction_timeout();
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET,
					PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed",
					PGC_SUSET, PGC_S_OVERRIDE);
	start = apikey_clock();
	do
	{
		CHECK_FOR_INTERRUPTS();
		/* first, so that rows go where they are to stay */
		maintain_when_due();
		if (apikey_buffer_pending(mine) > 0)
			flush_or_note();
	} while (!is_in_the_way() && (is_behind() || wait_for_flush(start)));
	proc_exit(0);
}

void
apikey_worker_init(void)
{
	BackgroundWorker worker = {
		.bgw_name = "apikey launcher",
		.bgw_type = "apikey launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5,
		.bgw_library_name = "apikey",
		.bgw_function_name = "apikey_launcher_main",
	};

	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&worker);
}
