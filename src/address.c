/*
 * address.c
 *		Keyed hashing of addresses, for sketches: without the key nobody can
 *		choose addresses that inflate an estimate or that do not count.
 */
#include "postgres.h"

#include "address.h"
#include "catalog.h"
#include "secret.h"

#define V4_FAMILY		4
#define V4_BYTES		4
#define V6_BYTES		16

bool
apikey_address_hash(const ApikeyNet *addr, uint32 *hash)
{
	/* the last one, as many requests may come from one address */
	static ApikeyNet last;
	static uint32 last_hash;
	static uint64 last_generation = 0;
	const unsigned char *key;
	unsigned char data[1 + V6_BYTES];
	size_t		len = addr->family == V4_FAMILY ? V4_BYTES : V6_BYTES;
	uint64		wide;

	if (last_generation == apikey_secret_generation() &&
		memcmp(&last, addr, sizeof(last)) == 0)
	{
		*hash = last_hash;
		return true;
	}
	key = apikey_secret(APIKEY_SECRET_ADDRESSES);
	if (key == NULL)
		return false;
	data[0] = addr->family;
	memcpy(data + 1, addr->addr, len);
	wide = apikey_short_hash(data, 1 + len, key);
	*hash = (uint32) (wide ^ (wide >> 32));
	last = *addr;
	last_hash = *hash;
	last_generation = apikey_secret_generation();
	return true;
}
