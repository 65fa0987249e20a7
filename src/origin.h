/*
 * origin.h
 *		Web origins (RFC 6454): the rules of an origin-locked key and the
 *		Origin header of a request.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_ORIGIN_H
#define APIKEY_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define APIKEY_ORIGIN_MAX		320 /* longest text accepted, and printed */
#define APIKEY_HOST_MAX			253
#define APIKEY_SCHEME_MAX		16

typedef struct ApikeyOrigin
{
	char		scheme[APIKEY_SCHEME_MAX + 1];	/* lower case; "" if absent */
	char		host[APIKEY_HOST_MAX + 1];	/* lower case, no trailing dot;
											 * IPv6 in RFC 5952 text, no
											 * brackets */
	int			port;			/* 0 if absent; in an Origin with scheme http,
								 * https, ws or wss its default */
	bool		is_address;		/* host is an IPv4 or IPv6 address */
} ApikeyOrigin;

/*
 * Read one rule: [scheme "://"] host [":" port] ["/"], blanks trimmed.  The
 * host is a name of two or more labels (letters, digits, hyphen, underscore;
 * the last one not all digits) or an address (IPv6 in brackets).  A single
 * label (localhost), a leading "*.", a path, user info are refused.  NULL if
 * good, else the rule broken as a lower-case phrase.
 */
extern const char *apikey_origin_rule_parse(const char *text, size_t len,
											ApikeyOrigin *rule);

/*
 * Read an Origin header or a bare host, blanks trimmed; single labels are
 * fine here.  False for everything else ("null", lists, paths, rubbish).
 */
extern bool apikey_origin_parse(const char *text, size_t len,
								ApikeyOrigin *origin);

/*
 * Does the rule admit the origin?  A name covers itself and its subdomains,
 * an address itself only; a scheme or port of the rule must match, an absent
 * one matches any.  The default port of the origin's scheme counts as given.
 */
extern bool apikey_origin_matches(const ApikeyOrigin *rule,
								  const ApikeyOrigin *origin);

/* localhost, *.localhost, 127.0.0.0/8 or ::1 */
extern bool apikey_origin_is_loopback(const ApikeyOrigin *origin);

/* Canonical text of a rule; out has room for APIKEY_ORIGIN_MAX + 1. */
extern size_t apikey_origin_print(const ApikeyOrigin *rule, char *out);

#endif							/* APIKEY_ORIGIN_H */
