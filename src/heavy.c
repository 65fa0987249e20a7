/*
 * heavy.c
 *		The heaviest of a stream of addresses, in fixed memory.
 */
#include "heavy.h"

#include <string.h>

#define IPV4_BYTES		4
#define IPV6_NET_BYTES	8		/* one subscriber has a /64 to himself */

void
apikey_heavy_add(ApikeyHeavy entries[APIKEY_HEAVY_MAX],
				 const ApikeyNet *addr, int64_t now)
{
	ApikeyNet	net;
	ApikeyHeavy *lightest = &entries[0];

	memset(&net, 0, sizeof(net));
	net.family = addr->family;
	net.bits = addr->family == 4 ? 8 * IPV4_BYTES : 8 * IPV6_NET_BYTES;
	memcpy(net.addr, addr->addr,
		   addr->family == 4 ? IPV4_BYTES : IPV6_NET_BYTES);

	for (int i = 0; i < APIKEY_HEAVY_MAX; i++)
	{
		if (entries[i].count > 0 &&
			memcmp(&entries[i].net, &net, sizeof(net)) == 0)
		{
			entries[i].count++;
			entries[i].last_at = now;
			return;
		}
		if (entries[i].count < lightest->count)
			lightest = &entries[i];
	}
	lightest->net = net;
	lightest->count++;
	lightest->last_at = now;
}
