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

void
apikey_lock(ApikeyLockClass class, uint32 id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) class, id, LOCK_FIELD4);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
