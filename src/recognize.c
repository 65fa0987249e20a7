/*
 * recognize.c
 *		Which key, or session, a presented text stands for: the first steps of
 *		a decision.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "keycache.h"
#include "recognize.h"

/*
 * Note the end of a step that decides alone whether there are others.
 */
static bool
step_ends(ApikeyDecision *d, ApikeyTrace *trace, const char *step,
		  ApikeyCode code, const char *detail)
{
	if (trace)
		trace->note(trace, step, code == APIKEY_VALID, detail);
	d->code = code;
	return code != APIKEY_VALID;
}

/*
 * It is no key: a session's token?  That opens no session itself.  True if
 * that already decides.
 */
static bool
decide_before_session(ApikeyDecision *d, ApikeyTrace *trace)
{
	const ApikeyText *text = &d->request->key;
	ApikeyJwt	jwt;
	ApikeySessionFind found;

	if (text->too_long || d->request->opening != NULL ||
		!apikey_jwt_split(text->data, text->len, &jwt))
		return step_ends(d, trace, "key well-formed", APIKEY_KEY_INVALID,
						 "no kind has such keys, or the checksum is wrong");
	(void) step_ends(d, trace, "key well-formed", APIKEY_VALID,
					 "a session token");
	found = apikey_session_find(&jwt, GetCurrentTimestamp(), &d->session,
								&d->key_room);
	if (found == APIKEY_SESSION_FOUND)
	{
		d->is_session = true;
		d->key = &d->key_room;
		apikey_session_narrow(&d->session, &d->key_room);
	}
	return step_ends(d, trace, "key known",
					 found == APIKEY_SESSION_FOUND ? APIKEY_VALID :
					 found == APIKEY_SESSION_OVER ? APIKEY_KEY_EXPIRED :
					 APIKEY_KEY_INVALID,
					 found == APIKEY_SESSION_FOUND ? NULL :
					 found == APIKEY_SESSION_OVER ? "the session has expired" :
					 "no token of ours, or altered, or its session is gone");
}

/*
 * The key would be stored under a hash of the very text.
 */
static void
hashed_as_it_is(ApikeyDecision *d)
{
	d->hashed.data = d->request->key.data;
	d->hashed.len = d->request->key.len;
	d->hashed.algorithm = APIKEY_ALGORITHM_BLAKE2B;
}

/*
 * Find the key, also among those that were imported, if there are any.
 */
static ApikeyFind
find_key(ApikeyDecision *d, ApikeyCachedKey *kept, bool any_text)
{
	const ApikeyText *text = &d->request->key;
	ApikeyFind	found = apikey_find_kept(text->data, text->len, kept,
										 &d->key_room, &d->key);
	ApikeyFind	imported;

	hashed_as_it_is(d);
	if (found == APIKEY_FOUND || !any_text)
		return found;
	d->key = &d->key_room;
	imported = apikey_import_find(text->data, text->len,
								  d->request->ip_known ? &d->request->ip : NULL,
								  &d->key_room, &d->hashed);
	if (imported != APIKEY_UNKNOWN)
		return imported;
	/* it may have become a key like any other since we looked first */
	found = apikey_find(text->data, text->len, &d->key_room, &d->key);
	hashed_as_it_is(d);
	return found;
}

/*
 * Does any kind have such keys?  Of a kept key that is known for this policy.
 */
static bool
is_well_formed(ApikeyDecision *d, ApikeyCachedKey *kept)
{
	const ApikeyText *text = &d->request->key;
	const ApikeyKind *kinds;
	const ApikeyFormat *formats;
	int			nkinds;

	if (kept != NULL)
	{
		const ApikeyKeyMemo *memo = apikey_keycache_memo(kept);

		if (memo->well_formed && memo->policy == apikey_policy_number(d->policy))
			return true;
	}
	nkinds = apikey_policy_kinds(d->policy, &kinds, &formats);
	for (int i = 0; i < nkinds; i++)
	{
		if (apikey_token_matches(&formats[i], text->data, text->len))
			return true;
	}
	return false;
}

bool
apikey_recognize(ApikeyDecision *d, ApikeyTrace *trace)
{
	const ApikeyText *text = &d->request->key;
	bool		may_be_key = !text->too_long && text->len <= APIKEY_TOKEN_MAX;
	ApikeyCachedKey *kept = NULL;
	bool		well_formed;
	bool		any_text;
	ApikeyJwt	jwt;
	ApikeyFind	found;

	if (text->data == NULL || (text->len == 0 && !text->too_long))
		return step_ends(d, trace, "key present", APIKEY_KEY_MISSING,
						 "no key was given");
	(void) step_ends(d, trace, "key present", APIKEY_VALID, NULL);

	if (may_be_key)
		kept = apikey_keycache_find(text->data, text->len);
	if (kept != NULL)
		apikey_keycache_prefetch(kept);
	well_formed = may_be_key && is_well_formed(d, kept);
	any_text = may_be_key && apikey_imports_exist();
	found = well_formed || any_text ? find_key(d, kept, any_text) :
		APIKEY_UNKNOWN;
	if (!well_formed && found != APIKEY_FOUND &&
		(!any_text || apikey_jwt_split(text->data, text->len, &jwt)))
		return decide_before_session(d, trace);
	d->well_formed = well_formed;
	(void) step_ends(d, trace, "key well-formed", APIKEY_VALID,
					 well_formed ? NULL :
					 "no kind has such keys, but keys were imported");
	return step_ends(d, trace, "key known",
					 found == APIKEY_FOUND ? APIKEY_VALID :
					 found == APIKEY_UNKNOWN ? APIKEY_KEY_INVALID :
					 APIKEY_UNAVAILABLE,
					 found == APIKEY_FOUND ? NULL :
					 found == APIKEY_CANNOT_TELL ? "a pepper of stored keys is missing" :
					 found == APIKEY_TOO_BUSY ? "its slow hash cannot be tried just now" :
					 "no such key");
}
