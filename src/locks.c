/*
 * locks.c
 *		Transaction locks on things that are no rows.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "locks.h"

/* Core uses 1 and 2 for pg_advisory_lock(bigint) and (integer, integer). */
#define LOCK_FIELD4	75

static LockAcquireResult
acquire(ApikeyLockClass class, uint32 id, LOCKMODE mode, bool dont_wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) class, id, LOCK_FIELD4);
	return LockAcquire(&tag, mode, false, dont_wait);
}

void
apikey_lock(ApikeyLockClass class, uint32 id)
{
	(void) acquire(class, id, ExclusiveLock, false);
}

/* These two modes conflict with each other and not with themselves. */
void
apikey_lock_for_purge(void)
{
	(void) acquire(APIKEY_LOCK_PURGE, 0, RowExclusiveLock, false);
}

bool
apikey_try_lock_for_usage(void)
{
	return acquire(APIKEY_LOCK_PURGE, 0, ShareLock, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}
