/*
 * keyplace.h
 *		Where rows of keys lie in their tables, remembered in shared memory.
 */
#ifndef APIKEY_KEYPLACE_H
#define APIKEY_KEYPLACE_H

#include "postgres.h"

#include "crypto.h"
#include "keyrow.h"

/* Tables */
typedef enum ApikeyPlaces
{
	APIKEY_PLACES_KEY,			/* apikey.key */
	APIKEY_PLACES_KEY_USE		/* apikey.key_use, this server's rows */
} ApikeyPlaces;

#define APIKEY_NPLACES (APIKEY_PLACES_KEY_USE + 1)

/* In shmem.c's hooks */
extern void apikey_keyplaces_request(void);
extern void apikey_keyplaces_start(void);

/* By what a row of apikey.key is found: a part of its digest */
extern uint64 apikey_keyplace_hash(const unsigned char digest[APIKEY_DIGEST_LEN]);

/*
 * Where the row with this hash was last seen; false if that is not known.  It may lie elsewhere by now, and another row there:
 * whoever looks must compare what identifies the row, and be content with
 * finding nothing.
 */
extern bool apikey_keyplace_find(ApikeyPlaces of, uint64 hash,
								 ApikeyPlace *place);

/*
 * Note where it is.  True if that was not known and there was room, so that
 * there may be room for others.
 */
extern bool apikey_keyplace_note(ApikeyPlaces of, uint64 hash,
								 const ApikeyPlace *place);

/* The same for one of those others: only if nothing is known, and there is room */
extern void apikey_keyplace_add(ApikeyPlaces of, uint64 hash,
								const ApikeyPlace *place);

/* Let the processor fetch what the next call will look at. */
extern void apikey_keyplace_prefetch(ApikeyPlaces of, uint64 hash);

#endif							/* APIKEY_KEYPLACE_H */
