/*
 * address.c
 *		Keyed hashing of addresses, for sketches: without the key nobody can
 *		choose addresses that inflate an estimate or that do not count.
 *
 * The secret is the row "addresses" of apikey.secret.  It never changes, or
 * sketches made before and after could not be merged.  Kept per backend in
 * memory that is locked and left out of core dumps; read anew when the table
 * changes, which happens when the secret is made or restored.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "address.h"
#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "locks.h"

/* Columns, as 42_secret.sql creates them */
enum
{
	SECRET_NAME, SECRET_SECRET, SECRET_NCOLUMNS
};

#define ADDRESS_SECRET	"addresses"

#define V4_FAMILY		4
#define V4_BYTES		4
#define V6_BYTES		16

/* What is read of the table */
typedef struct SecretRow
{
	bool		found;
	unsigned char secret[APIKEY_SHORT_KEY_LEN];
} SecretRow;

static unsigned char *secret = NULL;	/* NULL: none */
static uint64 read_generation = 0;

static bool
read_secret(TupleTableSlot *slot, void *arg)
{
	SecretRow  *row = arg;
	text	   *name;
	bytea	   *bytes;

	slot_getallattrs(slot);
	name = DatumGetTextPP(slot->tts_values[SECRET_NAME]);
	if (VARSIZE_ANY_EXHDR(name) != strlen(ADDRESS_SECRET) ||
		memcmp(VARDATA_ANY(name), ADDRESS_SECRET, strlen(ADDRESS_SECRET)) != 0)
		return true;
	bytes = DatumGetByteaPP(slot->tts_values[SECRET_SECRET]);
	row->found = VARSIZE_ANY_EXHDR(bytes) == APIKEY_SHORT_KEY_LEN;
	if (row->found)
		memcpy(row->secret, VARDATA_ANY(bytes), APIKEY_SHORT_KEY_LEN);
	return false;
}

static void
keep_secret(const SecretRow *row)
{
	secret = apikey_secret_alloc(APIKEY_SHORT_KEY_LEN);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("No protected memory for the secret of addresses."),
				 errhint("Raise the limit on locked memory of the server's user.")));
	memcpy(secret, row->secret, APIKEY_SHORT_KEY_LEN);
	apikey_secret_seal(secret);
}

/*
 * The secret as of now, NULL if there is none; good until the next call.
 */
static const unsigned char *
address_secret(void)
{
	SecretRow	row = {false};
	Relation	rel;
	uint64		generation;
	bool		keep;

	if (read_generation == apikey_secret_generation())
		return secret;

	read_generation = 0;
	if (secret != NULL)
		apikey_secret_free(secret);
	secret = NULL;
	/* opening it accepts what is known of changes */
	rel = table_open(apikey_relation(APIKEY_REL_SECRET), AccessShareLock);
	generation = apikey_secret_generation();
	keep = apikey_relation_is_coherent(rel);
	apikey_scan(rel, InvalidOid, NULL, 0, read_secret, &row);
	table_close(rel, AccessShareLock);
	if (row.found)
		keep_secret(&row);
	apikey_wipe(&row, sizeof(row));
	if (keep)
		read_generation = generation;
	return secret;
}

bool
apikey_address_hash(const ApikeyNet *addr, uint32 *hash)
{
	const unsigned char *key = address_secret();
	unsigned char data[1 + V6_BYTES];
	size_t		len = addr->family == V4_FAMILY ? V4_BYTES : V6_BYTES;
	uint64		wide;

	if (key == NULL)
		return false;
	data[0] = addr->family;
	memcpy(data + 1, addr->addr, len);
	wide = apikey_short_hash(data, 1 + len, key);
	*hash = (uint32) (wide ^ (wide >> 32));
	return true;
}

/*
 * Without SQL, which a server told to log the parameters of nested statements
 * would write to its log.
 */
static void
store_secret(void)
{
	Datum		values[SECRET_NCOLUMNS];
	bool		nulls[SECRET_NCOLUMNS] = {false};
	bytea	   *stored = palloc(VARHDRSZ + APIKEY_SHORT_KEY_LEN);
	Relation	rel;

	SET_VARSIZE(stored, VARHDRSZ + APIKEY_SHORT_KEY_LEN);
	apikey_random(VARDATA(stored), APIKEY_SHORT_KEY_LEN);
	values[SECRET_NAME] = CStringGetTextDatum(ADDRESS_SECRET);
	values[SECRET_SECRET] = PointerGetDatum(stored);
	rel = table_open(apikey_relation(APIKEY_REL_SECRET), RowExclusiveLock);
	apikey_insert(rel, values, nulls, SECRET_NCOLUMNS);
	table_close(rel, NoLock);
	apikey_wipe(VARDATA(stored), APIKEY_SHORT_KEY_LEN);
}

void
apikey_address_secret_ensure(void)
{
	if (address_secret() != NULL)
		return;
	/* one of several first calls makes it, the others wait and find it */
	apikey_lock(APIKEY_LOCK_PEPPER, 0);
	AcceptInvalidationMessages();
	if (address_secret() == NULL)
		store_secret();
}
