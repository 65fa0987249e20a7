/*
 * slowhash.h
 *		Trying texts against salted hashes, which are slow on purpose, without
 *		letting strangers keep the server busy.
 */
#ifndef APIKEY_SLOWHASH_H
#define APIKEY_SLOWHASH_H

#include "postgres.h"

#include "utils/uuid.h"

#include "hashtext.h"
#include "netlist.h"

typedef enum ApikeySlowResult
{
	APIKEY_SLOW_MATCH,
	APIKEY_SLOW_MISMATCH,
	APIKEY_SLOW_BUSY			/* not tried: too many, or too often wrong */
} ApikeySlowResult;

/*
 * Does the text belong to the hash of this key?  Presented from this address,
 * NULL if that is unknown.
 */
extern ApikeySlowResult apikey_slow_verify(const pg_uuid_t *key_id,
										   const ApikeyNet *address,
										   const ApikeyHash *hash,
										   const char *text, size_t len);

/*
 * Note that a text was wrong for this key: it is known by then that it does
 * not belong to another one, either.
 */
extern void apikey_slow_failed(const pg_uuid_t *key_id,
							   const ApikeyNet *address,
							   const char *text, size_t len);

/*
 * Can this server verify such hashes?  Schemes of crypt() are those of the
 * installed extension pgcrypto.
 */
extern bool apikey_slow_available(ApikeyHashAlgorithm algorithm);

#endif							/* APIKEY_SLOWHASH_H */
