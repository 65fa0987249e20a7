/*
 * spi_plan.h
 *		Statements that are prepared once per backend.
 */
#ifndef APIKEY_SPI_PLAN_H
#define APIKEY_SPI_PLAN_H

#include "postgres.h"

#include "executor/spi.h"

#define APIKEY_PLAN_ARGS_MAX	32

/* Static in the function that uses it; the last two members start as zero. */
typedef struct ApikeyPlan
{
	const char *query;
	int			nargs;
	Oid			types[APIKEY_PLAN_ARGS_MAX];	/* InvalidOid: apikey.scopes */
	SPIPlanPtr	plan;
	Oid			scopes_type;	/* for which it was prepared */
} ApikeyPlan;

/*
 * Execute between SPI_connect() and SPI_finish(); any other result than the
 * expected one is an error.  With latest, a query sees what is committed this
 * very moment whatever the isolation level, and writes nothing.
 */
extern void apikey_plan_execute(ApikeyPlan *plan, Datum *values,
								const char *nulls, int expected);
extern void apikey_plan_query_latest(ApikeyPlan *plan, Datum *values,
									 const char *nulls);

/* The same for a statement that writes, with arguments that are not null. */
extern void apikey_plan_execute_latest(ApikeyPlan *plan, Datum *values,
									   int expected);

#endif							/* APIKEY_SPI_PLAN_H */
