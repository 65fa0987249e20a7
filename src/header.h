/*
 * header.h
 *		What the headers of an HTTP request say of who sent it: credentials,
 *		and the client's address behind proxies.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_HEADER_H
#define APIKEY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "netlist.h"
#include "scope.h"

#define APIKEY_HEADER_NAME_MAX	64	/* longest header name of ours */
#define APIKEY_HOPS_MAX			100 /* proxies that a request may have passed */

/* Are the two texts the same but for ASCII letter case? */
extern bool apikey_same_name(const char *a, size_t a_len,
							 const char *b, size_t b_len);

/* Is it a name that a header can have (RFC 9110, token) of our length? */
extern bool apikey_header_name_check(const char *text, size_t len);

/* Credentials found so far; begin with zeros. */
typedef struct ApikeyCredentials
{
	ApikeySlice key;			/* data is NULL while there is none */
	bool		bad;			/* two different ones, or no syntax at all */
	bool		foreign_bearer; /* a bearer token that was left alone */
} ApikeyCredentials;

/* Is a bearer token ours to judge?  NULL instead of a function: always. */
typedef bool (*ApikeyTakesBearer) (const char *token, size_t len);

/*
 * Take the credentials of an Authorization header: of its comma separated
 * elements those of the schemes Bearer and ApiKey; others are not ours.
 */
extern void apikey_credentials_authorization(ApikeyCredentials *found,
											 const char *text, size_t len,
											 ApikeyTakesBearer takes_bearer);

/* Take those of a header that holds a bare key, or several with commas. */
extern void apikey_credentials_bare(ApikeyCredentials *found,
									const char *text, size_t len);

/* Where the client's address is to be found. */
typedef enum ApikeyIpSource
{
	APIKEY_IP_NONE,
	APIKEY_IP_XFF,				/* X-Forwarded-For */
	APIKEY_IP_REAL,				/* X-Real-IP */
	APIKEY_IP_FORWARDED			/* Forwarded, RFC 7239 */
} ApikeyIpSource;

/* The name of the header, in lower case; NULL for none. */
extern const char *apikey_ip_source_header(ApikeyIpSource source);

/*
 * Read an address as proxies write it: a port, brackets and a zone are
 * dropped.  False for everything else.
 */
extern bool apikey_hop_parse(const char *text, size_t len, ApikeyNet *addr);

/*
 * Find the client's address.  lines are the values of the source's header as
 * they came; peer, if known, is who connected to the first server of ours,
 * and vouches for the header only if it is trusted.  From the right, each
 * trusted address vouches for the one before; the first that is not trusted
 * is the client, or the leftmost.  False if it cannot be told: the header is
 * missing, an entry that matters is no address, or there are too many.
 */
extern bool apikey_client_address(ApikeyIpSource source,
								  const ApikeySlice *lines, int nlines,
								  const ApikeyNet *peer,
								  const ApikeyNet *trusted, int ntrusted,
								  ApikeyNet *client);

#endif							/* APIKEY_HEADER_H */
