/*
 * verify.h
 *		apikey.verify and apikey.explain.
 */
#ifndef APIKEY_VERIFY_H
#define APIKEY_VERIFY_H

#include "postgres.h"

#include "fmgr.h"

#include "decide.h"

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

/* What SQL calls */
extern PGDLLEXPORT Datum apikey_sql_verify(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum apikey_sql_verify_inet(PG_FUNCTION_ARGS);

#endif							/* APIKEY_VERIFY_H */
