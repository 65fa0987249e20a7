/*
 * verdict.c
 *		A decision as a row of type apikey.verdict, or as its columns.
 *
 * The row of a kept key that passes is kept with it, and copied.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "compat.h"
#include "keycache.h"
#include "scopes.h"
#include "verdict.h"

static const char columns_name[] = "apikey verdict columns";

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
apikey_verdict_init(void)
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
 * What heap_form_tuple() makes of the columns, none of which is toasted; but
 * a text keeps the header that it has.  A length of 0: not to be remembered.
 */
static void
form_row(const ApikeyDecision *d, Row *row)
{
	const char *header = row_header();
	Datum		values[VERDICT_NCOLUMNS];
	bool		nulls[VERDICT_NCOLUMNS];
	Size		room = ROW_HEADER;
	Size		end = ROW_HEADER;
	char	   *data;

	apikey_verdict_values(d, values, nulls);
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
 * Form the row of a kept key that passes, and remember it for the next call,
 * and behind it where its columns are.
 */
static Datum
form_and_note(const ApikeyDecision *d)
{
	const ApikeyAdmission *admission = &d->admission;
	ApikeyVerdictMemo *memo = &d->memo->verdict;
	Row			row;
	Size		len;
	char	   *kept;

	form_row(d, &row);
	if (row.len == 0)
		return HeapTupleHeaderGetDatum(row.data);
	len = MAXALIGN(row.len);
	kept = palloc0(len + sizeof(row.at));
	memcpy(kept, row.data, row.len);
	memcpy(kept + len, row.at, sizeof(row.at));
	memo->desc = apikey_type_desc_number(APIKEY_TYPE_VERDICT);
	memo->limit = admission->has_limit ? admission->limit : 0;
	memo->limit_max = admission->limit_max;
	memo->has_limit = admission->has_limit;
	memo->has_credits = admission->has_credits;
	apikey_keycache_note_row(d->key->kept, kept, len + sizeof(row.at));
	pfree(kept);
	return HeapTupleHeaderGetDatum(row.data);
}

/*
 * Is the row that was remembered the one to return, but for what is left?
 */
static bool
row_fits(const ApikeyVerdictMemo *memo, const ApikeyAdmission *admission)
{
	return memo->row != NULL &&
		memo->desc == apikey_type_desc_number(APIKEY_TYPE_VERDICT) &&
		memo->has_credits == admission->has_credits &&
		memo->has_limit == admission->has_limit &&
		(!admission->has_limit || (memo->limit == admission->limit &&
								   memo->limit_max == admission->limit_max));
}

static void
take_columns(const char *row, const uint32 *at, ApikeyVerdictColumns *columns)
{
	for (int i = 0; i < VERDICT_NCOLUMNS; i++)
	{
		columns->null[i] = at[i] == 0;
		columns->value[i] = at[i] == 0 ? (Datum) 0 :
			fetch_att(row + at[i], storage[i].byval, storage[i].len);
	}
	columns->filled = true;
}

/*
 * The row of a kept key that passes differs from call to call in what is left
 * only, as long as it is the same limit that has the least left.
 */
static Datum
verdict_of_kept(const ApikeyDecision *d, ApikeyVerdictColumns *columns)
{
	const ApikeyAdmission *admission = &d->admission;
	const ApikeyVerdictMemo *memo = &d->memo->verdict;
	const uint32 *at;
	Size		len;
	char	   *row;

	if (!row_fits(memo, admission))
		return form_and_note(d);
	len = memo->len - sizeof(((Row *) NULL)->at);
	at = (const uint32 *) ((char *) memo->row + len);
	row = palloc(len);
	memcpy(row, memo->row, len);
	if (admission->has_limit)
	{
		memcpy(row + at[VERDICT_LIMIT_REMAINING], &admission->limit_remaining,
			   sizeof(int32));
		memcpy(row + at[VERDICT_LIMIT_RESET], &admission->limit_reset,
			   sizeof(int32));
	}
	if (admission->has_credits)
		memcpy(row + at[VERDICT_CREDITS_REMAINING],
			   &admission->credits_remaining, sizeof(int64));
	if (columns == NULL)
		return HeapTupleHeaderGetDatum((HeapTupleHeader) row);
	take_columns(row, at, columns);
	return (Datum) 0;
}

void
apikey_verdict_columns_init(ApikeyVerdictColumns *columns)
{
	NodeSetTag(columns, T_ExtensibleNode);
	columns->name = columns_name;
	columns->filled = false;
}

/*
 * The columns that the caller wants instead of a row; NULL: none.
 */
static ApikeyVerdictColumns *
wanted_columns(FunctionCallInfo fcinfo)
{
	ApikeyVerdictColumns *columns = (ApikeyVerdictColumns *) fcinfo->context;

	return columns != NULL && nodeTag(columns) == T_ExtensibleNode &&
		columns->name == columns_name && row_header() != NULL ? columns : NULL;
}

Datum
apikey_verdict_return(FunctionCallInfo fcinfo, const ApikeyDecision *d)
{
	ApikeyVerdictColumns *columns = wanted_columns(fcinfo);
	Row			row;

	/* not for keys that are used once */
	if (d->code == APIKEY_VALID && d->memo != NULL)
	{
		if (d->memo->used)
			return verdict_of_kept(d, columns);
		d->memo->used = true;
	}
	/* a kept key may go while the query still looks at its columns */
	if (columns != NULL && !(d->known && d->key->kept != NULL))
	{
		apikey_verdict_values(d, columns->value, columns->null);
		columns->filled = true;
		return (Datum) 0;
	}
	form_row(d, &row);
	return HeapTupleHeaderGetDatum(row.data);
}
