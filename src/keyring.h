/*
 * keyring.h
 *		The text of a pepper file.  Pure: no server headers.
 */
#ifndef APIKEY_KEYRING_H
#define APIKEY_KEYRING_H

#include <stddef.h>
#include <stdint.h>

#include "crypto.h"

#define APIKEY_KEYRING_MAX			1000	/* peppers */
#define APIKEY_KEYRING_BYTES_MAX	(256 * 1024)

typedef struct ApikeyKeyringEntry
{
	int32_t		id;
	unsigned char secret[APIKEY_PEPPER_LEN];
} ApikeyKeyringEntry;

/*
 * Read lines of "id hexdigits"; blank lines and lines beginning with # are
 * skipped.  Ids are positive and unique.  Returns how many there are, or -1
 * and the number of the faulty line.
 */
extern int	apikey_keyring_parse(const char *text, size_t len,
								 ApikeyKeyringEntry *entries, int max,
								 int *faulty_line);

#endif							/* APIKEY_KEYRING_H */
