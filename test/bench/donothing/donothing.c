/*
 * donothing.c
 *		A function that does nothing: what any function in C that is called
 *		like apikey.verify() and returns such a row costs at least.
 *
 * For the benchmark alone.  The row is made once in each session, by
 * answer_with(), and handed out again with each call: formed from its columns
 * under a cached descriptor, as a function has to that has columns to return.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

PG_MODULE_MAGIC;

static TupleDesc desc = NULL;
static Datum *values;
static bool *nulls;

PG_FUNCTION_INFO_V1(donothing_answer_with);

/*
 * answer_with(record): from now on this is the answer.
 */
Datum
donothing_answer_with(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	HeapTupleHeader given = (HeapTupleHeader) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
	HeapTupleData tuple;

	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(given),
									   HeapTupleHeaderGetTypMod(given));
	BlessTupleDesc(desc);
	tuple.t_len = HeapTupleHeaderGetDatumLength(given);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = given;
	values = palloc(desc->natts * sizeof(Datum));
	nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(&tuple, desc, values, nulls);
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(donothing);

/*
 * nothing(the arguments of apikey.verify): the answer.
 */
Datum
donothing(PG_FUNCTION_ARGS)
{
	if (desc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no answer was given"),
				 errhint("Call answer_with() first.")));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
