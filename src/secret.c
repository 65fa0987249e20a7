/*
 * secret.c
 *		Fixed secrets of the installation: rows of the table secret.
 *
 * They never change: sketches made before and after could not be merged.  Kept
 * per backend in memory that is locked and left out of core dumps; read anew
 * when the table changes, which happens when a secret is made or restored.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "catalog.h"
#include "compat.h"
#include "locks.h"
#include "secret.h"

/* Columns, as 42_secret.sql creates them */
enum
{
	SECRET_NAME, SECRET_SECRET, SECRET_NCOLUMNS
};

static const char *const names[APIKEY_NSECRETS] = {
	[APIKEY_SECRET_ADDRESSES] = "addresses",
	[APIKEY_SECRET_CONTEXTS] = "contexts",
};

/* What is read of the table */
typedef struct SecretRows
{
	bool		found[APIKEY_NSECRETS];
	unsigned char secret[APIKEY_NSECRETS][APIKEY_SHORT_KEY_LEN];
} SecretRows;

static unsigned char *secrets[APIKEY_NSECRETS]; /* NULL: none */
static uint64 read_generation = 0;

static bool
read_row(TupleTableSlot *slot, void *arg)
{
	SecretRows *rows = arg;
	text	   *name;
	bytea	   *bytes;

	slot_getallattrs(slot);
	name = DatumGetTextPP(slot->tts_values[SECRET_NAME]);
	bytes = DatumGetByteaPP(slot->tts_values[SECRET_SECRET]);
	for (int i = 0; i < APIKEY_NSECRETS; i++)
	{
		if (VARSIZE_ANY_EXHDR(name) != strlen(names[i]) ||
			memcmp(VARDATA_ANY(name), names[i], strlen(names[i])) != 0 ||
			VARSIZE_ANY_EXHDR(bytes) != APIKEY_SHORT_KEY_LEN)
			continue;
		rows->found[i] = true;
		memcpy(rows->secret[i], VARDATA_ANY(bytes), APIKEY_SHORT_KEY_LEN);
	}
	return true;
}

static unsigned char *
protected_copy(const unsigned char *bytes)
{
	unsigned char *copy = apikey_secret_alloc(APIKEY_SHORT_KEY_LEN);

	if (copy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("No protected memory for the secrets of the installation."),
				 errhint("Raise the limit on locked memory of the server's user.")));
	memcpy(copy, bytes, APIKEY_SHORT_KEY_LEN);
	apikey_secret_seal(copy);
	return copy;
}

static void
forget_secrets(void)
{
	for (int i = 0; i < APIKEY_NSECRETS; i++)
	{
		if (secrets[i] != NULL)
			apikey_secret_free(secrets[i]);
		secrets[i] = NULL;
	}
}

const unsigned char *
apikey_secret(ApikeySecret which)
{
	SecretRows	rows;
	Relation	rel;
	uint64		generation;
	bool		keep;

	if (read_generation == apikey_secret_generation())
		return secrets[which];

	memset(rows.found, false, sizeof(rows.found));
	read_generation = 0;
	forget_secrets();
	/* opening it accepts what is known of changes */
	rel = table_open(apikey_relation(APIKEY_REL_SECRET), AccessShareLock);
	generation = apikey_secret_generation();
	keep = apikey_relation_is_coherent(rel);
	apikey_scan(rel, InvalidOid, NULL, 0, read_row, &rows);
	table_close(rel, AccessShareLock);
	for (int i = 0; i < APIKEY_NSECRETS; i++)
	{
		if (rows.found[i])
			secrets[i] = protected_copy(rows.secret[i]);
	}
	apikey_wipe(&rows, sizeof(rows));
	if (keep)
		read_generation = generation;
	return secrets[which];
}

/*
 * Without SQL, which a server told to log the parameters of nested statements
 * would write to its log.
 */
static void
store_secret(ApikeySecret which)
{
	Datum		values[SECRET_NCOLUMNS];
	bool		nulls[SECRET_NCOLUMNS] = {false};
	bytea	   *stored = palloc(VARHDRSZ + APIKEY_SHORT_KEY_LEN);
	Relation	rel;

	SET_VARSIZE(stored, VARHDRSZ + APIKEY_SHORT_KEY_LEN);
	apikey_random(VARDATA(stored), APIKEY_SHORT_KEY_LEN);
	values[SECRET_NAME] = CStringGetTextDatum(names[which]);
	values[SECRET_SECRET] = PointerGetDatum(stored);
	rel = table_open(apikey_relation(APIKEY_REL_SECRET), RowExclusiveLock);
	(void) apikey_insert(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
	apikey_wipe(VARDATA(stored), APIKEY_SHORT_KEY_LEN);
}

static bool
is_any_missing(void)
{
	for (int i = 0; i < APIKEY_NSECRETS; i++)
	{
		if (apikey_secret(i) == NULL)
			return true;
	}
	return false;
}

void
apikey_secrets_ensure(void)
{
	if (!is_any_missing())
		return;
	/* one of several first calls makes them, the others wait and find them */
	apikey_lock(APIKEY_LOCK_PEPPER, 0);
	AcceptInvalidationMessages();
	for (int i = 0; i < APIKEY_NSECRETS; i++)
	{
		if (apikey_secret(i) == NULL)
			store_secret(i);
	}
}
