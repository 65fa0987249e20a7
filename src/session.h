/*
 * session.h
 *		Sessions: finding the one that a token stands for.
 */
#ifndef APIKEY_SESSION_H
#define APIKEY_SESSION_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"

#include "jwt.h"
#include "keystore.h"

/* Columns, as 66_sessions.sql creates them */
typedef enum ApikeySessionColumn
{
	SESSION_SESSION_ID = 1,
	SESSION_KEY_ID,
	SESSION_CREATED_AT,
	SESSION_EXPIRES_AT,
	SESSION_CLOSED_AT,
	SESSION_KID,
	SESSION_SCOPES,
	SESSION_BOUND_IP,
	SESSION_METADATA
} ApikeySessionColumn;

#define APIKEY_SESSION_NCOLUMNS	SESSION_METADATA

/* A copy of a row of apikey.session; index its arrays by column. */
typedef struct ApikeySession
{
	Datum		value[APIKEY_SESSION_NCOLUMNS + 1];
	bool		null[APIKEY_SESSION_NCOLUMNS + 1];
} ApikeySession;

typedef enum ApikeySessionFind
{
	APIKEY_SESSION_FOUND,		/* open or closed, with its key */
	APIKEY_SESSION_OVER,		/* a token of ours, of a time gone by */
	APIKEY_SESSION_UNKNOWN		/* no token of ours, or of nothing */
} ApikeySessionFind;

/*
 * Find the session that a token stands for, and the key of that, as of this
 * very moment.  What is found lives in the current memory context.
 */
extern ApikeySessionFind apikey_session_find(const ApikeyJwt *jwt,
											 TimestampTz now,
											 ApikeySession *session,
											 ApikeyKey *key);

/* The same by its id, whatever its token says: false if there is none. */
extern bool apikey_session_find_by_id(const pg_uuid_t *session_id,
									  ApikeySession *session, ApikeyKey *key);

/* Leave a key no more than what these scopes, of type apikey.scopes, cover. */
extern void apikey_narrow_scopes(ApikeyKey *key, struct varlena *scopes);

/*
 * Make of a key what a session may do with it: its fields where they are
 * narrower.  Kind and address are left to whoever decides.
 */
extern void apikey_session_narrow(const ApikeySession *session,
								  ApikeyKey *key);

/* Is this the address that the session is bound to? */
extern bool apikey_session_is_bound_to(const ApikeySession *session,
									   const ApikeyNet *address);

/*
 * Does this text look like a token of a session: a JWT that names one of our
 * signing keys?  Whether it is good, verifying it tells.
 */
extern bool apikey_session_names_us(const char *text, size_t len);

/* Whole seconds since 1970, as tokens have them */
static inline int64
apikey_unix_seconds(TimestampTz time)
{
	return (time - time % USECS_PER_SEC) / USECS_PER_SEC - (time % USECS_PER_SEC < 0) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

#endif							/* APIKEY_SESSION_H */
