/*
 * keycache.h
 *		Decoded keys that a backend keeps, by their digest.
 */
#ifndef APIKEY_KEYCACHE_H
#define APIKEY_KEYCACHE_H

#include "postgres.h"

#include "keystore.h"
#include "policy.h"

typedef struct ApikeyCachedKey ApikeyCachedKey;

/*
 * What others have worked out from a key and the policy of this number; all
 * zero to begin with, and forgotten with the key.
 */
typedef struct ApikeyKeyMemo
{
	uint64		policy;
	const ApikeyKind *kind;
	const ApikeyAccount *account;
	bool		used;			/* a verdict was asked for before */
	void	   *verdict;		/* see apikey_keycache_note() */
	Size		verdict_len;
} ApikeyKeyMemo;

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
 * Keep a copy of a key; NULL if it is not to be kept.  When there is no room
 * others give way, those first that were not used for longest, but only to a
 * key that was offered before not long ago: keys that come once in a while
 * are not worth a copy.
 */
extern ApikeyCachedKey *apikey_keycache_add(const ApikeyKey *key,
											TupleDesc desc,
											const unsigned char digest[APIKEY_DIGEST_LEN],
											uint64 generation);

extern ApikeyKeyMemo *apikey_keycache_memo(ApikeyCachedKey *cached);

/* Set the verdict of its memo to a copy of this, or (NULL) to nothing. */
extern void apikey_keycache_note(ApikeyCachedKey *cached,
								 const void *verdict, Size len);

extern void apikey_keycache_remove(ApikeyCachedKey *cached);

#endif							/* APIKEY_KEYCACHE_H */
