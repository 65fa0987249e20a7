/*
 * address.h
 *		Keyed hashing of addresses.
 */
#ifndef APIKEY_ADDRESS_H
#define APIKEY_ADDRESS_H

#include "postgres.h"

#include "netlist.h"

/*
 * Hash an address as apikey_net_unmap() leaves it; its length is no matter.
 * False if the installation has no secret yet: nothing is hashed without.
 * To be called inside a transaction.
 */
extern bool apikey_address_hash(const ApikeyNet *addr, uint32 *hash);

/*
 * Make the secret if there is none.  To be called as the owner, in a
 * transaction that may write.
 */
extern void apikey_address_secret_ensure(void);

#endif							/* APIKEY_ADDRESS_H */
