/*
 * authenticate.c
 *		apikey.authenticate: verify a key and work for it until the end of
 *		the transaction; and the errors by which it refuses.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"

#include "apikey.h"
#include "compat.h"
#include "identity.h"
#include "verdict.h"
#include "verify.h"

/*
 * Made for the API's caller, who may be a stranger: what the detail does not
 * tell apart, the hint must not either.  Statement and context stay out of
 * the log, as they may contain the key.
 */
void
apikey_refuse(const ApikeyDecision *decision)
{
	const ApikeyCodeInfo *info = &apikey_codes[decision->code];
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	char		retry_after[16] = "null";

	apikey_verdict_values(decision, values, nulls);
	if (!nulls[VERDICT_RETRY_AFTER])
		snprintf(retry_after, sizeof(retry_after), "%d",
				 DatumGetInt32(values[VERDICT_RETRY_AFTER]));
	ereport_domain(ERROR, APIKEY_REFUSAL_DOMAIN,
				   (errcode(ERRCODE_APIKEY_STATUS(info->status)),
					errmsg_internal("%s", info->message),
					errdetail_internal("{\"code\": \"%s\", \"status\": %d, \"retry_after\": %s}",
									   info->public_name, info->status,
									   retry_after),
					errhint("Answer with this status and message; apikey.stats_by_code and apikey.recent_errors have the exact reason."),
					errhidestmt(true),
					errhidecontext(true)));
	pg_unreachable();
}

/*
 * Outside a transaction block the identity would end with the very statement
 * that takes it.
 */
static void
require_transaction_block(void)
{
	if (!IsTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("apikey.authenticate() can only be used in a transaction block"),
				 errdetail("The identity that it takes ends with the transaction."),
				 errhint("Send BEGIN first, or use apikey.verify().")));
}

PG_FUNCTION_INFO_V1(apikey_sql_authenticate);

/*
 * apikey.authenticate(arguments of verify) returns apikey.verdict
 *		Binds the key's identity to the transaction.  Errors: class KA for a
 *		refusal, 22023 for a programmer's fault, 25P01 outside a transaction
 *		block, 55000 if not preloaded.
 */
Datum
apikey_sql_authenticate(PG_FUNCTION_ARGS)
{
	ApikeyRequest request;
	ApikeyDecision decision;
	ApikeyPolicy *policy;

	apikey_require_preload("apikey.authenticate()");
	require_transaction_block();
	policy = apikey_policy();
	apikey_request_read(&request, policy, fcinfo, false);
	apikey_verify_request(&decision, &request, policy);
	if (decision.code != APIKEY_VALID)
		apikey_refuse(&decision);
	apikey_identity_take(&decision);
	return apikey_verdict_return(fcinfo, &decision);
}
