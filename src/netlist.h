/*
 * netlist.h
 *		Network addresses: strict reading, and membership in a list.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_NETLIST_H
#define APIKEY_NETLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An address with its network length; IPv4 uses the first 4 bytes. */
typedef struct ApikeyNet
{
	uint8_t		family;			/* 4 or 6 */
	uint8_t		bits;
	uint8_t		addr[16];
} ApikeyNet;

#define APIKEY_NET_TEXT_MAX		64	/* longest text accepted, and printed */

/*
 * Read an element of an allowlist: an address or CIDR network, surrounding
 * blanks ignored.  Strict: four decimal numbers without leading zeros or RFC
 * 4291 text forms; no zone, port or abbreviation.  IPv4-mapped IPv6 becomes
 * IPv4 (of a network: when it lies inside ::ffff:0:0/96).  NULL if good, else
 * the rule broken as a lower-case phrase; for host bits to the right of the
 * mask, *net then is the network meant and *host_bits is true.
 */
extern const char *apikey_net_parse(const char *text, size_t len,
									ApikeyNet *net, bool *host_bits);

/*
 * Read the address a request came from: one address, blanks trimmed, with or
 * without its full-length mask (/32, /128).  IPv4-mapped becomes IPv4.  False
 * for everything else: ports, zones, lists, rubbish.
 */
extern bool apikey_addr_parse(const char *text, size_t len, ApikeyNet *addr);

/* Turn an IPv4-mapped IPv6 address or network into IPv4. */
extern void apikey_net_unmap(ApikeyNet *net);

/* Is the address inside the network? */
extern bool apikey_net_contains(const ApikeyNet *net, const ApikeyNet *addr);

/*
 * Sort by family, address, length and drop networks contained in another;
 * returns the new count.  apikey_netlist_contains() wants such a list and is
 * logarithmic in its length.
 */
extern int	apikey_netlist_normalize(ApikeyNet *nets, int count);
extern bool apikey_netlist_contains(const ApikeyNet *nets, int count,
									const ApikeyNet *addr);

/*
 * Print as the server's inet type does: RFC 5952 text, "/bits" unless full
 * length.  out has room for APIKEY_NET_TEXT_MAX; NUL terminated; returns the
 * length.
 */
extern size_t apikey_net_print(const ApikeyNet *net, char *out);

#endif							/* APIKEY_NETLIST_H */
