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

/* A session that is to be opened */
typedef struct ApikeyOpening
{
	bool		has_scopes;
	ApikeyGrants scopes;		/* which the key must hold */
	bool		bind_ip;		/* to an address, which must be known */
} ApikeyOpening;

typedef struct ApikeyRequest
{
	ApikeyText	key;
	bool		has_required;
	uint64		query;			/* tells its text from others; 0: does not */
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
	const ApikeyOpening *opening;	/* NULL: no session is opened */

	/*
	 * What is kept of a refused request: texts, perhaps compressed, looked at
	 * only then; NULL if not given.
	 */
	struct varlena *method;
	struct varlena *path;
	struct varlena *request_id;
} ApikeyRequest;

/*
 * A request with this key text and nothing else given, and its parts.
 * Programmer's faults (faulty required, unknown kind, negative cost) are
 * errors 22023; an address or origin that is none is unknown.  A text without
 * data was not given.
 */
extern void apikey_request_init(ApikeyRequest *request, ApikeyText key);
extern void apikey_request_require(ApikeyRequest *request, ApikeyText text);
extern void apikey_request_set_ip(ApikeyRequest *request, ApikeyText text);
extern void apikey_request_set_origin(ApikeyRequest *request, ApikeyText text);
extern void apikey_request_set_kinds(ApikeyRequest *request,
									 ApikeyPolicy *policy, Datum array);
extern void apikey_request_set_cost(ApikeyRequest *request, int32 cost);

/*
 * All of it from the arguments of apikey.verify and its like.
 */
extern void apikey_request_read(ApikeyRequest *request, ApikeyPolicy *policy,
								FunctionCallInfo fcinfo, bool ip_is_inet);

/*
 * A text argument that must not be looked at beyond max bytes: its size is
 * known before it is fetched and decompressed.
 */
extern ApikeyText apikey_text_argument(FunctionCallInfo fcinfo, int argno,
									   size_t max);

/* A text argument as it came, to be looked at later; NULL if not given. */
extern struct varlena *apikey_raw_argument(FunctionCallInfo fcinfo, int argno);

#endif							/* APIKEY_REQUEST_H */
