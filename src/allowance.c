/*
 * allowance.c
 *		SQL functions that look at limits, quotas and credits, and empty the
 *		window of a limit.
 *
 * Nothing is used or loaded here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "admit.h"
#include "apikey.h"
#include "compat.h"
#include "crypto.h"
#include "limits.h"
#include "meter.h"
#include "consumed.h"

/* Columns of apikey.limits_now() */
enum
{
	NOW_NAME, NOW_MAX, NOW_PER, NOW_USED, NOW_REMAINING, NOW_RESETS_AT,
	NOW_NCOLUMNS
};

/* Arguments that name a key; columns of apikey.credit */
enum
{
	ARG_KEY_ID, ARG_LINEAGE, ARG_ACCOUNT, ARG_KIND, ARG_NAME
};

#define CREDIT_EPOCH	3

static void
meter_of(const ApikeyLimit *limit, const pg_uuid_t *lineage,
		 const char *account, ApikeyMeter *meter)
{
	memset(meter, 0, sizeof(*meter));
	meter->sort = APIKEY_METER_WINDOW;
	if (limit->shared)
		apikey_meter_of_account(&meter->key, account, strlen(account));
	else
		apikey_meter_of_key(&meter->key, lineage);
	meter->key.name = limit->meter;
	meter->max = apikey_limit_max_here(limit);
	meter->cost = 1;
	meter->per = limit->per;
}

/*
 * The limits that bind the key of the arguments.
 */
static int
limits_of_arguments(FunctionCallInfo fcinfo, const char **account,
					const ApikeyLimit *const **limits)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(ARG_KIND));

	*account = text_to_cstring(PG_GETARG_TEXT_PP(ARG_ACCOUNT));
	AcceptInvalidationMessages();
	return apikey_limits_of(PG_GETARG_UUID_P(ARG_KEY_ID), *account,
							strlen(*account), kind, strlen(kind), limits);
}

PG_FUNCTION_INFO_V1(apikey_sql_limits_now);

/*
 * apikey.limits_now(key_id, lineage, account, kind)
 *		returns table (name, max, per, used, remaining, resets_at)
 */
Datum
apikey_sql_limits_now(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const ApikeyLimit *const *limits;
	const char *account;
	int			count;

	apikey_require_preload("apikey.limits");
	InitMaterializedSRF(fcinfo, 0);
	for (int i = ARG_KEY_ID; i <= ARG_KIND; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	}
	count = limits_of_arguments(fcinfo, &account, &limits);
	for (int i = 0; i < count; i++)
	{
		Datum		values[NOW_NCOLUMNS];
		bool		nulls[NOW_NCOLUMNS] = {false};
		Interval	per = {.time = limits[i]->per};
		ApikeyMeter meter;

		meter_of(limits[i], PG_GETARG_UUID_P(ARG_LINEAGE), account, &meter);
		apikey_meters_look(&meter, 1);
		values[NOW_NAME] = CStringGetTextDatum(limits[i]->name);
		values[NOW_MAX] = Int32GetDatum(meter.max);
		values[NOW_PER] = IntervalPGetDatum(&per);
		values[NOW_USED] = Int32GetDatum(Min(meter.used, PG_INT32_MAX));
		values[NOW_REMAINING] = Int32GetDatum(Max(meter.max - meter.used, 0));
		nulls[NOW_RESETS_AT] = meter.used == 0;
		values[NOW_RESETS_AT] =
			TimestampTzGetDatum(GetCurrentTimestamp() +
								meter.reset / APIKEY_TICKS_PER_USEC);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(apikey_sql_clear_limit);

/*
 * apikey.clear_limit(key_id, lineage, account, kind, name) returns boolean
 *		Was something used?  NULL if no limit of this name binds the key.
 */
Datum
apikey_sql_clear_limit(PG_FUNCTION_ARGS)
{
	const ApikeyLimit *const *limits;
	const char *account;
	char	   *name;
	int			count;

	apikey_require_preload("apikey.reset_limit()");
	for (int i = ARG_KEY_ID; i <= ARG_NAME; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	}
	name = text_to_cstring(PG_GETARG_TEXT_PP(ARG_NAME));
	count = limits_of_arguments(fcinfo, &account, &limits);
	for (int i = 0; i < count; i++)
	{
		ApikeyMeter meter;

		if (strcmp(limits[i]->name, name) != 0)
			continue;
		meter_of(limits[i], PG_GETARG_UUID_P(ARG_LINEAGE), account, &meter);
		PG_RETURN_BOOL(apikey_meter_clear(&meter));
	}
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(apikey_sql_requests_today);

/*
 * apikey.requests_today(account) returns bigint
 *		What the quota counts, whether there is one or not.
 */
Datum
apikey_sql_requests_today(PG_FUNCTION_ARGS)
{
	char	   *account = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_INT64(apikey_consumed_quota(account, strlen(account),
									   GetCurrentTimestamp() / USECS_PER_DAY));
}

/*
 * Credits spent, from memory if they are there.
 */
static int64
spent_under(uint64 epoch)
{
	ApikeyMeter meter;

	memset(&meter, 0, sizeof(meter));
	meter.sort = APIKEY_METER_CREDITS;
	if (apikey_preloaded)
	{
		apikey_meter_of_epoch(&meter.key, epoch);
		apikey_meters_look(&meter, 1);
	}
	return meter.known ? meter.used : apikey_consumed_credits(epoch);
}

PG_FUNCTION_INFO_V1(apikey_sql_credits_spent);

/*
 * apikey.credits_spent(epoch) returns bigint
 */
Datum
apikey_sql_credits_spent(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(spent_under((uint64) PG_GETARG_INT64(0)));
}

/*
 * Decode an argument of type apikey.credit; false for a row of NULLs.
 */
static bool
credit_argument(FunctionCallInfo fcinfo, ApikeyCredit *credit)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row),
											  HeapTupleHeaderGetTypMod(row));
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTupleData tuple;
	bool		given;

	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, nulls);
	given = !nulls[CREDIT_EPOCH - 1];
	if (given)
		apikey_credit_decode(values, nulls, credit);
	ReleaseTupleDesc(desc);
	return given;
}

PG_FUNCTION_INFO_V1(apikey_sql_credit_period);

/*
 * apikey.credit_period(credit apikey.credit) returns bigint
 */
Datum
apikey_sql_credit_period(PG_FUNCTION_ARGS)
{
	ApikeyCredit credit;
	TimestampTz end;

	if (!credit_argument(fcinfo, &credit))
		PG_RETURN_NULL();
	PG_RETURN_INT64(apikey_credit_period(&credit, GetCurrentTimestamp(), &end));
}

PG_FUNCTION_INFO_V1(apikey_sql_credit_balance);

/*
 * apikey.credit_balance(credit apikey.credit) returns bigint
 */
Datum
apikey_sql_credit_balance(PG_FUNCTION_ARGS)
{
	ApikeyCredit credit;
	TimestampTz end;
	int64		period;

	if (!credit_argument(fcinfo, &credit))
		PG_RETURN_NULL();
	period = apikey_credit_period(&credit, GetCurrentTimestamp(), &end);
	PG_RETURN_INT64(Max(apikey_credit_granted(&credit, period) -
						spent_under(credit.epoch + period), 0));
}

PG_FUNCTION_INFO_V1(apikey_sql_new_epoch);

/*
 * apikey.new_epoch() returns bigint
 *		Random, positive, and far from where adding refills overflows.
 */
Datum
apikey_sql_new_epoch(PG_FUNCTION_ARGS)
{
	uint64		epoch;

	apikey_random(&epoch, sizeof(epoch));
	PG_RETURN_INT64((int64) ((epoch >> 2) | 1));
}
