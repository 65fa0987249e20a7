/*
 * pepper.h
 *		The secrets that key the hash of keys.
 */
#ifndef APIKEY_PEPPER_H
#define APIKEY_PEPPER_H

#include "postgres.h"

typedef struct ApikeyPepper
{
	int32		id;
	bool		is_current;
	bool		in_file;
	const unsigned char *secret;	/* NULL: missing */
} ApikeyPepper;

typedef struct ApikeyPeppers
{
	int			count;			/* the current one first */
	uint64		serial;			/* of this reading; 0: not kept */
	ApikeyPepper *pepper;
} ApikeyPeppers;

/* What is in force now; good until the next call. */
extern const ApikeyPeppers *apikey_peppers(void);

/*
 * The serial of what apikey_peppers() has read last if that is in force still,
 * as far as invalidation messages were accepted; else 0.
 */
extern uint64 apikey_peppers_serial(void);

/*
 * The pepper for a new key.  Makes the first one if there is none yet; errors
 * if the current one is missing.  To be called as the owner.
 */
extern const ApikeyPepper *apikey_current_pepper(void);

/* Say in the server's log what is wrong with the pepper file, if it is. */
extern void apikey_pepper_file_check(void);

#endif							/* APIKEY_PEPPER_H */
