/*
 * spi_plan.c
 *		Statements that are prepared once per backend.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "catalog.h"
#include "spi_plan.h"

/*
 * Prepare, again if the extension was dropped and created since: its types
 * then have new numbers.
 */
static void
prepare(ApikeyPlan *plan)
{
	Oid			scopes_type = apikey_type(APIKEY_TYPE_SCOPES);
	Oid			types[APIKEY_PLAN_ARGS_MAX];

	if (plan->plan != NULL && plan->scopes_type == scopes_type)
		return;
	if (plan->plan != NULL)
	{
		SPI_freeplan(plan->plan);
		plan->plan = NULL;
	}
	for (int i = 0; i < plan->nargs; i++)
		types[i] = OidIsValid(plan->types[i]) ? plan->types[i] : scopes_type;
	plan->plan = SPI_prepare(plan->query, plan->nargs, types);
	if (plan->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan->plan);
	plan->scopes_type = scopes_type;
}

static void
execute(ApikeyPlan *plan, Datum *values, const char *nulls, bool read_only,
		int expected)
{
	int			result = SPI_execute_plan(plan->plan, values, nulls,
										  read_only, 0);

	if (result != expected)
		elog(ERROR, "SPI_execute_plan returned %s",
			 SPI_result_code_string(result));
}

void
apikey_plan_execute(ApikeyPlan *plan, Datum *values, const char *nulls,
					int expected)
{
	prepare(plan);
	execute(plan, values, nulls, false, expected);
}

void
apikey_plan_execute_latest(ApikeyPlan *plan, Datum *values, int expected)
{
	int			result;

	prepare(plan);
	result = SPI_execute_snapshot(plan->plan, values, NULL, GetLatestSnapshot(),
								  InvalidSnapshot, false, true, 0);
	if (result != expected)
		elog(ERROR, "SPI_execute_snapshot returned %s",
			 SPI_result_code_string(result));
}

void
apikey_plan_query_latest(ApikeyPlan *plan, Datum *values, const char *nulls)
{
	prepare(plan);
	PushActiveSnapshot(GetLatestSnapshot());
	execute(plan, values, nulls, true, SPI_OK_SELECT);
	PopActiveSnapshot();
}
