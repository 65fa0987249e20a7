/*
 * keycache.h
 *		Decoded keys that a backend keeps, by their digest.
 */
#ifndef APIKEY_KEYCACHE_H
#define APIKEY_KEYCACHE_H

#include "postgres.h"

#include "keystore.h"

/* What is known of a key beside its row */
typedef struct ApikeyCachedKey ApikeyCachedKey;

/*
 * The key with this digest, if it is kept; it may be out of date (see below).
 */
extern ApikeyCachedKey *apikey_keycache_find(const unsigned char digest[APIKEY_DIGEST_LEN],
											 int32 pepper_id);

/* Look at it.  Good until the next call that adds or removes one. */
extern const ApikeyKey *apikey_keycache_key(const ApikeyCachedKey *cached);

/*
 * The generation (see apikey_key_generation) under which its row was last
 * looked at.
 */
extern uint64 apikey_keycache_generation(const ApikeyCachedKey *cached);
extern void apikey_keycache_confirm(ApikeyCachedKey *cached,
									uint64 generation);

/*
 * Keep a copy of a key; NULL if it is not to be kept, for want of room.
 * Others make room for it, those first that were not used for longest.
 */
extern ApikeyCachedKey *apikey_keycache_add(const ApikeyKey *key,
											TupleDesc desc,
											const unsigned char digest[APIKEY_DIGEST_LEN],
											uint64 generation);
extern void apikey_keycache_remove(ApikeyCachedKey *cached);

#endif							/* APIKEY_KEYCACHE_H */
