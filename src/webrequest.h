/*
 * webrequest.h
 *		A request over HTTP: from its headers, method and path to what is
 *		asked of a verification.
 */
#ifndef APIKEY_WEBREQUEST_H
#define APIKEY_WEBREQUEST_H

#include "postgres.h"

#include "decide.h"
#include "header.h"
#include "headerdoc.h"
#include "request.h"
#include "route.h"

typedef struct ApikeyWebRequest
{
	ApikeyRequest request;
	ApikeyHeaderDoc headers;
	ApikeyCredentials credentials;
	ApikeyRoute route;
	ApikeySlice origin;			/* header, if there is one */
	bool		bad;			/* to be answered with bad_request */
} ApikeyWebRequest;

/*
 * Read a request whose headers have been read into web->headers.  Method and
 * path as given, perhaps compressed, or NULL; peer is the address of who
 * connected to the first server of ours, if known.
 */
extern void apikey_webrequest_read(ApikeyWebRequest *web,
								   struct varlena *method,
								   struct varlena *path, ApikeyText peer,
								   ApikeyTakesBearer takes_bearer);

/*
 * The account of the path must be this one, and no scope is asked for by
 * route if one is required; texts without data were not given.
 */
extern void apikey_webrequest_restrict(ApikeyWebRequest *web,
									   ApikeyText account, ApikeyText required);

/* Judge it and count it. */
extern void apikey_webrequest_verify(ApikeyWebRequest *web,
									 ApikeyPolicy *policy,
									 ApikeyDecision *decision);

/* Blank every header that contains the key; to be printed then. */
extern void apikey_webrequest_scrub(ApikeyWebRequest *web);

/* What method and path name, by apikey.route_pattern */
extern void apikey_route_of(ApikeyText method, ApikeyText path,
							ApikeyRoute *route);

/* Longest method and path that are looked at; longer ones name nothing. */
#define APIKEY_METHOD_MAX	64
#define APIKEY_PATH_MAX		8192

#endif							/* APIKEY_WEBREQUEST_H */
