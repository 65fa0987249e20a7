/*
 * context.h
 *		Sealed contexts: an identity as a text that nobody can forge.
 */
#ifndef APIKEY_CONTEXT_H
#define APIKEY_CONTEXT_H

#include "postgres.h"

#include "identity.h"

extern void apikey_context_init(void);

/*
 * Seal the identity of a decision that is valid, until a time; as text.
 * Error 55000 if there is nothing to seal with.
 */
extern text *apikey_context_seal(const ApikeyDecision *decision,
								 TimestampTz expires);

/*
 * The identity that the setting apikey.context binds in this transaction, NULL
 * if none; good until something runs.
 */
extern const ApikeyIdentity *apikey_context_identity(void);

/* The same as it was found last, without reading anything. */
extern const ApikeyIdentity *apikey_context_identity_bound(void);

#endif							/* APIKEY_CONTEXT_H */
