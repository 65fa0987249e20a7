/*
 * verdict.h
 *		A decision as a row of type apikey.verdict, or as its columns.
 */
#ifndef APIKEY_VERDICT_H
#define APIKEY_VERDICT_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/nodes.h"

#include "decide.h"

/* Columns of apikey.verdict */
typedef enum ApikeyVerdictColumn
{
	VERDICT_OK, VERDICT_CODE, VERDICT_STATUS, VERDICT_MESSAGE,
	VERDICT_KEY_ID, VERDICT_ACCOUNT, VERDICT_KIND, VERDICT_NAME,
	VERDICT_DB_ROLE, VERDICT_SCOPES, VERDICT_MISSING_SCOPES,
	VERDICT_METADATA, VERDICT_EXPIRES_AT, VERDICT_LIMIT_NAME,
	VERDICT_LIMIT_MAX, VERDICT_LIMIT_PER, VERDICT_LIMIT_REMAINING,
	VERDICT_LIMIT_RESET, VERDICT_RETRY_AFTER, VERDICT_CREDITS_REMAINING,
	VERDICT_SESSION_ID, VERDICT_NCOLUMNS
} ApikeyVerdictColumn;

/*
 * A decision as the columns of apikey.verdict.  They are good as long as the
 * decision and the key in it are.
 */
extern void apikey_verdict_values(const ApikeyDecision *decision,
								  Datum *values, bool *nulls);

/*
 * What a caller that wants columns, and no row of them, gives as the context of
 * a call.  If they are filled in, what is returned is nothing; else it is a
 * row as ever.  What they refer to lies in the memory context of the call.
 */
typedef struct ApikeyVerdictColumns
{
	NodeTag		type;			/* these two are an ExtensibleNode */
	const char *name;
	bool		filled;
	Datum		value[VERDICT_NCOLUMNS];
	bool		null[VERDICT_NCOLUMNS];
} ApikeyVerdictColumns;

extern void apikey_verdict_columns_init(ApikeyVerdictColumns *columns);

/* What a function that returns apikey.verdict returns. */
extern Datum apikey_verdict_return(FunctionCallInfo fcinfo,
								   const ApikeyDecision *decision);

extern void apikey_verdict_init(void);

#endif							/* APIKEY_VERDICT_H */
