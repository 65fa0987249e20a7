/*
 * limits.h
 *		What a DBA decided in the table rate_limit, and the credits of keys
 *		and accounts, decoded and kept in the backend.
 */
#ifndef APIKEY_LIMITS_H
#define APIKEY_LIMITS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define APIKEY_LIMIT_NAME_MAX	63

/* A row of apikey.rate_limit */
typedef struct ApikeyLimit
{
	char		name[APIKEY_LIMIT_NAME_MAX + 1];
	char	   *kind;			/* of a row of a kind, else NULL */
	int32		max;			/* 0: none of this name binds */
	int64		per;			/* microseconds */
	bool		shared;
	bool		weighted;
	uint64		meter;			/* name of its meters; 0 if not preloaded */
	uint64		serial;			/* counts rows as they are read */
} ApikeyLimit;

/* A row of apikey.credit */
typedef struct ApikeyCredit
{
	uint64		epoch;			/* what was spent is counted under epoch + period */
	int64		granted;		/* in the period of the row */
	int64		period;			/* of the row; others grant the refill */
	bool		refills;
	int64		refill_amount;
	Interval	refill_every;
	TimestampTz refill_from;	/* when period 0 began */
} ApikeyCredit;

/* A row from its columns. */
extern void apikey_credit_decode(const Datum *values, const bool *nulls,
								 ApikeyCredit *credit);

/* The period of a moment, and where it ends if there are refills */
extern int64 apikey_credit_period(const ApikeyCredit *credit, TimestampTz now,
								  TimestampTz *end);

/* What is granted in a period. */
extern int64 apikey_credit_granted(const ApikeyCredit *credit, int64 period);

/*
 * Make sure that what is kept of limits is current.  Limits of a key that were
 * found under one number may be kept as long as this says the same; 0: no
 * longer than the call.  The second asks, and makes sure of nothing.
 */
extern uint64 apikey_limits_number(void);
extern bool apikey_limits_number_holds(uint64 number);

/*
 * The limits that bind a key, of each name the strongest, in the order of
 * their names.  The array is good until the next call.
 */
extern int	apikey_limits_of(const pg_uuid_t *key_id,
							 const char *account, size_t account_len,
							 const char *kind, size_t kind_len,
							 const ApikeyLimit *const **limits);

/* Credits of a lineage, of an account; NULL: unlimited. */
extern const ApikeyCredit *apikey_credit_of_key(const pg_uuid_t *lineage);
extern const ApikeyCredit *apikey_credit_of_account(const char *account,
													size_t len);

#endif							/* APIKEY_LIMITS_H */
