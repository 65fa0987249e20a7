/*
 * heavy.h
 *		The heaviest of a stream of addresses, in fixed memory.
 *
 * The Space-Saving algorithm (Metwally, Agrawal, El Abbadi: Efficient
 * Computation of Frequent and Top-k Elements in Data Streams, 2005): a new
 * address takes the place of the lightest and its count, so nobody who is
 * heavy can be pushed out by a flood of others.  Counts are upper bounds.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_HEAVY_H
#define APIKEY_HEAVY_H

#include <stdint.h>

#include "netlist.h"

#define APIKEY_HEAVY_MAX	256

typedef struct ApikeyHeavy
{
	ApikeyNet	net;			/* IPv4 address, or IPv6 network of 64 bits */
	uint64_t	count;			/* 0: free */
	int64_t		last_at;
} ApikeyHeavy;

/* Count one more of an address. */
extern void apikey_heavy_add(ApikeyHeavy entries[APIKEY_HEAVY_MAX],
							 const ApikeyNet *addr, int64_t now);

#endif							/* APIKEY_HEAVY_H */
