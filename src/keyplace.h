/*
 * keyplace.h
 *		Where keys lie in their table: a table in shared memory, by digest.
 */
#ifndef APIKEY_KEYPLACE_H
#define APIKEY_KEYPLACE_H

#include "postgres.h"

#include "storage/buf.h"
#include "storage/itemptr.h"

#include "crypto.h"

/* In shmem.c's hooks */
extern void apikey_keyplaces_request(void);
extern void apikey_keyplaces_start(void);

/*
 * Where the row of the key with this digest was last seen, and in which
 * buffer; false if that is not known.  It may lie elsewhere by now, and
 * another row there: whoever looks must compare the digest, and be content
 * with finding nothing.
 */
extern bool apikey_keyplace_find(const unsigned char digest[APIKEY_DIGEST_LEN],
								 ItemPointer tid, Buffer *buffer);
extern void apikey_keyplace_note(const unsigned char digest[APIKEY_DIGEST_LEN],
								 ItemPointer tid, Buffer buffer);

/* Let the processor fetch what the next call will look at. */
extern void apikey_keyplace_prefetch(const unsigned char digest[APIKEY_DIGEST_LEN]);

#endif							/* APIKEY_KEYPLACE_H */
