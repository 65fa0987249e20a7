/*
 * locks.h
 *		Transaction locks on things that are no rows.
 *
 * Lock order: APIKEY_LOCK_PEPPER after APIKEY_LOCK_ACCOUNT; table and row
 * locks before both.  They are advisory locks in a class of their own, so
 * pg_advisory_lock() of applications never meets them; they show in pg_locks
 * with objsubid 75.
 */
#ifndef APIKEY_LOCKS_H
#define APIKEY_LOCKS_H

#include "postgres.h"

typedef enum ApikeyLockClass
{
	APIKEY_LOCK_PEPPER = 1,		/* making a pepper */
	APIKEY_LOCK_ACCOUNT = 2,	/* counting an account's keys against a cap */
	APIKEY_LOCK_SIGNING = 3		/* making a signing key */
} ApikeyLockClass;

/* Lock, exclusively, until the end of the transaction. */
extern void apikey_lock(ApikeyLockClass class, uint32 id);

#endif							/* APIKEY_LOCKS_H */
