/*
 * locks.h
 *		Transaction locks on things that are no rows.
 *
 * Lock order: APIKEY_LOCK_PURGE, then table and row locks, then
 * APIKEY_LOCK_ACCOUNT or APIKEY_LOCK_IMPORT, then APIKEY_LOCK_PEPPER.  They
 * are advisory locks in a class of their own, so pg_advisory_lock() of
 * applications never meets them; they show in pg_locks with objsubid 75.
 */
#ifndef APIKEY_LOCKS_H
#define APIKEY_LOCKS_H

#include "postgres.h"

typedef enum ApikeyLockClass
{
	APIKEY_LOCK_PEPPER = 1,		/* making a pepper */
	APIKEY_LOCK_ACCOUNT = 2,	/* counting an account's keys against a cap */
	APIKEY_LOCK_SIGNING = 3,	/* making a signing key */
	APIKEY_LOCK_PURGE = 4,		/* removing keys, or writing their usage */
	APIKEY_LOCK_IMPORT = 5		/* importing keys, so that none comes twice */
} ApikeyLockClass;

/* Lock, exclusively, until the end of the transaction. */
extern void apikey_lock(ApikeyLockClass class, uint32 id);

/*
 * Keys may be removed by several at a time, and by none while usage is being
 * written.  Who writes does not wait: false if keys are being removed.  Both
 * last until the end of the transaction.
 */
extern void apikey_lock_for_purge(void);
extern bool apikey_try_lock_for_usage(void);

#endif							/* APIKEY_LOCKS_H */
