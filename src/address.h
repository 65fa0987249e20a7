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

#endif							/* APIKEY_ADDRESS_H */
