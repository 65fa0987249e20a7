/*
 * target.c
 *		Rows that are about one key or about one account, kept in the backend
 *		by their target.
 *
 * While a table is small, all of its rows are read together, so that of most
 * targets nothing need be looked up at all.  When there are more, rows are
 * read as they are asked for.
 */
#include "postgres.h"

#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "apikey.h"
#include "compat.h"
#include "target.h"

/* So many rows are read together; and so many targets kept, times two */
#define ROWS_MAX	4096

typedef struct KeyEntry
{
	pg_uuid_t	key_id;			/* hash key */
	List	   *rows;
} KeyEntry;

typedef struct AccountEntry
{
	char		account[APIKEY_ACCOUNT_MAX + 1];	/* hash key */
	List	   *rows;
} AccountEntry;

/* A scan under way */
typedef struct Reading
{
	ApikeyTargets *targets;
	List	   *rows;			/* of one target */
	int			count;
} Reading;

/*
 * Where the rows of a target are kept, made if need be.
 */
static List **
rows_of_key(ApikeyTargets *targets, const pg_uuid_t *key_id, bool *found)
{
	KeyEntry   *entry = hash_search(targets->keys, key_id, HASH_ENTER, found);

	if (!*found)
	{
		entry->rows = NIL;
		targets->nkeys++;
	}
	return &entry->rows;
}

static List **
rows_of_account(ApikeyTargets *targets, const char *account, bool *found)
{
	AccountEntry *entry = hash_search(targets->accounts, account, HASH_ENTER,
									  found);

	if (!*found)
	{
		entry->rows = NIL;
		targets->naccounts++;
	}
	return &entry->rows;
}

/*
 * Keep one of all rows; stop when they are too many.
 */
static bool
keep_row(TupleTableSlot *slot, void *arg)
{
	Reading    *reading = arg;
	ApikeyTargets *targets = reading->targets;
	bool		is_null;
	bool		found;
	List	  **rows = NULL;
	Datum		value = slot_getattr(slot, targets->key_column, &is_null);

	if (!is_null)
		rows = rows_of_key(targets, DatumGetUUIDP(value), &found);
	else
	{
		value = slot_getattr(slot, targets->account_column, &is_null);
		if (!is_null)
			rows = rows_of_account(targets, TextDatumGetCString(value), &found);
	}
	if (rows == NULL)
		return true;			/* about something else */
	*rows = lappend(*rows, targets->read(slot));
	return ++reading->count < ROWS_MAX;
}

static bool
add_row(TupleTableSlot *slot, void *arg)
{
	Reading    *reading = arg;

	reading->rows = lappend(reading->rows, reading->targets->read(slot));
	return true;
}

/*
 * Empty memory for what is to be kept.
 */
static void
start_anew(ApikeyTargets *targets)
{
	HASHCTL		keys = {
		.keysize = sizeof(pg_uuid_t),
		.entrysize = sizeof(KeyEntry),
	};
	HASHCTL		accounts = {
		.keysize = APIKEY_ACCOUNT_MAX + 1,
		.entrysize = sizeof(AccountEntry),
	};

	targets->filled_under = 0;
	targets->fillings++;
	if (targets->context == NULL)
		targets->context = AllocSetContextCreate(TopMemoryContext,
												 "apikey targets",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(targets->context);
	keys.hcxt = accounts.hcxt = targets->context;
	targets->nkeys = targets->naccounts = 0;
	targets->keys = hash_create("apikey keys with rows", 64, &keys,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	targets->accounts = hash_create("apikey accounts with rows", 64, &accounts,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

bool
apikey_targets_refresh(ApikeyTargets *targets)
{
	Reading		reading = {.targets = targets};
	MemoryContext old;
	Relation	rel;
	uint64		generation;
	bool		keep;

	if (targets->filled_under == targets->generation() &&
		(targets->has_all ||
		 targets->nkeys + targets->naccounts < 3 * ROWS_MAX))
		return false;

	start_anew(targets);
	/* opening it accepts what is known of changes */
	rel = table_open(apikey_relation(targets->table), AccessShareLock);
	generation = targets->generation();
	keep = apikey_relation_is_coherent(rel);
	old = MemoryContextSwitchTo(targets->context);
	apikey_scan(rel, InvalidOid, NULL, 0, keep_row, &reading);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);

	targets->has_all = reading.count < ROWS_MAX;
	if (!targets->has_all)
		start_anew(targets);	/* of some targets not all may have been read */
	if (keep)
		targets->filled_under = generation;
	return true;
}

/*
 * Read the rows of one target through its index.
 */
static List *
read_rows(ApikeyTargets *targets, ApikeyRelation index, int column,
		  RegProcedure equal, Datum value)
{
	Relation	rel = table_open(apikey_relation(targets->table),
								 AccessShareLock);
	Reading		reading = {.targets = targets};
	MemoryContext old = MemoryContextSwitchTo(targets->context);
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, equal, value);
	key.sk_collation = TupleDescAttr(RelationGetDescr(rel),
									 column - 1)->attcollation;
	apikey_scan(rel, apikey_relation(index), &key, 1, add_row, &reading);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);
	return reading.rows;
}

/*
 * Keep what was read of a target, unless the table has changed meanwhile.
 */
static void
keep_rows(ApikeyTargets *targets, List **place, List *rows, uint64 generation)
{
	*place = rows;
	if (targets->generation() != generation)
		targets->filled_under = 0;
}

List *
apikey_target_key(ApikeyTargets *targets, const pg_uuid_t *key_id)
{
	KeyEntry   *entry = hash_search(targets->keys, key_id, HASH_FIND, NULL);
	uint64		generation = targets->generation();
	List	   *rows;
	bool		found;

	if (entry != NULL)
		return entry->rows;
	if (targets->has_all)
		return NIL;
	rows = read_rows(targets, targets->by_key, targets->key_column, F_UUID_EQ,
					 UUIDPGetDatum(key_id));
	keep_rows(targets, rows_of_key(targets, key_id, &found), rows, generation);
	return rows;
}

List *
apikey_target_account(ApikeyTargets *targets, const char *account, size_t len)
{
	char		name[APIKEY_ACCOUNT_MAX + 1];
	AccountEntry *entry;
	uint64		generation = targets->generation();
	List	   *rows;
	bool		found;

	if (len > APIKEY_ACCOUNT_MAX ||
		(targets->has_all && targets->naccounts == 0))
		return NIL;
	memcpy(name, account, len);
	name[len] = '\0';
	entry = hash_search(targets->accounts, name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->rows;
	if (targets->has_all)
		return NIL;
	rows = read_rows(targets, targets->by_account, targets->account_column,
					 F_TEXTEQ, PointerGetDatum(cstring_to_text(name)));
	keep_rows(targets, rows_of_account(targets, name, &found), rows,
			  generation);
	return rows;
}
