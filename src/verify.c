/*
 * verify.c
 *		apikey.verify and apikey.explain: a decision as a row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "apikey.h"
#include "catalog.h"
#include "count.h"
#include "compat.h"
#include "decide.h"
#include "keycache.h"
#include "scopes.h"
#include "verify.h"

/* Collects the rows of apikey.explain */
typedef struct Explanation
{
	ApikeyTrace trace;
	ReturnSetInfo *result;
} Explanation;

/* The jsonb {} */
static struct
{
	int32		vl_len_;
	uint32		header;
}			no_metadata;

/* Names and messages of the codes, as text */
static struct
{
	Datum		name;
	Datum		message;
}			code_texts[APIKEY_NCODES];

/*
 * Columns that only a known key has.
 */
static void
fill_key_columns(const ApikeyDecision *d, Datum *values, bool *nulls)
{
	static const struct
	{
		int			column;
		ApikeyKeyColumn source;
	}			plain[] =
	{
		{VERDICT_KEY_ID, KEY_KEY_ID},
		{VERDICT_ACCOUNT, KEY_ACCOUNT},
		{VERDICT_KIND, KEY_KIND},
		{VERDICT_NAME, KEY_NAME},
		{VERDICT_DB_ROLE, KEY_DB_ROLE},
		{VERDICT_METADATA, KEY_METADATA},
		{VERDICT_EXPIRES_AT, KEY_EXPIRES_AT},
	};

	for (int i = 0; i < lengthof(plain); i++)
	{
		values[plain[i].column] = d->key->value[plain[i].source];
		nulls[plain[i].column] = d->key->null[plain[i].source];
	}
	if (d->is_session)
		values[VERDICT_KIND] = CStringGetTextDatum("session");
	if (nulls[VERDICT_DB_ROLE] && d->kind != NULL && d->kind->db_role != NULL)
	{
		values[VERDICT_DB_ROLE] = CStringGetTextDatum(d->kind->db_role);
		nulls[VERDICT_DB_ROLE] = false;
	}
	if (nulls[VERDICT_METADATA])
	{
		values[VERDICT_METADATA] = JsonbPGetDatum(&no_metadata);
		nulls[VERDICT_METADATA] = false;
	}
	values[VERDICT_SCOPES] = apikey_scopes_array(&d->grants);
	nulls[VERDICT_SCOPES] = false;
	if (d->nmissing > 0)
	{
		values[VERDICT_MISSING_SCOPES] = apikey_slices_to_array(d->missing,
																d->nmissing);
		nulls[VERDICT_MISSING_SCOPES] = false;
	}
}

/*
 * Columns behind expires_at: they may differ from call to call.
 */
static void
fill_last_columns(const ApikeyDecision *d, Datum *values, bool *nulls)
{
	const ApikeyAdmission *admission = &d->admission;

	for (int i = VERDICT_LIMIT_NAME; i < VERDICT_NCOLUMNS; i++)
		nulls[i] = true;
	if (admission->has_limit)
	{
		values[VERDICT_LIMIT_NAME] = CStringGetTextDatum(admission->limit_name);
		values[VERDICT_LIMIT_MAX] = Int32GetDatum(admission->limit_max);
		values[VERDICT_LIMIT_PER] = Int32GetDatum(admission->limit_per);
		values[VERDICT_LIMIT_REMAINING] =
			Int32GetDatum(admission->limit_remaining);
		values[VERDICT_LIMIT_RESET] = Int32GetDatum(admission->limit_reset);
		memset(nulls + VERDICT_LIMIT_NAME, false, 5 * sizeof(bool));
	}
	values[VERDICT_RETRY_AFTER] = Int32GetDatum(admission->retry_after);
	nulls[VERDICT_RETRY_AFTER] = !admission->has_retry_after;
	values[VERDICT_CREDITS_REMAINING] =
		Int64GetDatum(admission->credits_remaining);
	nulls[VERDICT_CREDITS_REMAINING] = !admission->has_credits;
	if (d->is_session)
	{
		values[VERDICT_SESSION_ID] = d->session.value[SESSION_SESSION_ID];
		nulls[VERDICT_SESSION_ID] = false;
	}
}

void
apikey_verify_init(void)
{
	MemoryContext old;

	SET_VARSIZE(&no_metadata, sizeof(no_metadata));
	no_metadata.header = JB_FOBJECT;
	old = MemoryContextSwitchTo(TopMemoryContext);
	for (int i = 0; i < APIKEY_NCODES; i++)
	{
		code_texts[i].name = CStringGetTextDatum(apikey_codes[i].name);
		code_texts[i].message = CStringGetTextDatum(apikey_codes[i].message);
	}
	MemoryContextSwitchTo(old);
}

void
apikey_verdict_values(const ApikeyDecision *d, Datum *values, bool *nulls)
{
	const ApikeyCodeInfo *info = &apikey_codes[d->code];

	memset(nulls, true, VERDICT_NCOLUMNS * sizeof(bool));
	values[VERDICT_OK] = BoolGetDatum(d->code == APIKEY_VALID);
	values[VERDICT_CODE] = code_texts[d->code].name;
	values[VERDICT_STATUS] = Int32GetDatum(info->status);
	values[VERDICT_MESSAGE] = code_texts[d->code].message;
	memset(nulls, false, VERDICT_MESSAGE + 1);
	if (d->known)
	{
		fill_key_columns(d, values, nulls);
		fill_last_columns(d, values, nulls);
	}
}

/*
 * Where a column's value lies in a row; 0 if it is NULL.
 */
static uint16
place_of(HeapTuple row, TupleDesc desc, ApikeyVerdictColumn column)
{
	Size		at = row->t_data->t_hoff;

	if (heap_attisnull(row, column + 1, desc))
		return 0;
	for (int i = 0; i <= column; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (heap_attisnull(row, i + 1, desc))
			continue;
		at = att_align_pointer(at, att->attalign, att->attlen,
							   (char *) row->t_data + at);
		if (i < column)
			at = att_addlength_pointer(at, att->attlen,
									   (char *) row->t_data + at);
	}
	return at <= PG_UINT16_MAX ? at : 0;
}

/*
 * Form the row of a kept key that passes, and remember it for the next call.
 */
static Datum
form_and_note(const ApikeyDecision *d)
{
	const ApikeyAdmission *admission = &d->admission;
	ApikeyVerdictMemo *memo = &d->memo->verdict;
	TupleDesc	desc = apikey_type_desc(APIKEY_TYPE_VERDICT);
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	HeapTuple	row;

	apikey_verdict_values(d, values, nulls);
	row = heap_form_tuple(desc, values, nulls);
	memo->limit = admission->has_limit ? admission->limit : 0;
	memo->limit_max = admission->limit_max;
	memo->has_credits = admission->has_credits;
	memo->remaining_at = place_of(row, desc, VERDICT_LIMIT_REMAINING);
	memo->reset_at = place_of(row, desc, VERDICT_LIMIT_RESET);
	memo->credits_at = place_of(row, desc, VERDICT_CREDITS_REMAINING);
	/* a row that is too long for its places is formed each time */
	if ((memo->remaining_at != 0) == admission->has_limit &&
		(memo->reset_at != 0) == admission->has_limit &&
		(memo->credits_at != 0) == admission->has_credits)
		apikey_keycache_note_row(d->key->kept, row->t_data, row->t_len);
	return HeapTupleGetDatum(row);
}

/*
 * The row of a kept key that passes differs from call to call in what is left
 * only, as long as it is the same limit that has the least left.
 */
static Datum
verdict_of_kept(const ApikeyDecision *d)
{
	const ApikeyAdmission *admission = &d->admission;
	const ApikeyVerdictMemo *memo = &d->memo->verdict;
	char	   *row;

	if (memo->row == NULL || memo->has_credits != admission->has_credits ||
		(memo->remaining_at != 0) != admission->has_limit ||
		(admission->has_limit && (memo->limit != admission->limit ||
								  memo->limit_max != admission->limit_max)))
		return form_and_note(d);
	row = palloc(memo->len);
	memcpy(row, memo->row, memo->len);
	if (admission->has_limit)
	{
		memcpy(row + memo->remaining_at, &admission->limit_remaining,
			   sizeof(int32));
		memcpy(row + memo->reset_at, &admission->limit_reset, sizeof(int32));
	}
	if (admission->has_credits)
		memcpy(row + memo->credits_at, &admission->credits_remaining,
			   sizeof(int64));
	return HeapTupleHeaderGetDatum((HeapTupleHeader) row);
}

Datum
apikey_verdict_datum(const ApikeyDecision *d)
{
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];

	/* not for keys that are used once */
	if (d->code == APIKEY_VALID && d->memo != NULL)
	{
		if (d->memo->used)
			return verdict_of_kept(d);
		d->memo->used = true;
	}
	apikey_verdict_values(d, values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(apikey_type_desc(APIKEY_TYPE_VERDICT),
											 values, nulls));
}

void
apikey_verify_request(ApikeyDecision *decision, const ApikeyRequest *request,
					  ApikeyPolicy *policy)
{
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
	return apikey_verdict_datum(&decision);
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
