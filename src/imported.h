/*
 * imported.h
 *		Keys that came from other systems, known by the hash stored there.
 */
#ifndef APIKEY_IMPORTED_H
#define APIKEY_IMPORTED_H

#include "postgres.h"

#include "utils/uuid.h"

#include "import_scheme.h"
#include "keystore.h"
#include "netlist.h"

#define APIKEY_LOOKUP_SHARED_MAX	4	/* keys with salted hashes, of one lookup */

/* What of a presented text the digest of its own is of, and how */
typedef struct ApikeyHashed
{
	const char *data;
	size_t		len;
	int16		algorithm;		/* APIKEY_ALGORITHM_BLAKE2B or _PART */
} ApikeyHashed;

extern void apikey_hashed_digest(unsigned char digest[APIKEY_DIGEST_LEN],
								 const ApikeyHashed *hashed,
								 const unsigned char *pepper);

/*
 * Find the imported key with this text, presented from this address (NULL:
 * unknown), and what to store instead of what was imported; like
 * apikey_find().
 */
extern ApikeyFind apikey_import_find(const char *text, size_t len,
									 const ApikeyNet *address,
									 ApikeyKey *key, ApikeyHashed *hashed);

/*
 * For the functions that import, as the owner.  The lock keeps other
 * importers out until the end of the transaction.
 */
extern void apikey_import_lock(void);

/* The key with this fingerprint as of now; false if there is none. */
extern bool apikey_imported_find(const pg_uuid_t *fingerprint,
								 ApikeyKey *key);

/* How many keys with salted hashes, not used yet, have this lookup? */
extern int	apikey_lookup_shared(const char *lookup, size_t len);

/*
 * Digest by which an imported key is found: of its hash, or if that is salted
 * of its lookup.  Returns the algorithm.
 */
extern int16 apikey_import_digest(unsigned char digest[APIKEY_DIGEST_LEN],
								  const ApikeyHash *hash,
								  const char *lookup, size_t lookup_len,
								  const unsigned char *pepper);

/* lookup and hash may be NULL */
extern void apikey_imported_store(const pg_uuid_t *key_id,
								  const pg_uuid_t *fingerprint, int32 scheme_id,
								  const char *lookup, const char *hash);

#endif							/* APIKEY_IMPORTED_H */
