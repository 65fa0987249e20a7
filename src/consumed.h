/*
 * consumed.h
 *		What was used of a quota or of credits, from the tables and what is
 *		not written yet.
 */
#ifndef APIKEY_CONSUMED_H
#define APIKEY_CONSUMED_H

#include "postgres.h"

#include "buffer.h"

/* An account as events name it; not zero. */
extern uint64 apikey_account_hash(const char *account, size_t len);

/*
 * Calls of an account that passed on a day (of UTC, counted as DateADT), and
 * credits spent under an epoch: exactly those of which an event was put into
 * the buffer.  Reads tables, so no lock of shared memory may be held.
 */
extern int64 apikey_consumed_quota(const char *account, size_t len, int64 day);
extern int64 apikey_consumed_credits(uint64 epoch);

#endif							/* APIKEY_CONSUMED_H */
