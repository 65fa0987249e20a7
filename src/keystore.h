/*
 * keystore.h
 *		Reading stored keys.
 */
#ifndef APIKEY_KEYSTORE_H
#define APIKEY_KEYSTORE_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "storage/buf.h"
#include "utils/uuid.h"

#include "crypto.h"
#include "netlist.h"
#include "origin.h"
#include "pepper.h"
#include "scope.h"

/*
 * What apikey.key.algorithm says the digest is of; anything else verifies
 * nothing.  All but the first are of imported keys (imported.c), and the last
 * two until their first use.
 */
#define APIKEY_ALGORITHM_BLAKE2B	1	/* the key text */
#define APIKEY_ALGORITHM_PART		2	/* the part of it that was hashed */
#define APIKEY_ALGORITHM_HASH		3	/* the hash that was imported */
#define APIKEY_ALGORITHM_LOOKUP		4	/* what stands before a salted hash */

/* Columns, as 40_keys.sql creates them */
typedef enum ApikeyKeyColumn
{
	KEY_KEY_ID = 1,
	KEY_LOOKUP,
	KEY_CREATED_AT,
	KEY_PEPPER_ID,
	KEY_ALGORITHM,
	KEY_EXPIRY_GIVEN,
	KEY_EXPIRES_AT,
	KEY_REVOKED_AT,
	KEY_DISABLED_AT,
	KEY_ROTATED_FROM,
	KEY_ROTATED_TO,
	KEY_LINEAGE,
	KEY_DIGEST,
	KEY_ACCOUNT,
	KEY_KIND,
	KEY_NAME,
	KEY_SCOPES,
	KEY_DISPLAY,
	KEY_ALLOWED_IPS,
	KEY_ALLOWED_ORIGINS,
	KEY_DB_ROLE,
	KEY_METADATA,
	KEY_CREATED_BY,
	KEY_DISABLED_BY,
	KEY_REVOKED_BY,
	KEY_REVOKE_REASON
} ApikeyKeyColumn;

#define APIKEY_KEY_NCOLUMNS	KEY_REVOKE_REASON

/*
 * A copy of a row of apikey.key; index its arrays by column.  A key that was
 * found has no compressed or out-of-line values but those of the two lists,
 * and has its sets and lists decoded.  A list that is NULL in the row lets
 * everything pass; one that is there may be empty and then lets nothing pass.
 */
typedef struct ApikeyKey
{
	HeapTuple	tuple;
	Buffer		buffer;			/* in which its page was; may be unknown */
	Datum		value[APIKEY_KEY_NCOLUMNS + 1];
	bool		null[APIKEY_KEY_NCOLUMNS + 1];

	/* set by apikey_find() and apikey_find_by_id() */
	ApikeyGrants grants;		/* KEY_SCOPES */
	int			nnets;
	const ApikeyNet *nets;		/* KEY_ALLOWED_IPS, normalized */
	int			norigins;
	const ApikeyOrigin *origins;	/* KEY_ALLOWED_ORIGINS */
	struct ApikeyCachedKey *kept;	/* NULL unless it is kept in memory */
} ApikeyKey;

typedef enum ApikeyFind
{
	APIKEY_FOUND,
	APIKEY_UNKNOWN,
	APIKEY_CANNOT_TELL,			/* stored keys need a pepper that is missing */
	APIKEY_TOO_BUSY				/* a slow hash could not be tried just now */
} ApikeyFind;

/*
 * Find the key with this text, as of this very moment.  What is found is good
 * until the next call; it lies in *room, or among the keys that are kept.
 */
extern ApikeyFind apikey_find(const char *text, size_t len, ApikeyKey *room,
							  const ApikeyKey **key);

/*
 * The same by one who has accepted invalidation messages and asked
 * apikey_keycache_find() already, and gives what that said.
 */
extern ApikeyFind apikey_find_kept(const char *text, size_t len,
								   struct ApikeyCachedKey *kept,
								   ApikeyKey *room, const ApikeyKey **key);

#define APIKEY_FIND_STORED_MAX	8

/*
 * Find up to max keys stored under this digest, pepper and algorithm, in the
 * same way.  Returns how many.
 */
extern int	apikey_find_stored(const unsigned char digest[APIKEY_DIGEST_LEN],
							   int32 pepper_id, int16 algorithm,
							   ApikeyKey *keys, int max);

/* The same by key_id: false if there is none. */
extern bool apikey_find_by_id(const pg_uuid_t *key_id, ApikeyKey *key);

/* The part of a digest that is searched by. */
extern int64 apikey_lookup_of(const unsigned char digest[APIKEY_DIGEST_LEN]);

/* revoked, expired, disabled or active */
extern const char *apikey_key_status(const ApikeyKey *key, TimestampTz now);

#endif							/* APIKEY_KEYSTORE_H */
