/*
 * usage_sql.c
 *		SQL functions that write usage: apply_usage, settle_usage.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "sketch.h"
#include "spi_plan.h"
#include "usage.h"

/*
 * One argument of apply_usage: an array of so many elements.
 */
static Datum *
array_argument(FunctionCallInfo fcinfo, int number, const char *name, int count,
			   bool **nulls)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(number);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, &values,
					  nulls, &n);
	if (count >= 0 && n != count)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("invalid value for argument \"%s\"", name),
				 errdetail("It has %d elements, the first array has %d.", n, count),
				 errhint("Pass arrays of the same length.")));
	return values;
}

PG_FUNCTION_INFO_V1(apikey_sql_apply_usage);

/*
 * apikey.apply_usage(node, key_ids, hours, requests, refused, errors_4xx,
 *		errors_5xx, addresses, last_used) returns bigint
 *		The same with arrays, of which only last_used and addresses may have
 *		NULLs.
 */
Datum
apikey_sql_apply_usage(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"node", "key_ids", "hours", "requests", "refused", "errors_4xx",
		"errors_5xx", "addresses", "last_used"
	};
	enum
	{
		NODE, KEY_IDS, HOURS, REQUESTS, REFUSED, ERRORS_4XX, ERRORS_5XX,
		ADDRESSES, LAST_USED
	};
	int			count = -1;
	Datum	   *value[lengthof(names)];
	bool	   *null[lengthof(names)];
	Usage	  **rows;
	uint64		dropped;

	for (int i = KEY_IDS; i < lengthof(names); i++)
	{
		value[i] = array_argument(fcinfo, i, names[i], count, &null[i]);
		count = ArrayGetNItems(ARR_NDIM(PG_GETARG_ARRAYTYPE_P(i)),
							   ARR_DIMS(PG_GETARG_ARRAYTYPE_P(i)));
		for (int j = 0; i < ADDRESSES && j < count; j++)
		{
			if (null[i][j])
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("argument \"%s\" must not contain nulls", names[i])));
		}
	}
	rows = palloc(Max(count, 1) * sizeof(Usage *));
	for (int i = 0; i < count; i++)
	{
		rows[i] = palloc0(sizeof(Usage));
		rows[i]->key.key_id = *DatumGetUUIDP(value[KEY_IDS][i]);
		rows[i]->key.hour = DatumGetTimestampTz(value[HOURS][i]);
		rows[i]->requests = DatumGetInt64(value[REQUESTS][i]);
		rows[i]->refused = DatumGetInt64(value[REFUSED][i]);
		rows[i]->errors_4xx = DatumGetInt64(value[ERRORS_4XX][i]);
		rows[i]->errors_5xx = DatumGetInt64(value[ERRORS_5XX][i]);
		if (!null[ADDRESSES][i])
			rows[i]->hashes = apikey_sketch_hashes(DatumGetByteaPP(value[ADDRESSES][i]),
												   &rows[i]->nhashes);
		rows[i]->rotated = true;	/* note_superseded() will see */
		if (!null[LAST_USED][i])
			rows[i]->last_used = DatumGetTimestampTz(value[LAST_USED][i]);
	}
	apikey_usage_sort(rows, count);
	SPI_connect();
	dropped = apikey_usage_write(PointerGetDatum(PG_GETARG_TEXT_PP(NODE)), rows, count);
	SPI_finish();
	PG_RETURN_INT64((int64) dropped);
}

PG_FUNCTION_INFO_V1(apikey_sql_settle_usage);

/*
 * apikey.settle_usage(before timestamptz) returns bigint
 *		Moves hours that are still open, and before this time, to the tables by
 *		hour and by day.  Returns how many.
 */
Datum
apikey_sql_settle_usage(PG_FUNCTION_ARGS)
{
	ApikeyPrivileges saved;
	BlockNumber block = 0;
	int64		settled = 0;
	bool		done;

	apikey_enter(&saved, NULL);
	do
	{
		CHECK_FOR_INTERRUPTS();
		SPI_connect();
		done = apikey_usage_settle(PG_GETARG_TIMESTAMPTZ(0), &block, &settled);
		SPI_finish();
	} while (done && block != InvalidBlockNumber);
	apikey_leave(&saved);
	PG_RETURN_INT64(settled);
}
