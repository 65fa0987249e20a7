/*
 * admit.h
 *		Admission: limits, quota and credits of a request that passed all
 *		other checks.
 */
#ifndef APIKEY_ADMIT_H
#define APIKEY_ADMIT_H

#include "postgres.h"

#include "limits.h"

struct ApikeyDecision;
struct ApikeyTrace;

/* What the verdict says about it, and what was spent */
typedef struct ApikeyAdmission
{
	bool		has_limit;
	uint64		limit;			/* serial of its row; 0: the quota */
	char		limit_name[APIKEY_LIMIT_NAME_MAX + 1];
	int32		limit_max;
	int32		limit_per;		/* seconds, as the next two */
	int32		limit_remaining;
	int32		limit_reset;
	bool		has_retry_after;
	int32		retry_after;	/* seconds */
	bool		has_credits;
	int64		credits_remaining;

	/* for the event of a call that passed; 0: no credits */
	uint64		key_epoch;
	uint64		account_epoch;
} ApikeyAdmission;

#define APIKEY_QUOTA_NAME	"requests_per_day"

/* The maximum of a limit on this server. */
extern int64 apikey_limit_max_here(const ApikeyLimit *limit);

/*
 * Let the request of a decision that is valid so far pass, or refuse it:
 * nothing is spent unless everything suffices.  While there is a trace, each
 * step is noted and nothing spent.  Fills in decision->admission.
 */
extern void apikey_admit(struct ApikeyDecision *decision,
						 struct ApikeyTrace *trace);

#endif							/* APIKEY_ADMIT_H */
