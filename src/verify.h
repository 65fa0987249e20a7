/*
 * verify.h
 *		apikey.verify and apikey.explain: a decision as a row.
 */
#ifndef APIKEY_VERIFY_H
#define APIKEY_VERIFY_H

#include "postgres.h"

#include "fmgr.h"

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
 * Judge a request and count it: what everything that lets a request in calls.
 */
extern void apikey_verify_request(ApikeyDecision *decision,
								  const ApikeyRequest *request,
								  ApikeyPolicy *policy);

/* The same for one in which no credential can be made out. */
extern void apikey_verify_bad_request(ApikeyDecision *decision,
									  const ApikeyRequest *request,
									  ApikeyPolicy *policy);

/* A decision as the columns of apikey.verdict, and as a row of that type */
extern void apikey_verdict_values(const ApikeyDecision *decision,
								  Datum *values, bool *nulls);
extern Datum apikey_verdict_datum(const ApikeyDecision *decision);

/* What SQL calls */
extern PGDLLEXPORT Datum apikey_sql_verify(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum apikey_sql_verify_inet(PG_FUNCTION_ARGS);

extern void apikey_verify_init(void);

#endif							/* APIKEY_VERIFY_H */
