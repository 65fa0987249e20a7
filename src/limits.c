/*
 * limits.c
 *		What a DBA decided in the table rate_limit, and the credits of keys
 *		and accounts, decoded and kept in the backend.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "limits.h"
#include "meter.h"
#include "target.h"

/* Columns, as 57_rate_limit.sql and 58_credit.sql create them */
enum
{
	LIMIT_ID = 1, LIMIT_NAME, LIMIT_KIND, LIMIT_ACCOUNT, LIMIT_KEY_ID,
	LIMIT_MAX, LIMIT_PER, LIMIT_SHARED, LIMIT_WEIGHTED
};

enum
{
	CREDIT_LINEAGE = 1, CREDIT_ACCOUNT, CREDIT_EPOCH, CREDIT_GRANTED,
	CREDIT_PERIOD, CREDIT_REFILL_AMOUNT, CREDIT_REFILL_EVERY,
	CREDIT_REFILL_FROM
};

static void *read_limit(TupleTableSlot *slot);
static void *read_credit(TupleTableSlot *slot);

static ApikeyTargets limit_rows = {
	.table = APIKEY_REL_RATE_LIMIT,
	.by_key = APIKEY_REL_RATE_LIMIT_KEY,
	.by_account = APIKEY_REL_RATE_LIMIT_ACCOUNT,
	.key_column = LIMIT_KEY_ID,
	.account_column = LIMIT_ACCOUNT,
	.generation = apikey_limit_generation,
	.read = read_limit,
};

static ApikeyTargets credit_rows = {
	.table = APIKEY_REL_CREDIT,
	.by_key = APIKEY_REL_CREDIT_LINEAGE,
	.by_account = APIKEY_REL_CREDIT_ACCOUNT,
	.key_column = CREDIT_LINEAGE,
	.account_column = CREDIT_ACCOUNT,
	.generation = apikey_credit_generation,
	.read = read_credit,
};

/* The rows of kinds, in the context of limit_rows */
static List *kind_limits = NIL;

/* What apikey_limits_of() has found */
static const ApikeyLimit **found = NULL;
static int	found_count = 0;
static int	found_size = 0;

static int64
usecs_of(const Interval *interval)
{
	/* months are forbidden, a day has 24 hours */
	return interval->time + interval->day * USECS_PER_DAY;
}

static void *
read_limit(TupleTableSlot *slot)
{
	static uint64 serial = 0;
	ApikeyLimit *limit = palloc0(sizeof(ApikeyLimit));
	bool	   *null;
	Datum	   *value;

	slot_getallattrs(slot);
	null = slot->tts_isnull - 1;
	value = slot->tts_values - 1;
	limit->serial = ++serial;
	strlcpy(limit->name, TextDatumGetCString(value[LIMIT_NAME]),
			sizeof(limit->name));
	if (!null[LIMIT_KIND])
		limit->kind = TextDatumGetCString(value[LIMIT_KIND]);
	if (!null[LIMIT_MAX])
		limit->max = DatumGetInt32(value[LIMIT_MAX]);
	if (!null[LIMIT_PER])
		limit->per = usecs_of(DatumGetIntervalP(value[LIMIT_PER]));
	limit->shared = DatumGetBool(value[LIMIT_SHARED]);
	limit->weighted = DatumGetBool(value[LIMIT_WEIGHTED]);
	if (apikey_preloaded)
		limit->meter = apikey_meter_name(limit->shared ? "account" : "key",
										 limit->name,
										 limit->shared && limit->kind != NULL ?
										 limit->kind : "");
	return limit;
}

static bool
add_kind_limit(TupleTableSlot *slot, void *arg)
{
	kind_limits = lappend(kind_limits, read_limit(slot));
	return true;
}

/*
 * Rows of kinds are few, and read together with the others.
 */
static void
refresh_limits(void)
{
	Relation	rel;
	MemoryContext old;

	if (!apikey_targets_refresh(&limit_rows))
		return;
	kind_limits = NIL;
	old = MemoryContextSwitchTo(limit_rows.context);
	rel = table_open(apikey_relation(APIKEY_REL_RATE_LIMIT), AccessShareLock);
	apikey_scan(rel, apikey_relation(APIKEY_REL_RATE_LIMIT_KIND), NULL, 0,
				add_kind_limit, NULL);
	table_close(rel, AccessShareLock);
	MemoryContextSwitchTo(old);
}

uint64
apikey_limits_number(void)
{
	refresh_limits();
	return limit_rows.filled_under == apikey_limit_generation() ?
		limit_rows.fillings : 0;
}

bool
apikey_limits_number_holds(uint64 number)
{
	return limit_rows.filled_under == apikey_limit_generation() &&
		limit_rows.fillings == number;
}

/*
 * Add a limit, unless a stronger one has its name.
 */
static void
add_limit(const ApikeyLimit *limit)
{
	int			at = found_count;

	for (int i = 0; i < found_count; i++)
	{
		int			order = strcmp(limit->name, found[i]->name);

		if (order == 0)
			return;
		if (order < 0)
		{
			at = i;
			break;
		}
	}
	if (found_count == found_size)
	{
		int			size = Max(16, 2 * found_size);

		found = found == NULL ?
			MemoryContextAlloc(TopMemoryContext, size * sizeof(*found)) :
			repalloc(found, size * sizeof(*found));
		found_size = size;
	}
	memmove(found + at + 1, found + at, (found_count - at) * sizeof(*found));
	found[at] = limit;
	found_count++;
}

static void
add_limits(List *rows)
{
	ListCell   *cell;

	foreach(cell, rows)
		add_limit(lfirst(cell));
}

int
apikey_limits_of(const pg_uuid_t *key_id, const char *account,
				 size_t account_len, const char *kind, size_t kind_len,
				 const ApikeyLimit *const **limits)
{
	ListCell   *cell;
	int			count = 0;

	refresh_limits();
	found_count = 0;
	if (!limit_rows.has_all || limit_rows.nkeys > 0)
		add_limits(apikey_target_key(&limit_rows, key_id));
	add_limits(apikey_target_account(&limit_rows, account, account_len));
	foreach(cell, kind_limits)
	{
		const ApikeyLimit *limit = lfirst(cell);

		if (strlen(limit->kind) == kind_len &&
			memcmp(limit->kind, kind, kind_len) == 0)
			add_limit(limit);
	}
	add_limits(apikey_target_account(&limit_rows, "*", 1));

	/* a row without max has kept weaker ones away, and is no limit */
	for (int i = 0; i < found_count; i++)
	{
		if (found[i]->max > 0)
			found[count++] = found[i];
	}
	found_count = count;
	*limits = found;
	return count;
}

void
apikey_credit_decode(const Datum *values, const bool *nulls,
					 ApikeyCredit *credit)
{
	const Datum *value = values - 1;
	const bool *null = nulls - 1;

	memset(credit, 0, sizeof(*credit));
	credit->epoch = (uint64) DatumGetInt64(value[CREDIT_EPOCH]);
	credit->granted = DatumGetInt64(value[CREDIT_GRANTED]);
	credit->period = DatumGetInt64(value[CREDIT_PERIOD]);
	credit->refills = !null[CREDIT_REFILL_EVERY];
	if (credit->refills)
	{
		credit->refill_amount = DatumGetInt64(value[CREDIT_REFILL_AMOUNT]);
		credit->refill_every = *DatumGetIntervalP(value[CREDIT_REFILL_EVERY]);
		credit->refill_from = DatumGetTimestampTz(value[CREDIT_REFILL_FROM]);
	}
}

static void *
read_credit(TupleTableSlot *slot)
{
	ApikeyCredit *credit = palloc(sizeof(ApikeyCredit));

	slot_getallattrs(slot);
	apikey_credit_decode(slot->tts_values, slot->tts_isnull, credit);
	return credit;
}

const ApikeyCredit *
apikey_credit_of_key(const pg_uuid_t *lineage)
{
	List	   *rows;

	(void) apikey_targets_refresh(&credit_rows);
	if (credit_rows.has_all && credit_rows.nkeys == 0)
		return NULL;
	rows = apikey_target_key(&credit_rows, lineage);
	return rows == NIL ? NULL : linitial(rows);
}

const ApikeyCredit *
apikey_credit_of_account(const char *account, size_t len)
{
	List	   *rows;

	(void) apikey_targets_refresh(&credit_rows);
	rows = apikey_target_account(&credit_rows, account, len);
	return rows == NIL ? NULL : linitial(rows);
}

/*
 * When a period begins.  In UTC, whatever the session's time zone: a day has
 * 24 hours.
 */
static TimestampTz
period_start(const ApikeyCredit *credit, int64 period)
{
	Interval	sum = credit->refill_every;
	double		days = (double) sum.day * period;
	double		time = (double) sum.time * period;
	double		months = (double) sum.month * period;

	if (months > 12 * 100000.0 || days > 366 * 100000.0 ||
		time > (double) USECS_PER_DAY * 366 * 100000)
		return DT_NOEND;
	sum.month = (int32) months;
	sum.day = (int32) days;
	sum.time = sum.time * period;
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
												 TimestampGetDatum(credit->refill_from),
												 IntervalPGetDatum(&sum)));
}

int64
apikey_credit_period(const ApikeyCredit *credit, TimestampTz now,
					 TimestampTz *end)
{
	double		length;
	int64		period;

	*end = DT_NOEND;
	if (!credit->refills)
		return credit->period;
	length = credit->refill_every.time +
		(double) USECS_PER_DAY * (credit->refill_every.day +
								  credit->refill_every.month * 30.436875);
	period = now <= credit->refill_from ? 0 :
		(int64) ((now - credit->refill_from) / length);
	/* months differ in length: look which it is */
	period = Max(period - 1, 0);
	while ((*end = period_start(credit, period + 1)) <= now)
		period++;
	return Max(period, credit->period);
}

int64
apikey_credit_granted(const ApikeyCredit *credit, int64 period)
{
	return period == credit->period ? credit->granted : credit->refill_amount;
}
