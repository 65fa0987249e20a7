/*
 * scopes.h
 *		The SQL type apikey.scopes as the rest of the module sees it.
 */
#ifndef APIKEY_SCOPES_H
#define APIKEY_SCOPES_H

#include "postgres.h"

#include "scope.h"

/* Look into a value, which must stay where it is; errors if it is damaged. */
extern ApikeyGrants apikey_scopes_open(const struct varlena *value);

/*
 * Make a value of grants that need not be sorted or unique.  A grant that is
 * not well-formed, or too many of them, is an error: 22023 about the argument,
 * or without one 22P02 (soft if escontext allows; then NULL).
 */
extern struct varlena *apikey_scopes_make(ApikeySlice *items, int count,
										  const char *argument,
										  struct Node *escontext);

/* The same as a text[]. */
extern Datum apikey_slices_to_array(const ApikeySlice *items, int count);
extern Datum apikey_scopes_array(const ApikeyGrants *set);

/*
 * Elements of a text[] argument, without copies: one dimension, no NULLs, at
 * most max elements; anything else is an error 22023 about the argument.
 */
extern ApikeySlice *apikey_text_array(Datum array, const char *argument,
									  int max, int *count);

#endif							/* APIKEY_SCOPES_H */
