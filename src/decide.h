/*
 * decide.h
 *		The one decision: may this request pass?
 */
#ifndef APIKEY_DECIDE_H
#define APIKEY_DECIDE_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "admit.h"
#include "codes.h"
#include "imported.h"
#include "keycache.h"
#include "keystore.h"
#include "policy.h"
#include "request.h"
#include "session.h"

typedef struct ApikeyDecision
{
	const ApikeyRequest *request;
	ApikeyPolicy *policy;
	TimestampTz now;			/* the real clock's */
	ApikeyCode	code;
	bool		known;			/* the members below are set */
	const ApikeyKey *key;		/* of a session: narrowed to what that may do */
	ApikeyKey	key_room;		/* where it lies, unless it is kept */
	ApikeyKeyMemo *memo;		/* of a kept key, else NULL */
	bool		well_formed;	/* a kind has such keys */
	bool		is_session;
	ApikeySession session;		/* if it is one */
	ApikeyHashed hashed;		/* what its own digest is of */
	const ApikeyKind *kind;		/* NULL if its row is gone */
	const ApikeyAccount *account;
	ApikeyGrants grants;
	int			nmissing;
	ApikeySlice missing[APIKEY_QUERY_TERMS_MAX];
	ApikeyAdmission admission;
} ApikeyDecision;

/*
 * Told of every check with its result.  While there is one, all checks are
 * made, also after one has failed.
 */
typedef struct ApikeyTrace
{
	void		(*note) (struct ApikeyTrace *trace, const char *step,
						 bool passed, const char *detail);
} ApikeyTrace;

extern void apikey_decide(ApikeyDecision *decision,
						  const ApikeyRequest *request, ApikeyPolicy *policy,
						  ApikeyTrace *trace);

/*
 * Is the key with this id, or the session that is not NULL, alive: neither
 * revoked, expired nor disabled, its account's access on?  What is asked of a
 * single request is not checked, and the request not looked at.
 */
extern bool apikey_decide_alive(ApikeyDecision *decision,
								const ApikeyRequest *request,
								ApikeyPolicy *policy, const pg_uuid_t *key_id,
								const pg_uuid_t *session_id);

/*
 * Do these grants satisfy a query, under this policy?  The same answer as the
 * scope checks of a decision.
 */
extern bool apikey_decide_scopes(const ApikeyGrants *grants,
								 const ApikeyPolicy *policy,
								 const ApikeyQuery *required);

#endif							/* APIKEY_DECIDE_H */
