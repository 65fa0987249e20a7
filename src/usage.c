/*
 * usage.c
 *		Adding counts to the tables by hour and by day.
 *
 * Rows carry the node that counted, and sessions that write for one node wait
 * for each other at its row of apikey.flush_state: nobody else changes these
 * rows but who removes keys (locks.h) or repairs something by hand, and then
 * the flush fails and is tried again.  Tables are locked as whoever reads or
 * maintains them does it: parents, then partitions.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "keystore.h"
#include "locks.h"
#include "sketch.h"
#include "spi_plan.h"
#include "upsert.h"
#include "usage.h"
#include "usage_partition.h"

/* Columns of apikey.key_use */
enum
{
	USE_KEY_ID, USE_NODE, USE_LAST_USED_AT, USE_NCOLUMNS
};

/* What is known of the key of a row */
typedef struct CountedKey
{
	Datum		account;		/* 0: the key is gone */
	bool		rotated;		/* it may have a successor */
} CountedKey;

typedef struct UsageWriter
{
	Datum		node;
	Usage	  **rows;
	CountedKey *keys;			/* of the rows */
	int			count;
	EState	   *estate;
} UsageWriter;

static bool
same_key(const Usage *a, const Usage *b)
{
	return memcmp(&a->key.key_id, &b->key.key_id, UUID_LEN) == 0;
}

/*
 * While keys are being removed: which of these keys will be there when this
 * transaction ends is for SQL to say.
 */
static void
ask_for_accounts(UsageWriter *writer)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.accounts_to_count($1)",
		.nargs = 1,
		.types = {UUIDARRAYOID},
	};
	Datum	   *ids = palloc(writer->count * sizeof(Datum));
	Datum		value;
	Datum	   *accounts;
	bool	   *nulls;
	bool		isnull;
	int			count;

	for (int i = 0; i < writer->count; i++)
		ids[i] = UUIDPGetDatum(&writer->rows[i]->key.key_id);
	value = PointerGetDatum(construct_array(ids, writer->count, UUIDOID,
											UUID_LEN, false, TYPALIGN_CHAR));
	apikey_plan_execute(&plan, &value, NULL, SPI_OK_SELECT);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull);
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &accounts, &nulls, &count);
	Assert(count == writer->count);
	for (int i = 0; i < count; i++)
	{
		writer->keys[i].account = nulls[i] ? (Datum) 0 : accounts[i];
		writer->keys[i].rotated = true;
	}
}

/*
 * Otherwise: look the keys up.
 */
static void
look_up_keys(UsageWriter *writer)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY), AccessShareLock);
	Relation	index = index_open(apikey_relation(APIKEY_REL_KEY_PKEY),
								   AccessShareLock);
	IndexScanDesc scan = apikey_index_beginscan(rel, index,
												GetActiveSnapshot(), 1);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ScanKeyData scan_key;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_UUID_EQ, (Datum) 0);
	for (int i = 0; i < writer->count; i++)
	{
		CountedKey *key = &writer->keys[i];
		const pg_uuid_t *id = &writer->rows[i]->key.key_id;
		bool		isnull;

		if (i > 0 && same_key(writer->rows[i], writer->rows[i - 1]))
		{
			*key = key[-1];
			continue;
		}
		scan_key.sk_argument = UUIDPGetDatum(id);
		index_rescan(scan, &scan_key, 1, NULL, 0);
		if (!index_getnext_slot(scan, ForwardScanDirection, slot))
			continue;
		(void) slot_getattr(slot, KEY_ROTATED_TO, &isnull);
		key->rotated = !isnull;
		key->account = datumCopy(slot_getattr(slot, KEY_ACCOUNT, &isnull), false, -1);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

static void
add_count(ApikeyUpsert *upsert, int column, int64 more)
{
	bool		isnull;

	apikey_upsert_set(upsert, column,
					  Int64GetDatum(DatumGetInt64(apikey_upsert_get(upsert, column, &isnull)) + more));
}

/*
 * Add some rows of the same key and period to that of the table.
 */
static void
add_rows(UsageWriter *writer, const ApikeyPeriod *period, ApikeyUpsert *upsert,
		 int from, int to)
{
	MemoryContext old;
	Datum		key[] = {
		UUIDPGetDatum(&writer->rows[from]->key.key_id),
		period->of_hour(writer->rows[from]->key.hour),
		writer->node,
	};

	apikey_upsert_find(upsert, key);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));
	if (!upsert->exists)
		apikey_upsert_set(upsert, COUNT_ACCOUNT, writer->keys[from].account);
	for (int i = from; i < to; i++)
	{
		Usage	   *usage = writer->rows[i];
		Datum		addresses;
		bool		isnull;

		add_count(upsert, COUNT_REQUESTS, usage->requests);
		add_count(upsert, COUNT_REFUSED, usage->refused);
		add_count(upsert, COUNT_ERRORS_4XX, usage->errors_4xx);
		add_count(upsert, COUNT_ERRORS_5XX, usage->errors_5xx);
		if (usage->nhashes == 0)
			continue;
		addresses = apikey_upsert_get(upsert, COUNT_ADDRESSES, &isnull);
		apikey_upsert_set(upsert, COUNT_ADDRESSES,
						  PointerGetDatum(apikey_sketch_add((struct varlena *) DatumGetPointer(addresses),
															usage->hashes,
															usage->nhashes)));
	}
	apikey_upsert_write(upsert);
	MemoryContextSwitchTo(old);
}

/*
 * Add all rows to one of the two tables, whose partitions are opened in
 * ascending order.
 */
static void
write_periods(UsageWriter *writer, const ApikeyPeriod *period)
{
	List	   *numbers = NIL;
	List	   *partitions;
	int			to;

	for (int i = 0; i < writer->count; i++)
	{
		int			number = period->partition_of_hour(writer->rows[i]->key.hour);

		if (numbers == NIL || llast_int(numbers) != number)
			numbers = list_append_unique_int(numbers, number);
	}
	list_sort(numbers, list_int_cmp);
	partitions = apikey_partitions_open(period, numbers, writer->estate);
	for (int from = 0; from < writer->count; from = to)
	{
		const Usage *first = writer->rows[from];

		for (to = from + 1; to < writer->count; to++)
		{
			if (!same_key(writer->rows[to], first) ||
				!period->same(writer->rows[to]->key.hour, first->key.hour))
				break;
		}
		CHECK_FOR_INTERRUPTS();
		if (writer->keys[from].account != (Datum) 0)
			add_rows(writer, period,
					 apikey_partition_of(partitions,
										 period->partition_of_hour(first->key.hour)),
					 from, to);
	}
	apikey_partitions_close(partitions);
}

/*
 * Note when keys were last used.
 */
static void
write_last_use(UsageWriter *writer)
{
	static const char *const columns[] = {"key_id", "node", "last_used_at"};
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY_USE),
								 RowExclusiveLock);
	ApikeyUpsert *upsert = apikey_upsert_begin(writer->estate, rel, columns,
											   USE_NCOLUMNS, 2);
	TimestampTz last_used = 0;

	for (int i = 0; i < writer->count; i++)
	{
		Usage	   *usage = writer->rows[i];
		Datum		key[] = {UUIDPGetDatum(&usage->key.key_id), writer->node};
		MemoryContext old;
		Datum		before;
		bool		isnull;

		if (usage->last_used != 0 &&
			(last_used == 0 || usage->last_used > last_used))
			last_used = usage->last_used;
		if (i + 1 < writer->count && same_key(writer->rows[i + 1], usage))
			continue;			/* of another hour */
		if (last_used != 0 && writer->keys[i].account != (Datum) 0)
		{
			CHECK_FOR_INTERRUPTS();
			apikey_upsert_find(upsert, key);
			old = MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));
			before = apikey_upsert_get(upsert, USE_LAST_USED_AT, &isnull);
			apikey_upsert_set(upsert, USE_LAST_USED_AT,
							  TimestampTzGetDatum(last_used));
			if (isnull || DatumGetTimestampTz(before) < last_used)
				apikey_upsert_write(upsert);
			MemoryContextSwitchTo(old);
		}
		last_used = 0;
	}
	apikey_upsert_end(upsert);
}

/*
 * Rotated keys that are still used are worth a line in the audit log.  Needs
 * what was just written.
 */
static void
note_superseded(UsageWriter *writer)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.note_superseded($1, $2)",
		.nargs = 2,
		.types = {UUIDARRAYOID, TIMESTAMPTZARRAYOID},
	};
	Datum	   *ids = palloc(writer->count * sizeof(Datum));
	Datum	   *times = palloc(writer->count * sizeof(Datum));
	Datum		values[2];
	int			count = 0;

	for (int i = 0; i < writer->count; i++)
	{
		if (!writer->keys[i].rotated || writer->rows[i]->last_used == 0)
			continue;
		ids[count] = UUIDPGetDatum(&writer->rows[i]->key.key_id);
		times[count++] = TimestampTzGetDatum(writer->rows[i]->last_used);
	}
	if (count == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN,
												false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(times, count, TIMESTAMPTZOID,
												sizeof(TimestampTz), true,
												TYPALIGN_DOUBLE));
	apikey_plan_execute(&plan, values, NULL, SPI_OK_SELECT);
}

/*
 * A refusal is a request and an error, and one event.
 */
static uint64
count_dropped(const UsageWriter *writer)
{
	uint64		dropped = 0;

	for (int i = 0; i < writer->count; i++)
	{
		const Usage *usage = writer->rows[i];

		if (writer->keys[i].account == (Datum) 0)
			dropped += usage->requests - usage->refused +
				usage->errors_4xx + usage->errors_5xx;
	}
	return dropped;
}

uint64
apikey_usage_write(Datum node, Usage **rows, int count)
{
	UsageWriter writer = {.node = node, .rows = rows, .count = count};
	bool		undisturbed;

	if (count == 0)
		return 0;
	writer.keys = palloc0(count * sizeof(CountedKey));
	writer.estate = CreateExecutorState();
	LockRelationOid(apikey_relation(APIKEY_REL_USAGE_HOUR), RowExclusiveLock);
	LockRelationOid(apikey_relation(APIKEY_REL_USAGE_DAY), RowExclusiveLock);
	undisturbed = apikey_try_lock_for_usage();

	/* taken when all that was waited for is over */
	PushActiveSnapshot(GetLatestSnapshot());
	if (undisturbed)
		look_up_keys(&writer);
	else
		ask_for_accounts(&writer);
	writer.estate->es_snapshot = GetActiveSnapshot();
	writer.estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
	write_periods(&writer, &apikey_by_hour);
	write_periods(&writer, &apikey_by_day);
	write_last_use(&writer);
	AfterTriggerEndQuery(writer.estate);
	ExecCloseResultRelations(writer.estate);
	ExecResetTupleTable(writer.estate->es_tupleTable, false);
	FreeExecutorState(writer.estate);
	PopActiveSnapshot();
	CommandCounterIncrement();

	note_superseded(&writer);
	return count_dropped(&writer);
}

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
		if (!null[LAST_USED][i])
			rows[i]->last_used = DatumGetTimestampTz(value[LAST_USED][i]);
	}
	apikey_usage_sort(rows, count);
	SPI_connect();
	dropped = apikey_usage_write(PointerGetDatum(PG_GETARG_TEXT_PP(NODE)), rows, count);
	SPI_finish();
	PG_RETURN_INT64((int64) dropped);
}
