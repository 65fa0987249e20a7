/*
 * identity.h
 *		Who the current transaction works for: the key that was authenticated
 *		in it.
 */
#ifndef APIKEY_IDENTITY_H
#define APIKEY_IDENTITY_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/uuid.h"

#include "buffer.h"
#include "compat.h"
#include "decide.h"

typedef struct ApikeyIdentity
{
	MemoryContext context;		/* what all of it lives in */
	struct ApikeyIdentity *below;	/* of the transaction level below */
	int			nest_level;
	uint64		serial;			/* no two of a backend have the same */
	pg_uuid_t	key_id;
	Datum		account;		/* text */
	Datum		scopes;			/* text[] */
	ApikeyGrants grants;		/* the same, to look into */
	Datum		metadata;		/* jsonb */

	/*
	 * What is to be noted should the transaction fail: all but status, time
	 * and the letters of the code, as there is no time for anything then.
	 */
	ApikeyEvent failure;
	size_t		failure_len;	/* of its texts */
} ApikeyIdentity;

extern void apikey_identity_init(void);

/*
 * The identity of a decision that is valid, bound to nothing; lives until its
 * context is deleted or the transaction ends.
 */
extern ApikeyIdentity *apikey_identity_make(const ApikeyDecision *decision);

/*
 * Bind the key of a decision that is valid to the current (sub)transaction,
 * in place of any other.  The decision is copied.  Nothing checks here that
 * there is a transaction block, in which alone this makes sense.
 */
extern void apikey_identity_take(const ApikeyDecision *decision);

/* The identity in force, NULL if there is none; good until something runs. */
extern const ApikeyIdentity *apikey_identity(void);

/* The same without finding out: for where nothing may be read or raised. */
extern const ApikeyIdentity *apikey_identity_bound(void);

/*
 * Raise a decision that is not valid as an error of class KA: for the caller
 * of the API, so with public codes only.
 */
apikey_noreturn extern void apikey_refuse(const ApikeyDecision *decision);

/* What SQL calls: verification that also sets the identity */
extern PGDLLEXPORT Datum apikey_sql_authenticate(PG_FUNCTION_ARGS);

/* The message domain of errors that are refusals: these are counted already */
#define APIKEY_REFUSAL_DOMAIN	"apikey-refusal"

#endif							/* APIKEY_IDENTITY_H */
