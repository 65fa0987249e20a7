/*
 * usage.c
 *		Adding counts to the tables: a transaction's part of that.
 *
 * Tables are locked as whoever reads or maintains them does it: parents, then
 * partitions.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "locks.h"
#include "spi_plan.h"
#include "usage.h"
#include "usage_key.h"
#include "usage_open.h"
#include "usage_period.h"

/* Blocks of key_use that are looked through in one go: 16 MB */
#define SETTLE_BLOCKS	((16 << 20) / BLCKSZ)

/*
 * Lock the tables; then it is settled whether keys are being removed meanwhile.
 */
static bool
lock_tables(void)
{
	LockRelationOid(apikey_relation(APIKEY_REL_USAGE_HOUR), RowExclusiveLock);
	LockRelationOid(apikey_relation(APIKEY_REL_USAGE_DAY), RowExclusiveLock);
	return apikey_try_lock_for_usage();
}

/*
 * Between these two rows are written, as by one command.
 */
static EState *
begin_writing(void)
{
	EState	   *estate = CreateExecutorState();

	estate->es_snapshot = GetActiveSnapshot();
	estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
	return estate;
}

static void
end_writing(EState *estate)
{
	AfterTriggerEndQuery(estate);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	CommandCounterIncrement();
}

/*
 * Rotated keys that are still used are worth a line in the audit log.  Needs
 * what was just written.
 */
static void
note_superseded(const ApikeyCounts *counts)
{
	static ApikeyPlan plan = {
		.query = "SELECT apikey.note_superseded($1, $2)",
		.nargs = 2,
		.types = {UUIDARRAYOID, TIMESTAMPTZARRAYOID},
	};
	Datum	   *ids = palloc(counts->n * sizeof(Datum));
	Datum	   *times = palloc(counts->n * sizeof(Datum));
	Datum		values[2];
	int			count = 0;

	for (int i = 0; i < counts->n; i++)
	{
		const Usage *usage = counts->counts[i].usage;

		if (!usage->rotated || usage->last_used == 0)
			continue;
		ids[count] = UUIDPGetDatum(&usage->key.key_id);
		times[count++] = TimestampTzGetDatum(usage->last_used);
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
count_dropped(const ApikeyCounts *counts)
{
	uint64		dropped = 0;

	for (int i = 0; i < counts->n; i++)
	{
		const Usage *usage = counts->counts[i].usage;

		if (counts->counts[i].gone)
			dropped += usage->requests - usage->refused +
				usage->errors_4xx + usage->errors_5xx;
	}
	return dropped;
}

uint64
apikey_usage_write(Datum node, Usage **rows, int count)
{
	ApikeyCounts counts;
	ApikeyCounts closed;
	ApikeyKeyFinder *finder = NULL;
	EState	   *estate;
	bool		undisturbed;

	if (count == 0)
		return 0;
	apikey_counts_init(&counts, count);
	apikey_counts_init(&closed, 64);
	for (int i = 0; i < count; i++)
	{
		ApikeyCount *row = apikey_counts_add(&counts);

		row->usage = rows[i];
		row->node = node;
	}
	undisturbed = lock_tables();

	/* taken when all that was waited for is over */
	PushActiveSnapshot(GetLatestSnapshot());
	if (undisturbed)
		finder = apikey_key_finder_begin();
	else
		apikey_ask_for_accounts(&counts);
	estate = begin_writing();
	apikey_open_hours_add(estate, &counts, finder, &closed);
	if (finder != NULL)
		apikey_key_finder_end(finder);
	apikey_counts_write(estate, &closed);
	end_writing(estate);
	PopActiveSnapshot();

	note_superseded(&counts);
	return count_dropped(&counts);
}

/*
 * Rows of key_use, in these blocks, whose hour is open and before this time.
 */
static int
find_open_hours(TimestampTz before, BlockNumber from, BlockNumber to,
				Datum (**keys)[USE_NODE + 1])
{
	static ApikeyPlan plan = {
		.query = "SELECT key_id, node FROM apikey.key_use"
		" WHERE hour < $1 AND ctid >= $2 AND ctid < $3",
		.nargs = 3,
		.types = {TIMESTAMPTZOID, TIDOID, TIDOID},
	};
	ItemPointerData low;
	ItemPointerData high;
	Datum		values[3];

	ItemPointerSet(&low, from, 0);
	ItemPointerSet(&high, to, 0);
	values[0] = TimestampTzGetDatum(before);
	values[1] = PointerGetDatum(&low);
	values[2] = PointerGetDatum(&high);
	apikey_plan_query_latest(&plan, values, NULL);
	*keys = palloc(Max(SPI_processed, 1) * sizeof(**keys));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int j = USE_KEY_ID; j <= USE_NODE; j++)
		{
			bool		isnull;

			(*keys)[i][j] = SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, j + 1, &isnull);
		}
	}
	return (int) SPI_processed;
}

bool
apikey_usage_settle(TimestampTz before, BlockNumber *block, int64 *settled)
{
	ApikeyCounts closed;
	EState	   *estate;
	Relation	rel;
	BlockNumber end;
	Datum		(*keys)[USE_NODE + 1];
	int			n;

	if (!lock_tables())
		return false;
	rel = table_open(apikey_relation(APIKEY_REL_KEY_USE), RowExclusiveLock);
	end = RelationGetNumberOfBlocks(rel);
	table_close(rel, NoLock);
	if (end > *block && end - *block > SETTLE_BLOCKS)
		end = *block + SETTLE_BLOCKS;
	else
		end = InvalidBlockNumber;
	n = find_open_hours(before, *block, end, &keys);
	*block = end;
	*settled += n;
	if (n == 0)
		return true;

	apikey_counts_init(&closed, n);
	PushActiveSnapshot(GetLatestSnapshot());
	estate = begin_writing();
	apikey_open_hours_close(estate, keys, n, &closed);
	apikey_counts_write(estate, &closed);
	end_writing(estate);
	PopActiveSnapshot();
	return true;
}
