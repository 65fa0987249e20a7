/*
 * consumed.c
 *		What was used of a quota or of credits, from the tables and what is
 *		not written yet.
 *
 * The number of the last batch in the tables tells which of the buffered
 * events these contain already.  It is read before and after; if a flush came
 * in between, all is read again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_index.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "consumed.h"
#include "meter.h"
#include "shmem.h"
#include "usage_partition.h"

/* How often to begin anew because a flush came in between */
#define TRIES_MAX	100

/* From which try on the flush worker is asked for a pause, and for how long */
#define HOLD_FROM	3
#define HOLD_MS		200

/* Columns, as 45_usage.sql and 58_credit.sql create them */
enum
{
	STATE_NODE = 1, STATE_BATCH, STATE_FLUSHED_AT
};

enum
{
	SPENT_EPOCH = 1, SPENT_NODE, SPENT_SPENT
};

/* What is added up */
typedef struct Tally
{
	int64		sum;

	/* of a quota */
	const char *account;
	size_t		account_len;
	uint64		account_hash;
	int64		day;
	AttrNumber	requests;		/* columns of the partition being read */
	AttrNumber	refused;
	AttrNumber	hour;

	/* of credits, if not 0 */
	uint64		epoch;
} Tally;

typedef struct LastBatch
{
	char		node[32];
	int64		number;
	TimestampTz since;
	bool		others;			/* have flushed since */
} LastBatch;

uint64
apikey_account_hash(const char *account, size_t len)
{
	return hash_bytes_extended((const unsigned char *) account, len,
							   MyDatabaseId) | 1;
}

static bool
read_state(TupleTableSlot *slot, void *arg)
{
	LastBatch  *last = arg;
	bool		isnull;
	text	   *node = DatumGetTextPP(slot_getattr(slot, STATE_NODE, &isnull));

	if (VARSIZE_ANY_EXHDR(node) == strlen(last->node) &&
		memcmp(VARDATA_ANY(node), last->node, strlen(last->node)) == 0)
		last->number = DatumGetInt64(slot_getattr(slot, STATE_BATCH, &isnull));
	else
		last->others |= last->since <
			DatumGetTimestampTz(slot_getattr(slot, STATE_FLUSHED_AT, &isnull));
	return true;
}

/*
 * The last batch of this server that is in the tables.
 */
static int64
last_batch(void)
{
	LastBatch	last = {.since = GetCurrentTimestamp() - USECS_PER_DAY};
	Relation	rel = table_open(apikey_relation(APIKEY_REL_FLUSH_STATE),
								 AccessShareLock);

	snprintf(last.node, sizeof(last.node), UINT64_FORMAT,
			 GetSystemIdentifier());
	apikey_scan(rel, InvalidOid, NULL, 0, read_state, &last);
	table_close(rel, AccessShareLock);
	apikey_meters_note_others(last.others);
	return last.number;
}

/*
 * Prepare to read what a table has of the account, through an index on it and
 * perhaps a second column.
 */
static Oid
prepare(Tally *tally, Relation rel, const char *second, ScanKey key)
{
	Oid			relid = RelationGetRelid(rel);
	AttrNumber	columns[2];
	Oid			index;

	columns[0] = get_attnum(relid, "account");
	columns[1] = second == NULL ? InvalidAttrNumber : get_attnum(relid, second);
	tally->requests = get_attnum(relid, "requests");
	tally->refused = get_attnum(relid, "refused");
	index = apikey_find_index(rel, columns, second == NULL ? 1 : 2);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table apikey.%s has no index on (%s)",
						RelationGetRelationName(rel),
						second == NULL ? "account" : psprintf("account, %s", second)),
				 errdetail("What an account has used today cannot be looked up."),
				 errhint("Create the index.")));
	ScanKeyInit(key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(cstring_to_text_with_len(tally->account,
														 tally->account_len)));
	key->sk_collation = TupleDescAttr(RelationGetDescr(rel),
									  columns[0] - 1)->attcollation;
	return index;
}

static bool
add_usage(TupleTableSlot *slot, void *arg)
{
	Tally	   *tally = arg;
	bool		isnull;

	tally->sum += DatumGetInt64(slot_getattr(slot, tally->requests, &isnull)) -
		DatumGetInt64(slot_getattr(slot, tally->refused, &isnull));
	return true;
}

/*
 * The same, of the hours of that day.
 */
static bool
add_open_hour(TupleTableSlot *slot, void *arg)
{
	Tally	   *tally = arg;
	bool		isnull;
	TimestampTz hour = DatumGetTimestampTz(slot_getattr(slot, tally->hour, &isnull));

	if (!isnull && hour >= tally->day * USECS_PER_DAY &&
		hour < (tally->day + 1) * USECS_PER_DAY)
		add_usage(slot, tally);
	return true;
}

/*
 * Add what a partition of usage_day has of the account on that day.
 */
static void
add_partition(Tally *tally, const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("apikey", true));
	Relation	rel = OidIsValid(relid) ?
		try_relation_open(relid, AccessShareLock) : NULL;
	ScanKeyData key[2];

	if (rel == NULL)
		return;
	ScanKeyInit(&key[1], 2, BTEqualStrategyNumber, F_DATE_EQ,
				DateADTGetDatum((DateADT) tally->day));
	apikey_scan(rel, prepare(tally, rel, "day", key), key, lengthof(key),
				add_usage, tally);
	table_close(rel, AccessShareLock);
}

/*
 * Add what is in hours of that day that are open: of all rows of the account,
 * so that a row's hour can change without a word to an index.
 */
static void
add_open_hours(Tally *tally)
{
	Relation	rel = table_open(apikey_relation(APIKEY_REL_KEY_USE), AccessShareLock);
	ScanKeyData key;

	tally->hour = get_attnum(RelationGetRelid(rel), "hour");
	apikey_scan(rel, prepare(tally, rel, NULL, &key), &key, 1, add_open_hour, tally);
	table_close(rel, AccessShareLock);
}

static bool
add_spent(TupleTableSlot *slot, void *arg)
{
	Tally	   *tally = arg;
	bool		isnull;

	tally->sum += DatumGetInt64(slot_getattr(slot, SPENT_SPENT, &isnull));
	return true;
}

static void
add_tables(Tally *tally)
{
	if (tally->epoch != 0)
	{
		Relation	rel = table_open(apikey_relation(APIKEY_REL_CREDIT_SPENT),
									 AccessShareLock);
		ScanKeyData key;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum((int64) tally->epoch));
		apikey_scan(rel, apikey_relation(APIKEY_REL_CREDIT_SPENT_PKEY), &key, 1,
					add_spent, tally);
		table_close(rel, AccessShareLock);
	}
	else
	{
		char		name[NAMEDATALEN];
		TimestampTz begin = tally->day * USECS_PER_DAY;

		apikey_by_day.partition_name(apikey_by_day.partition_of_hour(begin), name);
		add_partition(tally, "usage_day_default");
		add_partition(tally, name);
		add_open_hours(tally);
	}
}

static bool
add_event(const ApikeyEvent *event, void *arg)
{
	Tally	   *tally = arg;
	const ApikeyEventHead *head = &event->head;
	ApikeyEventPass pass;

	if ((head->flags & APIKEY_EVENT_PASS) == 0)
		return true;
	memcpy(&pass, event->bytes + sizeof(*head), sizeof(pass));
	if (tally->epoch == 0)
		tally->sum += pass.account_hash == tally->account_hash &&
			head->at >= tally->day * USECS_PER_DAY &&
			head->at < (tally->day + 1) * USECS_PER_DAY;
	else if (!head->has_place && (pass.of.epoch.key == tally->epoch ||
								  pass.of.epoch.account == tally->epoch))
		tally->sum += head->of.cost;
	return true;
}

static int64
add_up(Tally *tally)
{
	ApikeyDatabase *database = apikey_preloaded ? apikey_buffer_database() : NULL;

	for (int i = 0; i < TRIES_MAX; i++)
	{
		int64		batch = last_batch();
		uint64		from[APIKEY_RINGS] = {0};

		CHECK_FOR_INTERRUPTS();
		if (database != NULL && i >= HOLD_FROM)
			database->hold_until = apikey_clock() + HOLD_MS;
		tally->sum = 0;
		add_tables(tally);
		if (database == NULL)
			return tally->sum;
		LWLockAcquire(apikey_shared->lock, LW_SHARED);
		if (database->batch == batch)
			memcpy(from, database->limit, sizeof(from));
		LWLockRelease(apikey_shared->lock);
		apikey_buffer_walk_from(database->oid, from, add_event, tally);
		if (last_batch() == batch)
			return tally->sum;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("usage is written faster than it can be read"),
			 errdetail("Each time it was read, a flush came in between."),
			 errhint("Raise apikey.flush_interval.")));
	return 0;					/* keep compiler quiet */
}

int64
apikey_consumed_quota(const char *account, size_t len, int64 day)
{
	Tally		tally = {
		.account = account,
		.account_len = len,
		.account_hash = apikey_account_hash(account, len),
		.day = day,
	};

	return add_up(&tally);
}

int64
apikey_consumed_credits(uint64 epoch)
{
	Tally		tally = {.epoch = epoch};

	return add_up(&tally);
}
