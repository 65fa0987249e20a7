/*
 * query.h
 *		What a request needs: scopes combined by AND and OR.
 *
 *	query  = and { ("|" | "or") and }
 *	and    = factor { [ "&" | "," | "and" ] factor }
 *	factor = scope | "(" query ")"
 *
 * Blanks separate; two factors side by side mean AND; the words in any letter
 * case.  Terms are scopes without wildcard.  The empty text is a fault.
 *
 * Pure: no server headers, no allocation, no global state.  Parsing does not
 * recurse without bound: nesting is limited.
 */
#ifndef APIKEY_QUERY_H
#define APIKEY_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scope.h"

#define APIKEY_QUERY_MAX		1000	/* bytes of text */
#define APIKEY_QUERY_TERMS_MAX	100
#define APIKEY_QUERY_NODES_MAX	(2 * APIKEY_QUERY_TERMS_MAX - 1)
#define APIKEY_QUERY_DEPTH_MAX	32	/* parentheses inside each other */

typedef enum ApikeyQueryOp
{
	APIKEY_QUERY_TERM,
	APIKEY_QUERY_AND,
	APIKEY_QUERY_OR
} ApikeyQueryOp;

/* Postfix: binary operators after their two operands. */
typedef struct ApikeyQueryNode
{
	uint8_t		op;
	uint8_t		len;			/* of a term */
	uint16_t	off;			/* of a term, in the text */
} ApikeyQueryNode;

typedef struct ApikeyQuery
{
	const char *text;			/* as given to parse; must outlive the query */
	int			nnodes;
	int			nterms;
	ApikeyQueryNode node[APIKEY_QUERY_NODES_MAX];
} ApikeyQuery;

/* Answers whether a term is held. */
typedef bool (*ApikeyQueryHeld) (const char *scope, size_t len, void *arg);

/*
 * Parse.  NULL if well-formed, else the fault as a lower-case phrase; then
 * *position is the byte offset (from 0) where it was noticed.
 */
extern const char *apikey_query_parse(const char *text, size_t len,
									  ApikeyQuery *query, size_t *position);

extern bool apikey_query_eval(const ApikeyQuery *query,
							  ApikeyQueryHeld held, void *arg);

/*
 * The terms that are missing, without duplicates, in order of appearance: of
 * an AND the union, of an OR those of the branch that lacks least, leftmost
 * on a tie.  Returns their number (0: satisfied); out has room for
 * APIKEY_QUERY_TERMS_MAX.
 */
extern int	apikey_query_missing(const ApikeyQuery *query,
								 ApikeyQueryHeld held, void *arg,
								 ApikeySlice *out);

/*
 * Canonical text: " & " and " | ", parentheses only around an OR inside an
 * AND.  Where that would take more than APIKEY_QUERY_MAX bytes the blanks are
 * left out, and "&" beside a parenthesis too: no text of the same query is
 * shorter, so that the canonical text can always be parsed again, and gives
 * an equal query.  out has room for APIKEY_QUERY_CANONICAL_MAX bytes (for the
 * work, not the result); returns the length (no NUL).
 */
#define APIKEY_QUERY_CANONICAL_MAX	(4 * APIKEY_QUERY_MAX)
extern size_t apikey_query_print(const ApikeyQuery *query, char *out);

#endif							/* APIKEY_QUERY_H */
