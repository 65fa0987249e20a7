/*
 * secret.h
 *		Fixed secrets of the installation: rows of the table secret.
 */
#ifndef APIKEY_SECRET_H
#define APIKEY_SECRET_H

#include "postgres.h"

#include "crypto.h"

typedef enum ApikeySecret
{
	APIKEY_SECRET_ADDRESSES,	/* hashing of addresses in sketches */
	APIKEY_SECRET_CONTEXTS		/* sealing of contexts */
} ApikeySecret;

#define APIKEY_NSECRETS (APIKEY_SECRET_CONTEXTS + 1)

/*
 * A secret of APIKEY_SHORT_KEY_LEN bytes as of now, NULL if there is none;
 * good until the next call.  To be called inside a transaction.
 */
extern const unsigned char *apikey_secret(ApikeySecret which);

/*
 * Make those that are missing.  To be called as the owner, in a transaction
 * that may write.
 */
extern void apikey_secrets_ensure(void);

#endif							/* APIKEY_SECRET_H */
