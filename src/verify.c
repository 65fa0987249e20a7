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
#include "buffer.h"
#include "catalog.h"
#include "compat.h"
#include "count.h"
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
		values[VERDICT_METADATA] = PointerGetDatum(&no_metadata);
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
 * How the columns of apikey.verdict are stored, as 70_verify.sql creates it.
 * The type's own descriptor says the same at several cache lines a column.
 */
static const struct
{
	int16		len;			/* -1: varlena */
	bool		byval;
	char		align;
}			storage[VERDICT_NCOLUMNS] =
{
	[VERDICT_OK] = {1, true, TYPALIGN_CHAR},
	[VERDICT_CODE] = {-1, false, TYPALIGN_INT},
	[VERDICT_STATUS] = {4, true, TYPALIGN_INT},
	[VERDICT_MESSAGE] = {-1, false, TYPALIGN_INT},
	[VERDICT_KEY_ID] = {UUID_LEN, false, TYPALIGN_CHAR},
	[VERDICT_ACCOUNT] = {-1, false, TYPALIGN_INT},
	[VERDICT_KIND] = {-1, false, TYPALIGN_INT},
	[VERDICT_NAME] = {-1, false, TYPALIGN_INT},
	[VERDICT_DB_ROLE] = {-1, false, TYPALIGN_INT},
	[VERDICT_SCOPES] = {-1, false, TYPALIGN_INT},
	[VERDICT_MISSING_SCOPES] = {-1, false, TYPALIGN_INT},
	[VERDICT_METADATA] = {-1, false, TYPALIGN_INT},
	[VERDICT_EXPIRES_AT] = {8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[VERDICT_LIMIT_NAME] = {-1, false, TYPALIGN_INT},
	[VERDICT_LIMIT_MAX] = {4, true, TYPALIGN_INT},
	[VERDICT_LIMIT_PER] = {4, true, TYPALIGN_INT},
	[VERDICT_LIMIT_REMAINING] = {4, true, TYPALIGN_INT},
	[VERDICT_LIMIT_RESET] = {4, true, TYPALIGN_INT},
	[VERDICT_RETRY_AFTER] = {4, true, TYPALIGN_INT},
	[VERDICT_CREDITS_REMAINING] = {8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE},
	[VERDICT_SESSION_ID] = {UUID_LEN, false, TYPALIGN_CHAR},
};

/* A row, and where in it the columns lie; 0: NULL */
typedef struct Row
{
	HeapTupleHeader data;
	Size		len;
	uint32		at[VERDICT_NCOLUMNS];
} Row;

/* BITMAPLEN() is no constant in every version */
#define ROW_HEADER	MAXALIGN(SizeofHeapTupleHeader + (VERDICT_NCOLUMNS + 7) / 8)

/*
 * The header of a row, all columns NULL, as the server makes it; NULL if the
 * type has other columns than ours.
 */
static const char *
row_header(void)
{
	static char header[ROW_HEADER];
	static uint64 made_for = 0;
	static bool fits;
	uint64		number = apikey_type_desc_number(APIKEY_TYPE_VERDICT);

	if (made_for != number)
	{
		TupleDesc	desc = apikey_type_desc(APIKEY_TYPE_VERDICT);
		Datum		values[VERDICT_NCOLUMNS] = {0};
		bool		nulls[VERDICT_NCOLUMNS];

		memset(nulls, true, sizeof(nulls));
		fits = desc->natts == VERDICT_NCOLUMNS;
		if (fits)
			memcpy(header, heap_form_tuple(desc, values, nulls)->t_data,
				   ROW_HEADER);
		made_for = number;
	}
	return fits ? header : NULL;
}

/*
 * A row of a type to which somebody has added columns: they are NULL.
 */
static void
form_wider_row(const Datum *values, const bool *nulls, Row *row)
{
	TupleDesc	desc = apikey_type_desc(APIKEY_TYPE_VERDICT);
	Datum	   *wider = palloc0(desc->natts * sizeof(Datum));
	bool	   *wider_nulls = palloc(desc->natts * sizeof(bool));
	int			count = Min(desc->natts, VERDICT_NCOLUMNS);
	HeapTuple	tuple;

	memset(wider_nulls, true, desc->natts * sizeof(bool));
	memcpy(wider, values, count * sizeof(Datum));
	memcpy(wider_nulls, nulls, count * sizeof(bool));
	tuple = heap_form_tuple(desc, wider, wider_nulls);
	row->data = tuple->t_data;
	row->len = 0;
}

/*
 * What heap_form_tuple() makes of these columns, none of which is toasted; but
 * a text keeps the header that it has.  A length of 0: not to be remembered.
 */
static void
form_row(const Datum *values, const bool *nulls, Row *row)
{
	const char *header = row_header();
	Size		room = ROW_HEADER;
	Size		end = ROW_HEADER;
	char	   *data;

	if (header == NULL)
	{
		form_wider_row(values, nulls, row);
		return;
	}

	for (int i = 0; i < VERDICT_NCOLUMNS; i++)
	{
		if (!nulls[i])
			room += MAXIMUM_ALIGNOF + (storage[i].len > 0 ? storage[i].len :
									   VARSIZE_ANY(DatumGetPointer(values[i])));
	}
	data = palloc0(room);
	memcpy(data, header, ROW_HEADER);
	row->data = (HeapTupleHeader) data;
	row->data->t_infomask |= HEAP_HASVARWIDTH;
	for (int i = 0; i < VERDICT_NCOLUMNS; i++)
	{
		Size		len;

		row->at[i] = 0;
		if (nulls[i])
			continue;
		row->data->t_bits[i >> 3] |= 1 << (i & 7);
		len = storage[i].len > 0 ? storage[i].len :
			VARSIZE_ANY(DatumGetPointer(values[i]));
		if (storage[i].len > 0 || !VARATT_IS_SHORT(DatumGetPointer(values[i])))
			end = att_align_nominal(end, storage[i].align);
		row->at[i] = end;
		if (storage[i].byval)
			store_att_byval(data + end, values[i], storage[i].len);
		else
			memcpy(data + end, DatumGetPointer(values[i]), len);
		end += len;
	}
	row->len = end;
	HeapTupleHeaderSetDatumLength(row->data, end);
}

/*
 * Form the row of a kept key that passes, and remember it for the next call.
 */
static Datum
form_and_note(const ApikeyDecision *d)
{
	const ApikeyAdmission *admission = &d->admission;
	ApikeyVerdictMemo *memo = &d->memo->verdict;
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	Row			row;

	apikey_verdict_values(d, values, nulls);
	form_row(values, nulls, &row);
	if (row.len == 0)
		return HeapTupleHeaderGetDatum(row.data);
	memo->desc = apikey_type_desc_number(APIKEY_TYPE_VERDICT);
	memo->limit = admission->has_limit ? admission->limit : 0;
	memo->limit_max = admission->limit_max;
	memo->has_credits = admission->has_credits;
	memo->remaining_at = row.at[VERDICT_LIMIT_REMAINING];
	memo->reset_at = row.at[VERDICT_LIMIT_RESET];
	memo->credits_at = row.at[VERDICT_CREDITS_REMAINING];
	apikey_keycache_note_row(d->key->kept, row.data, row.len);
	return HeapTupleHeaderGetDatum(row.data);
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

	if (memo->row == NULL ||
		memo->desc != apikey_type_desc_number(APIKEY_TYPE_VERDICT) ||
		memo->has_credits != admission->has_credits ||
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
	Row			row;

	/* not for keys that are used once */
	if (d->code == APIKEY_VALID && d->memo != NULL)
	{
		if (d->memo->used)
			return verdict_of_kept(d);
		d->memo->used = true;
	}
	apikey_verdict_values(d, values, nulls);
	form_row(values, nulls, &row);
	return HeapTupleHeaderGetDatum(row.data);
}

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
