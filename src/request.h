/*
 * request.h
 *		What is asked of a verification, checked and decoded.
 */
#ifndef APIKEY_REQUEST_H
#define APIKEY_REQUEST_H

#include "postgres.h"

#include "fmgr.h"

#include "netlist.h"
#include "origin.h"
#include "policy.h"
#include "query.h"

/* A text argument; data is NULL if it was not given */
typedef struct ApikeyText
{
	const char *data;
	size_t		len;
	bool		too_long;		/* given, but longer than allowed: not read */
} ApikeyText;

typedef struct ApikeyRequest
{
	ApikeyText	key;
	bool		has_required;
	ApikeyQuery required;
	bool		ip_known;		/* given and well-formed */
	ApikeyNet	ip;
	bool		origin_known;
	ApikeyOrigin origin;
	ApikeyText	account;
	bool		has_kinds;
	int			nkinds;
	const ApikeyKind *kinds[APIKEY_KINDS_MAX];
	bool		sessions_allowed;	/* "session" was among the kinds */
	int32		cost;

	/* what is kept of a refused request; read when it is refused */
	FunctionCallInfo fcinfo;
} ApikeyRequest;

/*
 * Read the arguments of apikey.verify and its like.  Programmer's faults
 * (negative cost, faulty required, unknown kind) are errors 22023.
 */
extern void apikey_request_read(ApikeyRequest *request, ApikeyPolicy *policy,
								FunctionCallInfo fcinfo, bool ip_is_inet);

/*
 * A text argument that must not be looked at beyond max bytes: its size is
 * known before it is fetched and decompressed.
 */
extern ApikeyText apikey_text_argument(FunctionCallInfo fcinfo, int argno,
									   size_t max);

#endif							/* APIKEY_REQUEST_H */
