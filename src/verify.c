/*
 * verify.c
 *		apikey.verify and apikey.explain.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "apikey.h"
#include "buffer.h"
#include "count.h"
#include "decide.h"
#include "verdict.h"
#include "verify.h"

/* Collects the rows of apikey.explain */
typedef struct Explanation
{
	ApikeyTrace trace;
	ReturnSetInfo *result;
} Explanation;

void
apikey_verify_request(ApikeyDecision *decision, const ApikeyRequest *request,
					  ApikeyPolicy *policy)
{
	apikey_buffer_prefetch();
	apikey_decide(decision, request, policy, NULL);
	apikey_count_verify(decision);
}

void
apikey_verify_bad_request(ApikeyDecision *decision,
						  const ApikeyRequest *request, ApikeyPolicy *policy)
{
	memset(decision, 0, sizeof(*decision));
	decision->request = request;
	decision->policy = policy;
	decision->code = APIKEY_BAD_REQUEST;
	apikey_count_verify(decision);
}

static Datum
verify(FunctionCallInfo fcinfo, bool ip_is_inet)
{
	ApikeyRequest request;
	ApikeyDecision decision;
	ApikeyPolicy *policy;

	apikey_require_preload("apikey.verify()");
	policy = apikey_policy();
	apikey_request_read(&request, policy, fcinfo, ip_is_inet);
	apikey_verify_request(&decision, &request, policy);
	return apikey_verdict_return(fcinfo, &decision);
}

PG_FUNCTION_INFO_V1(apikey_sql_verify);

/*
 * apikey.verify(key, required, ip text, origin, account, kinds, cost, method,
 *				 path, request_id) returns apikey.verdict
 *		Judges one request.  A bad credential is a verdict, never an error;
 *		errors: 22023 for a programmer's fault, 55000 if not preloaded.
 */
Datum
apikey_sql_verify(PG_FUNCTION_ARGS)
{
	return verify(fcinfo, false);
}

PG_FUNCTION_INFO_V1(apikey_sql_verify_inet);

/*
 * The same with ip inet.
 */
Datum
apikey_sql_verify_inet(PG_FUNCTION_ARGS)
{
	return verify(fcinfo, true);
}

static void
note_step(ApikeyTrace *trace, const char *step, bool passed,
		  const char *detail)
{
	Explanation *explanation = (Explanation *) trace;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(step);
	values[1] = BoolGetDatum(passed);
	nulls[2] = detail == NULL;
	values[2] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	tuplestore_putvalues(explanation->result->setResult,
						 explanation->result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(apikey_sql_explain);

/*
 * apikey.explain(arguments of verify) returns table (step, passed, detail)
 *		Dry run: every check is made and shown, the verdict last.
 */
Datum
apikey_sql_explain(PG_FUNCTION_ARGS)
{
	ApikeyRequest request;
	ApikeyDecision decision;
	ApikeyPolicy *policy;
	Explanation explanation = {.trace.note = note_step};

	apikey_require_preload("apikey.explain()");
	InitMaterializedSRF(fcinfo, 0);
	explanation.result = (ReturnSetInfo *) fcinfo->resultinfo;
	policy = apikey_policy();
	apikey_request_read(&request, policy, fcinfo, false);
	apikey_decide(&decision, &request, policy, &explanation.trace);
	note_step(&explanation.trace, "verdict", decision.code == APIKEY_VALID,
			  apikey_codes[decision.code].name);
	PG_RETURN_NULL();
}
